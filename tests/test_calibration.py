"""Compares calibration, rejection and uncertainty with other libraries, hand calculations and edge cases."""
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import integrate, stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import auc, brier_score_loss, log_loss, roc_curve

from core.metrics.calibration import (
    LEVELS,
    adaptive_bins,
    coverage_curve,
    detection_statistics,
    entropies,
    monte_carlo,
    more_classification_statistics,
    more_regression_statistics,
    rejection_curve,
    reliability,
    with_intervals,
)
from core.metrics.crps import mixture_crps
from core.metrics.predictive import Prediction, mixture_cdf, predict, values_of
from tests.test_metrics import of


@pytest.fixture
def classes(rng):
    """Probabilities [402, 5], and labels drawn from sharper probabilities."""
    p = rng.dirichlet(np.full(5, 0.6), 402)  # no quantile falls on a row
    labels = np.array([rng.choice(5, p=row) for row in p**2 / (p**2).sum(axis=1, keepdims=True)])
    return p, labels


def by_sklearn(right, confidence, strategy, n_bins):
    """The calibration error of scikit-learn's curve, with the rows of each bin counted here."""
    accuracy, mean = calibration_curve(right, confidence, n_bins=n_bins, strategy=strategy)
    edges = (np.linspace(0, 1, n_bins + 1) if strategy == "uniform"
             else np.percentile(confidence, np.linspace(0, 100, n_bins + 1)))
    count = np.bincount(np.searchsorted(edges[1:-1], confidence), minlength=n_bins)
    return np.sum(count[count > 0] * np.abs(accuracy - mean)) / len(right)


@pytest.mark.parametrize("n_bins", [1, 4, 15])
def test_classification_against_scikit_learn(classes, n_bins):
    p, labels = classes
    metrics = values_of(more_classification_statistics(of(p), labels, n_bins), 402)
    right, confidence = p.argmax(axis=1) == labels, p.max(axis=1)
    assert metrics["accuracy"] == right.mean()
    assert metrics["log_likelihood"] == pytest.approx(-log_loss(labels, p, labels=range(5)), abs=1e-6)
    one_hot = np.eye(5)[labels]
    brier = sum(brier_score_loss(one_hot[:, c], p[:, c]) for c in range(5))
    assert metrics["brier"] == pytest.approx(brier, abs=1e-6)
    assert metrics["ece"] == pytest.approx(by_sklearn(right, confidence, "uniform", n_bins), abs=1e-6)
    assert metrics["adaptive_ece"] == pytest.approx(by_sklearn(right, confidence, "quantile", n_bins), abs=1e-6)
    classwise = np.mean([by_sklearn(one_hot[:, c], p[:, c], "uniform", n_bins) for c in range(5)])
    assert metrics["classwise_ece"] == pytest.approx(classwise, abs=1e-6)


def test_reliability_bins(classes):
    p, labels = classes
    bins = reliability(p, labels, 10)
    accuracy, confidence = calibration_curve(p.argmax(axis=1) == labels, p.max(axis=1), n_bins=10)
    assert_allclose(bins.accuracy, accuracy)
    assert_allclose(bins.confidence, confidence)
    assert bins.n_rows.sum() == 402


def test_adaptive_bins_hold_as_many_rows_each(rng):
    assert np.bincount(adaptive_bins(rng.rand(300), 15)).tolist() == [20] * 15
    assert len(set(adaptive_bins(np.full(7, 0.3), 15))) == 1


EDGES = {
    "sure and right": (np.eye(3), np.arange(3), dict(accuracy=1, log_likelihood=0, brier=0, ece=0, classwise_ece=0)),
    "sure and wrong": (np.eye(2), np.array([1, 0]), dict(accuracy=0, brier=2, ece=1, adaptive_ece=1, classwise_ece=1)),
    "one row": (np.array([[0.25, 0.75]]), np.array([1]),
                dict(accuracy=1, log_likelihood=np.log(0.75), brier=0.125, ece=0.25, adaptive_ece=0.25,
                     classwise_ece=0.25)),
    "one class": (np.ones((4, 1)), np.zeros(4, int),
                  dict(accuracy=1, log_likelihood=0, brier=0, ece=0, adaptive_ece=0, classwise_ece=0)),
}


