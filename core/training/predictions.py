"""Predictions in a graph: weights, and the moments of batch normalisations, are set once for many batches of inputs."""
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

from core.inference.linearised import COORDINATES, output_covariance
from core.training.cost import interim_draws
from core.training.design import Design
from core.training.inputs import TrainingData
from misc.errors import UserError
from networks.layers import LayerRecord
from networks.normalisation import Moments

Weights = List[tf.Tensor]  # of all layers, [K, d_in + 1, d_out] each
Forward = Callable[..., Tuple[tf.Tensor, List[LayerRecord]]]


class Predictions(NamedTuple):
    """Ops and tensors for predictions."""

    group: tf.Tensor                   # placeholder: number of a group of weight draws, from 0
    n_used: Optional[tf.Tensor]        # placeholder with default: how many of the draws `outputs` are of; None: all
    draw: tf.Operation                 # makes that group's draws the weights of `outputs`
    draw_mean: tf.Operation            # makes the posterior mean the weights of `outputs`
    normalise: Optional[tf.Operation]  # makes the moments of `inputs` those of `outputs`; None without batch_norm
    inputs: tf.Tensor                  # placeholder [m, ...]
    outputs: tf.Tensor                 # [particles_at_once or n_used, m, n_outputs]
    weights: Weights                   # of all draws, [particles_at_once, d_in + 1, d_out] of each layer
    moments: Dict[str, Moments]        # {batch normalisation: those of `outputs`}


class Linearised(NamedTuple):
    """Ops and tensors for the Gaussian outputs of the linearised network."""

    normalise: Optional[tf.Operation]  # takes the moments of `inputs`; None without batch_norm
    inputs: tf.Tensor                  # placeholder [m, ...]
    mean: tf.Tensor                    # [m, C], for C outputs of the network
    covariance: tf.Tensor              # [m, C, C]


def build_predictions(design: Design, data: TrainingData, means: Weights, draw: Callable[[tf.Tensor], Weights],
                      forward: Forward) -> Predictions:
    """Builds Predictions, whose outputs are undefined before `draw` or `draw_mean`, then `normalise`, have run.

    Each weight draw has its own moments of training rows in batch normalisations, as it has in training. (The moving
    averages of a training would lag behind its weights, and be averages over draws: on CIFAR-10 they cost a VGG16 0.4
    nats per image after 6 epochs.)

    Args:
      design: of the run.
      data: standardises the inputs.
      means: the mean weights, with K = 1.
      draw: function (group) -> the weights of that group of draws.
      forward: function (x, weights, moments) -> (outputs [K, m, n_outputs], LayerRecords).
    """
    n_draws, dtype = design.particles_at_once, means[0].dtype
    group = tf.placeholder(tf.int32, [], "group")
    held = [_local_variable(f"drawn_{layer.spec.name}", [n_draws, *layer.shape], dtype) for layer in design.layers]
    set_draw, set_mean = (tf.group([var.assign(value, read_value=False) for var, value in zip(held, values)])
                          for values in (draw(group), [tf.tile(mean, [n_draws, 1, 1]) for mean in means]))
    inputs = tf.placeholder(data.input_type, [None, *design.spec.shape], "inputs")
    x, weights = data.standardised(inputs), [var.read_value() for var in held]
    moments: Dict[str, Moments] = {}
    normalise = None
    if not all(layer.spec.has_weights for layer in design.layers):
        normalise, moments = _hold_moments(forward(x, weights)[1], dtype)
    n_used, used_weights, used_moments = None, weights, moments
    if n_draws > interim_draws(design):
        n_used = tf.placeholder_with_default(n_draws, [], "n_used")
        used_weights, used_moments = tf.nest.map_structure(lambda values: values[:n_used], (weights, moments))
    outputs = forward(x, used_weights, used_moments)[0]
    return Predictions(group, n_used, set_draw, set_mean, normalise, inputs, outputs, weights, moments)


def build_linearised(design: Design, data: TrainingData, inputs: tf.Tensor, means: Weights,
                     posteriors: Dict[str, Any], forward: Forward) -> Linearised:
    """Builds the Gaussian outputs of the linearised network, at least one layer of which has weight noise.

    Batch normalisations use the moments that training rows have under the mean weights, which count as constants.

    Args:
      data: standardises the inputs.
      inputs: placeholder [m, ...].
      means: the mean weights, [1, d_in + 1, d_out] of every layer.
      posteriors: {layer: its posterior}, of layers with weights.
      forward: function (x, weights, moments) -> (outputs [K, m, n_outputs], LayerRecords).

    Raises UserError for a posterior that is not known to be Gaussian.
    """
    noisy = [layer.noisy for layer in design.layers]
    for layer in design.layers:
        if layer.noisy and type(posteriors[layer.spec.name]) not in COORDINATES:
            raise UserError(f"predictive linearised: the posterior of optimizer {design.config.optimizer} is none of "
                            f"{', '.join(kind.__name__ for kind in COORDINATES)}: set predictive to sampled")
    x, n_outputs, first = data.standardised(inputs), design.likelihood.n_outputs, noisy.index(True)
    moments: Dict[str, Moments] = {}
    normalise = None
    if not all(layer.spec.has_weights for layer in design.layers):
        normalise, moments = _hold_moments(forward(x, means)[1], means[0].dtype, "of_mean_weights_")
    # Particle c is for the gradients of output c; the layers before the first noisy one need none.
    weights = [mean if number < first else tf.tile(mean, [n_outputs, 1, 1]) for number, mean in enumerate(means)]
    outputs, records = forward(x, weights, moments)
    layers = [(record, posteriors[record.spec.name]) for record, is_noisy in zip(records, noisy) if is_noisy]
    return Linearised(normalise, inputs, outputs[0], output_covariance(outputs, layers))


def _hold_moments(records: Sequence[LayerRecord], dtype: tf.DType,
                 prefix: str = "") -> Tuple[tf.Operation, Dict[str, Moments]]:
    """Returns (an op that keeps the moments of the batch normalisations, {layer: what it keeps}).

    prefix: of the names of the variables that keep them.
    """
    moments, writes = {}, []
    for record in records:
        if not record.spec.has_weights:
            held = [_local_variable(f"{prefix}{what}_{record.spec.name}", value.shape.as_list(), dtype)
                    for what, value in zip(("mean", "variance"), record.moments)]
            writes += [var.assign(value, read_value=False) for var, value in zip(held, record.moments)]
            moments[record.spec.name] = (held[0].read_value(), held[1].read_value())
    return tf.group(writes), moments


def _local_variable(name: str, shape: Sequence[int], dtype: tf.DType) -> tf.Variable:
    """Returns a variable that no checkpoint holds."""
    return tf.get_variable(name, initializer=tf.zeros(shape, dtype), trainable=False, use_resource=True,
                           collections=[tf.GraphKeys.LOCAL_VARIABLES])
