"""Classification: rates, the step, families with a basis, and the graph of a run."""
import collections

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose

from core.inference import linalg, optimizer
from core.inference.ekfac import EKFAC
from core.inference.factors import STATISTICS
from core.inference.families import Batch, Diagonal
from core.inference.gaussian import Prior
from core.inference.kfac import KFAC
from core.inference.optimizer import METHODS, LayerMethod
from core.inference.step_sizes import StepSizes, classification_step_sizes, count_of_updates
from core.training.design import design_run
from core.training.evaluation import network_outputs
from core.training.graph import build_model
from core.training.schedule import (
    Schedule,
    classification_periods,
    early_classification_steps,
    no_early_steps,
)
from data_loader.batches import epoch_order
from data_loader.parts import Pixels, Spec
from misc.config import Config, key_mode
from misc.seeding import stream_seed
from networks.layers import LayerSpec
from tests import reference
from tests.test_model import Run, assert_identical, flat

N_STEPS = 23  # of an epoch: 1438 of the 1797 digits train, 64 at a time
PRIOR = Prior(n_data=40, kl_weight=0.8, prior_var=0.5)  # gamma_in = 0.04
K, N = 2, 6


@pytest.fixture
def config(tmp_path):
    """Function (**overrides) -> Config for a few steps on digits."""
    values = dict(mode="classification", dataset="digits", data_path=str(tmp_path), experiments_path=str(tmp_path),
                  optimizer="ekfac", model_name="linear", epoch=3, batch_size=64, train_particles=1, test_particles=3,
                  TCov=3, TInv=6, TEigen=6, TScale=3)
    return lambda **overrides: Config.from_dict(dict(values, **overrides))


def constants(state):
    return {name: tf.constant(value) for name, value in state.items()}


# Rates and the schedule.

