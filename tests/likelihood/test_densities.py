"""Densities, scores and conjugate updates of the likelihoods."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose
from scipy import integrate, stats

from core.inference.likelihoods import Categorical, GaussianLikelihood, StudentTLikelihood
from core.inference.noise_model import expected_log_prob, kl_gamma, student_log_prob
from core.inference.noise_precision import HeldOut, predictive_noise
from tests.likelihood.values import tensor


@pytest.fixture
def likelihood(config):
    return GaussianLikelihood(config(noise_prior_shape=2.0, noise_prior_rate=3.0, learning_rate=0.05), 1)


def test_kl_between_gammas_by_quadrature(session):
    q, p = stats.gamma(2.5, scale=1 / 1.5), stats.gamma(6.0, scale=1 / 4.0)
    by_hand = integrate.quad(lambda t: q.pdf(t) * (q.logpdf(t) - p.logpdf(t)), 0, 40)[0]
    assert_allclose(session.run(kl_gamma(tensor(2.5), tensor(1.5), 6.0, 4.0)), by_hand, rtol=1e-7)


def test_kl_starts_at_zero(session, likelihood):
    assert_allclose(session.run(likelihood.kl(likelihood.init(tf.float64))), 0.0, atol=1e-14)


def test_expected_log_prob_by_quadrature(session):
    alpha, beta, square = 2.5, 1.5, 0.7
    q = stats.gamma(alpha, scale=1 / beta)
    by_hand = integrate.quad(lambda t: q.pdf(t) * stats.norm.logpdf(np.sqrt(square), 0.0, t**-0.5), 0, 60)[0]
    value = session.run(expected_log_prob(tensor(np.log([alpha, beta])), tensor(square)))
    assert_allclose(value, by_hand, rtol=1e-6)


def test_student_log_prob_by_quadrature_over_the_row_s_precision(session):
    """max over q(u) of E_q[log p(y | u)] - KL(q || p) is log of the integral of p(u) exp(E_tau log p(y | tau, u))."""
    alpha, beta, dof = 2.5, 1.5, 3.5
    tau, u = stats.gamma(alpha, scale=1 / beta), stats.gamma(dof / 2, scale=2 / dof)
    squares = np.array([0.0, 0.7, 40.0])
    mean_log = integrate.quad(lambda t: tau.pdf(t) * np.log(t), 0, 60)[0]

    def joint(v, square):
        return u.pdf(v) * np.exp(0.5 * (mean_log + np.log(v) - np.log(2 * np.pi) - v * tau.mean() * square))

    by_hand = [np.log(integrate.quad(joint, 0, np.inf, (square,))[0]) for square in squares]
    log_noise = tensor(np.log([alpha, beta]))
    assert_allclose(session.run(student_log_prob(log_noise, tensor(squares), dof)), by_hand, rtol=1e-6)


@pytest.fixture(params=["gaussian", "student_t"])
def either(request, likelihood, student):
    return {"gaussian": likelihood, "student_t": student}[request.param]


@pytest.fixture
def student(config):
    return StudentTLikelihood(config(noise_prior_shape=2.0, noise_prior_rate=3.0, noise_dof=3.5), 1)


def test_student_s_fisher_is_that_of_its_score(session, student):
    """By quadrature over targets from the model; the sampled scores have the same variance."""
    state, tau = student.init(tf.float64), 2.0 / 3.0
    targets = np.linspace(-400.0, 400.0, 400001)
    score = session.run(student.score(state, tf.zeros([1, len(targets), 1], tf.float64), tf.constant(targets)))[0, :, 0]
    density = stats.t.pdf(targets, 3.5, scale=tau**-0.5)
    fisher = integrate.trapezoid(density * score**2, targets)
    sampled = session.run(student.sampled_score(state, tf.zeros([20, 500, 1], tf.float64), tf.constant([1, 1])))
    assert_allclose(np.mean(sampled**2), fisher, rtol=5 * np.sqrt(2 / 10000))
    assert_allclose(tau * 4.5 / 6.5, fisher, rtol=1e-5)


@pytest.mark.parametrize("update", ["adam", "conjugate", "leave_one_out", "held_out"])
def test_student_with_many_degrees_of_freedom_is_gaussian(session, config, rng, update):
    outputs, targets = tf.constant(rng.randn(3, 4, 1)), tf.constant(rng.randn(4))
    results = []
    for kind in (GaussianLikelihood, StudentTLikelihood):
        likelihood = kind(config(noise_update=update, noise_dof=1e30), 1)
        state = likelihood.init(tf.float64)
        held_out = HeldOut(outputs, targets, 4, tf.constant(True)) if likelihood.held_out else None
        new, log_prob = likelihood.update(state, outputs, targets, 0.1, 1.0, tensor(3.0), held_out)
        seed = tf.constant([1, 1])
        results.append(session.run([new["log_noise"], predictive_noise(new), log_prob,
                                    likelihood.score(state, outputs, targets),
                                    likelihood.sampled_score(state, outputs, seed)]))
    for one, other in zip(*results):
        assert_allclose(one, other, rtol=1e-6)


def test_student_s_conjugate_updates_end_at_the_maximum_of_the_bound(session, config, rng):
    targets, temperature = rng.standard_t(3, 50), 0.02
    likelihood = StudentTLikelihood(config(noise_prior_shape=2.0, noise_prior_rate=3.0, learning_rate=1.0,
                                           noise_update="conjugate", noise_dof=3.5), 1)
    outputs, start = tf.zeros([1, 50, 1], tf.float64), likelihood.init(tf.float64)
    feeds = {name: tf.placeholder(tf.float64, value.shape) for name, value in start.items()}
    new = likelihood.update(feeds, outputs, tf.constant(targets), temperature, 1.0, tensor(2.0))[0]
    state = session.run(start)
    for _ in range(100):
        state = session.run(new, {feeds[name]: value for name, value in state.items()})
    log_noise = tensor(state["log_noise"])
    log_prob = tf.reduce_mean(student_log_prob(log_noise, tensor(targets**2), 3.5))
    bound = log_prob - temperature * likelihood.kl_of(log_noise)
    assert_allclose(session.run(tf.gradients(bound, log_noise)[0]), 0.0, atol=1e-10)
    assert np.exp(state["log_noise"][1] - state["log_noise"][0]) < 0.8 * np.mean(targets**2)  # outliers weigh less


def test_score_is_the_gradient_of_the_expected_log_prob(session, either, rng):
    likelihood = either
    outputs, targets = tf.constant(rng.randn(3, 4, 1)), tf.constant(rng.randn(4))
    state = likelihood.init(tf.float64)
    log_prob = likelihood.update(state, outputs, targets, 0.1, 1.0, tensor(1.0))[1]
    gradient = 12 * tf.gradients(log_prob, outputs)[0]  # the mean is over 3 x 4 rows
    score, gradient = session.run([likelihood.score(state, outputs, targets), gradient])
    assert_allclose(score, gradient, rtol=1e-10)


def test_sampled_score_is_that_of_targets_drawn_from_the_model(session, likelihood):
    """Its second moment is the Fisher of one output, E[tau]; the observed targets do not enter."""
    state = likelihood.init(tf.float64)
    outputs = tf.fill([20, 500, 1], tensor(100.0))
    score = session.run(likelihood.sampled_score(state, outputs, tf.constant([1, 1])))
    assert_allclose(np.mean(score**2), 2.0 / 3.0, rtol=5 * np.sqrt(2 / 10000))
    assert_allclose(np.mean(score), 0.0, atol=5 * np.sqrt(2 / 3 / 10000))


def test_update_climbs_the_tempered_bound_to_its_maximum(session, likelihood, rng):
    """With fixed residuals the optimum is conjugate: Gamma(a0 + 1 / (2 t), b0 + mse / (2 t)), t the temperature."""
    outputs, targets, temperature = tf.zeros([1, 6, 1], tf.float64), rng.randn(6), 0.05
    state = {name: tf.get_variable(name, initializer=value) for name, value in likelihood.init(tf.float64).items()}
    step = tf.placeholder(tf.float64, [])
    new, _ = likelihood.update({name: value.read_value() for name, value in state.items()},
                               outputs, tf.constant(targets), temperature, 1.0, step)
    op = tf.group([state[name].assign(new[name]) for name in state])
    session.run(tf.global_variables_initializer())
    for i in range(1, 1500):
        session.run(op, {step: i})
    alpha, beta = np.exp(session.run(state["log_noise"]))
    assert_allclose(alpha, 2.0 + 0.5 / temperature, rtol=1e-3)
    assert_allclose(beta, 3.0 + 0.5 * np.mean(targets**2) / temperature, rtol=1e-3)


def test_the_conjugate_update_is_that_maximum(session, config, rng):
    """One update gives the maximum for the average of the squared errors so far. All steps have equal weight in that
    average until this weight is below learning_rate."""
    likelihood = GaussianLikelihood(config(noise_prior_shape=2.0, noise_prior_rate=3.0, learning_rate=0.4,
                                           noise_update="conjugate"), 1)
    targets, temperature, state = rng.randn(4, 6), 0.05, likelihood.init(tf.float64)
    average = None
    for i in range(4):
        outputs, share = tf.zeros([1, 6, 1], tf.float64), max(1.0 / (i + 1), 0.4)
        state, _ = likelihood.update(state, outputs, tf.constant(targets[i]), temperature, 1.0, tensor(i + 1.0))
        average = share * np.mean(targets[i]**2) + (1 - share) * (average if i else 0.0)
        alpha, beta = np.exp(session.run(state["log_noise"]))
        assert_allclose([alpha, beta], [2.0 + 0.5 / temperature, 3.0 + 0.5 * average / temperature], rtol=1e-12)
    log_noise = state["log_noise"]
    bound = expected_log_prob(log_noise, tensor(average)) - temperature * likelihood.kl_of(log_noise)
    assert_allclose(session.run(tf.gradients(bound, log_noise)[0]), 0.0, atol=1e-12)


def test_a_weak_prior_does_not_set_the_noise_level_at_the_start(session, config):
    """The level is that of an untrained network, since standardised targets have the mean square 1."""
    for update in ("conjugate", "leave_one_out", "held_out"):
        likelihood = GaussianLikelihood(config(noise_prior_shape=1e-2, noise_prior_rate=1e-4, noise_update=update), 1)
        assert_allclose(session.run(likelihood.precision(likelihood.init(tf.float64))), 1.0, atol=0.03)


def test_categorical_score_is_the_gradient_of_its_log_prob(session, rng):
    logits, labels = tf.constant(rng.randn(2, 5, 3)), tf.constant([0, 2, 1, 1, 0])
    likelihood = Categorical(None, 3)
    log_prob = likelihood.update({}, logits, labels, 0.1, 1.0, tensor(1.0))[1]
    score = likelihood.score({}, logits, labels)
    score, grad, value = session.run([score, tf.gradients(log_prob, logits)[0], log_prob])
    assert_allclose(score, 10 * grad, rtol=1e-9)  # log_prob is a mean over 2 x 5
    p = np.exp(session.run(logits))
    p /= p.sum(axis=-1, keepdims=True)
    assert_allclose(value, np.mean(np.log(p[:, np.arange(5), [0, 2, 1, 1, 0]])), rtol=1e-9)


def test_categorical_scores_of_sampled_labels_have_the_covariance_of_the_fisher(session):
    logits = np.log(np.array([0.6, 0.3, 0.1]))
    many = tf.constant(np.tile(logits, (2, 20000, 1)))
    scores = session.run(Categorical(None, 3).sampled_score({}, many, [3, 5])).reshape(-1, 3)
    p = np.exp(logits)
    assert_allclose(scores.mean(axis=0), 0.0, atol=0.01)
    assert_allclose(scores.T @ scores / len(scores), np.diag(p) - np.outer(p, p), atol=0.01)
