"""The noise precision of a regression: q(tau) = Gamma(alpha, beta), its closed forms, and how it is trained.

NOISE_UPDATES: config's `noise_update` -> class. `init` gives the state at step 0, and a call the state after a step.
Pure. `log_noise` = (log alpha, log beta) is the precision that the weights train under. A rule may keep
`predictive_log_noise`, which replaces it in predictions (`predictive_noise`).
"""
from typing import Any, Dict, NamedTuple, Optional

import numpy as np
import tensorflow.compat.v1 as tf

from core.inference.adam import adam_step, ema
from core.inference.types import Scalar, State
from core.metrics.predictive import student_constant
from misc.config import Config


class HeldOut(NamedTuple):
    """A minibatch of rows that the weights do not train on."""

    outputs: tf.Tensor  # [K, b, 1]
    targets: tf.Tensor  # [b]
    n_rows: int      # number of all held-out rows
    on: tf.Tensor       # boolean scalar; false once these rows train, too


class Observed(NamedTuple):
    """What a step knows of its minibatch."""

    outputs: tf.Tensor       # [K, n, 1], standardised
    targets: tf.Tensor       # [n], standardised
    log_prob: tf.Tensor      # E[log p], a scalar
    mean_square: tf.Tensor   # mean of (y - f)^2 (Student's t: of E[u] (y - f)^2), a scalar
    temperature: Scalar   # lambda / N, times the KL scale
    kl_weight: Scalar     # lambda, times the KL scale
    step: tf.Tensor          # number of the step, from 1, as a float


LARGEST_LEVERAGE = 0.8  # the true leverage is below 1; an estimate from approximate posterior draws may exceed it


class AdamNoise:
    """One Adam step of (log alpha, log beta) with step size `learning_rate`, starting at the prior, as published."""

    def __init__(self, likelihood: Any, config: Config) -> None:
        self._kl, self._learning_rate = likelihood.kl_of, config.learning_rate
        self._start = np.log([likelihood.shape, likelihood.rate])

    def init(self, dtype: tf.DType) -> State:
        return {"log_noise": tf.constant(self._start, dtype), "average": tf.zeros([2], dtype),
                "square": tf.zeros([2], dtype)}

    def __call__(self, state: State, observed: Observed, held_out: Optional[HeldOut] = None) -> State:
        log_noise = state["log_noise"]
        grad = tf.gradients(observed.log_prob - observed.temperature * self._kl(log_noise), log_noise)[0]
        direction, average, square = adam_step(grad, state["average"], state["square"], observed.step)
        return {"log_noise": log_noise + self._learning_rate * direction, "average": average, "square": square}


class ConjugateNoise:
    """The optimum itself, Gamma(alpha_0 + 1 / (2 temperature), beta_0 + m / (2 temperature)).

    m is a moving average of E[(y - f)^2] (Student's t: of E[u] (y - f)^2, and the optimum is that given q(u)). It
    weighs a step by `learning_rate` and begins as a plain average, so the noise level starts at that of the untrained
    network and falls no faster than the residuals do. Before the first step it is that of one row with the squared
    error 1, since under a weak prior the prior's mean would be meaningless.
    """

    def __init__(self, likelihood: Any, config: Config) -> None:
        self._shape, self._rate, self._learning_rate = likelihood.shape, likelihood.rate, config.learning_rate
        self._dof = likelihood.dof

    def init(self, dtype: tf.DType) -> State:
        return {"log_noise": self._posterior(tf.ones([], dtype), 0.5), "mean_square": tf.ones([], dtype)}

    def __call__(self, state: State, observed: Observed, held_out: Optional[HeldOut] = None) -> State:
        return self._after(state["mean_square"], observed.mean_square, observed)

    def _after(self, average: tf.Tensor, square: tf.Tensor, observed: Observed) -> State:
        average = ema(average, square, tf.maximum(1.0 / observed.step, self._learning_rate))
        return {"log_noise": self._posterior(average, 0.5 / observed.temperature), "mean_square": average}

    def _posterior(self, average: tf.Tensor, half_count: Scalar) -> tf.Tensor:
        """Returns (log alpha, log beta) after 2 half_count rows with that mean square."""
        shape = tf.convert_to_tensor(self._shape + half_count, average.dtype)
        return tf.log(tf.stack([shape, self._rate + half_count * average]))


