"""Outputs of a model's network in a session, for any inputs."""
from typing import Any, Callable, Iterable, Optional

import numpy as np
import tensorflow.compat.v1 as tf

NORM_ROWS = 1000  # training rows whose moments batch normalisations use in predictions

WrapBatches = Callable[[Iterable], Iterable]  # wraps the batches of one group of draws, for a progress bar


def network_outputs(session: tf.Session, model: Any, x: np.ndarray, train_x: Optional[np.ndarray], mean: bool = False,
                    wrap: WrapBatches = iter) -> np.ndarray:
    """Returns the outputs [K, n, n_outputs] for all weight draws, or [1, n, n_outputs] for the mean weights.

    Draws are functions of (seed, step): the same for all rows, however these are batched. Batch normalisations use each
    draw's moments for the first NORM_ROWS of the training rows `train_x`, which are in random order.
    """
    predictions, design = model.evaluate.predictions, model.design
    n_draws, batch_size = design.particles_at_once, design.config.test_batch_size
    n_groups = 1 if mean else design.n_test_particles // n_draws
    groups = []
    for group in range(n_groups):
        session.run(predictions.draw_mean if mean else predictions.draw, {predictions.group: group})
        if predictions.normalise is not None:
            assert train_x is not None, "batch normalisation needs rows that trained"
            session.run(predictions.normalise, {predictions.inputs: train_x[:NORM_ROWS]})
        batches = [session.run(predictions.outputs, {predictions.inputs: x[start:start + batch_size]})
                   for start in wrap(range(0, len(x), batch_size))]
        groups.append(np.concatenate(batches, axis=1)[:1 if mean else n_draws])
    return np.concatenate(groups, axis=0)
