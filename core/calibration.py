"""How far predictions can be trusted: calibration, rejection, kinds of uncertainty. Arrays in, float64 out."""
import collections

import numpy as np
from scipy import sparse, special
from sklearn.metrics import roc_auc_score

from core.metrics import gaussian_log_prob

N_BINS = 15
LEVELS = np.arange(1, 100) / 100.0
CALIBRATION_ERRORS = ("ece", "adaptive_ece", "classwise_ece", "calibration_area")
MOST_DRAWS = 500  # of the spread of a CRPS, whose time grows with their square

Interval = collections.namedtuple("Interval", ["value", "low", "high"])
"""A metric and its 95 % bootstrap interval over rows."""

Bins = collections.namedtuple("Bins", ["confidence", "accuracy", "count"])
"""Of a reliability diagram, per bin that has rows: mean confidence, accuracy, number of rows."""


# Classification: probabilities [n, C], labels [n].

def equal_bins(confidence, n_bins):
    """Numbers of the bins of equal width; the last one holds confidence 1, too."""
    return np.minimum((confidence * n_bins).astype(int), n_bins - 1)


def adaptive_bins(confidence, n_bins):
    """Numbers of bins between quantiles, of about as many rows each; equal confidences share a bin."""
    edges = np.percentile(confidence, np.linspace(0.0, 100.0, n_bins + 1))
    return np.searchsorted(edges[1:-1], confidence)


def gap_matrix(confidence, right, bins, n_bins):
    """[n, n_bins], sparse: right - confidence in the column of each row's bin.

    A calibration error is then the sum over columns of |column sum| / n, for any weights of the rows.
    """
    rows = np.arange(len(confidence))
    return sparse.csr_matrix((right - confidence, (rows, bins)), shape=(len(rows), n_bins))


def reliability(probabilities, labels, n_bins=N_BINS):
    """Bins of equal width of the confidence, the largest probability."""
    confidence, right = _confidence(probabilities, labels)
    bins = equal_bins(confidence, n_bins)
    count = np.bincount(bins, minlength=n_bins)
    kept = count > 0
    sums = [np.bincount(bins, values, n_bins)[kept] for values in (confidence, right)]
    return Bins(sums[0] / count[kept], sums[1] / count[kept], count[kept])


def classification_statistics(probabilities, labels, n_bins=N_BINS):
    """{metric: function (row weights [B, n]) -> [B]}; a row counts as often as its weight says.

    accuracy, log_likelihood (per row, nats), brier; ece: bins of equal width (Naeini et al. 2015);
    adaptive_ece: bins of equal counts; classwise_ece: mean over classes of the calibration error of
    their probabilities, bins of equal width (Kull et al. 2019).
    """
    probabilities = np.asarray(probabilities, np.float64)
    confidence, right = _confidence(probabilities, labels)
    n_classes = probabilities.shape[1]
    of_label = probabilities[np.arange(len(labels)), labels]
    brier = np.square(probabilities).sum(axis=1) - 2.0 * of_label + 1.0
    one_hot = np.eye(n_classes)[labels]
    classwise = sparse.hstack([
        gap_matrix(probabilities[:, c], one_hot[:, c], equal_bins(probabilities[:, c], n_bins), n_bins)
        for c in range(n_classes)]).tocsr()
    return {
        "accuracy": _mean(right),
        "log_likelihood": _mean(np.log(np.maximum(of_label, np.finfo(np.float64).tiny))),
        "brier": _mean(brier),
        "ece": _error(gap_matrix(confidence, right, equal_bins(confidence, n_bins), n_bins)),
        "adaptive_ece": _error(gap_matrix(confidence, right, adaptive_bins(confidence, n_bins), n_bins)),
        "classwise_ece": _error(classwise, 1.0 / n_classes),
    }


def rejection_curve(score, right):
    """(share of rows kept, accuracy on these) as rows of the lowest score are rejected; each [n], the last for all.

    Rows of equal score are kept in no order: each counts as their mean.
    """
    _, group, sizes = np.unique(-np.asarray(score), return_inverse=True, return_counts=True)
    right = (np.bincount(group, right) / sizes)[np.sort(group)]
    kept = np.arange(1, len(right) + 1)
    return kept / len(right), np.cumsum(right) / kept


def entropies(draws):
    """Of p(class | x, w) for weight draws [K, n, C]: (total, expected, mutual), each [n], in nats.

    total: entropy of the mean; expected: mean of the draws' entropies (noise in the labels); mutual:
    the difference, what the weights' uncertainty adds (Depeweg et al. 2018).
    """
    total, expected = entropy(np.mean(draws, axis=0)), np.mean(entropy(draws), axis=0)
    return total, expected, np.maximum(total - expected, 0.0)


def entropy(probabilities):
    """Over the last axis, in nats; 0 log 0 = 0."""
    return special.entr(np.asarray(probabilities, np.float64)).sum(axis=-1)