@pytest.mark.parametrize("name", EDGES)
def test_edges(name):
    p, labels, expected = EDGES[name]
    metrics = with_intervals(more_classification_statistics(of(p), labels), len(labels), 50)
    assert {key: metrics[key].value for key in expected} == pytest.approx(expected)
    assert all(np.isfinite(interval.value) and interval.low is None for interval in metrics.values())  # few rows
    assert all(np.isfinite(part).all() for part in entropies(p[None]))
    often, labels_often = np.repeat(p, 20, 0), np.repeat(labels, 20)
    many = with_intervals(more_classification_statistics(of(often), labels_often), len(often), 50)
    assert all(np.isfinite(interval).all() for interval in many.values())
    assert rejection_curve(p.max(axis=1), p.argmax(axis=1) == labels)[1][-1] == expected["accuracy"]


def test_intervals_against_the_formula(rng):
    right = rng.rand(500) < 0.8
    p = np.where(right[:, None], [0.9, 0.1], [0.4, 0.6])
    accuracy = with_intervals(more_classification_statistics(of(p), np.zeros(500, int)), 500, 2000)["accuracy"]
    error = 1.96 * np.sqrt(accuracy.value * (1 - accuracy.value) / 500)
    assert_allclose([accuracy.value - accuracy.low, accuracy.high - accuracy.value], error, rtol=0.15)


def test_rejection_by_hand():
    share, accuracy = rejection_curve([0.9, 0.5, 0.7, 0.5], np.array([1.0, 1.0, 0.0, 0.0]))
    assert_allclose(share, [0.25, 0.5, 0.75, 1.0])
    assert_allclose(accuracy, [1.0, 0.5, 0.5, 0.5])  # the two at 0.5 count as half right each


def test_entropies_of_agreeing_and_of_contradicting_draws():
    agree, contradict = np.tile([0.5, 0.5], (4, 1, 1)), np.eye(2)[[0, 1, 0, 1]][:, None]
    assert_allclose(np.ravel(entropies(agree)), [np.log(2), np.log(2), 0.0])
    assert_allclose(np.ravel(entropies(contradict)), [np.log(2), 0.0, np.log(2)])
    mixed = np.random.RandomState(0).dirichlet(np.ones(3), (6, 2))
    total, expected, mutual = entropies(mixed)
    assert_allclose(total, stats.entropy(mixed.mean(axis=0), axis=1))
    assert_allclose(expected, np.mean([stats.entropy(draw, axis=1) for draw in mixed], axis=0))
    assert_allclose(mutual, total - expected, atol=1e-12)


def test_detection_against_the_roc_curve(rng):
    inside, outside = np.round(rng.gamma(2.0, size=300), 1), np.round(1.0 + rng.gamma(2.0, size=200), 1)
    values, weights = np.concatenate([inside, outside]), np.stack([np.ones(500), rng.randint(1, 4, 500)])
    statistics = detection_statistics(inside, outside)
    for row, weight in enumerate(weights):  # a row of weight 2 counts as two rows
        repeats = weight.astype(int)
        false, true, _ = roc_curve(np.repeat([1] * 300 + [0] * 200, repeats), -np.repeat(values, repeats),
                                   drop_intermediate=False)
        assert statistics["auroc"](weights)[row] == pytest.approx(auc(false, true))
        assert statistics["fpr95"](weights)[row] == pytest.approx(false[true >= 0.95].min())
    metrics = with_intervals(statistics, [300, 200])
    assert with_intervals(detection_statistics(inside, outside[:3]), [300, 3])["auroc"].low is None
    assert 0 < metrics["auroc"].low < metrics["auroc"].value < metrics["auroc"].high < 1


