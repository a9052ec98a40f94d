"""One repeat: all strategies step by step, from the same labelled rows. Every step is saved and never done twice."""
import pathlib
from typing import Any, Dict, List, NamedTuple, Sequence

import numpy as np

from core.acquisition.learning import Learn, Learned
from core.acquisition.rows import Rows
from core.acquisition.strategies import STRATEGIES, choose
from misc.records import read_json, write_json
from misc.seeding import stream


class Step(NamedTuple):
    """What is known after a step's training. Rows are numbers, from 0."""

    n_labelled: int            # rows that it was trained on
    added: List[int]           # those of them that were chosen for this step; [] at step 0
    metrics: Dict[str, float]  # of the test rows
    chosen: List[int]          # rows that are labelled for the next step; [] if the pool is empty
    scores: List[float]        # theirs


class Trajectory:
    """The steps of one strategy in one repeat, kept in a file.

    Args:
      path: of the file, which may hold the first steps.
      strategy: a key of STRATEGIES.
      rows: before the first step.
    """

    def __init__(self, path: pathlib.Path, strategy: str, rows: Rows) -> None:
        self.strategy, self._path, self.rows = strategy, path, rows
        self.steps = read_steps(path)
        for step in self.steps[1:]:
            self.rows = self.rows.with_labels(np.array(step.added, int))

    @property
    def next_rows(self) -> Rows:
        """The division of the rows for the next step."""
        return self.rows.with_labels(np.array(self.steps[-1].chosen, int)) if self.steps else self.rows

    def add(self, learned: Learned, n_chosen: int, seed: int, repeat: int) -> None:
        """Chooses rows after the training of the next step, and saves the step."""
        rows, added = self.next_rows, self.steps[-1].chosen if self.steps else []
        rng = stream(seed, "active learning", repeat, self.strategy, len(self.steps))
        scores = (STRATEGIES[self.strategy].score(learned.draws, len(rows.pool), rng) if len(rows.pool)
                  else np.zeros(0))
        places = choose(scores, rows.pool, n_chosen)
        self.steps.append(Step(len(rows.labelled), added, learned.metrics, rows.pool[places].tolist(),
                               scores[places].tolist()))
        self.rows = rows
        write_json(self._path, {"strategy": self.strategy, "test": rows.test.tolist(),
                                "start": rows.labelled[:self.steps[0].n_labelled].tolist(),
                                "steps": [step._asdict() for step in self.steps]})


def steps_path(root: Any, strategy: str) -> pathlib.Path:
    """Returns where a repeat's folder has the steps of a strategy."""
    return pathlib.Path(root) / f"{strategy}.json"


def read_steps(path: pathlib.Path) -> List[Step]:
    """Returns the steps that a file holds; none if there is no file, or a damaged one."""
    try:
        return [Step(**step) for step in read_json(path)["steps"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def advance(trajectories: Sequence[Trajectory], learn: Learn, n_steps: int, batch: int, seed: int, repeat: int) -> None:
    """Takes all trajectories to step `n_steps`: trains, evaluates and chooses `batch` rows at each of them.

    Those that have come equally far take turns, so that they can share what a step needs; at step 0 they share the
    training itself.
    """
    for step in range(n_steps + 1):
        waiting = [each for each in trajectories if len(each.steps) == step]
        needs_draws = [STRATEGIES[each.strategy].needs_draws and len(each.next_rows.pool) > 0 for each in waiting]
        if step == 0 and waiting:
            learned = learn(step, waiting[0].next_rows, any(needs_draws))
        for each, needed in zip(waiting, needs_draws):
            each.add(learned if step == 0 else learn(step, each.next_rows, needed), batch, seed, repeat)
