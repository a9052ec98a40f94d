"""From collected draws to metrics, predictions and what the figures show. ANSWERS: mode -> function."""
import collections

import numpy as np

from core.assessment.questions import BAND, OOD, TEST
from core.metrics.calibration import (
    coverage_curve,
    detection_statistics,
    entropies,
    monte_carlo,
    more_classification_statistics,
    more_regression_statistics,
    rejection_curve,
    reliability,
    with_intervals,
)
from core.metrics.crps import mixture_crps
from core.metrics.predictive import classification_statistics, noise_log_prob, noise_variance, predict, values_of
from data_loader.corruptions import CORRUPTIONS, STRENGTHS
from misc.config import CLASSIFICATION, REGRESSION

Answers = collections.namedtuple("Answers", ["metrics", "more", "predictions", "panels"])
"""metrics: {name: calibration.Interval}; more: further numbers for metrics.json; predictions: {column:
array over rows}; panels: {figure: its data}, see figures.py."""

Strange = collections.namedtuple("Strange", ["names", "pairs", "auroc"])
"""Names of the own and the strange rows; {uncertainty: (of the own rows [n], of the strange rows [m])}; its AUROC."""

Band = collections.namedtuple("Band", ["x", "mean", "std", "epistemic_std", "samples", "train_x", "train_y"])
"""Over a line of inputs [m], raw units: predictive mean and stds [m], outputs of some draws [S, m], training rows."""

N_SAMPLES = 12


def answer_classification(collected, data, asked):
    """Answers for {name: (labels, probabilities [K, n, C])} and the questions.Asked."""
    labels, draws = collected[TEST]
    probabilities = draws.mean(axis=0)
    right = probabilities.argmax(axis=1) == labels
    metrics = with_intervals(more_classification_statistics(probabilities, labels), len(labels))
    total, expected, mutual = entropies(draws)
    share, accuracy = rejection_curve(probabilities.max(axis=1), right)
    more = {"rejection_area": float(accuracy.mean()), "mean_entropy": float(total.mean()),
            "mean_expected_entropy": float(expected.mean()), "mean_mutual_information": float(mutual.mean()),
            "monte_carlo": monte_carlo(np.log(np.maximum(draws[:, np.arange(len(labels)), labels],
                                                         np.finfo(np.float64).tiny)))}
    predictions = {"labels": labels, "predicted": probabilities.argmax(axis=1), "entropy": total,
                   "expected_entropy": expected, "mutual_information": mutual, "probabilities": probabilities}
    panels = {"reliability": reliability(probabilities, labels), "rejection": (share, accuracy)}
    several = len(draws) > 1  # else there is no mutual information to show
    if several:
        panels["uncertainty"] = {name: (expected[rows], mutual[rows]) for name, rows in (
            ("right", right), ("wrong", ~right))}
    if OOD in collected:
        strange = entropies(collected[OOD][1])
        pairs = {"entropy": (total, strange[0])}
        if several:
            pairs["mutual information"] = (mutual, strange[2])
        found = {by: with_intervals(detection_statistics(*pair), [len(part) for part in pair])
                 for by, pair in pairs.items()}
        more["ood_rows"] = len(strange[0])
        more["ood"] = {f"{name}_{by.replace(' ', '_')}": dict(interval._asdict())
                       for by, intervals in found.items() for name, interval in intervals.items()}
        panels["ood"] = Strange(("test rows", asked.ood), pairs, {by: found[by]["auroc"].value for by in pairs})
    damaged = {name: {strength: _metrics(found[1].mean(axis=0), found[0])
                      for strength in STRENGTHS for found in [collected[f"{name} {strength}"]]}
               for name in CORRUPTIONS if f"{name} {STRENGTHS[0]}" in collected}
    if damaged:
        first = next(iter(damaged))
        n_rows = len(collected[f"{first} {STRENGTHS[0]}"][0])
        clean = _metrics(probabilities[:n_rows], labels[:n_rows])
        more["corrupted_rows"] = n_rows
        more["corruptions"] = {name: dict({"0": clean}, **{str(s): found for s, found in by.items()})
                               for name, by in damaged.items()}
        panels["corruptions"] = more["corruptions"]
    return Answers(metrics, more, predictions, panels)


def _metrics(probabilities, labels):
    return values_of(classification_statistics(probabilities, labels), len(labels))


def answer_regression(collected, data, asked):
    """Answers for {name: (targets, Draws)} and the questions.Asked, in the data's own units."""
    y, draws = collected[TEST]
    prediction = predict(draws.outputs, draws.precisions, y, data.target_mean, data.target_std, draws.dof)
    noisy = (*in_units(draws, y, data), draws.dof)
    means, squares, targets = noisy[:3]
    crps = mixture_crps(*noisy)
    metrics = with_intervals(more_regression_statistics(prediction, crps, targets), len(targets))
    noise = np.sqrt(noise_variance(squares.mean(), draws.dof))
    more = {"mean_epistemic_std": float(prediction.epistemic_std.mean()), "noise_std": float(noise),
            "monte_carlo": monte_carlo(noise_log_prob(targets, means, squares[:, None], draws.dof))}
    predictions = {"target": targets, "mean": prediction.mean, "std": prediction.std,
                   "epistemic_std": prediction.epistemic_std, "crps": crps, "cdf": prediction.cdf}
    panels = {"predictions": (targets, prediction.mean, prediction.std, prediction.epistemic_std),
              "coverage": coverage_curve(prediction.cdf), "residuals": (prediction.std, targets - prediction.mean)}
    if BAND in collected:
        panels["band"] = band(*collected[BAND], data)
    return Answers(metrics, more, predictions, panels)


def in_units(draws, targets, data):
    """(means [K, n], squared scales of the noise [K], targets [n]) in the data's own units, as many means as scales."""
    outputs = np.broadcast_to(draws.outputs, (len(draws.precisions), draws.outputs.shape[1])).astype(np.float64)
    return (data.target_mean + data.target_std * outputs, data.target_std**2 / draws.precisions,
            data.target_mean + data.target_std * targets)


def band(inputs, draws, data):
    """Band of a run over `inputs` [m, 1], standardised."""
    nowhere = np.zeros(len(inputs))  # there are no targets, and their densities are not used
    means = in_units(draws, nowhere, data)[0]
    found = predict(draws.outputs, draws.precisions, nowhere, data.target_mean, data.target_std, draws.dof)

    def raw(x):
        return data.input_mean[0] + data.input_std[0] * x[:, 0]

    samples = means[:: max(1, len(means) // N_SAMPLES)][:N_SAMPLES if np.ptp(means, axis=0).any() else 1]
    return Band(raw(inputs), found.mean, found.std, found.epistemic_std, samples,
                raw(data.train.x), data.target_mean + data.target_std * data.train.y)


ANSWERS = {REGRESSION: answer_regression, CLASSIFICATION: answer_classification}
