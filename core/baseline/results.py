"""The files of a repeated experiment: runs.csv, a row per seed, and summary.json."""
import hashlib
import json
import pathlib
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Union

from core.baseline.kinds import KINDS, kind_of
from core.baseline.statistics import DDOF, compare, summarise
from core.training.tasks import METRIC_PREFIX
from misc.config import REGRESSION
from misc.errors import UserError
from misc.folders import SELECTION, Folder, folder_at
from misc.records import read_json, read_rows, read_rows_until, write_json, write_rows

Row = Dict[str, Any]

# What must be equal for two numbers to stand in one column.
IDENTITY = ("mode", "dataset", "protocol", "evaluate_on", "rows_hash", "test_particles")

ABOUT = ("dataset", "optimizer", "protocol", "evaluate_on", "rows_hash", "split", "split_hash", "seed",
         "test_particles", "ddof")  # columns of runs.csv before the metrics
TIMES = ("steps", "train_time_s", "wall_time_s", "steps_per_second")


class Rival(NamedTuple):
    """Another experiment to compare with."""

    root: pathlib.Path
    name: str                 # its folder's
    rows: List[Row]           # of runs.csv
    settings: Dict[str, Any]  # of summary.json; {} if there is none


def run_row(root: Union[str, pathlib.Path]) -> Row:
    """Returns the row of runs.csv for a finished run folder.

    best_epoch is that of the highest log-likelihood on the validation rows. If there are none, it is chosen on the rows
    that it is reported for, and best_epoch_chosen_on says that this is optimistic.
    """
    folder = folder_at(pathlib.Path(root))
    result = read_json(folder.result)
    prefix = METRIC_PREFIX[result["evaluate_on"]]
    chosen_on = METRIC_PREFIX["validation"] if result["n_valid"] else prefix
    best = max(_curve_rows(folder, chosen_on), key=lambda row: float(row[f"{chosen_on}log_likelihood"]), default=None)
    mode = result["config"].get("mode", REGRESSION)
    kind, metrics = KINDS[mode], result["metrics"]
    row = {name: result[name] for name in (*ABOUT, *TIMES) if name in result}
    row.update({name: metrics[prefix + name] for name in kind.compared}, mode=mode)
    row.update({name: metrics.get(prefix + name) for name in kind.further})
    if best:
        optimistic = chosen_on == prefix
        row.update({f"best_epoch_{name}": float(best[prefix + name]) for name in kind.headline})
        row.update(best_epoch=int(best["epoch"]), best_epoch_chosen_on=(
            f"{result['evaluate_on']} rows (optimistic)" if optimistic else "validation rows"))
    units = result["units"] if result.get("targets") else kind.units
    row.update({column: metrics[name] for column, name in kind.others.items()}, units=units, ddof=DDOF)
    if SELECTION in result:  # of kl, whose time counts
        seconds = result[SELECTION]["seconds"]
        row.update({name: row[name] + seconds for name in ("train_time_s", "wall_time_s")}, kl=result[SELECTION]["kl"])
    tuned = folder.root / "tuning" / "chosen.json"
    return dict(row, tuned=json.dumps(read_json(tuned)["values"]) if tuned.is_file() else "")


def columns(row: Row) -> List[str]:
    """Returns the columns of the file that the row is of."""
    kind = kind_of(row)
    return [*ABOUT, *kind.metrics, "best_epoch", *(f"best_epoch_{name}" for name in kind.headline),
            "best_epoch_chosen_on", *kind.others, *TIMES, "units", "tuned", "kl", "mode"]


def curves(root: Union[str, pathlib.Path], names: Iterable[str]) -> List[Dict[str, float]]:
    """Returns the epoch and these metrics of every evaluation of a finished run; empty if its metrics.csv is gone."""
    folder = folder_at(pathlib.Path(root))
    prefix = METRIC_PREFIX[read_json(folder.result)["evaluate_on"]]
    return [dict({name: float(row[prefix + name]) for name in names}, epoch=int(row["epoch"]))
            for row in _curve_rows(folder, prefix)]


def _curve_rows(folder: Folder, prefix: str) -> List[Dict[str, str]]:
    """Returns the rows of metrics.csv that can be read; none if it is gone."""
    return [row for row in read_rows_until(folder.metrics, float("inf")) if row.get(f"{prefix}log_likelihood")]


