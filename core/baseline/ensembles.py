"""Ensembles: the mixture of the predictions of several runs on one split, read from the runs' files."""
import pathlib

import numpy as np

from core.baseline.results import run_row
from core.metrics import Prediction, mix, regression_statistics, values_of
from misc.errors import RunError
from misc.folders import folder_at
from misc.records import read_rows


def mixture_row(roots):
    """A row as in runs.csv for the equal mixture of finished runs on one split. RunError if they cannot be mixed."""
    rows = [run_row(root) for root in roots]
    predictions, targets = zip(*map(_read_predictions, roots))
    metrics = values_of(regression_statistics(mix(predictions, targets[0]), targets[0]), len(targets[0]))
    whole = {name: value for name, value in rows[0].items() if not name.startswith("best_epoch")}
    whole.update((name, sum(row[name] for row in rows)) for name in ("steps", "train_time_s", "wall_time_s"))
    return dict(whole, **metrics, noise_precision=float(np.mean([row["noise_precision"] for row in rows])),
                steps_per_second=whole["steps"] / whole["train_time_s"], members=len(rows))


def _read_predictions(root):
    """(Prediction, targets) of predictions.csv."""
    path = folder_at(pathlib.Path(root)).predictions
    rows = read_rows(path)
    if "log_prob" not in rows[0]:
        raise RunError(f"{path} is of an earlier version and cannot be mixed: run again with --fresh")
    columns = {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}
    targets = columns.pop("target")
    return Prediction(**columns, moment_log_prob=None), targets
