"""Which runs a table consists of, and the settings of each."""
import pathlib
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from misc.config import Config
from misc.errors import UserError
from misc.folders import Folder, run_folder

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "config" / "classification"
OVERLAYS = ROOT / "config" / "overlays"

PUBLISHED_EPOCHS = 150  # of VGG16, whose schedule all tables have
DECAY_STEPS = 16000    # published: steps between decays of the step size
CLIP_DECAY = 0.95      # published: factor on kl_clip per epoch
CLIP_WARMUP = 10000    # this project's default for the published length, in steps
KL_WARMUP = 20         # the same, in epochs
EVALUATED_EVERY = 5    # epochs
INTERIM_PARTICLES = 5  # weight draws of evaluations before the last one: with 10, they would take a sixth of the time
TUNED = {"sgd": (0.003, 0.01, 0.03, 0.1), "adam": (0.0003, 0.001, 0.003)}  # learning_rate, tried by --tune
TUNING_SHARE = 8       # a run of --tune has one epoch for so many of the others
TUNING_SEED = 0
VALIDATION_FRACTION = 0.1


class Method(NamedTuple):
    """How the settings of a method are made."""

    config: str                      # the method whose published file it starts from
    overlay: Optional[str] = None    # file in config/overlays
    values: Dict[str, Any] = {}      # keys that differ from these
    learning_rate: Optional[float] = None  # None: that of the file


METHODS = {
    "ekfac": Method("ekfac"),
    "kfac": Method("kfac"),
    "diag": Method("diag"),
    "kfac_point": Method("kfac", values={"optimizer": "kfac_point"}),
    "ekfac_point": Method("ekfac", values={"optimizer": "ekfac_point"}),
    # The published step size of all methods. It is what VGG16 without batch normalisation trains with; --tune tries
    # larger ones, too, which suit batch normalisation.
    "sgd": Method("ekfac", "sgd.json", learning_rate=0.01),
    # Adam's usual step size, with which docs/results_classification.md has VGG16 at a quarter of its widths.
    "adam": Method("ekfac", "adam_classification.json", learning_rate=0.001),
}


class Table(NamedTuple):
    """One of the published experiments."""

    dataset: str
    network: str               # as published numbers name it
    configs: Dict[str, str]    # {variant: file in config/classification, of a METHOD}
    variants: Tuple[str, ...]  # that are run by default
    methods: Dict[str, Tuple[str, ...]]  # {variant: methods that are run by default}
    width: float
    published: Tuple[str, ...]  # networks whose published numbers stand beside it, as in numbers.csv


_FIVE, _THREE = ("ekfac", "kfac", "sgd", "adam", "kfac_point"), ("ekfac", "kfac", "sgd")

TABLES = {
    "cifar10": Table("cifar10", "vgg16", {name: "{method}_vgg16_" + name + ".json"
                                          for name in ("plain", "aug", "bn", "bn_aug")},
                     ("plain", "bn_aug"), {"plain": _FIVE, "aug": _THREE, "bn": _THREE, "bn_aug": _THREE}, 1.0,
                     ("vgg16",)),
    "resnet20": Table("cifar10", "resnet20", {"bn_aug": "{method}_resnet20_cifar10.json"}, ("bn_aug",),
                      {"bn_aug": _THREE}, 1.0, ("resnet20", "resnet18")),
}


class Choice(NamedTuple):
    """What the flags ask for."""

    table: str
    variants: Optional[Sequence[str]]  # None: those of the table
    methods: Optional[Sequence[str]]   # None: those of the variant
    seeds: Sequence[int]
    epochs: int
    width: Optional[float]             # None: that of the table
    data_path: str
    out: pathlib.Path
    values: Dict[str, Any] = {}        # further keys of all runs
    network: Dict[str, str] = {}       # model_name in place of the table's; of --quick alone


