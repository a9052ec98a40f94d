"""Correlated noise of several targets, with a Wishart posterior of its precision matrix."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose
from scipy import optimize, stats

from core.inference.factors import eigenbasis_scale, second_moments
from core.inference.likelihoods import GaussianLikelihood, WishartLikelihood
from core.inference.noise_model import GammaPrior, kl_gamma
from core.inference.noise_precision import HeldOut
from core.inference.wishart import WishartPrior, mean_log_det
from core.metrics.draws import WishartLevel, draws_of_roots
from core.metrics.joint import joint_log_prob, predict_jointly
from tests.likelihood.values import tensor
from tests.reference import dense_fisher, random_cov, with_one

SETTINGS = dict(noise_prior_shape=2.0, noise_prior_rate=3.0, noise_update="conjugate", learning_rate=0.3)
DOF_0, RATE_0 = 2 * 2.0 + 2, 2 * 3.0  # of three targets


@pytest.fixture
def likelihood(config):
    return WishartLikelihood(config(**SETTINGS), 3)


@pytest.fixture
def posterior(rng):
    """(nu, B) of three targets."""
    return 8.5, 4.0 * random_cov(rng, 3)


def state_of(dof, rate_matrix, outer=None):
    values, basis = np.linalg.eigh(rate_matrix)
    return {"dof": tensor(dof), "rates": tensor(values), "basis": tensor(basis),
            "mean_outer": tensor(np.eye(3) if outer is None else outer)}


def scipy_wishart(dof, rate_matrix):
    return stats.wishart(dof, np.linalg.inv(rate_matrix))


# q(Lambda).

def test_kl_by_monte_carlo(session, likelihood, posterior):
    dof, rate = posterior
    q, p = scipy_wishart(dof, rate), scipy_wishart(DOF_0, RATE_0 * np.eye(3))
    draws = np.moveaxis(q.rvs(20000, random_state=1), 0, -1)
    ratio = q.logpdf(draws) - p.logpdf(draws)
    value = session.run(likelihood.kl(state_of(dof, rate)))
    assert_allclose(value, ratio.mean(), atol=5 * ratio.std() / 20000**0.5)
    assert value > 20 * ratio.std() / 20000**0.5


def test_kl_from_itself_is_zero(session, likelihood):
    assert_allclose(session.run(likelihood.kl(state_of(DOF_0, RATE_0 * np.eye(3)))), 0.0, atol=1e-12)


def test_one_target_has_the_gamma_prior_and_its_kl(session):
    prior = WishartPrior.of_gamma(GammaPrior(2.0, 3.0), 1)
    assert prior == (4.0, 6.0)  # Gamma(nu / 2, B / 2)
    ours = session.run([prior.kl(tensor(5.0), tensor([3.0])), mean_log_det(tensor(5.0), tensor([3.0]))])
    theirs = session.run([kl_gamma(tensor(2.5), tensor(1.5), 2.0, 3.0), tf.digamma(tensor(2.5)) - np.log(1.5)])
    assert_allclose(ours, theirs, rtol=1e-12)


def test_the_prior_of_each_target_is_that_gamma_distribution():
    """Of its own noise precision, 1 / (Lambda^-1)_jj."""
    prior = WishartPrior.of_gamma(GammaPrior(2.0, 3.0), 3)
    draws = np.linalg.inv(scipy_wishart(prior.dof, prior.rate * np.eye(3)).rvs(20000, random_state=1))
    assert stats.kstest(1.0 / draws[:, 1, 1], stats.gamma(2.0, scale=1 / 3.0).cdf).pvalue > 0.01


def test_mean_log_det_by_monte_carlo(session, posterior):
    dof, rate = posterior
    logs = np.linalg.slogdet(scipy_wishart(dof, rate).rvs(20000, random_state=1))[1]
    value = session.run(mean_log_det(tensor(dof), tensor(np.linalg.eigvalsh(rate))))
    assert_allclose(value, logs.mean(), atol=5 * logs.std() / 20000**0.5)


def test_log_probability_by_monte_carlo(session, likelihood, posterior, rng):
    dof, rate = posterior
    outputs, targets = rng.randn(2, 4, 3), rng.randn(4, 3)
    value = session.run(likelihood.update(state_of(dof, rate), tf.constant(outputs), tf.constant(targets), 0.1, 1.0,
                                          tensor(1.0))[1])
    covariances = np.linalg.inv(scipy_wishart(dof, rate).rvs(3000, random_state=1))
    residuals = (targets - outputs).reshape(-1, 3)
    by_hand = np.array([stats.multivariate_normal(cov=cov).logpdf(residuals).mean() for cov in covariances])
    assert_allclose(value, by_hand.mean(), atol=5 * by_hand.std() / 3000**0.5)


def test_the_conjugate_update_step_by_step(session, likelihood, rng):
    """W(nu_0 + 1 / t, B_0 + C / t), and C is the average of the outer products."""
    state, average, temperature = likelihood.init(tf.float64), np.eye(3), 0.05
    for step in range(1, 5):
        outputs, targets = rng.randn(2, 6, 3), rng.randn(6, 3) @ rng.randn(3, 3)
        state = likelihood.update(state, tf.constant(outputs), tf.constant(targets), temperature, 1.0,
                                  tensor(float(step)))[0]
        residual = (targets - outputs).reshape(-1, 3)
        average = average + max(1.0 / step, 0.3) * (residual.T @ residual / 12 - average)
    rate = RATE_0 * np.eye(3) + average / temperature
    dof, found, report = session.run([state["dof"], likelihood.precision(state), likelihood.report(state)])
    assert dof == pytest.approx(DOF_0 + 20.0)
    assert_allclose(found, dof * np.linalg.inv(rate), rtol=1e-10)
    variances = np.diag(rate) / dof
    assert_allclose([report[f"train/noise_precision_{j}"] for j in (1, 2, 3)], 1.0 / variances, rtol=1e-10)
    assert report["train/noise_precision"] == pytest.approx(1.0 / variances.mean())
    correlation = rate[0, 2] / np.sqrt(rate[0, 0] * rate[2, 2])
    assert report["train/noise_correlation_1_3"] == pytest.approx(correlation)


def test_the_conjugate_update_is_the_maximum_of_the_bound(session, likelihood, rng):
    """E[log p] - t KL falls if nu or B change."""
    outputs, targets, temperature = rng.randn(2, 6, 3), rng.randn(6, 3), 0.05
    fed = tf.constant(outputs), tf.constant(targets), temperature, 1.0, tensor(1.0)
    best = session.run(likelihood.update(likelihood.init(tf.float64), *fed)[0])
    rate = best["basis"] * best["rates"] @ best["basis"].T
    dof, values = tf.placeholder(tf.float64, []), tf.placeholder(tf.float64, [3])
    basis = tf.placeholder(tf.float64, [3, 3])
    state = {"dof": dof, "rates": values, "basis": basis, "mean_outer": tensor(np.eye(3))}
    bound = likelihood.update(state, *fed)[1] - temperature * likelihood.kl(state)

    def at(nu, matrix):
        rates, vectors = np.linalg.eigh(matrix)
        return session.run(bound, {dof: nu, values: rates, basis: vectors})

    highest = at(best["dof"], rate)
    assert max(at(best["dof"] + 0.1, rate), at(best["dof"] - 0.1, rate)) < highest
    for _ in range(10):
        change = 0.02 * random_cov(rng, 3)
        assert max(at(best["dof"], rate + change), at(best["dof"], rate - change)) < highest


def test_one_target_is_updated_as_the_gamma_posterior(session, config, rng):
    """The class also works with a single target, and is then the conjugate Gamma likelihood."""
    outputs, targets = rng.randn(2, 6, 1), rng.randn(6)
    fed = tf.constant(outputs), tf.constant(targets), 0.05, 1.0, tensor(1.0)
    gaussian, wishart = (kind(config(**SETTINGS), 1) for kind in (GaussianLikelihood, WishartLikelihood))
    first, second = (each.update(each.init(tf.float64), *fed) for each in (gaussian, wishart))
    scores = [each.score(new, *fed[:2]) for each, (new, _) in ((gaussian, first), (wishart, second))]
    (shape, rate), theirs = session.run([tf.exp(first[0]["log_noise"]), second[0]])
    assert_allclose([theirs["dof"] / 2, theirs["rates"][0] / 2], [shape, rate], rtol=1e-12)
    for one, other in ((first[1], second[1]), (gaussian.kl(first[0]), wishart.kl(second[0])), scores):
        assert_allclose(*session.run([one, other]), rtol=1e-10)


def test_the_held_out_level_maximises_the_mixture(session, config, rng):
    likelihood = WishartLikelihood(config(**dict(SETTINGS, noise_update="held_out", noise_prior_shape=1e-9,
                                                 noise_prior_rate=1e-9)), 2)
    outputs = 0.5 * rng.randn(5, 40, 2)
    targets = rng.randn(40, 2) @ np.array([[0.7, 1.2], [0.0, 0.8]])
    start = likelihood.init(tf.float64)
    feeds = {name: tf.placeholder(tf.float64, value.shape) for name, value in start.items()}
    on = tf.placeholder(tf.bool, [])
    rows = HeldOut(tf.constant(outputs), tf.constant(targets), 10**7, on)  # so many that nu_0 = m - 1 does not count
    new = likelihood.update(feeds, rows.outputs, rows.targets, 0.1, 1.0, tensor(1.0), rows)[0]
    state = session.run(start)
    for _ in range(600):
        state = session.run(new, {on: True, **{feeds[name]: value for name, value in state.items()}})
    kept = session.run(new, {on: False, **{feeds[name]: value for name, value in state.items()}})
    assert all(np.array_equal(kept[name], state[name]) for name in state)

    def loss(entries):
        root = np.array([[np.exp(entries[0]), 0.0], [entries[1], np.exp(entries[2])]])
        density = stats.multivariate_normal(cov=root @ root.T).pdf(targets - outputs)
        return -np.mean(np.log(density.mean(axis=0)))

    root = np.linalg.cholesky(state["mean_outer"])
    found = np.array([np.log(root[0, 0]), root[1, 0], np.log(root[1, 1])])
    best = optimize.minimize(loss, found + 0.1, method="Nelder-Mead", options=dict(xatol=1e-7, fatol=1e-12)).x
    assert_allclose(found, best, atol=1e-4)


@pytest.mark.parametrize("dtype, tolerance", [(tf.float32, 1e-3), (tf.float64, 1e-6)])
def test_targets_that_are_equal_leave_everything_finite(session, config, rng, dtype, tolerance):
    """The noise covariance is singular up to a weak prior."""
    likelihood = WishartLikelihood(config(**dict(SETTINGS, noise_prior_shape=1e-2, noise_prior_rate=1e-4)), 3)
    targets = np.repeat(rng.randn(50, 1), 3, axis=1)
    state = likelihood.init(dtype)
    fed = tf.constant(0.0 * rng.randn(2, 50, 3), dtype), tf.constant(targets, dtype)
    state, log_prob = likelihood.update(state, *fed, 1e-5, 1.0, tf.constant(1.0, dtype))
    values = session.run([state, log_prob, likelihood.kl(state), likelihood.score(state, *fed)])
    assert all(np.isfinite(value).all() for value in tf.nest.flatten(values))
    ratio = values[0]["rates"][0] / values[0]["rates"][2]
    assert ratio == pytest.approx(1e-6, rel=tolerance)


# The curvature.

def test_score_is_the_gradient_of_the_expected_log_prob(session, likelihood, posterior, rng):
    outputs, targets, state = tf.constant(rng.randn(2, 5, 3)), tf.constant(rng.randn(5, 3)), state_of(*posterior)
    log_prob = likelihood.update(state, outputs, targets, 0.1, 1.0, tensor(1.0))[1]
    assert_allclose(*session.run([likelihood.score(state, outputs, targets), 10 * tf.gradients(log_prob, outputs)[0]]),
                    rtol=1e-9, atol=1e-12)


def test_factors_are_those_of_the_dense_fisher(session, likelihood, posterior, rng):
    """Of a linear model: kron(A, E[Lambda]); A, S and R from sampled scores against brute force, in float64."""
    a, (dof, rate), state = with_one(rng, 1, 7, 4), posterior, state_of(*posterior)
    precision = dof * np.linalg.inv(rate)
    scores = session.run(likelihood.sampled_score(state, tf.zeros([4000, 7, 3], tf.float64), [3, 5]))
    rows = np.repeat(a, 4000, axis=0)
    exact = np.kron(a[0].T @ a[0] / 7, precision)
    dense = dense_fisher(rows, scores)
    assert np.abs(dense - exact).max() < 0.05 * np.abs(exact).max()
    q_a, q_s = (np.linalg.qr(rng.randn(d, d))[0] for d in (4, 3))
    fed = [tf.constant(value) for value in (a, scores, q_a, q_s)]
    (a_cov, s_cov), scale = session.run([second_moments(*fed[:2]), eigenbasis_scale(*fed)])
    assert_allclose(a_cov, a[0].T @ a[0] / 7, rtol=1e-10)
    assert_allclose(s_cov, precision, atol=5 * np.abs(precision).max() * (2 / 28000)**0.5)
    basis = np.kron(q_a, q_s)
    assert_allclose(scale.ravel(), np.diag(basis.T @ dense @ basis), rtol=1e-9)


# Predictions.

def test_draws_of_the_precision_matrix(posterior):
    """Their distribution is that of scipy: mean and variances of all entries."""
    dof, rate = posterior
    values, basis = np.linalg.eigh(rate)
    roots = WishartLevel(dof, values, basis, {}).draw(np.random.RandomState(2), 40000)
    ours, theirs = roots @ np.swapaxes(roots, 1, 2), scipy_wishart(dof, rate)
    spread = np.sqrt(theirs.var())
    assert_allclose(ours.mean(axis=0), theirs.mean(), atol=5 * spread.max() / 200)
    assert_allclose(ours.var(axis=0), theirs.var(), rtol=0.06)


def test_predictions_under_correlated_noise(rng):
    mean, std = np.array([10.0, -3.0]), np.array([2.0, 0.5])
    outputs, roots, targets = rng.randn(4, 5, 2), rng.randn(4, 2, 2), rng.randn(5, 2)
    draws = draws_of_roots(outputs, roots)
    covariances = np.linalg.inv(roots @ np.swapaxes(roots, 1, 2))
    by_hand = np.array([[stats.multivariate_normal.logpdf(targets[i], outputs[k, i], covariances[k]) for i in range(5)]
                        for k in range(4)])
    assert_allclose(joint_log_prob(draws, targets), by_hand, rtol=1e-9)
    joint = predict_jointly(draws, targets, mean, std)
    assert_allclose(joint.log_prob, np.log(np.exp(by_hand).mean(axis=0)) - np.log(std).sum(), rtol=1e-9)
    for j, one in enumerate(joint.of_targets):
        density = stats.norm.pdf(targets[:, j], outputs[..., j], covariances[:, j, j, None]**0.5)
        assert_allclose(one.log_prob, np.log(density.mean(axis=0)) - np.log(std[j]), rtol=1e-9)
    row = 2
    covariance = (np.cov(outputs[:, row].T, bias=True) + covariances.mean(axis=0)) * np.outer(std, std)
    moments = stats.multivariate_normal.logpdf(mean + std * targets[row], mean + std * outputs[:, row].mean(axis=0),
                                               covariance)
    assert joint.moment_log_prob[row] == pytest.approx(moments, rel=1e-9)
