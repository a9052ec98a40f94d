"""Runs on several targets: training, predictions, files and evaluation; closed forms of linear models."""
import csv
import json

import numpy as np
import pytest
from scipy import stats

import evaluate
from core.assessment.inputs import collect, make_inputs, mixture
from core.assessment.restore import restored
from core.baseline.ensembles import mixture_row
from core.baseline.results import run_row
from core.metrics.joint import joint_log_prob
from core.metrics.noise_fit import fit_noise, leave_one_out
from core.training import noise, run
from core.training.design import Plan, design_run
from core.training.outputs import network_outputs
from core.training.tasks import TASKS
from misc.config import Config
from misc.errors import RunError, UserError
from misc.folders import run_folder
from tests.assessment.runs import NOTHING, evaluated, figures, numbers
from tests.several_targets import correlated_noise, single_target, standardised_data

pytestmark = pytest.mark.usefixtures("shared_graphs")

SETTINGS = dict(dataset="made", optimizer="kfac", model_name="ffn", hidden=[10], epoch=40, batch_size=20,
                train_particles=4, test_particles=50, epoch_rate=40, save_interval=40, alpha=0.02, beta=0.05,
                omega=0.05, learning_rate=0.05, noise_update="conjugate")


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Function (data, **settings) -> folder of a run on the data."""

    def train(data, **settings):
        config = Config.from_dict(dict(SETTINGS, experiments_path=str(tmp_path), **settings))
        monkeypatch.setitem(TASKS, "regression", TASKS["regression"]._replace(load=lambda config: data))
        run.execute(Plan(config, data, design_run(config, data.spec), "/device:CPU:0"))
        return run_folder(config).root

    return train


@pytest.fixture
def curves(rng):
    """Two targets of one input, with noise of standard deviations 0.1 and 0.3; 20 test rows."""
    x = rng.uniform(-2.0, 2.0, [220, 1])
    y = np.column_stack([np.sin(2.0 * x[:, 0]), 5.0 + 10.0 * x[:, 0]**2])
    return standardised_data(x, y + rng.randn(220, 2) * [0.1, 3.0], names=("x", "sine", "square"))


def columns_of(path):
    with open(str(path)) as handle:
        rows = list(csv.DictReader(handle))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


@pytest.mark.parametrize("settings", [
    dict(noise_update="adam"), dict(), dict(likelihood="student_t"), dict(noise_update="held_out"),
    dict(noise_update="leave_one_out"), dict(predictive_noise="leave_one_out"), dict(likelihood="heteroscedastic"),
    dict(likelihood="heteroscedastic", predictive_noise="leave_one_out", optimizer="kfac"), dict(optimizer="adam"),
    dict(noise_covariance="full"), dict(noise_covariance="full", noise_update="held_out", optimizer="adam")],
    ids=lambda settings: " ".join(map(str, settings.values())) or "conjugate")
def test_a_run_and_its_evaluation(trained, curves, settings, no_figures):
    """All metrics are those of predictions.csv, and evaluate.py finds them again."""
    values = dict(settings, epoch=80) if settings.get("optimizer") == "adam" else settings
    root = trained(curves, **dict(SETTINGS, **values))
    result, table = json.loads((root / "result.json").read_text()), columns_of(root / "predictions.csv")
    metrics, squares = result["metrics"], []
    for name, std in zip(("sine", "square"), curves.target_std):
        errors = table[f"mean_{name}"] - table[f"target_{name}"]
        squares.append(np.mean((errors / std)**2))
        assert metrics[f"test_rmse_{name}"] == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-6)
        assert metrics[f"test_log_likelihood_{name}"] == pytest.approx(table[f"log_prob_{name}"].mean(), rel=1e-6)
        inside = np.mean(np.abs(2.0 * table[f"cdf_{name}"] - 1.0) <= 0.9)
        assert metrics[f"test_coverage_90_{name}"] == pytest.approx(inside)
    assert metrics["test_rmse"] == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-6) and metrics["test_rmse"] < 0.8
    assert metrics["test_log_likelihood"] == pytest.approx(table["log_prob"].mean(), rel=1e-6)
    assert result["targets"] == ["sine", "square"] and "divided by their target's standard deviation" in result["units"]
    found = evaluated(root).results
    for name in ("rmse", "log_likelihood", "moment_log_likelihood", "coverage_90", "rmse_sine", "coverage_90_square"):
        assert found.metrics[name].value == pytest.approx(metrics[f"test_{name}"], rel=1e-5), name
    assert {"crps_sine", "calibration_area_square"} <= set(found.metrics)


def test_one_target_is_not_several(trained, curves):
    """Without names, columns have numbers; a single target has the columns that it always had."""
    root = trained(single_target(curves), epoch=2, epoch_rate=2, exp_name="single")
    assert list(columns_of(root / "predictions.csv")) == ["row", "target", "mean", "std", "epistemic_std",
                                                               "lower", "upper", "log_prob", "cdf"]
    assert "targets" not in json.loads((root / "result.json").read_text())
    root = trained(curves._replace(names=None), epoch=2, epoch_rate=2, exp_name="nameless")
    table = columns_of(root / "predictions.csv")
    assert list(table)[8:10] == ["cdf_1", "target_2"] and list(table)[-1] == "log_prob"
    assert "test_rmse_2" in json.loads((root / "result.json").read_text())["metrics"]


def test_each_target_has_a_fitted_noise_of_its_own(trained, curves):
    root = trained(curves, predictive_noise="leave_one_out", noise_prior_rate=2.0)
    with restored(root, {}) as there:
        level = noise.fitted_level(there.session, there.model, curves)
        state = there.session.run(there.model.evaluate.likelihood)
        outputs = network_outputs(there.session, there.model, curves.train.x, curves.train.x).astype(np.float64)
    precisions = np.exp(state["log_noise"][0] - state["log_noise"][1])
    for j in range(2):
        left_out = leave_one_out(outputs[..., j], curves.train.y[:, j], precisions[j], 1.0, np.inf)
        fit = fit_noise(left_out, curves.train.y[:, j])
        assert level.rate[j] == pytest.approx(2.0 + 100.0 * fit.squared_scale, rel=1e-5)
        assert 1.0 / level.dof[0, j] == pytest.approx(1.0 / fit.dof, abs=1e-5)
    assert level.shape == 106.0 and np.ptp(level.rate) > 1.0


def test_figures_have_a_panel_for_each_target(trained, curves):
    root = trained(curves, epoch=2, epoch_rate=2)
    evaluate.main([str(root)])
    assert figures(root / "evaluation") == ["band", "coverage", "noise", "precision", "predictions", "residuals"]
    report = numbers(root)
    assert report["targets"]["sine"]["noise_std"] > 0 and report["monte_carlo"]["error"] > 0
    assert set(evaluated(root).results.panels["band"]) == {"sine", "square"}


def test_mixtures_of_runs(trained, curves, no_figures):
    """evaluate.py averages joint densities; regression_baseline.py, which has marginal ones only, says so."""
    roots = [trained(curves, seed=seed, likelihood=likelihood, epoch=5, epoch_rate=5, exp_name=likelihood)
             for seed, likelihood in ((1, "gaussian"), (2, "student_t"), (3, "heteroscedastic"))]
    collected, densities = [], []
    for root in roots:
        with restored(root, {}) as restored_run:
            collected.append(collect(restored_run, make_inputs(restored_run.config, restored_run.data, NOTHING)))
        y, draws = collected[-1]["test"][:2]
        shape = stats.norm if np.ndim(draws.dof) == 0 and np.isinf(draws.dof) else stats.t(8.0)
        scale = draws.precisions_per_row()**-0.5
        densities.append((shape.pdf((y - draws.outputs) / scale) / scale).prod(axis=-1).mean(axis=0))
    both = mixture(collected)["test"].draws
    assert both.outputs.shape == (150, 20, 2) and both.dof.shape == (150, 2)
    out = roots[0].parent / "all"
    evaluate.main([*map(str, roots), "--ensemble", "--out", str(out)])
    found = json.loads((out.parent / "all_ensemble" / "metrics.json").read_text())["metrics"]["log_likelihood"]["value"]
    expected = np.log(np.mean(densities, axis=0)).mean() - np.log(curves.target_std).sum()
    assert found == pytest.approx(expected, rel=1e-6)
    assert run_row(roots[0])["units"].startswith("rmse over rows and targets")
    with pytest.raises(RunError, match="several targets.*evaluate.py --ensemble"):
        mixture_row(roots[:2])


# Correlated noise.

def test_correlated_noise_is_predicted(trained, rng, no_figures):
    """The joint log-likelihood gains what the correlation tells, -1/2 log(1 - 0.8^2) = 0.51; each target's stays."""
    data = linear_data(rng, 1200)
    found = {}
    for covariance in ("diagonal", "full"):
        root = trained(data, model_name="linear", hidden=None, epoch=10, epoch_rate=10, noise_covariance=covariance,
                       exp_name=covariance)
        found[covariance] = json.loads((root / "result.json").read_text())["metrics"]
    gain = found["full"]["test_log_likelihood"] - found["diagonal"]["test_log_likelihood"]
    each = [found["full"][name] - found["diagonal"][name] for name in
            ("test_log_likelihood_1", "test_log_likelihood_2")]
    assert 0.3 < gain < 0.7 and np.abs(each).max() < 0.05


