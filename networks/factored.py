"""Weights of a dense layer as products of matrices that are never multiplied out."""
from typing import Callable, NamedTuple, Optional, Tuple

import tensorflow.compat.v1 as tf


class FactoredWeights(NamedTuple):
    """K weight matrices W_k = base + L core_k R, each [d_in + 1, d_out], as a layer applies them to its inputs.

    With n inputs, a W_k costs products with n rows instead of d_in + 1, which pays for minibatches that are smaller
    than the layer. The values are those of the weights up to rounding.
    """

    core: tf.Tensor                                # [K, d_in + 1, d_out]
    to_core: Callable[[tf.Tensor], tf.Tensor]      # a -> a L, of rows [K or 1, n, d_in + 1]
    from_core: Callable[[tf.Tensor], tf.Tensor]    # r -> r R, of rows [K, n, d_out]
    base: Optional[tf.Tensor]                      # expectation of W, [d_in + 1, d_out]; None: L and R are rotations,
                                                   # and there is no base

    def times(self, a: tf.Tensor) -> Tuple[tf.Tensor, "CoreRecord"]:
        """Returns (the pre-activations a W_k, [K, n, d_out], what they were computed from).

        Args:
          a: inputs with the 1 appended, [K or 1, n, d_in + 1].
        """
        record = CoreRecord.of(self.to_core(a), self.core)
        s = self.from_core(record.preactivations)
        return (s if self.base is None else s + _times(a, self.base)), record


class CoreRecord(NamedTuple):
    """Inputs and pre-activations of a layer in the coordinates of `FactoredWeights.core`."""

    inputs: tf.Tensor          # a L, [K or 1, n, d_in + 1]
    preactivations: tf.Tensor  # a L core_k, [K, n, d_out]

    @classmethod
    def of(cls, inputs: tf.Tensor, core: tf.Tensor) -> "CoreRecord":
        """Returns the record of inputs [K or 1, n, d_in + 1] and core [K, d_in + 1, d_out]."""
        return cls(inputs, tf.matmul(inputs, core))


def _times(a: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """Returns a times one matrix [d_in + 1, d_out], in one product of all rows; [K or 1, n, d_out]."""
    rows = tf.matmul(tf.reshape(a, [-1, int(a.shape[-1])]), matrix)
    return tf.reshape(rows, tf.concat([tf.shape(a)[:-1], [int(matrix.shape[-1])]], axis=0))
