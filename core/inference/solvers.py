"""Numerical safeguards: non-finite updates are never applied, and failed factorisations are retried more robustly.

A step is first taken with the default solver and one finiteness check of everything that it is about to write.
A factor that is not positive definite shows there, or stops the step before (TensorFlow 1.15), and so does
everything that overflows. Such a step is taken once more with the robust solver, which always succeeds, by
LAPACK: with jitter, in float64, or with the last good factor. If the result is still not finite, the step is
skipped. The usual step pays for the checks alone. See core/training/recovery.py.
"""
import functools
import re
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
import scipy.linalg
import tensorflow.compat.v1 as tf

from core.inference.linalg import diagonal_in, eigh, inverse_root, warm_basis
from core.inference.types import Number, Tensor

JITTER = 1e-6  # share of a factor's largest diagonal entry; for large factors their rounding error, if that is more
ROUNDING = 1e-3  # negative eigenvalues up to this share of the largest one are put down to rounding
LAST_GOOD = "last good"
_MARK = "not finite: "

Array = np.ndarray
Record = Callable[..., Any]


class Solver(NamedTuple):
    """How the damped factors of a layer are decomposed."""

    root: Callable[..., Tensor]     # (name of the factor, matrix, damping, last result) -> C, C^T C the inverse below
    inverse: Callable[..., Tensor]  # (name of the factor, matrix, damping, last result) -> (matrix + damping I)^-1
    bases: Dict[str, Callable[..., Tuple[Tensor, Tensor]]]  # config's basis_update -> function (name of the factor,
    #                                                         matrix, last basis) -> (eigenvalues, basis)


def check_finite(tensor: Tensor, what: str) -> Tensor:
    """Returns the tensor. Running it raises InvalidArgumentError if an entry is not finite.

    `non_finite_quantity` reads `what` from that error.
    """
    return tf.debugging.check_numerics(tensor, _MARK + what)


def non_finite_quantity(error: Exception) -> Optional[str]:
    """Returns what was not finite, from an error of `check_finite`; None for any other error."""
    match = re.search(re.escape(_MARK) + "(.*?) : Tensor had", str(error))
    return match.group(1) if match else None


def _gram(root: Tensor) -> Tensor:
    return tf.matmul(root, root, transpose_a=True)


DEFAULT = Solver(
    lambda factor, matrix, damping, last: inverse_root(matrix, damping),
    lambda factor, matrix, damping, last: _gram(inverse_root(matrix, damping)),
    {"eigh": lambda factor, matrix, last: eigh(matrix),
     "orthogonal_iteration": lambda factor, matrix, last: warm_basis(matrix, last)})


def default_solver(layer: str) -> Solver:
    """Returns the Solver of a usual step: fast, but not finite, or an error, where a factor cannot be decomposed."""
    return DEFAULT


def robust_solver(layer: str, record: Record) -> Solver:
    """Returns a Solver of one layer whose results are always finite. It is slow.

    Args:
      layer: its name.
      record: function (layer, factor, condition number, remedy), called for every remedy while the graph runs.
    """

    def solve(decompose: Callable, factor: str, matrix: Tensor, damping: Number, last: Tensor) -> Tensor:
        run = functools.partial(decompose, functools.partial(record, layer, factor))
        matrix = check_finite(matrix, f"factor {factor} of layer {layer}")
        result = tf.numpy_function(run, [matrix, tf.cast(damping, matrix.dtype), last], matrix.dtype)
        result.set_shape(matrix.shape)
        return result

    def basis(factor: str, matrix: Tensor, last: Tensor) -> Tuple[Tensor, Tensor]:
        vectors = solve(_robust_basis, factor, matrix, 0.0, last)
        return diagonal_in(matrix, vectors), vectors

    return Solver(functools.partial(solve, _robust_root), functools.partial(solve, _robust_inverse),
                  {"eigh": basis, "orthogonal_iteration": basis})


# Functions of arrays from here on.

def _robust_root(record: Record, matrix: Array, damping: Array, last: Optional[Array]) -> Optional[Array]:
    """Returns an inverse Cholesky root of matrix + damping I by the first of these that works.

    The matrix as it is; with jitter; in float64, with eigenvalues that rounding made negative or tiny raised;
    the last good root.
    """
    damped = matrix + damping * np.eye(len(matrix), dtype=matrix.dtype)
    jitter = _smallest_share(len(matrix)) * np.abs(np.diag(damped)).max() * np.eye(len(matrix), dtype=matrix.dtype)
    return _first_finite(record, damped, [
        ("", lambda: _root(damped)), ("jitter", lambda: _root(damped + jitter)),
        ("float64", lambda: _root(_with_raised_eigenvalues(damped.astype(np.float64))))], last)


def _smallest_share(dim: int) -> float:
    """Returns the least share of the largest eigenvalue that small eigenvalues are raised to."""
    return max(JITTER, dim * float(np.finfo(np.float32).eps))


def _with_raised_eigenvalues(matrix: Array) -> Array:
    values, vectors = scipy.linalg.eigh(matrix, check_finite=False)
    if values[0] < -ROUNDING * values[-1]:
        raise scipy.linalg.LinAlgError("not positive definite")
    return (vectors * np.maximum(values, _smallest_share(len(matrix)) * values[-1])) @ vectors.T


def _root(matrix: Array) -> Array:
    root = scipy.linalg.cholesky(matrix, lower=True, check_finite=False)
    return scipy.linalg.solve_triangular(root, np.eye(len(root), dtype=root.dtype), lower=True, check_finite=False)


def _robust_inverse(record: Record, matrix: Array, damping: Array, last: Array) -> Array:
    """Returns (matrix + damping I)^-1 from its `_robust_root`, or the last good inverse."""
    root = _robust_root(record, matrix, damping, None)
    return last if root is None else root.T @ root


def _robust_basis(record: Record, matrix: Array, _: Array, last: Array) -> Array:
    """Returns eigenvectors of the matrix as it is, in float64, or the last good ones."""
    return _first_finite(record, matrix, [
        ("", lambda: scipy.linalg.eigh(matrix, check_finite=False)[1]),
        ("float64", lambda: scipy.linalg.eigh(matrix.astype(np.float64), check_finite=False)[1])], last)


def _first_finite(record: Record, matrix: Array, attempts: List[Tuple[str, Callable[[], Array]]],
                  last: Optional[Array]) -> Any:
    """Returns the first finite result of [(remedy, function), ...], else `last`, and records the remedy needed."""
    for remedy, solve in attempts:
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


def condition_number(matrix: Array) -> float:
    """Returns the ratio of the largest to the smallest magnitude of a symmetric array's eigenvalues.

    It is inf if the matrix is singular or cannot be decomposed.
    """
    try:
        values = np.abs(np.linalg.eigvalsh(matrix.astype(np.float64)))
    except np.linalg.LinAlgError:
        return np.inf
    return float(values.max() / values.min()) if values.min() > 0 else np.inf
