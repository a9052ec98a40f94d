"""Options -> what will be done. Checks everything; writes nothing."""
import json
import pathlib
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from core.acquisition.options import Options
from core.acquisition.rows import Sizes, divide, read_table
from core.acquisition.strategies import RANDOM, STRATEGIES
from core.baseline.gpu_share import share_gpu
from core.baseline.jobs import settings_of
from core.baseline.kinds import KINDS
from core.baseline.planning import local_jobs
from core.baseline.pool import Workers
from core.inference.optimizer import check_layers
from core.training import run
from core.training.cost import run_cost
from core.training.design import Plan, notices
from core.training.devices import NAMES, uses_gpu
from misc.config import Config
from misc.errors import UserError
from misc.folders import check_writable, folder_at, run_folder
from misc.lookup import lookup
from misc.records import read_json

FOLDER = "active_learning"        # in the folder of the run that train.py would make
ABOUT = "active_learning.json"    # what the folder's results are of
MOST_REPEATS = 10000
OWN_ROLES = {"column": "split_column", "group": "group", "ordered": "the order of the rows"}
"""Protocols that say which rows test by something that a random choice would ignore: {protocol: by what}."""


class ActivePlan(NamedTuple):
    """An active learning that has passed every check."""

    config: Config               # of every step, but for its seed
    strategies: Sequence[str]
    repeats: int
    sizes: Sizes
    root: pathlib.Path           # the folder of the results
    identity: Dict[str, Any]     # what a step's numbers depend on, beside its repeat and strategy
    has_earlier: bool            # whether the folder holds steps of other settings
    device: str                  # cpu or gpu
    workers: Workers
    notices: Sequence[str]       # sentences for the user

    @property
    def headline(self) -> Tuple[str, str]:
        """The metric that people watch: (name, label)."""
        return next(iter(KINDS[self.config.mode].headline.items()))

    def repeat_root(self, repeat: int) -> pathlib.Path:
        """Returns the folder of a repeat, counted from 1."""
        return self.root / "repeats" / str(repeat)


def plan_active(options: Options) -> ActivePlan:
    """Returns the plan of what the Options ask for. Raises UserError for whatever would not work."""
    _check_numbers(options)
    given = Config.from_file(options.config, options.overrides, options.overlays)
    config = split_at_random(given, options.config)
    strategies = choose_strategies(options.strategies, config.mode)
    sizes = Sizes(options.start, options.test, options.steps, options.batch)
    table = read_table(config)
    plans = [_first_plan(config, table, repeat, sizes, options.device) for repeat in sorted({1, options.repeats})]
    check_layers(plans[0].design.layers, plans[0].config)
    _check_draws(strategies, plans[0])
    root = pathlib.Path(options.out) if options.out else run_folder(given).root / FOLDER
    device = lookup(NAMES, plans[0].device, "device")
    identity = dict(settings_of(config), predictive=config.predictive, seed=config.seed, start=sizes.start,
                    test=sizes.test, batch=sizes.batch, rows_hash=plans[0].data.rows_hash, device=device)
    identity = json.loads(json.dumps(identity))  # as it will be read again
    return ActivePlan(config, strategies, options.repeats, sizes, root, identity,
                      has_earlier(root, identity, options.resume), device, _workers(options.jobs, plans[0]),
                      notices(plans[0].design))


def split_at_random(config: Config, source: str) -> Config:
    """Returns the config for splits of active learning, which have nothing of its own splits but given test rows.

    Raises UserError for a config whose splits or start cannot be replaced.
    """
    if config.protocol in OWN_ROLES:
        raise UserError(f"{source}: protocol {config.protocol} chooses the test rows by {OWN_ROLES[config.protocol]}, "
                        "but active learning chooses them at random: set protocol to random")
    if config.init_from is not None:
        raise UserError(f"{source}: init_from has no place in active learning, which trains every step from scratch: "
                        "remove it")
    values = dict(config.model_dump(exclude_unset=True), evaluate_on="test", split=None)
    if config.is_table and config.protocol != "file":
        values.update(protocol="random")
    return Config.from_dict(values, source)


