"""Likelihoods p(y | outputs of the network). Pure functions of a state.

LIKELIHOODS maps a name to a class. To add a likelihood, subclass `Likelihood` and add a row.
"""
from typing import Dict, Optional, Tuple, Type

import numpy as np
import tensorflow.compat.v1 as tf

from core.inference.noise_model import (
    GammaPrior,
    expected_log_prob,
    precision_of,
    student_log_prob,
)
from core.inference.noise_precision import NOISE_UPDATES, HeldOut, NoiseBatch, predictive_noise
from core.inference.types import Scalar, State
from core.metrics.predictive import student_information, student_weight
from misc.config import Config


class Likelihood:
    """Base class of the likelihoods. Its own parameters, if any, have a posterior of their own in a `State`.

    Shapes: outputs [K, n, n_outputs] for K particles and n examples; targets [n].

    Class attributes:
      covered_by_mean_check: entries of the state that need no check of their own for non-finite values, because such
        a value also makes a checked entry non-finite.
      held_out: whether `update` uses rows on which the weights do not train.
      restarted: entries of the state that a warm start begins anew, see `Family.restarted`.
    """

    covered_by_mean_check: Tuple[str, ...] = ()
    held_out: bool = False
    restarted: Tuple[str, ...] = ()

    def __init__(self, config: Config, n_outputs: int) -> None:
        self.n_outputs = n_outputs

    def target_type(self, dtype: tf.DType) -> tf.DType:
        """Returns the type of the targets in a graph of floating-point type `dtype`."""
        return dtype

    def init(self, dtype: tf.DType) -> State:
        """Returns the state at step 0."""
        return {}

    def score(self, state: State, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Returns the gradient of E[log p(y | outputs)] with respect to outputs per example, [K, n, n_outputs].

        The expectation is over the posterior of the likelihood's own parameters, such as a noise precision.
        """
        raise NotImplementedError

    def sampled_score(self, state: State, outputs: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns the `score` of targets that are drawn from the model at these outputs.

        The true Fisher is the mean of the outer products of these scores.

        Args:
          seed: int32 pair (stream, step), see misc/seeding.py.
        """
        raise NotImplementedError

    def kl(self, state: State) -> Scalar:
        """Returns the KL divergence of the likelihood's own parameters from their prior, a scalar in nats."""
        return 0.0

    def update(self, state: State, outputs: tf.Tensor, targets: tf.Tensor, temperature: Scalar, kl_weight: Scalar,
               step: tf.Tensor, held_out: Optional[HeldOut] = None) -> Tuple[State, tf.Tensor]:
        """Trains the likelihood's own parameters by one step.

        Args:
          temperature: lambda / N times the current KL scale.
          kl_weight: lambda times the current KL scale.
          step: number of the step, from 1, a float.
          held_out: rows on which the weights do not train, if `self.held_out`.

        Returns:
          (new state, E[log p] per example of `targets` under the old state, mean over particles and examples).
        """
        raise NotImplementedError

    def report(self, state: State) -> Dict[str, tf.Tensor]:
        """Returns {tag: scalar} to watch during training."""
        return {}


class GaussianLikelihood(Likelihood):
    """y ~ N(f, 1 / tau), tau ~ Gamma(alpha_0, beta_0), with posterior q(tau) = Gamma(alpha, beta).

    q(tau) is independent of the weights' posterior, so every expectation over it is in closed form. Config's
    `noise_update` says how q(tau) is fitted: on the bound E[log p] - temperature KL(q(tau) || prior), or on rows that
    are held out.

    State: log_noise = (log alpha, log beta), fresh after every step, and what its update keeps
    (core/inference/noise_precision.py).
    """

    covered_by_mean_check = ("average", "mean_square", "predictive_mean_square")
    dof = np.inf

    def __init__(self, config: Config, n_outputs: int) -> None:
        super().__init__(config, n_outputs)
        self._prior = GammaPrior(config.noise_prior_shape, config.noise_prior_rate)
        self._update = NOISE_UPDATES[config.noise_update](self._prior, self.dof, config)
        self.held_out, self.restarted = config.holds_out, self._update.restarted

    def init(self, dtype: tf.DType) -> State:
        return self._update.init(dtype)

    def precision(self, state: State) -> tf.Tensor:
        """Returns E[tau] = alpha / beta."""
        return precision_of(state["log_noise"])

    def score(self, state: State, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Returns E_tau[d log p / d f] = E[tau] (y - f) per example, [K, n, 1]."""
        return self.precision(state) * (targets[None, :, None] - outputs)

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
        mean_square, log_prob = self._fit(state, tf.square(targets[None, :, None] - outputs))
        batch = NoiseBatch(outputs, targets, log_prob, mean_square, temperature, kl_weight, step)
        return self._update(state, batch, held_out), log_prob

    def report(self, state: State) -> Dict[str, tf.Tensor]:
        values = {"kl/noise_precision": self.kl(state), "train/noise_precision": self.precision(state)}
        if predictive_noise(state) is not state["log_noise"]:
            values["train/predictive_noise_precision"] = precision_of(predictive_noise(state))
        return values

    def kl_of(self, log_noise: tf.Tensor) -> tf.Tensor:
        """Returns KL(q(tau) || prior) for log_noise = (log alpha, log beta)."""
        return self._prior.kl(log_noise)

    def _fit(self, state: State, squares: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        """Returns (mean of (y - f)^2, E[log p]), scalars, from the squares (y - f)^2 [K, n, 1]."""
        mean_square = tf.reduce_mean(squares)
        return mean_square, expected_log_prob(state["log_noise"], mean_square)


class StudentTLikelihood(GaussianLikelihood):
    """y ~ f + tau^(-1/2) t_nu: Gaussian noise of precision tau u_i, with u_i ~ Gamma(nu / 2, nu / 2) for every row.

    Given q(tau), the optimal q(u_i) of every row and particle is known, so everything is in closed form again. Here
    E[log p] stands for the lower bound of E_tau[log p] with this q(u), `noise_model.student_log_prob`.

    A row is weighted by E[u] = (nu + 1) / (nu + E[tau] (y - f)^2) in both the step of the mean and the noise level, so
    that a row with a large residual has less influence.

    NOTE: a noise level far below the first residuals slows training down, because then E[u] is small in every row.
    Therefore noise_update adam starts at the prior's level.

    Reference: Lange, Little and Taylor (1989), Robust statistical modeling using the t distribution: Sec. 2 for the
    model, Sec. 3 for the weights and the information (nu + 1) / (nu + 3)
    """

    def __init__(self, config: Config, n_outputs: int) -> None:
        self.dof = config.noise_dof
        super().__init__(config, n_outputs)

    def score(self, state: State, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Returns d E[log p] / d f = E[tau] E[u] (y - f) per example, [K, n, 1]."""
        residual = targets[None, :, None] - outputs
        weight = student_weight(self.precision(state) * tf.square(residual), self.dof)
        return self.precision(state) * weight * residual

    def sampled_score(self, state: State, outputs: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns normal noise, [K, n, 1], with the variance of the score, E[tau] (nu + 1) / (nu + 3).

        This variance is the Fisher information of an output.

        Curvature depends on sampled scores only through that variance.
        """
        return student_information(self.dof)**0.5 * super().sampled_score(state, outputs, seed)

    def _fit(self, state: State, squares: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        """Returns (mean of E[u] (y - f)^2, E[log p]), scalars, from the squares (y - f)^2 [K, n, 1]."""
        weighted = student_weight(self.precision(state) * squares, self.dof) * squares
        return tf.reduce_mean(weighted), tf.reduce_mean(student_log_prob(state["log_noise"], squares, self.dof))


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
    "gaussian": GaussianLikelihood, "student_t": StudentTLikelihood, "categorical": Categorical}
