"""Ensembles: the mixture of the predictions of several runs on one split, read from the runs' files."""
import pathlib

import numpy as np

from core.baseline import results
from core.metrics import Prediction, mix, regression_statistics, values_of
from misc.errors import RunError
from misc.folders import folder_at
from misc.records import read_rows, write_json, write_rows


def mixture_row(roots):
    """A row as in runs.csv for the equal mixture of finished runs on one split. RunError if they cannot be mixed."""
    rows = [results.run_row(root) for root in roots]
    predictions, targets = zip(*map(_read_predictions, roots))
    metrics = values_of(regression_statistics(mix(predictions, targets[0]), targets[0]), len(targets[0]))
    whole = {name: value for name, value in rows[0].items() if not name.startswith("best_epoch")}
    whole.update((name, sum(row[name] for row in rows)) for name in ("steps", "train_time_s", "wall_time_s"))
    return dict(whole, **metrics, noise_precision=float(np.mean([row["noise_precision"] for row in rows])),
                steps_per_second=whole["steps"] / whole["train_time_s"], members=len(rows))


def write_mixtures(experiment, ensembles, rows, failed, settings):
    """ensemble.csv, a row per whole ensemble, and ensemble.json, with the paired differences to the single runs.

    Args:
      ensembles: [[run folder of every member]]; rows: of runs.csv.
      failed: {seed: why there is no ensemble}; settings: as for `results.summary`.

    Returns:
      [the dict of ensemble.json], or [] if there is no ensemble.
    """
    mixtures = [mixture_row(roots) for roots in ensembles]
    if not mixtures:
        return []
    name = f"{experiment.config.name} x{experiment.members}"
    write_rows(experiment.root / "ensemble.csv", [*results.COLUMNS, "members"], mixtures)
    found = results.summary(name, settings, mixtures, len(experiment.seeds), failed)
    found.update(optimizer=f"{found['optimizer']} x{experiment.members}", members=experiment.members)
    found["against"] = dict(results.paired(mixtures, experiment.config.name, rows), settings_differ=[])
    write_json(experiment.root / "ensemble.json", found)
    return [found]


def _read_predictions(root):
    """(Prediction, targets) of predictions.csv."""
    path = folder_at(pathlib.Path(root)).predictions
    rows = read_rows(path)
    if "log_prob" not in rows[0]:
        raise RunError(f"{path} is of an earlier version and cannot be mixed: run again with --fresh")
    columns = {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}
    targets = columns.pop("target")
    return Prediction(**columns, moment_log_prob=None), targets
