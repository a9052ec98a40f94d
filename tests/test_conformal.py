"""Conformal quantiles, scores and temperature, against their definitions, other optimisers and simulation."""
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import optimize, stats
from scipy.special import log_softmax, softmax

from core.metrics.conformal import (
    HIGHEST,
    SETS,
    adaptive_scores,
    conformal_quantile,
    conformal_rank,
    fit_temperature,
    least_rows,
    normalised_residuals,
    std_factor,
    tempered,
)
from core.metrics.predictive import ClassPrediction


def test_ranks_are_those_of_the_formula():
    """ceil((n + 1) level), also where the product is an integer that floats miss."""
    assert [conformal_rank(n, 0.9) for n in (9, 10, 18, 19, 99, 999)] == [9, 10, 18, 18, 90, 900]
    assert 100 * 0.07 > 7 and conformal_rank(99, 0.07) == 7 and 100 * 0.56 > 56 and conformal_rank(99, 0.56) == 56
    assert [least_rows(level) for level in (0.5, 0.8, 0.9, 0.95, 0.99)] == [1, 4, 9, 19, 99]
    for level in (0.5, 0.8, 0.9, 0.95, 0.99):
        n = least_rows(level)
        assert conformal_rank(n, level) <= n and conformal_rank(n - 1, level) > n - 1


def test_too_few_rows_have_no_bound():
    scores = np.arange(1.0, 10.0)
    assert conformal_quantile(scores, 0.9) == 9.0 and conformal_quantile(scores, 0.5) == 5.0
    assert conformal_quantile(scores, 0.91) == np.inf and conformal_quantile(scores[:8], 0.9) == np.inf


@pytest.mark.parametrize("n_rows, level", [(19, 0.9), (30, 0.8), (9, 0.9)])
def test_coverage_of_exchangeable_rows_whatever_the_prediction(rng, n_rows, level):
    """Rank / (n + 1), of a prediction that is wrong and much too sure of itself."""
    n_trials = 20000
    x = rng.rand(n_trials, n_rows + 1)
    targets = x + (0.2 + x) * rng.standard_t(3, x.shape)
    scores = normalised_residuals(targets, 0.5 * x + 1.0, 0.1 + 0.01 * x)
    bounds = np.array([conformal_quantile(np.sort(row[:-1]), level) for row in scores])
    covered = (scores[:, -1] <= bounds).mean()
    expected = conformal_rank(n_rows, level) / (n_rows + 1.0)
    assert abs(covered - expected) < 4.0 * np.sqrt(expected * (1 - expected) / n_trials)


@pytest.mark.parametrize("name", SETS)
def test_coverage_of_sets_of_classes(rng, name):
    n_trials, n_rows, level = 4000, 24, 0.8
    logits = 2.0 * rng.randn(n_trials, n_rows + 1, 4)
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=2)
    wrong = softmax(3.0 * logits + rng.randn(*logits.shape), axis=2)  # too sure
    scores = SETS[name](wrong.reshape(-1, 4)).reshape(wrong.shape)
    own = np.take_along_axis(scores, labels[..., None], axis=2)[..., 0]
    bounds = np.array([conformal_quantile(np.sort(row[:-1]), level) for row in own])
    covered = (own[:, -1] <= bounds).mean()
    expected = conformal_rank(n_rows, level) / (n_rows + 1.0)
    error = 4.0 * np.sqrt(expected * (1 - expected) / n_trials)
    assert covered > expected - error and (name == "aps" or covered < expected + error)  # aps has equal scores
    sizes = (scores[:, -1] <= bounds[:, None]).sum(axis=1)
    assert sizes.mean() < 4.0 and (name == "lac" or sizes.min() >= 1)


def test_equal_scores_are_all_covered():
    scores = np.sort([0.0] * 5 + [1.0] * 10 + [2.0] * 5)
    assert conformal_quantile(scores, 0.5) == 1.0 and (scores <= conformal_quantile(scores, 0.5)).mean() == 0.75
    assert conformal_quantile(np.zeros(20), 0.9) == 0.0


def test_scores_of_classes_by_hand():
    p = np.array([[0.2, 0.5, 0.3], [0.25, 0.25, 0.5]])
    assert_allclose(SETS["lac"](p), [[0.8, 0.5, 0.7], [0.75, 0.75, 0.5]])
    assert_allclose(adaptive_scores(p), [[0.8, 0.0, 0.5], [0.5, 0.75, 0.0]], atol=1e-15)


@pytest.fixture
def classes(rng):
    """(log probabilities [4000, 5] of temperature 1, labels that are drawn from them)."""
    logs = log_softmax(1.5 * rng.randn(4000, 5), axis=1)
    return logs, np.array([rng.choice(5, p=row) for row in np.exp(logs)])


@pytest.mark.parametrize("true", [0.4, 1.0, 3.0])
def test_temperature_against_another_optimiser(classes, true):
    """Of log probabilities that are `true` times as sharp as they should be."""
    logs, labels = classes
    wrong = log_softmax(true * logs, axis=1)

    def loss(temperature):
        return -log_softmax(wrong / temperature, axis=1)[np.arange(4000), labels].mean()

    found = fit_temperature(wrong, labels)
    other = optimize.minimize_scalar(loss, bounds=(0.05, 20.0), method="bounded", options={"xatol": 1e-9})
    assert found.value == pytest.approx(other.x, rel=1e-5) and found.value == pytest.approx(true, rel=0.1)
    assert found.notice == "" and loss(found.value) <= loss(1.0)
    after = tempered(ClassPrediction(np.exp(wrong), wrong), found.value)
    assert_allclose(after.log_probabilities, log_softmax(wrong / found.value, axis=1))
    assert_allclose(after.probabilities, softmax(wrong / found.value, axis=1))
    assert (after.probabilities.argmax(axis=1) == wrong.argmax(axis=1)).all()


def test_temperatures_without_a_maximum():
    logs = np.log([[0.7, 0.3], [0.4, 0.6]])
    right, wrong = fit_temperature(logs, np.array([0, 1])), fit_temperature(logs, np.array([1, 0]))
    assert right.value == 1.0 and "all 2 rows are predicted right" in right.notice
    assert wrong.value == HIGHEST and "equal probabilities would be likelier" in wrong.notice
    sure = np.array([[0.0, -1e5], [0.0, -1e5], [-1e5, 0.0]])
    assert np.isfinite(fit_temperature(sure, np.array([0, 1, 1])).value)


def test_the_factor_maximises_the_likelihood(rng):
    std = 0.5 + rng.rand(50)
    targets = 2.3 * std * rng.randn(50)
    found = optimize.minimize_scalar(lambda s: -stats.norm.logpdf(targets, 0.0, s * std).sum(), bounds=(0.1, 9.0),
                                     method="bounded", options={"xatol": 1e-9})
    assert std_factor(normalised_residuals(targets, np.zeros(50), std)) == pytest.approx(found.x, rel=1e-6)
