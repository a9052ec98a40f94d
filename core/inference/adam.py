"""Moving averages, and Adam as a pure function, for the parameters that natural gradient does not train."""
import tensorflow.compat.v1 as tf

DECAY, SQUARE_DECAY, EPSILON = 0.9, 0.999, 1e-8


def debias(average, decay, step):
    """A moving average that started at 0, divided by the weight it has gathered by `step` (from 1)."""
    return average / (1.0 - tf.pow(tf.constant(decay, average.dtype), step))


def ema(average, value, rate):
    """A moving average after one more value. At rate 1 it is the value to the last bit, however small that is."""
    return (1.0 - rate) * average + rate * value


def moved_square(square, grad):
    """The moving average of grad^2 after one more gradient."""
    return SQUARE_DECAY * square + (1.0 - SQUARE_DECAY) * tf.square(grad)


def root(square, step):
    """What Adam divides by: the root of the debiased average, plus a little."""
    return tf.sqrt(debias(square, SQUARE_DECAY, step)) + EPSILON


def adam_step(grad, average, square, step):
    """(direction, new average, new square). Ascent: add learning rate times direction.

    Reference: Kingma and Ba (2015), Alg. 1, https://arxiv.org/abs/1412.6980
    """
    average = DECAY * average + (1.0 - DECAY) * grad
    square = moved_square(square, grad)
    return debias(average, DECAY, step) / root(square, step), average, square
