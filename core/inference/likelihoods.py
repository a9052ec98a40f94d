"""Likelihoods p(y | outputs of the network). Pure functions of a state.

LIKELIHOODS maps a name to a class. To add a likelihood, subclass `Likelihood`, or one of its subclasses, and add a row.
"""
from typing import Any, Dict, FrozenSet, Mapping, Optional, Tuple, Type

import numpy as np
import tensorflow.compat.v1 as tf

from core.inference.heteroscedastic import HeteroscedasticLikelihood
from core.inference.likelihood_base import Level, Likelihood, RegressionLikelihood
from core.inference.noise_model import (
    GammaPrior,
    as_outputs,
    expected_log_prob,
    mean_over_rows,
    precision_of,
    student_log_prob,
    total,
)
from core.inference.noise_precision import NOISE_UPDATES, HeldOut, NoiseBatch, predictive_noise
from core.inference.types import Scalar, State
from core.inference.wishart import WishartLikelihood
from core.metrics.draws import Draws, GammaLevel
from core.metrics.noise_fit import student_information, student_weight
from core.metrics.predictive import Values, noise_name
from misc.config import Config


class GaussianLikelihood(RegressionLikelihood):
    """y ~ N(f, 1 / tau), tau ~ Gamma(alpha_0, beta_0), with posterior q(tau) = Gamma(alpha, beta).

    With m targets, each has a tau of its own, with this prior, and given these, the targets are independent.

    q(tau) is independent of the weights' posterior, so every expectation over it is in closed form. Config's
    `noise_update` says how q(tau) is fitted: on the bound E[log p] - temperature KL(q(tau) || prior), or on rows that
    are held out.

    State: log_noise = (log alpha, log beta), [2] or [2, m], fresh after every step, and what its update keeps
    (core/inference/noise_precision.py).
    """

    reads: FrozenSet[str] = frozenset({"noise_prior_shape", "noise_prior_rate", "noise_update",
                                       "noise_covariance", "learning_rate",
                                       "held_out", "held_out_epochs"})
    covered_by_mean_check = ("average", "mean_square", "predictive_mean_square")
    has_precision = True

    def __init__(self, config: Config, n_outputs: int) -> None:
        super().__init__(config, n_outputs)
        self.prior = GammaPrior(config.noise_prior_shape, config.noise_prior_rate)
        self._update = NOISE_UPDATES[config.noise_update](self.prior, self.dof, config, self.target_shape)
        self.held_out, self.restarted = config.holds_out, self._update.restarted

    @staticmethod
    def noise_name(settings: Mapping[str, Any]) -> str:
        return noise_name(np.inf)

    def about(self, config: Config) -> str:
        whose = "precision of each target" if self.target_shape else "precision"
        return (f"{self.noise_name(config.model_dump())} noise, {whose} ~ Gamma({self.prior.shape:g}, "
                f"{self.prior.rate:g}), estimated by noise_update {config.noise_update}")

    def init(self, dtype: tf.DType) -> State:
        return self._update.init(dtype)

    def precision(self, state: State) -> tf.Tensor:
        """Returns E[tau] = alpha / beta, a scalar or [m]."""
        return precision_of(state["log_noise"])

    def score(self, state: State, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Returns E_tau[d log p / d f] = E[tau] (y - f) per example, [K, n, m]."""
        return self.precision(state) * (as_outputs(targets) - outputs)

    def sampled_score(self, state: State, outputs: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns the score of targets drawn from N(f, 1 / E[tau]): sqrt(E[tau]) times standard normal noise."""
        noise = tf.random.stateless_normal(tf.shape(outputs), seed=seed, dtype=outputs.dtype)
        return tf.sqrt(self.precision(state)) * noise

    def kl(self, state: State) -> tf.Tensor:
        """Returns KL(q(tau) || prior), a scalar in nats."""
        return self.kl_of(state["log_noise"])

    def update(self, state: State, outputs: tf.Tensor, targets: tf.Tensor, temperature: Scalar, kl_weight: Scalar,
               step: tf.Tensor, held_out: Optional[HeldOut] = None) -> Tuple[State, tf.Tensor]:
        """Trains q(tau) by one step of config's `noise_update`; see `Likelihood.update`.

        With held-out rows, q(tau) is fitted to their mixture likelihood over the draws; it no longer changes once
        held_out.on is false.
        """
        mean_square, log_prob = self._fit(state, tf.square(as_outputs(targets) - outputs))
        batch = NoiseBatch(outputs, targets, log_prob, mean_square, temperature, kl_weight, step)
        return self._update(state, batch, held_out), log_prob

    def report(self, state: State) -> Dict[str, tf.Tensor]:
        """Returns KL and precisions; with several targets, those of each and one over the mean of their inverses."""
        values = {"kl/noise_precision": self.kl(state)}
        values.update(_precisions("train/noise_precision", self.precision(state)))
        if predictive_noise(state) is not state["log_noise"]:
            values.update(_precisions("train/predictive_noise_precision", precision_of(predictive_noise(state))))
        return values

    def level(self, state: Mapping[str, np.ndarray]) -> Level:
        """Returns q(tau), or the level that is fitted for predictions."""
        shape, rate = np.exp(predictive_noise(state))
        return GammaLevel(shape, rate, self.dof, {})

    def mean_precision(self, state: Mapping[str, np.ndarray]) -> Values:
        log_shape, log_rate = state["log_noise"]
        return np.float64(np.exp(log_shape - log_rate))

    def draws(self, outputs: np.ndarray, precisions: np.ndarray, dof: Values) -> Draws:
        return Draws(outputs if self.target_shape else outputs[..., 0], precisions, dof)

    def kl_of(self, log_noise: tf.Tensor) -> tf.Tensor:
        """Returns KL(q(tau) || prior) for log_noise = (log alpha, log beta)."""
        return self.prior.kl(log_noise)

    def _fit(self, state: State, squares: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        """Returns (mean of (y - f)^2, a scalar or [m]; E[log p], a scalar) from the squares (y - f)^2, [K, n, m]."""
        mean_square = mean_over_rows(squares)
        return mean_square, total(expected_log_prob(state["log_noise"], mean_square))


def _precisions(tag: str, precision: tf.Tensor) -> Dict[str, tf.Tensor]:
    """Returns {tag: scalar} of a precision; with several targets also those of each of them."""
    if not precision.shape.ndims:
        return {tag: precision}
    each = {f"{tag}_{number}": value for number, value in enumerate(tf.unstack(precision), 1)}
    return dict({tag: 1.0 / tf.reduce_mean(1.0 / precision)}, **each)


class StudentTLikelihood(GaussianLikelihood):
    """y ~ f + tau^(-1/2) t_nu: Gaussian noise of precision tau u_i, with u_i ~ Gamma(nu / 2, nu / 2) for every row.

    With several targets, each has such noise of its own: a tau, and a u_i for every row.

    Given q(tau), the optimal q(u_i) of every row and particle is known, so everything is in closed form again. Here
    E[log p] stands for the lower bound of E_tau[log p] with this q(u), `noise_model.student_log_prob`.

    A row is weighted by E[u] = (nu + 1) / (nu + E[tau] (y - f)^2) in both the step of the mean and the noise level, so
    that a row with a large residual has less influence.

    NOTE: a noise level far below the first residuals slows training down, because then E[u] is small in every row.
    Therefore noise_update adam starts at the prior's level.

    Reference: Lange, Little and Taylor (1989), Robust statistical modeling using the t distribution: Sec. 2 for the
    model, Sec. 3 for the weights and the information (nu + 1) / (nu + 3)
    """

    reads = GaussianLikelihood.reads | {"noise_dof"}

    def __init__(self, config: Config, n_outputs: int) -> None:
        self.dof = config.noise_dof
        super().__init__(config, n_outputs)

    @staticmethod
    def noise_name(settings: Mapping[str, Any]) -> str:
        return noise_name(settings["noise_dof"])

    def score(self, state: State, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Returns d E[log p] / d f = E[tau] E[u] (y - f) per example, [K, n, m]."""
        residual = as_outputs(targets) - outputs
        weight = student_weight(self.precision(state) * tf.square(residual), self.dof)
        return self.precision(state) * weight * residual

    def sampled_score(self, state: State, outputs: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns normal noise, [K, n, m], with the variance of the score, E[tau] (nu + 1) / (nu + 3).

        This variance is the Fisher information of an output.

        Curvature depends on sampled scores only through that variance.
        """
        return student_information(self.dof)**0.5 * super().sampled_score(state, outputs, seed)

    def _fit(self, state: State, squares: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        """Returns (mean of E[u] (y - f)^2, E[log p]) from the squares (y - f)^2, as for Gaussian noise."""
        weighted = student_weight(self.precision(state) * squares, self.dof) * squares
        log_prob = student_log_prob(state["log_noise"], squares, self.dof)
        return mean_over_rows(weighted), total(mean_over_rows(log_prob))


class Categorical(Likelihood):
    """y ~ softmax(outputs), with `n_outputs` classes. It has no parameters of its own."""

    def target_type(self, dtype: tf.DType) -> tf.DType:
        return tf.int32

    def score(self, state: State, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Returns d log p / d outputs = [c = y] - p_c per example, [K, n, C]; targets are int32 labels."""
        return tf.one_hot(targets, self.n_outputs, dtype=outputs.dtype) - tf.nn.softmax(outputs)

    def sampled_score(self, state: State, outputs: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns the score of labels drawn from softmax(outputs) by the Gumbel-max trick, per particle and example."""
        tiny = np.finfo(outputs.dtype.as_numpy_dtype).tiny
        uniform = tf.random.stateless_uniform(tf.shape(outputs), seed=seed, minval=tiny, dtype=outputs.dtype)
        labels = tf.argmax(outputs - tf.log(-tf.log(uniform)), axis=-1, output_type=tf.int32)
        return self.score(state, outputs, labels)

    def update(self, state: State, outputs: tf.Tensor, targets: tf.Tensor, temperature: Scalar, kl_weight: Scalar,
               step: tf.Tensor, held_out: Optional[HeldOut] = None) -> Tuple[State, tf.Tensor]:
        """Returns the state as it is, and log p per example, mean over particles and examples."""
        log_prob = tf.reduce_sum(tf.one_hot(targets, self.n_outputs, dtype=outputs.dtype)
                                 * tf.nn.log_softmax(outputs), axis=-1)
        return state, tf.reduce_mean(log_prob)


LIKELIHOODS: Dict[str, Type[Likelihood]] = {
    "gaussian": GaussianLikelihood, "gaussian_full": WishartLikelihood, "student_t": StudentTLikelihood,
    "heteroscedastic": HeteroscedasticLikelihood, "categorical": Categorical}

NOISE_KEYS: FrozenSet[str] = frozenset().union(*(kind.reads for kind in LIKELIHOODS.values()))
"""Config keys of the noise that some likelihoods read and others do not."""
