"""evaluate.py for regression: its metrics, mixtures, bands, and the posterior itself."""
import csv
import json

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose
from scipy import stats

import evaluate
from core.assessment import weight_noise
from core.assessment.figures import FIGURES
from core.assessment.inputs import Collected, Options, band_inputs, collect, make_inputs, mixture
from core.assessment.restore import restored
from core.assessment.results import Results
from core.assessment.tables import warnings
from core.inference.posteriors import EigenMatrixNormal, FullyFactorized, MatrixNormal
from core.metrics.calibration import monte_carlo
from core.metrics.crps import mixture_crps
from core.training.evaluation import Draws
from misc.errors import UserError
from tests.assessment.runs import DIGITS, NOTHING, TOY, evaluated, figures, numbers, train_run

pytestmark = pytest.mark.usefixtures("shared_graphs")  # the same runs are evaluated again and again


# Regression.

def test_regression_metrics_are_those_of_the_run(toys):
    evaluate.main([str(toys["ekfac"])])
    report, result = numbers(toys["ekfac"]), json.loads((toys["ekfac"] / "result.json").read_text())
    for name in ("rmse", "log_likelihood"):
        assert report["metrics"][name]["value"] == pytest.approx(result["metrics"]["test_" + name], rel=1e-5)
    with open(str(toys["ekfac"] / "evaluation" / "predictions.csv")) as handle:
        rows = list(csv.DictReader(handle))
    assert list(rows[0]) == ["row", "target", "mean", "std", "epistemic_std", "lower", "upper", "crps", "cdf"]
    assert len(rows) == 2
    assert np.mean([float(row["crps"]) for row in rows]) == pytest.approx(report["metrics"]["crps"]["value"], rel=1e-6)
    assert figures(toys["ekfac"] / "evaluation") == ["band", "coverage", "noise", "precision", "predictions",
                                                     "residuals"]


def test_student_s_t_is_evaluated_with_its_own_density(tmp_path):
    root = train_run(tmp_path, **dict(TOY, optimizer="ekfac", likelihood="student_t", noise_dof=3.0, exp_name="t",
                                     epoch=60, epoch_rate=60))
    results = evaluated(root).results
    metrics = json.loads((root / "result.json").read_text())["metrics"]
    for name in ("rmse", "log_likelihood"):
        assert results.metrics[name].value == pytest.approx(metrics[f"test_{name}"], rel=1e-6)
    gaussian = evaluated(root, likelihood="gaussian").results
    assert gaussian.metrics["log_likelihood"].value != pytest.approx(metrics["test_log_likelihood"], rel=1e-3)
    assert results.more["noise_std"] == pytest.approx(3.0**0.5 * gaussian.more["noise_std"])
    with restored(root, {}) as run:
        collected = collect(run, make_inputs(run.config, run.data, NOTHING))
        (y, draws), data = collected["test"][:2], run.data
    assert mixture([collected, collected])["test"][1].dof == draws.dof == 3.0
    means, scale = data.target_mean + data.target_std * draws.outputs, data.target_std / np.sqrt(draws.precisions)
    y = data.target_mean + data.target_std * y
    assert_allclose(results.predictions["cdf"], stats.t.cdf(y, 3.0, means, scale[:, None]).mean(axis=0), rtol=1e-6)
    assert_allclose(results.predictions["crps"], mixture_crps(means, scale**2, y, 3.0), rtol=1e-6)
    per_draw = stats.t.logpdf(y, 3.0, means, scale[:, None])
    assert results.more["monte_carlo"]["error"] == pytest.approx(monte_carlo(per_draw)["error"], rel=1e-6)
    band = results.panels["band"]
    assert (band.std**2 - band.epistemic_std**2).min() == pytest.approx(results.more["noise_std"]**2, rel=1e-5)


@pytest.mark.parametrize("method", ["ekfac", "kfac", "diag", "bbb"])
def test_the_band_widens_away_from_the_data(toys, method):
    band = evaluated(toys[method]).results.panels["band"]
    inside = (band.x > band.train_x.min()) & (band.x < band.train_x.max())
    assert band.x.min() < band.train_x.min() - 1 and band.x.max() > band.train_x.max() + 1
    middle = np.median(band.epistemic_std[inside])
    assert min(band.epistemic_std[0], band.epistemic_std[-1]) > 2 * middle
    assert (band.std > band.epistemic_std).all()


