"""TensorFlow as this project uses it: graph mode, resource variables, the same on both stacks.

Call `prepare()` before anything imports tensorflow.
"""
import contextlib
import os
import warnings

from misc.config import CLASSIFICATION, REGRESSION


def prepare(mode=REGRESSION):
    """Sets the switches that make TensorFlow 1.15 and 2.x behave alike; returns the module.

    Quiet start; no Keras, whose import alone would take as long as building a graph. oneDNN kernels
    (TensorFlow 2.x) only for classification: they make convolutions about three times as fast, but
    their rounding depends on the machine. The environment's TF_ENABLE_ONEDNN_OPTS overrides this.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1" if mode == CLASSIFICATION else "0")
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    with warnings.catch_warnings(), _silent_stderr():
        warnings.simplefilter("ignore")  # numpy deprecations inside TensorFlow 1.15
        import tensorflow.compat.v1 as tf

        tf.logging.set_verbosity(tf.logging.ERROR)
        tf.disable_v2_behavior()
        tf.enable_resource_variables()
    return tf


def has_gpu():
    """Whether TensorFlow sees a GPU."""
    import tensorflow.compat.v1 as tf

    with _silent_stderr():
        return bool(tf.config.experimental.list_physical_devices("GPU"))


def session(graph, threads):
    """A session on `graph`; use it as a context manager.

    Args:
      threads: 0 lets TensorFlow choose. Otherwise every op uses this many threads, and
        with 1 the ops also run in the caller's thread, which saves a hand-over per
        `session.run`: the best choice for small networks.

    NOTE: TensorFlow has one pool of threads for the insides of all ops, made by the first session of a process;
    a later session gets no other number. Convolutions round differently with another number of threads.
    """
    import tensorflow.compat.v1 as tf

    config = tf.ConfigProto(allow_soft_placement=True)
    config.gpu_options.allow_growth = True
    config.intra_op_parallelism_threads = threads
    config.inter_op_parallelism_threads = -1 if threads == 1 else threads
    with _silent_stderr():
        return tf.Session(graph=graph, config=config)


@contextlib.contextmanager
def _silent_stderr():
    """Drops what TensorFlow's C++ side prints while it loads; Python errors come through."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
