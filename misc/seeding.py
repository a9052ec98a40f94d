"""All randomness of a run, as pure functions of (seed, purpose, step or epoch).

No generator keeps a state between steps: the noise of step 1000 is the same in a run that was never interrupted, in
one that was killed and resumed, and in either version of TensorFlow.
"""
import zlib

import numpy as np


def stream_seed(seed: int, *names: object) -> int:
    """Returns a number in [0, 2**31) for one purpose, e.g. stream_seed(1, "noise", "dense0").

    Pair it with the step, as in tf.random.stateless_normal(seed=[stream_seed(...), step]).
    """
    return zlib.crc32("/".join(str(part) for part in (seed, *names)).encode()) & 0x7FFFFFFF


def stream(seed: int, *names: object) -> np.random.RandomState:
    """Returns a numpy generator for one purpose. RandomState gives the same numbers in every version of numpy."""
    return np.random.RandomState(stream_seed(seed, *names))
