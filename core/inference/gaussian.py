"""The Gaussian prior over the weights, and closed forms of Gaussian posteriors. Pure functions.

Letters: N = n_data, lambda = kl_weight, eta = prior_var. The objective, per example, is
E_q[log p(y | x, w)] - (lambda / N) KL(q(w) || N(0, eta I)).
"""
from typing import NamedTuple, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from core.inference.linalg import damping_split
from core.inference.types import Scalar


class Prior(NamedTuple):
    """The prior N(0, eta I) over the weights, and the weight of its KL term. It does not change during a run."""

    n_data: int  # N, the number of training examples
    kl_weight: float  # lambda, the weight of the KL term; below 1 the posterior is colder
    prior_var: float  # eta, the prior variance of every weight

    def temperature(self, kl_scale: Scalar = 1.0) -> Scalar:
        """Returns kl_scale lambda / N, the KL weight per example.

        The covariance of every posterior that is derived from a Fisher matrix is proportional to it.

        Args:
          kl_scale: current fraction of the KL weight, in (0, 1], see core/inference/step_sizes.py.
        """
        return kl_scale * (self.kl_weight / self.n_data)

    @property
    def damping(self) -> float:
        """gamma_in = lambda / (N eta): the prior's precision in units of the Fisher of ONE example.

        It is part of the posterior and of the step, and does not depend on `kl_scale`.
        """
        return self.kl_weight / (self.n_data * self.prior_var)


def kl_to_prior(mean: tf.Tensor, trace: Scalar, log_det: Scalar, prior_var: float) -> tf.Tensor:
    """Returns KL(N(mean, Sigma) || N(0, eta I)), a scalar in nats, for the whole layer and without lambda / N.

    = 1/2 [ (tr Sigma + |mean|^2) / eta - d + d log eta - log det Sigma ],  d = (d_in + 1) d_out

    Args:
      mean: [d_in + 1, d_out].
      trace, log_det: trace and log-determinant of Sigma, the covariance of vec(W).
      prior_var: eta.
    """
    dim = int(np.prod(mean.shape.as_list()))
    quadratic = (trace + tf.reduce_sum(tf.square(mean))) / prior_var
    return 0.5 * (quadratic - dim + dim * np.log(prior_var) - log_det)


def eigen_scale(values_a: tf.Tensor, values_s: tf.Tensor) -> tf.Tensor:
    """Returns l_A l_S^T, the eigenvalues of kron(A, S), as [d_in + 1, d_out].

    Args:
      values_a, values_s: eigenvalues l_A [d_in + 1] of A and l_S [d_out] of S.
    """
    return values_a[:, None] * values_s[None, :]


def damped_values(values_a: tf.Tensor, values_s: tf.Tensor, damping: Scalar) -> Tuple[tf.Tensor, tf.Tensor]:
    """Returns the eigenvalues of A + d_a I and S + d_s I, [d_in + 1] and [d_out], from those of A and S.

    (d_a, d_s) is the split of `damping` by `linalg.factored_damping`; the mean eigenvalue of A is tr A / dim A.
    """
    d_a, d_s = damping_split(tf.reduce_mean(values_a), tf.reduce_mean(values_s), damping)
    return values_a + d_a, values_s + d_s
