"""The noise precision of a regression: q(tau) = Gamma(alpha, beta), its closed forms, and how it is trained.

NOISE_UPDATES: config's `noise_update` -> class; `init` gives the state at step 0, a call the state after a step.
Pure. `log_noise` = (log alpha, log beta) is what the weights train under; `predictive_log_noise`, if a rule keeps it,
stands for it in predictions (`predictive_noise`).
"""
import collections

import numpy as np
import tensorflow.compat.v1 as tf

from core.inference.adam import adam_step, ema
from core.metrics.predictive import student_constant

HeldOut = collections.namedtuple("HeldOut", ["outputs", "targets", "n_rows", "on"])
"""Some of the `n_rows` rows that the weights do not train on, outputs [K, b, 1] and targets [b]; on: a scalar, false
when they train, too."""

Seen = collections.namedtuple("Seen", ["outputs", "targets", "log_prob", "mean_square", "temperature", "kl_weight",
                                   "step"])
"""What a step knows: outputs [K, n, 1] and targets [n] of the minibatch; E[log p] and the mean of (y - f)^2 (Student's
t: times E[u]), scalars; lambda / N and lambda, both times the KL scale; the number of the step, from 1, as a float."""

MOST_LEVERAGE = 0.8  # the true one is below 1; what draws from an approximate posterior say of it need not be


class AdamNoise:
    """One Adam step of (log alpha, log beta) with step size `learning_rate`, from the prior, as published."""

    def __init__(self, likelihood, config):
        self._kl, self._learning_rate = likelihood.kl_of, config.learning_rate
        self._start = np.log([likelihood.shape, likelihood.rate])

    def init(self, dtype):
        return {"log_noise": tf.constant(self._start, dtype), "average": tf.zeros([2], dtype),
                "square": tf.zeros([2], dtype)}

    def __call__(self, state, seen, held_out=None):
        log_noise = state["log_noise"]
        grad = tf.gradients(seen.log_prob - seen.temperature * self._kl(log_noise), log_noise)[0]
        direction, average, square = adam_step(grad, state["average"], state["square"], seen.step)
        return {"log_noise": log_noise + self._learning_rate * direction, "average": average, "square": square}


class ConjugateNoise:
    """The maximum itself, Gamma(alpha_0 + 1 / (2 t), beta_0 + m / (2 t)); of Student's t, given q(u). t = lambda / N.

    m: moving average of E[(y - f)^2] (Student's t: of E[u] times that), which weighs a step by `learning_rate` and
    begins as a plain average. So the noise level starts at that of the untrained network and comes down no faster
    than the residuals do. (Before the first step it is that of one row with the squared error 1: under a weak prior
    its mean would mean nothing.)
    """

    def __init__(self, likelihood, config):
        self._shape, self._rate, self._learning_rate = likelihood.shape, likelihood.rate, config.learning_rate
        self._dof = likelihood.dof

    def init(self, dtype):
        return {"log_noise": self._posterior(tf.ones([], dtype), 0.5), "mean_square": tf.ones([], dtype)}

    def __call__(self, state, seen, held_out=None):
        return self._after(state["mean_square"], seen.mean_square, seen)

    def _after(self, average, square, seen):
        average = ema(average, square, tf.maximum(1.0 / seen.step, self._learning_rate))
        return {"log_noise": self._posterior(average, 0.5 / seen.temperature), "mean_square": average}

    def _posterior(self, average, half_count):
        """(log alpha, log beta) after 2 half_count rows with that mean square."""
        shape = tf.convert_to_tensor(self._shape + half_count, average.dtype)
        return tf.log(tf.stack([shape, self._rate + half_count * average]))


