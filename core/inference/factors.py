"""Curvature statistics of one layer from one minibatch. Pure functions.

a: [K or 1, n, d_in + 1] layer inputs with the 1 appended; the first dimension is 1 if all particles share them.
ds: [K, n, d_out] d log p(y | x, W) / d s, per example, not divided by n.

STATISTICS: kind of layer -> function of its LayerSpec that returns its LayerStatistics. A new kind of layer is
one more row. Convolutions are in conv_factors.py.
"""
import functools
from typing import Any, Callable, Dict, NamedTuple, Tuple

import tensorflow.compat.v1 as tf

from core.inference import conv_factors
from core.inference.linalg import times_right
from misc.lookup import lookup
from networks.layers import LayerSpec


class LayerStatistics(NamedTuple):
    """What the curvature families ask of a kind of layer: functions of (a, ds), see below. None: not available."""

    gradient: Callable          # -> mean gradient, [d_in + 1, d_out]
    particle_gradients: Any     # -> the same per particle, [K, d_in + 1, d_out]; or None
    second_moments: Any         # -> the factors (A, S); or None
    squared_gradient: Callable  # -> diagonal of the Fisher, [d_in + 1, d_out]
    eigenbasis_scale: Any       # -> its diagonal R in an eigenbasis, likewise; or None


def gradient(a: tf.Tensor, ds: tf.Tensor) -> tf.Tensor:
    """Returns E[a ds^T], the gradient of log p averaged over particles and examples; [d_in + 1, d_out]."""
    return _mean_outer(a, ds)


def particle_gradients(a: tf.Tensor, ds: tf.Tensor) -> tf.Tensor:
    """Returns the gradient of log p of each particle, averaged over examples; [K, d_in + 1, d_out]."""
    a = tf.broadcast_to(a, tf.concat([tf.shape(ds)[:1], tf.shape(a)[1:]], axis=0))
    return tf.matmul(a, ds, transpose_a=True) / _n_examples(a)


def second_moment(rows: tf.Tensor) -> tf.Tensor:
    """Returns E[r r^T] over particles and examples: [K or 1, n, d] -> [d, d]."""
    return _mean_outer(rows, rows)


def second_moments(a: tf.Tensor, ds: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
    """Returns the factors (A, S) = (E[a a^T], E[ds ds^T]), not damped.

    Reference: Martens and Grosse (2015), Sec. 3, https://arxiv.org/abs/1503.05671
    """
    return second_moment(a), second_moment(ds)


def squared_gradient(a: tf.Tensor, ds: tf.Tensor) -> tf.Tensor:
    """Returns the diagonal of the Fisher, E[(a_i ds_j)^2] of per-example gradients; [d_in + 1, d_out]."""
    return _mean_outer(tf.square(a), tf.square(ds))


def eigenbasis_scale(a: tf.Tensor, ds: tf.Tensor, q_a: tf.Tensor, q_s: tf.Tensor) -> tf.Tensor:
    """Returns the diagonal R of the Fisher in the Kronecker eigenbasis, not damped; [d_in + 1, d_out].

    R[i, j] = E[(q_a[:, i] . a)^2 (q_s[:, j] . ds)^2], the second moment of the projected
    per-example gradient Q_a^T (a ds^T) Q_s.

    Args:
      q_a, q_s: orthogonal [d_in + 1, d_in + 1] and [d_out, d_out].

    Reference: George et al. (2018), Sec. 3, https://arxiv.org/abs/1806.03884
    """
    return squared_gradient(times_right(a, q_a), times_right(ds, q_s))


def scale_shift_gradient(a: tf.Tensor, ds: tf.Tensor) -> tf.Tensor:
    """Returns the gradient of batch normalisation, s = a W[0] + W[1] per unit; [2, d_out].

    It is E[(a ds, ds)], summed over the locations of an example.
    """
    return _mean_per_unit(_per_example(a, ds))


def scale_shift_squared_gradient(a: tf.Tensor, ds: tf.Tensor) -> tf.Tensor:
    """Returns the diagonal of the Fisher of scale and shift; [2, d_out]."""
    return _mean_per_unit(tf.square(_per_example(a, ds)))


_DENSE = LayerStatistics(gradient, particle_gradients, second_moments, squared_gradient, eigenbasis_scale)
_SCALE_SHIFT = LayerStatistics(scale_shift_gradient, None, None, scale_shift_squared_gradient, None)


def _of_convolution(spec: LayerSpec) -> LayerStatistics:
    names = LayerStatistics._fields
    return LayerStatistics(*[functools.partial(getattr(conv_factors, name), geometry=spec.geometry) for name in names])


STATISTICS: Dict[str, Callable[[LayerSpec], LayerStatistics]] = {
    "dense": lambda spec: _DENSE,
    "conv2d": _of_convolution,
    "batch_norm": lambda spec: _SCALE_SHIFT,
}


def statistics(spec: LayerSpec) -> LayerStatistics:
    """Returns the LayerStatistics of a layer. Raises UserError if its kind has none."""
    return lookup(STATISTICS, spec.kind, "kind of layer")(spec)


def _per_example(a: tf.Tensor, ds: tf.Tensor) -> tf.Tensor:
    """Returns the gradients of scale and shift of each example, summed over locations; [K, n, 2, d_out]."""
    axes = list(range(2, len(ds.shape) - 1))
    return tf.stack([tf.reduce_sum(a * ds, axis=axes), tf.reduce_sum(ds, axis=axes)], axis=2)


def _mean_per_unit(gradients: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(gradients, axis=[0, 1])


def _mean_outer(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Returns E[l r^T] over particles and examples. If all particles share `left`, `right` is averaged first."""
    if left.shape[0] == 1 and right.shape[0] != 1:
        right = tf.reduce_mean(right, axis=0, keepdims=True)
    rows_left, rows_right = (tf.reshape(t, [-1, int(t.shape[-1])]) for t in (left, right))
    return tf.matmul(rows_left, rows_right, transpose_a=True) / tf.cast(tf.shape(rows_left)[0], left.dtype)


def _n_examples(a: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.shape(a)[1], a.dtype)
