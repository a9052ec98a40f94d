"""Classes of the rows of a table: probabilities, kinds of uncertainty, and the names of the classes."""
import json

import numpy as np
import pandas
import pytest
from numpy.testing import assert_allclose
from scipy.special import softmax

import evaluate
from core.assessment.restore import restored
from tests.predict.houses import SETTINGS, assert_equal, read_csv, train_on

pytestmark = pytest.mark.usefixtures("shared_graphs", "no_figures")

CLASSES = ["7", "Iris setosa", "virginica, late"]
COLUMNS = ["row", "predicted", "confidence", "entropy", "mutual_information", *(f"p_{name}" for name in CLASSES)]


@pytest.fixture(scope="module")
def path(iris):
    return iris.parents[2] / "iris.csv"


def probabilities_of(got):
    return np.stack([got[f"p_{name}"] for name in CLASSES], axis=1)


def test_predictions_by_hand(iris, path, of):
    got, said = of(iris, path)
    assert list(got) == COLUMNS and said == "" and got["row"].tolist() == list(range(1, 151))
    frame = pandas.read_csv(str(path))
    with restored(iris, {}) as run:
        train = frame.drop(columns="species").to_numpy()[run.data.split.train]
        x = (frame.drop(columns="species").to_numpy() - train.mean(axis=0)) / train.std(axis=0)
        draws = softmax(run.design.task.draws(run.session, run.model, x, run.data, None).astype(np.float64), axis=2)
    mean = draws.mean(axis=0)
    assert draws.shape == (7, 150, 3)
    assert_allclose(probabilities_of(got), mean, rtol=1e-6)
    assert_allclose(probabilities_of(got).sum(axis=1), 1.0, rtol=1e-12)
    assert_allclose(got["confidence"], mean.max(axis=1), rtol=1e-6)
    assert got["predicted"].tolist() == [CLASSES[number] for number in mean.argmax(axis=1)]
    total = -np.sum(mean * np.log(mean), axis=1)
    expected = -np.sum(draws * np.log(draws), axis=2).mean(axis=0)
    assert_allclose(got["entropy"], total, rtol=1e-5)
    assert_allclose(got["mutual_information"], total - expected, rtol=1e-3, atol=1e-7)
    assert (got["predicted"] == frame["species"].astype(str)).mean() > 0.6


def test_without_the_target_and_alone(iris, path, of, rows_file):
    frame = pandas.read_csv(str(path)).drop(columns="species")
    assert_equal(of(iris, rows_file(frame))[0], of(iris, path)[0])


def test_samples_are_classes(iris, path, of):
    got, _ = of(iris, path, "--samples", 2000)
    samples = np.array([got[f"sample_{number}"] for number in range(1, 2001)])
    for name in CLASSES:
        share = got[f"p_{name}"]
        assert_allclose((samples == name).mean(axis=0), share, atol=5 * np.sqrt(0.25 / 2000))


def test_the_same_numbers_as_everywhere_else(iris, path, of, rows_file):
    """Those of predictions.csv for the test rows, and those of evaluate.py with and without --data, to the last digit.
    """
    with restored(iris, {}) as run:
        test = run.data.split.test
    rows = pandas.read_csv(str(path), dtype=str).iloc[test]
    got, written = of(iris, rows_file(rows))[0], read_csv(iris / "predictions.csv")
    assert list(written) == ["row", "target", *COLUMNS[1:]]
    assert written["row"].tolist() == (test + 1).tolist() and written["target"].tolist() == rows["species"].tolist()
    assert_equal({name: got[name] for name in COLUMNS[1:]}, {name: written[name] for name in COLUMNS[1:]})
    accuracy = json.loads((iris / "result.json").read_text())["metrics"]["test_accuracy"]
    assert (written["predicted"] == written["target"]).mean() == pytest.approx(accuracy)
    with np.load(str(iris / "predictions.npz")) as arrays:
        assert_allclose(arrays["probabilities"], probabilities_of(written), rtol=1e-6)
    evaluate.main([str(iris)])
    assert_equal(read_csv(iris / "evaluation" / "predictions.csv"), written)
    evaluate.main([str(iris), "--data", str(rows_file(rows))])
    again = read_csv(iris / "evaluation" / "predictions.csv")
    assert again["row"].tolist() == list(range(1, len(test) + 1))
    assert_equal({name: again[name] for name in COLUMNS[1:]}, {name: written[name] for name in COLUMNS[1:]})
    assert (iris / "evaluation" / "predictions.npz").is_file()


def test_several_runs(iris, path, of, refuse):
    written = json.loads((iris / "config.json").read_text())["config"]
    keys = json.loads((iris.parents[2] / "iris.json").read_text())
    keys = {**dict.fromkeys(SETTINGS), **keys}  # train_on leaves out keys that are None
    other = train_on(path, "second", **dict(keys, exp_name="second", seed=5))
    assert written["seed"] == 1
    got, _ = of(iris, path, "--ensemble", other)
    each = [probabilities_of(of(root, path)[0]) for root in (iris, other)]
    assert_allclose(probabilities_of(got), (each[0] + each[1]) / 2, rtol=1e-9)
    assert_allclose(got["entropy"], -np.sum(probabilities_of(got) * np.log(probabilities_of(got)), axis=1), rtol=1e-9)
    frame = pandas.read_csv(str(path)).replace({"species": {"7": "eight"}})
    frame.to_csv(str(path.with_name("renamed.csv")), index=False)
    renamed = train_on(path.with_name("renamed.csv"), "renamed", **dict(
        keys, exp_name="renamed", dataset="renamed", data_file=str(path.with_name("renamed.csv"))))
    refuse("do not predict the same target", iris, path, "--ensemble", renamed)
