"""Closed forms for Gaussian posteriors over weights. Pure functions.

Letters: N = n_data, lambda = kl_weight, eta = prior_var; the prior is N(0, eta I).
"""
from typing import NamedTuple, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from core.inference.linalg import damping_split
from core.inference.types import Number, Tensor


class Prior(NamedTuple):
    """The prior N(0, eta I), and how much its KL divergence counts against N examples."""

    n_data: int       # N, training examples
    kl_weight: float  # lambda
    prior_var: float  # eta

    def temperature(self, kl_scale: Number = 1.0) -> Number:
        """Returns lambda / N times `kl_scale`: the weight of the KL per example, and a factor of every covariance.

        kl_scale: current fraction of the KL weight, in (0, 1]. It scales the posterior covariance and the prior's
        gradient, not the damping.
        """
        return kl_scale * (self.kl_weight / self.n_data)

    @property
    def damping(self) -> float:
        """Intrinsic damping gamma_in = lambda / (N eta): the prior's precision in units of one example's Fisher."""
        return self.kl_weight / (self.n_data * self.prior_var)


def kl_to_prior(mean: Tensor, trace: Number, log_det: Number, prior_var: float) -> Tensor:
    """Returns KL(N(mean, Sigma) || N(0, eta I)), a scalar, without the factor lambda / N.

    = 1/2 [ (tr Sigma + |mean|^2) / eta - d + d log eta - log det Sigma ]

    Args:
      mean: [d_in + 1, d_out].
      trace, log_det: scalars, of the covariance Sigma of vec(W).
    """
    dim = int(np.prod(mean.shape.as_list()))
    quadratic = (trace + tf.reduce_sum(tf.square(mean))) / prior_var
    return 0.5 * (quadratic - dim + dim * np.log(prior_var) - log_det)


def eigen_scale(values_a: Tensor, values_s: Tensor) -> Tensor:
    """Returns l_A l_S^T, the eigenvalues of kron(A, S), as [d_in + 1, d_out]."""
    return values_a[:, None] * values_s[None, :]


def damped_values(values_a: Tensor, values_s: Tensor, damping: Number) -> Tuple[Tensor, Tensor]:
    """Returns the eigenvalues of A + d_a I and S + d_s I from those of A and S.

    (d_a, d_s) splits `damping` as `linalg.factored_damping` does.
    """
    d_a, d_s = damping_split(tf.reduce_mean(values_a), tf.reduce_mean(values_s), damping)
    return values_a + d_a, values_s + d_s
