"""Large decompositions, and families that keep a basis."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose

from core.inference import linalg
from core.inference.ekfac import EKFAC
from core.inference.kfac import KFAC
from tests import reference
from tests.classification_training.steps import PRIOR, K, N, batch_of, rates_of

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
