"""Matrix algebra for Kronecker-factored curvature. Pure functions of tensors.

One convention everywhere: a layer computes s = [a, 1] W with W of shape [d_in + 1, d_out], and vec() is row-major, so
kron(A, S) vec(V) = vec(A V S) for symmetric S.
"""
import functools
from typing import Callable, List, Tuple

import numpy as np
import scipy.linalg
import tensorflow.compat.v1 as tf

from core.inference.types import Scalar

MEAN_DIAG_FLOOR = 1e-12  # keeps the damping split of a dead layer finite
LAPACK_MIN_DIM = 200  # dimension from which LAPACK beats TensorFlow's own decompositions on a CPU
BLOCKED_FROM, N_BLOCKS = 1024, 6  # dimension from which products leave out the zeros of a triangular matrix, see below
NOT_FINITE = "decomposition of a matrix that is not finite"
MAX_WARM_SHARE = 0.5  # off-diagonal share from which one orthogonal iteration is not enough


def factored_damping(a_cov: tf.Tensor, s_cov: tf.Tensor, damping: Scalar) -> Tuple[tf.Tensor, tf.Tensor]:
    """Splits `damping` over the two factors of kron(A, S).

    kron(A + d_a I, S + d_s I) approximates kron(A, S) + damping I, with
    d_a = pi sqrt(damping), d_s = sqrt(damping) / pi and
    pi = sqrt((tr A / dim A) / (tr S / dim S)).

    Args:
      a_cov: A = E[a a^T], [d_in + 1, d_in + 1], positive semi-definite.
      s_cov: S = E[ds ds^T], [d_out, d_out], likewise.
      damping: number >= 0 in units of the Fisher of ONE example (not of the batch).

    Returns:
      (d_a, d_s), scalars.

    Reference: Martens and Grosse (2015), Sec. 6.3, https://arxiv.org/abs/1503.05671
    """
    return damping_split(mean_diag(a_cov), mean_diag(s_cov), damping)


def damping_split(mean_a: tf.Tensor, mean_s: tf.Tensor, damping: Scalar) -> Tuple[tf.Tensor, tf.Tensor]:
    """Returns (d_a, d_s) of `factored_damping` from tr A / dim A and tr S / dim S.

    MEAN_DIAG_FLOOR is added to both, so that the split is finite for a dead layer (S = 0).
    """
    pi = tf.sqrt((mean_a + MEAN_DIAG_FLOOR) / (mean_s + MEAN_DIAG_FLOOR))
    root = damping**0.5
    return pi * root, root / pi


def inverse_root(matrix: tf.Tensor, damping: Scalar) -> tf.Tensor:
    """Returns the lower triangular C, [d, d], with C^T C = (matrix + damping I)^-1.

    It takes one Cholesky factorisation and one triangular solve.

    Args:
      matrix: [d, d], symmetric positive semi-definite.
      damping: scalar that makes the sum positive definite.
    """
    identity = tf.eye(int(matrix.shape[0]), dtype=matrix.dtype)
    damped = matrix + damping * identity
    # On a CPU, NaN gives NaN or an error, and is noticed before anything is written; a check would cost K-FAC 7 %.
    # (An infinite trace makes the damping infinite, and so NaN in `damping * identity`.)
    return tf.linalg.triangular_solve(tf.linalg.cholesky(_finite(damped) if _on_gpu() else damped), identity)


