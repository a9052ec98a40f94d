"""One repeat of benchmarks.bandits in a process of its own. It imports TensorFlow only when it works."""
import pathlib
from typing import Any, List, NamedTuple

import numpy as np

from benchmarks.bandit_methods import METHODS, Training, load_problem, play, read_actions, regret
from core.baseline.worker import LOCK_SECONDS, attempt
from misc import backend
from misc.folders import claim, folder_at
from misc.seeding import stream_seed


class Job(NamedTuple):
    """One repeat as plain values, which travel to another process."""

    root: str              # its folder
    data: str
    method: str
    repeat: int            # its number, from 1
    n_steps: int           # contexts, one action each
    period: int            # most rewards between two trainings
    training_steps: int    # minibatches of a training, about
    overrides: List[str]   # KEY=VALUE, of our networks
    seed: int
    parent: int = 0        # process id of the process that made the job


def work(job: Any):
    """Does the steps of a Job that are missing; returns and raises as `attempt`."""
    return attempt(job, play_job)


def play_job(job: Job) -> None:
    backend.prepare()
    root = pathlib.Path(job.root)
    seed = stream_seed(job.seed, "bandit", job.data, job.method, job.repeat)
    with claim(folder_at(root), LOCK_SECONDS):
        play(problem_of(job), METHODS[job.method].learn, actions_path(job), job.period,
             Training(job.training_steps, seed, root / "training", job.overrides))


def actions_path(job):
    return pathlib.Path(job.root) / "actions.json"


def problem_of(job):
    return load_problem(job.data, job.seed, job.repeat, job.n_steps)


def actions_of(job) -> List[int]:
    """Returns the actions that a Job has chosen so far."""
    return read_actions(actions_path(job))


def regret_of(job) -> np.ndarray:
    """Returns the cumulative regret after every step so far."""
    return regret(problem_of(job).rewards(actions_of(job)))
