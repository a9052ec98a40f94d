"""Moving averages, and Adam as a pure function for the parameters that natural gradient does not train."""
from typing import Tuple

import tensorflow.compat.v1 as tf

from core.inference.types import Scalar

DECAY, SQUARE_DECAY, EPSILON = 0.9, 0.999, 1e-8


def ema(average: tf.Tensor, value: tf.Tensor, rate: Scalar) -> tf.Tensor:
    """Returns the exponential moving average after one more value: (1 - rate) average + rate value.

    At rate 1 the result equals the value to the last bit, however small the value is.
    """
    return (1.0 - rate) * average + rate * value


def ema_square(square: tf.Tensor, grad: tf.Tensor) -> tf.Tensor:
    """Returns Adam's moving average of grad^2 after one more gradient."""
    return SQUARE_DECAY * square + (1.0 - SQUARE_DECAY) * tf.square(grad)


def debias(average: tf.Tensor, decay: float, step: Scalar) -> tf.Tensor:
    """Corrects a moving average that started at 0: divides it by 1 - decay^step, with `step` counted from 1."""
    return average / (1.0 - tf.pow(tf.constant(decay, average.dtype), step))


def root(square: tf.Tensor, step: Scalar) -> tf.Tensor:
    """Returns Adam's denominator, sqrt(debiased average of grad^2) + EPSILON."""
    return tf.sqrt(debias(square, SQUARE_DECAY, step)) + EPSILON


def adam_step(grad: tf.Tensor, average: tf.Tensor, square: tf.Tensor,
              step: Scalar) -> Tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns (direction, new average, new square). For ascent, add learning rate times direction.

    Args:
      grad: gradient, of any shape.
      average, square: moving averages of grad and grad^2, of the same shape; 0 before the first step.
      step: number of the step, from 1.

    Reference: Kingma and Ba (2015), Alg. 1, https://arxiv.org/abs/1412.6980
    """
    average = DECAY * average + (1.0 - DECAY) * grad
    square = ema_square(square, grad)
    return debias(average, DECAY, step) / root(square, step), average, square
