"""MODEL_CARD.md in a run's folder."""
import json

import pandas
import pytest

import train
from misc.folders import folder_at


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    """Function (table, **settings) -> (text of the card, result.json) of a short run."""

    def make(table, **settings):
        place = tmp_path_factory.mktemp("card")
        table.to_csv(place / "t.csv", index=False)
        values = dict(dataset="t", data_file=str(place / "t.csv"), optimizer="kfac", model_name="ffn", hidden=[3],
                      epoch=2, batch_size=20, test_particles=5, experiments_path=str(place / "e"), exp_name="run")
        values.update(settings)
        (place / "c.json").write_text(json.dumps(values))
        train.main(["--config", str(place / "c.json")])
        folder = folder_at(place / "e" / "t" / "run")
        return folder.card.read_text(encoding="utf-8"), json.loads(folder.result.read_text())

    return make


def table(rng, n=60):
    return pandas.DataFrame({"kind": rng.choice(["x|y", "z"], n), "a": rng.randn(n), "b": 7.0, "y": rng.randn(n)})


def test_a_card_says_what_is_predicted_how_well_and_from_what(card, rng):
    rows = table(rng)
    rows.loc[3, "a"] = None
    text, result = card(rows, target="y", missing="median")
    assert "column 4 ('y')" in text and f"{result['n_train']} rows of" in text
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|") and "|" in line[1:]}
    assert "x\\|y, z" in lines["kind"] and "missing values become" in lines["a"] and "always 7: not used" in lines["b"]
    assert f"{result['metrics']['test_rmse']:.4g}" in lines["rmse"]
    assert "mostly chance" in text  # of six rows
    assert f"{100 * result['metrics']['test_coverage_90']:.0f} % of them" in text
    assert "Constant over the training rows" in text and "predict.py" in text


def test_a_card_of_classes(card, rng):
    rows = table(rng, 300)
    rows["y"] = rng.choice(["no", "yes"], 300)
    text, result = card(rows, target="y", mode="classification")
    assert "one of 2 classes (no, yes)" in text
    line = next(line for line in text.splitlines() if line.startswith("| accuracy"))
    assert f"{result['metrics']['test_accuracy']:.4g}" in line and " to " in line  # with an interval
