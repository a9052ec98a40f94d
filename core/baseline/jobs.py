"""Configs x seeds -> the runs to make, and how far each of them is. Trains nothing."""
import collections
import re

from core import run
from core.baseline.worker import Job
from core.optimizer import check_layers
from data_loader.regression import split_of
from misc.config import REGRESSION, Config
from misc.errors import UserError
from misc.folders import check_writable, run_folder

VALIDATION_FRACTION = 0.1
MEMBER_SEEDS = 100003  # from one member's seed to the next: far from the seeds that people count through
MOST_RUNS = 100000

Experiment = collections.namedtuple("Experiment", ["config", "root", "seeds", "members"], defaults=(1,))
"""One config that is run for all `seeds`. root: experiments/DATASET/EXP_NAME, where its tables go; members:
runs per seed, which differ in their seeds and share their split."""


def parse_seeds(text):
    """'1-3,7' -> [1, 2, 3, 7]. UserError for anything else, or for no seed at all."""
    seeds = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not re.fullmatch("[0-9]+", first) or (dash and not re.fullmatch("[0-9]+", last)):
            raise UserError(f"--seeds takes numbers and ranges such as 1-20 or 1,3,5-7, got {text!r}")
        part = range(int(first), int(last if dash else first) + 1)
        if len(part) > MOST_RUNS:
            raise UserError(f"--seeds {text}: {len(part)} runs are more than can be meant (at most {MOST_RUNS})")
        seeds += part
    if not seeds:
        raise UserError(f"--seeds {text}: no runs asked for; write the smaller number first")
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds {text}: a seed is given twice")
    return seeds


def choose_seeds(config, runs=None, seeds=None):
    """Seeds of one config: as asked for, else 1 to the config's `runs`."""
    if runs is not None and seeds is not None:
        raise UserError("give --runs or --seeds, not both")
    if seeds is not None:
        return parse_seeds(seeds)
    if runs is not None and runs < 1:
        raise UserError(f"--runs {runs}: no runs asked for; give at least 1")
    return list(range(1, (runs or config.runs) + 1))


def describe_experiment(path, overrides, protocol=None, validate=False, tuned=False, overlays=()):
    """The Config of a file as this command runs it. What changes the meaning of its numbers is added to its name.

    Args:
      protocol: split protocol instead of the file's.
      validate: evaluate on validation rows; the test rows are not looked at.
      tuned: hyper-parameters are searched for.
      overlays: files that are laid over the config, before the overrides.
    """
    if any(text.split("=")[0] == "seed" for text in overrides):
        raise UserError("--set seed: the seeds of repeated runs are given by --runs N or --seeds 1-20")
    config = Config.from_file(path, overrides, overlays)
    if config.mode != REGRESSION:
        raise UserError(f"{path}: mode {config.mode}; this command repeats runs of mode {REGRESSION}, "
                        "train.py --seed N trains one run of any mode")
    values, suffix = config.model_dump(exclude_unset=True), ""
    if protocol not in (None, config.protocol):
        values["protocol"], suffix = protocol, f"_{protocol}"
    if validate:
        values["evaluate_on"], suffix = "validation", suffix + "_validate"
        values["validation_fraction"] = config.validation_fraction or VALIDATION_FRACTION
    if tuned:
        suffix += "_tuned"
    values["exp_name"] = config.name + suffix
    return Config.from_dict(values, str(path))


def experiment_root(config):
    """experiments/DATASET/EXP_NAME of a config."""
    return run_folder(config).root


def check_experiments(experiments, device="auto"):
    """UserError unless all of these can run and share a table. Writes nothing."""
    roots = [experiment.root for experiment in experiments]
    for root in roots:
        if roots.count(root) > 1:
            raise UserError(f"two configs would write to {root}: give one of them another exp_name")
    for name, remedy in (("protocol", "; --protocol sets it for all"), ("evaluate_on", "")):
        kinds = sorted({getattr(experiment.config, name) for experiment in experiments})
        if len(kinds) > 1:
            raise UserError(f"the configs differ in {name} ({', '.join(kinds)}), and such numbers never share a "
                            f"table: run them apart{remedy}")
    for experiment in experiments:
        for seed in {min(experiment.seeds), max(experiment.seeds)}:
            plan = run.plan(with_seed(experiment.config, seed), device)
            check_layers(plan.design.layers, plan.config)
        check_writable(run_folder(experiment.config))


def with_seed(config, seed, member=1):
    """The same config for another seed; or for a member, counted from 1, of the ensemble on the split of that seed.

    The first member is the run of the seed; the others differ from it in initial weights, noise and order.
    """
    values = dict(config.model_dump(exclude_unset=True), seed=seed)
    if member > 1:
        values.update(split=split_of(Config.from_dict(values)), seed=(seed + MEMBER_SEEDS * (member - 1)) % 2**31)
    return Config.from_dict(values)


def settings_of(config):
    """What a run depends on beside its seed: the values of all keys that can change a result."""
    return config.model_dump(exclude={*run.FREE_ON_RESUME, "seed", "exp_name"})


def make_jobs(experiment, device, space, parent):
    """A Job per seed, then one per further member and seed."""
    return [Job(str(run_root(experiment, seed, member)),
                with_seed(experiment.config, seed, member).model_dump(exclude_unset=True), device, space, parent)
            for member, seed in every_run(experiment)]


def every_run(experiment):
    """(member, seed) of all runs, in the order of `make_jobs`."""
    return [(member, seed) for member in range(1, experiment.members + 1) for seed in experiment.seeds]


def run_root(experiment, seed, member=1):
    """Run folder of one seed, or of a further member of its ensemble."""
    root = experiment.root / "seeds" / str(seed)
    return root if member == 1 else root / "ensemble" / str(member)
