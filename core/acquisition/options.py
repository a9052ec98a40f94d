"""What active learning is asked to do."""
import argparse
from typing import NamedTuple, Optional, Sequence


class Options(NamedTuple):
    """The flags of active_learning.py, with their defaults."""

    config: str                      # config file
    overlays: Sequence[str] = ()     # JSON files that are laid over it (--with)
    overrides: Sequence[str] = ()    # KEY=VALUE, applied last (--set)
    strategies: Sequence[str] = ()   # keys of STRATEGIES; (): that of the mode, and random choice
    repeats: int = 10
    start: int = 20                  # rows labelled at first
    test: int = 100                  # test rows
    steps: int = 10
    batch: int = 1                   # rows chosen in a step
    jobs: Optional[int] = None       # repeats at a time; None: one per core
    device: str = "auto"
    out: Optional[str] = None        # folder of the results; None: active_learning in the run's folder
    resume: bool = False             # refuse to begin anew


def options_from(args: argparse.Namespace) -> Options:
    """Returns the Options that the parsed command line of active_learning.py stands for."""
    return Options(args.config, args.overlays, args.set, args.strategy, args.repeats, args.start, args.test, args.steps,
                   args.batch, args.jobs, args.device, args.out, args.resume)
