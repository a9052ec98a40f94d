"""One repeat in a process of its own. It imports TensorFlow only when it works, as core/baseline/worker.py does."""
import functools
import pathlib
from typing import Any, Callable, Dict, NamedTuple, Optional, Sequence

from core.baseline.worker import LOCK_SECONDS, attempt
from misc import backend
from misc.config import Config
from misc.folders import claim, folder_at

NETWORK = "network"  # the method that trains the config's own network
PLACE = "training"  # folder in the repeat's folder that is there only while a step trains


class Job(NamedTuple):
    """One repeat as plain values, which travel to another process."""

    root: str                  # its folder
    settings: Dict[str, Any]   # config values, with the seed of the whole
    repeat: int                # its number, from 1
    strategies: Sequence[str]
    sizes: Sequence[int]       # of `Sizes`
    method: str = NETWORK      # what is trained: a key of `Learners`
    device: str = "auto"
    parent: int = 0            # process id of the process that made the job


Learners = Dict[str, Callable[[Job, Config, Any], Any]]
"""{method: function (Job, its Config, its table) -> a `Learn`}."""


def work(job: Job) -> Optional[str]:
    """Makes sure that the Job's folder holds all steps. Returns and raises as `attempt` does."""
    return attempt(job, functools.partial(continue_repeat, learners={NETWORK: network}))


def continue_repeat(job: Job, learners: Learners) -> None:
    """Does the steps of a Job that are missing."""
    config = Config.from_dict(job.settings)
    backend.prepare(config.mode)
    from core.acquisition.rows import Sizes, divide, read_table  # after the switches of prepare()
    from core.acquisition.trajectory import Trajectory, advance, steps_path

    sizes, root = Sizes(*job.sizes), pathlib.Path(job.root)
    with claim(folder_at(root), LOCK_SECONDS):
        table = read_table(config)
        rows, _ = divide(config, table, job.repeat, sizes)
        trajectories = [Trajectory(steps_path(root, strategy), strategy, rows) for strategy in job.strategies]
        advance(trajectories, learners[job.method](job, config, table), sizes.steps, sizes.batch, config.seed,
                job.repeat)


def network(job: Job, config: Config, table: Any) -> Any:
    """Returns the Learn that trains the config's network."""
    from core.acquisition.learning import Network

    return Network(config, table, job.repeat, pathlib.Path(job.root) / PLACE, job.device)
