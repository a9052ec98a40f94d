"""The families' states: averages, refreshes, posteriors and steps, against dense matrices."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose

from core.inference.eigen_kfac import EigenKFAC
from core.inference.eigenbasis import InEigenbasis
from core.inference.ekfac import EKFAC, carry_scale
from core.inference.factors import STATISTICS
from core.inference.families import Batch, Diagonal, MeanField
from core.inference.gaussian import Prior
from core.inference.kfac import KFAC
from core.inference.optimizer import METHODS
from core.inference.step_sizes import Refreshes, StepSizes, kl_scale, norm_rate, regression_step_sizes
from misc.config import Config
from tests import reference

PRIOR = Prior(n_data=40, kl_weight=0.8, prior_var=0.5)  # gamma_in = 0.04
SHAPE = (4, 3)
K, N = 2, 6
STEP_SIZES = StepSizes(mean=None, cov=0.25, scale=0.4, step=None, kl_scale=1.0)


@pytest.fixture
def arrays(rng):
    """a, ds, ds_fisher of one minibatch; the Fisher's gradients differ from the data's."""
    return reference.with_one(rng, K, N, SHAPE[0]), rng.randn(K, N, SHAPE[1]), rng.randn(K, N, SHAPE[1])


def batch_of(a, ds, ds_fisher):
    tensors = [tf.constant(array) for array in (a, ds, ds_fisher)]
    return Batch(*tensors, noise=None, grad=None, stats=STATISTICS["dense"](None))


def updated(session, family, arrays, due, times=1):
    """(state before the last update, state after), as arrays."""
    state = family.init(SHAPE, tf.float64)
    for _ in range(times):
        old, state = state, family.update(state, batch_of(*arrays), STEP_SIZES, due)
    return session.run([old, state])


def covs(a, ds):
    return [np.mean([np.outer(r, r) for r in t.reshape(-1, t.shape[-1])], axis=0) for t in (a, ds)]


def dense_posterior(session, family, state):
    """Covariance of vec(W) under the family's posterior."""
    q = family.posterior(tf.zeros(SHAPE, tf.float64), {name: tf.constant(value) for name, value in state.items()},
                         PRIOR.temperature())
    values = type(q)(*[value if isinstance(value, float) else session.run(value) for value in q])
    if isinstance(family, KFAC):
        return values.temperature * np.kron(values.root_a.T @ values.root_a, values.root_s.T @ values.root_s)
    if isinstance(family, InEigenbasis):
        basis = np.kron(values.q_a, values.q_s)
        return (basis * values.variance.ravel()) @ basis.T
    return np.diag(values.variance.ravel())


def preconditioned(session, family, state, grad):
    tensors = {name: tf.constant(value) for name, value in state.items()}
    direction = family.precondition(family.project(tf.constant(grad), tensors), tensors)
    return session.run(family.weights(direction, tensors)).ravel()


def test_moving_averages_use_the_fisher_targets(session, config, arrays):
    _, state = updated(session, KFAC(PRIOR, config()), arrays, {"cov"})
    a_cov, s_cov = covs(arrays[0], arrays[2])
    assert_allclose(state["a_cov"], 0.75 * np.eye(4) + 0.25 * a_cov, rtol=1e-10)
    assert_allclose(state["s_cov"], 0.75 * np.eye(3) + 0.25 * s_cov, rtol=1e-10)
    _, state = updated(session, Diagonal(PRIOR, config()), arrays, {"cov"})
    diagonal = np.diag(reference.dense_fisher(arrays[0], arrays[2])).reshape(SHAPE)
    assert_allclose(state["fisher"], 0.75 + 0.25 * diagonal, rtol=1e-10)


@pytest.mark.parametrize("make, due", [(KFAC, {"cov"}), (Diagonal, {"cov"}), (EKFAC, {"cov", "scale"})])
def test_a_share_of_the_rows_estimates_the_statistics_without_bias(session, config, arrays, make, due):
    """It is that of the first rows, rounded up; over all rotations of the rows, its mean is that of all rows."""
    def statistics(share, *rotated):
        return updated(session, make(PRIOR, config(curvature_rows=share)), rotated, due)[1]

    first = statistics(0.55, *arrays)  # 4 of 6 rows
    by_hand = statistics(1.0, *(array[:, :4] for array in arrays))
    parts = [statistics(0.55, *(np.roll(array, shift, axis=1) for array in arrays)) for shift in range(N)]
    whole = statistics(1.0, *arrays)
    for name in first:
        assert_allclose(first[name], by_hand[name], rtol=1e-12)
        assert_allclose(np.mean([part[name] for part in parts], axis=0), whole[name], rtol=1e-10, atol=1e-12)
    assert any(np.abs(first[name] - whole[name]).max() > 1e-3 for name in first)


