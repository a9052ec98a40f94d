"""Ensembles: the mixture of the predictions of several runs on one split, read from the runs' files."""
import json
import pathlib
import zipfile
import zlib
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from core.baseline import results
from core.baseline.archive import archive_paths
from core.baseline.jobs import Experiment
from core.baseline.kinds import KINDS
from core.metrics.predictive import (
    PREDICTION_COLUMNS,
    ClassPrediction,
    Prediction,
    classification_statistics,
    mix,
    mix_classes,
    regression_statistics,
    values_of,
)
from misc.config import CLASSIFICATION, REGRESSION
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
    mode = rows[0]["mode"]
    mixing = MIXINGS[mode]
    predictions, targets = zip(*map(mixing.read, roots))
    identities = {(row.get("rows_hash"), row.get("split_hash"), row.get("evaluate_on")) for row in rows}
    if not len(targets[0]) or len(identities) > 1 or not all(
            len(other) == len(targets[0]) and np.allclose(other, targets[0], rtol=DIGITS_9, atol=0.0)
            for other in targets[1:]):
        raise RunError(f"the predictions in {', '.join(map(str, roots))} are not of the same rows: run again with "
                       "--fresh")
    for member in zip(roots, rows, predictions, targets):
        _check_against_result(mixing, *member)
    metrics = mixing.metrics(mixing.mix(predictions, targets[0]), targets[0])
    row = {name: value for name, value in rows[0].items() if not name.startswith("best_epoch")}
    row.update((name, sum(member[name] for member in rows)) for name in ("steps", "train_time_s", "wall_time_s"))
    row["kl"] = " ".join(dict.fromkeys(str(member["kl"]) for member in rows if "kl" in member))
    metrics.update((column, float(np.mean([member[column] for member in rows]))) for column in KINDS[mode].others)
    return dict(row, **metrics, steps_per_second=row["steps"] / row["train_time_s"], members=len(rows))


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
    write_rows(experiment.root / "ensemble.csv", [*results.columns(mixtures[0]), "members"], mixtures)
    summary = results.summary(name, settings, mixtures, len(experiment.seeds), failed)
    summary.update(optimizer=f"{summary['optimizer']} x{experiment.members}", members=experiment.members)
    summary["against"] = dict(results.paired(mixtures, experiment.config.name, rows), settings_differ=[])
    write_json(experiment.root / "ensemble.json", summary)
    return summary, notes


def _read_regression(root: Path) -> Tuple[Prediction, np.ndarray]:
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


def _read_classification(root: Path) -> Tuple[ClassPrediction, np.ndarray]:
    """Returns (ClassPrediction, labels) of a run's predictions.npz."""
    path = folder_at(pathlib.Path(root)).probabilities
    try:
        with np.load(str(path)) as arrays:
            prediction = ClassPrediction(*(arrays[name].astype(np.float64) for name in ClassPrediction._fields))
            return prediction, arrays["labels"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        raise RunError(f"{path} is damaged or of an earlier version: run again with --fresh") from None


def _metrics_of_regression(prediction: Prediction, targets: np.ndarray) -> Dict[str, Optional[float]]:
    with np.errstate(invalid="ignore"):  # a member of an earlier version has no cdf
        metrics: Dict[str, Optional[float]] = dict(values_of(regression_statistics(prediction, targets), len(targets)))
    if np.isnan(prediction.cdf).any():
        metrics["coverage_90"] = None
    return metrics


def _metrics_of_classes(prediction: ClassPrediction, labels: np.ndarray) -> Dict[str, Optional[float]]:
    return dict(values_of(classification_statistics(prediction, labels), len(labels)))


class Mixing(NamedTuple):
    """How the runs of one mode are mixed."""

    read: Callable[[Path], Tuple[Any, np.ndarray]]  # (predictions, targets or labels) of a run's folder
    mix: Callable[[Sequence[Any], np.ndarray], Any]  # predictions of all members -> those of the mixture
    metrics: Callable[[Any, np.ndarray], Dict[str, Any]]  # of predictions and targets; None where they are unknown
    checked: Dict[str, float]  # {metric: smallest scale} by which the files are held against the results
    file: str  # of the predictions: a field of Folder


MIXINGS = {
    REGRESSION: Mixing(_read_regression, mix, _metrics_of_regression, {"rmse": 0.0, "log_likelihood": 1.0},
                       "predictions"),
    CLASSIFICATION: Mixing(_read_classification, lambda members, labels: mix_classes(members), _metrics_of_classes,
                           {"log_likelihood": 1.0}, "probabilities"),
}


def _check_against_result(mixing: Mixing, root: Path, row: Dict[str, Any], prediction: Any,
                          targets: np.ndarray) -> None:
    """Raises RunError unless the predictions of a file have the metrics of the run's result.

    Earlier versions wrote 9 digits, of which large targets leave nothing but their common part.
    """
    metrics = mixing.metrics(prediction, targets)
    for name, scale in mixing.checked.items():
        if not abs(metrics[name] - row[name]) <= TOLERANCE * max(scale, abs(row[name])):
            raise RunError(f"{getattr(folder_at(pathlib.Path(root)), mixing.file)} gives {name} {metrics[name]:.6g}, "
                           f"and result.json {row[name]:.6g}: it is rounded (by an earlier version) or damaged; run "
                           "again with --fresh")