class Run(NamedTuple):
    """One run of the table."""

    variant: str
    method: str
    seed: int
    config: Config
    evaluated: bool = True  # by evaluate.py at its end; not in a search for the step size

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return self.config.name

    @property
    def folder(self) -> Folder:
        """The paths of the run's files."""
        return run_folder(self.config)


def schedule(epochs: int, validation_fraction: float = 0.0) -> Dict[str, Any]:
    """Returns the keys of a run of so many epochs: the same share of it has passed at every event as of 150 epochs.

    validation_fraction: of the images, by which an epoch has fewer steps.
    """
    share = epochs / PUBLISHED_EPOCHS
    share_of_steps = share * (1.0 - validation_fraction)
    return {"epoch": epochs, "decay_every_itr": max(1, round(DECAY_STEPS * share_of_steps)),
            "clip_decay": CLIP_DECAY ** (1.0 / share), "clip_warmup": round(CLIP_WARMUP * share_of_steps),
            "kl_warmup": round(KL_WARMUP * share)}


def plan_runs(choice: Choice, chosen: Optional[Dict[Tuple[str, str], float]] = None) -> List[Run]:
    """Returns all runs, in the order in which they are made: every method of the first seed, then of the second, ...

    chosen: {(variant, method): learning_rate} in place of the default ones.
    """
    chosen = chosen or {}
    return [_run(choice, variant, method, seed, chosen.get((variant, method)))
            for seed in choice.seeds for variant, method in pairs(choice)]


def plan_search(choice: Choice) -> Dict[Tuple[str, str], Dict[float, Run]]:
    """Returns {(variant, method): {learning_rate: short run on validation images}} of the methods in TUNED."""
    epochs = max(1, choice.epochs // TUNING_SHARE)
    short = choice._replace(epochs=epochs, values=dict(
        choice.values, validation_fraction=VALIDATION_FRACTION, evaluate_on="validation"))
    return {(variant, method): {rate: _run(short, variant, method, TUNING_SEED, rate, f"_rate{rate:g}")
                                for rate in TUNED[method]}
            for variant, method in pairs(choice) if method in TUNED}


def pairs(choice: Choice) -> List[Tuple[str, str]]:
    """Returns the (variant, method)s that are asked for. Raises UserError for one that does not exist."""
    table = TABLES[choice.table]
    variants = choice.variants or table.variants
    unknown = [name for name in variants if name not in table.configs]
    if unknown:
        raise UserError(f"--variants {' '.join(unknown)}: table {choice.table} has {', '.join(table.configs)}")
    found = [(variant, method) for variant in variants for method in choice.methods or table.methods[variant]]
    missing = [pair for pair in found if not _file(table, *pair).is_file()]
    if missing:
        raise UserError(f"--methods {missing[0][1]}: there is no {_file(table, *missing[0]).name} in {CONFIGS}")
    return found


def _file(table: Table, variant: str, method: str) -> pathlib.Path:
    return CONFIGS / table.configs[variant].format(method=METHODS[method].config)


def _run(choice: Choice, variant: str, method: str, seed: int, rate: Optional[float], suffix: str = "") -> Run:
    table, how = TABLES[choice.table], METHODS[method]
    overlays = [str(OVERLAYS / how.overlay)] if how.overlay else []
    values = Config.from_file(str(_file(table, variant, method)), [], overlays).model_dump(exclude_unset=True)
    rate, values = rate or how.learning_rate, dict(values, **choice.network)
    values.update(
        how.values, **schedule(choice.epochs, choice.values.get("validation_fraction", 0.0)),
        epoch_rate=EVALUATED_EVERY, interim_particles=INTERIM_PARTICLES,
        save_interval=1, max_to_keep=2, width=table.width if choice.width is None else choice.width, seed=seed,
        exp_name=f"{method}_{values['model_name']}_{variant}{suffix}_seed{seed}", data_path=choice.data_path,
        experiments_path=str(choice.out / "runs"), **({"learning_rate": rate} if rate else {}))
    values.update(choice.values)
    return Run(variant, method, seed, Config.from_dict(values), not suffix)