def eigh(matrix: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
    """Returns (eigenvalues [d] in ascending order, eigenvectors [d, d] as columns) of a second moment [d, d].

    Eigenvalues that rounding made negative are set to 0.
    """
    decompose = _by_lapack(_lapack_eigh, 1, 2) if _uses_lapack(matrix) else tf.linalg.eigh
    values, basis = decompose(_finite(matrix))
    return tf.maximum(values, 0.0), basis


def eigvalsh(matrix: tf.Tensor) -> tf.Tensor:
    """Returns the eigenvalues [d], ascending, of a symmetric matrix [d, d]."""
    matrix = _finite(matrix)
    return _by_lapack(_lapack_eigvalsh, 1)(matrix)[0] if _uses_lapack(matrix) else tf.linalg.eigvalsh(matrix)


def orthogonal_iteration(matrix: tf.Tensor, basis: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
    """Takes one warm-started step towards the eigenbasis of a symmetric positive semi-definite matrix.

    Q is the orthogonal factor of matrix basis, orthogonalised from the last column to the first. Every column moves
    towards the eigenvector with the same position in ascending order, the order of `eigh`. The speed depends on the
    ratio of neighbouring eigenvalues. A step takes one multiplication and one QR decomposition, no eigendecomposition.
    An eigenbasis is a fixed point.

    Args:
      matrix: [d, d].
      basis: orthogonal [d, d], close to the eigenvectors of a similar matrix.

    Returns:
      (values, vectors): the diagonal of Q^T matrix Q, [d], and Q, [d, d].
    """
    decompose = _by_lapack(_lapack_qr, 2) if _uses_lapack(matrix) else tf.linalg.qr
    vectors = decompose(_finite(tf.matmul(matrix, basis[:, ::-1])))[0][:, ::-1]
    return diagonal_in(matrix, vectors), vectors


def diagonal_in(matrix: tf.Tensor, basis: tf.Tensor) -> tf.Tensor:
    """Returns the diagonal of Q^T matrix Q, [d], for a basis Q; entries that rounding made negative are set to 0."""
    return tf.maximum(tf.reduce_sum(basis * tf.matmul(matrix, basis), axis=0), 0.0)


def warm_basis(matrix: tf.Tensor, basis: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
    """Returns (values, vectors) by one `orthogonal_iteration`, or by `eigh` if `basis` is far from the eigenvectors."""
    return tf.cond(off_diagonal_share(matrix, basis) < MAX_WARM_SHARE, lambda: orthogonal_iteration(matrix, basis),
                   lambda: eigh(matrix))


def times_right(tensor: tf.Tensor, matrix: tf.Tensor, transpose: bool = False) -> tf.Tensor:
    """Multiplies by a matrix from the right, in one matrix product: [..., d] x [d, d] -> [..., d].

    Args:
      transpose: whether to multiply by matrix^T.
    """
    rows = tf.reshape(tensor, [-1, int(tensor.shape[-1])])
    return tf.reshape(tf.matmul(rows, matrix, transpose_b=transpose), tf.shape(tensor))


def rotate(tensor: tf.Tensor, q_a: tf.Tensor, q_s: tf.Tensor) -> tf.Tensor:
    """Converts from the eigenbasis: Q_A tensor Q_S^T, [d_in + 1, d_out] or [K, d_in + 1, d_out]."""
    return tf.matmul(_like(q_a, tensor), times_right(tensor, q_s, transpose=True))


def project(tensor: tf.Tensor, q_a: tf.Tensor, q_s: tf.Tensor) -> tf.Tensor:
    """Converts to the eigenbasis: Q_A^T tensor Q_S, the inverse of `rotate`; shapes as for `rotate`."""
    return tf.matmul(_like(q_a, tensor), times_right(tensor, q_s), transpose_a=True)


def root_transposed_times(root: tf.Tensor, tensor: tf.Tensor) -> tf.Tensor:
    """Returns C^T tensor for a lower triangular C [d, d] and a tensor [K, d, e].

    A large product is made in blocks of rows that leave out the zeros of C, which takes (1 + 1 / N_BLOCKS) / 2 of it.
    """
    d = int(root.shape[0])
    if d < BLOCKED_FROM:
        return tf.matmul(root[None], tensor, transpose_a=True)
    edges = [d * number // N_BLOCKS for number in range(N_BLOCKS + 1)]
    return tf.concat([tf.matmul(root[None, begin:, begin:end], tensor[:, begin:], transpose_a=True)
                      for begin, end in zip(edges, edges[1:])], axis=1)


def solve_transposed(root: tf.Tensor, tensor: tf.Tensor) -> tf.Tensor:
    """Returns C^-T tensor for a lower triangular C [d, d] and a tensor [K, d, e]: one triangular solve for all K."""
    _, d, e = tensor.shape.as_list()
    columns = tf.reshape(tf.transpose(tensor, [1, 0, 2]), [d, -1])
    solved = tf.linalg.triangular_solve(root, columns, adjoint=True)
    return tf.transpose(tf.reshape(solved, [d, -1, e]), [1, 0, 2])


def for_each_particle(inputs: tf.Tensor, ds: tf.Tensor) -> tf.Tensor:
    """Repeats inputs that all particles share: [K or 1, ...] -> [K, ...], with K from ds [K, ...]."""
    return tf.broadcast_to(inputs, tf.concat([tf.shape(ds)[:1], tf.shape(inputs)[1:]], axis=0))


def off_diagonal_share(matrix: tf.Tensor, basis: tf.Tensor) -> tf.Tensor:
    """Returns how far an orthogonal basis Q is from diagonalising a symmetric matrix, a scalar in [0, 1].

    It is ||offdiag(Q^T matrix Q)||_F / ||matrix||_F: 0 for an eigenbasis, NaN for a zero matrix.
    """
    rotated = tf.matmul(basis, tf.matmul(matrix, basis), transpose_a=True)
    off_diagonal = tf.linalg.set_diag(rotated, tf.zeros_like(rotated[0]))
    return tf.norm(off_diagonal) / tf.norm(matrix)


def mean_diag(matrix: tf.Tensor) -> tf.Tensor:
    """Returns tr M / dim M of a matrix [d, d], a scalar."""
    return tf.reduce_mean(tf.linalg.diag_part(matrix))


def _like(matrix: tf.Tensor, tensor: tf.Tensor) -> tf.Tensor:
    """Returns the matrix, with a leading 1 if `tensor` has a leading axis of particles to broadcast over."""
    return matrix[None] if len(tensor.shape) == 3 else matrix


def _finite(matrix: tf.Tensor) -> tf.Tensor:
    """Returns a matrix that is about to be factorised. Running it raises an error if an entry is not finite.

    What a factorisation makes of NaN depends on the library: an error, NaN, or (on a GPU) a process that is lost.
    """
    return tf.debugging.check_numerics(matrix, NOT_FINITE)


def _uses_lapack(matrix: tf.Tensor) -> bool:
    """Returns whether LAPACK should decompose the matrix: it is large, and the ops built here run on a CPU."""
    return int(matrix.shape[0]) >= LAPACK_MIN_DIM and not _on_gpu()


def _on_gpu() -> bool:
    """Returns whether the ops built here are placed on a GPU."""
    return "GPU" in tf.no_op().device


def _by_lapack(decompose: Callable, *dims: int) -> Callable[[tf.Tensor], List[tf.Tensor]]:
    """Turns a decomposition of an array [d, d] into a function of a tensor [d, d].

    Args:
      dims: number of dimensions of each result; every dimension has length d.
    """

    def run(matrix: tf.Tensor) -> List[tf.Tensor]:
        results = tf.numpy_function(functools.partial(_checked, decompose), [matrix], [matrix.dtype] * len(dims))
        results = list(results) if isinstance(results, (list, tuple)) else [results]
        for tensor, n_dims in zip(results, dims):
            tensor.set_shape([int(matrix.shape[0])] * n_dims)
        return results

    return run


def _checked(decompose: Callable, matrix: np.ndarray) -> np.ndarray:
    """Returns decompose(matrix). Raises ValueError if that fails.

    The message contains "decomposition", by which core/training/recovery.py recognises it.
    """
    if not np.isfinite(matrix).all():
        raise ValueError(NOT_FINITE)
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
