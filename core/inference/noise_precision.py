"""Updates of q(tau) = Gamma(alpha, beta), the posterior of a regression's noise precision. Pure functions.

NOISE_UPDATES maps config's `noise_update` to a class; to add an update, subclass `NoiseUpdate` and add a row. Every
state has log_noise = (log alpha, log beta), which the training of the weights uses. If it also has
`predictive_log_noise`, predictions use that instead (`predictive_noise`). The formulas are in
core/inference/noise_model.py.
"""
from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple, Type

import numpy as np
import tensorflow.compat.v1 as tf

from core.inference.adam import adam_step, ema
from core.inference.noise_model import GammaPrior, as_outputs, mixture_squared_error, precision_of
from core.inference.types import Scalar, State
from core.metrics.noise_fit import MAX_LEVERAGE, newton_step, student_information, without_own_target
from misc.config import Config


class HeldOut(NamedTuple):
    """A minibatch of the rows on which the weights do not train at first."""

    outputs: tf.Tensor  # [K, b, m], at the weights of this step
    targets: tf.Tensor  # [b] or [b, m]
    n_rows: int  # number of all rows held out
    on: tf.Tensor  # bool scalar; false once these rows train too


class NoiseBatch(NamedTuple):
    """The quantities of a training step that an update may use."""

    outputs: tf.Tensor  # f, [K, n, m]
    targets: tf.Tensor  # y, [n] or [n, m]
    log_prob: tf.Tensor  # E[log p] per example under the state before the step, a scalar
    mean_square: tf.Tensor  # scalar or [m]: mean of (y - f)^2, or of E[u] (y - f)^2 for Student's t
    temperature: Scalar  # lambda / N times the current KL scale
    kl_weight: Scalar  # lambda times the current KL scale
    step: tf.Tensor  # number of the step, from 1, a float


class NoiseUpdate:
    """Base class of the updates.

    Args:
      prior: prior over tau.
      dof: degrees of freedom of the noise; infinite for Gaussian noise.
      shape: of the noise precision: () for one target, (m,) for m targets, each with a precision of its own.

    Class attributes:
      restarted: entries of the state that a warm start begins anew, see `Family.restarted`.
    """

    restarted: Tuple[str, ...] = ()

    def __init__(self, prior: GammaPrior, dof: float, config: Config, shape: Tuple[int, ...] = ()) -> None:
        self._prior, self._dof, self._learning_rate, self._shape = prior, dof, config.learning_rate, tuple(shape)
        self._warm = config.init_from is not None

    def init(self, dtype: tf.DType) -> State:
        """Returns the state at step 0."""
        raise NotImplementedError

    def __call__(self, state: State, batch: NoiseBatch, held_out: Optional[HeldOut] = None) -> State:
        """Returns the state after one step."""
        raise NotImplementedError


class AdamNoise(NoiseUpdate):
    """One Adam step of (log alpha, log beta) on E[log p] - temperature KL(q(tau) || prior), as published.

    It starts at the prior. The step size is config's `learning_rate`.
    """

    restarted = ("average", "square")

    def init(self, dtype: tf.DType) -> State:
        start = np.log(np.multiply.outer([self._prior.shape, self._prior.rate], np.ones(self._shape)))
        zeros = [2, *self._shape]
        return {"log_noise": tf.constant(start, dtype), "average": tf.zeros(zeros, dtype),
                "square": tf.zeros(zeros, dtype)}

    def __call__(self, state: State, batch: NoiseBatch, held_out: Optional[HeldOut] = None) -> State:
        log_noise = state["log_noise"]
        grad = tf.gradients(batch.log_prob - batch.temperature * self._prior.kl(log_noise), log_noise)[0]
        direction, average, square = adam_step(grad, state["average"], state["square"], batch.step)
        return {"log_noise": log_noise + self._learning_rate * direction, "average": average, "square": square}


class ConjugateNoise(NoiseUpdate):
    """Maximises the bound of AdamNoise in closed form.

    The result is Gamma(alpha_0 + 1 / (2 temperature), beta_0 + m / (2 temperature)), where m is a moving average of
    E[(y - f)^2] (Student's t: of E[u] (y - f)^2, the maximum for the current q(u)). It starts as a plain average;
    later, each minibatch has the weight `learning_rate`. The noise level therefore starts at that of the untrained
    network and falls no faster than the residuals. Before the first step, q(tau) is the posterior after one row with
    the squared error 1, because the mean of a weak prior would be meaningless. With init_from, the average goes on from
    that of the other run.
    """

    def init(self, dtype: tf.DType) -> State:
        return {"log_noise": self._posterior(tf.ones(self._shape, dtype), 0.5),
                "mean_square": tf.ones(self._shape, dtype)}

    def __call__(self, state: State, batch: NoiseBatch, held_out: Optional[HeldOut] = None) -> State:
        return self._after(state["mean_square"], batch.mean_square, batch)

    def _after(self, average: tf.Tensor, square: tf.Tensor, batch: NoiseBatch) -> State:
        """Returns the state after one more squared error `square` in the moving average."""
        rate = self._learning_rate if self._warm else tf.maximum(1.0 / batch.step, self._learning_rate)
        average = ema(average, square, rate)
        return {"log_noise": self._posterior(average, 0.5 / batch.temperature), "mean_square": average}

    def _posterior(self, mean_square: tf.Tensor, half_count: Scalar) -> tf.Tensor:
        """Returns (log alpha, log beta) after 2 half_count rows with the given mean square."""
        shape = tf.convert_to_tensor(self._prior.shape + half_count, mean_square.dtype)
        if self._shape:
            shape = shape * tf.ones_like(mean_square)
        return tf.log(tf.stack([shape, self._prior.rate + half_count * mean_square]))


