"""Correlations between rows, joint scores and meta-correlations: against closed forms, scipy and loops."""
import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from core.metrics import correlations as c
from core.metrics.draws import Draws
from core.metrics.predictive import values_of

PRECISION = 2.5


class Linear:
    """Bayesian linear regression y = x w + noise, w ~ N(0, I): the exact predictive distribution of `n` new rows."""

    def __init__(self, rng, n=7, n_train=11, width=3):
        x, y, self.x = rng.randn(n_train, width), rng.randn(n_train), rng.randn(n, width)
        self.weight_covariance = np.linalg.inv(np.eye(width) + PRECISION * x.T @ x)
        self.weights = PRECISION * self.weight_covariance @ x.T @ y
        self.mean = self.x @ self.weights
        self.outputs = self.x @ self.weight_covariance @ self.x.T
        self.covariance = self.outputs + np.eye(n) / PRECISION

    def draws(self, n_draws, rng, exact):
        """Draws; exact: their mean and covariance are those of the posterior up to rounding."""
        normals = rng.randn(n_draws, len(self.weights))
        if exact:
            normals -= normals.mean(axis=0)
            normals = normals @ np.linalg.inv(np.linalg.cholesky(normals.T @ normals / n_draws)).T
        weights = self.weights + normals @ np.linalg.cholesky(self.weight_covariance).T
        return Draws(weights @ self.x.T, np.full(n_draws, PRECISION), np.inf)

    def log_prob(self, targets, batch):
        return stats.multivariate_normal.logpdf(targets[batch], self.mean[batch],
                                                self.covariance[np.ix_(batch, batch)])


@pytest.fixture
def linear(rng):
    return Linear(rng)


@pytest.fixture
def batches(rng):
    return c.random_batches(7, 3, 20, rng)


def test_the_gaussian_joint_density_is_the_closed_form(linear, batches, rng):
    targets, found = rng.randn(7), c.row_covariance(linear.draws(50, rng, exact=True))
    assert_allclose(c.submatrices(found, batches), [linear.covariance[np.ix_(b, b)] for b in batches], rtol=1e-9)
    expected = [linear.log_prob(targets, batch) / 3 for batch in batches]
    assert_allclose(c.gaussian_batch_log_prob(found, targets, batches), expected, rtol=1e-9)


def test_the_mixture_tends_to_the_closed_form(linear, batches, rng):
    targets = linear.mean + 0.5 * rng.randn(7)
    expected = np.array([linear.log_prob(targets, batch) / 3 for batch in batches])
    errors = [np.abs(c.mixture_joint_log_prob(linear.draws(n, rng, exact=False), targets, batches) - expected).max()
              for n in (100, 40_000)]
    assert errors[1] < 0.005 and errors[1] < 0.3 * errors[0]
    independent = stats.norm.logpdf(targets, linear.mean, np.sqrt(np.diag(linear.covariance)))[batches].mean(axis=1)
    assert np.abs(independent - expected).max() > 0.01  # the correlations count


@pytest.mark.parametrize("dof", [np.inf, 4.0])
@pytest.mark.parametrize("per_row", [False, True])
def test_joint_scores_by_loops(rng, dof, per_row):
    outputs, precisions, targets = rng.randn(5, 6), np.exp(rng.randn(5, 6) if per_row else rng.randn(5)), rng.randn(6)
    draws, batches = Draws(outputs, precisions, dof), np.array([[0, 4], [5, 2], [3, 1]])
    scale = draws.precisions_per_row()**-0.5
    density = (stats.norm if np.isinf(dof) else stats.t(dof)).pdf((targets - outputs) / scale) / scale
    by_hand = [np.log(np.mean([density[k, a] * density[k, b] for k in range(5)])) / 2 for a, b in batches]
    assert_allclose(c.mixture_joint_log_prob(draws, targets, batches), by_hand, rtol=1e-10)
    covariance = np.cov(outputs.T, bias=True)
    covariance += np.diag((scale**2).mean(axis=0) * (1.0 if np.isinf(dof) else dof / (dof - 2.0)))
    by_hand = [stats.multivariate_normal.logpdf(targets[b], outputs.mean(axis=0)[b], covariance[np.ix_(b, b)]) / 2
               for b in batches]
    assert_allclose(c.gaussian_batch_log_prob(c.row_covariance(draws), targets, batches), by_hand, rtol=1e-10)


