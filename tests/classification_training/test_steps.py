"""Step sizes, their schedule, single steps, and the warm-up of the KL term."""
import collections

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose

from core.inference import optimizer
from core.inference.batch import elbo_gradient
from core.inference.families import Batch, Diagonal
from core.inference.gaussian import Prior
from core.inference.kfac import KFAC
from core.inference.optimizer import METHODS, LayerMethod
from core.inference.step_sizes import Refreshes, classification_step_sizes, count_of_updates
from core.training.schedule import (
    Schedule,
    classification_periods,
    early_classification_steps,
    no_early_steps,
)
from data_loader.batches import epoch_order
from misc.config import Config
from misc.seeding import stream_seed
from networks.layers import LayerSpec
from tests import reference
from tests.classification_training.steps import PRIOR, K, N, batch_of, rates_of
from tests.test_model import Run, assert_identical

N_STEPS = 23  # of an epoch: 1438 of the 1797 digits train, 64 at a time


def constants(state):
    return {name: tf.constant(value) for name, value in state.items()}


# Rates and the schedule.

@pytest.mark.parametrize("period, decay, warmup, shrinking", [
    (1, 0.99, 0, {}), (3, 0.75, 7, {"clip_decay": 0.8}), (10, 0.995, 10000, {"clip_decay": 1.0})])