@pytest.mark.parametrize("make", [KFAC, EigenKFAC])
@pytest.mark.parametrize("gamma_ex", [0.0, 0.3])
def test_kfac_posterior_has_only_the_prior_damping(session, config, rng, arrays, make, gamma_ex):
    family = make(PRIOR, config(damping=gamma_ex))
    _, state = updated(session, family, arrays, {"cov", "inverse"})
    damped = [reference.damped_kron(state["a_cov"], state["s_cov"], gamma) for gamma in (0.04, 0.04 + gamma_ex)]
    assert_allclose(dense_posterior(session, family, state), 0.02 * np.linalg.inv(damped[0]), rtol=1e-9)
    grad = rng.randn(*SHAPE)
    assert_allclose(preconditioned(session, family, state, grad), np.linalg.solve(damped[1], grad.ravel()), rtol=1e-9)


@pytest.mark.parametrize("make, entry", [(KFAC, "root_a"), (EigenKFAC, "q_a"), (EigenKFAC, "values_a")])
def test_kfac_roots_wait_for_their_refresh(session, config, arrays, make, entry):
    old, new = updated(session, make(PRIOR, config()), arrays, {"cov"})
    assert (old["a_cov"] != new["a_cov"]).any()
    assert (old[entry] == new[entry]).all()
    assert (updated(session, make(PRIOR, config()), arrays, {"cov", "inverse"})[1][entry] != new[entry]).any()


@pytest.mark.parametrize("gamma_ex", [0.0, 0.3])
def test_ekfac_posterior_and_step(session, config, rng, arrays, gamma_ex):
    family = EKFAC(PRIOR, config(damping=gamma_ex))
    _, state = updated(session, family, arrays, {"cov", "basis", "scale"})
    basis = np.kron(state["q_a"], state["q_s"])
    fisher = (basis * state["scale"].ravel()) @ basis.T
    expected = 0.02 * np.linalg.inv(fisher + 0.04 * np.eye(12))
    assert_allclose(dense_posterior(session, family, state), expected, rtol=1e-9)
    grad = rng.randn(*SHAPE)
    exact = np.linalg.solve(fisher + (0.04 + gamma_ex) * np.eye(12), grad.ravel())
    assert_allclose(preconditioned(session, family, state, grad), exact, rtol=1e-9)


def test_diag_posterior_and_step(session, config, rng, arrays):
    family = Diagonal(PRIOR, config(damping=0.3))
    _, state = updated(session, family, arrays, {"cov"})
    fisher = state["fisher"].ravel()
    assert_allclose(np.diag(dense_posterior(session, family, state)), 0.02 / (fisher + 0.04), rtol=1e-12)
    grad = rng.randn(*SHAPE)
    assert_allclose(preconditioned(session, family, state, grad), grad.ravel() / (fisher + 0.34), rtol=1e-12)


@pytest.mark.parametrize("scale_init", ["exact", "damped"])
def test_scale_starts_from_the_eigenvalues_of_the_same_refresh(session, config, arrays, scale_init):
    family = EKFAC(PRIOR, config(scale_init=scale_init, damping=0.3))
    _, state = updated(session, family, arrays, {"cov", "basis"}, times=2)
    a_cov, s_cov = state["a_cov"], state["s_cov"]
    basis = np.kron(state["q_a"], state["q_s"])
    damping = PRIOR.damping + 0.3
    dense = np.kron(a_cov, s_cov) if scale_init == "exact" else reference.damped_kron(a_cov, s_cov, damping)
    assert_allclose((basis * state["scale"].ravel()) @ basis.T, dense, rtol=1e-8, atol=1e-12)


