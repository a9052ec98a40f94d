"""How far predictions can be trusted: calibration, rejection, kinds of uncertainty. Arrays in, float64 out."""
import collections

import numpy as np
from scipy import interpolate, sparse, special

from core.metrics.predictive import (
    calibration_error,
    classification_statistics,
    confidence_and_hits,
    covered,
    equal_bins,
    gap_matrix,
    gaussian_log_prob,
    log_mean_exp,
    mean_of,
    noise_log_prob,
    regression_statistics,
    values_of,
)

N_BINS = 15
LEVELS = np.arange(1, 100) / 100.0
FEW_ROWS = 20  # below, resampled rows say little about others
CALIBRATION_ERRORS = ("ece", "adaptive_ece", "classwise_ece", "calibration_area")
MOST_DRAWS = 500  # of the spread of a CRPS, whose time grows with their square

Interval = collections.namedtuple("Interval", ["value", "low", "high"])
"""A metric and its 95 % bootstrap interval over rows; low and high are None of fewer than FEW_ROWS rows."""

Bins = collections.namedtuple("Bins", ["confidence", "accuracy", "count"])
"""Of a reliability diagram, per bin that has rows: mean confidence, accuracy, number of rows."""


# Classification: probabilities [n, C], labels [n].

def adaptive_bins(confidence, n_bins):
    """Numbers of bins between quantiles, of about as many rows each; equal confidences share a bin."""
    edges = np.percentile(confidence, np.linspace(0.0, 100.0, n_bins + 1))
    return np.searchsorted(edges[1:-1], confidence)


def reliability(probabilities, labels, n_bins=N_BINS):
    """Bins of equal width of the confidence, the largest probability."""
    confidence, right = confidence_and_hits(probabilities, labels)
    bins = equal_bins(confidence, n_bins)
    count = np.bincount(bins, minlength=n_bins)
    kept = count > 0
    sums = [np.bincount(bins, values, n_bins)[kept] for values in (confidence, right)]
    return Bins(sums[0] / count[kept], sums[1] / count[kept], count[kept])


def more_classification_statistics(probabilities, labels, n_bins=N_BINS):
    """Those of metrics.classification_statistics, and

    adaptive_ece: bins of equal counts; classwise_ece: mean over classes of the calibration error of their
    probabilities, bins of equal width (Kull et al. 2019).
    """
    probabilities = np.asarray(probabilities, np.float64)
    confidence, right = confidence_and_hits(probabilities, labels)
    n_classes = probabilities.shape[1]
    one_hot = np.eye(n_classes)[labels]
    classwise = sparse.hstack([
        gap_matrix(probabilities[:, c], one_hot[:, c], equal_bins(probabilities[:, c], n_bins), n_bins)
        for c in range(n_classes)]).tocsr()
    return dict(
        classification_statistics(probabilities, labels, n_bins),
        adaptive_ece=calibration_error(gap_matrix(confidence, right, adaptive_bins(confidence, n_bins), n_bins)),
        classwise_ece=calibration_error(classwise, 1.0 / n_classes))


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


def detection_statistics(inside, outside):
    """How well an uncertainty [n], [m] tells strange rows (outside) from the data's own (inside); row weights [n + m].

    auroc: chance that an outside row has the higher value (ties count half). fpr95: share of outside rows
    that pass where 95 % of the inside rows do.
    """
    values, n_inside = np.concatenate([inside, outside]), len(inside)
    _, group = np.unique(values, return_inverse=True)  # in the order of the values
    of_group = sparse.csr_matrix((np.ones(len(values)), (group, np.arange(len(values)))))

    def shares(weights):
        """Of the inside and the outside rows, those of each value: [B, values]."""
        for part, rows in ((of_group[:, :n_inside], weights[:, :n_inside]), (of_group[:, n_inside:],
                                                                             weights[:, n_inside:])):
            yield (part @ rows.T).T / rows.sum(axis=1, keepdims=True)

    def auroc(weights):
        own, strange = shares(weights)
        return np.sum(strange * (np.cumsum(own, axis=1) - 0.5 * own), axis=1)

    def fpr95(weights):
        own, strange = shares(weights)
        threshold = np.argmax(np.cumsum(own, axis=1) >= 0.95 - 1e-9, axis=1)
        return np.cumsum(strange, axis=1)[np.arange(len(weights)), threshold]

    return {"auroc": auroc, "fpr95": fpr95}


# Regression: draws [K, n] of means, [K] of squared noise scales, targets [n], all in one unit. The noise is Gaussian,
# the squares its variances, or Student's t of `dof` degrees of freedom.

