"""How many runs may share a GPU."""
from typing import NamedTuple, Optional

from misc import gpu

CONTEXT_BYTES = 1.5 * 2**30  # what CUDA and its libraries take per process, beside the run
USABLE = 0.9                 # part of a GPU's memory


class Share(NamedTuple):
    """How runs share GPUs."""

    per_gpu: int         # runs at a time on one GPU
    note: Optional[str]  # for the user, if this is fewer than were asked for


def share_gpu(jobs: Optional[int], run_bytes: float) -> Share:
    """Returns how many runs may use one GPU at a time: one, or up to `jobs` if that many fit into its memory.

    Args:
      jobs: runs at a time that were asked for, or None.
      run_bytes: memory that one run is estimated to take.
    """
    if jobs in (None, 1):
        return Share(1, None)
    card = gpu.chosen_card()
    fitting = max(1, int(USABLE * card.bytes / (run_bytes + CONTEXT_BYTES))) if card else 1
    if jobs <= fitting:
        return Share(jobs, None)
    why = f"as many as fit into {card.bytes / 2**30:.0f} GiB" if card else "its memory is not known"
    return Share(fitting, f"note: --jobs {jobs}: at most {fitting} at a time on a GPU ({why})")
