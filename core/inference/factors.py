"""Curvature statistics of one layer from one minibatch. Pure functions.

For a dense layer, with K particles (weight draws) and n examples:
a: [K or 1, n, d_in + 1] inputs of the layer with the 1 appended; the first axis is 1 if all particles share them.
ds: [K, n, d_out] d log p(y | x, W) / d s, per example, NOT divided by n.

STATISTICS maps the kind of a layer to a function from its LayerSpec to its LayerStatistics. To give a new kind of layer
its curvature, add a row. Convolutions are in core/inference/conv_factors.py.
"""
import functools
from typing import Any, Callable, Dict, NamedTuple, Tuple

import tensorflow.compat.v1 as tf

from core.inference import conv_factors
from core.inference.linalg import for_each_particle, times_right
from core.inference.posteriors import Coordinates
from misc.lookup import lookup
from networks.layers import LayerSpec

NOT_DEFINED: Any = None  # stands for a statistic that a layer does not have


class LayerStatistics(NamedTuple):
    """The statistics of one layer, as functions of its recorded inputs and ds; means over particles and examples.

    Only weight matrices have all of the first six, and only those with a FactoredWeights.core need the others. A
    statistic that a layer does not have is NOT_DEFINED.
    """

    gradient: Callable[..., tf.Tensor]  # (a, ds) -> E[a ds^T], [d_in + 1, d_out]
    particle_gradients: Callable[..., tf.Tensor]  # (a, ds) -> E[a ds^T] of each particle, [K, d_in + 1, d_out]
    second_moments: Callable[..., Tuple[tf.Tensor, tf.Tensor]]  # (a, ds) -> (A, S)
    squared_gradient: Callable[..., tf.Tensor]  # (a, ds) -> diagonal of the Fisher, [d_in + 1, d_out]
    eigenbasis_scale: Callable[..., tf.Tensor]  # (a, ds, q_a, q_s) -> R, [d_in + 1, d_out]
    output_covariance: Callable[..., tf.Tensor]  # (a, ds of each output, Coordinates) -> J Sigma J^T, [n, C, C]
    core_gradient: Callable[..., tf.Tensor] = NOT_DEFINED  # `gradient` of FactoredWeights.core, of a CoreRecord's rows
    core_squared_gradient: Callable[..., tf.Tensor] = NOT_DEFINED  # `squared_gradient` of the core, likewise


def gradient(a: tf.Tensor, ds: tf.Tensor) -> tf.Tensor:
    """Returns E[a ds^T], the gradient of log p per example, mean over particles and examples; [d_in + 1, d_out]."""
    return _mean_outer(a, ds)


def particle_gradients(a: tf.Tensor, ds: tf.Tensor) -> tf.Tensor:
    """Returns the gradient of log p per example for each particle, mean over examples; [K, d_in + 1, d_out]."""
    a = for_each_particle(a, ds)
    return tf.matmul(a, ds, transpose_a=True) / _n_examples(a)


def second_moment(rows: tf.Tensor) -> tf.Tensor:
    """Returns E[r r^T], mean over particles and examples: [K or 1, n, d] -> [d, d]."""
    return _mean_outer(rows, rows)


