import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose

from core.inference import linalg
from tests import reference


def test_damping_split_is_martens_and_grosse(session, rng):
    a_cov, s_cov = reference.random_cov(rng, 3), reference.random_cov(rng, 5)
    split = session.run(linalg.factored_damping(tf.constant(a_cov), tf.constant(s_cov), 0.3))
    assert_allclose(split, reference.damping_split(a_cov, s_cov, 0.3), rtol=1e-9)


def test_damping_ignores_where_the_scale_sits(session, rng):
    a_cov, s_cov = reference.random_cov(rng, 3), reference.random_cov(rng, 2)

    def damped(a, s):
        d_a, d_s = session.run(linalg.factored_damping(tf.constant(a), tf.constant(s), 0.1))
        return np.kron(a + d_a * np.eye(3), s + d_s * np.eye(2))

    assert_allclose(damped(a_cov, s_cov), damped(10 * a_cov, s_cov / 10), rtol=1e-8)


def test_a_dead_layer_has_a_finite_split(session):
    split = session.run(linalg.factored_damping(tf.eye(3), tf.zeros([2, 2]), 0.1))
    assert np.isfinite(split).all() and min(split) > 0


def test_inverse_root_squares_to_the_damped_inverse(session, rng):
    matrix = reference.random_cov(rng, 4, n=2)  # rank-deficient
    root = session.run(linalg.inverse_root(tf.constant(matrix), 0.2))
    assert_allclose(root.T @ root, np.linalg.inv(matrix + 0.2 * np.eye(4)), rtol=1e-9, atol=1e-12)
    assert_allclose(root, np.tril(root))


def test_eigh_clamps_rounding_below_zero(session):
    rows = np.random.RandomState(0).randn(3, 20).astype(np.float32)
    values, basis = session.run(linalg.eigh(tf.constant(rows.T @ rows / 3)))
    assert values.min() == 0.0
    assert_allclose(basis @ np.diag(values) @ basis.T, rows.T @ rows / 3, atol=1e-4)


@pytest.mark.parametrize("particles", [None, 4])
def test_rotate_and_project_follow_the_kron_convention(session, rng, particles):
    q_a, q_s = (np.linalg.qr(rng.randn(d, d))[0] for d in (3, 2))
    v = rng.randn(*([particles] if particles else []), 3, 2)
    out, back = (session.run(f(tf.constant(v), tf.constant(q_a), tf.constant(q_s)))
                 for f in (linalg.rotate, linalg.project))
    dense = np.kron(q_a, q_s)
    assert_allclose(out.reshape(-1, 6), v.reshape(-1, 6) @ dense.T, rtol=1e-10)
    assert_allclose(back.reshape(-1, 6), v.reshape(-1, 6) @ dense, rtol=1e-10)


def test_orthogonal_iteration_reaches_the_eigenbasis(session, rng):
    """From the basis of a nearby matrix, each step reduces the off-diagonal share by the ratio of eigenvalues."""
    vectors = np.linalg.qr(rng.randn(6, 6))[0]
    matrix = vectors @ np.diag([0.01, 0.1, 0.5, 1.0, 4.0, 9.0]) @ vectors.T
    change = 0.02 * rng.randn(6, 6)
    basis = np.linalg.eigh(matrix + change + change.T)[1]
    old, new = tf.placeholder(tf.float64, [6, 6]), tf.placeholder(tf.float64, [6, 6])
    step, share = linalg.orthogonal_iteration(old, new), linalg.off_diagonal_share(old, new)
    shares = [session.run(share, {old: matrix, new: basis})]
    for _ in range(30):
        values, basis = session.run(step, {old: matrix, new: basis})
        shares.append(session.run(share, {old: matrix, new: basis}))
    exact, exact_vectors = np.linalg.eigh(matrix)
    assert_allclose(values, exact, rtol=1e-6)  # in the order of eigh
    assert_allclose(np.abs(exact_vectors.T @ basis), np.eye(6), atol=1e-6)
    assert_allclose(basis.T @ basis, np.eye(6), atol=1e-12)
    assert shares[0] > 1e-3 and shares[3] < 0.3 * shares[0] and shares[-1] < 1e-7


def test_off_diagonal_share_by_hand(session):
    matrix = tf.constant([[3.0, 4.0], [4.0, 0.0]], tf.float64)
    assert session.run(linalg.off_diagonal_share(matrix, tf.eye(2, dtype=tf.float64))) == pytest.approx(
        np.sqrt(32 / 41))


@pytest.mark.parametrize("d", [5, 6, 7, 13, 20])
def test_products_with_a_triangular_matrix_leave_out_its_zeros(session, rng, monkeypatch, d):
    """Also for dimensions that the blocks do not divide, and up to one row less than there are blocks."""
    root, tensor = np.tril(rng.randn(d, d)), rng.randn(3, d, 4)
    for least in (1, 100):  # in blocks, and at once
        monkeypatch.setattr(linalg, "BLOCKED_FROM", least)
        product = linalg.root_transposed_times(tf.constant(root), tf.constant(tensor))
        assert_allclose(session.run(product), root.T @ tensor, rtol=1e-12)
    n_numbers = sum(np.prod(op.inputs[0].shape.as_list()) for op in product.graph.get_operations()
                    if op.type.startswith("BatchMatMul") and op.inputs[0].shape.as_list() != [1, d, d])
    assert 0.5 * d * d < n_numbers <= 0.5 * (1.0 + 1.0 / linalg.N_BLOCKS) * d * d + d
