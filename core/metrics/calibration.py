"""Calibration, rejection curves, kinds of uncertainty, OOD detection, and bootstrap intervals of all metrics."""
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
from scipy import sparse, special, stats

from core.metrics.predictive import (
    ClassPrediction,
    Prediction,
    WeightedMetric,
    calibration_error,
    classification_statistics,
    confidence_and_hits,
    covered,
    equal_bins,
    gap_matrix,
    log_mean_exp,
    regression_statistics,
    values_of,
    weighted_mean,
)

N_BINS = 15
LEVELS = np.arange(1, 100) / 100.0  # nominal levels of central intervals
FEW_ROWS = 20  # with fewer, resampled rows tell little about other rows
CALIBRATION_ERRORS = ("ece", "adaptive_ece", "classwise_ece", "calibration_area")


class Interval(NamedTuple):
    """A metric and its 95 % bootstrap interval over rows."""

    value: float
    low: Optional[float]   # None with fewer than FEW_ROWS rows
    high: Optional[float]  # likewise


class LocalCoverage(NamedTuple):
    """Coverage in groups of rows, in the order of a position such as the predictive mean; all [groups] but `level`."""

    level: float
    position: np.ndarray  # mean over the group's rows
    share: np.ndarray     # of targets in the central interval of that level
    low: np.ndarray       # 95 % of the shares of groups of this size are between low and high
    high: np.ndarray      # where every target is in its interval with probability `level`


class Bins(NamedTuple):
    """The bins of a reliability diagram that have rows; all [bins]."""

    confidence: np.ndarray  # mean over the bin's rows
    accuracy: np.ndarray
    n_rows: np.ndarray      # number of rows in the bin


# Classification: probabilities [n, C], averaged over the weight draws; labels [n].

def adaptive_bins(confidence: np.ndarray, n_bins: int) -> np.ndarray:
    """Returns each row's bin number, [n]. The bins lie between quantiles; equal confidences share a bin."""
    edges = np.percentile(confidence, np.linspace(0.0, 100.0, n_bins + 1))
    return np.searchsorted(edges[1:-1], confidence)


def reliability(probabilities: np.ndarray, labels: np.ndarray, n_bins: int = N_BINS) -> Bins:
    """Returns the Bins of a reliability diagram; they have equal widths in confidence, the largest probability."""
    confidence, right = confidence_and_hits(probabilities, labels)
    bins = equal_bins(confidence, n_bins)
    count = np.bincount(bins, minlength=n_bins)
    kept = count > 0
    sums = [np.bincount(bins, values, n_bins)[kept] for values in (confidence, right)]
    return Bins(sums[0] / count[kept], sums[1] / count[kept], count[kept])


def more_classification_statistics(prediction: ClassPrediction, labels: np.ndarray,
                                   n_bins: int = N_BINS) -> Dict[str, WeightedMetric]:
    """Returns the metrics of predictive.classification_statistics, and two more.

    adaptive_ece: as ece, with bins of equal counts. classwise_ece: mean over classes of the calibration error of
    their probabilities, with bins of equal width (Kull et al. 2019).
    """
    probabilities = np.asarray(prediction.probabilities, np.float64)
    confidence, right = confidence_and_hits(probabilities, labels)
    n_classes = probabilities.shape[1]
    one_hot = np.eye(n_classes)[labels]
    classwise = sparse.hstack([
        gap_matrix(probabilities[:, c], one_hot[:, c], equal_bins(probabilities[:, c], n_bins), n_bins)
        for c in range(n_classes)]).tocsr()
    adaptive = gap_matrix(confidence, right, adaptive_bins(confidence, n_bins), n_bins)
    return dict(classification_statistics(prediction, labels, n_bins), adaptive_ece=calibration_error(adaptive),
                classwise_ece=calibration_error(classwise, 1.0 / n_classes))


