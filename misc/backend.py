"""Sets TensorFlow up for this project: graph mode, resource variables, the same behaviour in 1.15 and 2.x.

Call `prepare()` before anything imports tensorflow.
"""
import contextlib
import os
import threading
import types
import typing
import warnings

from misc.config import CLASSIFICATION, REGRESSION

if typing.TYPE_CHECKING:  # importing it here would come before `prepare`
    import tensorflow.compat.v1 as tf


SMALL = 200_000  # numbers in the variables of a graph whose ops run in the caller's thread

ONEDNN = {REGRESSION: "0", CLASSIFICATION: "1"}  # whether TensorFlow 2.x uses oneDNN kernels

SWITCHES = {
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "TF_USE_LEGACY_KERAS": "1",
    "TF_DETERMINISTIC_OPS": "1",     # read by TensorFlow 2.x
    "TF_CUDNN_DETERMINISTIC": "1",   # read by TensorFlow 1.15
    "NVIDIA_TF32_OVERRIDE": "0",     # read by cuBLAS and cuDNN, where TensorFlow has no switch of its own
}
"""Environment variable -> its value unless the environment sets it."""


def prepare(mode: str = REGRESSION) -> types.ModuleType:
    """Sets the switches that make TensorFlow 1.15 and 2.x behave alike; returns the module.

    TensorFlow starts quietly and without Keras, whose import takes as long as building a graph. oneDNN kernels
    (TensorFlow 2.x) are used for classification only: they make convolutions about three times as fast, but their
    rounding depends on the machine. The environment variable TF_ENABLE_ONEDNN_OPTS overrides this choice.

    On GPUs, ops take deterministic kernels (TF_DETERMINISTIC_OPS for TensorFlow 2.x and TF_CUDNN_DETERMINISTIC for
    1.15 override this), and products of float32 matrices are computed in float32, never in TensorFloat-32.
    """
    for name, value in dict(SWITCHES, TF_ENABLE_ONEDNN_OPTS=ONEDNN[mode]).items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings(), _silent_stderr():
        warnings.simplefilter("ignore")  # numpy's deprecation warnings inside TensorFlow 1.15
        import tensorflow.compat.v1 as tf

        tf.logging.set_verbosity(tf.logging.ERROR)
        tf.disable_v2_behavior()
        tf.enable_resource_variables()
        if hasattr(tf.config.experimental, "enable_tensor_float_32_execution"):  # TensorFlow 2.4 and newer
            tf.config.experimental.enable_tensor_float_32_execution(False)
    return tf


def has_gpu() -> bool:
    """Tells whether TensorFlow sees a GPU."""
    return bool(gpus())


def gpus() -> typing.List[typing.Any]:
    """Returns the GPUs that TensorFlow sees; opens none."""
    import tensorflow.compat.v1 as tf

    with _silent_stderr():
        return list(tf.config.experimental.list_physical_devices("GPU"))


def session(graph: "tf.Graph", threads: int, gpu: bool = False) -> "tf.Session":
    """Returns a session on `graph`, to be used as a context manager.

    Args:
      gpu: whether to open the first GPU that TensorFlow sees; no other GPU is ever opened.
      threads: 0 lets TensorFlow choose. Otherwise every op uses this many threads. With 1, the ops of a graph whose
        variables hold at most SMALL numbers also run in the caller's thread, which saves a hand-over per `session.run`:
        a twentieth of the time. Those of a larger graph run in a thread of TensorFlow, which flushes subnormal numbers
        (below 1e-38 in float32) to 0. In the caller's thread they stay, and make a step several times slower: where
        hidden units have died, up to a quarter of the weights can be so small. The variables must be there already.

    NOTE: TensorFlow has one pool of threads for the insides of all ops. The first session of a process creates it,
    and later sessions cannot change its size. Convolutions round differently with another number of threads.
    """
    import tensorflow.compat.v1 as tf

    config = tf.ConfigProto(allow_soft_placement=True)
    config.gpu_options.allow_growth = True
    config.gpu_options.visible_device_list = "0"
    if not gpu:
        config.device_count["GPU"] = 0
    config.intra_op_parallelism_threads = threads
    if threads != 1:
        config.inter_op_parallelism_threads = threads
    elif _n_values(graph) <= SMALL:
        config.inter_op_parallelism_threads = -1
    else:  # a pool of this session alone: the one that sessions share has the size that the first one chose
        config.session_inter_op_thread_pool.add(num_threads=1)
    with _silent_stderr():
        return tf.Session(graph=graph, config=config)


def _n_values(graph: "tf.Graph") -> int:
    """Returns how many numbers the variables of a graph hold."""
    import tensorflow.compat.v1 as tf

    return sum(variable.shape.num_elements() or 0 for variable in graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES))


_ONE_AT_A_TIME = threading.RLock()


@contextlib.contextmanager
def _silent_stderr() -> typing.Iterator[None]:
    """Drops what TensorFlow's C++ code prints while it loads; Python errors still pass."""
    with _ONE_AT_A_TIME:  # or one thread would restore what another has put in its place
        stderr, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(devnull, 2)
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            os.close(devnull)
