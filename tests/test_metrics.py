import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from core.metrics.crps import mixture_crps
from core.metrics.predictive import (
    ClassPrediction,
    classification_statistics,
    log_mean_exp,
    predict,
    predict_classes,
    regression_statistics,
    softmax,
    values_of,
)

OUTPUTS = np.array([[0.0, 1.0], [2.0, 1.0]])  # two draws, two rows
PRECISIONS = np.array([4.0, 1.0])
TARGETS = np.array([0.5, 1.5])


def test_prediction_by_hand():
    p = predict(OUTPUTS, PRECISIONS, TARGETS, target_mean=10.0, target_std=2.0)
    assert_allclose(p.mean, [12.0, 12.0])
    assert_allclose(p.epistemic_std, [2.0, 0.0])
    assert_allclose(p.std, 2.0 * np.sqrt([1.0 + 0.625, 0.625]))
    raw = 10.0 + 2.0 * TARGETS
    density = [np.mean([stats.norm.pdf(y, 10 + 2 * f, 2 * tau**-0.5) for f, tau in zip(OUTPUTS[:, i], PRECISIONS)])
               for i, y in enumerate(raw)]
    assert_allclose(p.log_prob, np.log(density), rtol=1e-12)
    assert_allclose(p.moment_log_prob, stats.norm.logpdf(raw, p.mean, p.std), rtol=1e-12)


def test_prediction_under_student_s_t():
    p = predict(OUTPUTS, PRECISIONS, TARGETS, target_mean=10.0, target_std=2.0, dof=3.5)
    raw = 10.0 + 2.0 * TARGETS
    density = [np.mean([stats.t.pdf(y, 3.5, 10 + 2 * f, 2 * tau**-0.5) for f, tau in zip(OUTPUTS[:, i], PRECISIONS)])
               for i, y in enumerate(raw)]
    assert_allclose(p.log_prob, np.log(density), rtol=1e-12)
    noise = np.mean([stats.t.var(3.5, scale=2 * tau**-0.5) for tau in PRECISIONS])
    assert_allclose(p.std, np.sqrt(noise + np.square(p.epistemic_std)), rtol=1e-12)
    assert_allclose(p.moment_log_prob, stats.norm.logpdf(raw, p.mean, p.std), rtol=1e-12)


def test_prediction_where_each_draw_has_its_own_degrees_of_freedom():
    p = predict(OUTPUTS, PRECISIONS, TARGETS, target_mean=10.0, target_std=2.0, dof=np.array([np.inf, 3.5]))
    raw, (normal, student) = 10.0 + 2.0 * TARGETS, 2.0 * PRECISIONS**-0.5
    means = 10.0 + 2.0 * OUTPUTS
    density = 0.5 * (stats.norm.pdf(raw, means[0], normal) + stats.t.pdf(raw, 3.5, means[1], student))
    assert_allclose(p.log_prob, np.log(density), rtol=1e-12)
    assert_allclose(p.cdf, 0.5 * (stats.norm.cdf(raw, means[0], normal) + stats.t.cdf(raw, 3.5, means[1], student)),
                    rtol=1e-9)
    noise = 0.5 * (normal**2 + stats.t.var(3.5, scale=student))
    assert_allclose(p.std, np.sqrt(noise + np.square(p.epistemic_std)), rtol=1e-12)
    assert_allclose(p.moment_log_prob, stats.norm.logpdf(raw, p.mean, p.std), rtol=1e-12)


@pytest.mark.parametrize("dof", [3.5, np.inf])
def test_equal_degrees_of_freedom_of_all_draws_are_one_number(dof):
    drawn = (OUTPUTS, PRECISIONS, TARGETS, 10.0, 2.0)
    for each, one in zip(predict(*drawn, np.full(2, dof)), predict(*drawn, dof)):
        assert np.array_equal(each, one)
    crps = [mixture_crps(OUTPUTS, 1.0 / PRECISIONS, TARGETS, value) for value in (np.full(2, dof), dof)]
    assert np.array_equal(*crps)


