"""Which updates are due after which step. Plain Python, so that tests can count.

The trainer owns the step number. Between two due updates the graph runs all steps in one
`session.run`; a `Segment` says how many.
"""
import collections
import math

from misc.config import REGRESSION

Segment = collections.namedtuple("Segment", ["rounds", "plain", "due"])
"""`rounds` times: `plain` steps with the base updates only, then one step with those of `due`.
Without `due` (None): `plain` steps."""


class Schedule:
    """A table name -> period in steps; the first step is 1. `early`: further steps at which all are due."""

    def __init__(self, periods, early=()):
        for name, period in periods.items():
            if period < 1:
                raise ValueError(f"period of {name!r} must be >= 1, got {period}")
        self.periods, self.early = dict(periods), frozenset(early)
        self.base = frozenset(name for name, period in periods.items() if period == 1)

    def due(self, step):
        """Names due at training step `step`."""
        if step < 1:
            raise ValueError(f"steps count from 1, got {step}")
        return frozenset(name for name, period in self.periods.items() if step % period == 0 or step in self.early)

    def count(self, name, n_steps):
        """How often `name` is due within `n_steps` steps."""
        period = self.periods[name]
        return n_steps // period + sum(step <= n_steps and step % period != 0 for step in self.early)

    def due_sets(self, n_steps):
        """All sets of names, beyond the base, that are due together within `n_steps` steps."""
        periods = [period for period in self.periods.values() if 1 < period <= n_steps]
        cycle = 1
        for period in periods:
            cycle = cycle * period // math.gcd(cycle, period)
        last = min(n_steps, cycle + max(self.early, default=0))  # a whole cycle after the last early step has them all
        marks = {step for period in periods for step in range(period, last + 1, period)}
        marks |= {step for step in self.early if step <= n_steps}
        return sorted({self.due(step) for step in marks} - {self.base}, key=sorted)

    def segments(self, first, last, limit=0):
        """Steps `first`..`last` as a list of Segments, each of at most `limit` steps (0: no limit)."""
        units, plain = [], 0
        for step in range(first, last + 1):
            due = self.due(step)
            if due == self.base:
                plain += 1
            else:
                units.append((plain, due))
                plain = 0
        segments = []
        for plain_before, due in units:
            segments.extend(_cut(plain_before, due, limit))
        if plain:
            segments.extend(_cut(plain, None, limit))
        return _merge(segments, limit)


def _cut(plain, due, limit):
    """One unit (plain steps, then a due one) as Segments of at most `limit` steps."""
    last = 0 if due is None else 1
    while limit and plain + last > limit:
        part = min(limit, plain)
        yield Segment(1, part, None)
        plain -= part
    if plain + last:
        yield Segment(1, plain, due)


def _merge(segments, limit):
    """Equal neighbours become one Segment of several rounds."""
    merged = []
    for segment in segments:
        before = merged[-1] if merged else None
        if before and segment.due is not None and before[1:] == segment[1:]:
            rounds = before.rounds + 1
            if not limit or rounds * (segment.plain + 1) <= limit:
                merged[-1] = before._replace(rounds=rounds)
                continue
        merged.append(segment)
    return merged


def update_periods(config, updates):
    """Steps between the given updates of a method.

    Args:
      config: the run's Config.
      updates: names out of "cov" (moving averages of A and S, or f), "inverse" (Cholesky
        roots), "basis" (eigenbasis), "scale" (moving average of R), "reinit" (R from the
        eigenvalues).

    Returns:
      {name: period}. In regression everything is due every step, but for noisy EK-FAC, where
      A, S and the basis wait for Teigen. A "reinit" that always meets a "basis" which resets
      R anyway is left out.
    """
    if config.mode == REGRESSION:
        amortised = config.Teigen if config.amor_eigen and "basis" in updates else 1
        periods = {"cov": amortised, "inverse": 1, "basis": amortised, "scale": 1}
        if config.re_init and not (config.kfac_init_after_basis and config.re_init_iters % amortised == 0):
            periods["reinit"] = config.re_init_iters
    else:
        periods = {"cov": config.TCov, "inverse": config.TInv, "basis": config.TEigen, "scale": config.TScale}
    return {name: periods[name] for name in updates if name in periods}


def early_steps(config, periods):
    """Steps at which everything is refreshed beside the periods, so that learning does not wait for them.

    Regression: none. Classification: the first step, then 2^k TCov before the first regular refresh, so
    that no preconditioner is older than half of the statistics there are. (The published code left it
    at the identity for the first 200 steps.)
    """
    if config.mode == REGRESSION:
        return ()
    steps, regular = [1], max(periods.get("inverse", 1), periods.get("basis", 1))
    while config.TCov * 2 ** (len(steps) - 1) < regular:
        steps.append(config.TCov * 2 ** (len(steps) - 1))
    return steps
