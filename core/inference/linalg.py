"""Matrix algebra for Kronecker-factored curvature. Pure: tensors in, tensors out.

One convention everywhere: a layer computes s = [a, 1] W with W of shape [d_in + 1, d_out],
and vec() is row-major, so kron(A, S) vec(V) = vec(A V S) for symmetric S.
"""
import functools
from typing import Any, Callable, Tuple

import numpy as np
import scipy.linalg
import tensorflow.compat.v1 as tf

from core.inference.types import Scalar

TINY = 1e-12
LAPACK_DIM = 200  # dimension from which LAPACK is faster than TensorFlow's own decompositions on a CPU
FAR_SHARE = 0.5  # off-diagonal share from which one orthogonal iteration is not enough


def factored_damping(a_cov: tf.Tensor, s_cov: tf.Tensor, damping: Scalar) -> Tuple[tf.Tensor, tf.Tensor]:
    """Splits `damping` over the two factors of kron(A, S).

    kron(A + d_a I, S + d_s I) stands in for kron(A, S) + damping I, with
    d_a = pi sqrt(damping), d_s = sqrt(damping) / pi and
    pi = sqrt((tr A / dim A) / (tr S / dim S)).

    Args:
      a_cov: [n, n], E[a a^T], positive semi-definite.
      s_cov: [m, m], E[ds ds^T], likewise.
      damping: number >= 0 in units of the Fisher of one example, not of the batch.

    Returns:
      (d_a, d_s), scalars.

    Reference: Martens and Grosse (2015), Sec. 6.3, https://arxiv.org/abs/1503.05671
    """
    return damping_split(mean_diag(a_cov), mean_diag(s_cov), damping)


def damping_split(mean_a: tf.Tensor, mean_s: tf.Tensor, damping: Scalar) -> Tuple[tf.Tensor, tf.Tensor]:
    """Returns the (d_a, d_s) of `factored_damping`, given tr A / dim A and tr S / dim S.

    A tiny constant is added to both, so that a dead layer (S = 0) has a finite split.
    """
    pi = tf.sqrt((mean_a + TINY) / (mean_s + TINY))
    root = damping**0.5
    return pi * root, root / pi


def inverse_root(matrix: tf.Tensor, damping: Scalar) -> tf.Tensor:
    """Returns C = L^-1 with L L^T = matrix + damping I, so that C^T C = (matrix + damping I)^-1.

    This takes one Cholesky factorisation and one triangular solve.

    Args:
      matrix: [n, n], symmetric positive semi-definite.
      damping: scalar that makes it positive definite.
    """
    identity = tf.eye(int(matrix.shape[0]), dtype=matrix.dtype)
    return tf.linalg.triangular_solve(tf.linalg.cholesky(matrix + damping * identity), identity)


