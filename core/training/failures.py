"""What TensorFlow's errors mean that no change of the numbers can mend: memory that ran out, a GPU that failed."""
import contextlib
import re
from typing import Iterator, Optional

import tensorflow.compat.v1 as tf

from misc.errors import RunError

ADVICE = "try fewer particles, a smaller batch_size or test_batch_size, or --device cpu"

# Texts of TensorFlow's errors on a GPU, as its sources (1.15 to 2.21) and the CUDA libraries have them.
OUT_OF_MEMORY = re.compile(r"out of memory|OOM when|CUDA_ERROR_OUT_OF_MEMORY|STATUS_ALLOC_FAILED|failed to allocate",
                           re.IGNORECASE)
OTHER_SHORTAGE = re.compile(r"No space left|Disk quota exceeded|Too many open files", re.IGNORECASE)  # not of memory
FAILED_PRODUCT = re.compile(r"Blas x?[A-Z]\w* launch failed|cuBlas call failed|CUBLAS_STATUS_\w+|BLAS support",
                            re.IGNORECASE)
FAILED_SOLVER = re.compile(r"cuSolver\w* call failed|CUSOLVER_STATUS_\w+|Failed to create cuSolver", re.IGNORECASE)
LOST_GPU = re.compile(
    r"CUDA_ERROR_\w+|illegal memory access|illegal address|unspecified launch failure|device-side assert"
    r"|GPU sync failed|Unexpected Event status|uncorrectable ECC|CUDNN_STATUS_\w+|cuDNN launch failure"
    r"|GPU has fallen off the bus|Failed to get convolution algorithm|CUDA runtime implicit initialization",
    re.IGNORECASE)
_FAILED_GPU = (LOST_GPU, FAILED_PRODUCT, FAILED_SOLVER)


def ran_out_of_memory(error: BaseException) -> bool:
    """Tells whether memory ran out, on the host or on the GPU."""
    if isinstance(error, (MemoryError, tf.errors.ResourceExhaustedError)):
        return not OTHER_SHORTAGE.search(str(error))
    return isinstance(error, tf.errors.OpError) and bool(OUT_OF_MEMORY.search(str(error)))


def described(error: BaseException, advice: str = ADVICE) -> Optional[str]:
    """Returns in one line what failed, if memory ran out or a GPU failed; None for every other error.

    advice: what to try if memory ran out.
    """
    if ran_out_of_memory(error):
        return f"out of memory: {advice}"
    text = str(error)
    if isinstance(error, tf.errors.OpError) and any(kind.search(text) for kind in _FAILED_GPU):
        return f"the GPU failed ({_line(text)})"
    return None


@contextlib.contextmanager
def one_line_failures(advice: str = ADVICE) -> Iterator[None]:
    """Turns the errors that `described` knows into a RunError; others pass."""
    try:
        yield
    except (MemoryError, tf.errors.OpError) as error:
        what = described(error, advice)
        if what is None:
            raise
        raise RunError(what) from None


def _line(text: str) -> str:
    """Returns the first line that says that a GPU failed, at most 200 characters."""
    lines = [line.strip() for line in text.splitlines() if any(kind.search(line) for kind in _FAILED_GPU)]
    return lines[0][:200]
