"""How far each step goes: step sizes, decays of the moving averages and the clip, as functions of the step."""
import tensorflow.compat.v1 as tf

from core.inference.families import StepSizes

CLIP_DECAY = 0.95  # of kl_clip per epoch, as published


def regression_step_sizes(config, epoch, now, steps_per_epoch):
    """Rates of step `now` (a float, from 1); `decay` multiplies alpha, beta and omega."""
    table = [config.lr_decay_ratio ** k for k in range((config.epoch - 1) // config.decay_interval + 1)]
    decay = tf.gather(tf.constant(table, now.dtype), (epoch - 1) // config.decay_interval)
    return StepSizes(config.alpha * decay, config.beta * decay, config.omega * decay, now, kl_scale(config, now, steps_per_epoch))


def classification_step_sizes(config, epoch, now, steps_per_epoch):
    """Rates of step `now` (a float, from 1); `decay` is not used.

    The moving averages of A, S and f begin as plain averages of what there is (a bias correction),
    until an update weighs 1 - cov_ema_decay. The clip begins small and is whole after clip_warmup steps:
    momentum makes up to 1 / (1 - momentum) of a step, and early gradients are mostly noise. (With the
    whole clip from the first step a VGG16 without batch normalisation loses its units and stays at chance.)
    """
    before = now - 1.0
    learning_rate = config.learning_rate * tf.pow(tf.constant(0.1, now.dtype), before // config.decay_every_itr)
    cov = tf.maximum(1.0 / count_of_updates(now, config.TCov), 1.0 - config.cov_ema_decay)
    growth = tf.minimum(now / config.clip_warmup, 1.0) if config.clip_warmup else 1.0
    clip = config.kl_clip * growth * tf.pow(tf.constant(CLIP_DECAY, now.dtype), before // steps_per_epoch)
    return StepSizes(learning_rate, cov, 1.0 - config.scale_ema_decay, now, kl_scale(config, now, steps_per_epoch), clip)


def norm_rate(now):
    """Rate of batch normalisation's moving averages at step `now` (a float, from 1).

    They are over about a twentieth of the steps so far, but 10 to 100: a longer average lags behind the weights
    while these move fast, a shorter one goes by few draws of them.
    """
    return tf.maximum(1.0 / now, tf.clip_by_value(20.0 / now, 0.01, 0.1))


def count_of_updates(step, period):
    """How many updates with this period, and one at the first step, there were up to and with `step` (a number)."""
    return step if period == 1 else 1.0 + step // period


def kl_scale(config, now, steps_per_epoch):
    warmup = config.warmup_epochs * steps_per_epoch
    return tf.clip_by_value(now / warmup, 1.0 / warmup, 1.0) if warmup else 1.0
