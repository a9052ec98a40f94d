"""From collected draws to metrics, predictions and the data of the figures. ASSESSMENTS has a row per mode."""
import pathlib
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

import numpy as np

from core.assessment.calibrated import Compared
from core.assessment.detection import Detection, detect
from core.assessment.importance import importances, log_probs
from core.assessment.inputs import BAND, OOD, TEST, Collected, Options
from core.metrics.calibration import (
    Interval,
    coverage_curve,
    local_coverage,
    monte_carlo,
    more_classification_statistics,
    more_regression_statistics,
    rejection_curve,
    reliability,
    with_intervals,
)
from core.metrics.crps import mixture_crps
from core.metrics.draws import Draws
from core.metrics.gaussian_outputs import class_entropies, has_draws, logits_of
from core.metrics.joint import joint_log_prob, joint_statistics, predict_jointly
from core.metrics.predictive import (
    ClassPrediction,
    Prediction,
    by_row,
    classification_statistics,
    log_mean_exp,
    log_softmax,
    mean_noise_variance,
    noise_log_prob,
    over_rows,
    predict,
    predict_classes,
    values_of,
)
from core.training.row_columns import evaluated_class_columns, regression_columns, with_ids
from core.training.targets import of_target, target_names
from data_loader.corruptions import CORRUPTIONS, STRENGTHS
from misc.config import CLASSIFICATION, REGRESSION, TABLE_CLASSIFICATION
from misc.records import write_columns

N_SAMPLES = 12  # draws that a band shows


class Results(NamedTuple):
    """What the evaluation of a run, or of an ensemble, gives."""

    metrics: Dict[str, Interval]
    more: Dict[str, Any]                # further numbers for metrics.json
    predictions: Dict[str, np.ndarray]  # {column: array over rows}
    panels: Dict[str, Any]              # {figure: its data}, see figures.py
    columns: Dict[str, np.ndarray] = {}  # of predictions.csv of a classification
    calibrated: Optional[Compared] = None  # of a run that was calibrated


class PerTarget(dict):
    """The data of a figure for each of several targets, {name: data}: a panel each."""


class Band(NamedTuple):
    """Predictions over a line of inputs, in the data's own units."""

    x: np.ndarray              # [m]
    mean: np.ndarray           # [m]
    std: np.ndarray            # [m]
    epistemic_std: np.ndarray  # [m]
    samples: np.ndarray        # outputs of some draws, [S, m]
    train_x: np.ndarray        # the training rows
    train_y: np.ndarray


def classification_results(collected: Dict[str, Collected], data: Any, options: Options) -> Results:
    """Returns the Results of a classification from its collected draws."""
    labels, draws = collected[TEST].rows, collected[TEST].draws
    logits = logits_of(draws)
    prediction = predict_classes(logits)
    probabilities = prediction.probabilities
    predicted = probabilities.argmax(axis=1)
    right = predicted == labels
    metrics = with_intervals(more_classification_statistics(prediction, labels), len(labels))
    total, expected, mutual = class_entropies(draws)
    share, accuracy = rejection_curve(probabilities.max(axis=1), right)
    more: Dict[str, Any] = {
        "rejection_area": float(accuracy.mean()), "mean_entropy": float(total.mean()),
        "mean_expected_entropy": float(expected.mean()), "mean_mutual_information": float(mutual.mean()),
        "monte_carlo": monte_carlo(log_softmax(logits)[:, np.arange(len(labels)), labels])}
    predictions = {"labels": labels, "predicted": predicted, "entropy": total, "expected_entropy": expected,
                   "mutual_information": mutual, "probabilities": probabilities,
                   "log_probabilities": prediction.log_probabilities.astype(np.float32)}
    panels = {"reliability": reliability(probabilities, labels), "rejection": (share, accuracy)}
    if has_draws(draws):  # a single draw has no mutual information
        panels["uncertainty"] = {"right": (expected[right], mutual[right]), "wrong": (expected[~right], mutual[~right])}
    if OOD in collected:
        panels["ood"], numbers = _detect_by_entropy(draws, collected[OOD].draws, options.ood)
        more.update(numbers)
    corruptions = _corruption_metrics(collected, prediction)
    if corruptions:
        more.update(corruptions)
        panels["corruptions"] = corruptions["corruptions"]
    columns = with_ids(collected[TEST], evaluated_class_columns(draws, labels, data.classes))
    results = Results(metrics, more, predictions, panels, columns)
    add_importance(results, collected, data, options)
    return results


