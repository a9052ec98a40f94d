"""Checked factorisations: how a layer's factors are decomposed, and how values are checked to be finite.

A step first runs with the fast solver DEFAULT, and everything that it is about to write is checked (`check_finite`).
If a factor is not positive definite, or a value overflows, that check fails (or, in TensorFlow 1.15, the factorisation
itself does) and nothing is written. The step is then repeated with `robust_solver`, whose results are finite whenever
the factors are: it uses LAPACK, jitter, float64, or the last good result. If the step is still not finite, it is
skipped. So a usual step pays only for the checks. See core/training/recovery.py.
"""
import functools
import re
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
import scipy.linalg
import tensorflow.compat.v1 as tf

from core.inference.linalg import diagonal_in, eigh, inverse_root, warm_basis
from core.inference.types import Scalar

JITTER = 1e-6  # least share of a factor's largest diagonal entry that is added to its diagonal, see `_jitter_share`
ROUNDING = 1e-3  # negative eigenvalues up to this share of the largest count as rounding errors
LAST_GOOD = "last good"
_MARK = "not finite: "

Solve = Callable[[str, tf.Tensor, Scalar, Optional[tf.Tensor]], tf.Tensor]
"""(factor "A" or "S", matrix [d, d], damping, last result or None) -> result [d, d]."""

SolveBasis = Callable[[str, tf.Tensor, tf.Tensor], Tuple[tf.Tensor, tf.Tensor]]
"""(factor "A" or "S", matrix [d, d], last basis [d, d]) -> (eigenvalues [d], basis [d, d])."""

Record = Callable[[float, str], None]
"""(condition number, remedy) -> None: notes that a factor needed a remedy."""


class Solver(NamedTuple):
    """How the factors of a layer are decomposed."""

    root: Solve  # C, lower triangular with C^T C = (matrix + damping I)^-1
    inverse: Solve  # (matrix + damping I)^-1
    bases: Dict[str, SolveBasis]  # config's `basis_update` -> eigenvalues and eigenvectors, damping not included


def check_finite(tensor: tf.Tensor, what: str) -> tf.Tensor:
    """Returns the tensor. Running it raises InvalidArgumentError if an entry is not finite.

    Args:
      what: name of the tensor, for the message; `non_finite_quantity` reads it from the error.
    """
    return tf.debugging.check_numerics(tensor, _MARK + what)


def non_finite_quantity(error: Exception) -> Optional[str]:
    """Returns what was not finite, from an error that `check_finite` raised; None for any other error."""
    match = re.search(re.escape(_MARK) + "(.*?) : Tensor had", str(error))
    return match.group(1) if match else None


def default_solver(layer: str) -> Solver:
    """Returns the Solver of a usual step, the same for every layer.

    It is fast; if a factor cannot be decomposed, its result is not finite or running it raises an error.
    """
    return DEFAULT


def gram(root: tf.Tensor) -> tf.Tensor:
    """Returns C^T C, [d, d]: the inverse whose root C is."""
    return tf.matmul(root, root, transpose_a=True)


DEFAULT = Solver(
    root=lambda factor, matrix, damping, last: inverse_root(matrix, damping),
    inverse=lambda factor, matrix, damping, last: gram(inverse_root(matrix, damping)),
    bases={"eigh": lambda factor, matrix, last: eigh(matrix),
           "orthogonal_iteration": lambda factor, matrix, last: warm_basis(matrix, last)})