def test_runs_with_and_without_correlated_noise_are_mixed(trained, curves, no_figures):
    roots = [trained(curves, exp_name=name, epoch=3, epoch_rate=3, **settings) for name, settings in (
        ("full", dict(noise_covariance="full")), ("diagonal", {}), ("t", dict(likelihood="student_t")))]
    collected, densities = [], []
    for root in roots:
        with restored(root, {}) as there:
            collected.append(collect(there, make_inputs(there.config, there.data, NOTHING))["test"])
        draws = collected[-1].draws
        densities.append(np.exp(joint_log_prob(draws, collected[-1].rows)).mean(axis=0))
    both = mixture([{"test": one} for one in collected[:2]])["test"]
    np.testing.assert_allclose(np.exp(joint_log_prob(both.draws, both.rows)).mean(axis=0),
                               np.mean(densities[:2], axis=0), rtol=1e-6)
    with pytest.raises(UserError, match="noise_covariance full can be mixed with likelihood gaussian only"):
        mixture([{"test": collected[0]}, {"test": collected[2]}])


def test_one_target_has_no_covariance_matrix(trained, curves):
    tables = [columns_of(trained(single_target(curves), epoch=2, epoch_rate=2, noise_covariance=covariance,
                                 exp_name=covariance) / "predictions.csv") for covariance in ("full", "diagonal")]
    assert all(np.array_equal(tables[0][name], tables[1][name]) for name in tables[1])


