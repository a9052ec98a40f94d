"""Correlations between the predictions of different rows, and scores that depend on them.

Metrics of single rows do not see whether a posterior knows which rows are wrong together. n is the number of rows, K
that of the draws, G that of the batches of B rows each, P that of the pairs. Memory is bounded by `MOST_VALUES`: no
matrix of all rows by all rows is made.

Reference: Wang, Sun and Grosse (2021), Beyond marginal uncertainty, https://arxiv.org/abs/2011.03178; definitions
are those of the published code, https://github.com/ssydasheng/predictive-correlation-benchmark (utils/xll_utils.py,
notebooks/uci_xll.py, tasks/toy/compute_metrics.py).
"""
from typing import Callable, Dict, Iterator, List, NamedTuple, Sequence

import numpy as np
from scipy import stats

from core.metrics.draws import Draws
from core.metrics.joint import gaussian_joint_log_prob
from core.metrics.predictive import (
    WeightedMetric,
    by_row,
    log_mean_exp,
    mean_noise_variance,
    noise_log_prob,
    over_rows,
)

MOST_VALUES = 10_000_000  # floats of one intermediate array
NO_VARIANCE = 1e-12       # standardised; outputs that vary less over the draws are rounding errors


class RowCovariance(NamedTuple):
    """Mean and covariance over rows of the mixture over draws, standardised.

    The covariance of the outputs is deviations^T deviations, [n, n]; that of the targets adds diag(noise).
    """

    mean: np.ndarray        # [n]
    deviations: np.ndarray  # [K, n], of the outputs from their mean, divided by sqrt(K)
    noise: np.ndarray       # [n], mean variance of the noise, which is independent between rows

    @property
    def output_variance(self) -> np.ndarray:
        """Variance of the outputs, [n]."""
        return np.einsum("kn,kn->n", self.deviations, self.deviations)

    @property
    def variance(self) -> np.ndarray:
        """Variance of the targets, [n]."""
        return self.output_variance + self.noise

    @property
    def has_correlations(self) -> bool:
        """Whether any output differs between the draws."""
        return bool((self.output_variance > NO_VARIANCE).any())


def row_covariance(draws: Draws) -> RowCovariance:
    """Returns the RowCovariance of the draws of one target; the variance of Student's t is that of the moments."""
    outputs = np.broadcast_to(draws.outputs, (len(draws.precisions), draws.outputs.shape[1])).astype(np.float64)
    mean = outputs.mean(axis=0)
    noise = mean_noise_variance(1.0 / np.asarray(draws.precisions, np.float64), draws.dof)
    return RowCovariance(mean, (outputs - mean) / np.sqrt(len(outputs)), np.broadcast_to(noise, mean.shape))


# Batches and pairs of rows.

