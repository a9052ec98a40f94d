"""The linearised predictive distribution: outputs of the network that are linear in the weights. Pure functions.

f(x; w) is replaced by f(x; mean) + J (w - mean), with the Jacobian J at the mean. Under a Gaussian posterior of
covariance Sigma the outputs are Gaussian, too, with the mean f(x; mean) and the covariance J Sigma J^T, exactly.

For one output c of one example, J is a matrix [d_in + 1, d_out] per layer: of a dense layer a g_c^T, of a convolution
sum_t a_t g_ct^T over its locations, with g_c = d f_c / d s. `factors.LayerStatistics.output_covariance` sums over it.

Reference: Khan et al. (2019), https://arxiv.org/abs/1906.01930; Immer et al. (2021), Sec. 3,
https://arxiv.org/abs/2008.08400
"""
from typing import Any, Callable, Dict, Sequence, Tuple

import tensorflow.compat.v1 as tf

from core.inference.factors import statistics
from core.inference.posteriors import Coordinates, EigenMatrixNormal, FullyFactorized, MatrixNormal
from networks.layers import LayerRecord

COORDINATES: Dict[type, Callable[[Any], Coordinates]] = {
    FullyFactorized: lambda q: Coordinates(None, None, q.variance),
    MatrixNormal: lambda q: Coordinates(tf.transpose(q.root_a), tf.transpose(q.root_s),
                                        q.temperature * tf.ones_like(q.mean)),
    EigenMatrixNormal: lambda q: Coordinates(q.q_a, q.q_s, q.variance),
}
"""Class of a Gaussian posterior -> function that gives the Coordinates in which its weights are independent."""


def output_covariance(outputs: tf.Tensor, layers: Sequence[Tuple[LayerRecord, Any]]) -> tf.Tensor:
    """Returns J Sigma J^T of every example, summed over the layers: they are independent; [n, C, C].

    Args:
      outputs: of the network at the mean weights, as often as it has outputs, [C, n, C]: the first axis is that of the
        particles, which are all alike. Particle c gives the gradients of output c.
      layers: what the network recorded of each layer with weight noise, and its posterior, one of COORDINATES.
    """
    n_outputs = int(outputs.shape[-1])
    chosen = tf.broadcast_to(tf.eye(n_outputs, dtype=outputs.dtype)[:, None, :], tf.shape(outputs))
    gradients = tf.gradients(outputs, [record.preactivations for record, _ in layers], grad_ys=chosen)
    return tf.add_n([
        statistics(record.spec).output_covariance(record.inputs, ds, COORDINATES[type(posterior)](posterior))
        for (record, posterior), ds in zip(layers, gradients)])
