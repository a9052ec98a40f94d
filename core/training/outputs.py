"""Outputs of a model's network in a session, for any inputs."""
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

NORM_ROWS = 1000  # training rows whose moments batch normalisations use in predictions

WrapBatches = Callable[[Iterable], Iterable]  # wraps the batches of one group of draws, for a progress bar


class FrozenWeights(NamedTuple):
    """The weight draws of an evaluation, as arrays; K is 1 without weight noise, and for the mean weights."""

    weights: List[np.ndarray]  # of all layers, [K, d_in + 1, d_out] each
    moments: Dict[str, Tuple[np.ndarray, np.ndarray]]  # {batch normalisation: (mean, variance)}, [K, 1, ..., d_out]


def network_outputs(session: tf.Session, model: Any, x: np.ndarray, train_x: Optional[np.ndarray], mean: bool = False,
                    wrap: WrapBatches = iter) -> np.ndarray:
    """Returns the outputs [K, n, n_outputs] for all weight draws, or [1, n, n_outputs] for the mean weights.

    Draws are functions of (seed, step): the same for all rows, however these are batched. Batch normalisations use each
    draw's moments for the first NORM_ROWS of the training rows `train_x`, which are in random order.
    """
    predictions, batch_size = model.evaluate.predictions, model.design.config.test_batch_size
    groups = []
    for n_draws in _set_weights(session, model, train_x, mean):
        batches = [session.run(predictions.outputs, {predictions.inputs: x[start:start + batch_size]})
                   for start in wrap(range(0, len(x), batch_size))]
        groups.append(np.concatenate(batches, axis=1)[:n_draws])
    return np.concatenate(groups, axis=0)


def frozen_weights(session: tf.Session, model: Any, train_x: Optional[np.ndarray], mean: bool = False) -> FrozenWeights:
    """Returns the weights and moments with which `network_outputs` predicts; the arguments are those."""
    predictions = model.evaluate.predictions
    groups = [tf.nest.map_structure(lambda array, n_draws=n_draws: array[:n_draws],
                                    session.run((predictions.weights, predictions.moments)))
              for n_draws in _set_weights(session, model, train_x, mean)]
    return FrozenWeights(*tf.nest.map_structure(lambda *arrays: np.concatenate(arrays, axis=0), *groups))


def _set_weights(session: tf.Session, model: Any, train_x: Optional[np.ndarray], mean: bool) -> Iterator[int]:
    """Makes each group of weight draws, or the mean weights, those of the outputs; yields how many draws it has."""
    predictions, design = model.evaluate.predictions, model.design
    n_draws = design.particles_at_once
    for group in range(1 if mean else design.n_test_particles // n_draws):
        session.run(predictions.draw_mean if mean else predictions.draw, {predictions.group: group})
        if predictions.normalise is not None:
            assert train_x is not None, "batch normalisation needs rows that trained"
            session.run(predictions.normalise, {predictions.inputs: train_x[:NORM_ROWS]})
        yield 1 if mean else n_draws
