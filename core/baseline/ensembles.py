"""Ensembles: the mixture of the predictions of several runs on one split, read from the runs' files."""
import json
import pathlib
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

from core.baseline import results
from core.baseline.archive import archive_paths
from core.baseline.jobs import Experiment
from core.metrics.predictive import PREDICTION_COLUMNS, Prediction, mix, regression_statistics, values_of
from misc.errors import RunError
from misc.folders import folder_at
from misc.records import read_result, read_rows, write_json, write_rows

Path = Union[str, pathlib.Path]
DIGITS_9 = 1e-8   # relative; predictions.csv of earlier versions was rounded to 9 digits
TOLERANCE = 1e-5  # by which its metrics may differ from the run's result


def mixture_row(roots: Sequence[Path]) -> Dict[str, Any]:
    """Returns a row as in runs.csv for the mixture, with equal weights, of finished runs on one split.

    Raises RunError if they cannot be mixed.
    """
    rows = [results.run_row(root) for root in roots]
    predictions, targets = zip(*map(_read_predictions, roots))
    identities = {(row.get("rows_hash"), row.get("split_hash"), row.get("evaluate_on")) for row in rows}
    if not len(targets[0]) or len(identities) > 1 or not all(
            len(other) == len(targets[0]) and np.allclose(other, targets[0], rtol=DIGITS_9, atol=0.0)
            for other in targets[1:]):
        raise RunError(f"the predictions in {', '.join(map(str, roots))} are not of the same rows: run again with "
                       "--fresh")
    for member in zip(roots, rows, predictions, targets):
        _check_against_result(*member)
    mixture = mix(predictions, targets[0])
    with np.errstate(invalid="ignore"):  # a member of an earlier version has no cdf
        metrics: Dict[str, Any] = dict(values_of(regression_statistics(mixture, targets[0]), len(targets[0])))
    if np.isnan(mixture.cdf).any():
        metrics["coverage_90"] = None
    row = {name: value for name, value in rows[0].items() if not name.startswith("best_epoch")}
    row.update((name, sum(member[name] for member in rows)) for name in ("steps", "train_time_s", "wall_time_s"))
    row["kl"] = " ".join(dict.fromkeys(str(member["kl"]) for member in rows if "kl" in member))
    return dict(row, **metrics, noise_precision=float(np.mean([member["noise_precision"] for member in rows])),
                steps_per_second=row["steps"] / row["train_time_s"], members=len(rows))


def archive_mixtures(root: pathlib.Path, keep: Optional[Dict[str, Any]] = None) -> None:
    """Archives an experiment's tables of ensembles, unless they were made with the settings `keep`."""
    summary = read_result(root / "ensemble.json")
    if keep is None or not summary or summary["settings"] != json.loads(json.dumps(keep)):
        archive_paths(root / "ensemble.csv", root / "ensemble.json")


def write_mixtures(experiment: Experiment, ensembles: Dict[int, List[str]], rows: List[Dict[str, Any]],
                   failed: Dict[int, str], settings: Dict[str, Any]) -> Tuple[Optional[Dict[str, Any]], List[str]]:
    """Writes ensemble.csv, a row per ensemble, and ensemble.json, with the paired differences to the single runs.

    Args:
      ensembles: {seed: [run folder of every member]}, where all members have finished.
      rows: of runs.csv.
      failed: {seed: why there is no ensemble}.
      settings: as for `results.summary`.

    Returns:
      What ensemble.json holds, or None if there is no ensemble; and a sentence for each that cannot be mixed although
      its runs are there.
    """
    name, failed = f"{experiment.config.name} x{experiment.members}", dict(failed)
    mixtures, notes = [], []
    for seed, roots in ensembles.items():
        try:
            mixtures.append(mixture_row(roots))
        except RunError as error:
            failed[seed] = str(error)
            notes.append(f"{name} seed {seed} is not mixed: {error}")
    if not mixtures:
        archive_mixtures(experiment.root)
        return None, notes
    write_rows(experiment.root / "ensemble.csv", [*results.COLUMNS, "members"], mixtures)
    summary = results.summary(name, settings, mixtures, len(experiment.seeds), failed)
    summary.update(optimizer=f"{summary['optimizer']} x{experiment.members}", members=experiment.members)
    summary["against"] = dict(results.paired(mixtures, experiment.config.name, rows), settings_differ=[])
    write_json(experiment.root / "ensemble.json", summary)
    return summary, notes


def _read_predictions(root: Path) -> Tuple[Prediction, np.ndarray]:
    """Returns (Prediction, targets) of a run's predictions.csv."""
    path = folder_at(pathlib.Path(root)).predictions
    try:
        rows = [dict({"cdf": "nan"}, **row) for row in read_rows(path)]  # earlier versions had none
        if rows and "target" not in rows[0] and any(name.startswith("target_") for name in rows[0]):
            raise RunError(f"{path} has several targets, and their joint distribution is not in it: mix the runs with "
                           "evaluate.py --ensemble")
        columns = {name: np.array([float(row[name]) for row in rows]) for name in ("target", *PREDICTION_COLUMNS)}
    except (OSError, ValueError, KeyError, TypeError):
        raise RunError(f"{path} is damaged or of an earlier version: run again with --fresh") from None
    targets = columns.pop("target")
    return Prediction(**columns, moment_log_prob=np.full(len(targets), np.nan)), targets


def _check_against_result(root: Path, row: Dict[str, Any], prediction: Prediction, targets: np.ndarray) -> None:
    """Raises RunError unless the predictions of a file have the metrics of the run's result.

    Earlier versions wrote 9 digits, of which large targets leave nothing but their common part.
    """
    rmse, log_likelihood = np.sqrt(np.mean(np.square(prediction.mean - targets))), np.mean(prediction.log_prob)
    for name, value, scale in (("rmse", rmse, row["rmse"]), ("log_likelihood", log_likelihood, 1.0)):
        if not abs(value - row[name]) <= TOLERANCE * max(scale, abs(row[name])):
            raise RunError(f"{folder_at(pathlib.Path(root)).predictions} gives {name} {value:.6g}, and result.json "
                           f"{row[name]:.6g}: it is rounded (by an earlier version) or damaged; run again with --fresh")
