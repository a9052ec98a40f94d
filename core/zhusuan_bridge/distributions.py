"""Posteriors and noise as `zhusuan.distributions.Distribution`s. What they compute is in core/inference.

Sample and log_prob have ZhuSuan's shapes. `sample(n)` draws [n, d_in + 1, d_out], other numbers in every call of a
session, as functions of the seed of `tf.set_random_seed`. TensorFlow 2.x asks for such a seed where its ops are to be
deterministic.
"""
from typing import Any, Dict, Type

import tensorflow.compat.v1 as tf

from core.inference.linalg import rotate
from core.inference.noise_model import log_precision_density, student_kernel
from core.inference.posteriors import EigenMatrixNormal, FullyFactorized, MatrixNormal
from core.metrics.predictive import student_constant
from core.zhusuan_bridge.library import zs
from misc.errors import UserError


class WeightDistribution(zs.distributions.Distribution):
    """Base class: q(W) of one layer, weights [d_in + 1, d_out].

    Args:
      posterior: a Gaussian posterior of core/inference/posteriors.py; its entries may be variables, to be trained.
      group_ndims: number of last axes of the batch shape whose probabilities are multiplied.
      is_reparameterized: whether gradients pass through samples to the entries of the posterior.
      use_path_derivative: whether `log_prob` is constant for them, see Distribution.

    Attributes:
      posterior: the same, of tensors.
    """

    def __init__(self, posterior: Any, group_ndims: int = 0, is_reparameterized: bool = True,
                 use_path_derivative: bool = False) -> None:
        dtype = tf.convert_to_tensor(posterior.mean).dtype
        self.posterior = type(posterior)(*(tf.convert_to_tensor(entry, dtype) for entry in posterior))
        super().__init__(dtype, dtype, is_continuous=True, is_reparameterized=is_reparameterized,
                         use_path_derivative=use_path_derivative, group_ndims=group_ndims)

    @property
    def mean(self) -> tf.Tensor:
        """The mean of the weights, [d_in + 1, d_out]."""
        return self.posterior.mean

    @property
    def std(self) -> tf.Tensor:
        """The standard deviation of every weight, [d_in + 1, d_out]."""
        return self.posterior.std()

    def _sample(self, n_samples: Any) -> tf.Tensor:
        seed = tf.random_uniform([2], maxval=tf.int32.max, dtype=tf.int32)
        samples = self.posterior.sample(n_samples, seed)
        samples.set_shape([n_samples if isinstance(n_samples, int) else None] + self.posterior.mean.shape.as_list())
        return samples if self.is_reparameterized else tf.stop_gradient(samples)

    def _log_prob(self, given: tf.Tensor) -> tf.Tensor:
        """Returns log q(W) of weights [..., d_in + 1, d_out], [...]."""
        given += tf.zeros_like(self.posterior.mean)  # to the full shape, if it is to be broadcast
        draws = tf.reshape(given, [-1] + self.posterior.mean.shape.as_list())
        values = tf.reshape(self._density().log_prob(draws), tf.shape(given)[:-2])
        values.set_shape(given.shape[:-2])
        return values

    def _prob(self, given: tf.Tensor) -> tf.Tensor:
        return tf.exp(self._log_prob(given))

    def _density(self) -> Any:
        """Returns the posterior for `log_prob`: constant with `use_path_derivative`."""
        return type(self.posterior)(*map(self.path_param, self.posterior))

    def _get_batch_shape(self) -> tf.TensorShape:
        return tf.TensorShape([])

    def _get_value_shape(self) -> tf.TensorShape:
        return self.posterior.mean.shape


class MatrixGaussian(WeightDistribution):
    """q(W) of noisy K-FAC, `posteriors.MatrixNormal`: batch shape [], value shape [d_in + 1, d_out]."""


class EigenMatrixGaussian(WeightDistribution):
    """q(W) of noisy EK-FAC, `posteriors.EigenMatrixNormal`: batch shape [], value shape [d_in + 1, d_out]."""

    @property
    def mean(self) -> tf.Tensor:
        """The mean of the weights, [d_in + 1, d_out], out of the eigenbasis."""
        return rotate(self.posterior.mean, self.posterior.q_a, self.posterior.q_s)