def robust_solver(layer: str, record: Callable[[str, str, float, str], None]) -> Solver:
    """Returns a slower Solver whose results are finite whenever the factors are.

    Args:
      layer: name of the layer.
      record: function (layer, factor, condition number, remedy), called while the graph runs for every remedy used.
        A remedy is "jitter", "float64" or LAST_GOOD.
    """

    def solved(decompose: Callable, factor: str, matrix: tf.Tensor, damping: Scalar, last: tf.Tensor) -> tf.Tensor:
        decompose_array = functools.partial(decompose, functools.partial(record, layer, factor))
        matrix = check_finite(matrix, f"factor {factor} of layer {layer}")
        result = tf.numpy_function(decompose_array, [matrix, tf.cast(damping, matrix.dtype), last], matrix.dtype)
        result.set_shape(matrix.shape)
        return result

    def basis(factor: str, matrix: tf.Tensor, last: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        vectors = solved(_robust_basis, factor, matrix, 0.0, last)
        return diagonal_in(matrix, vectors), vectors

    return Solver(functools.partial(solved, _robust_root), functools.partial(solved, _robust_inverse),
                  {"eigh": basis, "orthogonal_iteration": basis})


# The rest works on numpy arrays, inside the graph's run.

def _robust_root(record: Record, matrix: np.ndarray, damping: np.ndarray,
                 last: Optional[np.ndarray]) -> Optional[np.ndarray]:
    """Returns the inverse Cholesky root of matrix + damping I by the first way that works.

    It tries the matrix unchanged, then with jitter on the diagonal, then in float64 with eigenvalues raised that
    rounding made negative or tiny. If all fail, it returns `last`, which may be None.
    """
    identity = np.eye(len(matrix), dtype=matrix.dtype)
    damped = matrix + damping * identity
    jitter = _jitter_share(len(matrix)) * np.abs(np.diag(damped)).max() * identity
    return _first_finite(record, damped, [
        ("", lambda: _root(damped)), ("jitter", lambda: _root(damped + jitter)),
        ("float64", lambda: _root(_with_raised_eigenvalues(damped.astype(np.float64))))], last)


def _jitter_share(dim: int) -> float:
    """Returns the jitter as a share of the largest entry: JITTER, or `dim` units of float32's rounding if larger."""
    return max(JITTER, dim * float(np.finfo(np.float32).eps))


def _with_raised_eigenvalues(matrix: np.ndarray) -> np.ndarray:
    """Returns the matrix with small eigenvalues raised to `_jitter_share` of the largest.

    Raises LinAlgError if the smallest eigenvalue is too negative to be a rounding error.
    """
    values, vectors = scipy.linalg.eigh(matrix, check_finite=False)
    if values[0] < -ROUNDING * values[-1]:
        raise scipy.linalg.LinAlgError("not positive definite")
    return (vectors * np.maximum(values, _jitter_share(len(matrix)) * values[-1])) @ vectors.T


def _root(matrix: np.ndarray) -> np.ndarray:
    root = scipy.linalg.cholesky(matrix, lower=True, check_finite=False)
    return scipy.linalg.solve_triangular(root, np.eye(len(root), dtype=root.dtype), lower=True, check_finite=False)


def _robust_inverse(record: Record, matrix: np.ndarray, damping: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Returns (matrix + damping I)^-1 from `_robust_root`, or the last inverse."""
    root = _robust_root(record, matrix, damping, None)
    return last if root is None else root.T @ root


def _robust_basis(record: Record, matrix: np.ndarray, _: np.ndarray, last: np.ndarray) -> Optional[np.ndarray]:
    """Returns eigenvectors [d, d], computed in the given precision, else in float64, else the last ones."""
    return _first_finite(record, matrix, [
        ("", lambda: scipy.linalg.eigh(matrix, check_finite=False)[1]),
        ("float64", lambda: scipy.linalg.eigh(matrix.astype(np.float64), check_finite=False)[1])], last)


def _first_finite(record: Record, matrix: np.ndarray, ways: List[Tuple[str, Callable[[], np.ndarray]]],
                  last: Optional[np.ndarray]) -> Optional[np.ndarray]:
    """Returns the first finite result of the ways, else `last`; records the remedy that was needed.

    Args:
      ways: pairs (remedy, function); the remedy "" is not recorded.
    """
    for remedy, solve in ways:
        try:
            result = solve().astype(matrix.dtype)
        except scipy.linalg.LinAlgError:
            continue
        if np.isfinite(result).all():
            if remedy:
                record(condition_number(matrix), remedy)
            return result
    record(condition_number(matrix), LAST_GOOD)
    return last


def condition_number(matrix: np.ndarray) -> float:
    """Returns max |eigenvalue| / min |eigenvalue| of a symmetric matrix [d, d].

    It is inf if the matrix is singular or its eigenvalues cannot be computed.
    """
    try:
        values = np.abs(np.linalg.eigvalsh(matrix.astype(np.float64)))
    except np.linalg.LinAlgError:
        return np.inf
    return float(values.max() / values.min()) if values.min() > 0 else np.inf