def write_runs(root: pathlib.Path, rows: List[Row]) -> None:
    """Writes runs.csv of an experiment."""
    write_rows(root / "runs.csv", columns(rows[0]), rows)


def read_runs(root: pathlib.Path) -> List[Row]:
    """Returns the rows of an experiment's runs.csv, with numbers where they are compared. Raises UserError if none."""
    path = root / "runs.csv"
    rows = read_rows(path) if path.is_file() else []
    if not rows:
        raise UserError(f"there are no runs in {path}: run that config first")
    return [dict(row, seed=int(row["seed"]), split=int(row["split"]), test_particles=int(row["test_particles"]),
                 **{name: float(row[name]) for name in kind_of(row).compared}) for row in rows]


def read_rival(root: pathlib.Path) -> Rival:
    """Returns the experiment in a folder. Raises UserError if it has no runs."""
    path = root / "summary.json"
    settings = read_json(path).get("settings", {}) if path.is_file() else {}
    return Rival(root, root.name, read_runs(root), settings)


def summary(name: str, settings: Dict[str, Any], rows: List[Row], n_asked: int, failed: Dict[int, str],
            rival: Optional[Rival] = None, space: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
    """Returns what summary.json holds.

    Args:
      name: of the experiment.
      settings: all that its runs depend on beside the seed.
      rows: of runs.csv, at least one.
      n_asked: how many there should be.
      failed: {seed: why it failed}.
      rival: what to compare with, split by split.
      space: the search space, if the values were tuned.
    """
    values: Dict[str, Any] = {key: rows[0][key] for key in IDENTITY}
    values.update(
        exp_name=name, optimizer=settings["optimizer"], n=len(rows), n_asked=n_asked, ddof=DDOF,
        units=rows[0]["units"],
        seeds=[row["seed"] for row in rows], splits=[row["split"] for row in rows],
        split_hashes=[row["split_hash"] for row in rows], splits_hash=splits_hash(rows),
        failed={str(seed): why for seed, why in failed.items()},
        metrics={metric: summarise([row[metric] for row in rows]) for metric in kind_of(rows[0]).metrics
                 if all(row[metric] is not None for row in rows)},
        seconds_of_training=sum(row["train_time_s"] for row in rows), settings=settings)
    if space is not None:
        values["search"] = space
    if rival is not None:
        values["against"] = paired(rows, rival.name, rival.rows)
        values["against"].update(folder=str(rival.root), settings_differ=sorted(
            key for key, value in settings.items() if key in rival.settings and rival.settings[key] != value))
    return values


def splits_hash(rows: List[Row]) -> str:
    """Returns one hash for all splits of an experiment: 16 hex digits of the SHA-256 of their hashes, joined."""
    return hashlib.sha256("".join(row["split_hash"] for row in rows).encode()).hexdigest()[:16]


def paired(rows: List[Row], name: str, others: List[Row]) -> Dict[str, Any]:
    """Returns the differences to another experiment on the (split, seed) pairs that both have.

    Raises UserError if there are none, or if their numbers cannot be compared.
    """
    check_comparable(rows[0], others[0], name)
    theirs = {(row["split_hash"], row["seed"]): row for row in others}
    pairs = [(row, theirs[row["split_hash"], row["seed"]]) for row in rows
             if (row["split_hash"], row["seed"]) in theirs]
    if not pairs:
        raise UserError(f"--against {name}: it has no split in common with these runs")
    differences = {metric: compare([ours[metric] for ours, _ in pairs], [other[metric] for _, other in pairs])
                   for metric in kind_of(rows[0]).compared}
    return {"exp_name": name, "splits": [ours["split"] for ours, _ in pairs],
            "difference": "this minus the other, split by split", "metrics": differences}


def check_comparable(ours: Row, theirs: Row, name: str) -> None:
    """Raises UserError unless two rows of runs.csv (or dicts with the same keys) may stand in one column."""
    ours, theirs = (dict(row, mode=row.get("mode") or REGRESSION) for row in (ours, theirs))
    for key in IDENTITY:
        if str(ours[key]) != str(theirs[key]):
            raise UserError(f"--against {name}: its {key} is {theirs[key]}, here it is {ours[key]}; "
                            "such runs cannot be compared")


def write_summary(root: pathlib.Path, values: Dict[str, Any]) -> None:
    """Writes summary.json of an experiment."""
    write_json(root / "summary.json", values)