def test_mixtures_give_every_run_one_weight(toys):
    with restored(toys["ekfac"], {}) as one, restored(toys["bbb"], {}) as other:
        collected = [collect(run, make_inputs(run.config, run.data, NOTHING)) for run in (one, other)]
        assert len(band_inputs(one.data)) == 241
    both = mixture(collected)["test"][1]
    assert both.outputs.shape == (200, 2) and both.precisions.shape == (200,)
    assert_allclose(both.outputs.mean(axis=0), np.mean([each["test"][1].outputs.mean(axis=0) for each in collected],
                                                       axis=0), atol=1e-6)
    labels, sure, unsure = np.zeros(2, int), np.eye(3)[np.array([[0, 0]])], np.full((50, 2, 3), 1 / 3)
    classes = mixture([{"test": Collected(labels, sure)}, {"test": Collected(labels, unsure)}])["test"][1]
    assert_allclose(classes.mean(axis=0), [[2 / 3, 1 / 6, 1 / 6]] * 2)
    shapes = mixture([{"test": Collected(labels, both)}, {"test": Collected(labels, Draws(*both[:2], 5.0))}])
    assert np.array_equal(shapes["test"][1].dof, np.repeat([np.inf, 5.0], 200)) and both.dof == np.inf
    with pytest.raises(UserError, match="the runs have 7 and 50 draws"):
        mixture([{"test": Collected(labels, unsure[:7])}, {"test": Collected(labels, unsure)}])


def test_a_mixture_of_runs_with_noise_of_different_shapes(toys, tmp_path, no_figures):
    """A run with Gaussian noise, and a point estimate with Student's t."""
    point = train_run(tmp_path, **dict(TOY, epoch=60), optimizer="adam", exp_name="point", likelihood="student_t",
                      noise_dof=3.0)
    evaluate.main([str(toys["ekfac"]), str(point), "--ensemble", "--out", str(tmp_path / "both")])
    report = json.loads((tmp_path / "both_ensemble" / "metrics.json").read_text())
    densities, variances, cdfs = [], [], []
    for root, family in ((toys["ekfac"], stats.norm), (point, stats.t)):
        with restored(root, {}) as run:
            (y, draws), data = collect(run, make_inputs(run.config, run.data, NOTHING))["test"][:2], run.data
        shape = () if family is stats.norm else (3.0,)
        means, scale = data.target_mean + data.target_std * draws.outputs, data.target_std / np.sqrt(draws.precisions)
        targets = data.target_mean + data.target_std * y
        densities.append(family.pdf(targets, *shape, means, scale[:, None]).mean(axis=0))
        cdfs.append(family.cdf(targets, *shape, means, scale[:, None]).mean(axis=0))
        variances.append(family.var(*shape, 0.0, scale).mean())
    assert report["metrics"]["log_likelihood"]["value"] == pytest.approx(np.log(np.mean(densities, axis=0)).mean())
    assert report["noise_std"] == pytest.approx(np.sqrt(np.mean(variances)))
    with open(str(tmp_path / "both_ensemble" / "predictions.csv")) as handle:
        rows = list(csv.DictReader(handle))
    assert_allclose([float(row["cdf"]) for row in rows], np.mean(cdfs, axis=0), rtol=1e-6)


def test_few_rows_and_different_rows_are_reported(toys, tmp_path, capsys, no_figures):
    """toy1d has two test rows, too few for intervals."""
    evaluate.main([str(toys["ekfac"])])
    out = capsys.readouterr().out
    assert "Fewer than 20 rows (ekfac): no intervals" in out and "[" not in out
    assert numbers(toys["ekfac"])["metrics"]["rmse"]["low"] is None
    other = train_run(tmp_path, **dict(TOY, split=2, epoch=2), optimizer="ekfac", exp_name="other")
    evaluate.main([str(toys["ekfac"]), str(other), "--out", str(tmp_path / "two")])
    assert "not evaluated on the same rows" in (tmp_path / "two" / "comparison.md").read_text()


