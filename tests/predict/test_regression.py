"""Predictions of a regression by hand: scikit-learn's preprocessing, and a forward pass in numpy."""
import json

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import optimize, stats

import evaluate
from core.assessment.restore import restored
from data_loader.regression import load_regression
from misc.folders import read_config
from tests.conftest import tf
from tests.predict.houses import NUMBERS, assert_equal, predicted, read_csv

pytestmark = pytest.mark.usefixtures("shared_graphs", "no_figures")


@pytest.fixture(params=["run", "student"])
def any_run(request):
    return request.getfixturevalue(request.param)


def config_of(root):
    return read_config(root, {})[0]


def encoded(table, train_rows):
    """Returns the network's inputs [n, d] by scikit-learn, fitted to the training rows; columns as in the table."""
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    blocks, fit = {}, table.iloc[train_rows]
    for name in NUMBERS:
        imputer = SimpleImputer(strategy="median").fit(fit[[name]].to_numpy())
        scaler = StandardScaler().fit(imputer.transform(fit[[name]].to_numpy()))
        blocks[name] = scaler.transform(imputer.transform(table[[name]].to_numpy()))
    for name in ("river", "zone"):
        encoder = OneHotEncoder(handle_unknown="ignore").fit(fit[[name]].to_numpy())
        blocks[name] = encoder.transform(table[[name]].to_numpy()).toarray()
    return np.concatenate([blocks[name] for name in table.columns if name in blocks], axis=1)


