"""The noise of predictions: leave-one-out predictions of linear models, and the fit of scale and shape."""
import json

import numpy as np
import pytest
from scipy import optimize, stats

import evaluate
import train
from core.inference.noise_precision import leave_one_out_outputs
from core.metrics import noise_fit
from core.metrics.noise_fit import LeaveOneOut, fit_noise, leave_one_out
from misc import backend
from tests import written

tf = backend.prepare()

INFINITE = np.inf
OPTIMIZER = "kfac"


def posterior(x, y, tau, kl_weight=1.0):
    """Returns the mean and covariance of q(w) of a linear model with prior N(0, I) and noise precision tau."""
    inverse = np.linalg.inv(tau * x.T @ x + np.eye(x.shape[1]))
    return tau * inverse @ x.T @ y, kl_weight * inverse


@pytest.mark.parametrize("kl_weight", [1.0, 0.3])
def test_leave_one_out_predictions_are_those_of_refits(rng, kl_weight):
    n, d, tau = 23, 4, 3.0
    x = rng.randn(n, d) * np.array([1.0, 2.0, 0.5, 3.0])  # leverages differ from row to row
    y = x @ rng.randn(d) + rng.randn(n)
    mean, covariance = posterior(x, y, tau, kl_weight)
    noise = rng.randn(4000, d)
    noise = (noise - noise.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(noise.T)).T)  # exact moments
    outputs = (mean + noise @ np.linalg.cholesky(covariance).T) @ x.T
    left_out = leave_one_out(outputs, y, tau, kl_weight, INFINITE)
    for row in range(n):
        others = np.arange(n) != row
        refit, spread = posterior(x[others], y[others], tau, kl_weight)
        np.testing.assert_allclose(left_out.outputs[:, row].mean(), x[row] @ refit, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(left_out.outputs[:, row].var(ddof=1), x[row] @ spread @ x[row], rtol=1e-6)
    assert np.ptp(left_out.leverage) > 0.1


@pytest.mark.parametrize("dof", [4.0, INFINITE])
def test_equal_leverages_give_the_outputs_of_a_training_step(session, rng, dof):
    deviations, targets, tau = rng.randn(6, 1), rng.randn(5), 1.7
    outputs = rng.randn(5) + 0.3 * (deviations - deviations.mean())
    ours = leave_one_out(outputs, targets, tau, 0.6, dof).outputs
    theirs = session.run(leave_one_out_outputs(tf.constant(outputs[..., None]), tf.constant(targets),
                                               tf.constant(tau, tf.float64), 0.6, dof))[..., 0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)


def test_a_leverage_is_limited(rng):
    left_out = leave_one_out(100.0 * rng.randn(7, 3), rng.randn(3), 5.0, 1.0, INFINITE)
    np.testing.assert_array_equal(left_out.leverage, noise_fit.MAX_LEVERAGE)


def test_a_single_draw_is_left_as_it_is(rng):
    outputs = rng.randn(1, 5)
    left_out = leave_one_out(outputs, rng.randn(5), 5.0, 1.0, 8.0)
    np.testing.assert_array_equal(left_out.outputs, outputs)
    np.testing.assert_array_equal(left_out.leverage, 0.0)


@pytest.mark.parametrize("dof", [3.0, 6.0, INFINITE])
def test_scale_and_shape_are_found_again(rng, dof):
    n, scale = 20000, 0.07
    noise = scale * (rng.randn(n) if np.isinf(dof) else rng.standard_t(dof, n))
    means = rng.randn(n)
    outputs = means + 0.02 * rng.randn(15, n)
    fit = fit_noise(LeaveOneOut(outputs, np.full(n, 0.25)), means + 0.02 * rng.randn(n) + noise)
    np.testing.assert_allclose(np.sqrt(0.75 * fit.squared_scale), scale, rtol=0.03)  # s^2 is divided by 1 - 0.25
    np.testing.assert_allclose(1.0 / fit.dof, 1.0 / dof, atol=0.02)
    assert fit.leverage == 0.25


def test_the_fit_is_the_maximum_and_its_log_likelihood_is_right(rng):
    outputs, targets = 0.5 * rng.randn(6, 60), rng.standard_t(3.0, 60)
    fit = fit_noise(LeaveOneOut(outputs, np.zeros(60)), targets)

    def value(log_square, dof):
        density = stats.t.pdf(targets, dof, outputs, np.exp(0.5 * log_square))
        return np.log(density.mean(axis=0)).mean()

    np.testing.assert_allclose(fit.log_likelihood, value(np.log(fit.squared_scale), fit.dof), rtol=1e-9)
    best = max(value(log_square, dof) for log_square in np.linspace(-3.0, 1.0, 81)
               for dof in (2.2, 2.5, 3.0, 4.0, 6.0, 10.0, 30.0, 99.0))
    assert best - 1e-9 <= fit.log_likelihood < best + 1e-2


def test_the_gradients_of_the_fit(rng):
    squares = np.square(rng.randn(4, 9))
    for at in ([-0.7, 1.1], [0.4, 3.0]):
        assert optimize.check_grad(*_parts(noise_fit._student_loss, squares), np.array(at)) < 1e-6
    assert optimize.check_grad(*_parts(noise_fit._gaussian_loss, squares), np.array([0.3])) < 1e-6


def _parts(loss, squares):
    return lambda at: loss(at, squares)[0], lambda at: loss(at, squares)[1]


def test_exact_predictions_have_a_small_scale():
    fit = fit_noise(LeaveOneOut(np.zeros((3, 4)), np.zeros(4)), np.zeros(4))
    assert 0.0 < fit.squared_scale < 1e-9 and np.isfinite(fit.log_likelihood)


def test_fitted_noise_changes_predictions_but_not_the_training(finished_run):
    trained, fitted = (finished_run(predictive_noise=value, test_particles=9, exp_name=value)[1]
                       for value in ("trained", "leave_one_out"))
    for old, new in zip(written.weights(trained), written.weights(fitted)):
        np.testing.assert_array_equal(old, new)
    before, after = (json.loads(folder.result.read_text())["metrics"] for folder in (trained, fitted))
    assert before["test_rmse"] == after["test_rmse"]
    assert before["test_log_likelihood"] != after["test_log_likelihood"]
    assert set(after) - set(before) == {"leave_one_out_log_likelihood", "inverse_noise_dof", "mean_leverage",
                                        "squared_noise_scale"}
    assert 0.0 < after["mean_leverage"] <= noise_fit.MAX_LEVERAGE and 0.0 <= after["inverse_noise_dof"] < 0.5


def test_evaluate_finds_the_metrics_of_the_training(finished_run, no_figures):
    folder = finished_run(predictive_noise="leave_one_out", test_particles=9)[1]
    evaluate.main([str(folder.root)])
    found = json.loads((folder.evaluation / "metrics.json").read_text())
    metrics = json.loads(folder.result.read_text())["metrics"]
    np.testing.assert_allclose(found["metrics"]["log_likelihood"]["value"], metrics["test_log_likelihood"], rtol=1e-6)


@pytest.mark.parametrize("values, warned", [({"optimizer": "adam"}, True), ({"test_particles": 1}, True), ({}, False)])
def test_noise_without_a_leverage_is_warned_of(config_file, capsys, values, warned):
    train.main(["--config", str(config_file(predictive_noise="leave_one_out", **values)), "--explain"])
    assert ("training rows, which is too low for new rows" in capsys.readouterr().out) == warned
