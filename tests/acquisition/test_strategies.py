"""Scores of rows against closed forms, and the choice by them."""
import numpy as np
import pytest

from core.acquisition.strategies import STRATEGIES, choose, epistemic_variance, mutual_information, random_scores
from core.metrics.draws import Draws
from core.metrics.gaussian_outputs import ProbitDraws, with_variance
from core.metrics.predictive import predict, softmax
from misc.errors import RunError


def variance_of(draws):
    return epistemic_variance(draws, draws.outputs.shape[1], None)


def test_variance_is_that_of_a_linear_model(rng):
    """Outputs x w of w ~ N(m, S) have the variance x^T S x, which the draws approach and the linearised form has."""
    x, root = rng.randn(6, 3), np.tril(rng.randn(3, 3))
    exact = np.einsum("ni,ij,nj->n", x, root @ root.T, x)
    weights = rng.randn(3) + rng.randn(200000, 3) @ root.T
    drawn = variance_of(Draws(weights @ x.T, rng.gamma(3.0, size=200000), np.inf))
    np.testing.assert_allclose(drawn, exact, rtol=0.02)
    noise_alone = Draws((x @ rng.randn(3))[None], rng.gamma(3.0, size=5), np.inf)
    np.testing.assert_allclose(variance_of(with_variance(noise_alone, exact)), exact)


def test_noise_common_to_all_rows_changes_no_choice(rng):
    outputs, precisions = rng.randn(50, 9), rng.gamma(3.0, size=50)
    total = predict(outputs, precisions, np.zeros(9), 0.0, 1.0).std**2
    variance = variance_of(Draws(outputs, precisions, np.inf))
    np.testing.assert_allclose(total - variance, np.mean(1.0 / precisions))
    assert np.argmax(total) == np.argmax(variance)


def test_noise_that_differs_between_rows_does_not_count(rng):
    outputs, precisions = rng.randn(50, 9) * np.linspace(1.0, 2.0, 9), np.ones((50, 9))
    precisions[:, 2] = 1e-3
    variance = variance_of(Draws(outputs, precisions, np.inf))
    np.testing.assert_allclose(variance, outputs.var(axis=0))
    assert np.argmax(predict(outputs, precisions, np.zeros(9), 0.0, 1.0).std) == 2 != np.argmax(variance)


def test_variances_of_several_targets_are_added(rng):
    outputs = rng.randn(40, 5, 3)
    for dof in (np.inf, np.array([[5.0, np.inf, 8.0]])):
        variance = variance_of(Draws(outputs, rng.gamma(3.0, size=(40, 3)), dof))
        np.testing.assert_allclose(variance, sum(outputs[:, :, target].var(axis=0) for target in range(3)))


def test_mutual_information_by_brute_force(rng):
    logits = 3.0 * rng.randn(7, 4, 3)
    exact = []
    for row in range(4):
        rows = softmax(logits[:, row])
        mean = rows.mean(axis=0)
        exact.append(-sum(p * np.log(p) for p in mean) + sum(p * np.log(p) for each in rows for p in each) / 7)
    np.testing.assert_allclose(mutual_information(logits, 4, None), exact)
    of_probit = mutual_information(ProbitDraws(rng.randn(1, 4, 3), logits), 4, None)
    np.testing.assert_allclose(of_probit, exact)


def test_draws_that_agree_about_an_uncertain_class_have_no_mutual_information(rng):
    logits = np.repeat(rng.randn(1, 4, 3), 6, axis=0)
    logits[:, 1] = 0.0  # the highest entropy
    logits[:3, 2] += [5.0, 0.0, 0.0]
    scores = mutual_information(logits, 4, None)
    np.testing.assert_allclose(scores[[0, 1, 3]], 0.0, atol=1e-12)
    assert scores[2] > 0.05


def test_random_choice_is_uniform():
    chosen = [np.argmax(random_scores(None, 5, np.random.RandomState(seed))) for seed in range(2000)]
    assert np.abs(np.bincount(chosen, minlength=5) - 400).max() < 5 * (2000 * 0.2 * 0.8)**0.5


def test_the_highest_scores_are_chosen(rng):
    scores, pool = rng.randn(30), rng.permutation(100)[:30]
    assert choose(scores, pool, 1).tolist() == [np.argmax(scores)]
    assert choose(scores, pool, 4).tolist() == np.argsort(-scores)[:4].tolist()
    assert choose(np.zeros(3), np.array([8, 2, 5]), 2).tolist() == [1, 2]  # equal: by the number of the row
    assert len(choose(scores, pool, 99)) == 30
    with pytest.raises(RunError, match="predictions of the pool are not finite"):
        choose(np.array([0.0, np.nan]), np.arange(2), 1)


def test_a_strategy_has_a_row_for_each_mode():
    assert {mode for strategy in STRATEGIES.values() for mode in strategy.modes} == {"regression", "classification"}
