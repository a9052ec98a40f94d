"""Weights of a layer as products of matrices that are never multiplied out."""
from typing import Callable, NamedTuple, Optional, Tuple

import tensorflow.compat.v1 as tf

Product = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""(inputs of a layer, matrix [d_in + 1, d]) -> the rows (of a convolution: the patches) that it sees times the matrix:
[K or 1, n, ..., d], with the places of a convolution between n and d."""


class FactoredWeights(NamedTuple):
    """K weight matrices W_k = base + left core_k right, each [d_in + 1, d_out], as a layer applies them to its inputs.

    With n inputs, a W_k costs products with n rows (of a convolution: n patches per place) instead of d_in + 1, which
    pays for minibatches that are smaller than the layer. The values are those of the weights up to rounding.
    """

    core: tf.Tensor            # [K, d_in + 1, d_out]
    left: tf.Tensor            # [d_in + 1, d_in + 1]
    right: tf.Tensor           # [d_out, d_out]
    base: Optional[tf.Tensor]  # expectation of W, [d_in + 1, d_out]; None: left and right are rotations, and there is
                               # no base

    def times(self, a: tf.Tensor, product: Product) -> Tuple[tf.Tensor, "CoreRecord"]:
        """Returns (the pre-activations a W_k, [K, n, ..., d_out], what they were computed from).

        Args:
          a: inputs as `product` takes them.
          product: that of the kind of layer.
        """
        record = CoreRecord.of(product(a, self.left), self.core)
        s = times_matrix(record.preactivations, self.right)
        return (s if self.base is None else s + product(a, self.base)), record


class CoreRecord(NamedTuple):
    """Inputs and pre-activations of a layer in the coordinates of `FactoredWeights.core`."""

    inputs: tf.Tensor          # a left, [K or 1, n, ..., d_in + 1]
    preactivations: tf.Tensor  # a left core_k, [K, n, ..., d_out]

    @classmethod
    def of(cls, inputs: tf.Tensor, core: tf.Tensor) -> "CoreRecord":
        """Returns the record of inputs [K or 1, n, ..., d_in + 1] and core [K, d_in + 1, d_out]."""
        if len(inputs.shape) == 3:
            return cls(inputs, tf.matmul(inputs, core))
        n_particles, width, outputs = (int(length) for length in core.shape)
        rows = tf.matmul(tf.reshape(inputs, [int(inputs.shape[0]), -1, width]), core)
        shape = tf.concat([[n_particles], tf.shape(inputs)[1:-1], [outputs]], axis=0)
        return cls(inputs, tf.reshape(rows, shape))


def times_matrix(a: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """Returns a times one matrix, in one product of all rows: [K or 1, n, ..., d] x [d, e] -> [K or 1, n, ..., e]."""
    rows = tf.matmul(tf.reshape(a, [-1, int(a.shape[-1])]), matrix)
    return tf.reshape(rows, tf.concat([tf.shape(a)[:-1], [int(matrix.shape[-1])]], axis=0))
