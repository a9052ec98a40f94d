"""Outputs of a model's network in a session, for any inputs."""
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from misc.errors import UserError

NORM_ROWS = 1000  # training rows whose moments batch normalisations use in predictions

WrapBatches = Callable[[Iterable], Iterable]  # wraps the batches of one group of draws, for a progress bar


class FrozenWeights(NamedTuple):
    """The weight draws of an evaluation, as arrays; K is 1 without weight noise, and for the mean weights."""

    weights: List[np.ndarray]  # of all layers, [K, d_in + 1, d_out] each
    moments: Dict[str, Tuple[np.ndarray, np.ndarray]]  # {batch normalisation: (mean, variance)}, [K, 1, ..., d_out]


def network_outputs(session: tf.Session, model: Any, x: np.ndarray, train_x: Optional[np.ndarray], mean: bool = False,
                    wrap: WrapBatches = iter, n_draws: Optional[int] = None) -> np.ndarray:
    """Returns the outputs [K, n, n_outputs] for all weight draws, or [1, n, n_outputs] for the mean weights.

    n_draws: how many of the weight draws, the first ones, K is; None: all.

    Draws are functions of (seed, step): the same for all rows, however these are batched. Batch normalisations use each
    draw's moments for the first NORM_ROWS of the training rows `train_x`, which are in random order.
    """
    predictions, batch_size = model.evaluate.predictions, model.design.config.test_batch_size
    groups, feeds = [], {}
    if n_draws is not None and predictions.n_used is not None:
        feeds[predictions.n_used] = 1 if mean else n_draws
    for n_held in _set_weights(session, model, train_x, mean, n_draws):
        batches = [session.run(predictions.outputs, {**feeds, predictions.inputs: x[start:start + batch_size]})
                   for start in wrap(range(0, len(x), batch_size))]
        groups.append(np.concatenate(batches, axis=1)[:n_held])
    return np.concatenate(groups, axis=0)[:n_draws]


def outputs_of_weights(session: tf.Session, model: Any, weights: Sequence[np.ndarray], x: np.ndarray,
                       train_x: Optional[np.ndarray]) -> np.ndarray:
    """Returns the outputs [K, n, n_outputs] of the network with given weights, [K, d_in + 1, d_out] of every layer.

    The other arguments are those of `network_outputs`. Raises UserError if the weights have other shapes.
    """
    predictions, design = model.evaluate.predictions, model.design
    n_draws, size, batch_size = len(weights[0]), design.particles_at_once, design.config.test_batch_size
    for layer, values in zip(design.layers, weights):
        if np.shape(values) != (n_draws, *layer.shape):
            raise UserError(f"weights of {layer.spec.name} have the shape {np.shape(values)}, but must have "
                            f"{(n_draws, *layer.shape)}")
    groups = []
    for first in range(0, n_draws, size):
        numbers = np.minimum(np.arange(first, first + size), n_draws - 1)  # the last group repeats its last draw
        feeds = {tensor: np.asarray(values)[numbers] for tensor, values in zip(predictions.weights, weights)}
        if predictions.normalise is not None:
            session.run(predictions.normalise, {**feeds, predictions.inputs: train_x[:NORM_ROWS]})
        batches = [session.run(predictions.outputs, {**feeds, predictions.inputs: x[start:start + batch_size]})
                   for start in range(0, max(len(x), 1), batch_size)]
        groups.append(np.concatenate(batches, axis=1)[:n_draws - first])
    return np.concatenate(groups, axis=0)


def frozen_weights(session: tf.Session, model: Any, train_x: Optional[np.ndarray], mean: bool = False,
                   n_draws: Optional[int] = None) -> FrozenWeights:
    """Returns the weights and moments with which `network_outputs` predicts; the arguments are those.

    n_draws: at least so many draws, of which the first are those of the predictions; default: as many.
    """
    predictions = model.evaluate.predictions
    groups = [tf.nest.map_structure(lambda array, n_draws=n_draws: array[:n_draws],
                                    session.run((predictions.weights, predictions.moments)))
              for n_draws in _set_weights(session, model, train_x, mean, n_draws)]
    return FrozenWeights(*tf.nest.map_structure(lambda *arrays: np.concatenate(arrays, axis=0), *groups))


def _set_weights(session: tf.Session, model: Any, train_x: Optional[np.ndarray], mean: bool,
                 wanted: Optional[int] = None) -> Iterator[int]:
    """Makes each group of weight draws, or the mean weights, those of the outputs; yields how many draws it has."""
    predictions, design = model.evaluate.predictions, model.design
    n_draws = design.particles_at_once
    n_groups = design.n_test_particles // n_draws if wanted is None else -(-wanted // n_draws)
    for group in range(n_groups if not mean and any(layer.noisy for layer in design.layers) else 1):
        session.run(predictions.draw_mean if mean else predictions.draw, {predictions.group: group})
        if predictions.normalise is not None:
            assert train_x is not None, "batch normalisation needs rows that trained"
            session.run(predictions.normalise, {predictions.inputs: train_x[:NORM_ROWS]})
        yield 1 if mean else n_draws