def choose_strategies(names: Sequence[str], mode: str) -> List[str]:
    """Returns the strategies asked for; none: those that need predictions of this mode, and random choice.

    Raises UserError for one that is unknown, given twice, or for another mode.
    """
    if not names:
        return [name for name, strategy in STRATEGIES.items() if mode in strategy.modes]
    for name in names:
        strategy = lookup(STRATEGIES, name, "--strategy")
        if mode not in strategy.modes:
            fitting = [other for other, row in STRATEGIES.items() if mode in row.modes]
            raise UserError(f"--strategy {name} is for mode {' or '.join(strategy.modes)}, but this config has mode "
                            f"{mode}: give {' or '.join(fitting)}")
    if len(set(names)) < len(names):
        raise UserError("--strategy: one is given twice")
    return list(names)


def _check_numbers(options: Options) -> None:
    for name, least in (("repeats", 1), ("start", 2), ("test", 1), ("steps", 1), ("batch", 1), ("jobs", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise UserError(f"--{name} {value}: give at least {least}")
    if options.repeats > MOST_REPEATS:
        raise UserError(f"--repeats {options.repeats}: give at most {MOST_REPEATS}")


def _first_plan(config: Config, table: Any, repeat: int, sizes: Sizes, device: str) -> Plan:
    """Returns the plan of a repeat's training before the first choice."""
    rows, _ = divide(config, table, repeat, sizes)
    return run.plan(config, device, table, lambda request: rows.split(repeat))


def _check_draws(strategies: Sequence[str], plan: Plan) -> None:
    """Raises UserError if predictions have no uncertainty from which to choose."""
    needing = [name for name in strategies if STRATEGIES[name].needs_draws]
    if not needing or plan.design.n_test_particles > 1:
        return
    has_noise = any(layer.noisy for layer in plan.design.layers)
    why = "test_particles is 1" if has_noise else f"optimizer {plan.config.optimizer} has no weight noise"
    remedy = "set test_particles, e.g. to 100" if has_noise else "take an optimizer with weight noise, such as ekfac"
    raise UserError(f"--strategy {needing[0]} chooses by how far weight draws differ, but {why}: {remedy}, or "
                    f"--strategy {RANDOM}")


def has_earlier(root: pathlib.Path, identity: Dict[str, Any], resume: bool) -> bool:
    """Tells whether the folder holds steps of other settings. Raises UserError for a folder that cannot be used."""
    check_writable(folder_at(root))
    path = root / ABOUT
    if not path.is_file():
        if resume:
            raise UserError(f"--resume: there is nothing to continue in {root}: start without --resume")
        if root.exists() and any(root.iterdir()):
            raise UserError(f"{root} is not empty, and what it holds is not of active_learning.py: give another --out")
        return False
    changed = changed_settings(path, identity)
    if changed and resume:
        raise UserError(f"--resume: other settings than those of {root}: {', '.join(changed)}; restore them, or start "
                        "without --resume")
    return bool(changed)


def changed_settings(path: pathlib.Path, identity: Dict[str, Any]) -> List[str]:
    """Returns what differs from the settings in a file, in words."""
    try:
        before = dict({"device": identity.get("device")}, **read_json(path)["identity"])  # earlier versions wrote none
        return [f"{name} (then {before.get(name)!r}, now {identity.get(name)!r})"
                for name in dict.fromkeys([*before, *identity]) if before.get(name) != identity.get(name)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [f"{path.name} (it is damaged)"]


def _workers(jobs: Optional[int], plan: Plan) -> Workers:
    """Returns the Workers, of which no more use a GPU at a time than fit."""
    if uses_gpu(plan.config, plan.device):
        return Workers(jobs, per_gpu=share_gpu(jobs, run_cost(plan.design).peak_bytes).per_gpu)
    return Workers(local_jobs(jobs, [plan]))
