"""Step sizes, decays of the moving averages, the KL clip and the KL scale, as functions of the step. In the graph."""
from typing import NamedTuple, Optional

import tensorflow.compat.v1 as tf

from core.inference.types import Number, Tensor
from misc.config import Config

CLIP_DECAY = 0.95  # of kl_clip per epoch, as published


class StepSizes(NamedTuple):
    """Scalars of one step, as the graph's floats."""

    mean: Number                   # step size of the mean
    cov: Number                    # 1 - decay of the moving averages of A and S, or of f
    scale: Number                  # 1 - decay of the moving average of R
    step: Tensor                   # number of the step, from 1
    kl_scale: Number               # current fraction of the KL weight, in (0, 1]
    clip: Optional[Number] = None  # largest KL divergence of a single step; None: no limit


def regression_step_sizes(config: Config, epoch: Tensor, now: Tensor, steps_per_epoch: int) -> StepSizes:
    """Returns the StepSizes of step `now` (a float, from 1) in `epoch` (an int32 scalar, from 1).

    alpha, beta and omega are multiplied by lr_decay_ratio every decay_interval epochs.
    """
    decays = [config.lr_decay_ratio ** n for n in range((config.epoch - 1) // config.decay_interval + 1)]
    decay = tf.gather(tf.constant(decays, now.dtype), (epoch - 1) // config.decay_interval)
    return StepSizes(config.alpha * decay, config.beta * decay, config.omega * decay, now,
                     kl_scale(config, now, steps_per_epoch))


def classification_step_sizes(config: Config, epoch: Tensor, now: Tensor, steps_per_epoch: int) -> StepSizes:
    """Returns the StepSizes of step `now` (a float, from 1).

    The moving averages of A, S and f begin as plain averages of what there is (a bias correction), until an
    update weighs 1 - cov_ema_decay. The clip grows from 0 over clip_warmup steps: momentum multiplies a step by
    up to 1 / (1 - momentum), and early gradients are mostly noise. (With the full clip from the first step, a
    VGG16 without batch normalisation loses its units and stays at chance.)
    """
    before = now - 1.0
    learning_rate = config.learning_rate * tf.pow(tf.constant(0.1, now.dtype), before // config.decay_every_itr)
    cov = tf.maximum(1.0 / count_of_updates(now, config.TCov), 1.0 - config.cov_ema_decay)
    growth = tf.minimum(now / config.clip_warmup, 1.0) if config.clip_warmup else 1.0
    clip = config.kl_clip * growth * tf.pow(tf.constant(CLIP_DECAY, now.dtype), before // steps_per_epoch)
    return StepSizes(learning_rate, cov, 1.0 - config.scale_ema_decay, now, kl_scale(config, now, steps_per_epoch),
                     clip)


def kl_scale(config: Config, now: Tensor, steps_per_epoch: int) -> Number:
    """Returns the fraction of the KL weight at step `now` (a float, from 1), which grows to 1 over kl_warmup epochs."""
    warmup = config.warmup_epochs * steps_per_epoch
    return tf.clip_by_value(now / warmup, 1.0 / warmup, 1.0) if warmup else 1.0


def norm_rate(now: Tensor) -> Tensor:
    """Returns the rate of batch normalisation's moving averages at step `now` (a float, from 1).

    They average about the last twentieth of all steps so far, but at least 10 and at most 100 steps: a longer
    average lags behind the weights while these move fast, and a shorter one is based on few weight draws.
    """
    return tf.maximum(1.0 / now, tf.clip_by_value(20.0 / now, 0.01, 0.1))


def count_of_updates(step: Number, period: int) -> Number:
    """Returns how many updates there were up to and including `step`: every `period` steps, and at the first."""
    return step if period == 1 else 1.0 + step // period
