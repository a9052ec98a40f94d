"""Likelihoods of m targets whose noise is independent: everything is that of m likelihoods of one target."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose
from scipy import optimize, stats

from core.inference.heteroscedastic import BOUND, HeteroscedasticLikelihood
from core.inference.likelihoods import GaussianLikelihood, StudentTLikelihood
from core.inference.noise_precision import HeldOut, leave_one_out_outputs
from core.metrics.draws import GammaLevel
from tests.likelihood.values import tensor

KINDS = {"gaussian": GaussianLikelihood, "student_t": StudentTLikelihood}
SETTINGS = dict(noise_prior_shape=2.0, noise_prior_rate=3.0, noise_dof=3.5, learning_rate=0.3)


def states_of(states, stack):
    """State of several targets from those of each."""
    return {name: stack([state[name] for state in states], axis=-1) for name in states[0]}


@pytest.mark.parametrize("update", ["adam", "conjugate", "leave_one_out"])
@pytest.mark.parametrize("kind", KINDS)
def test_several_targets_are_as_many_likelihoods(session, config, rng, kind, update):
    """State, bound, score and KL step by step; the errors of leave_one_out do not depend on the draw with one draw."""
    n_draws = 1 if update == "leave_one_out" else 3
    several, one = (KINDS[kind](config(noise_update=update, **SETTINGS), m) for m in (2, 1))
    assert several.n_outputs == 2 and several.target_shape == (2,) and one.target_shape == ()
    state, states = several.init(tf.float64), [one.init(tf.float64) for _ in range(2)]
    for step in (1.0, 2.0, 3.0):
        outputs, targets = rng.randn(n_draws, 5, 2), rng.randn(5, 2) * [1.0, 3.0]
        score = several.score(state, tf.constant(outputs), tf.constant(targets))
        state, log_prob = several.update(state, tf.constant(outputs), tf.constant(targets), 0.1, 1.0, tensor(step))
        scores, alone = [], []
        for j in range(2):
            column = tf.constant(outputs[..., [j]])
            scores.append(one.score(states[j], column, tf.constant(targets[:, j])))
            alone.append(one.update(states[j], column, tf.constant(targets[:, j]), 0.1, 1.0, tensor(step)))
        states = [new for new, _ in alone]
        values = session.run([state, log_prob, several.kl(state), score])
        by_hand = session.run([states_of(states, tf.stack), sum(value for _, value in alone),
                               sum(one.kl(each) for each in states), tf.concat(scores, axis=-1)])
        for value, other in zip(tf.nest.flatten(values), tf.nest.flatten(by_hand)):
            assert_allclose(value, other, rtol=1e-12)
    report = session.run(several.report(state))
    precisions = session.run([one.precision(each) for each in states])
    assert_allclose([report["train/noise_precision_1"], report["train/noise_precision_2"]], precisions, rtol=1e-12)
    assert_allclose(report["train/noise_precision"], 1.0 / np.mean(1.0 / np.array(precisions)), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_held_out_level_maximises_the_joint_mixture(session, config, rng, kind):
    """At the fixed point, over both precisions at once; the mean of a row's density is over draws of both targets."""
    likelihood = KINDS[kind](config(noise_update="held_out", **dict(SETTINGS, noise_prior_shape=1e-9,
                                                                   noise_prior_rate=1e-9)), 2)
    outputs, targets = rng.randn(5, 30, 2), rng.randn(30, 2) * [0.7, 2.0]
    start = likelihood.init(tf.float64)
    feeds = {name: tf.placeholder(tf.float64, value.shape) for name, value in start.items()}
    rows = HeldOut(tf.constant(outputs), tf.constant(targets), 30, tf.constant(True))
    new = likelihood.update(feeds, rows.outputs, rows.targets, 0.1, 1.0, tensor(1.0), rows)[0]
    state = session.run(start)
    for _ in range(400):
        state = session.run(new, {feeds[name]: value for name, value in state.items()})
    found = np.log(state["mean_square"])
    shape = stats.norm if kind == "gaussian" else stats.t(3.5)

    def loss(log_variance):
        scale = np.exp(0.5 * log_variance)
        return -np.mean(np.log(np.prod(shape.pdf((targets - outputs) / scale) / scale, axis=-1).mean(axis=0)))

    best = optimize.minimize(loss, found + 0.1, method="Nelder-Mead", options=dict(xatol=1e-7, fatol=1e-12)).x
    assert_allclose(found, best, atol=1e-4)


