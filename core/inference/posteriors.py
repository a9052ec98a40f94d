"""The variational posteriors q(W) of one layer, built from tensors; nothing here is a variable.

Every posterior has `sample(n_particles, seed)` -> [n_particles, d_in + 1, d_out], `kl(prior_var)`, the
exact KL divergence to N(0, prior_var I), and `std()`, elementwise [d_in + 1, d_out]. `seed` is an int32
pair (stream, step), see misc/seeding.py.
"""
from typing import NamedTuple, Union

import tensorflow.compat.v1 as tf

from core.inference.gaussian import kl_to_prior
from core.inference.linalg import rotate, times_right
from core.inference.types import Number, Tensor

LOG_2PI = 1.8378770664093453


class PointMass(NamedTuple):
    """No weight noise. `kl` is the negative log density of the prior at the mean, which MAP training minimises."""

    mean: Tensor  # [d_in + 1, d_out]

    kind = "point"

    def sample(self, n_particles: int, seed: Tensor) -> Tensor:
        return tf.broadcast_to(self.mean, [n_particles] + self.mean.shape.as_list())

    def kl(self, prior_var: float) -> Tensor:
        dim = self.mean.shape.num_elements()
        return kl_to_prior(self.mean, 0.0, -dim * (1.0 + LOG_2PI), prior_var)

    def std(self) -> Tensor:
        return tf.zeros_like(self.mean)


class FullyFactorized(NamedTuple):
    """Independent weights w_ij ~ N(mean_ij, variance_ij) (FFG)."""

    mean: Tensor      # [d_in + 1, d_out]
    variance: Tensor  # [d_in + 1, d_out]

    kind = "diagonal"

    def sample(self, n_particles: int, seed: Tensor) -> Tensor:
        return self.mean + _noise(self.mean, n_particles, seed) * tf.sqrt(self.variance)

    def kl(self, prior_var: float) -> Tensor:
        log_det = tf.reduce_sum(tf.log(self.variance))
        return kl_to_prior(self.mean, tf.reduce_sum(self.variance), log_det, prior_var)

    def std(self) -> Tensor:
        return tf.sqrt(self.variance)


class MatrixNormal(NamedTuple):
    """W ~ MN(mean, temperature C_A^T C_A, C_S^T C_S) (MVG), with inverse Cholesky factors C_A and C_S.

    cov(vec W) = temperature kron(C_A^T C_A, C_S^T C_S): the temperature is a factor of it once.
    """

    mean: Tensor         # [d_in + 1, d_out]
    root_a: Tensor       # C_A, [d_in + 1, d_in + 1]
    root_s: Tensor       # C_S, [d_out, d_out]
    temperature: Number  # lambda / N times the KL scale

    kind = "structured"

    def sample(self, n_particles: int, seed: Tensor) -> Tensor:
        noise = times_right(_noise(self.mean, n_particles, seed), self.root_s)
        return self.mean + self.temperature**0.5 * tf.matmul(self.root_a[None], noise, transpose_a=True)

    def kl(self, prior_var: float) -> Tensor:
        d_a, d_s = self.mean.shape.as_list()
        trace = self.temperature * tf.reduce_sum(tf.square(self.root_a)) * tf.reduce_sum(tf.square(self.root_s))
        log_det = (
            d_a * d_s * tf.log(tf.convert_to_tensor(self.temperature, self.mean.dtype))
            + 2.0 * d_s * _log_diag(self.root_a) + 2.0 * d_a * _log_diag(self.root_s)
        )
        return kl_to_prior(self.mean, trace, log_det, prior_var)

    def std(self) -> Tensor:
        var_a = tf.reduce_sum(tf.square(self.root_a), axis=0)
        var_s = tf.reduce_sum(tf.square(self.root_s), axis=0)
        return tf.sqrt(self.temperature * var_a[:, None] * var_s[None, :])


class EigenMatrixNormal(NamedTuple):
    """W = Q_A (mean + noise * sqrt(variance)) Q_S^T (EMVG): independent entries in the eigenbasis."""

    mean: Tensor      # [d_in + 1, d_out], in the eigenbasis
    q_a: Tensor       # orthogonal, [d_in + 1, d_in + 1]
    q_s: Tensor       # orthogonal, [d_out, d_out]
    variance: Tensor  # [d_in + 1, d_out], in the eigenbasis

    kind = "structured"

    def sample(self, n_particles: int, seed: Tensor) -> Tensor:
        return rotate(FullyFactorized(self.mean, self.variance).sample(n_particles, seed), self.q_a, self.q_s)

    def kl(self, prior_var: float) -> Tensor:
        return FullyFactorized(self.mean, self.variance).kl(prior_var)  # KL to an isotropic prior: no rotation

    def std(self) -> Tensor:
        return tf.sqrt(rotate(self.variance, tf.square(self.q_a), tf.square(self.q_s)))


Posterior = Union[PointMass, FullyFactorized, MatrixNormal, EigenMatrixNormal]


def _noise(mean: Tensor, n_particles: int, seed: Tensor) -> Tensor:
    """Draws standard normal noise [n_particles, d_in + 1, d_out], a function of the seed alone."""
    shape = [n_particles] + mean.shape.as_list()
    return tf.random.stateless_normal(shape, seed=seed, dtype=mean.dtype)


def _log_diag(root: Tensor) -> Tensor:
    """Returns half the log-determinant of root^T root for a triangular root."""
    return tf.reduce_sum(tf.log(tf.linalg.diag_part(root)))
