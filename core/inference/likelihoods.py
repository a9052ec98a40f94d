"""p(y | outputs). Pure functions of a state dict. LIKELIHOODS: name -> class.

A likelihood has `n_outputs`, the width of the network's output; `target_type`; `init`, its state at step 0; `score`
and `sampled_score`, d log p / d outputs per example for observed and for sampled targets; `kl` of its own
parameters; `update`, their training step; `report`, numbers to watch; `held_out`, whether `update` uses rows that
the weights do not train on; and `covered_by_mean_check`, entries of its state whose non-finite values propagate
into other entries and need no check of their own.
"""
from typing import Any, Dict, Optional, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from core.inference.noise_precision import (
    NOISE_UPDATES,
    HeldOut,
    Observed,
    expected_log_prob,
    kl_gamma,
    precision_of,
    predictive_noise,
    student_log_prob,
    student_weight,
)
from core.inference.types import Scalar, State
from misc.config import Config


class GaussianLikelihood:
    """y ~ N(f, 1 / tau) with tau ~ Gamma(alpha_0, beta_0) and the posterior q(tau) = Gamma(alpha, beta).

    q(tau) is independent of the weights' posterior, so every expectation over it has a closed form. State:
    `log_noise` = (log alpha, log beta), current after every step, and what its update (NOISE_UPDATES,
    noise_precision.py) keeps.
    """

    covered_by_mean_check: Tuple[str, ...] = ("average", "mean_square", "predictive_mean_square")
    dof = np.inf  # degrees of freedom of the noise

    def __init__(self, config: Config, n_outputs: int) -> None:
        self.n_outputs = n_outputs
        self.shape, self.rate = config.noise_prior_shape, config.noise_prior_rate  # alpha_0, beta_0
        self._update = NOISE_UPDATES[config.noise_update](self, config)
        self.held_out = config.holds_out

    def target_type(self, dtype: tf.DType) -> tf.DType:
        """Returns the type of the targets, given the graph's floating-point type."""
        return dtype

    def init(self, dtype: tf.DType) -> State:
        """Returns the state at step 0."""
        return self._update.init(dtype)

    def precision(self, state: State) -> tf.Tensor:
        """Returns E[tau] = alpha / beta."""
        return precision_of(state["log_noise"])

    def score(self, state: State, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Returns E_tau[d log p / d f] = E[tau] (y - f), [K, n, 1]. outputs: [K, n, 1]; targets: [n]."""
        return self.precision(state) * (targets[None, :, None] - outputs)

    def sampled_score(self, state: State, outputs: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns the score for targets drawn from N(f, 1 / E[tau]): E[tau]^(1/2) times standard normal noise."""
        noise = tf.random.stateless_normal(tf.shape(outputs), seed=seed, dtype=outputs.dtype)
        return tf.sqrt(self.precision(state)) * noise

    def kl(self, state: State) -> tf.Tensor:
        """Returns KL(q(tau) || prior), a scalar."""
        return self.kl_of(state["log_noise"])

    def update(self, state: State, outputs: tf.Tensor, targets: tf.Tensor, temperature: Scalar, kl_weight: Scalar,
               step: tf.Tensor, held_out: Optional[HeldOut] = None) -> Tuple[State, tf.Tensor]:
        """Takes one step of q(tau) towards the maximum of E[log p] - temperature KL.

        Args:
          outputs, targets: [K, n, 1] and [n].
          temperature, kl_weight: lambda / N and lambda, times the KL scale.
          step: number of the step, from 1, as a float.
          held_out: HeldOut, if `self.held_out`: q(tau) then follows their density under the mixture over draws,
            and stays where `on` is false.

        Returns:
          The new state, and E[log p] per example of `targets` before it, averaged over particles and examples.
        """
        mean_square, log_prob = self._fit(state, tf.square(targets[None, :, None] - outputs))
        observed = Observed(outputs, targets, log_prob, mean_square, temperature, kl_weight, step)
        return self._update(state, observed, held_out), log_prob

    def _fit(self, state: State, squares: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        """Returns the scalars (E[(y - f)^2], E[log p]), means over the squares [K, n, 1]."""
        mean_square = tf.reduce_mean(squares)
        return mean_square, expected_log_prob(state["log_noise"], mean_square)

    def report(self, state: State) -> Dict[str, tf.Tensor]:
        """Returns {tag: scalar}."""
        report = {"kl/noise_precision": self.kl(state), "train/noise_precision": self.precision(state)}
        if predictive_noise(state) is not state["log_noise"]:
            report["train/predictive_noise_precision"] = precision_of(predictive_noise(state))
        return report

    def kl_of(self, log_noise: tf.Tensor) -> tf.Tensor:
        """Returns KL(q(tau) || prior) for (log alpha, log beta)."""
        return kl_gamma(tf.exp(log_noise[0]), tf.exp(log_noise[1]), self.shape, self.rate)


class StudentTLikelihood(GaussianLikelihood):
    """y ~ f + tau^(-1/2) t_nu: a Gaussian whose precision in every row is tau u_i, u_i ~ Gamma(nu / 2, nu / 2).

    q(u_i) is the optimum for every row and draw, given q(tau), so everything has a closed form again. What stands for
    E[log p] here, and is reported as such, is the lower bound on E_tau[log p] with this q(u). A row is weighted by
    E[u] = (nu + 1) / (nu + E[tau] (y - f)^2), in the step of the mean and in the noise level alike, so outliers
    count less. A noise level far below the first errors (noise_update adam begins at the prior's) therefore slows
    the mean down: all rows look like outliers then.

    Reference: Lange, Little and Taylor (1989), Robust statistical modeling using the t distribution: Sec. 2 the
    model, Sec. 3 the weights and the information (nu + 1) / (nu + 3)
    """

    def __init__(self, config: Config, n_outputs: int) -> None:
        self.dof = config.noise_dof
        super().__init__(config, n_outputs)

    def score(self, state: State, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Returns d E[log p] / d f = E[tau] E[u] (y - f), [K, n, 1]. outputs: [K, n, 1]; targets: [n]."""
        residual = targets[None, :, None] - outputs
        weight = student_weight(self.precision(state) * tf.square(residual), self.dof)
        return self.precision(state) * weight * residual

    def sampled_score(self, state: State, outputs: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns normal noise with the variance E[tau] (nu + 1) / (nu + 3) of the score of sampled targets.

        Only that variance, the Fisher information of an output, enters a curvature.
        """
        return ((self.dof + 1.0) / (self.dof + 3.0))**0.5 * super().sampled_score(state, outputs, seed)

    def _fit(self, state: State, squares: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        """Returns the scalars (E[E[u] (y - f)^2], E[log p])."""
        weighted = student_weight(self.precision(state) * squares, self.dof) * squares
        return tf.reduce_mean(weighted), tf.reduce_mean(student_log_prob(state["log_noise"], squares, self.dof))


class Categorical:
    """y ~ softmax(outputs) over `n_outputs` classes. It has no parameters of its own."""

    covered_by_mean_check: Tuple[str, ...] = ()
    held_out = False

    def __init__(self, config: Config, n_outputs: int) -> None:
        self.n_outputs = n_outputs

    def target_type(self, dtype: tf.DType) -> tf.DType:
        """Returns the type of the labels."""
        return tf.int32

    def init(self, dtype: tf.DType) -> State:
        """Returns an empty state."""
        return {}

    def score(self, state: State, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Returns d log p / d outputs = [c = y] - p_c, [K, n, C]. outputs: [K, n, C]; targets: [n] ints."""
        return tf.one_hot(targets, self.n_outputs, dtype=outputs.dtype) - tf.nn.softmax(outputs)

    def sampled_score(self, state: State, outputs: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns the score for labels drawn from softmax(outputs), per particle and example (Gumbel-max trick)."""
        tiny = np.finfo(outputs.dtype.as_numpy_dtype).tiny
        uniform = tf.random.stateless_uniform(tf.shape(outputs), seed=seed, minval=tiny, dtype=outputs.dtype)
        labels = tf.argmax(outputs - tf.log(-tf.log(uniform)), axis=-1, output_type=tf.int32)
        return tf.one_hot(labels, self.n_outputs, dtype=outputs.dtype) - tf.nn.softmax(outputs)

    def kl(self, state: State) -> float:
        """Returns 0: there are no parameters."""
        return 0.0

    def report(self, state: State) -> Dict[str, tf.Tensor]:
        """Returns nothing to watch."""
        return {}

    def update(self, state: State, outputs: tf.Tensor, targets: tf.Tensor, temperature: Scalar, kl_weight: Scalar,
               step: tf.Tensor, held_out: Optional[HeldOut] = None) -> Tuple[State, tf.Tensor]:
        """Returns the unchanged state, and log p per example, averaged over particles and examples."""
        log_prob = tf.reduce_sum(tf.one_hot(targets, self.n_outputs, dtype=outputs.dtype)
                                 * tf.nn.log_softmax(outputs), axis=-1)
        return state, tf.reduce_mean(log_prob)


LIKELIHOODS: Dict[str, Any] = {
    "gaussian": GaussianLikelihood, "student_t": StudentTLikelihood, "categorical": Categorical}