class HeldOutNoise(ConjugateNoise):
    """The same for m rows that the weights do not train on: Gamma(alpha_0 + m / 2, beta_0 + m v / 2).

    v: average of `mixture_squared_error` that weighs step n by 16 / (n + 15), as polynomial-decay averaging does
    (Shamir and Zhang 2013): 95 % of it are the last sixth of the steps, whatever their number; with the default
    periods, those after the step sizes have decayed.
    """

    def __call__(self, state, seen, held_out):
        error = mixture_squared_error(held_out.outputs, held_out.targets, precision_of(state["log_noise"]), self._dof)
        average = ema(state["mean_square"], error, 16.0 / (seen.step + 15.0))
        new = {"log_noise": self._posterior(average, 0.5 * held_out.n_rows), "mean_square": average}
        return {name: tf.where(held_out.on, value, state[name]) for name, value in new.items()}


class LeaveOneOutNoise(ConjugateNoise):
    """As conjugate for the weights' training; in predictions the level that the rows have for draws without them.

    The weights follow the rows that they are trained on, so a level found from these is too low for others. Every row
    is predicted here by `left_out_outputs`, draws from which its own target has been taken out again, and the level of
    predictions is Gamma(alpha_0 + 1 / (2 t), beta_0 + v / (2 t)), t = lambda / N, v a moving average, as above, of
    their `mixture_squared_error`. The weights do not see it. With one draw (or none: a point estimate) nothing is
    known of the leverage, and both levels are the same.
    """

    def init(self, dtype):
        return both_levels(super().init(dtype), super().init(dtype))

    def __call__(self, state, seen, held_out=None):
        fitted = precision_of(state["log_noise"])
        outputs = left_out_outputs(seen.outputs, seen.targets, fitted, seen.kl_weight, self._dof)
        error = mixture_squared_error(outputs, seen.targets, precision_of(state["predictive_log_noise"]), self._dof)
        return both_levels(super().__call__(state, seen), self._after(state["predictive_mean_square"], error, seen))


def both_levels(trained, predictive):
    """One state of two: that of predictions under names of its own."""
    return dict(trained, **{f"predictive_{name}": value for name, value in predictive.items()})


NOISE_UPDATES = {"adam": AdamNoise, "conjugate": ConjugateNoise, "held_out": HeldOutNoise,
                 "leave_one_out": LeaveOneOutNoise}


def predictive_noise(state):
    """(log alpha, log beta) of predictions."""
    return state.get("predictive_log_noise", state["log_noise"])


def precision_of(log_noise):
    """E[tau] = alpha / beta."""
    return tf.exp(log_noise[0] - log_noise[1])


def left_out_outputs(outputs, targets, precision, kl_weight=1.0, dof=np.inf):
    """Outputs, at every row, of draws that have not seen the row's target, made of draws that have; to first order.

    At a row the draws are N(m, lambda v). Its target has the score g and the Fisher information F there; without it
    they would be N(m - v g / (1 - h), lambda v / (1 - h)), h = v F being the row's leverage. That moves and
    stretches the draws that there are. As in generalised cross-validation one h stands for all rows, its mean over
    the minibatch (of a few draws that of a single row is too noisy), and at most MOST_LEVERAGE. For a linear model
    with Gaussian noise, the exact posterior, and equal leverages it is exact. Where the posterior's covariance has no
    correlations (diag, bbb), or `kl_warmup` lasts, v F is the leverage by approximation only.

    Args:
      outputs, targets: [K, n, 1] and [n], standardised.
      precision: E[tau] that the weights train under.
      kl_weight: lambda as it counts already, by which the draws' variance is not v.
      dof: degrees of freedom of the noise; infinite: Gaussian.

    Returns:
      [K, n, 1]; `outputs` themselves if K = 1.

    Reference: Golub, Heath and Wahba (1979), Generalized cross-validation as a method for choosing a good ridge
    parameter, Sec. 1
    """
    n_draws = int(outputs.shape[0])
    mean = tf.reduce_mean(outputs, axis=0, keepdims=True)
    spread, newton = outputs - mean, targets[None, :, None] - mean  # g / F, of Gaussian noise
    variance = tf.reduce_sum(tf.square(spread)) / (max(n_draws - 1, 1) * kl_weight)
    fisher = precision / tf.cast(tf.size(targets), outputs.dtype)
    if np.isfinite(dof):
        newton *= student_weight(precision * tf.square(newton), dof) * ((dof + 3.0) / (dof + 1.0))
        fisher *= (dof + 1.0) / (dof + 3.0)
    leverage = tf.minimum(fisher * variance, MOST_LEVERAGE)
    return mean - leverage / (1.0 - leverage) * newton + spread / tf.sqrt(1.0 - leverage)


