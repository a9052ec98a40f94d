"""Ensembles: the mixture of the predictions of several runs on one split, read from the runs' files."""
import json
import pathlib

import numpy as np

from core.baseline import results
from core.metrics.predictive import KEPT, Prediction, mix, regression_statistics, values_of
from misc.errors import RunError
from misc.folders import folder_at, unused_name
from misc.records import read_result, read_rows, write_json, write_rows


def mixture_row(roots):
    """A row as in runs.csv for the equal mixture of finished runs on one split. RunError if they cannot be mixed."""
    rows = [results.run_row(root) for root in roots]
    predictions, targets = zip(*map(_read_predictions, roots))
    if not all(np.array_equal(other, targets[0]) for other in targets[1:]) or not len(targets[0]):
        raise RunError(f"the predictions in {', '.join(map(str, roots))} are not of the same rows: run again with "
                       "--fresh")
    mixture = mix(predictions, targets[0])
    with np.errstate(invalid="ignore"):  # a member of an earlier version has no cdf
        metrics = values_of(regression_statistics(mixture, targets[0]), len(targets[0]))
    if np.isnan(mixture.cdf).any():
        metrics["coverage_90"] = None
    whole = {name: value for name, value in rows[0].items() if not name.startswith("best_epoch")}
    whole.update((name, sum(row[name] for row in rows)) for name in ("steps", "train_time_s", "wall_time_s"))
    return dict(whole, **metrics, noise_precision=float(np.mean([row["noise_precision"] for row in rows])),
                steps_per_second=whole["steps"] / whole["train_time_s"], members=len(rows))


def put_aside(root, settings=None):
    """Renames an experiment's tables of ensembles, if there are any, and of other settings."""
    found = read_result(root / "ensemble.json")
    if settings is not None and found and found["settings"] == json.loads(json.dumps(settings)):
        return
    for path in (root / "ensemble.csv", root / "ensemble.json"):
        if path.exists():
            path.rename(unused_name(path))


def write_mixtures(experiment, ensembles, rows, failed, settings, notes):
    """ensemble.csv, a row per whole ensemble, and ensemble.json, with the paired differences to the single runs.

    Args:
      ensembles: {seed: [run folder of every member]}; rows: of runs.csv.
      failed: {seed: why there is no ensemble}; settings: as for `results.summary`.
      notes: gets a sentence for every ensemble that cannot be mixed.

    Returns:
      [the dict of ensemble.json], or [] if there is no ensemble.
    """
    name, mixtures, failed = f"{experiment.config.name} x{experiment.members}", [], dict(failed)
    for seed, roots in ensembles.items():
        try:
            mixtures.append(mixture_row(roots))
        except RunError as error:
            failed[seed] = str(error)
            notes.append(f"{name} seed {seed} is not mixed: {error}")
    if not mixtures:
        put_aside(experiment.root)
        return []
    write_rows(experiment.root / "ensemble.csv", [*results.COLUMNS, "members"], mixtures)
    found = results.summary(name, settings, mixtures, len(experiment.seeds), failed)
    found.update(optimizer=f"{found['optimizer']} x{experiment.members}", members=experiment.members)
    found["against"] = dict(results.paired(mixtures, experiment.config.name, rows), settings_differ=[])
    write_json(experiment.root / "ensemble.json", found)
    return [found]


def _read_predictions(root):
    """(Prediction, targets) of predictions.csv."""
    path = folder_at(pathlib.Path(root)).predictions
    try:
        rows = [dict({"cdf": "nan"}, **row) for row in read_rows(path)]  # earlier versions had none
        columns = {name: np.array([float(row[name]) for row in rows]) for name in ("target", *KEPT)}
    except (OSError, ValueError, KeyError, TypeError):
        raise RunError(f"{path} is damaged or of an earlier version: run again with --fresh") from None
    target = columns.pop("target")
    return Prediction(**columns, moment_log_prob=None), target
