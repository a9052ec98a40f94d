"""The posterior q(W) of one layer, as arrays in the network's own coordinates."""
from typing import Any, Dict, NamedTuple, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from core.assessment.restore import Restored
from core.assessment.weight_noise import PRECISIONS, precision
from core.inference.posteriors import EigenMatrixNormal, PointMass
from core.training.evaluation import rows_of
from core.training.outputs import frozen_weights
from misc import backend
from misc.errors import UserError

MOST_WEIGHTS = 5000  # of a layer whose covariance is written out: 200 MB


class LayerPosterior(NamedTuple):
    """A Gaussian over the weights [d_in + 1, d_out] of a layer; the last row are the biases."""

    layer: str
    mean: np.ndarray                # [d_in + 1, d_out]
    kind: str                       # MatrixNormal, EigenMatrixNormal, FullyFactorized, or PointMass: no weight noise
    factors: Dict[str, np.ndarray]  # what the covariance is made of, by the names of core/inference/posteriors.py
    record: Any                     # that record, of arrays; the mean of an EigenMatrixNormal is in its eigenbasis

    def to_dense(self) -> Tuple[np.ndarray, np.ndarray]:
        """Returns (mean [d], covariance [d, d]) of the weights, row by row, in float64.

        Raises UserError for a layer of more than MOST_WEIGHTS weights.
        """
        if self.mean.size > MOST_WEIGHTS:
            raise UserError(f"layer {self.layer} has {self.mean.size} weights: its covariance is written out up to "
                            f"{MOST_WEIGHTS}")
        dim = self.mean.size
        covariance = np.linalg.inv(precision(self.record)) if type(self.record) in PRECISIONS else np.zeros((dim, dim))
        return self.mean.ravel().astype(np.float64), covariance


def posterior_of(run: Restored, layer: str) -> LayerPosterior:
    """Returns the LayerPosterior of a layer of a run; scale and shift of a batch normalisation are a point mass."""
    posteriors = run.model.evaluate.posteriors
    if layer in posteriors:
        return layer_posterior(layer, run.session.run(posteriors[layer]))
    means = frozen_weights(run.session, run.model, rows_of(run.data), mean=True).weights
    number = [method.spec.name for method in run.design.layers].index(layer)
    return layer_posterior(layer, PointMass(means[number][0]))


def layer_posterior(layer: str, record: Any) -> LayerPosterior:
    """Returns the LayerPosterior of a record of core/inference/posteriors.py, of arrays."""
    mean = record.q_a @ record.mean @ record.q_s.T if isinstance(record, EigenMatrixNormal) else record.mean
    factors = {name: np.asarray(value) for name, value in record._asdict().items() if name != "mean"}
    return LayerPosterior(layer, mean, type(record).__name__, factors, record)


def log_prob(posterior: LayerPosterior, weights: np.ndarray, n_draws: int) -> np.ndarray:
    """Returns log q(W), [K] in nats and in float64, of weights [K, d_in + 1, d_out].

    Raises UserError for a posterior without weight noise, and for weights of another shape than K = n_draws such.
    """
    record, wanted = posterior.record, (n_draws, *posterior.mean.shape)
    if not hasattr(record, "log_prob"):
        raise UserError(f"the weights of {posterior.layer} have no density: they have no weight noise")
    if np.shape(weights) != wanted:
        raise UserError(f"weights of {posterior.layer} have the shape {np.shape(weights)}, but must have {wanted}")
    with tf.Graph().as_default() as graph, backend.session(graph, threads=1) as session:
        exact = type(record)(*(tf.constant(np.asarray(value, np.float64)) for value in record))
        return session.run(exact.log_prob(tf.constant(np.asarray(weights, np.float64))))
