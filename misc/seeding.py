"""All randomness of a run, as pure functions of (seed, what it is for, when).

Nothing here keeps a state: the noise of step 1000 is the same in a run that got there at
once, in one that was killed and resumed, and on either TensorFlow.
"""
import zlib

import numpy as np


def stream_seed(seed, *names):
    """A number in [0, 2**31) for one purpose, e.g. stream_seed(1, "noise", "dense0").

    Pair it with the step, as in tf.random.stateless_normal(seed=[stream_seed(...), step]).
    """
    return zlib.crc32("/".join(str(part) for part in (seed,) + names).encode()) & 0x7FFFFFFF


def stream(seed, *names):
    """A numpy generator (RandomState: the same numbers on every numpy) for one purpose."""
    return np.random.RandomState(stream_seed(seed, *names))