def test_noise_after_a_refresh_is_that_of_the_published_code(session, config, arrays):
    """Published for classification: A and S damped by gamma_ex make R, and gamma_in is added to it.

    With the published VGG's ratio gamma_ex = 10 gamma_in, ours (gamma_in + gamma_ex make R) differs by 5 % at most.
    """
    damping = 10.0 * PRIOR.damping
    family = EKFAC(PRIOR, config(damping=damping))
    _, state = updated(session, family, arrays, {"cov", "basis"})
    published = np.diag(reference.damped_kron(np.diag(state["values_a"]), np.diag(state["values_s"]), damping))
    published_std = np.sqrt(PRIOR.kl_weight / PRIOR.n_data / (published + PRIOR.damping))
    std = np.sqrt(family.posterior(None, state, PRIOR.temperature(1.0)).variance)
    assert_allclose(std.ravel(), published_std, rtol=0.05)


def test_basis_diagonalises_the_undamped_factors(session, config, arrays):
    _, state = updated(session, EKFAC(PRIOR, config()), arrays, {"cov", "basis"})
    for q, cov, values in (("q_a", "a_cov", "values_a"), ("q_s", "s_cov", "values_s")):
        assert_allclose(state[q].T @ state[cov] @ state[q], np.diag(state[values]), atol=1e-12)


def test_scale_average_is_taken_in_the_current_basis(session, config, arrays):
    family = EKFAC(PRIOR, config())
    old, new = updated(session, family, arrays, {"scale"}, times=2)
    basis = np.kron(new["q_a"], new["q_s"])
    value = np.diag(basis.T @ reference.dense_fisher(arrays[0], arrays[2]) @ basis).reshape(SHAPE)
    assert_allclose(new["scale"], 0.6 * old["scale"] + 0.4 * value, rtol=1e-10)


def test_reinit_returns_to_the_eigenvalues_without_a_new_basis(session, config, arrays):
    family = EKFAC(PRIOR, config())
    start = family.init(SHAPE, tf.float64)
    refreshed = family.update(start, batch_of(*arrays), STEP_SIZES, {"cov", "basis"})
    after_scale = family.update(refreshed, batch_of(*arrays), STEP_SIZES, {"cov", "scale"})
    again = family.update(after_scale, batch_of(*arrays), STEP_SIZES, {"reinit"})
    refreshed, after_scale, again = session.run([refreshed, after_scale, again])
    assert (after_scale["scale"] != refreshed["scale"]).all()
    assert_allclose(again["scale"], refreshed["scale"], rtol=1e-12)
    assert (again["a_cov"] != refreshed["a_cov"]).any() and (again["q_a"] == refreshed["q_a"]).all()


def test_scale_can_be_carried_into_a_new_basis(session, config, arrays):
    family = EKFAC(PRIOR, config(kfac_init_after_basis=False))
    start = family.update(family.init(SHAPE, tf.float64), batch_of(*arrays), STEP_SIZES, {"cov", "basis"})
    old = family.update(start, batch_of(*arrays), STEP_SIZES, {"scale"})
    new = family.update(old, batch_of(arrays[0][:, :3], arrays[1][:, :3], arrays[2][:, :3]), STEP_SIZES,
                        {"cov", "basis"})
    first = start["scale"] - family._initial_scale(start)
    first, old, new, same = session.run([first, old, new, carry_scale(old, old)])
    assert np.abs(first).max() == 0  # there was nothing to carry
    q_old, q_new = (np.kron(state["q_a"], state["q_s"]) for state in (old, new))
    dense = (q_old * old["scale"].ravel()) @ q_old.T
    assert_allclose(new["scale"].ravel(), np.diag(q_new.T @ dense @ q_new), rtol=1e-10)
    assert_allclose(same, old["scale"], rtol=1e-10)


def test_updates_that_are_not_due_change_nothing(session, config, arrays):
    for family in (KFAC, EKFAC, Diagonal):
        old, new = updated(session, family(PRIOR, config()), arrays, frozenset())
        for name in old:
            assert (old[name] == new[name]).all(), name


