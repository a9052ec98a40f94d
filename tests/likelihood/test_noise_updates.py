"""Noise levels from held-out rows and by leave-one-out."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose
from scipy import optimize, stats

from core.inference.likelihoods import GaussianLikelihood, StudentTLikelihood
from core.inference.noise_model import expected_log_prob, mixture_squared_error, student_log_prob
from core.inference.noise_precision import HeldOut, leave_one_out_outputs, predictive_noise
from tests.likelihood.values import tensor


def density_of(targets, outputs, precision, dof):
    if np.isinf(dof):
        return stats.norm.pdf(targets, outputs, precision**-0.5)
    return stats.t.pdf(targets, dof, outputs, precision**-0.5)


def mixture_error(outputs, targets, precision, dof=np.inf):
    """Computed with numpy from outputs [K, n] and targets [n]."""
    density, squares = density_of(targets, outputs, precision, dof), (targets - outputs)**2
    counted = squares if np.isinf(dof) else (dof + 1) / (dof + precision * squares) * squares
    return np.mean(np.sum(density * counted, axis=0) / density.sum(axis=0))


@pytest.mark.parametrize("kind, dof", [(GaussianLikelihood, np.inf), (StudentTLikelihood, 3.5)])
def test_the_held_out_update_step_by_step(session, config, rng, kind, dof):
    """Compares the update with numpy; E[log p] is still that of the training rows."""
    held_out = kind(config(noise_update="held_out", noise_prior_shape=2.0, noise_prior_rate=3.0, noise_dof=3.5), 1)
    state, average, precision = held_out.init(tf.float64), 1.0, 2.5 / 3.5
    outputs, targets = rng.randn(3, 4, 1), rng.randn(4)
    for step in range(1, 25):
        rows, truth = rng.randn(5, 7), rng.randn(7)
        squares = (targets - outputs[..., 0])**2
        log_prob = (expected_log_prob(state["log_noise"], np.mean(squares)) if np.isinf(dof)
                    else tf.reduce_mean(student_log_prob(state["log_noise"], squares, dof)))
        new = held_out.update(state, tf.constant(outputs), tf.constant(targets), 0.1, 1.0, tensor(float(step)),
                              HeldOut(tf.constant(rows[..., None]), tf.constant(truth), 40, tf.constant(True)))
        average += 16.0 / (step + 15) * (mixture_error(rows, truth, precision, dof) - average)
        state, by_hand = session.run([new[0], log_prob])
        assert_allclose(np.exp(state["log_noise"]), [2.0 + 20.0, 3.0 + 20.0 * average], rtol=1e-12)
        assert_allclose(session.run(new[1]), by_hand, rtol=1e-12)
        precision = (2.0 + 20.0) / (3.0 + 20.0 * average)
        state = {name: tf.constant(value) for name, value in state.items()}


@pytest.mark.parametrize("dof", [3.5, np.inf])
def test_the_held_out_error_climbs_to_the_best_noise_level_for_the_mixture(session, rng, dof):
    """The fixed point of v = error(1 / v) maximises the mean log density of the rows under the mixture over draws."""
    outputs, targets, variance = rng.randn(5, 7), rng.randn(7), 1.0
    ours = mixture_squared_error(tf.constant(outputs[..., None]), tf.constant(targets), 2.0, dof)
    assert_allclose(session.run(ours), mixture_error(outputs, targets, 2.0, dof), rtol=1e-12)
    for _ in range(300):
        variance = mixture_error(outputs, targets, 1.0 / variance, dof)

    def loss(log_variance):
        return -np.mean(np.log(density_of(targets, outputs, np.exp(-log_variance), dof).mean(axis=0)))

    around = (np.log(variance) - 1, np.log(variance) + 1)
    best = optimize.minimize_scalar(loss, bounds=around, method="bounded", options={"xatol": 1e-9}).x
    assert_allclose(np.log(variance), best, atol=1e-4)
    assert abs(best - np.log(np.mean((targets - outputs)**2))) > 0.1  # E_q[(y - f)^2] has another maximum


def test_the_noise_level_stays_when_the_held_out_rows_train(session, held_out, rng):
    state, outputs, targets = held_out.init(tf.float64), tf.constant(rng.randn(3, 4, 1)), tf.constant(rng.randn(4))
    for on in (True, False):
        rows = HeldOut(outputs, targets, 4, tf.constant(on))
        new = held_out.update(state, outputs, targets, 0.1, 1.0, tensor(9.0), rows)
        old, after = session.run([state, new[0]])
        assert all(np.array_equal(old[name], after[name]) != on for name in ("log_noise", "mean_square"))


@pytest.mark.parametrize("kl_weight", [1.0, 0.3])
def test_leave_one_out_outputs_are_those_of_a_fit_without_the_row(session, rng, kl_weight):
    """In Bayesian linear regression with equal leverages, they give the exact posterior of a fit without the row."""
    tau, eta, n = 2.5, 1.7, 8
    x = np.array([[(-1.0)**bin(i & j).count("1") for j in range(3)] for i in range(n)])  # columns of a Hadamard matrix
    targets = rng.randn(n)

    def at(row, rows):
        precision = tau * x[rows].T @ x[rows] + kl_weight / eta * np.eye(3)
        covariance = kl_weight * np.linalg.inv(precision)
        return x[row] @ np.linalg.solve(precision, tau * x[rows].T @ targets[rows]), x[row] @ covariance @ x[row]

    seen = np.array([at(row, np.arange(n)) for row in range(n)]).T
    by_hand = np.array([at(row, np.delete(np.arange(n), row)) for row in range(n)]).T
    draws = np.stack([seen[0] + sign * np.sqrt(seen[1] / 2) for sign in (-1, 1)])  # with this mean and variance
    fed = tf.constant(draws[..., None])
    outputs = session.run(leave_one_out_outputs(fed, tf.constant(targets), tensor(tau), kl_weight))[..., 0]
    assert_allclose(outputs.mean(axis=0), by_hand[0], rtol=1e-12)
    assert_allclose(outputs.var(axis=0, ddof=1), by_hand[1], rtol=1e-12)


def leave_one_out(outputs, targets, precision, dof, kl_weight):
    """Computed with numpy, [K, n]: the Gaussian posterior at a row, divided by exp(score f - fisher f^2 / 2), with one
    variance for all rows."""
    mean, variance = outputs.mean(axis=0), outputs.var(axis=0, ddof=1).mean() / kl_weight
    score, fisher = precision * (targets - mean), precision
    if np.isfinite(dof):
        score, fisher = score * (dof + 1) / (dof + precision * (targets - mean)**2), precision * (dof + 1) / (dof + 3)
    variance = min(variance, 0.8 / fisher)
    without = 1 / (1 / variance - fisher)
    return mean - without * score + (outputs - mean) * np.sqrt(without / variance)


@pytest.mark.parametrize("kind, dof, spread, kl_weight", [
    (GaussianLikelihood, np.inf, 0.5, 1.0), (GaussianLikelihood, np.inf, 1.2, 1.0),
    (StudentTLikelihood, 3.5, 0.5, 0.7)])
def test_the_leave_one_out_update_step_by_step(session, config, rng, kind, dof, spread, kl_weight):
    """The weights train under the conjugate level; the level of the predictions is compared with numpy."""
    settings = dict(noise_prior_shape=2.0, noise_prior_rate=3.0, noise_dof=3.5, learning_rate=0.3)
    both = [kind(config(noise_update=update, **settings), 1) for update in ("leave_one_out", "conjugate")]
    states, precision, average = [each.init(tf.float64) for each in both], 2.5 / 3.5, 1.0
    for step in range(1, 6):
        targets, outputs = rng.randn(7), spread * rng.randn(3, 7)
        fitted = session.run(both[0].precision(states[0]))
        error = mixture_error(leave_one_out(outputs, targets, fitted, dof, kl_weight), targets, precision, dof)
        average += max(1.0 / step, 0.3) * (error - average)
        precision = (2.0 + 5.0) / (3.0 + 5.0 * average)
        states = [each.update(state, tf.constant(outputs[..., None]), tf.constant(targets), 0.1, kl_weight,
                              tensor(float(step)))[0] for each, state in zip(both, states)]
        ours, conjugate = session.run(states)
        assert_allclose(np.exp(predictive_noise(ours)), [2.0 + 5.0, 3.0 + 5.0 * average], rtol=1e-12)
        assert np.array_equal(ours["log_noise"], conjugate["log_noise"])
        assert np.array_equal(predictive_noise(conjugate), conjugate["log_noise"])
        assert predictive_noise(ours)[1] > conjugate["log_noise"][1]
    reported = session.run(both[0].report(states[0]))
    assert_allclose(reported["train/predictive_noise_precision"], precision, rtol=1e-12)
    assert reported["train/noise_precision"] > precision  # which is too high for new rows


@pytest.mark.parametrize("dof", [np.inf, 4.0])
def test_leave_one_out_outputs_make_the_errors_of_refits(session, rng, dof):
    """The errors agree on average over rows of any leverage; the fit to all rows makes smaller errors."""
    tau, n, d = 4.0, 300, 20
    x = rng.randn(n, d) * np.exp(0.3 * rng.randn(n, 1))
    targets = x @ rng.randn(d) + (rng.randn(n) if np.isinf(dof) else rng.standard_t(dof, n)) / tau**0.5

    def counts(residual):
        return np.ones_like(residual) if np.isinf(dof) else (dof + 1) / (dof + tau * residual**2)

    def fit(rows, mean):
        for _ in range(30):
            weights = counts(targets[rows] - x[rows] @ mean)
            mean = np.linalg.solve(tau * (x[rows].T * weights) @ x[rows] + np.eye(d),
                                   tau * x[rows].T @ (weights * targets[rows]))
        return mean

    whole = fit(np.arange(n), np.zeros(d))
    refits = np.array([x[row] @ fit(np.delete(np.arange(n), row), whole) for row in range(n)])
    fisher = tau * (1.0 if np.isinf(dof) else (dof + 1) / (dof + 3))
    draws = rng.multivariate_normal(whole, np.linalg.inv(fisher * x.T @ x + np.eye(d)), 4000) @ x.T
    fed = tf.constant(draws[..., None])
    outputs = session.run(leave_one_out_outputs(fed, tf.constant(targets), tensor(tau), 1.0, dof))[..., 0]
    ours, by_hand, naive = ((np.mean(counts(targets - each) * (targets - each)**2))
                            for each in (outputs.mean(axis=0), refits, x @ whole))
    assert_allclose(ours, by_hand, rtol=0.02)
    assert naive < 0.92 * by_hand


def test_outputs_far_off_leave_both_levels_finite(session, config, rng):
    likelihood = GaussianLikelihood(config(noise_update="leave_one_out"), 1)
    outputs, targets = tf.constant(1e7 * rng.randn(3, 7, 1), tf.float32), tf.constant(rng.randn(7), tf.float32)
    state = likelihood.update(likelihood.init(tf.float32), outputs, targets, 0.1, 1.0, tf.constant(1.0))[0]
    assert all(np.all(np.isfinite(value)) for value in session.run(state).values())


def test_one_draw_leaves_the_conjugate_level(session, config, rng):
    likelihood = StudentTLikelihood(config(noise_update="leave_one_out", noise_dof=3.5), 1)
    state = likelihood.init(tf.float64)
    for step in (1.0, 2.0):
        outputs, targets = tf.constant(rng.randn(1, 7, 1)), tf.constant(rng.randn(7))
        state = likelihood.update(state, outputs, targets, 0.1, 1.0, tensor(step))[0]
    one, other = session.run([state["log_noise"], predictive_noise(state)])
    assert_allclose(one, other, rtol=1e-12)
