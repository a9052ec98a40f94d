"""What keeps numbers from rotting: no step that is not finite is written, and factors that fail are mended.

A step is first taken as it is (PLAIN), with one check of all that it is about to write. A factor
that is not positive definite shows there, or stops the step before (TensorFlow 1.15); so does
everything that overflows. Such a step is taken once more with solvers that cannot fail (`mending`),
by LAPACK: with jitter, in float64, or with the last good factor. If it still is not finite, it is
left out. This way the usual step pays for the checks alone. See core/training/mender.py.
"""
import collections
import functools
import re

import numpy as np
import scipy.linalg
import tensorflow.compat.v1 as tf

from core.inference.linalg import diagonal_in, eigh, inverse_root, warm_basis

JITTER = 1e-6  # of a factor's largest diagonal entry; for large factors as many units of float32's rounding as rows
ROUNDING = 1e-3  # a share of the largest eigenvalue: a smallest one below minus that is no matter of rounding
LAST_GOOD = "last good"
_MARK = "not finite: "

Solver = collections.namedtuple("Solver", ["root", "inverse", "bases"])
"""How a layer's damped factors are decomposed. root, inverse: (name of the factor, matrix, damping,
the last result) -> C with C^T C = (matrix + damping I)^-1, or that inverse itself; bases: {config's
`basis_update`: (name, matrix, last basis) -> (eigenvalues, basis)}."""


def check_finite(tensor, what):
    """The tensor. Running it raises InvalidArgumentError, for `not_finite` to read, if an entry is not finite."""
    return tf.debugging.check_numerics(tensor, _MARK + what)


def non_finite_quantity(error):
    """What was not finite, from an error of `finite`; None for any other error."""
    found = re.search(re.escape(_MARK) + "(.*?) : Tensor had", str(error))
    return found and found.group(1)


def default_solver(layer):
    """The Solver of a usual step: fast, and not finite (or an error) where a factor cannot be decomposed."""
    return PLAIN


def _squared(root):
    return tf.matmul(root, root, transpose_a=True)


PLAIN = Solver(
    lambda factor, matrix, damping, last: inverse_root(matrix, damping),
    lambda factor, matrix, damping, last: _squared(inverse_root(matrix, damping)),
    {"eigh": lambda factor, matrix, last: eigh(matrix),
     "orthogonal_iteration": lambda factor, matrix, last: warm_basis(matrix, last)})


def robust_solver(layer, record):
    """The Solver of one layer that always gives something finite, if slowly.

    Args:
      layer: its name.
      record: function (layer, factor, condition number, remedy), called in the graph's run for every remedy.
    """

    def solved(decompose, factor, matrix, damping, last):
        found = functools.partial(decompose, functools.partial(record, layer, factor))
        matrix = check_finite(matrix, f"factor {factor} of layer {layer}")
        result = tf.numpy_function(found, [matrix, tf.cast(damping, matrix.dtype), last], matrix.dtype)
        result.set_shape(matrix.shape)
        return result

    def basis(factor, matrix, last):
        vectors = solved(_mended_basis, factor, matrix, 0.0, last)
        return diagonal_in(matrix, vectors), vectors

    return Solver(functools.partial(solved, _mended_root), functools.partial(solved, _mended_inverse),
                  {"eigh": basis, "orthogonal_iteration": basis})


# Arrays from here on.

def _mended_root(record, matrix, damping, last):
    """Inverse Cholesky root of matrix + damping I, by the first of these that works: as it is, with jitter, in
    float64 with eigenvalues that rounding made negative or tiny lifted, the last one."""
    damped = matrix + damping * np.eye(len(matrix), dtype=matrix.dtype)
    jitter = _least(len(matrix)) * np.abs(np.diag(damped)).max() * np.eye(len(matrix), dtype=matrix.dtype)
    return _first(record, damped, [
        ("", lambda: _root(damped)), ("jitter", lambda: _root(damped + jitter)),
        ("float64", lambda: _root(_lifted(damped.astype(np.float64))))], last)


def _least(dim):
    """What a smallest eigenvalue is lifted to, as a share of the largest."""
    return max(JITTER, dim * float(np.finfo(np.float32).eps))


def _lifted(matrix):
    values, vectors = scipy.linalg.eigh(matrix, check_finite=False)
    if values[0] < -ROUNDING * values[-1]:
        raise scipy.linalg.LinAlgError("not positive definite")
    return (vectors * np.maximum(values, _least(len(matrix)) * values[-1])) @ vectors.T


def _root(matrix):
    root = scipy.linalg.cholesky(matrix, lower=True, check_finite=False)
    return scipy.linalg.solve_triangular(root, np.eye(len(root), dtype=root.dtype), lower=True, check_finite=False)


def _mended_inverse(record, matrix, damping, last):
    """(matrix + damping I)^-1, likewise."""
    found = _mended_root(record, matrix, damping, None)
    return last if found is None else found.T @ found


def _mended_basis(record, matrix, _, last):
    """Eigenvectors, by the first of these that works: as it is, in float64, the last ones."""
    return _first(record, matrix, [
        ("", lambda: scipy.linalg.eigh(matrix, check_finite=False)[1]),
        ("float64", lambda: scipy.linalg.eigh(matrix.astype(np.float64), check_finite=False)[1])], last)


def _first(record, matrix, ways, last):
    """The first finite result of [(remedy, function), ...], else `last`; what was needed is recorded."""
    for remedy, solve in ways:
        try:
            found = solve().astype(matrix.dtype)
        except scipy.linalg.LinAlgError:
            continue
        if np.isfinite(found).all():
            if remedy:
                record(condition_number(matrix), remedy)
            return found
    record(condition_number(matrix), LAST_GOOD)
    return last


def condition_number(matrix):
    """Largest over smallest magnitude of the eigenvalues of a symmetric array; inf if it cannot be told."""
    try:
        values = np.abs(np.linalg.eigvalsh(matrix.astype(np.float64)))
    except np.linalg.LinAlgError:
        return np.inf
    return float(values.max() / values.min()) if values.min() > 0 else np.inf