def test_bayes_by_backprop_follows_the_reparameterised_gradient(session, config, rng):
    """Compares the step with tf.gradients of a sampled ELBO, written out with w = mean + std eps."""
    family = MeanField(PRIOR, config())
    x, y = tf.constant(rng.randn(N, SHAPE[0])), tf.constant(rng.randn(N, SHAPE[1]))
    mean, eps = tf.constant(rng.randn(*SHAPE)), tf.constant(rng.randn(K, *SHAPE))
    state = family.init(SHAPE, tf.float64)
    std = tf.exp(state["log_std"])
    weights = mean + std * eps
    outputs = tf.matmul(x[None] + tf.zeros([K, 1, 1], tf.float64), weights)
    log_prob = -0.5 * tf.reduce_sum(tf.square(y - outputs)) / (K * N)
    elbo = log_prob - PRIOR.temperature() * family.posterior(mean, state, PRIOR.temperature()).kl(PRIOR.prior_var)
    expected = tf.gradients(elbo, state["log_std"])[0]

    noise = weights - mean
    batch = Batch(x[None], y - outputs, None, noise, tf.zeros(SHAPE, tf.float64), STATISTICS["dense"](None))
    step_sizes = StepSizes(tf.constant(0.1, tf.float64), 0.0, 0.0, tf.constant(1.0, tf.float64), 1.0)
    new = family.update(state, batch, step_sizes, frozenset())
    average, expected, step = session.run([new["std_average"], expected, new["log_std"] - state["log_std"]])
    assert_allclose(average, 0.1 * expected, rtol=1e-9)
    assert_allclose(step, 0.1 * np.sign(expected), rtol=1e-4)  # Adam's first step has length 1


def test_rate_of_batch_normalisations_averages(session):
    """Averages are over all of the first ten steps, then over ten, a twentieth of all, and at most a hundred steps."""
    steps = (1.0, 4.0, 10.0, 200.0, 400.0, 2000.0, 1e6)
    rates = session.run([norm_rate(tf.constant(now, tf.float64)) for now in steps])
    assert_allclose(rates, [1.0, 0.25, 0.1, 0.1, 0.05, 0.01, 0.01])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("interval, powers", [(2, [0, 0, 1, 1, 2, 2]), (None, [0, 0, 0, 1, 1, 1]), (10**12, [0] * 6)])
def test_step_sizes_of_regression_decay_by_whole_intervals(session, config, dtype, interval, powers):
    """The step sizes equal Python's powers to the last bit, and stay constant after the last epoch."""
    cfg = config(epoch=5, lr_decay_interval=interval, lr_decay_ratio=0.3, alpha=0.017, beta=0.11, omega=0.013)
    epoch, now = tf.placeholder(tf.int32, []), tf.placeholder(dtype, [])
    sizes = regression_step_sizes(cfg, epoch, now, 7, Refreshes({}))
    for number, power in [*enumerate(powers, start=1), (2**31 - 1, powers[-1])]:
        values = session.run([sizes.mean, sizes.cov, sizes.scale, sizes.step], {epoch: number, now: dtype(7 * number)})
        assert values == [dtype(rate) * dtype(0.3 ** power) for rate in (0.017, 0.11, 0.013)] + [dtype(7 * number)]
    assert sizes.kl_scale == 1.0 and sizes.clip is None


def test_kl_scale_grows_linearly_while_kl_warmup_lasts(session, config):
    now = tf.placeholder(tf.float64, [])
    scale = kl_scale(config(kl_warmup=3), now, 7)
    values = [session.run(scale, {now: step}) for step in (0, 1, 7, 14, 21, 100)]
    assert_allclose(values, [1 / 21, 1 / 21, 1 / 3, 2 / 3, 1.0, 1.0])


class RecordingConfig:
    """A config that notes which keys are read."""

    def __init__(self, config):
        self.config, self.read = config, set()

    def __getattr__(self, name):
        if name in Config.model_fields:
            self.read.add(name)
        return getattr(self.config, name)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_families_declare_the_keys_they_read(config, arrays, method):
    recording = RecordingConfig(config(basis_tolerance=0.1, kfac_init_after_basis=False))
    family = METHODS[method].family(PRIOR, recording)
    a, ds, ds_fisher = (tf.constant(array) for array in arrays)
    grad = tf.zeros(SHAPE, tf.float64)
    batch = Batch(a, ds, ds_fisher, tf.zeros([K, *SHAPE], tf.float64), grad, STATISTICS["dense"](None))
    one = tf.constant(1.0, tf.float64)
    state = family.init(SHAPE, tf.float64)
    state = family.update(state, batch, StepSizes(one, 0.1, 0.1, one, 1.0), set(family.updates))
    family.posterior(grad, state, 1.0)
    family.precondition(grad, state)
    family.report(state)
    family.covered_by_mean_check(state)
    assert recording.read <= set(family.reads)
