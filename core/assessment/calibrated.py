"""Calibrated predictions: columns of files of predictions, and metrics before and after the calibration."""
from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from core.assessment.calibration_file import (
    Calibration,
    ClassFit,
    TargetFit,
    calibration_of,
    hash_of_part,
    read_calibration,
)
from core.assessment.inputs import Collected, Options
from core.assessment.restore import Restored
from core.metrics.calibration import Interval, with_intervals
from core.metrics.conformal import SETS, adaptive_scores, normalised_residuals, tempered
from core.metrics.draws import Draws
from core.metrics.gaussian_outputs import logits_of
from core.metrics.predictive import (
    ClassPrediction,
    WeightedMetric,
    classification_statistics,
    gaussian_log_prob,
    moments,
    predict_classes,
    weighted_mean,
)
from core.training.row_columns import Columns, regression_columns
from core.training.targets import of_target, target_names
from data_loader.parts import Part
from misc.errors import UserError

NOTICE = "calibration_notice"  # key of metrics.json: why there are no calibrated predictions, or what limits them
SEPARATOR = "|"  # of the classes of a set in a file
METRICS = ("accuracy", "log_likelihood", "brier", "ece")

Both = Tuple[Dict[str, WeightedMetric], Dict[str, WeightedMetric]]  # before and after


class Compared(NamedTuple):
    """Metrics of some rows before and after the calibration."""

    level: float                 # probability of the intervals or sets
    before: Dict[str, Interval]
    after: Dict[str, Interval]


def calibrated_numbers(columns: Columns, calibration: Calibration, level: float) -> Columns:
    """Returns calibrated_std, and the ends calibrated_lower and calibrated_upper of the conformal interval.

    Args:
      columns: of `regression_columns`: mean and std, [n].
      calibration: of this target.
      level: probability of the interval. Raises UserError if the calibration has too few rows for it.
    """
    fit, half = calibration.fits[0], calibration.bound(level) * columns["std"]
    assert isinstance(fit, TargetFit), "check_fits has found so"
    return {"calibrated_std": fit.std_factor * columns["std"], "calibrated_lower": columns["mean"] - half,
            "calibrated_upper": columns["mean"] + half}


def calibrated_classes(draws: Any, classes: Sequence[Any], calibration: Calibration, level: float) -> Columns:
    """Returns the confidence and the probability of every class at the fitted temperature, and the conformal set.

    Args:
      draws: logits of all weight draws, [K, n, C], or ProbitDraws.
      classes: their names.
      level: probability of the set. Raises UserError if the calibration has too few rows for it.
    """
    probabilities, inside = calibrated_arrays(draws, calibration, level)
    names = [str(name) for name in classes]
    sets = [SEPARATOR.join(name for name, is_in in zip(names, row) if is_in) for row in inside]
    return {"confidence": probabilities.max(axis=1),
            **{f"p_{name}": probabilities[:, number] for number, name in enumerate(names)},
            "set": np.array(sets, object)}


def calibrated_arrays(draws: Any, calibration: Calibration, level: float) -> Tuple[np.ndarray, np.ndarray]:
    """Returns (probabilities [n, C] at the fitted temperature, bool [n, C]: whether a class is in the conformal set).

    The arguments are those of `calibrated_classes`.
    """
    fit, prediction = calibration.fits[0], predict_classes(logits_of(draws))
    assert isinstance(fit, ClassFit), "check_fits has found so"
    inside = SETS[fit.sets](prediction.probabilities) <= calibration.bound(level)
    return tempered(prediction, fit.temperature).probabilities, inside


def compare(calibration: Calibration, collected: Collected, data: Any, level: Optional[float] = None) -> Compared:
    """Returns metrics of rows with known targets, before and after the calibration.

    Args:
      collected: targets and draws of the rows.
      data: the run's.
      level: probability of the intervals or sets; default: that of the calibration.

    Of a regression: coverage and mean_width of the central and of the conformal interval, and moment_log_likelihood, of
    the Gaussian of the predictive mean and std, or calibrated std; of several targets each with _NAME. Of classes:
    METRICS, and the coverage and the mean_size of sets: of the most probable classes that together have a probability
    of at least `level`, and of the conformal ones.
    """
    assert collected.rows is not None, "the targets are known"
    level, n_rows = level or calibration.level, len(collected.rows)
    if not isinstance(collected.draws, Draws):
        before, after = _compare_classes(calibration, collected, level)
    elif not target_names(data):
        before, after = _compare_target(calibration, collected, data, level)
    else:
        before, after = {}, {}
        for number, name in enumerate(target_names(data)):
            of_one = Collected(collected.rows[:, number], collected.draws.of_target(number))
            both = _compare_target(calibration.of_target(number), of_one, of_target(data, number), level)
            for found, metrics in zip((before, after), both):
                found.update((f"{metric}_{name}", values) for metric, values in metrics.items())
    return Compared(level, with_intervals(before, n_rows), with_intervals(after, n_rows))