@pytest.mark.parametrize("dof", [np.inf, 3.5])
def test_each_output_has_a_leverage_of_its_own(session, rng, dof):
    outputs, targets, precisions = rng.randn(4, 6, 2) * [0.2, 0.6], rng.randn(6, 2), np.array([0.5, 1.5])
    both = leave_one_out_outputs(tf.constant(outputs), tf.constant(targets), tf.constant(precisions), 0.7, dof)
    for j in range(2):
        alone = leave_one_out_outputs(tf.constant(outputs[..., [j]]), tf.constant(targets[:, j]),
                                      tensor(precisions[j]), 0.7, dof)
        assert_allclose(*session.run([both[..., j], alone[..., 0]]), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_sampled_scores_have_the_covariance_of_the_fisher(session, config, kind):
    likelihood = KINDS[kind](config(**SETTINGS), 2)
    state = dict(likelihood.init(tf.float64), log_noise=tensor(np.log([[2.0, 8.0], [1.0, 1.0]])))
    scores = session.run(likelihood.sampled_score(state, tf.zeros([4, 10000, 2], tf.float64), [3, 5])).reshape(-1, 2)
    fisher = np.diag([2.0, 8.0]) * (1.0 if kind == "gaussian" else 4.5 / 6.5)
    assert_allclose(scores.T @ scores / len(scores), fisher, atol=5 * 8.0 * (2 / 40000)**0.5)


def test_heteroscedastic_outputs_of_several_targets(session, config, rng):
    """Outputs f_1, f_2, r_1, r_2."""
    several, one = (HeteroscedasticLikelihood(config(), m) for m in (2, 1))
    assert several.n_outputs == 4
    outputs, targets, state = rng.randn(3, 5, 4), rng.randn(5, 2), several.init(tf.float64)
    score, (_, log_prob) = (several.score(state, tf.constant(outputs), tf.constant(targets)),
                            several.update(state, tf.constant(outputs), tf.constant(targets), 0.1, 1.0, tensor(1.0)))
    factors = np.array([1.0, 2.0, 3.0])
    draws, total = several.draws(outputs, factors, np.inf), 0.0
    raw = BOUND * np.tanh(outputs[..., 2:] / BOUND)
    assert_allclose(draws.precisions, factors[:, None, None] * np.exp(-raw), rtol=1e-12)
    for j in range(2):
        both, y = tf.constant(outputs[..., [j, 2 + j]]), tf.constant(targets[:, j])
        assert_allclose(*session.run([one.score(state, both, y), tf.gather(score, [j, 2 + j], axis=-1)]), rtol=1e-12)
        total += session.run(one.update(state, both, y, 0.1, 1.0, tensor(1.0))[1])
        alone = one.draws(outputs[..., [j, 2 + j]], factors, np.inf)
        for ours, theirs in zip(draws.of_target(j)[:3], alone[:3]):
            assert_allclose(ours, theirs, rtol=1e-12)
    assert_allclose(session.run(log_prob), total, rtol=1e-12)


def test_precisions_are_drawn_for_each_target():
    drawn = GammaLevel(np.array([3.0, 30.0]), np.array([1.0, 20.0]), np.inf, {}).draw(np.random.RandomState(1), 40000)
    assert drawn.shape == (40000, 2)
    assert_allclose(drawn.mean(axis=0), [3.0, 1.5], rtol=0.02)
    assert_allclose(drawn.var(axis=0), [3.0, 30.0 / 400.0], rtol=0.05)