def random_batches(n_rows: int, size: int, n_batches: int, rng: np.random.RandomState) -> np.ndarray:
    """Returns batches of different rows, [G, size]: cuts through random orders of the rows, until there are enough."""
    per_order = n_rows // size
    orders = [rng.permutation(n_rows)[:per_order * size] for _ in range(-(-n_batches // per_order))]
    return np.concatenate(orders).reshape(-1, size)[:n_batches]


def correlated_batches(covariance: RowCovariance, size: int, n_batches: int,
                       rng: np.random.RandomState) -> np.ndarray:
    """Returns for every row the rows whose targets have the largest absolute correlations with its own, [G, size].

    The row itself comes first. With more than `n_batches` rows, so many of them are chosen at random.
    """
    n_rows, scale = len(covariance.mean), np.sqrt(covariance.variance)
    rows = np.arange(n_rows) if n_rows <= n_batches else np.sort(rng.choice(n_rows, n_batches, replace=False))
    batches = []
    for some in _chunks(rows, n_rows):
        strength = np.abs(covariance.deviations[:, some].T @ covariance.deviations) / scale
        strength[np.arange(len(some)), some] = np.inf
        batches.append(np.argsort(-strength, axis=1, kind="stable")[:, :size])
    return np.concatenate(batches)


def row_pairs(n_rows: int, most: int, rng: np.random.RandomState) -> np.ndarray:
    """Returns pairs i < j of rows, [P, 2]: all of them, or `most` that are drawn at random, with replacement."""
    if n_rows * (n_rows - 1) // 2 <= most:
        return np.stack(np.triu_indices(n_rows, 1), axis=1)
    first, second = rng.randint(n_rows, size=most), rng.randint(n_rows - 1, size=most)
    return np.sort(np.stack([first, second + (second >= first)], axis=1), axis=1)


# Joint scores, in nats per row.

def mixture_joint_log_prob(draws: Draws, targets: np.ndarray, batches: np.ndarray) -> np.ndarray:
    """Returns log p(y of a batch) / B under the mixture over draws, [G]: log mean_k prod_b p(y_b; f_kb, noise_kb).

    targets: standardised, [n].
    """
    outputs = np.broadcast_to(draws.outputs, (len(draws.precisions), draws.outputs.shape[1])).astype(np.float64)
    per_draw = noise_log_prob(targets, outputs, by_row(1.0 / draws.precisions), over_rows(draws.dof))
    joint = _by_chunks(batches, len(outputs), lambda some: log_mean_exp(per_draw[:, some].sum(axis=2)))
    return joint / batches.shape[1]


def gaussian_batch_log_prob(covariance: RowCovariance, targets: np.ndarray, batches: np.ndarray) -> np.ndarray:
    """Returns log p(y of a batch) / B under the Gaussian of the same mean and covariance, [G]; targets: [n]."""
    return cross_normalised_log_prob(covariance, covariance, targets, batches)


def cross_normalised_log_prob(covariance: RowCovariance, reference: RowCovariance, targets: np.ndarray,
                              batches: np.ndarray) -> np.ndarray:
    """Returns the cross-normalised log-likelihood (XLL) of every batch, divided by B, [G].

    It is the log density of N(m, D C D): m and the marginal standard deviations D are those of the reference, the
    correlations C of the targets are those of the method. So methods differ by their correlations alone.

    Args:
      covariance, reference: of the method and of the reference, for the same rows.
      targets: standardised, [n].
    """
    ratio = np.sqrt(reference.variance / covariance.variance)

    def of(some: np.ndarray) -> np.ndarray:
        scale = ratio[some]
        matrices = submatrices(covariance, some) * scale[:, :, None] * scale[:, None, :]
        return gaussian_joint_log_prob(targets[some] - reference.mean[some], matrices)

    return _by_chunks(batches, len(covariance.deviations), of) / batches.shape[1]


def cross_normalised_table(covariances: Sequence[RowCovariance], targets: np.ndarray, size: int, n_batches: int,
                           make_rng: Callable[[], np.random.RandomState]) -> Dict[str, np.ndarray]:
    """Returns {xll, xll_rank} of every method, with every method that has correlations as the reference, [methods].

    xll: mean over the references of the cross-normalised log-likelihood, in the batches of `correlated_batches` of the
    reference. xll_rank: mean over the references of the method's rank, 1 for the best; equal ones share theirs. Raises
    ValueError if no method has correlations.
    """
    scores: List[List[float]] = []
    for reference in (one for one in covariances if one.has_correlations):
        batches = correlated_batches(reference, size, n_batches, make_rng())
        scores.append([cross_normalised_log_prob(one, reference, targets, batches).mean() for one in covariances])
    if not scores:
        raise ValueError("no method has correlations")
    ranks = [stats.rankdata(np.negative(row)) for row in scores]
    return {"xll": np.mean(scores, axis=0), "xll_rank": np.mean(ranks, axis=0)}


def submatrices(covariance: RowCovariance, batches: np.ndarray) -> np.ndarray:
    """Returns the covariance matrices of the targets of batches [G, B], [G, B, B]."""
    deviations = covariance.deviations[:, batches].transpose(1, 2, 0)
    matrices = deviations @ deviations.transpose(0, 2, 1)
    diagonal = np.arange(batches.shape[1])
    matrices[:, diagonal, diagonal] += covariance.noise[batches]
    return matrices


# Meta-correlations.

def output_correlations(covariance: RowCovariance, pairs: np.ndarray) -> np.ndarray:
    """Returns the correlations between the outputs (without noise) of pairs of rows, [P]; 0 where one is constant."""
    variance = covariance.output_variance
    product = variance[pairs[:, 0]] * variance[pairs[:, 1]]
    values = _by_chunks(pairs, len(covariance.deviations), lambda some: np.einsum(
        "kp,kp->p", covariance.deviations[:, some[:, 0]], covariance.deviations[:, some[:, 1]]))
    varies = (variance[pairs] > NO_VARIANCE).all(axis=1)
    return np.where(varies, values / np.sqrt(np.where(varies, product, 1.0)), 0.0)


def meta_correlations(own: np.ndarray, reference: np.ndarray, pairs: np.ndarray) -> Dict[str, WeightedMetric]:
    """Returns the meta-correlations: over pairs of rows, between a method's correlations and those of the reference.

    meta_correlation: Pearson's. meta_rank_correlation: Spearman's. As functions of row weights, a pair counts as often
    as the product of the weights of its rows; ranks are those among all pairs. NaN where one side is constant.

    Args:
      own, reference: of `output_correlations`, [P].
    """
    return {"meta_correlation": _weighted_pearson(own, reference, pairs),
            "meta_rank_correlation": _weighted_pearson(stats.rankdata(own), stats.rankdata(reference), pairs)}


def _weighted_pearson(x: np.ndarray, y: np.ndarray, pairs: np.ndarray) -> WeightedMetric:
    """Returns the correlation of x and y over pairs, [P] each, as a function of row weights."""
    x, y = (values - values.mean() for values in (x, y))
    if not (np.ptp(x) > 0 and np.ptp(y) > 0):
        return lambda weights: np.full(len(weights), np.nan)
    powers = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)

    def statistic(weights: np.ndarray) -> np.ndarray:
        sums = np.concatenate([(weights[some][:, pairs[:, 0]] * weights[some][:, pairs[:, 1]]) @ powers
                               for some in _chunks(np.arange(len(weights)), len(pairs))])
        mean_x, mean_y, xx, yy, xy = (sums[:, 1:] / sums[:, :1]).T
        return (xy - mean_x * mean_y) / np.sqrt((xx - mean_x**2) * (yy - mean_y**2))

    return statistic


def _chunks(items: np.ndarray, values_per_item: int) -> Iterator[np.ndarray]:
    """Yields the items in chunks that take at most MOST_VALUES values."""
    size = max(1, MOST_VALUES // values_per_item)
    for start in range(0, len(items), size):
        yield items[start:start + size]


def _by_chunks(groups: np.ndarray, n_draws: int, of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Returns of(groups), [G], computed in chunks; groups: row numbers [G, B], n_draws: values for each of them."""
    return np.concatenate([of(some) for some in _chunks(groups, n_draws * groups.shape[1])])
