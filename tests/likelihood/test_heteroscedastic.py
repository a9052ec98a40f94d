"""The likelihood whose log variance is an output of the network."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose
from scipy import stats

from core.inference.heteroscedastic import BOUND, HeteroscedasticLikelihood
from core.metrics.crps import mixture_crps
from core.metrics.noise_fit import LeaveOneOut, fit_noise
from core.metrics.predictive import predict
from tests.likelihood.values import tensor


@pytest.fixture
def likelihood(config):
    return HeteroscedasticLikelihood(config(), 1)


def log_variances(raw):
    return BOUND * np.tanh(raw / BOUND)


def test_the_log_probability_is_that_of_a_normal_distribution(session, likelihood, rng):
    outputs, targets = rng.randn(3, 4, 2) * [1.0, 6.0], rng.randn(4)
    state = likelihood.init(tf.float64)
    update = likelihood.update(state, tf.constant(outputs), tf.constant(targets), 0.1, 1.0, tensor(1.0))
    by_hand = stats.norm.logpdf(targets, outputs[..., 0], np.exp(0.5 * log_variances(outputs[..., 1])))
    assert_allclose(session.run(update[1]), by_hand.mean(), rtol=1e-12)


def test_the_score_is_the_gradient_of_the_log_probability(session, likelihood, rng):
    outputs, targets = tf.constant(rng.randn(3, 4, 2) * [1.0, 6.0]), tf.constant(rng.randn(4))
    state = likelihood.init(tf.float64)
    log_prob = likelihood.update(state, outputs, targets, 0.1, 1.0, tensor(1.0))[1]
    score, gradient = session.run([likelihood.score(state, outputs, targets), 12 * tf.gradients(log_prob, outputs)[0]])
    assert score.shape == (3, 4, 2)
    assert_allclose(score, gradient, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("raw", [0.0, -3.0, 9.0])
def test_sampled_scores_have_the_covariance_of_the_score(session, likelihood, rng, raw):
    """Fisher blocks exp(-s) and 1/2 (ds / dr)^2, which is 1/2 at 0; the same from scores of targets that are drawn."""
    n, log_variance = 40000, log_variances(raw)
    outputs, state = np.tile([100.0, raw], (2, n, 1)), likelihood.init(tf.float64)
    sampled = session.run(likelihood.sampled_score(state, tf.constant(outputs), tf.constant([1, 1]))).reshape(-1, 2)
    slope = 1.0 - np.tanh(raw / BOUND)**2
    scale = np.array([np.exp(-0.5 * log_variance), 0.5**0.5 * slope])
    assert_allclose(sampled.T @ sampled / (2 * n) / np.outer(scale, scale), np.eye(2), atol=5 * (1 / n)**0.5)
    targets = 100.0 + np.exp(0.5 * log_variance) * rng.randn(n)
    scores = session.run(likelihood.score(state, tf.constant(outputs[:1]), tf.constant(targets)))[0]
    assert_allclose(scores.T @ scores / n / np.outer(scale, scale), np.eye(2), atol=5 * (14 / n)**0.5)


def test_no_output_overflows_a_float32(session, likelihood, rng):
    outputs = tf.constant(np.stack([rng.randn(1, 6), [[-1e30, -1e4, -30.0, 30.0, 1e4, 1e30]]], axis=-1), tf.float32)
    targets, state = tf.constant(rng.randn(6), tf.float32), likelihood.init(tf.float32)
    update = likelihood.update(state, outputs, targets, 0.1, 1.0, tf.constant(1.0))
    values = session.run([likelihood.score(state, outputs, targets), *update,
                          likelihood.sampled_score(state, outputs, tf.constant([1, 1]))])
    assert all(np.isfinite(value).all() for value in tf.nest.flatten(values))


def test_the_variance_begins_at_that_of_standardised_targets(session, likelihood, rng):
    weights = rng.randn(5, 2)
    initial = session.run(likelihood.initial_weights(tf.constant(weights)))
    assert np.array_equal(initial, weights * [1.0, 0.0])


def test_the_reported_precision_is_one_over_the_mean_variance(session, likelihood):
    state = likelihood.init(tf.float64)
    for step in range(1, 4):
        outputs = tf.constant(np.stack([np.zeros((1, 4)), np.full((1, 4), float(step))], axis=-1))
        state = likelihood.update(state, outputs, tf.zeros([4], tf.float64), 0.1, 1.0, tensor(float(step)))[0]
    by_hand = np.mean(np.exp(log_variances(np.arange(1.0, 4.0))))
    assert_allclose(session.run(likelihood.report(state)["train/noise_precision"]), 1.0 / by_hand, rtol=1e-12)


# Predictions.

def test_predictions_are_mixtures_of_normal_distributions_of_each_row(likelihood, rng):
    outputs, factors = rng.randn(5, 7, 2).astype(np.float32), np.exp(0.3 * rng.randn(5))
    draws = likelihood.draws(outputs, factors, np.inf)
    scale = np.exp(0.5 * log_variances(outputs[..., 1].astype(float))) * factors[:, None]**-0.5
    targets, mean, std = rng.randn(7), 10.0, 2.0
    p = predict(draws.outputs, draws.precisions, targets, mean, std, draws.dof)
    raw, means, scales = mean + std * targets, mean + std * outputs[..., 0].astype(float), std * scale
    assert_allclose(p.log_prob, np.log(stats.norm.pdf(raw, means, scales).mean(axis=0)), rtol=1e-12)
    assert_allclose(p.cdf, stats.norm.cdf(raw, means, scales).mean(axis=0), rtol=1e-12)
    assert_allclose(p.epistemic_std, means.std(axis=0), rtol=1e-12)
    assert_allclose(p.std, np.sqrt(means.var(axis=0) + np.square(scales).mean(axis=0)), rtol=1e-12)
    assert_allclose(p.moment_log_prob, stats.norm.logpdf(raw, p.mean, p.std), rtol=1e-12)


@pytest.mark.parametrize("dof", [np.inf, 4.0, np.array([3.0, np.inf, 5.0])])
def test_the_crps_of_rows_with_scales_of_their_own(rng, dof):
    """Row by row it is that of common scales; small pieces give the same."""
    means, squares, targets = rng.randn(3, 7), np.exp(rng.randn(3, 7)), rng.randn(7)
    whole = mixture_crps(means, squares, targets, dof)
    for row in range(7):
        alone = mixture_crps(means[:, [row]], squares[:, row], targets[[row]], dof)
        assert_allclose(whole[row], alone[0], rtol=1e-12)
    assert_allclose(mixture_crps(means, squares, targets, dof, numbers_at_once=20), whole, rtol=1e-12)


@pytest.mark.parametrize("dof", [4.0, np.inf])
def test_a_common_factor_of_the_variances_is_found(rng, dof):
    """Predictive noise: the variances are too small by a factor of 3."""
    n, own = 20000, np.exp(rng.randn(20000))
    means = rng.randn(n)
    noise = np.sqrt(3.0 / own) * (rng.randn(n) if np.isinf(dof) else rng.standard_t(dof, n))
    outputs = means + 0.01 * rng.randn(6, n)
    fit = fit_noise(LeaveOneOut(outputs, np.zeros(n)), means + noise, np.tile(own, (6, 1)))
    assert_allclose(fit.squared_scale, 3.0, rtol=0.05)
    assert_allclose(1.0 / fit.dof, 1.0 / dof, atol=0.02)


@pytest.mark.parametrize("gaussian", [True, False])
def test_the_fit_of_the_common_factor_is_the_maximum(rng, gaussian):
    """With precisions that differ between draws and rows."""
    outputs, own = 0.5 * rng.randn(6, 60), np.exp(0.7 + rng.randn(6, 60))
    draw, rows = rng.randint(6, size=60), np.arange(60)  # every target is of one of the draws
    noise = rng.uniform(-1.7, 1.7, 60) if gaussian else rng.standard_t(2.5, 60)
    targets = (outputs + noise / np.sqrt(own))[draw, rows]
    fit = fit_noise(LeaveOneOut(outputs, np.zeros(60)), targets, own)
    shape = stats.norm if np.isinf(fit.dof) else stats.t(fit.dof)
    assert np.isinf(fit.dof) == gaussian

    def value(log_square):
        scale = np.sqrt(np.exp(log_square) / own)
        return np.log((shape.pdf((targets - outputs) / scale) / scale).mean(axis=0)).mean()

    at = np.log(fit.squared_scale)
    assert_allclose(fit.log_likelihood, value(at), rtol=1e-9)
    assert max(value(at - 0.02), value(at + 0.02)) < fit.log_likelihood