def second_moments(a: tf.Tensor, ds: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
    """Returns (A, S) = (E[a a^T], E[ds ds^T]), not damped; [d_in + 1, d_in + 1] and [d_out, d_out].

    Reference: Martens and Grosse (2015), Sec. 3, https://arxiv.org/abs/1503.05671
    """
    return second_moment(a), second_moment(ds)


def squared_gradient(a: tf.Tensor, ds: tf.Tensor) -> tf.Tensor:
    """Returns the diagonal of the Fisher, E[(a_i ds_j)^2] of per-example gradients, not damped; [d_in + 1, d_out]."""
    return _mean_outer(tf.square(a), tf.square(ds))


def eigenbasis_scale(a: tf.Tensor, ds: tf.Tensor, q_a: tf.Tensor, q_s: tf.Tensor) -> tf.Tensor:
    """Returns R, the diagonal of the Fisher in the Kronecker eigenbasis, not damped; [d_in + 1, d_out].

    R[i, j] = E[(q_a[:, i] . a)^2 (q_s[:, j] . ds)^2], the second moment of the projected
    per-example gradient Q_A^T (a ds^T) Q_S.

    Args:
      q_a, q_s: Q_A and Q_S, orthogonal [d_in + 1, d_in + 1] and [d_out, d_out].

    Reference: George et al. (2018), Sec. 3, https://arxiv.org/abs/1806.03884
    """
    return squared_gradient(times_right(a, q_a), times_right(ds, q_s))


def output_covariance(a: tf.Tensor, ds: tf.Tensor, coordinates: Coordinates) -> tf.Tensor:
    """Returns the covariance of the outputs that are linear in the layer's weights, J Sigma J^T, [n, C, C].

    The Jacobian of output c is a g_c^T, and so the covariance of outputs c and c' is
    sum_ij (to_a^T a)_i^2 (to_s^T g_c)_j (to_s^T g_c')_j variance_ij.

    Args:
      a: [1 or C, n, d_in + 1], the same for all outputs.
      ds: g_c = d f_c / d s of each output c, [C, n, d_out].
    """
    scores = tf.transpose(coordinates.of_outputs(ds), [1, 0, 2])
    weights = tf.matmul(tf.square(coordinates.of_inputs(a[0])), coordinates.variance)
    return tf.matmul(scores * weights[:, None, :], scores, transpose_b=True)


def scale_shift_gradient(a: tf.Tensor, ds: tf.Tensor) -> tf.Tensor:
    """Returns the gradient for scale and shift of a batch normalisation, s = a W[0] + W[1] per unit; [2, d_out].

    It is E[(a ds, ds)], summed over the locations of an image and averaged over particles and examples.

    Args:
      a: normalised inputs [K, n, ..., d_out].
      ds: [K, n, ..., d_out].
    """
    return _mean_per_unit(_scale_shift_per_example(a, ds))


def scale_shift_squared_gradient(a: tf.Tensor, ds: tf.Tensor) -> tf.Tensor:
    """Returns the diagonal of the Fisher of scale and shift, [2, d_out]. Arguments as for `scale_shift_gradient`."""
    return _mean_per_unit(tf.square(_scale_shift_per_example(a, ds)))


_DENSE = LayerStatistics(gradient, particle_gradients, second_moments, squared_gradient, eigenbasis_scale,
                         output_covariance, gradient, squared_gradient)
_SCALE_SHIFT = LayerStatistics(scale_shift_gradient, NOT_DEFINED, NOT_DEFINED, scale_shift_squared_gradient,
                               NOT_DEFINED, NOT_DEFINED)


def _convolution(spec: LayerSpec) -> LayerStatistics:
    of_patches = ("core_gradient", "core_squared_gradient")
    of_images = (name for name in LayerStatistics._fields if name not in of_patches)
    return LayerStatistics(*(functools.partial(getattr(conv_factors, name), geometry=spec.geometry)
                             for name in of_images), *(getattr(conv_factors, name) for name in of_patches))


STATISTICS: Dict[str, Callable[[LayerSpec], LayerStatistics]] = {
    "dense": lambda spec: _DENSE, "conv2d": _convolution, "batch_norm": lambda spec: _SCALE_SHIFT}


def statistics(spec: LayerSpec) -> LayerStatistics:
    """Returns the LayerStatistics of a layer. Raises UserError if its kind has none."""
    return lookup(STATISTICS, spec.kind, "kind of layer")(spec)


def _scale_shift_per_example(a: tf.Tensor, ds: tf.Tensor) -> tf.Tensor:
    """Returns each example's gradients of scale and shift, summed over locations; [K, n, 2, d_out]."""
    axes = list(range(2, len(ds.shape) - 1))
    return tf.stack([tf.reduce_sum(a * ds, axis=axes), tf.reduce_sum(ds, axis=axes)], axis=2)


def _mean_per_unit(gradients: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(gradients, axis=[0, 1])


def _mean_outer(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Returns E[l r^T], mean over particles and examples: [K or 1, n, i], [K or 1, n, j] -> [i, j].

    If all particles share `left`, `right` is averaged over them first.
    """
    if left.shape[0] == 1 and right.shape[0] != 1:
        right = tf.reduce_mean(right, axis=0, keepdims=True)
    rows_left, rows_right = (tf.reshape(t, [-1, int(t.shape[-1])]) for t in (left, right))
    return tf.matmul(rows_left, rows_right, transpose_a=True) / tf.cast(tf.shape(rows_left)[0], left.dtype)


def _n_examples(a: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.shape(a)[1], a.dtype)
