"""Several targets of a table: from the config to predictions."""
import json

import numpy as np
import pandas
import pytest

import evaluate
import predict
import train
from data_loader.regression import load_regression
from misc.config import Config
from misc.errors import UserError


def two_targets(n=120):
    """A table whose targets, heat and cool, stand among the inputs."""
    rng = np.random.RandomState(0)
    x = rng.randn(n, 3)
    return pandas.DataFrame({"id": [f"r{row}" for row in range(n)], "heat": 10 + 5 * x[:, 0] + rng.randn(n),
                             "a": x[:, 0], "b": x[:, 1], "cool": 100 + 20 * x[:, 1] + 4 * rng.randn(n), "c": x[:, 2]})


def settings(place, **overrides):
    return dict(dataset="two", data_file=str(place / "two.csv"), target=["heat", "cool"], row_id="id",
                optimizer="kfac", model_name="ffn", hidden=[4], epoch=4, batch_size=20, test_particles=9,
                protocol="random",
                experiments_path=str(place / "e"), noise_update="conjugate", learning_rate=0.1, **overrides)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """{name: folder of a run}; their table is gone."""
    place = tmp_path_factory.mktemp("two")
    two_targets().to_csv(str(place / "two.csv"), index=False)
    roots = {}
    for name, keys in {"diagonal": {}, "full": {"noise_covariance": "full"},
                       "leave_one_out": {"predictive_noise": "leave_one_out"}}.items():
        values = settings(place, exp_name=name, **keys)
        (place / "c.json").write_text(json.dumps(values))
        train.main(["--config", str(place / "c.json")])
        roots[name] = place / "e" / "two" / name
    (place / "two.csv").rename(place / "gone.csv")
    return roots


def test_targets_are_standardised_one_by_one(tmp_path):
    table = two_targets()
    table.to_csv(str(tmp_path / "two.csv"), index=False)
    data = load_regression(Config.from_dict(settings(tmp_path)))
    raw = table[["heat", "cool"]].to_numpy()[data.split.train]
    np.testing.assert_allclose(data.target_mean, raw.mean(axis=0))
    np.testing.assert_allclose(data.train.y, (raw - raw.mean(axis=0)) / raw.std(axis=0))
    assert data.train.x.shape[1] == 3 and data.names[-2:] == ("heat", "cool")


@pytest.mark.parametrize("name", ["diagonal", "full", "leave_one_out"])
def test_new_rows_are_predicted_as_they_are_evaluated(runs, tmp_path, name):
    root, out = runs[name], tmp_path / "p.csv"
    new = two_targets(150).tail(30)
    new.drop(columns=["heat", "cool"]).to_csv(str(tmp_path / "new.csv"), index=False)
    new.to_csv(str(tmp_path / "with.csv"), index=False)
    predict.main([str(root), str(tmp_path / "new.csv"), "--out", str(out)])
    evaluate.main([str(root), "--data", str(tmp_path / "with.csv")])
    predicted, evaluated = pandas.read_csv(str(out)), pandas.read_csv(str(root / "evaluation" / "predictions.csv"))
    assert list(predicted["id"]) == list(new["id"])
    for target in ("heat", "cool"):
        for column in ("mean", "std", "lower", "upper"):
            np.testing.assert_array_equal(predicted[f"{column}_{target}"], evaluated[f"{column}_{target}"])
        np.testing.assert_allclose(evaluated[f"target_{target}"], new[target], rtol=1e-12)


def test_the_fitted_noise_of_each_target_is_kept(runs, tmp_path):
    """The spread of predictions is that of the noise that was fitted in training, without the training rows."""
    root, out = runs["leave_one_out"], tmp_path / "p.csv"
    metrics = json.loads((root / "result.json").read_text())["metrics"]
    two_targets(130).tail(10).to_csv(str(tmp_path / "new.csv"), index=False)
    predict.main([str(root), str(tmp_path / "new.csv"), "--out", str(out), "--particles", "9"])
    table, own = pandas.read_csv(str(out)), pandas.read_csv(str(root / "predictions.csv"))
    for number, target in enumerate(("heat", "cool"), start=1):
        assert metrics[f"squared_noise_scale_{number}"] > 0.0
        noise = [np.sqrt(np.square(rows[f"std_{target}"]) - np.square(rows[f"epistemic_std_{target}"]))
                 for rows in (table, own)]
        np.testing.assert_allclose(noise[0], noise[1][0], rtol=1e-9)


def test_the_card_names_both(runs):
    card = (runs["full"] / "MODEL_CARD.md").read_text()
    assert "2 numbers: column 2 ('heat'), column 5 ('cool')" in card and "| rmse_cool" in card


@pytest.mark.parametrize("values, message", [
    ({"target": ["heat", "warm"]}, "target 'warm': .* has no such column"),
    ({"target": ["heat", "id"]}, "cannot be target and row_id, too"),
    ({"target": []}, "target is a list without columns"), ({"target": ["heat", "heat"]}, "or with one twice"),
    ({"target": ["heat", "cool"], "mode": "classification"}, "a classification has one target")])
def test_wrong_targets_are_refused(tmp_path, values, message):
    two_targets().to_csv(str(tmp_path / "two.csv"), index=False)
    given = dict(settings(tmp_path), **values)
    if "mode" in values:
        for key in ("noise_update",):
            given.pop(key)
    with pytest.raises(UserError, match=message):
        load_regression(Config.from_dict(given))