@pytest.mark.parametrize("period, decay, warmup", [(1, 0.99, 0), (3, 0.75, 7), (10, 0.995, 10000)])
def test_rates_written_out(session, config, period, decay, warmup):
    cfg = config(learning_rate=0.2, decay_every_itr=7, kl_clip=0.3, TCov=period, cov_ema_decay=decay,
                 scale_ema_decay=0.9, clip_warmup=warmup)
    now = tf.placeholder(tf.float64, [])
    rates = classification_step_sizes(cfg, None, now, 5)
    for t in (1, 2, 3, 5, 6, 7, 8, 12, 13, 14, 15, 120, 2000, 10000, 10005, 10006):
        got = session.run([rates.mean, rates.cov, rates.clip, rates.step], {now: t})
        n_updates = sum(step == 1 or step % period == 0 for step in range(1, t + 1))
        grown = min(1.0, t / warmup) if warmup else 1.0
        expected = [0.2 * 0.1 ** ((t - 1) // 7), max(1 - decay, 1 / n_updates), 0.3 * grown * 0.95 ** ((t - 1) // 5), t]
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


def batch_of(a, ds, grad=None):
    a, ds = tf.constant(a), tf.constant(ds)
    return Batch(a, ds, ds, None, None if grad is None else tf.constant(grad), STATISTICS["dense"](None))


def rates_of(mean=0.1, cov=0.25, scale=0.4, step=1.0, clip=None):
    rates = (mean, cov, scale, step, 1.0, clip)
    return StepSizes(*(None if rate is None else tf.constant(rate, tf.float64) for rate in rates))


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
        grad = optimizer.elbo_gradient(gradient, weights, PRIOR, scale)
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


# Decompositions.

def large_matrix(rng, d):
    basis = np.linalg.qr(rng.randn(d, d))[0]
    return (basis * np.linspace(0.01, 3.0, d)) @ basis.T


@pytest.mark.parametrize("less", [0, 1])
def test_large_matrices_go_to_lapack(session, rng, less):
    d = linalg.LAPACK_MIN_DIM - less
    matrix = large_matrix(rng, d)
    (values, basis), alone = session.run([linalg.eigh(tf.constant(matrix)), linalg.eigvalsh(tf.constant(matrix))])
    exact = np.linalg.eigvalsh(matrix)
    assert_allclose(values, exact, rtol=1e-9)
    assert_allclose(alone, exact, rtol=1e-9)
    assert_allclose(matrix @ basis, basis * exact, atol=1e-11)
    kinds = {op.type for op in session.graph.get_operations()}
    assert ("SelfAdjointEigV2" in kinds) == bool(less) and any("PyFunc" in kind for kind in kinds) != bool(less)


@pytest.mark.parametrize("name", ["eigh", "eigvalsh", "orthogonal_iteration"])
def test_a_large_matrix_that_is_not_finite_is_an_error(session, name):
    """The trainer recognises a run that diverged by the word "decomposition" in the error."""
    matrix = np.eye(linalg.LAPACK_MIN_DIM)
    matrix[3, 4] = np.nan
    more = [tf.eye(linalg.LAPACK_MIN_DIM, dtype=tf.float64)] if name == "orthogonal_iteration" else []
    result = getattr(linalg, name)(tf.constant(matrix), *more)
    with pytest.raises((tf.errors.InvalidArgumentError, tf.errors.UnknownError), match="decomposition"):
        session.run(result)


@pytest.mark.parametrize("d", [30, linalg.LAPACK_MIN_DIM])
def test_orthogonal_iteration_reaches_the_leading_subspace(session, rng, d):
    """Eigenvalues are in two groups, 5 to 6 and below 2, so that one iteration reduces the error by two thirds."""
    exact = np.linalg.qr(rng.randn(d, d))[0]
    values = np.concatenate([np.linspace(0.1, 2.0, d - 4), np.linspace(5.0, 6.0, 4)])
    matrix, change = (exact * values) @ exact.T, 0.1 * rng.randn(d, d) / np.sqrt(d)
    basis = np.linalg.eigh(matrix + change + change.T)[1]
    fed = tf.placeholder(tf.float64, [d, d])
    repeat = linalg.orthogonal_iteration(tf.constant(matrix), fed)[1]

    def distance(basis):
        return np.linalg.norm(basis[:, -4:] @ basis[:, -4:].T - exact[:, -4:] @ exact[:, -4:].T, 2)

    start = distance(basis)
    for _ in range(6):
        basis = session.run(repeat, {fed: basis})
    assert start > 1e-3 and distance(basis) < 0.45**6 * start
    assert_allclose(basis.T @ basis, np.eye(d), atol=1e-12)


def test_a_basis_that_is_far_is_recomputed(session, rng):
    matrix = reference.random_cov(rng, 6)
    near = np.linalg.eigh(matrix + 0.01 * np.diag(rng.rand(6)))[1]
    fed = tf.constant(matrix)
    pairs = [[linalg.warm_basis(fed, tf.constant(basis)), other(tf.constant(basis))] for basis, other in (
        (np.linalg.qr(rng.randn(6, 6))[0], lambda _: linalg.eigh(fed)),
        (near, lambda basis: linalg.orthogonal_iteration(fed, basis)))]
    shares = session.run([linalg.off_diagonal_share(fed, tf.constant(near)), linalg.off_diagonal_share(
        tf.ones([6, 6], tf.float64), tf.eye(6, dtype=tf.float64))])
    assert shares[0] < linalg.MAX_WARM_SHARE < shares[1]
    for got, expected in session.run(pairs):
        assert all((one == other).all() for one, other in zip(got, expected))
    assert np.abs(near.T @ matrix @ near - np.diag(np.diag(near.T @ matrix @ near))).max() > 1e-5
    flat_one = np.full((6, 6), 1.0) + 0.1 * matrix  # the identity is far from its eigenvectors
    values, basis = session.run(linalg.warm_basis(tf.constant(flat_one), tf.eye(6, dtype=tf.float64)))
    assert_allclose(basis.T @ flat_one @ basis, np.diag(values), atol=1e-12)


# Families with a basis.

SHAPE = (4, 3)


@pytest.fixture
def batch(rng):
    return lambda: batch_of(reference.with_one(rng, K, N, SHAPE[0]), rng.randn(K, N, SHAPE[1]))


@pytest.mark.parametrize("how", [{}, {"basis_update": "orthogonal_iteration"}, {"basis_tolerance": 0.01}])
def test_mean_and_momentum_keep_their_weights_in_a_new_basis(session, config, rng, batch, how):
    family = EKFAC(PRIOR, config(**how))
    start = family.update(family.init(SHAPE, tf.float64), batch(), rates_of(), {"cov", "basis"})
    state = dict(start, mean=tf.constant(rng.randn(*SHAPE)), momentum=tf.constant(rng.randn(*SHAPE)))
    new = family.update(state, batch(), rates_of(), {"cov", "basis"})
    pairs = [[family.weights(state[name], state), family.weights(family.change_basis(state[name], state, new), new)]
             for name in ("mean", "momentum")]
    pairs, bases = session.run([pairs, [state["q_a"], new["q_a"]]])
    assert np.abs(bases[0] - bases[1]).max() > 1e-3
    for old, rotated in pairs:
        assert_allclose(rotated, old, rtol=1e-10, atol=1e-12)
    same = family.update(state, batch(), rates_of(), {"cov", "scale"})
    assert family.change_basis(state["mean"], state, same) is state["mean"]


def test_a_basis_that_is_good_enough_stays(session, config, batch):
    """Averages of the identity with one batch keep its eigenvectors; another batch changes them."""
    family, first = EKFAC(PRIOR, config(basis_tolerance=0.05)), batch()
    states = [family.init(SHAPE, tf.float64)]
    for now, due in ((first, {"cov", "basis"}), (first, {"cov", "scale"}), (first, {"cov", "basis"}),
                     (batch(), {"cov", "basis"})):
        states.append(family.update(states[-1], now, rates_of(), due))
    reports = [family.report(state) for state in states]
    states, reports = session.run([states, reports])
    assert [(report["refreshed"], report["kept"]) for report in reports] == [(0, 0), (1, 0), (1, 0), (1, 1), (2, 1)]
    for name in ("q_a", "q_s", "values_a", "values_s", "scale"):
        assert (states[4][name] != states[3][name]).any(), name
    for name in ("q_a", "q_s", "scale"):
        assert (states[3][name] == states[2][name]).all(), name
    q_a, a_cov = states[3]["q_a"], states[3]["a_cov"]
    assert_allclose(states[3]["values_a"], np.diag(q_a.T @ a_cov @ q_a), rtol=1e-10)  # the values are up to date
    assert (states[3]["a_cov"] != states[2]["a_cov"]).any()
    assert (states[2]["scale"] != states[1]["scale"]).all()


def test_the_first_basis_is_made_whatever_the_tolerance(session, config, batch):
    family = EKFAC(PRIOR, config(basis_tolerance=0.99))
    first = family.update(family.init(SHAPE, tf.float64), batch(), rates_of(), {"cov", "basis"})
    a_cov, q_a, refreshed = session.run([first["a_cov"], first["q_a"], first["refreshed"]])
    off = q_a.T @ a_cov @ q_a
    assert refreshed == 1 and np.abs(off - np.diag(np.diag(off))).max() < 1e-10


def test_a_basis_by_orthogonal_iteration(session, config, batch):
    """One iteration from the exact basis of almost the same factors gives a basis that is close, but not exact."""
    exact, warm = (EKFAC(PRIOR, config(basis_update=how)) for how in ("eigh", "orthogonal_iteration"))
    first = exact.update(exact.init(SHAPE, tf.float64), batch(), rates_of(cov=0.9), {"cov", "basis"})
    second = warm.update(first, batch(), rates_of(cov=0.01), {"cov", "basis"})
    expected = {name: linalg.orthogonal_iteration(second[name + "_cov"], first["q_" + name])[1] for name in "as"}
    second, expected = session.run([second, expected])
    for name in "as":
        assert (second["q_" + name] == expected[name]).all()
        seen = second["q_" + name].T @ second[name + "_cov"] @ second["q_" + name]
        assert_allclose(second["values_" + name], np.diag(seen), rtol=1e-10)
        assert 1e-6 < np.abs(seen - np.diag(np.diag(seen))).max() < 0.05


def test_kfac_steps_with_its_inverse_until_the_next(session, config, rng, batch):
    family, grad = KFAC(PRIOR, config(damping=0.3)), rng.randn(*SHAPE)
    old = family.update(family.init(SHAPE, tf.float64), batch(), rates_of(), {"cov", "inverse"})
    new = family.update(old, batch(), rates_of(), {"cov"})
    last = family.update(new, batch(), rates_of(), {"inverse"})
    steps = [family.precondition(tf.constant(grad), state) for state in (old, new, last)]
    steps, old, new = session.run([steps, old, new])
    kron = [reference.damped_kron(state["a_cov"], state["s_cov"], 0.34) for state in (old, new)]
    for step, matrix in zip(steps, (kron[0], kron[0], kron[1])):
        assert_allclose(step.ravel(), np.linalg.solve(matrix, grad.ravel()), rtol=1e-9)
    assert np.abs(steps[0] - steps[2]).max() > 1e-3


# The graph of a run.

@pytest.mark.parametrize("optimizer, network", [
    ("ekfac", {"model_name": "ffn", "hidden": [5], "TCov": 1, "TScale": 1, "TEigen": 4}),
    ("kfac", {"model_name": "ffn", "hidden": [5], "TCov": 1, "TInv": 4}),
    ("diag", {"model_name": "lenet", "width": 0.3})])
def test_steps_per_run_changes_no_bit(config, optimizer, network):
    keys = dict(network, optimizer=optimizer, batch_norm=True, data_aug=True)
    run, states = Run(config(**keys)), []
    for limit in (0, 1, 2):  # the graph does not know the limit
        run.config = config(steps_per_run=limit, **keys)
        run.session.run(run.model.init)
        states.append(run.steps(8))
    assert_identical(states[0], states[1])
    assert_identical(states[0], states[2])
    assert all(np.isfinite(value).all() for value in flat(states[0]).values())


@pytest.mark.parametrize("network", [{"model_name": "lenet", "width": 0.3}, {"model_name": "ffn", "hidden": [5]}])
def test_evaluation_batches_change_no_result(config, network):
    """Results agree up to rounding, with draws one by one (convolutions) and all at once."""
    keys = dict(network, optimizer="diag", batch_norm=True)
    run, evaluations = Run(config(**keys)), []
    run.steps(3)
    assert run.model.design.particles_at_once == (3 if "hidden" in network else 1)
    draws = network_outputs(run.session, run.model, run.data.test.x[:5])
    mean = network_outputs(run.session, run.model, run.data.test.x[:5], mean=True)
    assert draws.shape == (3, 5, 10) and mean.shape == (1, 5, 10)
    assert all((one != other).any() for one, other in zip(draws, [draws[1], draws[2], mean[0]]))
    for size in (1000, 64, 7):
        design = run.model.design._replace(config=config(test_batch_size=size, **keys))
        model = run.model._replace(design=design)
        evaluations.append(design.task.evaluate(run.session, model, run.data.test, run.data))
    for other in evaluations[1:]:
        assert_allclose(other.prediction, evaluations[0].prediction, rtol=1e-4, atol=1e-5)
        assert other.metrics == pytest.approx(evaluations[0].metrics, rel=1e-4)


def test_work_that_is_not_due_is_not_in_the_loop(config):
    spec = Spec(100, (3, 2, 1), 4, Pixels(np.zeros(1), np.ones(1)))
    made = config(TCov=2, TScale=4, TEigen=8, epoch=9, hidden=[5], model_name="ffn")
    graph = build_model(design_run(made, spec)).graph
    ops = collections.defaultdict(list)
    for op in graph.get_operations():
        ops[op.name.split("/")[0]].append(op.type)
    loops = {name: kinds for name, kinds in ops.items() if name.startswith("steps")}
    n_bases = {name: kinds.count("SelfAdjointEigV2") for name, kinds in loops.items()}
    assert n_bases == {"steps": 0, "steps_then_cov": 0, "steps_then_cov_scale": 0, "steps_then_basis_cov_scale": 4}
    sampled = {name for name, kinds in loops.items() if any("RandomUniform" in kind for kind in kinds)}
    assert sampled == set(loops) - {"steps"}  # labels of the Fisher


def test_kfac_factorises_when_due(config):
    spec = Spec(100, (3, 2, 1), 4, Pixels(np.zeros(1), np.ones(1)))
    graph = build_model(design_run(config(optimizer="kfac", TCov=2, TInv=8, epoch=9), spec)).graph
    n_roots = collections.Counter(op.name.split("/")[0] for op in graph.get_operations() if op.type == "Cholesky")
    assert n_roots["steps"] == n_roots["steps_then_cov"] == 0 and n_roots["steps_then_cov_inverse"] == 2


FFN = {"model_name": "ffn", "hidden": [5]}


@pytest.mark.parametrize("optimizer", ["ekfac", "sgd"])
def test_float64_goes_with_batch_norm(config, optimizer):
    state = Run(config(optimizer=optimizer, precision="float64", batch_norm=True, **FFN)).steps(1)
    assert {value.dtype for value in flat(state).values()} == {np.dtype("float64")}


UNCLIPPED = {"kl_clip": 1e6}  # a clipped step has the same length whatever the learning rate
# All updates after every step: a graph with one kind of step only, which is built fastest.
EVERY_STEP = {"TCov": 1, "TInv": 1, "TEigen": 1, "TScale": 1}
# key -> (value that must change the weights after eight steps, settings that both runs need beside EVERY_STEP).
CHANGES = {
    "width": (0.5, {"model_name": "lenet", "width": 0.3, "optimizer": "diag"}),
    "data_aug": (True, {}), "batch_norm": (True, FFN), "decay_every_itr": (4, UNCLIPPED), "cov_ema_decay": (0.5, {}),
    "scale_ema_decay": (0.5, {"TEigen": 6}), "kl_clip": (1e-2, {}), "clip_warmup": (0, {}), "TCov": (2, {}),
    "TInv": (4, {"optimizer": "kfac"}), "TEigen": (4, {}), "TScale": (2, {}),
    "early_refresh": (False, {"TCov": 2, "TEigen": 4}),
    "kl_warmup": (1, {}), "learning_rate": (1e-2, UNCLIPPED), "momentum": (0.5, {}), "kl": (0.5, {}), "eta": (0.5, {}),
    "damping": (0.1, {}), "train_particles": (2, {}), "true_fisher": (False, {}),
    "basis_update": ("orthogonal_iteration", {}), "basis_tolerance": (0.9, {}), "kfac_init_after_basis": (False, {}),
}


@pytest.fixture(scope="module")
def bases():
    """Weights of the unchanged runs, by their settings."""
    return {}


@pytest.mark.parametrize("key", sorted(CHANGES))
def test_every_option_changes_the_result(config, bases, key):
    value, common = CHANGES[key]
    common = dict(EVERY_STEP, **common)
    name = repr(sorted(common.items()))
    if name not in bases:
        bases[name] = Run(config(**common)).steps(8)
    one, other = (state[sorted(state)[0]]["mean"] for state in (
        bases[name], Run(config(**dict(common, **{key: value}))).steps(8)))
    assert one.shape != other.shape or np.abs(one - other).max() > 1e-7


def test_every_option_is_accounted_for():
    assert {name for name in Config.model_fields if key_mode(name) == "classification"} <= set(CHANGES)
