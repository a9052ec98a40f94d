"""What a step knows of a layer: a Batch, from what the network recorded and from d log p / d s. Pure functions."""
import functools
from typing import Callable, NamedTuple, Optional

import tensorflow.compat.v1 as tf

from core.inference.factors import LayerStatistics, statistics
from core.inference.families import Batch, Rotated
from core.inference.gaussian import Prior
from core.inference.types import Scalar
from networks.factored import FactoredWeights
from networks.layers import LayerRecord, Weights


def elbo_gradient(log_prob_gradient: tf.Tensor, mean_weights: tf.Tensor, prior: Prior,
                  kl_scale: Scalar = 1.0) -> tf.Tensor:
    """Returns v = E[d log p / d w] - kl_scale gamma_in E[w], per example, [d_in + 1, d_out].

    kl_scale gamma_in = temperature / eta: the second term is the gradient of (lambda / N) log N(w; 0, eta I).

    Args:
      log_prob_gradient: E[d log p / d w], mean over particles and examples, [d_in + 1, d_out].
      mean_weights: E[w], the mean of the drawn weights, [d_in + 1, d_out].
    """
    return log_prob_gradient - kl_scale * prior.damping * mean_weights


class Score(NamedTuple):
    """d log p / d s of one layer, for every particle and example."""

    ds: tf.Tensor  # of the shape of LayerRecord.preactivations
    core: Optional[tf.Tensor] = None  # the same for the pre-activations of LayerRecord.core, if there is one


def layer_batch(record: LayerRecord, score: Score, fisher_score: Score, weights: Weights, mean: tf.Tensor,
                prior: Prior, kl_scale: Scalar) -> Batch:
    """Returns the Batch of one layer. The prior is over weights; scales and shifts have none.

    Args:
      record: what the network recorded of the layer.
      score, fisher_score: for the observed targets and for those of the Fisher.
      weights: drawn weights [K, d_in + 1, d_out].
      mean: state["mean"], [d_in + 1, d_out].
    """
    stats, of_prior = statistics(record.spec), functools.partial(elbo_gradient, prior=prior, kl_scale=kl_scale)
    if isinstance(weights, FactoredWeights):
        return _factored_batch(record, score, fisher_score, weights, stats, of_prior)
    grad = stats.gradient(record.inputs, score.ds)
    if record.spec.has_weights:
        grad = of_prior(grad, tf.reduce_mean(weights, axis=0))
    return Batch(record.inputs, score.ds, fisher_score.ds, weights - mean, grad, stats)


def _factored_batch(record: LayerRecord, score: Score, fisher_score: Score, weights: FactoredWeights,
                    stats: LayerStatistics, of_prior: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> Batch:
    """Returns the Batch of a layer whose weights are not multiplied out.

    If they are rotated, the gradient is in the coordinates of their core. Otherwise, the mean of the drawn weights in
    the prior's gradient is replaced by its expectation, which needs no product.
    """
    core = record.core
    assert core is not None and score.core is not None and fisher_score.core is not None
    rotated = None
    if weights.base is None:
        grad = of_prior(stats.core_gradient(core.inputs, score.core), tf.reduce_mean(weights.core, axis=0))
        rotated = Rotated(core.inputs, fisher_score.core)
    else:
        grad = of_prior(stats.gradient(record.inputs, score.ds), weights.base)
    return Batch(record.inputs, score.ds, fisher_score.ds, None, grad, stats, rotated)
