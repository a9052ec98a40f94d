"""Options -> what will be run and compared. Checks everything; writes nothing."""
import os
import pathlib
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from core.baseline import results
from core.baseline.gpu_share import share_gpu
from core.baseline.jobs import (
    Experiment,
    check_experiments,
    choose_seeds,
    describe_experiment,
    experiment_root,
    settings_of,
    with_splits,
)
from core.baseline.options import Options
from core.baseline.pool import Workers, check_backend
from core.baseline.tuning import read_space
from core.training.cost import run_cost
from core.training.design import Plan, notices
from core.training.devices import UNUSED, Choice, uses_gpu
from misc.errors import UserError


class RepeatPlan(NamedTuple):
    """Repeated runs that have passed every check."""

    experiments: Sequence[Experiment]
    space: Optional[Dict[str, Any]]  # search space
    rival: Optional[pathlib.Path]    # root of the experiment to compare with
    devices: Sequence[Choice]        # for each experiment: workers need not see what this process sees
    rows_hashes: Sequence[str]       # for each experiment: of its data, which all its seeds share
    workers: Workers
    notes: Sequence[str]             # sentences for the user


def plan_repeat(options: Options) -> RepeatPlan:
    """Returns what the Options ask for. Raises UserError for whatever would not work."""
    if options.jobs is not None and options.jobs < 1:
        raise UserError(f"--jobs {options.jobs}: give at least 1")
    check_backend(options.backend, options.address)
    if options.tune and options.validate:
        raise UserError("--tune evaluates on validation rows by itself: leave --validate out")
    if options.ensemble < 1:
        raise UserError(f"--ensemble {options.ensemble}: give the number of members, e.g. 5")
    if options.tune and options.ensemble > 1:
        raise UserError("--ensemble and --tune exclude each other: tune first, then run an ensemble with the chosen "
                        "values")
    configs = [describe_experiment(path, options) for path in options.configs]
    experiments = [Experiment(config, experiment_root(config), choose_seeds(config, options.runs, options.seeds),
                              options.ensemble) for config in configs]
    plans = check_experiments(experiments, options.device)
    spaces = [read_space(options.tune, config) for config in configs] if options.tune else [None]
    if options.report:
        _check_report(options.report)
    workers, notes = _plan_workers(options, plans)
    notes += sorted({f"note: {plan.device_reason}" for plan in plans if UNUSED in plan.device_reason})
    for experiment, plan in zip(experiments, plans):
        prefix = f"{experiment.config.name}: " if len(plans) > 1 else ""
        notes += [prefix + notice for notice in notices(plan.design)]
    return RepeatPlan(with_splits(experiments, plans), spaces[0], _find_rival(options, experiments, plans),
                      [Choice(plan.device, plan.device_reason) for plan in plans],
                      [plan.data.rows_hash for plan in plans], workers, notes)


def local_jobs(jobs: Optional[int], plans: Sequence[Plan]) -> Optional[int]:
    """Returns how many runs train at a time on this machine: as many as asked for, else one per core (None).

    Runs whose operations use several cores, as those of images do and all with such a value of `threads`, come one at
    a time.
    """
    wide = any(plan.design.task.has_images or plan.config.threads not in (None, 1) for plan in plans)
    return 1 if jobs is None and wide else jobs


def _plan_workers(options: Options, plans: Sequence[Plan]) -> Tuple[Workers, List[str]]:
    """Returns the Workers, of which no more use a GPU at a time than fit, and sentences for the user."""
    workers = Workers(options.jobs if options.address else local_jobs(options.jobs, plans), options.backend,
                      options.address)
    on_gpu = [run_cost(plan.design).peak_bytes for plan in plans if uses_gpu(plan.config, plan.device)]
    if not on_gpu:
        return workers, []
    if options.backend == "dask" and options.address:
        raise UserError("--backend dask --address: Dask does not count GPUs, so that too many runs could share one; "
                        "use --backend ray, or --device cpu")
    share = share_gpu(options.jobs, max(on_gpu))
    return workers._replace(per_gpu=share.per_gpu), [share.note] if share.note else []


def _check_report(name: str) -> None:
    """Raises UserError unless the tables can be written to the file `name`."""
    path = pathlib.Path(name)
    if not name.endswith(".md"):
        raise UserError(f"--report {name}: give a name that ends in .md; .csv and .tex are written beside it")
    if path.is_dir():
        raise UserError(f"--report {name}: this is a folder; give the name of a file")
    if not path.absolute().parent.is_dir():
        raise UserError(f"--report {name}: there is no such folder")
    if not os.access(str(path.absolute().parent), os.W_OK):
        raise UserError(f"--report {name}: this folder cannot be written to")


def _find_rival(options: Options, experiments: Sequence[Experiment],
                plans: Sequence[Plan]) -> Optional[pathlib.Path]:
    """Returns the root of the experiment that --against names (by its config file or folder), or None.

    Raises UserError unless its runs are there, or are about to be made, and can be compared with the experiments.
    """
    if options.against is None:
        return None
    path = pathlib.Path(options.against)
    if not path.exists():
        raise UserError(f"--against {path}: there is no such config file or folder of runs")
    planned = {experiment.root: _identity(plan) for experiment, plan in zip(experiments, plans)}
    root = path if path.is_dir() else _root_of_config(path, options, planned)
    rival = planned[root] if root in planned else results.read_runs(root)[0]
    for identity in planned.values():
        results.check_comparable(identity, rival, root.name)
    return root


def _root_of_config(path: pathlib.Path, options: Options, planned: Dict[pathlib.Path, Dict[str, Any]]) -> pathlib.Path:
    """Returns the experiment root of a config file, whose runs used this command's settings or the file's own.

    Raises UserError if the runs that are there have neither.
    """
    overrides = [text for text in options.overrides if not text.startswith("exp_name=")]
    places = [text for text in overrides if text.startswith("experiments_path=")]
    overlays = options.overlays
    if [experiment_root(describe_experiment(str(path), options._replace(overrides=overrides)))] == list(planned):
        overlays = ()  # with these overlays, the rival would be the very experiment that this command runs
    same, own = (describe_experiment(str(path), options._replace(overrides=some, overlays=overlays))
                 for some in (overrides, places))
    root = experiment_root(same)
    if root not in planned:
        before = results.read_rival(root).settings
        differ = [key for key, value in settings_of(same).items() if before.get(key, value) != value]
        if differ and before != settings_of(own):
            raise UserError(f"--against {path}: the runs in {root} were made with other settings "
                            f"({', '.join(differ)}): run that config again, or give the folder instead")
    return root


def _identity(plan: Plan) -> Dict[str, Any]:
    """Returns what decides whether numbers can be compared, as the rows of the experiment's runs.csv will have it."""
    return dict(plan.config.model_dump(), rows_hash=plan.data.rows_hash, protocol=plan.data.split.protocol)
