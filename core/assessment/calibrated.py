"""Calibrated predictions: columns of files of predictions, and metrics before and after the calibration."""
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from core.assessment.calibration_file import Calibration, ClassFit, TargetFit
from core.assessment.inputs import Collected
from core.metrics.calibration import Interval, with_intervals
from core.metrics.conformal import SETS, adaptive_scores, normalised_residuals, tempered
from core.metrics.draws import Draws
from core.metrics.predictive import (
    WeightedMetric,
    classification_statistics,
    gaussian_log_prob,
    moments,
    predict_classes,
    weighted_mean,
)
from core.training.row_columns import Columns, regression_columns
from core.training.targets import of_target, target_names

BEFORE, AFTER = "before", "after"
SEPARATOR = "|"  # of the classes of a set in a file
METRICS = ("accuracy", "log_likelihood", "brier", "ece")

Compared = Dict[str, Dict[str, Interval]]  # {BEFORE or AFTER: {metric: its value}}


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


def calibrated_classes(logits: np.ndarray, classes: Sequence[Any], calibration: Calibration, level: float) -> Columns:
    """Returns the confidence and the probability of every class at the fitted temperature, and the conformal set.

    Args:
      logits: [K, n, C], of all weight draws.
      classes: their names.
      level: probability of the set. Raises UserError if the calibration has too few rows for it.
    """
    probabilities, inside = calibrated_arrays(logits, calibration, level)
    names = [str(name) for name in classes]
    sets = [SEPARATOR.join(name for name, is_in in zip(names, row) if is_in) for row in inside]
    return {"confidence": probabilities.max(axis=1),
            **{f"p_{name}": probabilities[:, number] for number, name in enumerate(names)},
            "set": np.array(sets, object)}


def calibrated_arrays(logits: np.ndarray, calibration: Calibration, level: float) -> Tuple[np.ndarray, np.ndarray]:
    """Returns (probabilities [n, C] at the fitted temperature, bool [n, C]: whether a class is in the conformal set).

    The arguments are those of `calibrated_classes`.
    """
    fit, prediction = calibration.fits[0], predict_classes(logits)
    assert isinstance(fit, ClassFit), "check_fits has found so"
    inside = SETS[fit.sets](prediction.probabilities) <= calibration.bound(level)
    return tempered(prediction, fit.temperature).probabilities, inside


def compare(calibration: Calibration, collected: Collected, data: Any, level: float) -> Compared:
    """Returns metrics of rows with known targets, before and after the calibration, with intervals.

    Args:
      collected: targets and draws of the rows.
      data: the run's.
      level: probability of the intervals or sets.

    Of a regression: coverage and mean_width of the central and of the conformal interval, and moment_log_likelihood, of
    the Gaussian of the predictive mean and std, or calibrated std; of several targets each with _NAME. Of classes:
    METRICS, and the coverage and the mean_size of sets: of the most probable classes that together have a probability
    of at least `level`, and of the conformal ones.
    """
    if isinstance(collected.draws, Draws):
        statistics = _compare_numbers(calibration, collected, data, level)
    else:
        statistics = _compare_classes(calibration, collected, level)
    assert collected.rows is not None, "the targets are known"
    return {name: with_intervals(metrics, len(collected.rows)) for name, metrics in statistics.items()}


def _compare_numbers(calibration: Calibration, collected: Collected, data: Any,
                     level: float) -> Dict[str, Dict[str, WeightedMetric]]:
    names = target_names(data)
    if not names:
        return _compare_target(calibration, collected, data, level)
    found: Dict[str, Dict[str, WeightedMetric]] = {BEFORE: {}, AFTER: {}}
    for number, name in enumerate(names):
        of_one = Collected(collected.rows[:, number], collected.draws.of_target(number))  # type: ignore[index]
        for state, metrics in _compare_target(calibration.of_target(number), of_one, of_target(data, number),
                                              level).items():
            found[state].update((f"{metric}_{name}", value) for metric, value in metrics.items())
    return found


def _compare_target(calibration: Calibration, collected: Collected, data: Any,
                    level: float) -> Dict[str, Dict[str, WeightedMetric]]:
    columns = regression_columns(collected.draws, data.target_mean, data.target_std, level)
    columns.update(calibrated_numbers(columns, calibration, level))
    targets = data.target_mean + data.target_std * collected.rows

    def metrics(inside: np.ndarray, prefix: str) -> Dict[str, WeightedMetric]:
        lower, upper, std = (columns[f"{prefix}{name}"] for name in ("lower", "upper", "std"))
        return {"coverage": weighted_mean(inside), "mean_width": weighted_mean(upper - lower),
                "moment_log_likelihood": weighted_mean(gaussian_log_prob(targets, columns["mean"], np.square(std)))}

    return {BEFORE: metrics((columns["lower"] <= targets) & (targets <= columns["upper"]), ""),
            AFTER: metrics(target_scores(collected) <= calibration.bound(level), "calibrated_")}


def target_scores(collected: Collected) -> np.ndarray:
    """Returns the score of every row's own target, [n]; of a single target."""
    mean, variance, _ = moments(collected.draws.outputs, collected.draws.precisions,  # type: ignore[union-attr]
                                collected.draws.dof)  # type: ignore[union-attr]
    assert collected.rows is not None, "the targets are known"
    return normalised_residuals(collected.rows, mean, np.sqrt(variance))


def _compare_classes(calibration: Calibration, collected: Collected,
                     level: float) -> Dict[str, Dict[str, WeightedMetric]]:
    prediction, labels = predict_classes(collected.draws), collected.rows
    fit = calibration.fits[0]
    assert isinstance(fit, ClassFit), "check_fits has found so"
    own = (np.arange(len(labels)), labels)  # type: ignore[arg-type]
    states = {BEFORE: (prediction, adaptive_scores(prediction.probabilities) < level),
              AFTER: (tempered(prediction, fit.temperature), calibrated_arrays(collected.draws, calibration, level)[1])}
    found = {}
    for state, (of_state, inside) in states.items():
        all_metrics = classification_statistics(of_state, labels)  # type: ignore[arg-type]
        found[state] = {**{name: all_metrics[name] for name in METRICS}, "coverage": weighted_mean(inside[own]),
                        "mean_size": weighted_mean(inside.sum(axis=1))}
    return found