def weight_draws(root):
    """Returns (weights of all layers, [K, d_in + 1, d_out] each; noise) of a run."""
    with restored(root, {}) as run:
        predictions = run.model.evaluate.predictions
        held = [var for var in run.model.graph.get_collection(tf.GraphKeys.LOCAL_VARIABLES)
                if var.op.name.startswith("drawn_")]
        groups = []
        for group in range(run.design.n_test_particles // run.design.particles_at_once):
            run.session.run(predictions.draw, {predictions.group: group})
            groups.append(run.session.run(held))
        return [np.concatenate(of_layer) for of_layer in zip(*groups)], run.noise()


def forward(x, weights):
    """[n, d] -> [K, n], of a network of relu layers."""
    h = np.repeat(x[None], len(weights[0]), axis=0)
    for weight in weights[:-1]:
        h = np.maximum(h @ weight[:, :-1] + weight[:, -1:], 0.0)
    return (h @ weights[-1][:, :-1] + weights[-1][:, -1:])[..., 0]


def test_predictions_by_hand(any_run, folder, table, of):
    got, _ = of(any_run, folder / "houses.csv", "--interval", 0.8, "--quantiles", 0.01, 0.6)
    data = load_regression(config_of(any_run))
    target = table["value"].to_numpy()[data.split.train]
    weights, noise = weight_draws(any_run)
    assert len(weights[0]) == len(noise.precisions) == 7 and len(weights) == 2
    means = target.mean() + target.std() * forward(encoded(table, data.split.train), weights)
    scales = target.std() / np.sqrt(noise.precisions)
    noise_variance = np.mean(scales**2) * (1.0 if np.isinf(noise.dof) else noise.dof / (noise.dof - 2.0))
    assert list(got) == ["house", "mean", "std", "epistemic_std", "lower", "upper", "quantile_0.01", "quantile_0.6"]
    assert got["house"].tolist() == table["house"].tolist()
    assert_allclose(got["mean"], means.mean(axis=0), rtol=1e-5)
    assert_allclose(got["epistemic_std"], means.std(axis=0), rtol=1e-4)
    assert_allclose(got["std"], np.sqrt(means.var(axis=0) + noise_variance), rtol=1e-5)

    def cdf(y, row):
        t = (y - means[:, row]) / scales
        return (stats.norm.cdf(t) if np.isinf(noise.dof) else stats.t.cdf(t, noise.dof)).mean()

    for row in (0, 17, 119):
        for name, level in (("lower", 0.1), ("upper", 0.9), ("quantile_0.01", 0.01), ("quantile_0.6", 0.6)):
            exact = optimize.brentq(lambda y, row=row, level=level: cdf(y, row) - level, -1e4, 1e4, xtol=1e-10)
            assert got[name][row] == pytest.approx(exact, rel=2e-5), name


def test_noise_is_of_the_kind_that_was_trained(run, student):
    (_, gaussian), (_, fitted) = weight_draws(run), weight_draws(student)
    assert np.isinf(gaussian.dof) and np.isfinite(fitted.dof) and set(fitted.report)


def test_the_same_numbers_as_everywhere_else(any_run, folder, table, rows_file, of):
    """Those of predictions.csv for the test rows, and those of evaluate.py with and without --data, to the last digit.
    """
    config = config_of(any_run)
    test = table.iloc[load_regression(config).split.test]
    path = rows_file(test)
    predictions, _ = of(any_run, path)
    written = read_csv(any_run / "predictions.csv")
    assert list(written) == ["house", "target", "mean", "std", "epistemic_std", "lower", "upper", "log_prob", "cdf"]
    assert_equal(predictions, {name: written[name] for name in predictions})
    assert_allclose(written["target"], test["value"], rtol=1e-12)
    inside = (written["lower"] <= written["target"]) & (written["target"] <= written["upper"])
    assert (inside == (np.abs(written["cdf"] - 0.5) <= 0.45)).all()
    result = json.loads((any_run / "result.json").read_text())["metrics"]
    assert inside.mean() == pytest.approx(result["test_coverage_90"])
    for flags in ([], ["--data", str(path)]):
        evaluate.main([str(any_run), *flags])
        evaluated = read_csv(any_run / "evaluation" / "predictions.csv")
        assert list(evaluated) == ["house", "target", "mean", "std", "epistemic_std", "lower", "upper", "crps", "cdf"]
        assert_equal(predictions, {name: evaluated[name] for name in predictions})


def test_more_draws(run, folder, of, capsys):
    few, _ = of(run, folder / "houses.csv")
    many, _ = predicted(capsys, run, folder / "houses.csv", "--particles", 200)
    assert 0 < np.abs(few["mean"] - many["mean"]).max() < 5 * few["epistemic_std"].max()


@pytest.mark.parametrize("runs", [["run"], ["student"], ["run", "student"]])
def test_samples_are_of_the_predictive_distribution(runs, request, table, rows_file, of):
    """Mean, std and quantiles of 5000 samples are those of the columns, within Monte-Carlo error.

    The fitted noise has few degrees of freedom: its samples converge to the quantiles, but hardly to the std.
    """
    roots = [request.getfixturevalue(name) for name in runs]
    n_samples, more = 5000, ["--ensemble", *roots[1:]] if len(roots) > 1 else []
    got, _ = of(roots[0], rows_file(table.head(12)), "--samples", n_samples, "--quantiles", 0.3, *more)
    samples = np.array([got[f"sample_{number}"] for number in range(1, n_samples + 1)])
    assert_allclose((samples.mean(axis=0) - got["mean"]) / got["std"], 0.0, atol=4.5 / np.sqrt(n_samples))
    if runs == ["run"]:
        assert_allclose(samples.std(axis=0), got["std"], rtol=0.06)
    for name, level in (("lower", 0.05), ("quantile_0.3", 0.3), ("upper", 0.95)):
        shares = (samples <= got[name]).mean(axis=0)
        assert_allclose(shares, level, atol=4.5 * np.sqrt(level * (1 - level) / n_samples), err_msg=name)
    assert abs(np.corrcoef(samples[:, 0], samples[:, 1])[0, 1]) < 0.1  # each row has draws of its own


def test_batches_change_no_more_than_rounding(run, folder, of):
    whole, _ = of(run, folder / "houses.csv", "--samples", 3)
    small, _ = of(run, folder / "houses.csv", "--samples", 3, "--batch", 7)
    for name in set(whole) - {"house"}:
        assert_allclose(small[name], whole[name], rtol=1e-4, err_msg=name)


def test_blocks_of_the_file_change_no_more_than_rounding(run, folder, of, monkeypatch):
    from data_loader import row_stream

    whole, _ = of(run, folder / "houses.csv")
    monkeypatch.setattr(row_stream, "BLOCK_ROWS", 13)
    blocks, _ = of(run, folder / "houses.csv")
    assert whole["house"].tolist() == blocks["house"].tolist()
    for name in set(whole) - {"house"}:
        assert_allclose(blocks[name], whole[name], rtol=1e-4, err_msg=name)