def test_rates_written_out(session, config, period, decay, warmup, shrinking):
    cfg = config(learning_rate=0.2, decay_every_itr=7, kl_clip=0.3, TCov=period, cov_ema_decay=decay,
                 scale_ema_decay=0.9, clip_warmup=warmup, **shrinking)
    factor = shrinking.get("clip_decay", 0.95)
    now = tf.placeholder(tf.float64, [])
    rates = classification_step_sizes(cfg, None, now, 5, Refreshes({"cov": period}))
    for t in (1, 2, 3, 5, 6, 7, 8, 12, 13, 14, 15, 120, 2000, 10000, 10005, 10006):
        got = session.run([rates.mean, rates.cov, rates.clip, rates.step], {now: t})
        n_updates = sum(step == 1 or step % period == 0 for step in range(1, t + 1))
        grown = min(1.0, t / warmup) if warmup else 1.0
        clip = 0.3 * grown * factor ** ((t - 1) // 5)
        expected = [0.2 * 0.1 ** ((t - 1) // 7), max(1 - decay, 1 / n_updates), clip, t]
        assert_allclose(got, expected, rtol=1e-10)
        assert n_updates == count_of_updates(t, period)
    assert rates.scale == pytest.approx(0.1)


@pytest.mark.parametrize("decay, weights", [(0.99, [1 / 3, 1 / 3, 1 / 3]), (0.25, [0.0625, 0.1875, 0.75])])
def test_averages_begin_as_plain_means(config, decay, weights):
    """A after the updates at steps 1, 3 and 6, computed from the images of these steps."""
    run = Run(config(optimizer="kfac", precision="float64", cov_ema_decay=decay))
    average = run.steps(6)["dense0"]["a_cov"]
    a = inputs(run, epoch_order(1438, 1, 1))
    parts = [a[64 * (t - 1):64 * t] for t in (1, 3, 6)]
    assert_allclose(average, sum(w * part.T @ part / 64 for w, part in zip(weights, parts)), rtol=1e-9, atol=1e-12)


def test_early_steps(config):
    assert early_classification_steps(config(TCov=10), {"cov": 10, "basis": 200}) == [1, 10, 20, 40, 80, 160]
    assert early_classification_steps(config(TCov=5), {"cov": 5, "inverse": 21}) == [1, 5, 10, 20]
    assert early_classification_steps(config(TCov=1), {"inverse": 1}) == [1]
    assert early_classification_steps(config(TCov=9), {"basis": 2}) == [1]
    assert early_classification_steps(config(TCov=5), {"cov": 5}) == [1]  # needs no refresh
    assert no_early_steps(Config(dataset="x", optimizer="ekfac", model_name="linear"), {"basis": 5}) == []


def test_all_updates_run_at_early_steps():
    schedule = Schedule({"cov": 10, "scale": 5, "basis": 200}, [1, 10, 20, 40, 80, 160])
    runs = collections.Counter(name for step in range(1, 401) for name in schedule.due(step))
    assert runs == {"cov": 41, "scale": 81, "basis": 8}
    assert runs["cov"] == count_of_updates(400, 10) and runs["scale"] == count_of_updates(400, 5)
    everything = {"cov", "scale", "basis"}
    assert set(schedule.due_sets(400)) == {frozenset(names) for names in (["scale"], ["cov", "scale"], everything)}
    assert schedule.due_sets(4) == [everything]
    assert Schedule({"cov": 1}, [1, 2]).due_sets(9) == []


@pytest.mark.parametrize("limit", [0, 1, 2, 5, 50])
def test_segments_run_early_steps_too(limit):
    schedule = Schedule({"cov": 3, "basis": 12, "scale": 1}, [1, 3, 6])
    replay = []
    for segment in schedule.segments(1, 40, limit):
        one_round = [schedule.base] * segment.n_base_steps + ([segment.due] if segment.due is not None else [])
        assert segment.n_rounds * len(one_round) <= (limit or 40)
        replay += one_round * segment.n_rounds
    assert replay == [schedule.due(step) for step in range(1, 41)]


def test_periods_of_classification(config):
    names = ["cov", "inverse", "basis", "reinit", "scale"]
    assert classification_periods(config(TCov=2, TInv=3, TEigen=4, TScale=5), names) == {
        "cov": 2, "inverse": 3, "basis": 4, "scale": 5}


# The step.

def layer(family, cfg, number, d_in, d_out):
    return LayerMethod(LayerSpec(f"dense{number}", "dense", d_in, d_out), family(PRIOR, cfg), False)


@pytest.mark.parametrize("clip", [1e-4, 1e4])
def test_two_layers_are_clipped_together(session, config, rng, clip):
    """Two steps of a diagonal and a Kronecker layer in numpy: one factor for both, then heavy-ball momentum."""
    cfg, rate, damping = config(damping=0.3), 0.1, 0.34
    plans = [layer(Diagonal, cfg, 0, 2, 4), layer(KFAC, cfg, 1, 4, 3)]
    means = [rng.randn(*plan.shape) for plan in plans]
    states = [optimizer.initial_state(plan, tf.constant(mean)) for plan, mean in zip(plans, means)]
    fisher, a_cov, s_cov, totals = np.ones((3, 4)), np.eye(5), np.eye(3), [0.0, 0.0]
    for _ in range(2):
        a = [reference.with_one(rng, K, N, plan.shape[0]) for plan in plans]
        ds, grads = [rng.randn(K, N, plan.shape[1]) for plan in plans], [rng.randn(*plan.shape) for plan in plans]
        states = optimizer.clipped_steps(plans, states, [batch_of(*each) for each in zip(a, ds, grads)],
                                         rates_of(clip=clip), 0.9, {"cov", "inverse"})
        fisher = 0.75 * fisher + 0.25 * np.diag(reference.dense_fisher(a[0], ds[0])).reshape(3, 4)
        a_cov, s_cov = (0.75 * old + 0.25 * np.einsum("kni,knj->ij", new, new) / (K * N)
                        for old, new in ((a_cov, a[1]), (s_cov, ds[1])))
        kron = reference.damped_kron(a_cov, s_cov, damping)
        directions = [grads[0] / (fisher + damping), np.linalg.solve(kron, grads[1].ravel()).reshape(5, 3)]
        length = sum(np.sum(g * d) for g, d in zip(grads, directions))
        factor = min(1.0, np.sqrt(clip / (rate**2 * length)))
        assert (factor < 1) == (clip < 1)
        totals = [0.9 * total + factor * direction for total, direction in zip(totals, directions)]
        means = [mean + rate * total for mean, total in zip(means, totals)]
    for state, mean, total in zip(session.run(states), means, totals):
        assert_allclose(state["mean"], mean, rtol=1e-9)
        assert_allclose(state["momentum"], total, rtol=1e-9)


def test_clip_factor_of_no_gradient_is_1(session):
    assert session.run(optimizer.clip_factor(tf.constant(0.0, tf.float64), rates_of(clip=1e-3))) == 1.0


def test_sgd_is_plain_heavy_ball(session, config, rng):
    """The SGD step is not clipped, and does not change the clipping of a natural step beside it."""
    plans = [layer(METHODS["sgd"].family, config(), 0, 2, 4), layer(Diagonal, config(), 1, 4, 3)]
    grads = [[rng.randn(*plan.shape) for plan in plans] for _ in range(2)]

    def after(chosen):
        states = [optimizer.initial_state(plans[i], tf.zeros(plans[i].shape, tf.float64)) for i in chosen]
        for each in grads:
            batches = [Batch(None, None, None, None, tf.constant(each[i]), None) for i in chosen]
            states = optimizer.clipped_steps([plans[i] for i in chosen], states, batches, rates_of(clip=1e-6), 0.9, ())
        return session.run([state["mean"] for state in states])

    assert_allclose(after([0])[0], 0.1 * (grads[0][0] + (0.9 * grads[0][0] + grads[1][0])), rtol=1e-12)
    assert_allclose(after([0, 1])[1], after([1])[0], rtol=1e-12)


def test_adam_keeps_its_own_rule(session, config, rng):
    cfg = config()
    plans = [layer(METHODS["adam"].family, cfg, 0, 2, 4), layer(Diagonal, cfg, 1, 4, 3)]
    one = own = [optimizer.initial_state(plan, tf.zeros(plan.shape, tf.float64)) for plan in plans]
    for t in (1.0, 2.0, 3.0):
        batches = [Batch(None, None, None, None, tf.constant(rng.randn(*plan.shape)), None) for plan in plans]
        one = optimizer.clipped_steps(plans, one, batches, rates_of(step=t, clip=1e-6), 0.9, frozenset())
        own = optimizer.averaged_steps(plans, own, batches, rates_of(step=t), 0.9, frozenset())
    one, own = session.run([one, own])
    assert (one[0]["mean"] == own[0]["mean"]).all() and np.abs(one[1]["mean"] - own[1]["mean"]).max() > 1e-3


def inputs(run, rows):
    """Inputs of the linear network for training rows: standardised pixels and a 1."""
    mean, std = run.data.spec.pixels
    x = ((run.data.train.x[rows] - mean) / std).reshape(len(rows), -1)
    return np.hstack([x, np.ones((len(rows), 1))])


@pytest.mark.parametrize("optimizer", ["ekfac", "kfac", "diag", "sgd"])
def test_one_step_written_out(config, optimizer):
    """Compares the first step in float64 with numpy, at a 46th of the KL term's weight."""
    cfg = config(optimizer=optimizer, precision="float64", kl_warmup=2, kl=0.6, eta=0.5, damping=0.2, train_particles=2)
    run = Run(cfg)
    before, after = run.session.run(run.model.variables)["dense0"], run.steps(1)["dense0"]
    rows = epoch_order(1438, 1, 1)[:64]
    a, labels = inputs(run, rows), run.data.train.y[rows]
    kl_scale = 1 / (2 * N_STEPS)
    with run.model.graph.as_default():
        layer, temperature = run.model.design.layers[0], Prior(1438, 0.6, 0.5).temperature(kl_scale)
        old, new = constants(before), constants(after)
        seed = tf.constant([stream_seed(1, "noise", "dense0"), 0])
        weights = run.session.run(layer.posterior(old, temperature).sample(2 if layer.noisy else 1, seed))
        odds = np.exp(a @ weights)
        errors = np.eye(10)[labels] - odds / odds.sum(axis=-1, keepdims=True)
        grad = np.mean(a.T @ errors / 64 - kl_scale * 0.6 / (1438 * 0.5) * weights, axis=0)
        direction = layer.family.precondition(layer.family.project(tf.constant(grad), new), new)
        means = run.session.run([layer.weights(old), layer.weights(new), layer.family.weights(direction, new)])
    clip = 1e-3 / 10000
    factor = min(1.0, np.sqrt(clip / (1e-6 * np.sum(grad * means[2])))) if optimizer != "sgd" else 1.0
    assert_allclose(means[1], means[0] + 1e-3 * factor * means[2], rtol=1e-9, atol=1e-13)


# The warm-up of the KL term.

def test_kl_scale_scales_the_temperature_but_not_the_damping(session):
    assert (PRIOR.temperature(), PRIOR.temperature(0.25), PRIOR.damping) == pytest.approx((0.02, 0.005, 0.04))
    gradient, weights = tf.constant(3.0, tf.float64), tf.constant([[5.0], [7.0]], tf.float64)
    for scale in (1.0, 0.25):
        grad = elbo_gradient(gradient, tf.reduce_mean(weights, axis=0), PRIOR, scale)
        assert_allclose(session.run(grad), 3.0 - scale * 0.04 * 6.0)


@pytest.mark.parametrize("optimizer", ["ekfac", "kfac", "diag"])
def test_weight_noise_grows_as_the_root_of_the_kl_scale(config, optimizer):
    """Compares the same state at different steps of a warm-up of two epochs."""
    run = Run(config(optimizer=optimizer, precision="float64", kl_warmup=2))
    run.steps(4)
    states, std = [], {}
    for step in (0, 1, 4, 23, 46, 60):
        with run.model.graph.as_default():
            run.session.run(run.model.global_step.assign(step))
        variables, noise = run.session.run([run.model.variables, run.model.evaluate.weight_std])
        states.append(variables)
        std[step] = noise["dense0"]
    for other in states[1:]:
        assert_identical(states[0], other)
    for step, scale in ((0, 1 / 46), (1, 1 / 46), (4, 4 / 46), (23, 0.5), (60, 1.0)):
        assert_allclose(std[step], np.sqrt(scale) * std[46], rtol=1e-9)
