"""Standard normal numbers as a function of a seed."""
import math
from typing import Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from core.inference.types import Scalar

BOX_MULLER_FROM = 128**2
"""Numbers per draw from which they are made of uniform ones by elementwise operations, which is faster."""


def normals(shape: Sequence[Scalar], seed: Optional[tf.Tensor], dtype: tf.DType) -> tf.Tensor:
    """Draws independent standard normal numbers [K, ...], which depend on the seed alone.

    Args:
      shape: its first entry K, an int or a tensor, is the number of draws; many numbers per draw are made by
        `box_muller`.
      seed: int32 pair (stream, step), see misc/seeding.py.
    """
    if int(np.prod(shape[1:])) < BOX_MULLER_FROM:
        return tf.random.stateless_normal(shape, seed=seed, dtype=dtype)
    return box_muller(shape, seed, dtype)


def box_muller(shape: Sequence[Scalar], seed: Optional[tf.Tensor], dtype: tf.DType) -> tf.Tensor:
    """Draws standard normal numbers by the Box-Muller transform of uniform ones.

    A pair (u, v) makes the pair sqrt(-2 log(1 - u)) (cos 2 pi v, sin 2 pi v). In float32 none is beyond 5.8. On a CPU,
    whose elementwise operations are vectorised, it takes 0.6 of the time of TensorFlow's own normal numbers.
    """
    n_numbers = shape[0] * int(np.prod(shape[1:]))
    n_pairs = (n_numbers + 1) // 2
    uniform = tf.random.stateless_uniform([2, n_pairs], seed=seed, dtype=dtype)
    radius, angle = tf.sqrt(-2.0 * tf.log(1.0 - uniform[0])), 2.0 * math.pi * uniform[1]
    numbers = tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], axis=0)
    return tf.reshape(numbers[:n_numbers], shape)
