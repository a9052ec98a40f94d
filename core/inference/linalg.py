"""Matrix algebra for Kronecker-factored curvature. Pure: tensors in, tensors out.

One convention everywhere: a layer is s = [a, 1] W with W of shape [d_in + 1, d_out],
and vec() is row-major, so kron(A, S) vec(V) = vec(A V S) for symmetric S.
"""
import functools

import numpy as np
import scipy.linalg
import tensorflow.compat.v1 as tf

TINY = 1e-12
LARGE = 200  # dimension from which LAPACK beats TensorFlow's own decompositions on a CPU
FAR = 0.5  # off-diagonal share from which one orthogonal iteration is not worth while


def factored_damping(a_cov, s_cov, damping):
    """Splits `damping` over the two factors of kron(A, S).

    kron(A + d_a I, S + d_s I) stands in for kron(A, S) + damping I, with
    d_a = pi sqrt(damping), d_s = sqrt(damping) / pi and
    pi = sqrt((tr A / dim A) / (tr S / dim S)).

    Args:
      a_cov: [n, n], E[a a^T], positive semi-definite.
      s_cov: [m, m], E[ds ds^T], likewise.
      damping: number >= 0 in units of the Fisher of ONE example (not of the batch).

    Returns:
      (d_a, d_s), scalars.

    Reference: Martens and Grosse (2015), Sec. 6.3, https://arxiv.org/abs/1503.05671
    """
    return damping_split(mean_diag(a_cov), mean_diag(s_cov), damping)


def damping_split(mean_a, mean_s, damping):
    """(d_a, d_s) as above from tr A / dim A and tr S / dim S.

    A little is added to both, so that a dead layer (S = 0) has a finite split.
    """
    pi = tf.sqrt((mean_a + TINY) / (mean_s + TINY))
    root = damping**0.5
    return pi * root, root / pi


def inverse_root(matrix, damping):
    """C = L^-1 with L L^T = matrix + damping I, so that C^T C = (matrix + damping I)^-1.

    One Cholesky factorisation and one triangular solve.

    Args:
      matrix: [n, n], symmetric positive semi-definite.
      damping: scalar that makes it definite.
    """
    identity = tf.eye(int(matrix.shape[0]), dtype=matrix.dtype)
    return tf.linalg.triangular_solve(tf.linalg.cholesky(matrix + damping * identity), identity)


def eigh(matrix):
    """Eigenvalues (ascending, rounding below 0 clamped) and eigenvectors (columns) of a second moment."""
    decompose = _by_lapack(_lapack_eigh, 1, 2) if _is_large(matrix) else tf.linalg.eigh
    values, basis = decompose(matrix)
    return tf.maximum(values, 0.0), basis


def eigvalsh(matrix):
    """Eigenvalues alone, ascending."""
    return _by_lapack(_lapack_eigvalsh, 1)(matrix)[0] if _is_large(matrix) else tf.linalg.eigvalsh(matrix)


def orthogonal_iteration(matrix, basis):
    """One warm-started step towards the eigenbasis of a symmetric positive semi-definite matrix.

    Q = qr(matrix basis): every column moves towards the eigenvector whose eigenvalue has its
    place in ascending order, as `eigh` sorts them; how fast depends on the ratio of
    neighbouring eigenvalues. A multiplication and a QR decomposition, no eigendecomposition.

    Args:
      matrix: [d, d]. basis: orthogonal [d, d], close to the eigenvectors of a similar matrix.

    Returns:
      (values, vectors): diagonal of Q^T matrix Q, [d], and Q. At an eigenbasis it stays there.
    """
    decompose = _by_lapack(_lapack_qr, 2) if _is_large(matrix) else tf.linalg.qr
    vectors = decompose(tf.matmul(matrix, basis[:, ::-1]))[0][:, ::-1]
    return diagonal_in(matrix, vectors), vectors


def diagonal_in(matrix, basis):
    """Diagonal of Q^T matrix Q, [d], rounding below 0 clamped."""
    return tf.maximum(tf.reduce_sum(basis * tf.matmul(matrix, basis), axis=0), 0.0)


def warm_basis(matrix, basis):
    """(values, vectors) by one `orthogonal_iteration`, or by `eigh` if `basis` is far from the eigenvectors."""
    return tf.cond(off_diagonal_share(matrix, basis) < FAR, lambda: orthogonal_iteration(matrix, basis),
                   lambda: eigh(matrix))


def times_right(tensor, matrix, transpose=False):
    """tensor[..., i, j] matrix[j, k] as ONE matrix product: [..., d] x [d, d] -> [..., d]."""
    rows = tf.reshape(tensor, [-1, int(tensor.shape[-1])])
    return tf.reshape(tf.matmul(rows, matrix, transpose_b=transpose), tf.shape(tensor))


def rotate(tensor, q_a, q_s):
    """q_a tensor q_s^T for [d_in + 1, d_out] or [K, d_in + 1, d_out]: out of the eigenbasis."""
    return tf.matmul(_like(q_a, tensor), times_right(tensor, q_s, transpose=True))


def project(tensor, q_a, q_s):
    """q_a^T tensor q_s, the inverse of `rotate`: into the eigenbasis."""
    return tf.matmul(_like(q_a, tensor), times_right(tensor, q_s), transpose_a=True)


def off_diagonal_share(matrix, basis):
    """How far an orthogonal basis is from diagonalising a symmetric matrix: 0 if it does, a scalar below 1.

    ||offdiag(Q^T matrix Q)||_F / ||matrix||_F
    """
    seen = tf.matmul(basis, tf.matmul(matrix, basis), transpose_a=True)
    off = tf.linalg.set_diag(seen, tf.zeros_like(seen[0]))
    return tf.norm(off) / tf.norm(matrix)


def mean_diag(matrix):
    """tr M / dim M."""
    return tf.reduce_mean(tf.linalg.diag_part(matrix))


def _like(matrix, tensor):
    """matrix with the leading 1 that broadcasting over `tensor`'s particles needs."""
    return matrix[None] if len(tensor.shape) == 3 else matrix


def _is_large(matrix):
    """Whether LAPACK should decompose it: a large matrix, and the ops built here run on a CPU."""
    return int(matrix.shape[0]) >= LARGE and "GPU" not in tf.identity(matrix).device


def _by_lapack(decompose, *dims):
    """A function of a tensor [d, d] from one of arrays; `dims`: the number of dimensions of each result, all d long."""

    def run(matrix):
        found = tf.numpy_function(functools.partial(_said, decompose), [matrix], [matrix.dtype] * len(dims))
        found = found if isinstance(found, (list, tuple)) else [found]
        for tensor, n_dims in zip(found, dims):
            tensor.set_shape([int(matrix.shape[0])] * n_dims)
        return found

    return run


def _said(decompose, matrix):
    """decompose(matrix), or a ValueError that says a decomposition failed."""
    try:
        return decompose(_finite(matrix))
    except scipy.linalg.LinAlgError as error:
        raise ValueError(f"decomposition: {error}") from None


def _lapack_eigh(matrix):
    return scipy.linalg.eigh(matrix, check_finite=False, driver="evd")


def _lapack_eigvalsh(matrix):
    return scipy.linalg.eigvalsh(matrix, check_finite=False)


def _lapack_qr(matrix):
    return scipy.linalg.qr(matrix, mode="economic", check_finite=False)[0]


def _finite(matrix):
    if not np.isfinite(matrix).all():
        raise ValueError("decomposition of a matrix that is not finite")
    return matrix
