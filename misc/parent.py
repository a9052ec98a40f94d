"""A process that another one has started for its own purposes ends with it, even if that one is killed."""
import contextlib
import ctypes
import os
import pathlib
import signal
import threading
import time
import typing

PR_SET_PDEATHSIG = 1  # of Linux's prctl
SECONDS = 0.5
WATCH = "watch parent"


def live_and_die_with(parent: int) -> None:
    """Leaves signals to the parent process of this id, and ends this process when the parent is gone, or gone already.

    Ctrl-C does nothing here, and SIGTERM ends this process at once: a run is not stopped and saved as in `Signals`.

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


def ancestors() -> typing.List[int]:
    """Returns the process ids of this process's parent, of its parent, and so on; outside Linux, only of the parent."""
    found = [os.getppid()]
    with contextlib.suppress(OSError):
        while found[-1] > 1:
            status = pathlib.Path(f"/proc/{found[-1]}/stat").read_text()
            found.append(int(status.rpartition(")")[2].split()[1]))  # the name in parentheses may hold anything
    return found


def left_to_parent(*_: object) -> None:
    """Handles Ctrl-C by doing nothing: the parent, which receives it as well, ends this process."""


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(SECONDS)
    os._exit(1)