def _detect_by_entropy(own_draws: Any, ood_draws: Any,
                       ood_name: Optional[str]) -> Tuple[Detection, Dict[str, Any]]:
    """Returns `detect` by the entropy of the classes, and by the mutual information where there is some."""
    own, ood = class_entropies(own_draws), class_entropies(ood_draws)
    pairs = {"entropy": (own[0], ood[0])}
    if has_draws(own_draws):
        pairs["mutual information"] = (own[2], ood[2])
    return detect(pairs, str(ood_name), "nats")


def _corruption_metrics(collected: Dict[str, Collected], prediction: ClassPrediction) -> Dict[str, Any]:
    """Returns the metrics on corrupted images, {} if there are none; strength "0" are the same rows uncorrupted."""
    kinds = [name for name in CORRUPTIONS if f"{name} {STRENGTHS[0]}" in collected]
    if not kinds:
        return {}
    labels = collected[f"{kinds[0]} {STRENGTHS[0]}"].rows
    uncorrupted = _metrics(ClassPrediction(*(values[:len(labels)] for values in prediction)), labels)
    by_kind = {}
    for kind in kinds:
        by_kind[kind] = {"0": uncorrupted}
        for strength in STRENGTHS:
            corrupted = collected[f"{kind} {strength}"]
            by_kind[kind][str(strength)] = _metrics(predict_classes(logits_of(corrupted.draws)), corrupted.rows)
    return {"corrupted_rows": len(labels), "corruptions": by_kind}


def _metrics(prediction: ClassPrediction, labels: np.ndarray) -> Dict[str, float]:
    return values_of(classification_statistics(prediction, labels), len(labels))


def regression_results(collected: Dict[str, Collected], data: Any, options: Options) -> Results:
    """Returns the Results of a regression from its collected draws, in the data's own units.

    Several targets have all metrics, predictions and figures of a single one each, under its name, beside the metrics
    of all of them together.
    """
    results = (_of_several if target_names(data) else _of_one)(collected, data, options)
    results = results._replace(predictions=with_ids(collected[TEST], results.predictions))
    add_importance(results, collected, data, options)
    return results


def _of_several(collected: Dict[str, Collected], data: Any, options: Options) -> Results:
    """Returns the Results of several targets."""
    names = target_names(data)
    each = {name: _of_one({kind: _of_target(kind, collected[kind], number) for kind in (TEST, OOD, BAND)
                           if kind in collected}, of_target(data, number), options)
            for number, name in enumerate(names)}
    y, draws = collected[TEST].rows, collected[TEST].draws
    targets = data.target_mean + data.target_std * y
    joint = predict_jointly(draws, y, data.target_mean, data.target_std)
    metrics = with_intervals(joint_statistics(joint, targets, data.target_std, names), len(targets))
    for name, results in each.items():
        metrics.update((f"{metric}_{name}", interval) for metric, interval in results.metrics.items())
    predictions = {f"{column}_{name}": values for name, results in each.items()
                   for column, values in results.predictions.items()}
    panels = {panel: PerTarget({name: results.panels[panel] for name, results in each.items()})
              for panel in next(iter(each.values())).panels}
    more = {"targets": {name: results.more for name, results in each.items()},
            "monte_carlo": monte_carlo(joint_log_prob(draws, y))}
    if OOD in collected:
        more["ood_rows"] = collected[OOD].draws.outputs.shape[1]
    return Results(metrics, more, dict(predictions, log_prob=joint.log_prob), panels)


def _of_target(kind: str, collected: Collected, number: int) -> Collected:
    """Returns the draws, and the targets of the test rows, of one of several targets."""
    rows = collected.rows[:, number] if kind == TEST and collected.rows is not None else collected.rows
    return collected._replace(rows=rows, draws=collected.draws.of_target(number))


def _of_one(collected: Dict[str, Collected], data: Any, options: Options) -> Results:
    """Returns the Results of a single target."""
    y, draws = collected[TEST].rows, collected[TEST].draws
    prediction = predict(draws.outputs, draws.precisions, y, data.target_mean, data.target_std, draws.dof,
                         draws.within)
    means, squared_scales, targets = in_units(draws, y, data)
    crps = mixture_crps(means, squared_scales, targets, draws.dof)
    metrics = with_intervals(more_regression_statistics(prediction, crps, targets), len(targets))
    per_draw = noise_log_prob(targets, means, by_row(squared_scales), over_rows(draws.dof))
    from_weights = data.target_std**2 * np.mean(mean_noise_variance(np.atleast_2d(draws.within), draws.dof))
    more = {"mean_epistemic_std": float(prediction.epistemic_std.mean()),
            "noise_std": float(np.sqrt(np.mean(mean_noise_variance(squared_scales, draws.dof)) - from_weights)),
            "monte_carlo": monte_carlo(per_draw)}
    columns = regression_columns(draws, data.target_mean, data.target_std)
    predictions = {"target": targets, **columns, "crps": crps, "cdf": prediction.cdf}
    panels = {"predictions": (targets, prediction.mean, prediction.std, prediction.epistemic_std),
              "coverage": coverage_curve(prediction.cdf), "residuals": (prediction.std, targets - prediction.mean)}
    local = local_coverage(prediction.mean, prediction.cdf)
    if local is not None:
        panels["local_coverage"] = local
    if BAND in collected:
        panels["band"] = band(collected[BAND].rows, collected[BAND].draws, data)
    if OOD in collected:
        panels["ood"], numbers = _detect_by_std(prediction, collected[OOD].draws, data, options.ood)
        more.update(numbers)
    return Results(metrics, more, predictions, panels)