def test_the_cross_normalised_score_has_the_reference_s_margins_and_the_method_s_correlations(linear, batches, rng):
    targets, method = rng.randn(7), Draws(rng.randn(9, 7) @ rng.randn(7, 7), np.exp(rng.randn(9)), np.inf)
    own = np.cov(method.outputs.T, bias=True) + np.eye(7) * np.mean(1.0 / method.precisions)
    correlation, scale = own / np.sqrt(np.outer(np.diag(own), np.diag(own))), np.sqrt(np.diag(linear.covariance))
    matrix = correlation * np.outer(scale, scale)
    expected = [stats.multivariate_normal.logpdf(targets[b], linear.mean[b], matrix[np.ix_(b, b)]) / 3
                for b in batches]
    reference = c.row_covariance(linear.draws(50, rng, exact=True))
    found = c.cross_normalised_log_prob(c.row_covariance(method), reference, targets, batches)
    assert_allclose(found, expected, rtol=1e-9)
    wider = method._replace(outputs=3.0 + 2.0 * method.outputs, precisions=method.precisions / 4.0)
    assert_allclose(c.cross_normalised_log_prob(c.row_covariance(wider), reference, targets, batches), found, rtol=1e-9)


def test_the_true_correlations_score_best(rng):
    linear = Linear(rng, n=12, n_train=2)
    targets = np.linalg.cholesky(linear.covariance) @ rng.randn(12, 400)
    truth = c.row_covariance(linear.draws(40, rng, exact=True))
    permuted = truth._replace(deviations=truth.deviations[:, ::-1])
    none = truth._replace(deviations=np.zeros((1, 12)), noise=truth.variance)
    negative = truth._replace(deviations=truth.deviations * (-1.0)**np.arange(12))
    methods, total = [truth, permuted, none, negative], 0.0
    for y in targets.T:
        total = total + np.array([c.cross_normalised_log_prob(one, truth, truth.mean + y, c.correlated_batches(
            truth, 4, 100, rng)).mean() for one in methods])
    assert total.argmax() == 0 and total[2] > total[3]  # no correlations are better than those of the wrong sign


def test_every_method_is_a_reference_unless_it_has_no_correlations(rng):
    methods = [c.row_covariance(Draws(rng.randn(6, 8) * scale, np.full(6, 2.0), np.inf))
               for scale in (1.0, 0.3, 0.1, 0.0)]
    targets = rng.randn(8)

    def scores(reference):
        batches = c.correlated_batches(reference, 3, 100, np.random.RandomState(1))
        return [c.cross_normalised_log_prob(one, reference, targets, batches).mean() for one in methods]

    assert [one.has_correlations for one in methods] == [True, True, True, False]
    by_hand = np.array([scores(reference) for reference in methods[:3]])
    found = c.cross_normalised_table(methods, targets, 3, 100, lambda: np.random.RandomState(1))
    assert_allclose(found["xll"], by_hand.mean(axis=0))
    assert len(set(found["xll_rank"])) > 1
    assert_allclose(found["xll_rank"], np.mean([(row[None] > row[:, None]).sum(axis=1) + 1 for row in by_hand], axis=0))
    with pytest.raises(ValueError, match="no method has correlations"):
        c.cross_normalised_table(methods[3:], targets, 3, 100, lambda: np.random.RandomState(1))


def test_batches_of_the_most_correlated_rows(rng):
    draws = Draws(rng.randn(30, 9) * np.exp(rng.randn(9)), np.exp(rng.randn(30, 9)), np.inf)
    covariance = np.cov(draws.outputs.T, bias=True) + np.diag(np.mean(1.0 / draws.precisions, axis=0))
    strength = np.abs(covariance) / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    found = c.correlated_batches(c.row_covariance(draws), 4, 9, rng)
    assert (found == np.argsort(-strength, axis=1)[:, :4]).all() and (found[:, 0] == np.arange(9)).all()
    few = c.correlated_batches(c.row_covariance(draws), 4, 5, rng)
    assert len(set(few[:, 0])) == 5 and (few == found[few[:, 0]]).all()


def test_random_batches_have_different_rows_and_use_all(rng):
    batches = c.random_batches(10, 3, 50, rng)
    assert batches.shape == (50, 3) and all(len(set(batch)) == 3 for batch in batches)
    assert all(len(set(batches[start:start + 3].ravel())) == 9 for start in range(0, 48, 3))
    assert set(batches.ravel()) == set(range(10))