class HeldOutNoise(ConjugateNoise):
    """The same for m held-out rows: Gamma(alpha_0 + m / 2, beta_0 + m v / 2).

    v is an average of `mixture_squared_error` that weighs step n by 16 / (n + 15), as polynomial-decay averaging does
    (Shamir and Zhang 2013): the last sixth of the steps, whatever their number, makes up 95 % of it. With the default
    periods these are the steps after the step sizes have decayed.
    """

    def __call__(self, state: State, observed: Observed, held_out: Optional[HeldOut] = None) -> State:
        rows: Any = held_out
        error = mixture_squared_error(rows.outputs, rows.targets, precision_of(state["log_noise"]), self._dof)
        average = ema(state["mean_square"], error, 16.0 / (observed.step + 15.0))
        new = {"log_noise": self._posterior(average, 0.5 * rows.n_rows), "mean_square": average}
        return {name: tf.where(rows.on, value, state[name]) for name, value in new.items()}


class LeaveOneOutNoise(ConjugateNoise):
    """As conjugate while the weights train; in predictions, the noise level of rows that the draws have not seen.

    The weights fit the rows they are trained on, so a noise level estimated from these rows is too low for others.
    Here every row is predicted by `left_out_outputs`, in which the influence of its own target has been removed. The
    level of predictions is Gamma(alpha_0 + 1 / (2 temperature), beta_0 + v / (2 temperature)), where v is the moving
    average, as in ConjugateNoise, of their `mixture_squared_error`. It has no effect on the weights. With a single
    draw, or a point estimate, nothing is known of the leverage, and both levels are the same.
    """

    def init(self, dtype: tf.DType) -> State:
        return both_levels(super().init(dtype), super().init(dtype))

    def __call__(self, state: State, observed: Observed, held_out: Optional[HeldOut] = None) -> State:
        fitted = precision_of(state["log_noise"])
        outputs = left_out_outputs(observed.outputs, observed.targets, fitted, observed.kl_weight, self._dof)
        predictive = precision_of(state["predictive_log_noise"])
        error = mixture_squared_error(outputs, observed.targets, predictive, self._dof)
        return both_levels(super().__call__(state, observed),
                           self._after(state["predictive_mean_square"], error, observed))


def both_levels(trained: State, predictive: State) -> State:
    """Merges two states: the entries of the one for predictions are prefixed by `predictive_`."""
    return dict(trained, **{f"predictive_{name}": value for name, value in predictive.items()})


NOISE_UPDATES: Dict[str, Any] = {
    "adam": AdamNoise, "conjugate": ConjugateNoise, "held_out": HeldOutNoise, "leave_one_out": LeaveOneOutNoise}


def predictive_noise(state: State) -> Any:
    """Returns the (log alpha, log beta) of predictions."""
    return state.get("predictive_log_noise", state["log_noise"])


def precision_of(log_noise: tf.Tensor) -> tf.Tensor:
    """Returns E[tau] = alpha / beta."""
    return tf.exp(log_noise[0] - log_noise[1])


def left_out_outputs(outputs: tf.Tensor, targets: tf.Tensor, precision: tf.Tensor, kl_weight: Scalar = 1.0,
                     dof: float = np.inf) -> tf.Tensor:
    """Approximates, to first order, the leave-one-out predictions: each row as if its own target had not been used.

    At a row the draws are N(m, lambda v). Let g be the score of its target there and F the Fisher information. Without
    the target the draws would be N(m - v g / (1 - h), lambda v / (1 - h)), where h = v F is the row's leverage. So the
    draws are shifted and stretched. As in generalised cross-validation, one h stands for all rows: its mean over the
    minibatch (with few draws, that of a single row is too noisy), and at most LARGEST_LEVERAGE. The result is exact
    for a linear model with Gaussian noise, its exact posterior, and equal leverages. Where the posterior covariance
    has no correlations (diag, bbb), or while kl_warmup lasts, v F only approximates the leverage.

    Args:
      outputs, targets: [K, n, 1] and [n], standardised.
      precision: E[tau] that the weights train under.
      kl_weight: lambda times the KL scale: the factor by which the draws' variance exceeds v.
      dof: degrees of freedom of the noise; infinite: Gaussian.

    Returns:
      [K, n, 1]; `outputs` themselves if K = 1.

    Reference: Golub, Heath and Wahba (1979), Generalized cross-validation as a method for choosing a good ridge
    parameter, Sec. 1
    """
    n_draws = int(outputs.shape[0])
    mean = tf.reduce_mean(outputs, axis=0, keepdims=True)
    spread, newton = outputs - mean, targets[None, :, None] - mean  # newton is g / F, of Gaussian noise
    variance = tf.reduce_sum(tf.square(spread)) / (max(n_draws - 1, 1) * kl_weight)
    fisher = precision / tf.cast(tf.size(targets), outputs.dtype)
    if np.isfinite(dof):
        newton *= student_weight(precision * tf.square(newton), dof) * ((dof + 3.0) / (dof + 1.0))
        fisher *= (dof + 1.0) / (dof + 3.0)
    leverage = tf.minimum(fisher * variance, LARGEST_LEVERAGE)
    return mean - leverage / (1.0 - leverage) * newton + spread / tf.sqrt(1.0 - leverage)


