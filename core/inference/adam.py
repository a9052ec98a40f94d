"""Moving averages, and Adam as a pure function, for the parameters that natural gradient does not train."""
from typing import Tuple

import tensorflow.compat.v1 as tf

from core.inference.types import Number, Tensor

DECAY, SQUARE_DECAY, EPSILON = 0.9, 0.999, 1e-8


def ema(average: Number, value: Number, rate: Number) -> Number:
    """Returns an exponential moving average after one more value.

    At rate 1 it equals the value to the last bit, however small that is.
    """
    return (1.0 - rate) * average + rate * value


def debias(average: Tensor, decay: float, step: Tensor) -> Tensor:
    """Divides a moving average that started at 0 by the weight it has gathered by `step` (from 1)."""
    return average / (1.0 - tf.pow(tf.constant(decay, average.dtype), step))


def ema_square(square: Tensor, grad: Tensor) -> Tensor:
    """Returns the moving average of grad^2 after one more gradient."""
    return SQUARE_DECAY * square + (1.0 - SQUARE_DECAY) * tf.square(grad)


def root(square: Tensor, step: Tensor) -> Tensor:
    """Returns Adam's denominator: the root of the debiased average, plus a small constant."""
    return tf.sqrt(debias(square, SQUARE_DECAY, step)) + EPSILON


def adam_step(grad: Tensor, average: Tensor, square: Tensor, step: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
    """Returns (direction, new average, new square). The caller ascends by learning rate times direction.

    Reference: Kingma and Ba (2015), Alg. 1, https://arxiv.org/abs/1412.6980
    """
    average = DECAY * average + (1.0 - DECAY) * grad
    square = ema_square(square, grad)
    return debias(average, DECAY, step) / root(square, step), average, square
