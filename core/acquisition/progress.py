"""How far a repeat is, read from its files."""
from typing import Tuple

from core.acquisition.job import Job
from core.acquisition.trajectory import read_steps, steps_path
from core.baseline.progress import Followed


class RepeatTrack(Followed):
    """Reads the progress of one repeat, in trainings.

    Args:
      job: the Job.
      label: name of the repeat on the screen.
      metric: (name, label) of what is shown.
    """

    def __init__(self, job: Job, label: str, metric: Tuple[str, str]) -> None:
        self._length, self._metric = job.sizes[2] + 1, metric
        super().__init__(label, job, self._length * len(job.strategies))

    def _units_done(self) -> int:
        steps = {name: read_steps(steps_path(self.job.root, name))[:self._length] for name in self.job.strategies}
        done = sum(map(len, steps.values()))
        if done == self.total:
            name, label = self._metric
            self.outcome = f"{label} with {steps[self.job.strategies[0]][-1].n_labelled} labelled rows: " + ", ".join(
                f"{strategy} {of_strategy[-1].metrics[name]:.4g}" for strategy, of_strategy in steps.items())
            self.finished = True
        return done
