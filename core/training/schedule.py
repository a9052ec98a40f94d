"""Which updates are due after which step. Plain Python, so that tests can count.

The trainer owns the step number. One `session.run` takes the steps of a `Segment`: steps with the base updates, and
steps at which one fixed set of further updates is due, repeated for several rounds.
"""
import math
from typing import Dict, FrozenSet, Iterable, Iterator, List, NamedTuple, Optional, Sequence

from misc.config import PERIODS, Config

Due = FrozenSet[str]


class Segment(NamedTuple):
    """Repeats, `n_rounds` times, `n_base_steps` steps with the base updates and one step with the updates of `due`.

    Without `due` it is `n_base_steps` steps with the base updates only.
    """

    n_rounds: int
    n_base_steps: int
    due: Optional[Due]

    @property
    def n_steps(self) -> int:
        """Steps that the segment takes in all."""
        return self.n_rounds * (self.n_base_steps + (self.due is not None))


class Schedule:
    """Periods of the updates. The first step is 1.

    Args:
      periods: {name of an update: steps between two of them}.
      early: further steps at which all updates are due.
    """

    def __init__(self, periods: Dict[str, int], early: Iterable[int] = ()) -> None:
        for name, period in periods.items():
            if period < 1:
                raise ValueError(f"period of {name!r} must be >= 1, got {period}")
        self.periods, self.early = dict(periods), frozenset(early)
        self.base = frozenset(name for name, period in periods.items() if period == 1)

    def due(self, step: int) -> Due:
        """Returns the names of the updates due at training step `step`."""
        if step < 1:
            raise ValueError(f"steps count from 1, got {step}")
        return frozenset(name for name, period in self.periods.items() if step % period == 0 or step in self.early)

    def count(self, name: str, n_steps: int) -> int:
        """Returns how often `name` is due within `n_steps` steps."""
        period = self.periods[name]
        return n_steps // period + sum(step <= n_steps and step % period != 0 for step in self.early)

    def due_sets(self, n_steps: int) -> List[Due]:
        """Returns all sets of updates, other than the base set, that are due together within `n_steps` steps."""
        periods = [period for period in self.periods.values() if 1 < period <= n_steps]
        cycle = 1
        for period in periods:
            cycle = cycle * period // math.gcd(cycle, period)
        last = min(n_steps, cycle + max(self.early, default=0))  # a whole cycle after the last early step has them all
        marks = {step for period in periods for step in range(period, last + 1, period)}
        marks |= {step for step in self.early if step <= n_steps}
        return sorted({self.due(step) for step in marks} - {self.base}, key=sorted)

    def segments(self, first: int, last: int, limit: int = 0) -> List[Segment]:
        """Returns steps `first`..`last` as Segments of at most `limit` steps each (0: no limit)."""
        units, n_base_steps = [], 0
        for step in range(first, last + 1):
            due = self.due(step)
            if due == self.base:
                n_base_steps += 1
            else:
                units.append((n_base_steps, due))
                n_base_steps = 0
        segments: List[Segment] = []
        for n_before, due in units:
            segments.extend(_cut(n_before, due, limit))
        if n_base_steps:
            segments.extend(_cut(n_base_steps, None, limit))
        return _merge(segments, limit)


def _cut(n_base_steps: int, due: Optional[Due], limit: int) -> Iterator[Segment]:
    """Yields base steps and the due step that follows them as Segments of at most `limit` steps."""
    n_last = 0 if due is None else 1
    while limit and n_base_steps + n_last > limit:
        part = min(limit, n_base_steps)
        yield Segment(1, part, None)
        n_base_steps -= part
    if n_base_steps + n_last:
        yield Segment(1, n_base_steps, due)


def _merge(segments: List[Segment], limit: int) -> List[Segment]:
    """Merges equal neighbours into one Segment of several rounds."""
    merged: List[Segment] = []
    for segment in segments:
        before = merged[-1] if merged else None
        if before and segment.due is not None and before[1:] == segment[1:]:
            longer = before._replace(n_rounds=before.n_rounds + 1)
            if not limit or longer.n_steps <= limit:
                merged[-1] = longer
                continue
        merged.append(segment)
    return merged


UPDATES = ("cov", "inverse", "basis", "scale", "reinit")
"""Names of updates: moving averages of A and S (or f); Cholesky roots; eigenbasis; moving average of R; R from the
eigenvalues."""


def regression_periods(config: Config, updates: Sequence[str]) -> Dict[str, int]:
    """Returns {update: steps between two of them} of a regression.

    Unless the config says otherwise, everything is due at every step, except that noisy EK-FAC refreshes A, S and the
    basis every Teigen steps. A "reinit" that always coincides with a "basis", which resets R anyway, is omitted.
    """
    amortised = config.Teigen if config.amor_eigen and "basis" in updates else 1
    periods = _as_set(config, {"cov": amortised, "inverse": 1, "basis": amortised, "scale": 1})
    if config.re_init and not (config.kfac_init_after_basis and config.re_init_iters % periods["basis"] == 0):
        periods["reinit"] = config.re_init_iters
    return _of(updates, periods)


def classification_periods(config: Config, updates: Sequence[str]) -> Dict[str, int]:
    """Returns {update: steps between two of them} of a classification."""
    published = {"cov": PERIODS["TCov"], "inverse": PERIODS["TInv"], "basis": PERIODS["TEigen"],
                 "scale": PERIODS["TScale"]}
    return _of(updates, _as_set(config, published))


def _as_set(config: Config, published: Dict[str, int]) -> Dict[str, int]:
    """Returns the periods that the config gives, in place of the published ones."""
    given = {"cov": config.TCov, "inverse": config.TInv, "basis": config.TEigen, "scale": config.TScale}
    return {name: published[name] if value is None else value for name, value in given.items()}


def _of(updates: Sequence[str], periods: Dict[str, int]) -> Dict[str, int]:
    """Returns the periods of `updates`; what has none is never due. Raises ValueError for a name not in UPDATES."""
    unknown = sorted(set(updates) - set(UPDATES))
    if unknown:
        raise ValueError(f"a family asks for the unknown update {unknown[0]!r}: take one of {', '.join(UPDATES)}, or "
                         "add it to UPDATES and to the periods of both modes in core/training/schedule.py")
    return {name: periods[name] for name in updates if name in periods}


def no_early_steps(config: Config, periods: Dict[str, int]) -> List[int]:
    """Returns no steps: everything waits for its period."""
    return []


def early_classification_steps(config: Config, periods: Dict[str, int]) -> List[int]:
    """Returns steps at which everything is refreshed before its first period is over; none without early_refresh.

    These are the first step, then 2^k TCov before the first regular refresh, so that no preconditioner is
    based on less than half of the statistics gathered so far. (The published code left the preconditioner
    at the identity for the first 200 steps.)
    """
    if not config.early_refresh:
        return []
    steps, regular = [1], max(periods.get("inverse", 1), periods.get("basis", 1))
    while periods.get("cov", regular) * 2 ** (len(steps) - 1) < regular:
        steps.append(periods["cov"] * 2 ** (len(steps) - 1))
    return steps