def detection(inside, outside):
    """How well an uncertainty [n], [m] tells strange rows (outside) from the data's own (inside).

    Returns:
      auroc: chance that an outside row has the higher value (ties count half). fpr95: share of outside
      rows that pass where 95 % of the inside rows do.
    """
    strange = np.concatenate([np.zeros(len(inside)), np.ones(len(outside))])
    threshold = np.sort(inside)[int(np.ceil(0.95 * len(inside))) - 1]
    return {"auroc": float(roc_auc_score(strange, np.concatenate([inside, outside]))),
            "fpr95": float(np.mean(outside <= threshold))}


# Regression: draws [K, n] of means, [K] of noise variances, targets [n], all in one unit.

def mixture_cdf(means, variances, targets):
    """P(Y <= target) under the mixture of K Gaussians, [n]."""
    return np.mean(special.ndtr((targets - means) / np.sqrt(variances)[:, None]), axis=0)


def mixture_crps(means, variances, targets, numbers_at_once=4_000_000):
    """Continuous ranked probability score of the mixture, [n]; lower is better, in the targets' unit.

    E|Y - t| - E|Y - Y'| / 2, both in closed form; of more than MOST_DRAWS draws the second takes every 2nd, 3rd, ...

    Reference: Grimit et al. (2006), eq. 5
    """
    near = np.mean(_expected_distance(targets - means, variances[:, None]), axis=0)
    some = slice(None, None, -(-len(variances) // MOST_DRAWS))
    means, variances = means[some], variances[some]
    pairs, size = variances[:, None] + variances[None, :], max(1, numbers_at_once // len(variances) ** 2)
    spread = [np.mean(_expected_distance(part[:, None] - part[None, :], pairs[..., None]), axis=(0, 1))
              for part in (means[:, start:start + size] for start in range(0, means.shape[1], size))]
    return near - 0.5 * np.concatenate(spread)


def regression_statistics(prediction, crps, cdf, targets):
    """{metric: function (row weights [B, n]) -> [B]}.

    Args:
      prediction: metrics.Prediction; crps, cdf: [n] as above; targets: [n]; all in the data's own units.

    rmse, log_likelihood, crps; coverage_90: share of targets in the central 90 % interval;
    calibration_area: mean over nominal levels 1 % to 99 % of |coverage - level|; sharpness: mean predictive std.
    """
    squares, covered = np.square(prediction.mean - targets), np.abs(2.0 * cdf - 1.0)[:, None] <= LEVELS
    return {
        "rmse": lambda weights: np.sqrt(_mean(squares)(weights)),
        "log_likelihood": _mean(prediction.log_prob),
        "crps": _mean(crps),
        "coverage_90": _mean(np.abs(2.0 * cdf - 1.0) <= 0.9),
        "calibration_area": lambda weights: np.mean(np.abs(weights @ covered / weights.sum(axis=1, keepdims=True)
                                                           - LEVELS), axis=1),
        "sharpness": _mean(prediction.std),
    }


def coverage_curve(cdf):
    """Share of targets in the central interval of every level of LEVELS."""
    return np.mean(np.abs(2.0 * cdf - 1.0)[:, None] <= LEVELS, axis=0)


# Both.

def with_intervals(statistics, n_rows, n_resamples=1000, seed=0):
    """{metric: Interval}: percentile bootstrap over rows, the same resamples for every metric.

    Resampling makes a calibration error larger than it is, by as much again as chance does; that shift is
    taken off the interval of those in CALIBRATION_ERRORS, which then shows their spread.
    """
    rng, found = np.random.RandomState(seed), {name: [] for name in statistics}
    size = max(1, min(n_resamples, 2_000_000 // n_rows))
    for start in range(0, n_resamples, size):
        weights = rng.multinomial(n_rows, np.full(n_rows, 1.0 / n_rows), min(size, n_resamples - start)).astype(float)
        for name, statistic in statistics.items():
            found[name].append(statistic(weights))
    values = {name: float(statistic(np.ones((1, n_rows)))[0]) for name, statistic in statistics.items()}
    return {name: _interval(name, values[name], np.concatenate(found[name])) for name in statistics}


def _interval(name, value, resampled):
    low, high = np.percentile(resampled, [2.5, 97.5])
    if name in CALIBRATION_ERRORS:
        shift = value - resampled.mean()
        low, high = max(low + shift, 0.0), high + shift
    return Interval(value, float(low), float(high))


def _confidence(probabilities, labels):
    probabilities = np.asarray(probabilities, np.float64)
    return probabilities.max(axis=1), (probabilities.argmax(axis=1) == labels).astype(np.float64)


def _mean(values):
    values = np.asarray(values, np.float64)
    return lambda weights: weights @ values / weights.sum(axis=1)


def _error(gaps, factor=1.0):
    return lambda weights: factor * np.abs(gaps.T @ weights.T).sum(axis=0) / weights.sum(axis=1)


def _expected_distance(mean, variance):
    """E|X| for X ~ N(mean, variance)."""
    std = np.sqrt(variance)
    density = np.exp(gaussian_log_prob(mean, 0.0, variance)) * std  # of the standard normal at mean / std
    return 2.0 * std * density + mean * (2.0 * special.ndtr(mean / std) - 1.0)
