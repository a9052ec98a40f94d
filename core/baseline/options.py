"""What a repeated run is asked to do."""
import argparse
from typing import NamedTuple, Optional, Sequence


class Options(NamedTuple):
    """The flags of regression_baseline.py, with their defaults."""

    configs: Sequence[str]           # config files
    overlays: Sequence[str] = ()     # JSON files that are laid over each of them (--with)
    overrides: Sequence[str] = ()    # KEY=VALUE, applied last (--set)
    runs: Optional[int] = None       # seeds 1 to `runs`; None: as many as the config says
    seeds: Optional[str] = None      # instead of `runs`: "1-20" or "1,3,5-7"
    protocol: Optional[str] = None   # split protocol, instead of the config's
    validate: bool = False           # evaluate on validation rows
    tune: Optional[str] = None       # JSON file of a search space
    ensemble: int = 1                # members per seed
    fresh: bool = False              # archive earlier runs first
    jobs: Optional[int] = None       # runs at a time; None: one per core
    backend: str = "loky"
    address: Optional[str] = None    # HOST:PORT of a running cluster
    device: str = "auto"
    against: Optional[str] = None    # config file or folder of the experiment to compare with
    report: Optional[str] = None     # TABLE.md


def options_from(args: argparse.Namespace) -> Options:
    """Returns the Options that the parsed command line of regression_baseline.py stands for."""
    return Options(
        configs=args.config, overlays=args.overlays, overrides=args.set, runs=args.runs,
        seeds=args.seeds, protocol=args.protocol, validate=args.validate, tune=args.tune, ensemble=args.ensemble,
        fresh=args.fresh, jobs=args.jobs, backend=args.backend, address=args.address, device=args.device,
        against=args.against, report=args.report)
