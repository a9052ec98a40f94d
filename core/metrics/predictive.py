"""Test metrics. Arrays in, floats out, float64; units are said."""
import collections

import numpy as np
from scipy import sparse, special

Prediction = collections.namedtuple(
    "Prediction", ["mean", "std", "epistemic_std", "log_prob", "cdf", "moment_log_prob"])
"""Per test row, [n], in the data's own units: predictive mean; predictive std; the part of it
that comes from the weights; log density of the target under the mixture over draws, and P(Y <= target);
log density under the Gaussian of the same mean and std."""

KEPT = ("mean", "std", "epistemic_std", "log_prob", "cdf")  # in predictions.csv; what mixtures are made from


def predict(outputs, precisions, targets, target_mean, target_std, dof=np.inf):
    """The predictive distribution p(y | x) = mean_k N(y; f_k, 1 / tau_k), or of Student's t of that scale.

    Args:
      outputs: [K, n] network outputs f_k, standardised.
      precisions: [K] noise precisions tau_k of standardised targets.
      targets: [n] standardised.
      target_mean, target_std: of the raw training targets; they undo the standardisation.
      dof: degrees of freedom of the noise; infinite: Gaussian.
    """
    outputs, precisions, targets = (np.asarray(array, np.float64) for array in (outputs, precisions, targets))
    mean = outputs.mean(axis=0)
    epistemic = outputs.var(axis=0)
    variance = epistemic + noise_variance(np.mean(1.0 / precisions), dof)
    per_draw = noise_log_prob(targets, outputs, 1.0 / precisions[:, None], dof)
    return Prediction(
        mean=target_mean + target_std * mean,
        std=target_std * np.sqrt(variance),
        epistemic_std=target_std * np.sqrt(epistemic),
        log_prob=log_mean_exp(per_draw) - np.log(target_std),
        cdf=mixture_cdf(outputs, 1.0 / precisions, targets, dof),
        moment_log_prob=gaussian_log_prob(targets, mean, variance) - np.log(target_std),
    )


def mix(predictions, targets):
    """The equal mixture of Predictions for the same rows; targets [n] in the data's own units.

    The draws of each count alike, however many they are. What the members' means differ by is epistemic.
    """
    means, stds, epistemic, log_probs, cdfs = (np.array([getattr(each, name) for each in predictions], np.float64)
                                               for name in KEPT)
    between = means.var(axis=0)
    variance = np.square(stds).mean(axis=0) + between
    mean = means.mean(axis=0)
    return Prediction(mean, np.sqrt(variance), np.sqrt(np.square(epistemic).mean(axis=0) + between),
                      log_mean_exp(log_probs), cdfs.mean(axis=0), gaussian_log_prob(targets, mean, variance))


def regression_statistics(prediction, targets):
    """{metric: statistic}; `targets` [n] in the data's own units.

    rmse: of the predictive mean. log_likelihood: mean log density of the mixture over draws.
    moment_log_likelihood: of the moment-matched Gaussian. coverage_90: share of targets in the central 90 % interval.
    """
    squares = mean_of(np.square(prediction.mean - targets))
    return {
        "rmse": lambda weights: np.sqrt(squares(weights)),
        "log_likelihood": mean_of(prediction.log_prob),
        "moment_log_likelihood": mean_of(prediction.moment_log_prob),
        "coverage_90": mean_of(covered(prediction.cdf, 0.9)),
    }


def mixture_cdf(means, squares, targets, dof=np.inf):
    """P(Y <= target) under the mixture over draws, [n].

    Args:
      means: [K, n]; squares: [K], of the noise's scale; targets: [n]; all in one unit.
      dof: as in `predict`.
    """
    scaled = (targets - means) / np.sqrt(squares)[:, None]
    return np.mean(special.ndtr(scaled) if np.isinf(dof) else special.stdtr(dof, scaled), axis=0)


def covered(cdf, levels):
    """Whether targets of this predictive cdf are in the central intervals of `levels`, which broadcast."""
    return np.abs(2.0 * cdf - 1.0) <= levels


