"""Sets TensorFlow up for this project: graph mode, resource variables, the same behaviour in 1.15 and 2.x.

Call `prepare()` before anything imports tensorflow.
"""
import contextlib
import os
import types
import typing
import warnings

from misc.config import CLASSIFICATION, REGRESSION

if typing.TYPE_CHECKING:  # importing it here would come before `prepare`
    import tensorflow.compat.v1 as tf


ONEDNN = {REGRESSION: "0", CLASSIFICATION: "1"}  # whether TensorFlow 2.x uses oneDNN kernels


def prepare(mode: str = REGRESSION) -> types.ModuleType:
    """Sets the switches that make TensorFlow 1.15 and 2.x behave alike; returns the module.

    TensorFlow starts quietly and without Keras, whose import takes as long as building a graph. oneDNN kernels
    (TensorFlow 2.x) are used for classification only: they make convolutions about three times as fast, but their
    rounding depends on the machine. The environment variable TF_ENABLE_ONEDNN_OPTS overrides this choice.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", ONEDNN[mode])
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    with warnings.catch_warnings(), _silent_stderr():
        warnings.simplefilter("ignore")  # numpy's deprecation warnings inside TensorFlow 1.15
        import tensorflow.compat.v1 as tf

        tf.logging.set_verbosity(tf.logging.ERROR)
        tf.disable_v2_behavior()
        tf.enable_resource_variables()
    return tf


def has_gpu() -> bool:
    """Tells whether TensorFlow sees a GPU."""
    import tensorflow.compat.v1 as tf

    with _silent_stderr():
        return bool(tf.config.experimental.list_physical_devices("GPU"))


def session(graph: "tf.Graph", threads: int) -> "tf.Session":
    """Returns a session on `graph`, to be used as a context manager.

    Args:
      threads: 0 lets TensorFlow choose. Otherwise every op uses this many threads; with 1 the ops also run in the
        caller's thread, which saves a hand-over per `session.run` and is best for small networks.

    NOTE: TensorFlow has one pool of threads for the insides of all ops. The first session of a process creates it,
    and later sessions cannot change its size. Convolutions round differently with another number of threads.
    """
    import tensorflow.compat.v1 as tf

    config = tf.ConfigProto(allow_soft_placement=True)
    config.gpu_options.allow_growth = True
    config.intra_op_parallelism_threads = threads
    config.inter_op_parallelism_threads = -1 if threads == 1 else threads
    with _silent_stderr():
        return tf.Session(graph=graph, config=config)


@contextlib.contextmanager
def _silent_stderr() -> typing.Iterator[None]:
    """Drops what TensorFlow's C++ code prints while it loads; Python errors still pass."""
    stderr, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(devnull, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(devnull)
