"""protocol all: every row trains, in the order of the table, and nothing is judged."""
import json

import numpy as np
import pandas
import pytest

import evaluate
import predict
import regression_baseline
from core.training import run
from data_loader.regression import load_regression
from data_loader.table_memory import table_of_frame
from misc.config import Config
from misc.errors import UserError
from tests.predict.houses import read_csv, train_on, write_table

pytestmark = pytest.mark.usefixtures("shared_graphs")

SETTINGS = dict(target="y", row_id=None, missing=None, epoch=4, batch_size=8, epoch_rate=2, save_interval=4)


@pytest.fixture
def frame():
    rng = np.random.RandomState(1)
    frame = pandas.DataFrame({"a": rng.randn(30), "b": rng.choice(["u", "v"], 30)})
    return frame.assign(y=frame.a * 2 + (frame.b == "u") + 0.1 * rng.randn(30))


def test_every_row_trains_and_the_posterior_is_that_of_the_same_training_rows(frame, tmp_path, capsys):
    rest = train_on(write_table(tmp_path, frame, "rest.csv"), "split", protocol="random", test_fraction=0.3, **SETTINGS)
    data = load_regression(Config.from_dict(json.loads((tmp_path / "split.json").read_text())))
    trained = frame.iloc[data.split.train]
    root = train_on(write_table(tmp_path, trained, "all.csv"), "every", protocol="all", **SETTINGS)
    result, kept = (json.loads((folder / "result.json").read_text()) for folder in (root, rest))
    assert (result["n_train"], result["n_test"], result["n_valid"]) == (21, 0, 0) and result["protocol"] == "all"
    assert result["metrics"]["train_lower_bound"] == kept["metrics"]["train_lower_bound"]
    assert not [name for name in result["metrics"] if name.startswith(("test_", "valid_"))]
    assert not (root / "predictions.csv").exists() and "has not been judged" in (root / "MODEL_CARD.md").read_text()
    outs = []
    for number, folder in enumerate((root, rest)):
        out = tmp_path / f"{number}.csv"
        predict.main([str(folder), str(write_table(tmp_path, frame, "new.csv")), "--out", str(out)])
        outs.append(read_csv(out))
    for name in outs[0]:
        assert (outs[0][name] == outs[1][name]).all()
    with pytest.raises(SystemExit):
        evaluate.main([str(root)])
    assert "all rows were trained on (protocol all)" in capsys.readouterr().err
    evaluate.main([str(root), "--data", str(tmp_path / "rest.csv")])
    with pytest.raises(SystemExit):
        regression_baseline.main(["--config", str(tmp_path / "every.json"), "--seeds", "1-2"])
    assert "protocol all leaves no row to test on" in capsys.readouterr().err


def test_validation_rows_are_chosen_at_random(frame):
    config = Config.from_dict(dict(dataset="mine", data_file="mine.csv", target="y", protocol="all", optimizer="kfac",
                                   model_name="ffn", hidden=[3], epoch=1, batch_size=8, validation_fraction=0.2,
                                   evaluate_on="validation"))
    data = load_regression(config, table_of_frame(frame, "a frame"))
    assert len(data.valid.x) == 6 and data.test is None and data.source == "a frame"
    numbers = data.valid.ids
    assert sorted(numbers) != list(range(25, 31)) and len(set(numbers)) == 6


def test_a_table_in_memory_is_that_of_its_file(frame, tmp_path):
    values = dict(SETTINGS, dataset="mine", data_file=str(write_table(tmp_path, frame, "mine.csv")), optimizer="kfac",
                  model_name="ffn", hidden=[3], protocol="random")
    config = Config.from_dict({name: value for name, value in values.items() if value is not None})
    one, other = run.plan(config, "cpu").data, run.plan(config, "cpu", table_of_frame(frame, "a frame")).data
    for part in ("train", "test"):
        np.testing.assert_allclose(getattr(one, part).x, getattr(other, part).x, rtol=1e-12)
        np.testing.assert_allclose(getattr(one, part).y, getattr(other, part).y, rtol=1e-12)


def test_validation_rows_must_be_what_the_run_is_judged_by():
    with pytest.raises(UserError, match="protocol all has no test rows: with validation_fraction, set evaluate_on"):
        Config.from_dict(dict(dataset="mine", data_file="mine.csv", protocol="all", optimizer="kfac", model_name="ffn",
                              hidden=[3], epoch=1, batch_size=8, validation_fraction=0.2))
