"""Tensors of float64."""
import tensorflow.compat.v1 as tf


def tensor(value):
    return tf.constant(value, tf.float64)