def test_pairs_are_all_or_drawn(rng):
    pairs = c.row_pairs(5, 10, rng)
    assert [tuple(pair) for pair in pairs] == list(itertools.combinations(range(5), 2))
    drawn = c.row_pairs(5, 9, rng)
    assert drawn.shape == (9, 2) and (drawn[:, 0] < drawn[:, 1]).all()
    counts = np.unique(c.row_pairs(200, 19000, rng), axis=0, return_counts=True)[1]
    assert len(counts) == pytest.approx(19900 * (1.0 - np.exp(-19000 / 19900)), rel=0.02)  # evenly, with replacement


def test_output_correlations_are_those_of_the_draws_without_noise(rng):
    outputs = rng.randn(12, 6)
    outputs[:, 4] = 1.7 + 1e-8 * rng.randn(12)  # constant but for rounding errors
    pairs = c.row_pairs(6, 100, rng)
    found = c.output_correlations(c.row_covariance(Draws(outputs, np.exp(rng.randn(12)), np.inf)), pairs)
    with np.errstate(invalid="ignore"):
        expected = np.corrcoef(np.delete(outputs, 4, axis=1).T)[np.triu_indices(5, 1)]
    assert_allclose(found[(pairs != 4).all(axis=1)], expected, rtol=1e-10)
    assert (found[(pairs == 4).any(axis=1)] == 0).all()


def test_meta_correlations_are_those_of_scipy(rng):
    pairs = c.row_pairs(8, 100, rng)
    own, reference = rng.randn(2, len(pairs))
    reference += own
    found = values_of(c.meta_correlations(own, reference, pairs), 8)
    assert found["meta_correlation"] == pytest.approx(stats.pearsonr(own, reference)[0], rel=1e-10)
    assert found["meta_rank_correlation"] == pytest.approx(stats.spearmanr(own, reference)[0], rel=1e-10)
    assert found["meta_rank_correlation"] != pytest.approx(found["meta_correlation"], rel=1e-3)
    weights = np.array([[1, 0, 2, 3, 1, 0, 1, 1.0], np.ones(8)])
    times = (weights[0, pairs[:, 0]] * weights[0, pairs[:, 1]]).astype(int)
    expected = stats.pearsonr(np.repeat(own, times), np.repeat(reference, times))[0]
    assert c.meta_correlations(own, reference, pairs)["meta_correlation"](weights)[0] == pytest.approx(expected)
    assert np.isnan(c.meta_correlations(np.zeros(len(pairs)), reference, pairs)["meta_correlation"](weights)).all()


def test_more_draws_bring_the_meta_correlation_to_one(rng):
    """As for two long chains of one sampler: only the noise of few draws keeps it below."""
    linear = Linear(rng, n=40, n_train=4)
    pairs, exact = c.row_pairs(40, 10_000, rng), c.row_covariance(linear.draws(40, rng, exact=True))
    scale = np.sqrt(np.diag(linear.outputs))
    truth = c.output_correlations(exact, pairs)
    assert_allclose(truth, (linear.outputs / np.outer(scale, scale))[tuple(pairs.T)], rtol=1e-6, atol=1e-9)
    found = [values_of(c.meta_correlations(c.output_correlations(c.row_covariance(linear.draws(n, rng, exact=False)),
                                                                 pairs), truth, pairs), 40)["meta_correlation"]
             for n in (5, 2000)]
    assert found[0] < 0.97 and found[1] > 0.995


def test_chunks_change_nothing(linear, rng, monkeypatch):
    draws, targets = linear.draws(30, rng, exact=True), rng.randn(7)
    other, batches = c.row_covariance(linear.draws(20, rng, exact=False)), c.random_batches(7, 3, 20, rng)
    pairs, found = c.row_pairs(7, 100, rng), c.row_covariance(draws)

    def everything():
        statistics = c.meta_correlations(*(c.output_correlations(one, pairs) for one in (found, other)), pairs)
        return [c.mixture_joint_log_prob(draws, targets, batches), c.gaussian_batch_log_prob(found, targets, batches),
                c.cross_normalised_log_prob(found, other, targets, batches), c.correlated_batches(found, 3, 9, rng),
                *(statistic(np.arange(1.0, 22.0).reshape(3, 7)) for statistic in statistics.values())]

    whole = everything()
    monkeypatch.setattr(c, "MOST_VALUES", 250)
    for part, expected in zip(everything(), whole):
        assert_allclose(part, expected, rtol=1e-12)