def mixture_squared_error(outputs, targets, precision, dof=np.inf):
    """mean_i sum_k w_ik (y_i - f_ik)^2 with w_ik proportional to N(y_i; f_ik, 1 / precision), sum_k w_ik = 1.

    The noise variance after an EM step for the mixture over draws, prod_i mean_k N(y_i; f_ik, 1 / precision): what
    the draws' spread explains already is not counted again. With a finite `dof`, N is Student's t and the squares count
    as E[u_ik]. [K, n, 1], [n] -> a scalar.
    """
    squares = tf.square(targets[None, :, None] - outputs)
    scaled, counted = precision * squares, squares
    log_density = -0.5 * scaled
    if np.isfinite(dof):
        log_density, counted = student_kernel(scaled, dof), student_weight(scaled, dof) * squares
    return tf.reduce_mean(tf.reduce_sum(tf.nn.softmax(log_density, axis=0) * counted, axis=0))


def student_weight(scaled, dof):
    """E[u | y], u the row's factor of the precision, for the scaled squares tau (y - f)^2; elementwise."""
    return (dof + 1.0) / (dof + scaled)


def student_kernel(scaled, dof):
    """log t_nu up to what does not depend on the scaled squares; elementwise."""
    return -0.5 * (dof + 1.0) * tf.log1p(scaled / dof)


def student_log_prob(log_noise, squares, dof):
    """max over q(u) of E_tau,u[log N(y; f, 1 / (tau u))] - KL(q(u) || p(u)), for tau ~ Gamma(alpha, beta); elementwise.

    = log t_nu(y - f) at the precision alpha / beta, with E[log tau] for the log of it
    """
    log_alpha, log_beta = log_noise[0], log_noise[1]
    mean_log_tau = tf.digamma(tf.exp(log_alpha)) - log_beta
    return student_constant(dof) + 0.5 * mean_log_tau + student_kernel(precision_of(log_noise) * squares, dof)


def expected_log_prob(log_noise, mean_square):
    """E_tau[log N(y; f, 1/tau)] for tau ~ Gamma(alpha, beta), given the mean of (y - f)^2; a scalar.

    = 1/2 [ psi(alpha) - log beta - log 2 pi - (alpha / beta) mean (y - f)^2 ]
    """
    log_alpha, log_beta = log_noise[0], log_noise[1]
    mean_log_tau = tf.digamma(tf.exp(log_alpha)) - log_beta
    return 0.5 * (mean_log_tau - np.log(2.0 * np.pi) - precision_of(log_noise) * mean_square)


def kl_gamma(alpha, beta, alpha_0, beta_0):
    """KL(Gamma(alpha, beta) || Gamma(alpha_0, beta_0)), shape and rate.

    = (alpha - alpha_0) psi(alpha) - log G(alpha) + log G(alpha_0)
      + alpha_0 (log beta - log beta_0) + alpha (beta_0 - beta) / beta
    """
    alpha_0, beta_0 = tf.constant(alpha_0, alpha.dtype), tf.constant(beta_0, alpha.dtype)
    return (
        (alpha - alpha_0) * tf.digamma(alpha) - tf.lgamma(alpha) + tf.lgamma(alpha_0)
        + alpha_0 * (tf.log(beta) - tf.log(beta_0)) + alpha * (beta_0 - beta) / beta
    )
