"""Batch normalisation, with its gradient in closed form (Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167)."""
from typing import Any, NamedTuple, Optional, Tuple

import tensorflow.compat.v1 as tf

NORM_EPSILON = 1e-5  # added to the variance

Moments = Tuple[tf.Tensor, tf.Tensor]
"""(mean, variance) of the values that a batch normalisation is given, each [d_out] or [K or 1, 1, ..., d_out]."""


class Normalised(NamedTuple):
    """What a batch normalisation makes of h [K or 1, n, ..., d]."""

    outputs: tf.Tensor  # [K, n, ..., d]
    normal: tf.Tensor   # [K or 1, n, ..., d]: before scale and shift
    moments: Moments    # by which it is normalised


def normalise_by(moments: Moments, h: tf.Tensor, scale: tf.Tensor, shift: tf.Tensor) -> Normalised:
    """Normalises h by given moments; scale, shift: [K, 1, ..., d]."""
    mean, variance = moments
    normal = (h - mean) * tf.rsqrt(variance + NORM_EPSILON)
    return Normalised(normal * scale + shift, normal, moments)


def normalise(h: tf.Tensor, scale: tf.Tensor, shift: tf.Tensor, average: Optional[Moments] = None) -> Normalised:
    """Normalises h [K or 1, n, ..., d] by the moments of its own values, particle by particle.

    The closed-form gradient of the outputs reads and writes about half as many arrays of the size of h as automatic
    differentiation. No gradient flows through the other results. A second derivative by h raises LookupError.

    Args:
      h: its first dimension is known when the graph is built.
      scale, shift: [K, 1, ..., d]; K is known when the graph is built.
      average: moments that are used instead where there is a single value per channel, which has no variance.
    """
    axes = list(range(1, len(h.shape) - 1))
    n_values = tf.reduce_prod(tf.shape(h)[1:-1])
    mean, variance = tf.nn.moments(tf.stop_gradient(h), axes, keep_dims=True)
    if average is not None:
        mean, variance = (tf.where_v2(tf.equal(tf.shape(h)[1], 1), held, own)
                          for held, own in zip(average, (mean, variance)))
        is_own = tf.cast(tf.greater(tf.shape(h)[1], 1), h.dtype)
    else:
        is_own = tf.ones([], h.dtype)
    share = is_own / tf.cast(n_values, h.dtype)  # of a value in the moments
    n_particles, n_scales = h.shape.as_list()[0], scale.shape.as_list()[0]
    assert n_particles is not None and n_scales is not None
    is_shared = n_particles == 1 and n_scales != 1

    @tf.custom_gradient
    def normalised(h: tf.Tensor, mean: tf.Tensor, rate: tf.Tensor, scale: tf.Tensor, shift: tf.Tensor,
                   share: tf.Tensor) -> Any:
        normal = (h - mean) * rate

        def gradient(ds: tf.Tensor, _: Any) -> Any:
            # Mean and rate are constants here, so that a derivative of this gradient by h would be wrong.
            constant = tf.raw_ops.PreventGradient(input=normal, message="normalise has no second derivative")
            d_scale = tf.reduce_sum(ds * constant, axes, keepdims=True)
            d_shift = tf.reduce_sum(ds, axes, keepdims=True)
            dh = (ds - constant * (share * d_scale) - share * d_shift) * (rate * scale)
            return tf.reduce_sum(dh, 0, keepdims=True) if is_shared else dh, None, None, d_scale, d_shift, None

        return (normal * scale + shift, normal), gradient

    outputs, normal = normalised(h, mean, tf.rsqrt(variance + NORM_EPSILON), scale, shift, share)
    return Normalised(outputs, tf.stop_gradient(normal), (mean, variance))