class FactorizedGaussian(WeightDistribution):
    """q(W) of noisy Adam, `posteriors.FullyFactorized`.

    As for `zhusuan.distributions.Normal`, every weight is a value of its own: batch shape [d_in + 1, d_out], value
    shape []. With `group_ndims` 2, the default here, log_prob is that of the matrix; with 0, that of every weight.
    """

    def __init__(self, posterior: FullyFactorized, group_ndims: int = 2, **options: Any) -> None:
        super().__init__(posterior, group_ndims, **options)

    def _log_prob(self, given: tf.Tensor) -> tf.Tensor:
        return self._density().log_densities(given)

    def _get_batch_shape(self) -> tf.TensorShape:
        return self.posterior.mean.shape

    def _get_value_shape(self) -> tf.TensorShape:
        return tf.TensorShape([])


class LogGamma(zs.distributions.Distribution):
    """The distribution of log tau for a precision tau ~ Gamma(alpha, beta): a latent variable without bounds.

    Batch shape that of the arguments, value shape [].

    Args:
      alpha, beta: shape and rate, tensors of one shape, [] or [m]; for standardised targets.
    """

    def __init__(self, alpha: tf.Tensor, beta: tf.Tensor, group_ndims: int = 0, is_reparameterized: bool = True,
                 use_path_derivative: bool = False) -> None:
        self.alpha, self.beta = tf.convert_to_tensor(alpha), tf.convert_to_tensor(beta)
        super().__init__(self.alpha.dtype, self.alpha.dtype, is_continuous=True, is_reparameterized=is_reparameterized,
                         use_path_derivative=use_path_derivative, group_ndims=group_ndims)

    def _sample(self, n_samples: Any) -> tf.Tensor:
        samples = tf.log(tf.random_gamma([n_samples], self.alpha, self.beta, dtype=self.dtype))
        return samples if self.is_reparameterized else tf.stop_gradient(samples)

    def _log_prob(self, given: tf.Tensor) -> tf.Tensor:
        return log_precision_density(given, self.path_param(self.alpha), self.path_param(self.beta))

    def _prob(self, given: tf.Tensor) -> tf.Tensor:
        return tf.exp(self._log_prob(given))

    def _get_batch_shape(self) -> tf.TensorShape:
        return self.alpha.shape

    def _get_value_shape(self) -> tf.TensorShape:
        return tf.TensorShape([])


class StudentT(zs.distributions.Distribution):
    """Student's t noise about an output, y ~ f + tau^(-1/2) t_dof. ZhuSuan has no such distribution.

    Batch shape that of `mean`, value shape [].

    Args:
      mean: f.
      log_precision: log tau, which broadcasts to the shape of f.
      dof: degrees of freedom.
    """

    def __init__(self, mean: tf.Tensor, log_precision: tf.Tensor, dof: float, group_ndims: int = 0) -> None:
        self.mean, self.log_precision, self.dof = mean, log_precision, dof
        super().__init__(mean.dtype, mean.dtype, is_continuous=True, is_reparameterized=False, group_ndims=group_ndims)

    def _sample(self, n_samples: Any) -> tf.Tensor:
        shape = tf.concat([[n_samples], tf.shape(self.mean)], axis=0)
        half = tf.constant(0.5 * self.dof, self.dtype)
        precision = tf.random_gamma(shape, half, half, dtype=self.dtype) * tf.exp(self.log_precision)
        return tf.stop_gradient(self.mean + tf.random_normal(shape, dtype=self.dtype) * tf.rsqrt(precision))

    def _log_prob(self, given: tf.Tensor) -> tf.Tensor:
        scaled = tf.exp(self.log_precision) * tf.square(given - self.mean)
        return student_constant(self.dof) + 0.5 * self.log_precision + student_kernel(scaled, self.dof)

    def _prob(self, given: tf.Tensor) -> tf.Tensor:
        return tf.exp(self._log_prob(given))

    def _get_batch_shape(self) -> tf.TensorShape:
        return self.mean.shape

    def _get_value_shape(self) -> tf.TensorShape:
        return tf.TensorShape([])


DISTRIBUTIONS: Dict[type, Type[WeightDistribution]] = {
    MatrixNormal: MatrixGaussian, EigenMatrixNormal: EigenMatrixGaussian, FullyFactorized: FactorizedGaussian}
"""Record of core/inference/posteriors.py -> distribution."""


def distribution(posterior: Any, **options: Any) -> WeightDistribution:
    """Returns the distribution of a posterior; options: those of WeightDistribution but `group_ndims`.

    Raises UserError for a point mass, which has no density.
    """
    if type(posterior) not in DISTRIBUTIONS:
        known = ", ".join(kind.__name__ for kind in DISTRIBUTIONS)
        raise UserError(f"a {type(posterior).__name__} has no density, and so is no distribution: take a "
                        f"posterior with weight noise ({known})")
    return DISTRIBUTIONS[type(posterior)](posterior, **options)
