"""Which rows of a data set are labelled, which may be chosen, and which test."""
from typing import Any, List, NamedTuple, Tuple

import numpy as np

from core.training.tasks import TASKS
from data_loader.splits import Request, Split
from data_loader.table_source import read_rows
from misc.config import CLASSIFICATION, Config
from misc.errors import UserError
from misc.seeding import stream

PROTOCOL = "active"  # what results call these splits
FEWEST_TESTS = 10   # test rows that are worth proposing


class Rows(NamedTuple):
    """A division of the rows, by their numbers from 0."""

    labelled: np.ndarray  # int [n], in the order in which they were labelled: the first ones at random
    pool: np.ndarray      # ascending
    test: np.ndarray

    def split(self, repeat: int) -> Split:
        """Returns the Split that trains on the labelled rows; its other rows are those of `test` and then `pool`."""
        return Split(PROTOCOL, repeat, self.labelled, np.concatenate([self.test, self.pool]))

    def with_labels(self, chosen: np.ndarray) -> "Rows":
        """Returns the division after these rows of the pool, by their numbers, were labelled."""
        assert np.isin(chosen, self.pool).all(), "only rows of the pool are chosen"
        return self._replace(labelled=np.concatenate([self.labelled, chosen]),
                             pool=self.pool[~np.isin(self.pool, chosen)])


class Sizes(NamedTuple):
    """How many rows an active learning takes."""

    start: int  # labelled at first
    test: int
    steps: int  # of choosing and training again
    batch: int  # rows that are chosen in a step

    @property
    def total(self) -> int:
        """Rows that a data set must have."""
        return self.start + self.test + self.steps * self.batch


def starting_rows(request: Request, seed: int, repeat: int, sizes: Sizes) -> Rows:
    """Returns the division before the first step: a function of the data's number of rows, the seed and the repeat.

    It is random and the same for every config and strategy. If the data have test rows of their own, the test rows are
    some of those and the others are not used. Of classes, the first labelled rows include one of each.

    Raises UserError if there are too few rows.
    """
    order = stream(seed, "active learning", repeat).permutation(request.n_rows)
    is_given = order >= request.n_rows - request.n_test
    tests, others = (order[is_given], order[~is_given]) if request.n_test else (
        order[:sizes.test], order[sizes.test:])
    _check(request, sizes, len(tests), len(others))
    if request.labels is not None:
        others = _every_class_first(others, request.labels[others], sizes.start)
    return Rows(others[:sizes.start], np.sort(others[sizes.start:]), tests[:sizes.test])


def divide(config: Config, table: Any, repeat: int, sizes: Sizes) -> Tuple[Rows, Any]:
    """Returns (`starting_rows` of a data set, its data); table: as `Task.load` takes it."""
    found: List[Rows] = []

    def splitter(request: Request) -> Split:
        found.append(starting_rows(request, config.seed, repeat, sizes))
        return found[0].split(repeat)

    data = TASKS[config.kind].load(config, table, splitter)
    return found[0], data


def separated(data: Any, n_test: int) -> Tuple[Any, Any]:
    """Returns (data with the first test rows alone, inputs of the others): the pool has no targets here."""
    part = data.test
    test = part._replace(x=part.x[:n_test], y=part.y[:n_test], ids=part.ids[:n_test])
    return data._replace(test=test), part.x[n_test:]


def _check(request: Request, sizes: Sizes, n_test: int, n_others: int) -> None:
    """Raises UserError if there are too few rows."""
    if request.n_test and n_test < sizes.test:
        raise UserError(f"--test {sizes.test}: the data have {n_test} test rows of their own")
    if request.n_test and n_others < sizes.total - sizes.test:
        raise UserError(f"{n_others} training rows are too few: {sizes.start} labelled rows and {sizes.steps} steps of "
                        f"{sizes.batch} take {sizes.total - sizes.test}; set a smaller --start, --steps or --batch")
    if n_others < sizes.total - sizes.test:
        fitting = request.n_rows - sizes.total + sizes.test  # test rows that are left for these steps
        raise UserError(f"{request.n_rows} rows are too few: {sizes.start} labelled rows, {sizes.test} test rows and "
                        f"{sizes.steps} steps of {sizes.batch} take {sizes.total}; set a smaller --start, --test, "
                        "--steps or --batch" + (f", e.g. --test {fitting}" if fitting >= FEWEST_TESTS else ""))


def _every_class_first(rows: np.ndarray, labels: np.ndarray, n_start: int) -> np.ndarray:
    """Returns the rows in an order in which the first `n_start` include the first one of every class.

    Raises UserError if there are more classes than that.
    """
    firsts = np.sort(np.unique(labels, return_index=True)[1])
    if len(firsts) > n_start:
        raise UserError(f"--start {n_start}: there are {len(firsts)} classes, and a row of each is labelled at first; "
                        f"give at least {len(firsts)}")
    others = np.setdiff1d(np.arange(len(rows)), firsts)
    start = np.sort(np.concatenate([firsts, others[:n_start - len(firsts)]]))
    return rows[np.concatenate([start, np.setdiff1d(np.arange(len(rows)), start)])]


def read_table(config: Config) -> Any:
    """Returns the config's table as `Task.load` takes it, so that it is read once; None: the data are images."""
    if not config.is_table:
        return None
    return read_rows(config, class_target=config.mode == CLASSIFICATION)