def mixture_squared_error(outputs: tf.Tensor, targets: tf.Tensor, precision: tf.Tensor,
                          dof: float = np.inf) -> tf.Tensor:
    """Returns mean_i sum_k w_ik (y_i - f_ik)^2, w_ik proportional to N(y_i; f_ik, 1 / precision), sum_k w_ik = 1.

    This is the noise variance after an EM step for the mixture over draws, prod_i mean_k N(y_i; f_ik, 1 / precision):
    what the spread of the draws already explains is not counted again. With a finite `dof`, Student's t replaces N and
    the squares are weighted by E[u_ik]. [K, n, 1], [n] -> a scalar.
    """
    squares = tf.square(targets[None, :, None] - outputs)
    scaled, weighted = precision * squares, squares
    log_density = -0.5 * scaled
    if np.isfinite(dof):
        log_density, weighted = student_kernel(scaled, dof), student_weight(scaled, dof) * squares
    return tf.reduce_mean(tf.reduce_sum(tf.nn.softmax(log_density, axis=0) * weighted, axis=0))


def student_weight(scaled: tf.Tensor, dof: float) -> tf.Tensor:
    """Returns E[u | y], where u scales a row's precision, for the scaled squares tau (y - f)^2; elementwise."""
    return (dof + 1.0) / (dof + scaled)


def student_kernel(scaled: tf.Tensor, dof: float) -> tf.Tensor:
    """Returns log t_nu up to a term that does not depend on the scaled squares; elementwise."""
    return -0.5 * (dof + 1.0) * tf.log1p(scaled / dof)


def student_log_prob(log_noise: tf.Tensor, squares: tf.Tensor, dof: float) -> tf.Tensor:
    """Returns max over q(u) of E_tau,u[log N(y; f, 1 / (tau u))] - KL(q(u) || p(u)); elementwise.

    tau ~ Gamma(alpha, beta). It equals log t_nu(y - f) at the precision alpha / beta, with E[log tau] in place of the
    logarithm of that precision.
    """
    log_alpha, log_beta = log_noise[0], log_noise[1]
    mean_log_tau = tf.digamma(tf.exp(log_alpha)) - log_beta
    return student_constant(dof) + 0.5 * mean_log_tau + student_kernel(precision_of(log_noise) * squares, dof)


def expected_log_prob(log_noise: tf.Tensor, mean_square: tf.Tensor) -> tf.Tensor:
    """Returns E_tau[log N(y; f, 1 / tau)] for tau ~ Gamma(alpha, beta), given the mean of (y - f)^2; a scalar.

    = 1/2 [ psi(alpha) - log beta - log 2 pi - (alpha / beta) mean (y - f)^2 ]
    """
    log_alpha, log_beta = log_noise[0], log_noise[1]
    mean_log_tau = tf.digamma(tf.exp(log_alpha)) - log_beta
    return 0.5 * (mean_log_tau - np.log(2.0 * np.pi) - precision_of(log_noise) * mean_square)


def kl_gamma(alpha: tf.Tensor, beta: tf.Tensor, alpha_0: float, beta_0: float) -> tf.Tensor:
    """Returns KL(Gamma(alpha, beta) || Gamma(alpha_0, beta_0)), parameterised by shape and rate.

    = (alpha - alpha_0) psi(alpha) - log G(alpha) + log G(alpha_0)
      + alpha_0 (log beta - log beta_0) + alpha (beta_0 - beta) / beta
    """
    prior_shape, prior_rate = tf.constant(alpha_0, alpha.dtype), tf.constant(beta_0, alpha.dtype)
    return (
        (alpha - prior_shape) * tf.digamma(alpha) - tf.lgamma(alpha) + tf.lgamma(prior_shape)
        + prior_shape * (tf.log(beta) - tf.log(prior_rate)) + alpha * (prior_rate - beta) / beta
    )