@pytest.mark.parametrize("dof", [1e9, 1e16, 1e30])
def test_student_s_t_of_many_degrees_of_freedom_is_normal(dof):
    drawn = (OUTPUTS, PRECISIONS, TARGETS, 10.0, 2.0)
    for t, normal in zip(predict(*drawn, dof), predict(*drawn)):
        assert_allclose(t, normal, rtol=1e-7)


def test_metrics_over_all_rows_at_once():
    p = predict(OUTPUTS, PRECISIONS, TARGETS, 10.0, 2.0)
    metrics = values_of(regression_statistics(p, np.array([11.0, 13.0])), 2)
    assert metrics["rmse"] == pytest.approx(1.0)
    assert metrics["log_likelihood"] == pytest.approx(p.log_prob.mean())
    assert metrics["moment_log_likelihood"] == pytest.approx(p.moment_log_prob.mean())


def test_one_draw_of_a_point_estimate_meets_many_noise_draws():
    p = predict(OUTPUTS[:1], PRECISIONS, TARGETS, 0.0, 1.0)
    by_hand = np.log(np.mean([stats.norm.pdf(TARGETS, OUTPUTS[0], tau**-0.5) for tau in PRECISIONS], axis=0))
    assert_allclose(p.log_prob, by_hand, rtol=1e-12)
    assert_allclose(p.epistemic_std, 0.0)


def test_log_mean_exp_survives_large_values():
    assert_allclose(log_mean_exp(np.array([[-2000.0, 900.0], [-2000.0, 900.0]])), [-2000.0, 900.0])


def test_classes_average_probabilities_not_logits():
    logits = np.log(np.array([[[0.9, 0.1]], [[0.5, 0.5]]])) + np.array([[[800.0]], [[-800.0]]])  # [K, n, C], shifted
    assert_allclose(softmax(logits).mean(axis=0), [[0.7, 0.3]])


def of(probabilities):
    """A prediction of these probabilities."""
    return ClassPrediction(probabilities, np.log(np.maximum(probabilities, 1e-300)))


def test_classification_metrics_by_hand():
    p = np.array([[0.8, 0.1, 0.1], [0.3, 0.7, 0.0], [0.2, 0.2, 0.6], [0.75, 0.25, 0.0]])
    metrics = values_of(classification_statistics(of(p), np.array([0, 0, 2, 0]), n_bins=4), 4)
    assert metrics["accuracy"] == 0.75
    assert metrics["log_likelihood"] == pytest.approx(np.log([0.8, 0.3, 0.6, 0.75]).mean())
    one_hot = np.eye(3)[[0, 0, 2, 0]]
    assert metrics["brier"] == pytest.approx(np.square(p - one_hot).sum(axis=1).mean())
    # bins [.5, .75): .7 wrong, .6 right; [.75, 1]: .8 and .75, both right
    assert metrics["ece"] == pytest.approx(0.5 * abs(0.5 - 0.65) + 0.5 * abs(1.0 - 0.775))


def test_calibration_error_of_sure_and_right_is_zero():
    metrics = values_of(classification_statistics(of(np.eye(3)), np.arange(3)), 3)
    assert metrics["ece"] == 0.0 and metrics["brier"] == 0.0 and metrics["log_likelihood"] == 0.0
    wrong = values_of(classification_statistics(of(np.eye(3)), np.array([1, 1, 2])), 3)
    assert np.isfinite(wrong["log_likelihood"])


def test_logits_that_are_not_finite_make_metrics_nan():
    logits = np.array([[[0.0, 1.0], [np.inf, np.inf]]])
    with np.errstate(invalid="ignore"):
        found = values_of(classification_statistics(predict_classes(logits), np.array([1, 0])), 2)
    assert all(np.isnan(found[name]) for name in ("log_likelihood", "brier", "ece"))


def test_a_statistic_counts_rows_by_their_weights(rng):
    """With whole numbers as weights it equals the statistic of repeated rows."""
    p, labels, weights = rng.dirichlet(np.ones(3), 5), np.array([0, 1, 2, 2, 0]), np.array([2, 0, 1, 3, 1])
    repeated = np.repeat(np.arange(5), weights)
    expected = values_of(classification_statistics(of(p[repeated]), labels[repeated]), 7)
    for name, statistic in classification_statistics(of(p), labels).items():
        assert statistic(weights[None].astype(float))[0] == pytest.approx(expected[name])
