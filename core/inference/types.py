"""Type aliases of this package.

NOTE: shapes are not part of these types; every docstring states them. K is the number of particles (weight draws),
n the number of examples in a minibatch.
"""
from typing import Dict, Tuple, Union

import tensorflow.compat.v1 as tf

Scalar = Union[float, tf.Tensor]
"""A Python number or a scalar tensor."""

State = Dict[str, tf.Tensor]
"""All that a layer or a likelihood keeps from one step to the next: name -> tensor."""

Shape = Tuple[int, int]
"""Shape [d_in + 1, d_out] of a weight matrix."""