@pytest.mark.parametrize("n_rows, more, sentence", [
    (25, {}, None), (25, {"ood_rows": 12}, "Fewer than 20 OOD rows (a)"), (25, {"ood_rows": 20}, None),
    (25, {"corrupted_rows": 5}, "Fewer than 20 corrupted rows (a)"), (19, {"ood_rows": 30}, "Fewer than 20 rows (a)")])
def test_which_rows_are_few(n_rows, more, sentence):
    results = {"a": Results({}, more, {"target": np.zeros(n_rows)}, {})}
    said = warnings(results, same_rows=True)
    assert [text.split(":")[0] for text in said] == ([sentence] if sentence else [])


def test_a_known_set_s_rows_by_its_name(toys, tmp_path):
    """The set is read from NAME.data in data_path, or fetched, as for training."""
    config = json.loads((toys["ekfac"] / "config.json").read_text())["config"]
    np.savetxt(str(tmp_path / "else.data"), [[-2.0, -8.0], [0.5, 0.0]])
    results = evaluated(toys["ekfac"], Options("else", None, False, None), data_path=str(tmp_path)).results
    assert results.predictions["target"] == pytest.approx([-8.0, 0.0], abs=1e-5)
    with pytest.raises(UserError, match="did you mean 'toy1d'"):
        evaluated(toys["ekfac"], Options("toy1b", None, False, None), data_path=config["data_path"])


def test_other_validation_rows_are_other_rows(tmp_path, no_figures):
    roots = [train_run(tmp_path, **dict(DIGITS, epoch=1), exp_name=f"fold{fold}", validation_fraction=0.2,
                       validation_fold=fold, evaluate_on="validation") for fold in (0, 1)]
    evaluate.main([*map(str, roots), "--out", str(tmp_path / "two")])
    assert "not evaluated on the same rows" in (tmp_path / "two" / "comparison.md").read_text()


def test_shared_axes_include_the_rows_of_every_run(rng):
    """The limits of axes that several runs share include the rows of all of them."""
    cold, hot = ({"right": 10.0**rng.uniform(-4, top, (2, 30)), "wrong": np.zeros((2, 0))} for top in (-2, 0))
    for axis in FIGURES["uncertainty"]({"cold": cold, "hot": hot}).axes:
        assert axis.get_xlim()[1] > hot["right"][0].max() and axis.get_ylim()[1] > hot["right"][1].max()


def test_rows_of_a_file_in_the_data_s_own_units(toys, tmp_path):
    np.savetxt(str(tmp_path / "rows.data"), [[-2.0, -8.0], [0.5, 0.0], [1.0, 1.0]])
    predictions = evaluated(toys["ekfac"], Options(str(tmp_path / "rows.data"), None, False, None)).results.predictions
    assert_allclose(predictions["target"], [-8.0, 0.0, 1.0], atol=1e-5)
    assert abs(predictions["mean"][0] + 8.0) < 8.0


# A linear-Gaussian problem, whose exact posterior is known.

def exact_std(root, noise_std):
    """Mean epistemic std over the test rows under (tau X^T X + I / eta)^-1, in the target's units."""
    with restored(root, {}) as run:
        data = run.data
    x, rows = (np.column_stack([part.x, np.ones(len(part.x))]) for part in (data.train, data.test))
    covariance = np.linalg.inv((data.target_std / noise_std) ** 2 * x.T @ x + np.eye(x.shape[1]))
    return data.target_std * np.mean(np.sqrt(np.sum(rows @ covariance * rows, axis=1)))


