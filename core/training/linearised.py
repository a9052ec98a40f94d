"""Predictions by the linearised network in a session (config's `predictive`): its Gaussian outputs, and draws of it."""
from typing import Any, Optional, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from core.metrics.draws import Draws
from core.metrics.gaussian_outputs import ProbitDraws, drawn_outputs, probit_logits, standard_noise, with_variance
from core.training.noise import Noise
from core.training.outputs import NORM_ROWS, WrapBatches
from misc.seeding import stream

MOST_NUMBERS = 2**26  # in the Jacobians and activations of the rows that are computed at once: 256 MiB of float32


def gaussian_outputs(session: tf.Session, model: Any, x: np.ndarray, train_x: Optional[np.ndarray],
                     wrap: WrapBatches = iter) -> Tuple[np.ndarray, np.ndarray]:
    """Returns mean [n, C] and covariance [n, C, C] of the outputs for inputs [n, ...], in float64.

    Batch normalisations use the moments of the first NORM_ROWS of the training rows `train_x`.
    """
    linearised, size = model.evaluate.linearised, rows_at_once(model.design)
    if linearised.normalise is not None:
        assert train_x is not None, "batch normalisation needs rows that trained"
        session.run(linearised.normalise, {linearised.inputs: train_x[:NORM_ROWS]})
    parts = [session.run((linearised.mean, linearised.covariance), {linearised.inputs: x[start:start + size]})
             for start in wrap(range(0, len(x), size))]
    mean, covariance = (np.concatenate(arrays).astype(np.float64) for arrays in zip(*parts))
    return mean, covariance


def rows_at_once(design: Any) -> int:
    """Returns how many rows are computed at once: config's test_batch_size, or fewer to save memory, at least 1."""
    n_outputs, numbers = design.likelihood.n_outputs, 1
    for layer in design.layers:
        d_a, d_s = layer.shape
        numbers += 2 * n_outputs * layer.spec.n_locations * d_s
        if layer.spec.geometry is not None and layer.noisy:
            numbers += 2 * (layer.spec.n_locations * d_a + n_outputs * d_a * d_s)
    return int(np.clip(MOST_NUMBERS // numbers, 1, design.config.test_batch_size))


def linearised_draws(session: tf.Session, model: Any, x: np.ndarray, train_x: Optional[np.ndarray], noise: Noise,
                     wrap: WrapBatches = iter) -> Draws:
    """Returns the predictive distribution of a regression, standardised.

    That of a single target with a noise level common to all rows needs no draws of weights (`with_variance`). Several
    targets, and a noise that is an output of the network, are predicted by draws of the Gaussian outputs.
    """
    likelihood = model.design.likelihood
    mean, covariance = gaussian_outputs(session, model, x, train_x, wrap)
    if likelihood.n_outputs == 1:
        return with_variance(likelihood.draws(mean[None], noise.precisions, noise.dof), covariance[:, 0, 0])
    outputs = drawn_outputs(mean, covariance, _noise(session, model))
    return likelihood.draws(outputs, noise.precisions, noise.dof)


def linearised_classes(session: tf.Session, model: Any, x: np.ndarray, train_x: Optional[np.ndarray],
                       wrap: WrapBatches = iter) -> ProbitDraws:
    """Returns the predictive distribution of a classification: probabilities by the probit approximation."""
    mean, covariance = gaussian_outputs(session, model, x, train_x, wrap)
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    return ProbitDraws(probit_logits(mean, variance)[None], drawn_outputs(mean, covariance, _noise(session, model)))


def _noise(session: tf.Session, model: Any) -> np.ndarray:
    """Returns the standard normal draws of an evaluation at the present step, [K, C]."""
    design = model.design
    rng = stream(design.config.seed, "linearised", session.run(model.global_step))
    return standard_noise(design.n_test_particles, design.likelihood.n_outputs, rng)
