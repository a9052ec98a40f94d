"""The variational posteriors q(W) of one layer, as records of tensors. Nothing here is a variable.

All have the methods of `Posterior`, and the Gaussian ones also `log_prob`. Abbreviations as in the papers: FFG, MVG and
EMVG are the fully factorised, the matrix-variate, and the eigenvalue-corrected matrix-variate Gaussian.
"""
from typing import NamedTuple, Optional

import tensorflow.compat.v1 as tf
from typing_extensions import Protocol

from core.inference.gaussian import kl_to_prior
from core.inference.linalg import project, root_transposed_times, rotate, solve_transposed, times_right
from core.inference.normals import normals
from core.inference.types import Scalar
from networks.factored import FactoredWeights

LOG_2PI = 1.8378770664093453


class Coordinates(NamedTuple):
    """Coordinates in which the weights of a Gaussian posterior are independent: W - mean = to_a E to_s^T."""

    to_a: Optional[tf.Tensor]  # [d_in + 1, d_in + 1]; None: the identity
    to_s: Optional[tf.Tensor]  # [d_out, d_out]; likewise
    variance: tf.Tensor        # of E, [d_in + 1, d_out]

    def of_inputs(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns rows a^T to_a, [..., d_in + 1]."""
        return rows if self.to_a is None else times_right(rows, self.to_a)

    def of_outputs(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns rows g^T to_s, [..., d_out]."""
        return rows if self.to_s is None else times_right(rows, self.to_s)


class Posterior(Protocol):
    """What every q(W) offers, for weights [d_in + 1, d_out]."""

    @property
    def mean(self) -> tf.Tensor:
        """[d_in + 1, d_out], in the coordinates of the layer's family, see `families.Family`."""

    def sample(self, n_particles: int, seed: Optional[tf.Tensor]) -> tf.Tensor:
        """Draws weights, [n_particles, d_in + 1, d_out].

        Args:
          seed: int32 pair (stream, step), see misc/seeding.py. The draws depend on it alone.
        """

    def kl(self, prior_var: float) -> tf.Tensor:
        """Returns the exact KL(q(W) || N(0, prior_var I)), a scalar in nats, for the whole layer."""

    def std(self) -> tf.Tensor:
        """Returns the standard deviation of every weight, [d_in + 1, d_out]."""


class PointMass(NamedTuple):
    """No weight noise: W = mean."""

    mean: tf.Tensor  # [d_in + 1, d_out]

    def sample(self, n_particles: int, seed: Optional[tf.Tensor]) -> tf.Tensor:
        return tf.broadcast_to(self.mean, [n_particles] + self.mean.shape.as_list())

    def kl(self, prior_var: float) -> tf.Tensor:
        """Returns -log N(mean; 0, prior_var I), the penalty of MAP training (the KL itself is infinite)."""
        dim = self.mean.shape.num_elements()
        return kl_to_prior(self.mean, 0.0, -dim * (1.0 + LOG_2PI), prior_var)

    def std(self) -> tf.Tensor:
        return tf.zeros_like(self.mean)


class FullyFactorized(NamedTuple):
    """FFG: w_ij ~ N(mean_ij, variance_ij), independent."""

    mean: tf.Tensor  # [d_in + 1, d_out]
    variance: tf.Tensor  # [d_in + 1, d_out]

    def sample(self, n_particles: int, seed: Optional[tf.Tensor]) -> tf.Tensor:
        return self.mean + _noise(self.mean, n_particles, seed) * tf.sqrt(self.variance)

    def kl(self, prior_var: float) -> tf.Tensor:
        log_det = tf.reduce_sum(tf.log(self.variance))
        return kl_to_prior(self.mean, tf.reduce_sum(self.variance), log_det, prior_var)

    def std(self) -> tf.Tensor:
        return tf.sqrt(self.variance)

    def log_densities(self, weights: tf.Tensor) -> tf.Tensor:
        """Returns log q(w_ij) of every weight, in nats; shapes [..., d_in + 1, d_out]."""
        return -0.5 * (tf.square(weights - self.mean) / self.variance + tf.log(self.variance) + LOG_2PI)

    def log_prob(self, weights: tf.Tensor) -> tf.Tensor:
        """Returns log q(W), [K] in nats, of weights [K, d_in + 1, d_out]."""
        return tf.reduce_sum(self.log_densities(weights), axis=[-2, -1])


class MatrixNormal(NamedTuple):
    """MVG: W ~ MN(mean, temperature C_A^T C_A, C_S^T C_S).

    cov(vec W) = temperature kron(C_A^T C_A, C_S^T C_S); the temperature enters once.
    """

    mean: tf.Tensor  # [d_in + 1, d_out]
    root_a: tf.Tensor  # C_A, [d_in + 1, d_in + 1], inverse Cholesky root of the damped A
    root_s: tf.Tensor  # C_S, [d_out, d_out], inverse Cholesky root of the damped S
    temperature: Scalar  # lambda / N times the current KL scale

    def sample(self, n_particles: int, seed: Optional[tf.Tensor]) -> tf.Tensor:
        """Draws mean + sqrt(temperature) C_A^T noise C_S."""
        noise = times_right(_noise(self.mean, n_particles, seed), self.root_s)
        return self.mean + self.temperature**0.5 * root_transposed_times(self.root_a, noise)

    def sample_factored(self, n_particles: int, seed: Optional[tf.Tensor]) -> FactoredWeights:
        """Draws the weights of `sample` as mean + C_A^T (sqrt(temperature) noise) C_S, not multiplied out."""
        core = self.temperature**0.5 * _noise(self.mean, n_particles, seed)
        return FactoredWeights(core, tf.transpose(self.root_a), self.root_s, self.mean)

    def kl(self, prior_var: float) -> tf.Tensor:
        trace = self.temperature * tf.reduce_sum(tf.square(self.root_a)) * tf.reduce_sum(tf.square(self.root_s))
        return kl_to_prior(self.mean, trace, self._log_det(), prior_var)

    def std(self) -> tf.Tensor:
        var_a = tf.reduce_sum(tf.square(self.root_a), axis=0)
        var_s = tf.reduce_sum(tf.square(self.root_s), axis=0)
        return tf.sqrt(self.temperature * var_a[:, None] * var_s[None, :])

    def log_prob(self, weights: tf.Tensor) -> tf.Tensor:
        """Returns log q(W), [K] in nats, of weights [K, d_in + 1, d_out].

        = -1/2 [ |E|^2 + log det Sigma + d log 2 pi ],  E = C_A^-T (W - mean) C_S^-1 / sqrt(temperature)

        E is the noise from which `sample` makes W, and d = (d_in + 1) d_out.
        """
        dim = self.mean.shape.num_elements()
        rows = solve_transposed(self.root_a, weights - self.mean)
        noise = solve_transposed(self.root_s, tf.linalg.matrix_transpose(rows))
        square = tf.reduce_sum(tf.square(noise), axis=[-2, -1]) / self.temperature
        return -0.5 * (square + self._log_det() + dim * LOG_2PI)

    def _log_det(self) -> tf.Tensor:
        """Returns the log-determinant of the covariance of vec(W)."""
        d_a, d_s = self.mean.shape.as_list()
        return (
            d_a * d_s * tf.log(tf.convert_to_tensor(self.temperature, self.mean.dtype))
            + 2.0 * d_s * _log_diag(self.root_a) + 2.0 * d_a * _log_diag(self.root_s)
        )


class EigenMatrixNormal(NamedTuple):
    """EMVG: W = Q_A (mean + noise sqrt(variance)) Q_S^T, independent in the eigenbasis."""

    mean: tf.Tensor  # [d_in + 1, d_out], in the eigenbasis
    q_a: tf.Tensor  # Q_A, orthogonal [d_in + 1, d_in + 1]
    q_s: tf.Tensor  # Q_S, orthogonal [d_out, d_out]
    variance: tf.Tensor  # [d_in + 1, d_out], in the eigenbasis

    def sample(self, n_particles: int, seed: Optional[tf.Tensor]) -> tf.Tensor:
        return rotate(self._in_eigenbasis(n_particles, seed), self.q_a, self.q_s)

    def sample_factored(self, n_particles: int, seed: Optional[tf.Tensor]) -> FactoredWeights:
        """Draws the weights of `sample` as Q_A (mean + noise sqrt(variance)) Q_S^T, not multiplied out."""
        return FactoredWeights(self._in_eigenbasis(n_particles, seed), self.q_a, tf.transpose(self.q_s), None)

    def kl(self, prior_var: float) -> tf.Tensor:
        """Returns the KL in the eigenbasis: the prior is isotropic, so a rotation does not change it."""
        return FullyFactorized(self.mean, self.variance).kl(prior_var)

    def std(self) -> tf.Tensor:
        return tf.sqrt(rotate(self.variance, tf.square(self.q_a), tf.square(self.q_s)))

    def log_prob(self, weights: tf.Tensor) -> tf.Tensor:
        """Returns log q(W), [K] in nats, of weights [K, d_in + 1, d_out]: a rotation keeps volumes as they are."""
        return FullyFactorized(self.mean, self.variance).log_prob(project(weights, self.q_a, self.q_s))

    def _in_eigenbasis(self, n_particles: int, seed: Optional[tf.Tensor]) -> tf.Tensor:
        """Draws Q_A^T W Q_S, [n_particles, d_in + 1, d_out]."""
        return FullyFactorized(self.mean, self.variance).sample(n_particles, seed)


def _noise(mean: tf.Tensor, n_particles: int, seed: Optional[tf.Tensor]) -> tf.Tensor:
    """Draws standard normal numbers [n_particles, d_in + 1, d_out], a function of the seed alone."""
    shape = [n_particles] + mean.shape.as_list()
    return normals(shape, seed, mean.dtype)


def _log_diag(root: tf.Tensor) -> tf.Tensor:
    """Returns log det of a triangular matrix with a positive diagonal."""
    return tf.reduce_sum(tf.log(tf.linalg.diag_part(root)))