def eigh(matrix: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
    """Returns eigenvalues [d], ascending, and eigenvectors (columns, [d, d]) of a second moment.

    Eigenvalues that rounding made negative are clamped to 0.
    """
    decompose = _by_lapack(_lapack_eigh, 1, 2) if _uses_lapack(matrix) else tf.linalg.eigh
    values, basis = decompose(matrix)
    return tf.maximum(values, 0.0), basis


def eigvalsh(matrix: tf.Tensor) -> tf.Tensor:
    """Returns the eigenvalues alone, ascending."""
    return _by_lapack(_lapack_eigvalsh, 1)(matrix)[0] if _uses_lapack(matrix) else tf.linalg.eigvalsh(matrix)


def orthogonal_iteration(matrix: tf.Tensor, basis: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
    """Takes one warm-started step towards the eigenbasis of a symmetric positive semi-definite matrix.

    Q = qr(matrix basis): every column moves towards the eigenvector whose eigenvalue has its place in
    ascending order, as `eigh` sorts them; how fast depends on the ratio of neighbouring eigenvalues. The step
    takes a multiplication and a QR decomposition, but no eigendecomposition.

    Args:
      matrix: [d, d]. basis: orthogonal [d, d], close to the eigenvectors of a similar matrix.

    Returns:
      (values, vectors): the diagonal of Q^T matrix Q, [d], and Q. An exact eigenbasis is returned unchanged.
    """
    decompose = _by_lapack(_lapack_qr, 2) if _uses_lapack(matrix) else tf.linalg.qr
    vectors = decompose(tf.matmul(matrix, basis[:, ::-1]))[0][:, ::-1]
    return diagonal_in(matrix, vectors), vectors


def diagonal_in(matrix: tf.Tensor, basis: tf.Tensor) -> tf.Tensor:
    """Returns the diagonal of Q^T matrix Q, [d]; values that rounding made negative are clamped to 0."""
    return tf.maximum(tf.reduce_sum(basis * tf.matmul(matrix, basis), axis=0), 0.0)


def warm_basis(matrix: tf.Tensor, basis: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
    """Returns (values, vectors) by one `orthogonal_iteration`, or by `eigh` if `basis` is far from an eigenbasis."""
    return tf.cond(off_diagonal_share(matrix, basis) < FAR_SHARE, lambda: orthogonal_iteration(matrix, basis),
                   lambda: eigh(matrix))


def times_right(tensor: tf.Tensor, matrix: tf.Tensor, transpose: bool = False) -> tf.Tensor:
    """Returns tensor[..., i, j] matrix[j, k] as one matrix product: [..., d] x [d, d] -> [..., d]."""
    rows = tf.reshape(tensor, [-1, int(tensor.shape[-1])])
    return tf.reshape(tf.matmul(rows, matrix, transpose_b=transpose), tf.shape(tensor))


def rotate(tensor: tf.Tensor, q_a: tf.Tensor, q_s: tf.Tensor) -> tf.Tensor:
    """Returns q_a tensor q_s^T, out of the eigenbasis, for [d_in + 1, d_out] or [K, d_in + 1, d_out]."""
    return tf.matmul(_broadcastable(q_a, tensor), times_right(tensor, q_s, transpose=True))


def project(tensor: tf.Tensor, q_a: tf.Tensor, q_s: tf.Tensor) -> tf.Tensor:
    """Returns q_a^T tensor q_s, into the eigenbasis: the inverse of `rotate`."""
    return tf.matmul(_broadcastable(q_a, tensor), times_right(tensor, q_s), transpose_a=True)


def off_diagonal_share(matrix: tf.Tensor, basis: tf.Tensor) -> tf.Tensor:
    """Measures how far an orthogonal basis is from diagonalising a symmetric matrix: a scalar from 0 (it does) to 1.

    ||offdiag(Q^T matrix Q)||_F / ||matrix||_F
    """
    rotated = tf.matmul(basis, tf.matmul(matrix, basis), transpose_a=True)
    off_diagonal = tf.linalg.set_diag(rotated, tf.zeros_like(rotated[0]))
    return tf.norm(off_diagonal) / tf.norm(matrix)


def mean_diag(matrix: tf.Tensor) -> tf.Tensor:
    """Returns tr M / dim M."""
    return tf.reduce_mean(tf.linalg.diag_part(matrix))


def _broadcastable(matrix: tf.Tensor, tensor: tf.Tensor) -> tf.Tensor:
    """Adds the leading 1 to `matrix` that broadcasting over the particles of `tensor` needs."""
    return matrix[None] if len(tensor.shape) == 3 else matrix


def _uses_lapack(matrix: tf.Tensor) -> bool:
    """Tells whether LAPACK decomposes it: a large matrix, where the ops that are being built run on a CPU."""
    return int(matrix.shape[0]) >= LAPACK_DIM and "GPU" not in tf.identity(matrix).device


def _by_lapack(decompose: Callable, *dims: int) -> Callable:
    """Turns a decomposition of arrays into one of tensors [d, d].

    dims: the number of dimensions of each result; all of them are d long.
    """

    def run(matrix: tf.Tensor) -> Any:
        results = tf.numpy_function(functools.partial(_decomposed, decompose), [matrix], [matrix.dtype] * len(dims))
        results = results if isinstance(results, (list, tuple)) else [results]
        for tensor, n_dims in zip(results, dims):
            tensor.set_shape([int(matrix.shape[0])] * n_dims)
        return results

    return run


def _decomposed(decompose: Callable, matrix: np.ndarray) -> Any:
    """Returns decompose(matrix). Raises ValueError with the word decomposition in it if that fails."""
    if not np.isfinite(matrix).all():
        raise ValueError("decomposition of a matrix that is not finite")
    try:
        return decompose(matrix)
    except scipy.linalg.LinAlgError as error:
        raise ValueError(f"decomposition: {error}") from None


def _lapack_eigh(matrix: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    return scipy.linalg.eigh(matrix, check_finite=False, driver="evd")


def _lapack_eigvalsh(matrix: np.ndarray) -> np.ndarray:
    return scipy.linalg.eigvalsh(matrix, check_finite=False)


def _lapack_qr(matrix: np.ndarray) -> np.ndarray:
    return scipy.linalg.qr(matrix, mode="economic", check_finite=False)[0]
