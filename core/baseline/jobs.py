"""Configs x seeds -> the runs to make. Trains nothing."""
import pathlib
import re
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set

from core.baseline.archive import ENSEMBLE
from core.baseline.options import Options
from core.baseline.worker import Job
from core.inference.optimizer import check_layers
from core.training import run
from core.training.auto_schedule import with_schedule
from core.training.design import Plan
from core.training.devices import NAMES, Choice
from core.training.tasks import TASKS
from data_loader.splits import ALL, GIVEN
from data_loader.tables import split_of
from misc.config import Config
from misc.errors import UserError
from misc.folders import check_writable, run_folder
from misc.lookup import lookup

VALIDATION_FRACTION = 0.1
MEMBER_SEEDS = 100003  # from one member's seed to the next: far from the seeds that people count through
MOST_RUNS = 100000


class Experiment(NamedTuple):
    """One config that is run for several seeds."""

    config: Config
    root: pathlib.Path    # experiments/DATASET/EXP_NAME, where its tables go
    seeds: Sequence[int]
    members: int = 1      # runs per seed; they share the seed's split and differ in everything else that is random
    has_splits: bool = True  # whether seeds have splits: not of images with test images of their own


def parse_seeds(text: str, flag: str = "--seeds") -> List[int]:
    """Returns the seeds of a list: '1-3,7' -> [1, 2, 3, 7]. Raises UserError for any other text, or for no seed.

    flag: that of the command line, for the message.
    """
    seeds: List[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not re.fullmatch("[0-9]+", first) or (dash and not re.fullmatch("[0-9]+", last)):
            raise UserError(f"{flag} takes numbers and ranges such as 1-20 or 1,3,5-7, got {text!r}")
        span = range(int(first), int(last if dash else first) + 1)
        if len(span) > MOST_RUNS:
            raise UserError(f"{flag} {text}: {len(span)} runs are too many (at most {MOST_RUNS})")
        seeds += span
    if not seeds:
        raise UserError(f"{flag} {text}: no runs asked for; write the smaller number first")
    if len(set(seeds)) < len(seeds):
        raise UserError(f"{flag} {text}: a seed is given twice")
    return seeds


def choose_seeds(config: Config, runs: Optional[int] = None, seeds: Optional[str] = None) -> List[int]:
    """Returns the seeds of one config: those asked for, or 1 to the config's `runs`."""
    if runs is not None and seeds is not None:
        raise UserError("give --runs or --seeds, not both")
    if seeds is not None:
        return parse_seeds(seeds)
    if runs is not None and runs < 1:
        raise UserError(f"--runs {runs}: no runs asked for; give at least 1")
    return list(range(1, (runs or config.runs) + 1))


def describe_experiment(path: str, options: Options) -> Config:
    """Returns the Config of a file as these Options run it.

    Options that change the meaning of results (protocol, validation rows, search) add a suffix to its name. What
    auto_schedule chooses is filled in.
    """
    if any(text.split("=")[0] == "seed" for text in options.overrides):
        raise UserError("--set seed: the seeds of repeated runs are given by --runs N or --seeds 1-20")
    config = Config.from_file(path, options.overrides, options.overlays)
    values, suffix = config.model_dump(exclude_unset=True), ""
    if options.protocol not in (None, config.protocol):
        values["protocol"], suffix = options.protocol, f"_{options.protocol}"
    if options.validate:
        values["evaluate_on"], suffix = "validation", suffix + "_validate"
        values["validation_fraction"] = config.validation_fraction or VALIDATION_FRACTION
    if options.tune:
        suffix += "_tuned"
    values["exp_name"] = config.name + suffix
    config = Config.from_dict(values, str(path))
    if config.protocol == ALL and config.evaluate_on == "test":
        raise UserError(f"{path}: protocol {ALL} leaves no row to test on: set another one for repeated runs")
    if not config.auto_schedule:
        return config
    return with_schedule(config, TASKS[config.kind].load(with_seed(config, 1)).spec.n_rows)  # the same for every seed


def experiment_root(config: Config) -> pathlib.Path:
    """Returns experiments/DATASET/EXP_NAME of a config."""
    return run_folder(config).root


def check_experiments(experiments: Sequence[Experiment], device: str = "auto") -> List[Plan]:
    """Returns the plan of one run per experiment. Raises UserError unless all of these can run and share a table.

    Writes nothing.
    """
    roots = [experiment.root for experiment in experiments]
    for root in roots:
        if roots.count(root) > 1:
            raise UserError(f"two configs would write to {root}: give one of them another exp_name")
    for name, remedy in (("mode", ""), ("protocol", "; --protocol sets it for all"), ("evaluate_on", "")):
        _refuse_different(name, {getattr(experiment.config, name) for experiment in experiments}, remedy)
    plans = []
    for experiment in experiments:
        for seed in {min(experiment.seeds), max(experiment.seeds)}:
            plan = run.plan(with_seed(experiment.config, seed), device)
            check_layers(plan.design.layers, plan.config)
        check_writable(run_folder(experiment.config))
        plans.append(plan)
    _refuse_different("splits", {plan.data.split.protocol for plan in plans})  # stratified ones, and those of images
    return plans


def _refuse_different(name: str, kinds: Set[str], remedy: str = "") -> None:
    """Raises UserError if there are several kinds."""
    if len(kinds) > 1:
        raise UserError(f"the configs differ in {name} ({', '.join(sorted(kinds))}), and such numbers never share a "
                        f"table: run them separately{remedy}")


def with_splits(experiments: Sequence[Experiment], plans: Sequence[Plan]) -> List[Experiment]:
    """Returns the experiments, which say whether their seeds have splits, as is known of the data in their plans."""
    return [experiment._replace(has_splits=plan.data.split.protocol != GIVEN)
            for experiment, plan in zip(experiments, plans)]


def with_seed(config: Config, seed: int, member: int = 1, has_splits: bool = True) -> Config:
    """Returns the config for another seed, or for a member (from 1) of the ensemble on the split of that seed.

    The first member is the run of the seed. The others differ from it in initial weights, noise and order of rows.
    """
    values = dict(config.model_dump(exclude_unset=True), seed=seed)
    if member > 1:
        if has_splits:
            values.update(split=split_of(Config.from_dict(values)))
        values.update(seed=(seed + MEMBER_SEEDS * (member - 1)) % 2**31)
    return Config.from_dict(values)


def settings_of(config: Config) -> Dict[str, Any]:
    """Returns what a run depends on beside its seed: the values of all keys that can change a result."""
    return config.model_dump(exclude={*run.FREE_ON_RESUME, "seed", "exp_name"})


def make_jobs(experiment: Experiment, device: Choice, space: Optional[Dict[str, Any]], parent: int) -> List[Job]:
    """Returns a Job per seed and member of an experiment; the first members come first.

    Args:
      device: of the runs; space: the search space, or None; parent: id of the process that waits for the jobs.
    """
    return [Job(root=str(run_root(experiment, seed, member)),
                settings=with_seed(experiment.config, seed, member, experiment.has_splits).model_dump(
                    exclude_unset=True),
                device=lookup(NAMES, device.device, "device"), device_reason=device.reason, space=space,
                parent=parent, seed=seed, member=member)
            for member in range(1, experiment.members + 1) for seed in experiment.seeds]


def run_root(experiment: Experiment, seed: int, member: int = 1) -> pathlib.Path:
    """Returns the run folder of one seed, or of a further member of its ensemble."""
    root = experiment.root / "seeds" / str(seed)
    return root if member == 1 else root / ENSEMBLE / str(member)