class HeldOutNoise(ConjugateNoise):
    """The conjugate posterior given m rows on which the weights do not train: Gamma(alpha_0 + m / 2, beta_0 + m v / 2).

    v is an average of `mixture_squared_error` that gives step n the weight 16 / (n + 15) (polynomial-decay averaging,
    Shamir and Zhang 2013): the last sixth of the steps, however many there are, make up 95 % of it. With the default
    periods, these are the steps after the step sizes have decayed. Once the rows train too, q(tau) stays as it is.
    """

    def __call__(self, state: State, batch: NoiseBatch, held_out: Optional[HeldOut] = None) -> State:
        assert held_out is not None, "noise_update held_out needs rows that are held out"
        error = mixture_squared_error(held_out.outputs, held_out.targets, precision_of(state["log_noise"]), self._dof)
        average = ema(state["mean_square"], error, 16.0 / (batch.step + 15.0))
        new = {"log_noise": self._posterior(average, 0.5 * held_out.n_rows), "mean_square": average}
        return {name: tf.where(held_out.on, value, state[name]) for name, value in new.items()}


class LeaveOneOutNoise(ConjugateNoise):
    """The conjugate update for training, and a second noise level for predictions, from leave-one-out errors.

    The weights fit the rows on which they train, so a noise level from these rows is too low for new ones. Therefore
    each row is predicted as if its own target had not been used (`leave_one_out_outputs`), and predictions use
    Gamma(alpha_0 + 1 / (2 temperature), beta_0 + v / (2 temperature)), where v is a moving average, as in
    ConjugateNoise, of the `mixture_squared_error` of these outputs. The weights do not depend on this second level.

    With a single draw per step (or a point estimate) the leverage is unknown, and both levels are the same.
    """

    def init(self, dtype: tf.DType) -> State:
        return with_predictive_level(super().init(dtype), super().init(dtype))

    def __call__(self, state: State, batch: NoiseBatch, held_out: Optional[HeldOut] = None) -> State:
        fitted = precision_of(state["log_noise"])
        outputs = leave_one_out_outputs(batch.outputs, batch.targets, fitted, batch.kl_weight, self._dof)
        error = mixture_squared_error(outputs, batch.targets, precision_of(state["predictive_log_noise"]), self._dof)
        return with_predictive_level(super().__call__(state, batch),
                                     self._after(state["predictive_mean_square"], error, batch))


NOISE_UPDATES: Dict[str, Type[NoiseUpdate]] = {
    "adam": AdamNoise, "conjugate": ConjugateNoise, "held_out": HeldOutNoise, "leave_one_out": LeaveOneOutNoise}


def with_predictive_level(trained: State, predictive: State) -> State:
    """Merges two states; names of the second get the prefix "predictive_"."""
    return dict(trained, **{f"predictive_{name}": value for name, value in predictive.items()})


def predictive_noise(state: Mapping[str, Any]) -> Any:
    """Returns the (log alpha, log beta), [2] or [2, m], that predictions use; of tensors or arrays."""
    return state.get("predictive_log_noise", state["log_noise"])


def leave_one_out_outputs(outputs: tf.Tensor, targets: tf.Tensor, precision: tf.Tensor, kl_weight: Scalar = 1.0,
                          dof: float = np.inf) -> tf.Tensor:
    """Approximates, to first order, the leave-one-out predictions: each row as if its own target had not been used.

    At a row, the outputs are N(m, lambda v) over the draws, where v is the variance at lambda = 1. Let g be the
    gradient of the row's log p for the output, F its Fisher information there, and h = v F the row's leverage. Without
    the row, the outputs would be N(m - v g / (1 - h), lambda v / (1 - h)). The given draws are shifted and stretched to
    that mean and variance.

    With m targets, each has a leverage of its own, as if the outputs were independent. (The leverage is really the
    matrix V F, for the covariance matrix V of the outputs.)

    As in generalised cross-validation, all rows share one h, the mean over the minibatch: with few draws, the estimate
    for a single row is too noisy. It is limited to MAX_LEVERAGE. The result is exact for a linear model with Gaussian
    noise, the exact posterior, and equal leverages. Where the posterior has no covariances between weights (diag, bbb),
    or while `kl_warmup` lasts, h is only an approximation of the leverage.

    Args:
      outputs, targets: [K, n, m] and [n] or [n, m], standardised.
      precision: E[tau] under which the weights train, a scalar or [m].
      kl_weight: lambda times the current KL scale, which divides the variance of the draws to give v.
      dof: degrees of freedom of the noise; infinite for Gaussian noise.

    Returns:
      [K, n, m]; `outputs` themselves if K = 1.

    Reference: Golub, Heath and Wahba (1979), Generalized cross-validation as a method for choosing a good ridge
    parameter, Sec. 1
    """
    n_draws = int(outputs.shape[0])
    mean = tf.reduce_mean(outputs, axis=0, keepdims=True)
    one = targets.shape.ndims == 1
    deviation, residual = outputs - mean, as_outputs(targets) - mean
    squares = tf.reduce_sum(tf.square(deviation), axis=None if one else [0, 1])
    variance = squares / (max(n_draws - 1, 1) * kl_weight)  # summed over rows
    n_rows = tf.size(targets) if one else tf.shape(targets)[0]
    fisher = precision / tf.cast(n_rows, outputs.dtype) * student_information(dof)  # divided by the rows
    leverage = tf.minimum(fisher * variance, MAX_LEVERAGE)
    return without_own_target(mean, deviation, newton_step(residual, precision, dof), leverage)