def draw_probabilities(logits):
    """p(class | x, w) of every draw: logits [K, n, C] -> [K, n, C]. Their mean over the draws is p(class | x)."""
    logits = np.asarray(logits, np.float64)
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def classification_statistics(probabilities, labels, n_bins=15):
    """{metric: statistic}.

    Args:
      probabilities: [n, C]; labels: [n] ints.
      n_bins: of equal width, for the calibration error.

    accuracy: share of rows whose most probable class is right. log_likelihood: mean log probability of the
    right class, nats. brier: mean of sum_c (p_c - [c is right])^2. ece: expected calibration error, sum over
    bins of confidence of share * |accuracy - mean confidence| (Naeini et al. 2015).
    """
    probabilities = np.asarray(probabilities, np.float64)
    confidence, right = confidence_and_hits(probabilities, labels)
    of_label = probabilities[np.arange(len(labels)), labels]
    return {
        "accuracy": mean_of(right),
        "log_likelihood": mean_of(np.log(np.maximum(of_label, np.finfo(np.float64).tiny))),
        "brier": mean_of(np.square(probabilities).sum(axis=1) - 2.0 * of_label + 1.0),
        "ece": calibration_error(gap_matrix(confidence, right, equal_bins(confidence, n_bins), n_bins)),
    }


def confidence_and_hits(probabilities, labels):
    """(largest probability, 1.0 where its class is right), each [n]."""
    return probabilities.max(axis=1), (probabilities.argmax(axis=1) == labels).astype(np.float64)


def equal_bins(confidence, n_bins):
    """Numbers of the bins of equal width; the last one holds confidence 1, too."""
    return np.minimum((confidence * n_bins).astype(int), n_bins - 1)


def gap_matrix(confidence, right, bins, n_bins):
    """[n, n_bins], sparse: right - confidence in the column of each row's bin."""
    rows = np.arange(len(confidence))
    return sparse.csr_matrix((right - confidence, (rows, bins)), shape=(len(rows), n_bins))


# A statistic is a function of row weights [B, n] -> [B]: a row counts as often as its weight says.

def mean_of(values):
    """The weighted mean of [n] numbers."""
    values = np.asarray(values, np.float64)
    return lambda weights: weights @ values / weights.sum(axis=1)


def calibration_error(gaps, factor=1.0):
    """factor times the sum over columns of |weighted column sum of a `gap_matrix`| / n."""
    return lambda weights: factor * np.abs(gaps.T @ weights.T).sum(axis=0) / weights.sum(axis=1)


def values_of(statistics, n_rows):
    """{metric: float} with every row once."""
    once = np.ones((1, n_rows))
    return {name: float(statistic(once)[0]) for name, statistic in statistics.items()}


def gaussian_log_prob(y, mean, variance):
    """log N(y; mean, variance), elementwise."""
    return -0.5 * (np.log(2.0 * np.pi * variance) + np.square(y - mean) / variance)


def noise_log_prob(y, mean, square, dof):
    """log density of y = mean + sqrt(square) t, t Student's with `dof` degrees of freedom (infinite: normal)."""
    if np.isinf(dof):
        return gaussian_log_prob(y, mean, square)
    return student_constant(dof) - 0.5 * (np.log(square) + (dof + 1.0) * np.log1p(np.square(y - mean) / (dof * square)))


def student_constant(dof):
    """log density of Student's t at 0; right for any degrees of freedom (a difference of log Gammas cancels)."""
    return -special.betaln(0.5, 0.5 * dof) - 0.5 * np.log(dof)


def noise_name(dof):
    """What the noise is called."""
    return "Gaussian" if np.isinf(dof) else f"Student's t of {dof:g} degrees of freedom"


def noise_variance(square, dof):
    """Of that y: `square` itself, if the noise is normal."""
    return square if np.isinf(dof) else square * dof / (dof - 2.0)


def log_mean_exp(values):
    """log of the mean of exp over axis 0, safe for large values: [K, n] -> [n]."""
    peak = values.max(axis=0)
    return peak + np.log(np.mean(np.exp(values - peak), axis=0))