def mixture_crps(means, squares, targets, dof=np.inf, numbers_at_once=4_000_000):
    """Continuous ranked probability score of the mixture, [n]; lower is better, in the targets' unit.

    E|Y - t| - E|Y - Y'| / 2, both by the expected distances of pairs of draws (exact; of two Student's t to about
    1e-5 of their scale); of more than MOST_DRAWS draws the second takes every 2nd, 3rd, ...

    Reference: Grimit et al. (2006), eq. 5
    """
    distance = _expected_distance if np.isinf(dof) else _student_distance(dof)
    near = np.mean(distance(targets - means, squares[:, None], 0.0), axis=0)
    some = slice(None, None, -(-len(squares) // MOST_DRAWS))
    means, squares = means[some], squares[some]
    one, other, size = squares[:, None, None], squares[None, :, None], max(1, numbers_at_once // len(squares) ** 2)
    spread = [np.mean(distance(part[:, None] - part[None, :], one, other), axis=(0, 1))
              for part in (means[:, start:start + size] for start in range(0, means.shape[1], size))]
    return near - 0.5 * np.concatenate(spread)


def more_regression_statistics(prediction, crps, targets):
    """Those of metrics.regression_statistics, and more.

    Args:
      prediction: metrics.Prediction; crps: [n] as above; targets: [n]; all in the data's own units.

    crps; calibration_area: mean over nominal levels
    1 % to 99 % of |coverage - level|; sharpness: mean predictive std.
    """
    inside = _covered(prediction.cdf)

    def calibration_area(weights):
        return np.mean(np.abs(weights @ inside / weights.sum(axis=1, keepdims=True) - LEVELS), axis=1)

    return dict(regression_statistics(prediction, targets), crps=mean_of(crps),
                calibration_area=calibration_area, sharpness=mean_of(prediction.std))


def coverage_curve(cdf):
    """Share of targets in the central interval of every level of LEVELS."""
    return _covered(cdf).mean(axis=0)


def _covered(cdf):
    """[n, levels]: whether the target is in the central interval."""
    return covered(cdf[:, None], LEVELS)


# Both.

def with_intervals(statistics, n_rows, n_resamples=1000, seed=0):
    """{metric: Interval}: percentile bootstrap over rows, the same resamples for every metric; none of few rows.

    n_rows: a number, or those of several groups, one after the other, that are resampled each by itself.

    Resampling makes a calibration error larger on average; that shift is taken off the interval of those in
    CALIBRATION_ERRORS, which then shows their spread.
    """
    groups = np.atleast_1d(n_rows)
    n_rows, values = groups.sum(), values_of(statistics, groups.sum())
    if groups.min() < FEW_ROWS:
        return {name: Interval(value, None, None) for name, value in values.items()}
    rng, found = np.random.RandomState(seed), {name: [] for name in statistics}
    size = max(1, min(n_resamples, 2_000_000 // n_rows))
    for start in range(0, n_resamples, size):
        weights = np.concatenate([rng.multinomial(n, np.full(n, 1.0 / n), min(size, n_resamples - start))
                                  for n in groups], axis=1).astype(float)
        for name, statistic in statistics.items():
            found[name].append(statistic(weights))
    return {name: _interval(name, values[name], np.concatenate(found[name])) for name in statistics}


def monte_carlo(log_probs):
    """What the number of draws does to mean_n log mean_k p_kn, by the delta method; None of one draw.

    Args:
      log_probs: [K, n], log p of the target under every draw.

    Returns:
      {"error": its standard error, "bias": how much too low it is on average (negative)}.
    """
    n_draws = len(log_probs)
    if n_draws < 2:
        return None
    shares = np.exp(log_probs - log_mean_exp(log_probs))  # mean 1 over the draws
    return {"error": float(shares.mean(axis=1).std(ddof=1) / np.sqrt(n_draws)),
            "bias": float(-0.5 * shares.var(axis=0, ddof=1).mean() / n_draws)}


def _interval(name, value, resampled):
    low, high = np.percentile(resampled, [2.5, 97.5])
    if name in CALIBRATION_ERRORS:
        shift = value - resampled.mean()
        low, high = max(low + shift, 0.0), high + shift
    return Interval(value, float(low), float(high))


def _expected_distance(mean, square, other):
    """E|X| for X ~ N(mean, square + other)."""
    std = np.sqrt(square + other)
    density = np.exp(gaussian_log_prob(mean, 0.0, square + other)) * std  # of the standard normal at mean / std
    return 2.0 * std * density + mean * (2.0 * special.ndtr(mean / std) - 1.0)


def _student_distance(dof):
    """Function (mean, square, other) -> E|mean + square^(1/2) T + other^(1/2) T'|, T and T' Student's t.

    In units of the root of the sum of the squares that is a smooth function g(z, q) of the mean and the smaller scale:
    g(z, 0) = z (2 F(z) - 1) + 2 f(z) (nu + z^2) / (nu - 1), and E_T[(1 - q^2)^(1/2) g((z - q T) / (1 - q^2)^(1/2), 0)]
    by quadrature at the nodes of a spline of g - |z| in arsinh |z| and q.
    """
    def alone(z):
        density = np.exp(noise_log_prob(z, 0.0, 1.0, dof))
        return z * (2.0 * special.stdtr(dof, z) - 1.0) + 2.0 * density * (dof + np.square(z)) / (dof - 1.0)

    grid, step = np.linspace(-16.0, 16.0, 801, retstep=True)
    t, weights = np.sinh(grid), step * np.cosh(grid) * np.exp(noise_log_prob(np.sinh(grid), 0.0, 1.0, dof))
    places, shares = np.linspace(0.0, 12.0, 161), np.linspace(0.0, 0.5**0.5, 17)
    table = np.array([[np.sum(weights * (1.0 - q * q)**0.5 * alone((z - q * t) / (1.0 - q * q)**0.5)) - z
                       for q in shares] for z in np.sinh(places)])
    spline = interpolate.RectBivariateSpline(places, shares, table)

    def distance(mean, square, other):
        scale = np.sqrt(square + other)
        z = np.abs(mean / scale)
        if np.ndim(other) == 0 and other == 0.0:
            return scale * alone(z)
        q = np.broadcast_to(np.sqrt(np.minimum(square, other)) / scale, z.shape)
        return scale * (z + spline.ev(np.minimum(np.arcsinh(z), places[-1]), q))

    return distance