@pytest.mark.parametrize("settings, message", [
    (dict(noise_update="adam"), "noise_covariance full is for noise_update conjugate or held_out, not adam: set noise"),
    (dict(likelihood="student_t"), "noise_covariance full is for likelihood gaussian, not student_t"),
    (dict(predictive_noise="leave_one_out"), "is for predictive_noise trained, not leave_one_out")])
def test_what_correlated_noise_does_not_go_with(settings, message):
    with pytest.raises(UserError, match=message):
        Config.from_dict(dict(SETTINGS, **dict(settings, noise_covariance="full")))


# A linear model, whose exact posterior is known.

def predictive_of_rows(data, noise_precision, prior_var):
    """Mean [n, m] and epistemic covariance [n, m, m] of the test rows, standardised; noise_precision: [m, m]."""
    a, test = (np.hstack([part.x, np.ones((len(part.x), 1))]) for part in (data.train, data.test))
    m = len(noise_precision)
    precision = np.kron(a.T @ a, noise_precision) + np.eye(a.shape[1] * m) / prior_var  # of vec W, row by row
    covariance = np.linalg.inv(precision)
    mean = (covariance @ (a.T @ data.train.y @ noise_precision).ravel()).reshape(-1, m)
    rows = np.stack([np.kron(row, np.eye(m)) for row in test])
    return test @ mean, rows @ covariance @ np.swapaxes(rows, 1, 2)


LINEAR = dict(model_name="linear", hidden=None, scale_init="exact", re_init=False, kfac_init_after_basis=False,
              epoch=300, batch_size=20, train_particles=10, test_particles=20000, alpha=0.02, beta=0.02, omega=0.01,
              learning_rate=0.01, lr_decay_interval=100, epoch_rate=300, save_interval=300, noise_prior_shape=0.1,
              noise_prior_rate=0.001, precision="float64")


def linear_data(rng, n_rows=220):
    x = rng.randn(n_rows, 3) @ rng.randn(3, 3)
    noise = correlated_noise(rng, n_rows)
    return standardised_data(x, x @ rng.randn(3, 2) + noise * [1.0, 3.0])


@pytest.mark.parametrize("optimizer, eta", [("ekfac", 0.5), ("kfac", 100.0)])
@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_a_linear_model_reaches_its_exact_posterior(trained, rng, covariance, optimizer, eta, no_figures):
    """At the fitted noise; K-FAC's factored damping is not exact, and therefore small here."""
    data = linear_data(rng)
    root = trained(data, **dict(SETTINGS, **dict(LINEAR, optimizer=optimizer, eta=eta, noise_covariance=covariance)))
    with restored(root, {}) as there:
        state, likelihood = there.session.run(there.model.evaluate.likelihood), there.design.likelihood
        draws = collect(there, make_inputs(there.config, there.data, NOTHING))["test"].draws
    if covariance == "diagonal":
        precision = np.diag(likelihood.mean_precision(state))
        assert abs(np.log(precision[0, 0] / precision[1, 1])) > 0.5
    else:
        precision = state["basis"] * state["dof"] / state["rates"] @ state["basis"].T
        assert precision[0, 1]**2 > 0.4 * precision[0, 0] * precision[1, 1]
    mean, covariance = predictive_of_rows(data, precision, eta)
    assert np.abs(draws.outputs.mean(axis=0) - mean).max() < 0.02 * np.ptp(mean)
    found = np.stack([np.cov(draws.outputs[:, row].T) for row in range(len(mean))])
    std = np.sqrt(np.einsum("njj->nj", covariance))
    np.testing.assert_allclose(found / std[:, :, None] / std[:, None], covariance / std[:, :, None] / std[:, None],
                               atol=0.08)
