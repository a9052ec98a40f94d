import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from core.metrics import log_mean_exp, predict, regression_metrics

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


def test_metrics_over_all_rows_at_once():
    p = predict(OUTPUTS, PRECISIONS, TARGETS, 10.0, 2.0)
    metrics = regression_metrics(p, np.array([11.0, 13.0]))
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