def test_monte_carlo_is_the_spread_and_the_shift_over_fresh_draws(rng):
    """The rows of one draw are correlated, as under drawn weights."""
    draws = rng.gamma(4.0, size=(4000, 40)) * rng.gamma(6.0, size=(4000, 1))  # densities of 40 rows
    truth, parts = np.mean(np.log(draws.mean(axis=0))), np.split(draws, 200)
    estimates, errors = [np.mean(np.log(part.mean(axis=0))) for part in parts], [monte_carlo(np.log(p)) for p in parts]
    assert np.mean([each["error"] for each in errors]) == pytest.approx(np.std(estimates), rel=0.15)
    assert np.mean([each["bias"] for each in errors]) == pytest.approx(np.mean(estimates) - truth, rel=0.5)
    assert monte_carlo(np.log(draws[:1])) is None


@pytest.fixture
def draws(rng):
    """Means [7, 30], variances [7] and targets [30]."""
    return rng.randn(7, 30), rng.gamma(3.0, size=7), 2.0 * rng.randn(30)


def test_crps_is_the_integral_it_is_defined_by(draws):
    means, variances, targets = draws
    crps = mixture_crps(means, variances, targets, numbers_at_once=100)
    grid = np.linspace(-40.0, 40.0, 40001)
    for i in (0, 11, 29):
        cdf = np.mean([stats.norm.cdf(grid, m, v**0.5) for m, v in zip(means[:, i], variances)], axis=0)
        expected = integrate.trapezoid(np.square(cdf - (grid >= targets[i])), grid)
        assert crps[i] == pytest.approx(expected, abs=2e-3)
        assert mixture_cdf(means, variances, targets)[i] == pytest.approx(
            np.mean([stats.norm.cdf(targets[i], m, v**0.5) for m, v in zip(means[:, i], variances)]))


def components(means, squares, dofs):
    return [stats.norm(m, v**0.5) if np.isinf(dof) else stats.t(dof, m, v**0.5)
            for m, v, dof in zip(means, squares, np.broadcast_to(dofs, len(means)))]


def exact_crps(means, squares, target, dofs):
    """Integrates on points that resolve every draw, however far or narrow it is."""
    drawn = components(means, squares, dofs)
    numbers = np.unique(np.concatenate([m + v**0.5 * np.sinh(np.linspace(-17, 17, 3001))
                                        for m, v in zip(means, squares)] + [[target]]))
    left, right = numbers[numbers <= target], numbers[numbers >= target]
    below = np.mean([each.cdf(left) for each in drawn], axis=0)
    above = np.mean([each.sf(right) for each in drawn], axis=0)
    return integrate.trapezoid(np.square(below), left) + integrate.trapezoid(np.square(above), right)


@pytest.mark.parametrize("case", ["as they are", "narrow", "one far off", "one wide"])
@pytest.mark.parametrize("dof", [2.5, 8.0, np.array([2.2, np.inf, 4.0, 30.0, 3.0, np.inf, 2.2])], ids=str)
def test_crps_and_cdf_of_student_s_t(draws, dof, case):
    means, squares, targets = (array.copy() for array in draws)
    if case == "narrow":
        squares *= 1e-6
    if case == "one far off":
        means[0] = 1e4
    if case == "one wide":
        squares[0] = 1e8
    crps = mixture_crps(means, squares, targets, dof, numbers_at_once=100)
    for i in (0, 11, 29):
        assert crps[i] == pytest.approx(exact_crps(means[:, i], squares, targets[i], dof), rel=1e-3)
        assert mixture_cdf(means, squares, targets, dof)[i] == pytest.approx(
            np.mean([each.cdf(targets[i]) for each in components(means[:, i], squares, dof)]))


def squared_integral(functions, low, high):
    """The integral of the square of the mean of functions."""
    return integrate.quad(lambda y: np.mean([function(y) for function in functions])**2, low, high, limit=200)[0]


