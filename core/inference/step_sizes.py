"""Step sizes of a training step: of the mean, of the moving averages, of the clip and of the KL weight.

Pure functions of the step. `regression_step_sizes` go with `optimizer.averaged_steps`, `classification_step_sizes` with
`optimizer.clipped_steps`.
"""
from typing import NamedTuple, Optional

import tensorflow.compat.v1 as tf

from core.inference.types import Scalar
from misc.config import Config

CLIP_DECAY = 0.95  # factor on kl_clip per epoch, as published


class StepSizes(NamedTuple):
    """The scalars of one training step: Python numbers or scalar tensors of the graph's floating-point type."""

    mean: Scalar  # step size of the mean
    cov: Scalar  # weight of the minibatch in the moving averages of A and S (diag: of f), i.e. 1 - decay
    scale: Scalar  # weight of the minibatch in the moving average of R, i.e. 1 - decay
    step: Scalar  # number of the step, from 1
    kl_scale: Scalar  # current fraction of the KL weight, in (0, 1]; see `kl_scale`
    clip: Optional[Scalar] = None  # largest KL divergence of a step, before momentum; None: no limit


def kl_scale(config: Config, now: tf.Tensor, steps_per_epoch: int) -> Scalar:
    """Returns the current fraction of the KL weight, in (0, 1], which grows linearly over config's `kl_warmup` epochs.

    It scales the posterior covariance and the prior gradient, not the damping.

    Args:
      now: number of the step, from 1, a float.
    """
    warmup = config.warmup_epochs * steps_per_epoch
    return tf.clip_by_value(now / warmup, 1.0 / warmup, 1.0) if warmup else 1.0


def regression_step_sizes(config: Config, step: tf.Tensor, now: tf.Tensor, steps_per_epoch: int) -> StepSizes:
    """Returns alpha, beta and omega, all multiplied by the decay of the epoch.

    Args:
      step: number of steps done before this one, an int32 scalar, from 0.
      now: step + 1 as a float, from 1.
    """
    decay = epoch_decay(config, step, steps_per_epoch, now.dtype)
    return StepSizes(config.alpha * decay, config.beta * decay, config.omega * decay, now,
                     kl_scale(config, now, steps_per_epoch))


def epoch_decay(config: Config, step: tf.Tensor, steps_per_epoch: int, dtype: tf.DType) -> tf.Tensor:
    """Returns lr_decay_ratio^k after k whole intervals of `decay_interval` epochs, a scalar.

    The powers are looked up in a table made by Python, and k is an integer, so the result is exact after any number
    of steps. After config's last epoch the decay stays as it is.

    Args:
      step: number of steps done before this one, an int32 scalar, from 0.
    """
    interval = min(config.decay_interval, config.epoch)
    n_powers = (config.epoch - 1) // interval + 1
    # NOTE: both the scope and the squeezed slice keep results equal to the last bit. TensorFlow's graph optimizer sorts
    # the terms of a sum by the names of their ops, which are numbered per scope; and it reorders products such as
    # decay * (l_A l_S^T) if it knows that the decay is a scalar, which it cannot tell of a squeezed slice.
    with tf.name_scope("decay"):
        powers = tf.constant([config.lr_decay_ratio ** k for k in range(n_powers)], dtype)
        k = tf.minimum(step // steps_per_epoch // interval, n_powers - 1)
        decay = tf.squeeze(powers[k:k + 1])
    decay.set_shape([])
    return decay


def classification_step_sizes(config: Config, step: tf.Tensor, now: tf.Tensor, steps_per_epoch: int) -> StepSizes:
    """Returns the step sizes of classification. Arguments as for `regression_step_sizes`.

    learning_rate is multiplied by 0.1 every decay_every_itr steps. The moving averages of A, S and f begin as plain
    averages of all minibatches so far (a bias correction), until one update weighs less than 1 - cov_ema_decay.

    The clip grows from 0 to kl_clip over clip_warmup steps, because momentum makes up to 1 / (1 - momentum) of a step
    and early gradients are mostly noise. (With the full kl_clip from the first step, a VGG16 without batch
    normalisation loses its hidden units and stays at chance.) Independently, it shrinks by CLIP_DECAY every epoch.
    """
    before = now - 1.0
    learning_rate = config.learning_rate * tf.pow(tf.constant(0.1, now.dtype), before // config.decay_every_itr)
    cov = tf.maximum(1.0 / count_of_updates(now, config.TCov), 1.0 - config.cov_ema_decay)
    growth = tf.minimum(now / config.clip_warmup, 1.0) if config.clip_warmup else 1.0
    clip = config.kl_clip * growth * tf.pow(tf.constant(CLIP_DECAY, now.dtype), before // steps_per_epoch)
    return StepSizes(learning_rate, cov, 1.0 - config.scale_ema_decay, now, kl_scale(config, now, steps_per_epoch),
                     clip)


def norm_rate(now: tf.Tensor) -> tf.Tensor:
    """Returns the weight of the minibatch in the moving averages of batch normalisation at step `now` (from 1).

    The average covers about a twentieth of the steps so far, but at least 10 and at most 100 of them: a longer average
    lags behind weights that move fast, a shorter one depends on too few weight draws.
    """
    return tf.maximum(1.0 / now, tf.clip_by_value(20.0 / now, 0.01, 0.1))


def count_of_updates(step: Scalar, period: int) -> Scalar:
    """Returns how many updates there were up to and including `step`, with one at step 1 and one every `period`."""
    return step if period == 1 else 1.0 + step // period