def _compare_target(calibration: Calibration, collected: Collected, data: Any, level: float) -> Both:
    columns = regression_columns(collected.draws, data.target_mean, data.target_std, level)
    columns.update(calibrated_numbers(columns, calibration, level))
    targets = data.target_mean + data.target_std * collected.rows

    def metrics(inside: np.ndarray, prefix: str) -> Dict[str, WeightedMetric]:
        lower, upper, std = (columns[f"{prefix}{name}"] for name in ("lower", "upper", "std"))
        return {"coverage": weighted_mean(inside), "mean_width": weighted_mean(upper - lower),
                "moment_log_likelihood": weighted_mean(gaussian_log_prob(targets, columns["mean"], np.square(std)))}

    return (metrics((columns["lower"] <= targets) & (targets <= columns["upper"]), ""),
            metrics(target_scores(collected.draws, collected.rows) <= calibration.bound(level), "calibrated_"))


def _compare_classes(calibration: Calibration, collected: Collected, level: float) -> Both:
    labels = np.asarray(collected.rows)
    prediction, fit = predict_classes(logits_of(collected.draws)), calibration.fits[0]
    assert isinstance(fit, ClassFit), "check_fits has found so"

    def metrics(of_state: ClassPrediction, inside: np.ndarray) -> Dict[str, WeightedMetric]:
        every = classification_statistics(of_state, labels)
        return {**{name: every[name] for name in METRICS},
                "coverage": weighted_mean(inside[np.arange(len(labels)), labels]),
                "mean_size": weighted_mean(inside.sum(axis=1))}

    return (metrics(prediction, adaptive_scores(prediction.probabilities) < level),
            metrics(tempered(prediction, fit.temperature), calibrated_arrays(collected.draws, calibration, level)[1]))


def target_scores(draws: Draws, targets: np.ndarray) -> np.ndarray:
    """Returns the score of every row's target, [n]; draws: of a single target; targets: standardised, [n]."""
    mean, variance, _ = moments(draws.outputs, draws.precisions, draws.dof, draws.within)
    return normalised_residuals(targets, mean, np.sqrt(variance))


def add_calibrated(results: Any, collected: Collected, part: Part, run: Restored, options: Options) -> Any:
    """Returns the Results with what the run's calibration gives, if it has one.

    Args:
      results, collected: of the rows that the run is evaluated on, `part`.

    Calibrated columns are added if they are asked for. Raises UserError if they are, or a level is, and the run has no
    calibration that fits; otherwise `metrics.json` and the tables say why there is none.
    """
    try:
        calibration = read_calibration(run.folder)
        if calibration is None and not (options.calibrated or options.level):
            return results
        calibration = calibration_of(run, calibration)
        compared = compare(calibration, collected, run.data, options.level)
    except UserError as error:
        if options.calibrated or options.level:
            raise
        results.more[NOTICE] = str(error)
        return results
    results.more["calibrated"] = {
        "level": compared.level, "rows": calibration.rows, "rows_hash": calibration.rows_hash,
        **{state: {name: dict(interval._asdict()) for name, interval in metrics.items()}
           for state, metrics in (("before", compared.before), ("after", compared.after))}}
    if hash_of_part(part) == calibration.rows_hash:
        results.more[NOTICE] = "these are the rows that it was calibrated on, whose coverage follows from that"
    if options.calibrated:
        _add_columns(results, collected, calibration, run.data, compared.level)
    return results._replace(calibrated=compared)


def _add_columns(results: Any, collected: Collected, calibration: Calibration, data: Any, level: float) -> None:
    """Adds calibrated predictions to the files of predictions."""
    if not isinstance(collected.draws, Draws):
        probabilities, inside = calibrated_arrays(collected.draws, calibration, level)
        results.predictions.update(calibrated_probabilities=probabilities, sets=inside)
        if results.columns:
            results.columns.update(calibrated_classes(collected.draws, data.classes, calibration, level))
        return
    for number, name in enumerate(target_names(data) or ("",)):
        ending = f"_{name}" if name else ""
        own = {column: results.predictions[f"{column}{ending}"] for column in ("mean", "std")}
        added = calibrated_numbers(own, calibration.of_target(number), level)
        results.predictions.update({f"{column}{ending}": values for column, values in added.items()})
