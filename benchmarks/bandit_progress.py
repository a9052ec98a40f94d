"""How far a repeat of benchmarks.bandits is, read from its file."""
from benchmarks.bandit_jobs import actions_of, regret_of
from core.baseline.progress import Followed


class Track(Followed):
    """Reads the progress of one repeat, in steps."""

    def _units_done(self) -> int:
        actions = actions_of(self.job)
        if len(actions) == self.total:
            self.outcome, self.finished = f"regret {regret_of(self.job)[-1]:.0f}", True
        return len(actions)
