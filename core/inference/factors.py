"""Curvature statistics of one layer from one minibatch. Pure functions.

a: [K or 1, n, d_in + 1] layer inputs with the 1 appended; 1 if all particles share them.
ds: [K, n, d_out] d log p(y | x, W) / d s, per example, NOT divided by n.

STATISTICS: kind of layer -> function of its LayerSpec -> its statistics. A new kind of layer is
one more row. Convolutions: core/inference/conv_factors.py.
"""
import collections
import functools

import tensorflow.compat.v1 as tf

from core.inference import conv_factors
from core.inference.linalg import times_right
from misc.lookup import lookup

LayerStatistics = collections.namedtuple(
    "LayerStatistics", ["gradient", "particle_gradients", "second_moments", "squared_gradient", "eigenbasis_scale"]
)


def gradient(a, ds):
    """E[a ds^T]: the gradient of log p, mean over particles and examples; [d_in + 1, d_out]."""
    return _mean_outer(a, ds)


def particle_gradients(a, ds):
    """The same per particle: [K, d_in + 1, d_out]."""
    a = tf.broadcast_to(a, tf.concat([tf.shape(ds)[:1], tf.shape(a)[1:]], axis=0))
    return tf.matmul(a, ds, transpose_a=True) / _n_examples(a)


def second_moment(rows):
    """E[r r^T] over particles and examples: [K or 1, n, d] -> [d, d]."""
    return _mean_outer(rows, rows)


def second_moments(a, ds):
    """(A, S) = (E[a a^T], E[ds ds^T]).

    Reference: Martens and Grosse (2015), Sec. 3, https://arxiv.org/abs/1503.05671
    """
    return second_moment(a), second_moment(ds)


def squared_gradient(a, ds):
    """Diagonal of the Fisher: E[(a_i ds_j)^2] of per-example gradients; [d_in + 1, d_out]."""
    return _mean_outer(tf.square(a), tf.square(ds))


def eigenbasis_scale(a, ds, q_a, q_s):
    """Diagonal R of the Fisher in the Kronecker eigenbasis, not damped; [d_in + 1, d_out].

    R[i, j] = E[(q_a[:, i] . a)^2 (q_s[:, j] . ds)^2], the second moment of the projected
    per-example gradient Q_a^T (a ds^T) Q_s.

    Args:
      q_a, q_s: orthogonal [d_in + 1, d_in + 1] and [d_out, d_out].

    Reference: George et al. (2018), Sec. 3, https://arxiv.org/abs/1806.03884
    """
    return squared_gradient(times_right(a, q_a), times_right(ds, q_s))


def scale_shift_gradient(a, ds):
    """Batch normalisation, s = a W[0] + W[1] per unit: E[(a ds, ds)], sums over locations; [2, d_out]."""
    return _mean_per_unit(_per_example(a, ds))


def scale_shift_squared_gradient(a, ds):
    """Diagonal of the Fisher of scale and shift; [2, d_out]."""
    return _mean_per_unit(tf.square(_per_example(a, ds)))


_DENSE = LayerStatistics(gradient, particle_gradients, second_moments, squared_gradient, eigenbasis_scale)
_SCALE_SHIFT = LayerStatistics(scale_shift_gradient, None, None, scale_shift_squared_gradient, None)


def _of_convolution(spec):
    names = LayerStatistics._fields
    return LayerStatistics(*[functools.partial(getattr(conv_factors, name), geometry=spec.geometry) for name in names])


STATISTICS = {"dense": lambda spec: _DENSE, "conv2d": _of_convolution, "batch_norm": lambda spec: _SCALE_SHIFT}


def statistics(spec):
    """The LayerStatistics of a layer; UserError if its kind has none."""
    return lookup(STATISTICS, spec.kind, "kind of layer")(spec)


def _per_example(a, ds):
    """[K, n, 2, d_out]: gradients of scale and shift, summed over locations."""
    axes = list(range(2, len(ds.shape) - 1))
    return tf.stack([tf.reduce_sum(a * ds, axis=axes), tf.reduce_sum(ds, axis=axes)], axis=2)


def _mean_per_unit(gradients):
    return tf.reduce_mean(gradients, axis=[0, 1])


def _mean_outer(left, right):
    """E[l r^T] over particles and examples. What is shared by all particles is summed over them first."""
    if left.shape[0] == 1 and right.shape[0] != 1:
        right = tf.reduce_mean(right, axis=0, keepdims=True)
    rows_left, rows_right = (tf.reshape(t, [-1, int(t.shape[-1])]) for t in (left, right))
    return tf.matmul(rows_left, rows_right, transpose_a=True) / tf.cast(tf.shape(rows_left)[0], left.dtype)


def _n_examples(a):
    return tf.cast(tf.shape(a)[1], a.dtype)