def _detect_by_std(own: Prediction, ood_draws: Draws, data: Any,
                   ood_name: Optional[str]) -> Tuple[Detection, Dict[str, Any]]:
    """Returns `detect` by the predictive std, and by its epistemic part where there is some."""
    nowhere = np.zeros(ood_draws.outputs.shape[1])  # there are no targets, and their densities are not used
    ood = predict(ood_draws.outputs, ood_draws.precisions, nowhere, data.target_mean, data.target_std, ood_draws.dof,
                  ood_draws.within)
    pairs = {"std": (own.std, ood.std)}
    if own.epistemic_std.any():
        pairs["epistemic std"] = (own.epistemic_std, ood.epistemic_std)
    return detect(pairs, str(ood_name), "in the target's unit")


def add_importance(results: Results, collected: Dict[str, Collected], data: Any, options: Options) -> None:
    """Adds the importance of the columns of a table to its Results, if it is asked for."""
    if not options.importance:
        return
    own = log_mean_exp(log_probs(collected[TEST].draws, collected[TEST].rows))
    results.panels["importance"] = importances(collected, own, data)
    results.more["importance"] = {column: dict(interval._asdict())
                                  for column, interval in results.panels["importance"].items()}


def in_units(draws: Draws, targets: np.ndarray, data: Any) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns (means [K, n], squared noise scales, targets [n]) in the data's own units, a mean for every scale.

    The scales are those of the draws, [K], or of the draws and rows, [K, n].
    """
    outputs = np.broadcast_to(draws.outputs, (len(draws.precisions), draws.outputs.shape[1])).astype(np.float64)
    return (data.target_mean + data.target_std * outputs, data.target_std**2 / draws.precisions,
            data.target_mean + data.target_std * targets)


def band(inputs: np.ndarray, draws: Draws, data: Any) -> Band:
    """Returns the Band of a run over `inputs` [m, 1], standardised."""
    nowhere = np.zeros(len(inputs))  # there are no targets, and their densities are not used
    means = in_units(draws, nowhere, data)[0]
    prediction = predict(draws.outputs, draws.precisions, nowhere, data.target_mean, data.target_std, draws.dof,
                         draws.within)

    def raw(x: np.ndarray) -> np.ndarray:
        return data.input_mean[0] + data.input_std[0] * x[:, 0]

    n_samples = N_SAMPLES if np.ptp(means, axis=0).any() else 1  # draws without weight noise are all alike
    samples = means[:: max(1, len(means) // N_SAMPLES)][:n_samples]
    return Band(raw(inputs), prediction.mean, prediction.std, prediction.epistemic_std, samples,
                raw(data.train.x), data.target_mean + data.target_std * data.train.y)


def write_classification(results: Results, data: Any, folder: pathlib.Path) -> None:
    """Writes into `folder` predictions.npz, arrays over rows and the names of the classes, and predictions.csv."""
    write_columns(folder / "predictions.csv", results.columns)
    with open(str(folder / "predictions.npz"), "wb") as handle:
        np.savez_compressed(handle, classes=np.array(data.classes), **results.predictions)


def write_regression(results: Results, data: Any, folder: pathlib.Path) -> None:
    """Writes predictions.csv into `folder`, a line per row in the data's own units, with every digit."""
    write_columns(folder / "predictions.csv", results.predictions)


class Assessment(NamedTuple):
    """What one mode is evaluated by."""

    results: Callable[[Dict[str, Collected], Any, Options], Results]  # from the collected draws, and the run's data
    write_predictions: Callable[[Results, Any, pathlib.Path], None]   # the file of predictions in evaluation/


ASSESSMENTS = {REGRESSION: Assessment(regression_results, write_regression),
               CLASSIFICATION: Assessment(classification_results, write_classification)}
ASSESSMENTS[TABLE_CLASSIFICATION] = ASSESSMENTS[CLASSIFICATION]
