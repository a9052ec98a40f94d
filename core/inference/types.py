"""Names for the types that the functions of this package take and return."""
from typing import Any, Callable, Dict, FrozenSet, Union

import tensorflow.compat.v1 as tf

Tensor = tf.Tensor
Number = Union[float, tf.Tensor]  # a scalar: a Python number or a tensor
State = Dict[str, Any]            # {name: tensor}, all that moves of one layer or of the likelihood
Due = FrozenSet[str]              # names of the updates that are due in a step
Solve = Callable[..., Any]        # a factorisation, see solvers.Solver