@pytest.mark.parametrize("method", ["ekfac", "kfac"])
def test_coverage_and_epistemic_std_of_a_linear_gaussian_problem(tmp_path, method):
    """Intervals have their nominal coverage, and the epistemic std falls as 1 / sqrt(N)."""
    rng, stds = np.random.RandomState(5), {}
    for n in (300, 2700):
        x = rng.randn(n, 3)
        y = x @ [1.0, -2.0, 0.5] + rng.randn(n)
        np.savetxt(str(tmp_path / f"line{n}.data"), np.column_stack([x, y]))
        root = train_run(tmp_path, dataset=f"line{n}", optimizer=method, model_name="linear", epoch=60,
                         batch_size=n // 9, exp_name=f"line{n}", train_particles=4, test_particles=200, beta=0.05,
                         omega=0.05, alpha=0.02, learning_rate=0.02, lr_decay_interval=30, noise_prior_shape=1.0,
                         noise_prior_rate=1.0)
        results = evaluated(root).results
        stds[n] = np.mean(results.predictions["epistemic_std"])
        assert stds[n] == pytest.approx(exact_std(root, results.more["noise_std"]), rel=0.15)
        n_test = len(results.predictions["target"])
    coverage = results.metrics["coverage_90"].value
    assert abs(coverage - 0.9) < 3 * np.sqrt(0.9 * 0.1 / n_test)
    assert results.metrics["calibration_area"].value < 0.05
    assert stds[300] / stds[2700] == pytest.approx(3.0, rel=0.25)


# The posterior.

def test_precisions_against_the_sampled_covariance(rng):
    """Each precision is the inverse of the covariance of many draws, and its diagonal agrees with the closed form."""
    root_a, root_s = np.tril(rng.rand(3, 3)) + np.eye(3), np.tril(rng.rand(2, 2)) + np.eye(2)
    q_a, q_s = np.linalg.qr(rng.randn(3, 3))[0], np.linalg.qr(rng.randn(2, 2))[0]
    variance = 0.5 + rng.rand(3, 2)
    for family in (MatrixNormal(np.zeros((3, 2)), root_a, root_s, np.float64(0.3)),
                   EigenMatrixNormal(np.zeros((3, 2)), q_a, q_s, variance),
                   FullyFactorized(np.zeros((3, 2)), variance)):
        with tf.Graph().as_default(), tf.Session() as session:
            tensors = type(family)(*map(tf.constant, family))
            draws = session.run(tensors.sample(200000, tf.constant([3, 4]))).reshape(200000, 6)
            std = session.run(tensors.std())
        precision = weight_noise.precision(family)
        assert_allclose(np.linalg.inv(precision), np.cov(draws.T), atol=0.02)
        assert_allclose(np.sqrt(np.diag(np.linalg.inv(precision))), std.ravel(), rtol=1e-9)
        normalised = weight_noise.normalised(precision)
        assert_allclose(np.diag(normalised), 1.0)
        assert (normalised <= 1 + 1e-12).all() and normalised.min() >= 0


def test_effective_parameters_are_the_sum_over_the_eigenvalues(toys):
    with restored(toys["ekfac"], {}) as run:
        layers, variables = weight_noise.layers(run), run.session.run(run.model.variables)
        damping = run.design.prior.damping
        for name, layer in layers.items():
            scale = variables[name]["scale"].astype(np.float64)
            assert layer["effective_parameters"] == pytest.approx(np.sum(scale / (scale + damping)), rel=1e-4)
            assert 0 < layer["effective_parameters"] < layer["weights"] == scale.size
        assert set(weight_noise.precisions(run)) == {"dense0", "dense1", "all noisy layers"}


def test_effective_parameters_of_a_learned_variance_are_as_they_are(tmp_path, no_figures):
    """The variance of Bayes by backprop does not have the temperature as a factor, also during the warm-up."""
    with restored(train_run(tmp_path, **dict(DIGITS, optimizer="bbb", kl_warmup=6)), {}) as run:
        stds = run.session.run(run.model.evaluate.weight_std)
        for name, layer in weight_noise.layers(run).items():
            expected = np.sum(1.0 - np.square(stds[name].astype(np.float64)) / run.config.eta)
            assert layer["effective_parameters"] == pytest.approx(expected, rel=1e-6)


def test_effective_parameters_do_not_depend_on_the_warm_up(tmp_path, no_figures):
    """Half-way through kl_warmup the weight noise is smaller; the count is that of the full prior."""
    root = train_run(tmp_path, **dict(DIGITS, kl_warmup=6))
    with restored(root, {}) as run:
        assert run.session.run(run.model.evaluate.kl_scale) == 0.5
        for name, layer in weight_noise.layers(run).items():
            scale = run.session.run(run.model.variables[name]["scale"]).astype(np.float64)
            assert layer["effective_parameters"] == pytest.approx(
                np.sum(scale / (scale + run.design.prior.damping)), rel=1e-3)
