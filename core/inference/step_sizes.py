"""The scalars of a training step: step size of the mean, rates of the moving averages, KL clip and KL scale.

Pure functions of the step, one for each step rule: `regression_step_sizes`, `classification_step_sizes`.
"""
import math
from typing import Dict, NamedTuple, Optional

import tensorflow.compat.v1 as tf

from core.inference.types import Scalar
from misc.config import Config

LOG_OF_ZERO = -746.0  # exp(x) underflows to 0 in float64 for every x up to this value


class StepSizes(NamedTuple):
    """The scalars of one training step: Python numbers or scalar tensors of the graph's floating-point type."""

    mean: Scalar  # step size of the mean
    cov: Scalar  # weight of the minibatch in the moving averages of A and S (diag: of f), i.e. 1 - decay
    scale: Scalar  # weight of the minibatch in the moving average of R, i.e. 1 - decay
    step: Scalar  # number of the step, from 1
    kl_scale: Scalar  # current fraction of the KL weight, in (0, 1]; see `kl_scale`
    clip: Optional[Scalar] = None  # largest KL divergence of a step, before momentum; None: no limit


class Refreshes(NamedTuple):
    """How often the curvature is updated."""

    periods: Dict[str, int]  # {update: steps between two of them}
    multiple: int = 1        # of the periods that the config's rates of moving averages are for (auto_refresh)

    def rate(self, rate: Scalar) -> Scalar:
        """Returns the rate of a moving average that covers as many steps with the longer periods: 1 - (1 - rate)^k."""
        return rate if self.multiple == 1 else 1.0 - (1.0 - rate)**self.multiple


def kl_scale(config: Config, now: tf.Tensor, steps_per_epoch: int) -> Scalar:
    """Returns the current fraction of the KL weight, in (0, 1], which grows linearly over config's `kl_warmup` epochs.

    It scales the posterior covariance, the prior gradient and the KL of the noise precision, not the damping.

    Args:
      now: number of the step, from 1, a float.
    """
    warmup = config.warmup_epochs * steps_per_epoch
    return tf.clip_by_value(now / warmup, 1.0 / warmup, 1.0) if warmup else 1.0


def regression_step_sizes(config: Config, epoch: tf.Tensor, now: tf.Tensor, steps_per_epoch: int,
                          refreshes: Refreshes) -> StepSizes:
    """Returns the StepSizes of regression: alpha, beta and omega, each multiplied by `epoch_decay`.

    Args:
      epoch: number of the epoch that the step is in, from 1, an int32 scalar.
      now: number of the step, from 1, a float.
    """
    decay = epoch_decay(config, epoch, now.dtype)
    return StepSizes(config.alpha * decay, refreshes.rate(config.beta * decay), refreshes.rate(config.omega * decay),
                     now, kl_scale(config, now, steps_per_epoch))


def epoch_decay(config: Config, epoch: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Returns lr_decay_ratio^k after k whole intervals of `decay_interval` epochs, a scalar.

    The powers are looked up in a table made by Python, so the result is exact. After config's last epoch the decay
    stays as it is.

    Args:
      epoch: from 1, an int32 scalar. NOTE: it has to be fed, as a placeholder. TensorFlow's graph optimizer reorders
        products such as decay * (l_A l_S^T) once it knows that a factor is a scalar, which it cannot tell of what
        depends on a placeholder; results would change by rounding.
    """
    interval = min(config.decay_interval, config.epoch)  # may be beyond 32 bits
    n_powers = min((config.epoch - 1) // interval, _last_distinct_power(config.lr_decay_ratio)) + 1
    powers = tf.constant([config.lr_decay_ratio ** k for k in range(n_powers)], dtype)
    return tf.gather(powers, tf.minimum((epoch - 1) // interval, n_powers - 1))


def _last_distinct_power(ratio: float) -> int:
    """Returns an exponent beyond which ratio^k, with ratio in (0, 1], no longer changes in float64."""
    return 0 if ratio == 1.0 else math.ceil(LOG_OF_ZERO / math.log(ratio))


def classification_step_sizes(config: Config, epoch: tf.Tensor, now: tf.Tensor, steps_per_epoch: int,
                              refreshes: Refreshes) -> StepSizes:
    """Returns the step sizes of classification. Arguments as for `regression_step_sizes`.

    learning_rate is multiplied by 0.1 every decay_every_itr steps. The moving averages of A, S and f begin as plain
    averages of all minibatches so far (a bias correction), until one update weighs less than 1 - cov_ema_decay; with
    init_from they go on from those of the other run.

    The clip grows from 0 to kl_clip over clip_warmup steps, because momentum can enlarge a step by a factor of up to 1
    / (1 - momentum), and early gradients are mostly noise. (With the full kl_clip from the first step, a VGG16 without
    batch normalisation loses its hidden units and stays at chance.) Independently of that, it is multiplied by
    clip_decay after every epoch, the first ones included: so it never reaches kl_clip, if clip_warmup is long.
    """
    before = now - 1.0
    learning_rate = config.learning_rate * tf.pow(tf.constant(0.1, now.dtype), before // config.decay_every_itr)
    cov = refreshes.rate(1.0 - config.cov_ema_decay)
    if config.init_from is None and "cov" in refreshes.periods:
        cov = tf.maximum(1.0 / count_of_updates(now, refreshes.periods["cov"]), cov)
    growth = tf.minimum(now / config.clip_warmup, 1.0) if config.clip_warmup else 1.0
    clip = config.kl_clip * growth * tf.pow(tf.constant(config.clip_decay, now.dtype), before // steps_per_epoch)
    return StepSizes(learning_rate, cov, refreshes.rate(1.0 - config.scale_ema_decay), now,
                     kl_scale(config, now, steps_per_epoch), clip)


def norm_rate(now: tf.Tensor, warm: bool = False) -> tf.Tensor:
    """Returns the weight of the minibatch in the moving averages of batch normalisation at step `now` (from 1).

    They normalise single values in the last minibatch; predictions use moments of training rows.

    The average covers about a twentieth of the steps so far, but at least 10 and at most 100 of them: a longer average
    lags behind weights that move fast, a shorter one depends on too few weight draws. The first value replaces what is
    there, unless this is the average of another run (`warm`).
    """
    later = tf.clip_by_value(20.0 / now, 0.01, 0.1)
    return later if warm else tf.maximum(1.0 / now, later)


def count_of_updates(step: Scalar, period: int) -> Scalar:
    """Returns how many updates there were up to and including `step`, with one at step 1 and one every `period`."""
    return step if period == 1 else 1.0 + step // period
