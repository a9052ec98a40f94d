"""Trains one run in a process of its own: starts or resumes it, and reports errors.

It imports TensorFlow only when it works, so that a new process can set its switches first.
"""
import contextlib
import logging
import os
import pathlib
import threading
import traceback
from typing import Any, Callable, Dict, NamedTuple, Optional

import tqdm

from misc import backend
from misc.config import REGRESSION, Config
from misc.errors import Stopped, UserError
from misc.folders import claim, folder_at
from misc.parent import ancestors, live_and_die_with

LOCK_SECONDS = 60
TRACEBACK, FAILURE = "traceback.txt", "failure.txt"


class Job(NamedTuple):
    """One run as plain values, which travel to another process."""

    root: str                               # its run folder
    settings: Dict[str, Any]                # config values
    device: str = "auto"
    device_reason: Optional[str] = None     # why it is this one, for the log
    space: Optional[Dict[str, Any]] = None  # search space; None: train with the settings as they are
    parent: int = 0                         # process id of the process that made the job
    seed: int = 1                           # of the repeated runs: the seed that --runs and --seeds count
    member: int = 1                         # of that seed's ensemble


def work(job: Job) -> Optional[str]:
    """Makes sure that the Job's folder holds its result. Returns and raises as `attempt` does.

    A finished run is left as it is, an interrupted one is resumed from its checkpoint, and a run of another
    config is archived.
    """
    return attempt(job, _train)


def attempt(job: Any, function: Callable[[Any], None]) -> Optional[str]:
    """Calls the function with a job in the process for it. Returns None, or in one line why the function has failed.

    That line is also written to failure.txt in the job's folder, for whoever watches it.

    Raises Stopped if a signal has ended the job in the process that made it. In a process of a pool, which leaves
    signals to its parent, it is the job's failure.

    job: has the fields `root`, its folder, and `parent`, the id of the process that made it.
    """
    if os.getpid() != job.parent:
        _prepare_process(job.parent)
    root = pathlib.Path(job.root)
    for name in (TRACEBACK, FAILURE):  # of an earlier attempt
        if (root / name).exists():
            (root / name).unlink()
    try:
        function(job)
        return None
    except UserError as error:
        if isinstance(error, Stopped) and os.getpid() == job.parent:
            raise
        why = " ".join(str(error).split())
    except Exception as error:
        with contextlib.suppress(OSError):
            (root / TRACEBACK).write_text(traceback.format_exc())
        why = f"{type(error).__name__}: {' '.join(str(error).split())} (see {root / TRACEBACK})"
    with contextlib.suppress(OSError):
        (root / FAILURE).write_text(why)
    return why


def echo(value: int) -> int:
    """Returns the value. A cluster worker that can call this function can import the project."""
    return value


def _train(job: Job) -> None:
    backend.prepare(job.settings.get("mode", REGRESSION))
    from core.baseline.tuning import tune
    from core.training import run  # after the switches of prepare()

    config, folder = Config.from_dict(job.settings), folder_at(pathlib.Path(job.root))
    with claim(folder, LOCK_SECONDS):
        if job.space is not None:
            config = tune(config, job.space, folder, job.device)
        run.finish(config, folder, job.device, job.device_reason)


def _prepare_process(parent: int) -> None:
    """Prepares a process of a pool. One that `parent` has started, itself or through a local cluster, ends with it."""
    tqdm.tqdm.set_lock(threading.RLock())  # its own lock is a system semaphore, which a killed process leaves behind
    logging.getLogger("distributed.worker.state_machine").setLevel(logging.ERROR)  # warns of tasks that Ctrl-C cuts off
    if parent in ancestors():
        live_and_die_with(os.getppid())
