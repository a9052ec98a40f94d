"""Test metrics. Arrays in, floats out, float64; units are said."""
import collections

import numpy as np

Prediction = collections.namedtuple("Prediction", ["mean", "std", "epistemic_std", "log_prob", "moment_log_prob"])
"""Per test row, [n], in the data's own units: predictive mean; predictive std; the part of it
that comes from the weights; log density of the target under the mixture over draws and under
the Gaussian of the same mean and std."""


def predict(outputs, precisions, targets, target_mean, target_std):
    """The predictive distribution p(y | x) = mean_k N(y; f_k, 1 / tau_k).

    Args:
      outputs: [K, n] network outputs f_k, standardised.
      precisions: [K] noise precisions tau_k of standardised targets.
      targets: [n] standardised.
      target_mean, target_std: of the raw training targets; they undo the standardisation.
    """
    outputs, precisions, targets = (np.asarray(array, np.float64) for array in (outputs, precisions, targets))
    mean = outputs.mean(axis=0)
    epistemic = outputs.var(axis=0)
    variance = epistemic + np.mean(1.0 / precisions)
    per_draw = gaussian_log_prob(targets, outputs, 1.0 / precisions[:, None])
    return Prediction(
        mean=target_mean + target_std * mean,
        std=target_std * np.sqrt(variance),
        epistemic_std=target_std * np.sqrt(epistemic),
        log_prob=log_mean_exp(per_draw) - np.log(target_std),
        moment_log_prob=gaussian_log_prob(targets, mean, variance) - np.log(target_std),
    )


def regression_metrics(prediction, targets):
    """Over all rows at once; `targets` [n] in the data's own units.

    rmse: of the predictive mean. log_likelihood: mean log density of the mixture over draws.
    moment_log_likelihood: of the moment-matched Gaussian.
    """
    return {
        "rmse": float(np.sqrt(np.mean(np.square(prediction.mean - targets)))),
        "log_likelihood": float(np.mean(prediction.log_prob)),
        "moment_log_likelihood": float(np.mean(prediction.moment_log_prob)),
    }


def draw_probabilities(logits):
    """p(class | x, w) of every draw: logits [K, n, C] -> [K, n, C]. Their mean over the draws is p(class | x)."""
    logits = np.asarray(logits, np.float64)
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def classification_metrics(probabilities, labels, n_bins=15):
    """Over all rows at once.

    Args:
      probabilities: [n, C]; labels: [n] ints.
      n_bins: of equal width, for the calibration error.

    Returns:
      accuracy: share of rows whose most probable class is right. log_likelihood: mean log
      probability of the right class. brier: mean of sum_c (p_c - [c is right])^2. ece: expected
      calibration error, sum over bins of confidence of share * |accuracy - mean confidence|
      (Naeini et al. 2015).
    """
    probabilities, rows = np.asarray(probabilities, np.float64), np.arange(len(labels))
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    of_label = probabilities[rows, labels]
    brier = np.square(probabilities).sum(axis=1) - 2.0 * of_label + 1.0
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    gaps = [abs(np.sum(right[bins == i] - confidence[bins == i])) for i in range(n_bins)]
    return {
        "accuracy": float(np.mean(right)),
        "log_likelihood": float(np.mean(np.log(np.maximum(of_label, np.finfo(np.float64).tiny)))),
        "brier": float(np.mean(brier)),
        "ece": float(np.sum(gaps) / len(labels)),
    }


def gaussian_log_prob(y, mean, variance):
    """log N(y; mean, variance), elementwise."""
    return -0.5 * (np.log(2.0 * np.pi * variance) + np.square(y - mean) / variance)


def log_mean_exp(values):
    """log of the mean of exp over axis 0, safe for large values: [K, n] -> [n]."""
    peak = values.max(axis=0)
    return peak + np.log(np.mean(np.exp(values - peak), axis=0))
