"""Closed forms for Gaussian posteriors over weights. Pure functions.

Letters: N = n_data, lambda = kl_weight, eta = prior_var; the prior is N(0, eta I).
"""
import collections

import numpy as np
import tensorflow.compat.v1 as tf

from core.inference.linalg import damping_split, factored_damping, inverse_root


class Prior(collections.namedtuple("Prior", ["n_data", "kl_weight", "prior_var"])):
    """The prior N(0, eta I), and how much its KL counts against N examples.

    warmth: the part of lambda that counts already, a number or a scalar tensor in (0, 1]. Under 1 the
    weight noise is colder and the prior pulls less; the damping is that of the full lambda.
    """

    @property
    def warm_kl_weight(self):
        """lambda as it counts already."""
        return self.warmth * self.kl_weight

    def temperature(self, kl_scale=1.0):
        return kl_scale * (self.kl_weight / self.n_data)

    @property
    def damping(self):
        """gamma_in = lambda / (N eta): the prior's precision in units of one example's Fisher."""
        return self.kl_weight / (self.n_data * self.prior_var)

    @property
    def pull(self):
        """By how much of the weights the prior pulls them to 0: gamma_in, times warmth."""
        return self.warmth * self.damping


def kl_to_prior(mean, trace, log_det, prior_var):
    """KL(N(mean, Sigma) || N(0, eta I)), a scalar, not tempered.

    = 1/2 [ (tr Sigma + |mean|^2) / eta - d + d log eta - log det Sigma ]

    Args:
      mean: [d_in + 1, d_out].
      trace, log_det: scalars, of the covariance Sigma of vec(W).
    """
    dim = int(np.prod(mean.shape.as_list()))
    quadratic = (trace + tf.reduce_sum(tf.square(mean))) / prior_var
    return 0.5 * (quadratic - dim + dim * np.log(prior_var) - log_det)


def noisy_kfac_roots(a_cov, s_cov, damping, solve=(inverse_root, inverse_root)):
    """Inverse Cholesky roots (C_A, C_S) of the damped factors.

    C_A^T C_A = (A + d_a I)^-1 and C_S^T C_S = (S + d_s I)^-1, (d_a, d_s) from
    `factored_damping`. With gamma_in they give noisy K-FAC's posterior
    q(W) = MN(M, (lambda / N) C_A^T C_A, C_S^T C_S); with gamma_in + gamma_ex its step. solve: how A and S
    are decomposed, functions (matrix, damping).

    Reference: Zhang et al. (2018), Sec. 3.3, https://arxiv.org/abs/1712.02390
    """
    d_a, d_s = factored_damping(a_cov, s_cov, damping)
    return solve[0](a_cov, d_a), solve[1](s_cov, d_s)


def eigen_scale(values_a, values_s):
    """l_A l_S^T: the eigenvalues of kron(A, S) as [d_in + 1, d_out]."""
    return values_a[:, None] * values_s[None, :]


def damped_values(values_a, values_s, damping):
    """Eigenvalues of A + d_a I and S + d_s I from those of A and S, (d_a, d_s) as in `factored_damping`."""
    d_a, d_s = damping_split(tf.reduce_mean(values_a), tf.reduce_mean(values_s), damping)
    return values_a + d_a, values_s + d_s