@pytest.mark.parametrize("n_draws", [2, 7])
def test_crps_of_different_degrees_of_freedom_to_five_digits(draws, n_draws):
    means, squares, targets = draws[0][:n_draws], draws[1][:n_draws], draws[2]
    dofs = np.array([2.2, np.inf, 4.0, 30.0, 3.0, np.inf, 2.2])[:n_draws]
    crps = mixture_crps(means, squares, targets, dofs)
    for i in (0, 11, 29):
        drawn = components(means[:, i], squares, dofs)
        below, above = ([getattr(each, name) for each in drawn] for name in ("cdf", "sf"))
        expected = squared_integral(below, -np.inf, targets[i]) + squared_integral(above, targets[i], np.inf)
        assert crps[i] == pytest.approx(expected, abs=1e-5 * squares.min()**0.5)


@pytest.mark.parametrize("equal_means", [False, True])
@pytest.mark.parametrize("dof", [2.2, 5.0, np.inf])
def test_crps_of_almost_equal_degrees_of_freedom(rng, dof, equal_means):
    """As of equal ones, for hundreds of draws, each of which few points stand for."""
    means, squares, targets = rng.randn(400, 4), np.square(0.5 + rng.rand(400)), 2.0 * rng.randn(4)
    if equal_means:  # the errors of all pairs of draws are then alike
        means, squares = np.zeros_like(means), np.ones(400)
    dofs = np.full(400, dof)
    dofs[0] = 1e6 if np.isinf(dof) else dof * (1.0 + 1e-9)
    assert_allclose(mixture_crps(means, squares, targets, dofs), mixture_crps(means, squares, targets, dof), atol=3e-5)


def test_crps_of_student_s_t_with_many_degrees_of_freedom(draws):
    assert_allclose(mixture_crps(*draws, 1e9), mixture_crps(*draws), rtol=1e-5)


def test_crps_against_properscoring(draws):
    ps = pytest.importorskip("properscoring")
    means, variances, targets = draws
    assert_allclose(mixture_crps(means[:1], variances[:1], targets),
                    ps.crps_gaussian(targets, means[0], variances[0]**0.5), atol=1e-6)
    assert_allclose(mixture_crps(means, np.full(7, 1e-18), targets), ps.crps_ensemble(targets, means, axis=0),
                    atol=1e-6)


def test_calibration_area_against_uncertainty_toolbox(rng):
    calibration = pytest.importorskip("uncertainty_toolbox.metrics_calibration")
    mean, std = rng.randn(200), 0.5 + rng.rand(200)
    targets = mean + 1.4 * std * rng.randn(200)
    cdf = stats.norm.cdf(targets, mean, std)
    _, coverage = calibration.get_proportion_lists_vectorized(mean, std, targets, num_bins=101, prop_type="interval")
    assert_allclose(coverage_curve(cdf), coverage[1:-1], atol=1e-6)
    nothing = np.zeros(200)
    prediction = Prediction(mean, std, nothing, nothing, cdf, nothing)
    metrics = values_of(more_regression_statistics(prediction, nothing, targets), 200)
    assert metrics["calibration_area"] == pytest.approx(np.mean(np.abs(coverage[1:-1] - LEVELS)), abs=1e-6)
    assert metrics["sharpness"] == pytest.approx(std.mean())
    assert metrics["coverage_90"] == pytest.approx(coverage[90])


def test_regression_statistics_are_those_of_training(draws):
    means, variances, targets = draws
    prediction = predict(means, 1.0 / variances, targets, 0.0, 1.0)
    crps = mixture_crps(means, variances, targets)
    metrics = with_intervals(more_regression_statistics(prediction, crps, targets), 30, 200)
    assert metrics["rmse"].value == pytest.approx(np.sqrt(np.mean((means.mean(axis=0) - targets)**2)))
    assert metrics["log_likelihood"].value == pytest.approx(prediction.log_prob.mean())
    assert metrics["crps"].value == pytest.approx(crps.mean())
    assert all(interval.low <= interval.value <= interval.high for interval in metrics.values())
