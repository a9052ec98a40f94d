"""Metrics of several targets, from draws."""
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from core.metrics.draws import Draws
from core.metrics.joint import joint_log_prob, joint_statistics, predict_jointly
from core.metrics.predictive import predict, values_of

MEAN, STD = np.array([10.0, -3.0]), np.array([2.0, 0.5])


@pytest.fixture(params=["shared", "per row", "student"])
def draws(request, rng):
    """Four draws at five rows of two targets."""
    outputs, precisions = rng.randn(4, 5, 2), np.exp(rng.randn(4, 2))
    if request.param == "per row":
        precisions = np.exp(rng.randn(4, 5, 2))
    return Draws(outputs, precisions, np.array([[3.5, 8.0]]) if request.param == "student" else np.inf)


@pytest.fixture
def targets(rng):
    return rng.randn(5, 2)


def densities(draws, targets):
    """Densities, in the data's own units, of both targets under every draw, [4, 5, 2]."""
    scale = STD * draws.precisions_per_row()**-0.5
    dofs = np.broadcast_to(draws.dof, (1, 2))[0]
    shapes = [stats.norm if np.isinf(dof) else stats.t(dof) for dof in dofs]
    y, means = MEAN + STD * targets, MEAN + STD * draws.outputs
    return np.stack([shape.pdf((y - means)[..., j] / scale[..., j]) / scale[..., j]
                     for j, shape in enumerate(shapes)], axis=-1)


def test_the_joint_density_is_the_mean_over_draws_of_products(draws, targets):
    joint, by_hand = predict_jointly(draws, targets, MEAN, STD), densities(draws, targets)
    assert_allclose(joint.log_prob, np.log(by_hand.prod(axis=-1).mean(axis=0)), rtol=1e-10)
    assert_allclose(joint_log_prob(draws, targets) - np.log(STD).sum(), np.log(by_hand.prod(axis=-1)), rtol=1e-10)
    for j, one in enumerate(joint.of_targets):
        assert_allclose(one.log_prob, np.log(by_hand[..., j].mean(axis=0)), rtol=1e-10)
    assert np.abs(joint.log_prob - sum(one.log_prob for one in joint.of_targets)).max() > 1e-2


def test_the_matched_gaussian_has_the_covariance_of_the_mixture(draws, targets):
    joint = predict_jointly(draws, targets, MEAN, STD)
    for row in range(5):
        covariance = np.cov(draws.outputs[:, row].T, bias=True) * np.outer(STD, STD)
        for j, one in enumerate(joint.of_targets):
            covariance[j, j] = one.std[row]**2
        mean = [one.mean[row] for one in joint.of_targets]
        by_hand = stats.multivariate_normal.logpdf(MEAN + STD * targets[row], mean, covariance)
        assert joint.moment_log_prob[row] == pytest.approx(by_hand, rel=1e-10)


def test_metrics_by_hand(draws, targets):
    joint, raw = predict_jointly(draws, targets, MEAN, STD), MEAN + STD * targets
    metrics = values_of(joint_statistics(joint, raw, STD, ["a", "b"]), 5)
    errors = np.stack([one.mean for one in joint.of_targets], axis=1) - raw
    assert metrics["rmse"] == pytest.approx(np.sqrt(np.mean((errors / STD)**2)))
    assert metrics["log_likelihood"] == pytest.approx(joint.log_prob.mean())
    assert metrics["moment_log_likelihood"] == pytest.approx(joint.moment_log_prob.mean())
    for j, (name, one) in enumerate(zip("ab", joint.of_targets)):
        assert metrics[f"rmse_{name}"] == pytest.approx(np.sqrt(np.mean(errors[:, j]**2)))
        assert metrics[f"log_likelihood_{name}"] == pytest.approx(one.log_prob.mean())
        assert metrics[f"coverage_90_{name}"] == np.mean(np.abs(2.0 * one.cdf - 1.0) <= 0.9)
    assert metrics["coverage_90"] == pytest.approx(np.mean([metrics["coverage_90_a"], metrics["coverage_90_b"]]))


def test_one_draw_of_a_point_estimate_meets_many_noise_draws(rng, targets):
    draws = Draws(rng.randn(1, 5, 2), np.exp(rng.randn(6, 2)), np.inf)
    joint = predict_jointly(draws, targets, MEAN, STD)
    assert_allclose(joint.log_prob, np.log(densities(draws, targets).prod(axis=-1).mean(axis=0)), rtol=1e-10)
    one = predict(draws.outputs[..., 0], draws.precisions[:, 0], targets[:, 0], MEAN[0], STD[0])
    for ours, theirs in zip(joint.of_targets[0], one):
        assert np.array_equal(ours, theirs)