def rejection_curve(score: np.ndarray, right: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Returns (share of rows kept, accuracy on them), each [n], as the rows of the lowest scores are rejected.

    The last entry keeps all rows. Rows of equal score are interchangeable: each of them gets their mean accuracy.
    """
    _, group, sizes = np.unique(-np.asarray(score), return_inverse=True, return_counts=True)
    right = (np.bincount(group, right) / sizes)[np.sort(group)]
    kept = np.arange(1, len(right) + 1)
    return kept / len(right), np.cumsum(right) / kept


def entropies(draws: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns (total, expected, mutual), each [n], in nats, of p(class | x, w) for weight draws [K, n, C].

    total: entropy of the mean. expected: mean of the draws' entropies, the noise in the labels. mutual: the
    difference, what the uncertainty of the weights adds (Depeweg et al. 2018).
    """
    total, expected = entropy(np.mean(draws, axis=0)), np.mean(entropy(draws), axis=0)
    return total, expected, np.maximum(total - expected, 0.0)


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Returns the entropy over the last axis, in nats, with 0 log 0 = 0."""
    return special.entr(np.asarray(probabilities, np.float64)).sum(axis=-1)


def detection_statistics(inside: np.ndarray, outside: np.ndarray) -> Dict[str, WeightedMetric]:
    """Returns how well an uncertainty tells out-of-distribution rows (outside, [m]) from others (inside, [n]).

    auroc: probability that an outside row has the higher value (ties count half). fpr95: share of outside rows below
    the threshold below which 95 % of the inside rows lie. Their row weights are [B, n + m].
    """
    values, n_inside = np.concatenate([inside, outside]), len(inside)
    _, group = np.unique(values, return_inverse=True)  # in the order of the values
    of_group = sparse.csr_matrix((np.ones(len(values)), (group, np.arange(len(values)))))

    def shares(weights: np.ndarray) -> Iterator[np.ndarray]:
        """Yields the shares of the inside, then of the outside rows that have each value, [B, values]."""
        for rows in (slice(None, n_inside), slice(n_inside, None)):
            yield (of_group[:, rows] @ weights[:, rows].T).T / weights[:, rows].sum(axis=1, keepdims=True)

    def auroc(weights: np.ndarray) -> np.ndarray:
        own, ood = shares(weights)
        return np.sum(ood * (np.cumsum(own, axis=1) - 0.5 * own), axis=1)

    def fpr95(weights: np.ndarray) -> np.ndarray:
        own, ood = shares(weights)
        threshold = np.argmax(np.cumsum(own, axis=1) >= 0.95 - 1e-9, axis=1)
        return np.cumsum(ood, axis=1)[np.arange(len(weights)), threshold]

    return {"auroc": auroc, "fpr95": fpr95}


# Regression.

def more_regression_statistics(prediction: Prediction, crps: np.ndarray,
                               targets: np.ndarray) -> Dict[str, WeightedMetric]:
    """Returns the metrics of predictive.regression_statistics, and three more.

    crps: mean of that score. calibration_area: mean over LEVELS of |coverage - level|. sharpness: mean predictive
    standard deviation.

    Args:
      crps: [n], of `crps.mixture_crps`; targets: [n]; all in the data's own units.
    """
    inside = _covered_at_levels(prediction.cdf)

    def calibration_area(weights: np.ndarray) -> np.ndarray:
        return np.mean(np.abs(weights @ inside / weights.sum(axis=1, keepdims=True) - LEVELS), axis=1)

    return dict(regression_statistics(prediction, targets), crps=weighted_mean(crps),
                calibration_area=calibration_area, sharpness=weighted_mean(prediction.std))


def coverage_curve(cdf: np.ndarray) -> np.ndarray:
    """Returns the share of targets in the central interval of every level of LEVELS; cdf: [n], at the targets."""
    return _covered_at_levels(cdf).mean(axis=0)


def local_coverage(position: np.ndarray, cdf: np.ndarray, level: float = 0.9) -> Optional[LocalCoverage]:
    """Returns the coverage along `position` [n], in 3 to 10 groups of equal size; None with too few rows.

    cdf: [n], at the targets. A group has at least FEW_ROWS rows.
    """
    n_groups = min(10, len(cdf) // FEW_ROWS)
    if n_groups < 3:
        return None
    groups = np.array_split(np.argsort(position, kind="stable"), n_groups)
    sizes = np.array([len(group) for group in groups])
    low, high = (stats.binom.ppf(q, sizes, level) / sizes for q in (0.025, 0.975))
    return LocalCoverage(level, np.array([position[group].mean() for group in groups]),
                         np.array([covered(cdf[group], level).mean() for group in groups]), low, high)


def _covered_at_levels(cdf: np.ndarray) -> np.ndarray:
    """Tells whether each target is in the central interval of each level, [n, levels]."""
    return covered(cdf[:, None], LEVELS)


# Both.

def with_intervals(statistics: Dict[str, WeightedMetric], n_rows: Union[int, Sequence[int]], n_resamples: int = 1000,
                   seed: int = 0) -> Dict[str, Interval]:
    """Returns every metric with its percentile bootstrap interval over rows, from the same resamples for all.

    Resampling inflates calibration errors on average; for metrics in CALIBRATION_ERRORS, the interval is shifted back
    by this bias.

    Args:
      n_rows: a number; or those of several groups, one after the other, each of which is resampled by itself.
    """
    groups = np.atleast_1d(n_rows)
    total = int(groups.sum())
    values = values_of(statistics, total)
    if groups.min() < FEW_ROWS:
        return {name: Interval(value, None, None) for name, value in values.items()}
    rng = np.random.RandomState(seed)
    resampled: Dict[str, List[np.ndarray]] = {name: [] for name in statistics}
    size = max(1, min(n_resamples, 2_000_000 // total))
    for start in range(0, n_resamples, size):
        weights = np.concatenate([rng.multinomial(n, np.full(n, 1.0 / n), min(size, n_resamples - start))
                                  for n in groups], axis=1).astype(float)
        for name, statistic in statistics.items():
            resampled[name].append(statistic(weights))
    return {name: _interval(name, values[name], np.concatenate(resampled[name])) for name in statistics}


def _interval(name: str, value: float, resampled: np.ndarray) -> Interval:
    low, high = np.percentile(resampled, [2.5, 97.5])
    if name in CALIBRATION_ERRORS:
        shift = value - resampled.mean()
        low, high = max(low + shift, 0.0), high + shift
    return Interval(value, float(low), float(high))


def monte_carlo(log_probs: np.ndarray) -> Optional[Dict[str, float]]:
    """Returns how the finite number of draws affects mean_n log mean_k p_kn, by the delta method; None for one draw.

    Args:
      log_probs: log p of the target under every draw, [K, n].

    Returns:
      {"error": standard error of the estimate, "bias": its expected excess over the true value (negative)}.
    """
    n_draws = len(log_probs)
    if n_draws < 2:
        return None
    shares = np.exp(log_probs - log_mean_exp(log_probs))  # mean 1 over the draws
    return {"error": float(shares.mean(axis=1).std(ddof=1) / np.sqrt(n_draws)),
            "bias": float(-0.5 * shares.var(axis=0, ddof=1).mean() / n_draws)}
