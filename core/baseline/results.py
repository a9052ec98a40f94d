"""The files of a repeated experiment: runs.csv, a row per seed, and summary.json."""
import hashlib
import json
import pathlib

from core.baseline.statistics import DDOF, compare, summarise
from core.training.run import EVALUATED
from misc.errors import UserError
from misc.folders import folder_at
from misc.records import read_json, read_rows, read_rows_until, write_json, write_rows

COMPARED = ("rmse", "log_likelihood", "moment_log_likelihood")
METRICS = (*COMPARED, "coverage_90")
UNITS = "the data's own units; log-likelihood per row, in nats; coverage a share"

# evaluate_on -> how the names of its metrics begin in a run's own files.
PREFIX = {rows: f"{part}_" for rows, part in EVALUATED.items()}

# What must be equal for two numbers to stand in one column.
IDENTITY = ("dataset", "protocol", "evaluate_on", "rows_hash", "test_particles")

COLUMNS = [
    "dataset", "optimizer", "protocol", "evaluate_on", "rows_hash", "split", "split_hash", "seed", "test_particles",
    "ddof",
    *METRICS, "best_epoch", "best_epoch_rmse", "best_epoch_log_likelihood", "best_epoch_chosen_on",
    "noise_precision", "steps", "train_time_s", "wall_time_s", "steps_per_second", "units", "tuned",
]


def run_row(root):
    """The row of runs.csv that a finished run folder gives.

    best_epoch is that of the highest log-likelihood on the validation rows; without these on
    the very rows it is reported for, and then best_epoch_chosen_on calls it optimistic.
    """
    folder = folder_at(pathlib.Path(root))
    result = read_json(folder.result)
    prefix = PREFIX[result["evaluate_on"]]
    judge = "valid_" if result["n_valid"] else prefix
    best = max(_curve_rows(folder, judge), key=lambda row: float(row[f"{judge}log_likelihood"]), default=None)
    row = {name: result[name] for name in COLUMNS if name in result}
    row.update({name: result["metrics"][prefix + name] for name in COMPARED})
    row.update(coverage_90=result["metrics"].get(f"{prefix}coverage_90"))  # runs of an earlier version have none
    if best:
        row.update(
            best_epoch=int(best["epoch"]), best_epoch_rmse=float(best[f"{prefix}rmse"]),
            best_epoch_log_likelihood=float(best[f"{prefix}log_likelihood"]),
            best_epoch_chosen_on=f"{result['evaluate_on']} rows (optimistic)" if judge == prefix else "validation rows")
    row.update(noise_precision=result["metrics"]["train_noise_precision"], units=UNITS, ddof=DDOF)
    chosen = folder.root / "tuning" / "chosen.json"
    return dict(row, tuned=json.dumps(read_json(chosen)["values"]) if chosen.is_file() else "")


def curves(root):
    """[{"epoch", "rmse", "log_likelihood"}] of a finished run folder; empty if its metrics.csv is gone."""
    folder = folder_at(pathlib.Path(root))
    prefix = PREFIX[read_json(folder.result)["evaluate_on"]]
    return [{"epoch": int(row["epoch"]), "rmse": float(row[f"{prefix}rmse"]),
             "log_likelihood": float(row[f"{prefix}log_likelihood"])} for row in _curve_rows(folder, prefix)]


def _curve_rows(folder, prefix):
    """The rows of metrics.csv that can be read; none if it is gone."""
    return [row for row in read_rows_until(folder.metrics, float("inf")) if row.get(f"{prefix}log_likelihood")]


def write_runs(root, rows):
    """runs.csv of an experiment."""
    write_rows(root / "runs.csv", COLUMNS, rows)


def read_runs(root):
    """The rows of an experiment's runs.csv; numbers that are compared are numbers again. UserError without one."""
    path = root / "runs.csv"
    rows = read_rows(path) if path.is_file() else []
    if not rows:
        raise UserError(f"there are no runs in {path}: run that config first")
    return [dict(row, seed=int(row["seed"]), split=int(row["split"]), test_particles=int(row["test_particles"]),
                 **{name: float(row[name]) for name in COMPARED}) for row in rows]


class Rival:
    """Another experiment to compare with: its folder's name, rows of runs.csv, and settings."""

    def __init__(self, root):
        self.root, self.name, self.rows = root, root.name, read_runs(root)
        path = root / "summary.json"
        self.settings = read_json(path).get("settings", {}) if path.is_file() else {}


def summary(name, settings, rows, n_asked, failed, against=None, space=None):
    """The dict of summary.json.

    Args:
      name: of the experiment; settings: {key: value}, all that its runs depend on beside the seed.
      rows: of runs.csv, at least one; n_asked: how many there should be.
      failed: {seed: why}.
      against: the Rival to compare with, split by split, or None.
      space: the search space, if the values were tuned.
    """
    found = {key: rows[0][key] for key in IDENTITY}
    found.update(
        exp_name=name, optimizer=settings["optimizer"], n=len(rows), n_asked=n_asked, ddof=DDOF, units=UNITS,
        seeds=[row["seed"] for row in rows], splits=[row["split"] for row in rows],
        split_hashes=[row["split_hash"] for row in rows], splits_hash=splits_hash(rows),
        failed={str(seed): why for seed, why in failed.items()},
        metrics={metric: summarise([row[metric] for row in rows]) for metric in METRICS
                 if all(row[metric] is not None for row in rows)},
        seconds_of_training=sum(row["train_time_s"] for row in rows), settings=settings)
    if space is not None:
        found["search"] = space
    if against is not None:
        found["against"] = paired(rows, against.name, against.rows)
        found["against"].update(folder=str(against.root), settings_differ=sorted(
            key for key, value in settings.items() if key in against.settings and against.settings[key] != value))
    return found


def splits_hash(rows):
    """One hash for all splits of an experiment: first 16 hex digits of the SHA-256 of theirs, joined."""
    return hashlib.sha256("".join(row["split_hash"] for row in rows).encode()).hexdigest()[:16]


def paired(rows, name, others):
    """Differences to another experiment on the (split, seed) pairs that both have. UserError if there are none."""
    check_comparable(rows[0], others[0], name)
    theirs = {(row["split_hash"], row["seed"]): row for row in others}
    pairs = [(row, theirs.get((row["split_hash"], row["seed"]))) for row in rows]
    pairs = [(row, other) for row, other in pairs if other]
    if not pairs:
        raise UserError(f"--against {name}: it has no split in common with these runs")
    differences = {metric: compare([ours[metric] for ours, _ in pairs], [other[metric] for _, other in pairs])
                   for metric in COMPARED}
    return {"exp_name": name, "splits": [ours["split"] for ours, _ in pairs],
            "difference": "this minus the other, split by split", "metrics": differences}


def check_comparable(ours, theirs, name):
    """UserError unless two rows of runs.csv (or dicts with the same keys) may stand in one column."""
    for key in IDENTITY:
        if str(ours[key]) != str(theirs[key]):
            raise UserError(f"--against {name}: its {key} is {theirs[key]}, here it is {ours[key]}; "
                            "such runs cannot be compared")


def write_summary(root, values):
    """summary.json of an experiment."""
    write_json(root / "summary.json", values)
