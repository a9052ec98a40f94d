"""A regression whose noise differs between the rows: its log variance is an output of the network."""
from typing import Any, Dict, FrozenSet, Mapping, Optional, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from core.inference.adam import ema
from core.inference.likelihood_base import RegressionLikelihood
from core.inference.noise_model import as_outputs
from core.inference.noise_precision import HeldOut
from core.inference.types import Scalar, State
from core.metrics.draws import Draws
from core.metrics.predictive import Values
from misc.config import Config

BOUND = 14.0  # of |log variance|: standard deviations between 0.0009 and 1100, for standardised targets
WATCHED_SHARE = 0.01  # of a minibatch in the moving average that is reported


class HeteroscedasticLikelihood(RegressionLikelihood):
    """y ~ N(f, exp(s)), with two outputs per target: the mean f and r, of which s = BOUND tanh(r / BOUND) is made.

    With m targets, the outputs are f_1 to f_m and then r_1 to r_m; given these, the targets are independent.

    Near 0, s is r; far from it, s is bounded, so that neither exp(s) nor exp(-s) overflows, whatever the weights are.
    The last layer's weights of r begin at 0: the variance of every row is 1 at first, that of standardised targets.

    log p = -1/2 [log 2 pi + s + (y - f)^2 exp(-s)]. The Fisher information is diagonal: exp(-s) for f, 1/2 for s, and
    so 1/2 (ds / dr)^2 for r. There is no noise precision beside it: E[log p] is log p.

    State: variance, a moving average of exp(s) over rows, draws and targets, for the report alone.

    Reference: Nix and Weigend (1994), Estimating the mean and variance of the target probability distribution
    """

    reads: FrozenSet[str] = frozenset()
    log_variance_bound: Optional[float] = BOUND

    def __init__(self, config: Config, n_outputs: int) -> None:
        super().__init__(config, n_outputs)
        self.n_outputs = 2 * n_outputs

    @staticmethod
    def noise_name(settings: Mapping[str, Any]) -> str:
        return "Gaussian of a variance that is an output of the network"

    def about(self, config: Config) -> str:
        return "noise " + self.noise_name({})

    def init(self, dtype: tf.DType) -> State:
        return {"variance": tf.ones([], dtype)}

    def initial_weights(self, weights: tf.Tensor) -> tf.Tensor:
        """Returns the weights with 0 in the columns of r."""
        mean, raw = tf.split(weights, 2, axis=-1)
        return tf.concat([mean, tf.zeros_like(raw)], axis=-1)

    def score(self, state: State, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Returns the gradient of log p: (y - f) exp(-s) for f, and 1/2 [(y - f)^2 exp(-s) - 1] ds / dr for r."""
        mean, log_variance, slope = _parameters(outputs)
        residual, precision = as_outputs(targets) - mean, tf.exp(-log_variance)
        return tf.concat([precision * residual, 0.5 * (precision * tf.square(residual) - 1.0) * slope], axis=-1)

    def sampled_score(self, state: State, outputs: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns normal noise with the covariance of the score, diag(exp(-s), 1/2 (ds / dr)^2).

        Curvature depends on sampled scores only through that covariance. The score for r of a sampled target has
        heavier tails, and would make it noisier.
        """
        _, log_variance, slope = _parameters(outputs)
        noise = tf.random.stateless_normal(tf.shape(outputs), seed=seed, dtype=outputs.dtype)
        return noise * tf.concat([tf.exp(-0.5 * log_variance), 0.5**0.5 * slope], axis=-1)

    def update(self, state: State, outputs: tf.Tensor, targets: tf.Tensor, temperature: Scalar, kl_weight: Scalar,
               step: tf.Tensor, held_out: Optional[HeldOut] = None) -> Tuple[State, tf.Tensor]:
        """Returns the state with the average brought up to date, and log p per example, as `Likelihood.update` does."""
        mean, log_variance, _ = _parameters(outputs)
        square = tf.square(as_outputs(targets) - mean) * tf.exp(-log_variance)
        log_prob = -0.5 * (np.log(2.0 * np.pi) + log_variance + square)
        variance = ema(state["variance"], tf.reduce_mean(tf.exp(log_variance)), tf.maximum(1.0 / step, WATCHED_SHARE))
        return {"variance": variance}, tf.reduce_mean(tf.reduce_sum(log_prob, axis=-1))

    def report(self, state: State) -> Dict[str, tf.Tensor]:
        """Returns one over the mean variance."""
        return {"train/noise_precision": 1.0 / state["variance"]}

    def draws(self, outputs: np.ndarray, precisions: np.ndarray, dof: Values) -> Draws:
        """Returns the Draws, with a precision per row: that which the network puts out, times a common factor.

        precisions: the factors, [K] or [K, m].
        """
        mean, raw = np.split(outputs, 2, axis=-1)
        own = np.exp(-BOUND * np.tanh(raw.astype(np.float64) / BOUND))
        scaled = precisions.reshape(len(precisions), 1, -1) * own
        return Draws(mean, scaled, dof) if self.target_shape else Draws(mean[..., 0], scaled[..., 0], dof)


def _parameters(outputs: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns (f, s, ds / dr) of the outputs (f, r), each [K, n, m]."""
    mean, raw = tf.split(outputs, 2, axis=-1)
    saturation = tf.tanh(raw / BOUND)
    return mean, BOUND * saturation, 1.0 - tf.square(saturation)
