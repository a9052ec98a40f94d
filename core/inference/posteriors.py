"""The variational posteriors q(W) of one layer. Built from tensors; nothing here is a variable.

Every family has `sample(n_particles, seed)` -> [n_particles, d_in + 1, d_out],
`kl(prior_var)`, the exact KL to N(0, prior_var I), and `std()`, elementwise [d_in + 1, d_out].
`seed` is an int32 pair (stream, step), see misc/seeding.py.
"""
import collections

import tensorflow.compat.v1 as tf

from core.inference.gaussian import kl_to_prior
from core.inference.linalg import rotate, times_right


class PointMass(collections.namedtuple("PointMass", ["mean"])):
    """No weight noise. `kl` is -log of the prior density at the mean (what MAP training pays)."""

    kind = "point"

    def sample(self, n_particles, seed):
        return tf.broadcast_to(self.mean, [n_particles] + self.mean.shape.as_list())

    def kl(self, prior_var):
        dim = self.mean.shape.num_elements()
        log_2pi = 1.8378770664093453
        return kl_to_prior(self.mean, 0.0, -dim * (1.0 + log_2pi), prior_var)

    def std(self):
        return tf.zeros_like(self.mean)


class FullyFactorized(collections.namedtuple("FullyFactorized", ["mean", "variance"])):
    """w_ij ~ N(mean_ij, variance_ij), independent (FFG)."""

    kind = "diagonal"

    def sample(self, n_particles, seed):
        return self.mean + _noise(self.mean, n_particles, seed) * tf.sqrt(self.variance)

    def kl(self, prior_var):
        log_det = tf.reduce_sum(tf.log(self.variance))
        return kl_to_prior(self.mean, tf.reduce_sum(self.variance), log_det, prior_var)

    def std(self):
        return tf.sqrt(self.variance)


class MatrixNormal(collections.namedtuple("MatrixNormal", ["mean", "root_a", "root_s", "temper"])):
    """W ~ MN(mean, temper C_A^T C_A, C_S^T C_S) (MVG); the roots are inverse Cholesky factors.

    cov(vec W) = temper kron(C_A^T C_A, C_S^T C_S); the factor `temper` stands once.
    """

    kind = "structured"

    def sample(self, n_particles, seed):
        noise = times_right(_noise(self.mean, n_particles, seed), self.root_s)
        return self.mean + self.temper**0.5 * tf.matmul(self.root_a[None], noise, transpose_a=True)

    def kl(self, prior_var):
        d_a, d_s = self.mean.shape.as_list()
        trace = self.temper * tf.reduce_sum(tf.square(self.root_a)) * tf.reduce_sum(tf.square(self.root_s))
        log_det = (
            d_a * d_s * tf.log(tf.convert_to_tensor(self.temper, self.mean.dtype))
            + 2.0 * d_s * _log_diag(self.root_a) + 2.0 * d_a * _log_diag(self.root_s)
        )
        return kl_to_prior(self.mean, trace, log_det, prior_var)

    def std(self):
        var_a = tf.reduce_sum(tf.square(self.root_a), axis=0)
        var_s = tf.reduce_sum(tf.square(self.root_s), axis=0)
        return tf.sqrt(self.temper * var_a[:, None] * var_s[None, :])


class EigenMatrixNormal(collections.namedtuple("EigenMatrixNormal", ["mean", "q_a", "q_s", "variance"])):
    """W = Q_A (mean + noise * sqrt(variance)) Q_S^T (EMVG): independent in the eigenbasis, where the mean is given."""

    kind = "structured"

    def sample(self, n_particles, seed):
        return rotate(FullyFactorized(self.mean, self.variance).sample(n_particles, seed), self.q_a, self.q_s)

    def kl(self, prior_var):
        return FullyFactorized(self.mean, self.variance).kl(prior_var)  # KL to an isotropic prior: no rotation

    def std(self):
        return tf.sqrt(rotate(self.variance, tf.square(self.q_a), tf.square(self.q_s)))


def _noise(mean, n_particles, seed):
    """Standard normal [n_particles, d_in + 1, d_out], a function of the seed alone."""
    shape = [n_particles] + mean.shape.as_list()
    return tf.random.stateless_normal(shape, seed=seed, dtype=mean.dtype)


def _log_diag(root):
    return tf.reduce_sum(tf.log(tf.linalg.diag_part(root)))
