"""Closed forms for the noise of a regression, y = f(x, w) + noise, whose precision tau has a Gamma posterior.

With m targets, the noise is independent and each target has its own precision: scalars below become [m], and log_noise
[2, m].

Gaussian noise: y ~ N(f, 1 / tau). Student's t noise with nu degrees of freedom: y ~ N(f, 1 / (tau u)) with
u ~ Gamma(nu / 2, nu / 2) for every row. The posterior is q(tau) = Gamma(alpha, beta), with shape alpha and rate beta,
kept as log_noise = (log alpha, log beta), [2]. Targets are standardised. An infinite `dof` (nu) means Gaussian noise.
"""
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from core.inference.types import Scalar
from core.metrics.noise_fit import student_weight
from core.metrics.predictive import student_constant


class GammaPrior(NamedTuple):
    """The prior Gamma(alpha_0, beta_0) over the noise precision."""

    shape: float  # alpha_0
    rate: float  # beta_0

    def kl(self, log_noise: tf.Tensor) -> tf.Tensor:
        """Returns KL(q(tau) || prior), a scalar in nats, summed over targets."""
        return total(kl_gamma(tf.exp(log_noise[0]), tf.exp(log_noise[1]), self.shape, self.rate))


# Shapes. Ops for one target are those that there have always been, so that its results stay the same to the last bit.

def as_outputs(targets: tf.Tensor) -> tf.Tensor:
    """Gives targets, [n] or [n, m], the shape of a network's outputs, [1, n, m]."""
    return targets[None, :, None] if targets.shape.ndims == 1 else targets[None]


def total(values: tf.Tensor) -> tf.Tensor:
    """Returns the sum over targets of values [m]; a scalar as it is."""
    return tf.reduce_sum(values) if values.shape.ndims else values


def mean_over_rows(values: tf.Tensor) -> tf.Tensor:
    """Returns the mean of values [..., m] of each target, [m]; a scalar if m = 1."""
    return tf.reduce_mean(values, axis=None if values.shape[-1] == 1 else list(range(values.shape.ndims - 1)))


def kl_gamma(alpha: tf.Tensor, beta: tf.Tensor, alpha_0: float, beta_0: float) -> tf.Tensor:
    """Returns KL(Gamma(alpha, beta) || Gamma(alpha_0, beta_0)), with shapes alpha and rates beta; scalars.

    = (alpha - alpha_0) psi(alpha) - log G(alpha) + log G(alpha_0)
      + alpha_0 (log beta - log beta_0) + alpha (beta_0 - beta) / beta
    """
    alpha_0, beta_0 = tf.constant(alpha_0, alpha.dtype), tf.constant(beta_0, alpha.dtype)
    return (
        (alpha - alpha_0) * tf.digamma(alpha) - tf.lgamma(alpha) + tf.lgamma(alpha_0)
        + alpha_0 * (tf.log(beta) - tf.log(beta_0)) + alpha * (beta_0 - beta) / beta
    )


def log_precision_density(log_precision: tf.Tensor, alpha: Scalar, beta: Scalar) -> tf.Tensor:
    """Returns the log density of log tau, in nats and elementwise, for tau ~ Gamma(alpha, beta).

    = alpha log beta - log G(alpha) + alpha log tau - beta tau
    """
    return alpha * tf.log(beta) - tf.lgamma(alpha) + alpha * log_precision - beta * tf.exp(log_precision)


def precision_of(log_noise: tf.Tensor) -> tf.Tensor:
    """Returns E[tau] = alpha / beta, a scalar, for standardised targets."""
    return tf.exp(log_noise[0] - log_noise[1])


def mean_log_precision(log_noise: tf.Tensor) -> tf.Tensor:
    """Returns E[log tau] = psi(alpha) - log beta, a scalar."""
    log_alpha, log_beta = log_noise[0], log_noise[1]
    return tf.digamma(tf.exp(log_alpha)) - log_beta


def expected_log_prob(log_noise: tf.Tensor, mean_square: tf.Tensor) -> tf.Tensor:
    """Returns E_tau[log N(y; f, 1 / tau)] per example for tau ~ Gamma(alpha, beta), a scalar.

    = 1/2 [ psi(alpha) - log beta - log 2 pi - (alpha / beta) mean (y - f)^2 ]

    Args:
      mean_square: mean of (y - f)^2 over rows.
    """
    return 0.5 * (mean_log_precision(log_noise) - np.log(2.0 * np.pi) - precision_of(log_noise) * mean_square)


def student_log_prob(log_noise: tf.Tensor, squares: tf.Tensor, dof: float) -> tf.Tensor:
    """Returns a lower bound of E_tau[log p(y | f, tau)], maximised over q(u), elementwise; tau ~ Gamma(alpha, beta).

    = max over q(u) of E_tau,u[log N(y; f, 1 / (tau u))] - KL(q(u) || p(u))
    = log density of Student's t at y - f for the precision alpha / beta, with E[log tau] in place of log(alpha / beta)

    Args:
      squares: (y - f)^2, of any shape.
    """
    return (student_constant(dof) + 0.5 * mean_log_precision(log_noise)
            + student_kernel(precision_of(log_noise) * squares, dof))


def student_kernel(scaled: tf.Tensor, dof: float) -> tf.Tensor:
    """Returns the part of log t_nu that depends on scaled = tau (y - f)^2, elementwise."""
    return -0.5 * (dof + 1.0) * tf.log1p(scaled / dof)


def mixture_squared_error(outputs: tf.Tensor, targets: tf.Tensor, precision: Scalar, dof: float = np.inf) -> tf.Tensor:
    """Returns 1 / tau after one EM step for the mixture over weight draws, a scalar: the squared noise scale.

    = mean_i sum_k w_ik (y_i - f_ik)^2 with w_ik proportional to N(y_i; f_ik, 1 / precision), sum_k w_ik = 1

    The likelihood is that of the mixture, prod_i mean_k N(y_i; f_ik, 1 / precision), so the spread of the draws is not
    counted as noise. With m targets, N is the product over these, and there is a 1 / tau for each, [m]. With a finite
    `dof`, Student's t takes the place of N, and the squares are multiplied by E[u_ik].

    Args:
      outputs: f, [K, n, m].
      targets: y, [n] or [n, m].
      precision: current E[tau], a scalar or [m].
    """
    squares = tf.square(as_outputs(targets) - outputs)
    scaled, counted = precision * squares, squares
    log_density = -0.5 * scaled
    if np.isfinite(dof):
        log_density, counted = student_kernel(scaled, dof), student_weight(scaled, dof) * squares
    if outputs.shape[-1] != 1:
        log_density = tf.reduce_sum(log_density, axis=-1, keepdims=True)
    return mean_over_rows(tf.reduce_sum(tf.nn.softmax(log_density, axis=0) * counted, axis=0))
