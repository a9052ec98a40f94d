"""A process that another one has started for its own purposes ends with it, even if that one is killed."""
import contextlib
import ctypes
import os
import signal
import threading
import time

PR_SET_PDEATHSIG = 1  # of Linux's prctl
SECONDS = 0.5
WATCH = "watch parent"


def live_and_die_with(parent: int) -> None:
    """Leaves Ctrl-C to the parent process of this id, and ends this process when the parent is gone, or gone already.

    On Linux the kernel kills this process when the thread that started it ends. A thread of this process watches, too:
    for other systems, and for a parent that has ended before the kernel was asked.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, left_to_parent)
    if any(thread.name == WATCH for thread in threading.enumerate()):
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    threading.Thread(target=_watch, args=(parent,), name=WATCH, daemon=True).start()


def left_to_parent(*_: object) -> None:
    """Handles Ctrl-C by doing nothing: the parent, which receives it as well, ends this process."""


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(SECONDS)
    os._exit(1)
