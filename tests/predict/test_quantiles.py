"""Quantiles of a mixture over weight draws, against bisection on its distribution function by scipy."""
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from core.metrics import quantiles
from core.metrics.quantiles import mixture_quantiles, noise_quantile

LEVELS = (1e-9, 0.001, 0.05, 0.3, 0.5, 0.95, 0.999, 1 - 1e-9)


def cdf_of(dofs):
    """Returns the distribution functions of the noise of scale 1 for the degrees of freedom of every draw, [K, 1]."""
    def cdf(t):
        return np.array([stats.norm.cdf(row) if np.isinf(dof) else stats.t.cdf(row, dof)
                         for row, dof in zip(t, dofs)])

    return cdf


def bisected(outputs, precisions, level, dofs):
    """Returns the quantile [n] of every row to the last bits of float64; above the median, that of the mirror image."""
    if level > 0.5:
        return -bisected(-outputs, precisions, 1.0 - level, dofs)
    scales = 1.0 / np.sqrt(precisions if precisions.ndim == 2 else precisions[:, None])
    outputs, cdf = np.broadcast_to(outputs, (len(scales), outputs.shape[1])), cdf_of(dofs)
    own = outputs + scales * np.array([noise_quantile(level, dof) for dof in dofs])[:, None]
    low, high = own.min(axis=0) - 1e-9, own.max(axis=0) + 1e-9
    for _ in range(80):
        middle = 0.5 * (low + high)
        below = cdf((middle - outputs) / scales).mean(axis=0) < level
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return low


def check(outputs, precisions, dof=np.inf, levels=LEVELS, tolerance=2e-8):
    """Asserts that the error is below `tolerance` of the smallest noise scales."""
    found = mixture_quantiles(outputs, precisions, levels, dof)
    smallest = 1.0 / np.sqrt(precisions.max(axis=0))
    dofs = np.broadcast_to(dof, len(precisions))
    assert found.shape == (len(levels), outputs.shape[1])
    for level, values in zip(levels, found):
        error = np.abs(values - bisected(outputs, precisions, level, dofs)) / smallest
        assert error.max() < tolerance, (level, error.max())


@pytest.mark.parametrize("dof", [np.inf, 2.5, 8.0, 1e3, 1e7])
def test_mixtures(rng, dof):
    """More rows than are treated at once, and extreme levels of a few."""
    outputs, precisions = 0.7 * rng.randn(11, 300).astype(np.float32), rng.gamma(5.0, 0.3, 11)
    check(outputs, precisions, dof, LEVELS[1:-1])
    check(outputs[:, :7], precisions, dof, (LEVELS[0], LEVELS[-1]), 1e-6)


def test_degrees_of_freedom_of_each_draw(rng):
    dof = np.array([np.inf, 3.0, 8.0, np.inf, 3.0])
    check(rng.randn(5, 40), rng.gamma(5.0, 0.3, 5), dof, LEVELS[1:-1])


@pytest.mark.parametrize("dof", [np.inf, 4.0])
def test_precisions_of_each_row(rng, dof):
    check(rng.randn(6, 290), rng.gamma(2.0, 0.5, (6, 290)), dof, LEVELS[1:-1])
    precisions = rng.gamma(2.0, 0.5, (6, 1))  # the same for all rows
    outputs = rng.randn(6, 9)
    assert_allclose(mixture_quantiles(outputs, np.repeat(precisions, 9, axis=1), LEVELS, dof),
                    mixture_quantiles(outputs, precisions[:, 0], LEVELS, dof), rtol=0, atol=1e-7)


@pytest.mark.parametrize("dof", [np.inf, 4.0])
def test_one_draw_has_the_quantile_of_its_noise(rng, dof):
    outputs, levels = rng.randn(1, 5), (1e-12, *LEVELS)
    exact = np.array([outputs[0] + 0.5 * noise_quantile(level, dof) for level in levels])
    assert_allclose(mixture_quantiles(outputs, np.array([4.0]), levels, dof), exact, rtol=1e-12)


def test_outputs_without_weight_noise_are_those_of_every_precision(rng):
    outputs, precisions = rng.randn(1, 5), rng.gamma(2.0, 0.5, 8)
    check(outputs, precisions)
    check(outputs, precisions, np.array([np.inf, 5.0] * 4), LEVELS[1:-1])


@pytest.mark.parametrize("gap", [10.0, 1e3, 1e6])
def test_components_far_from_each_other(gap):
    """Where the density between them underflows, every point has the same probability below it."""
    outputs = np.array([[0.0], [0.0], [gap], [2 * gap]])
    precisions = np.array([1.0, 4.0, 25.0, 0.25])
    levels = (0.01, 0.2, 0.49, 0.51, 0.6, 0.74, 0.76, 0.99)
    check(outputs, precisions, levels=levels, tolerance=1e-6)
    assert 3.0 < mixture_quantiles(outputs, precisions, [0.5])[0, 0] < gap


def test_scales_that_differ_by_orders_of_magnitude(rng):
    """The error is small beside the smallest of the scales, not the largest."""
    check(0.01 * rng.randn(4, 30), np.array([1e8, 1e8, 1e-2, 1.0]), levels=(0.2, 0.3, 0.5, 0.7), tolerance=1e-5)


def test_smallest_precisions_leave_finite_quantiles(rng):
    """Draws of a Gamma distribution of tiny shape: noise scales up to 1e15."""
    found = mixture_quantiles(rng.randn(5, 7), np.array([1e-30, 1e-20, 1.0, 2.0, 3.0]), (0.05, 0.5, 0.95))
    assert np.isfinite(found).all() and (np.diff(found, axis=0) > 0).all()
    assert (np.abs(found[1]) < 10).all()


def test_the_distribution_of_the_standardised_target_is_uniform(rng):
    """A quantile of a mixture of one component per row, drawn at random, is exceeded as often as it says."""
    outputs, precisions = rng.randn(20, 1), rng.gamma(5.0, 0.3, 20)
    chosen = rng.randint(20, size=200000)
    samples = outputs[chosen, 0] + rng.standard_t(5.0, 200000) / np.sqrt(precisions[chosen])
    found = mixture_quantiles(outputs, precisions, (0.05, 0.5, 0.95), 5.0)[:, 0]
    shares = [(samples < quantile).mean() for quantile in found]
    assert_allclose(shares, (0.05, 0.5, 0.95), atol=4 * 0.5 / np.sqrt(200000))


@pytest.mark.parametrize("dof", [2.01, 3.0, 8.0, 30.0, 300.0, 1e4, 1e8])
def test_table_of_students_distribution(dof):
    """Between nodes, far in the tails, and for nearly Gaussian noise."""
    t = np.concatenate([np.linspace(-40, 40, 20001), np.logspace(-8, 6, 500), -np.logspace(-8, 6, 500)])
    table, exact = quantiles._cdf(dof)(t), stats.t.cdf(t, dof)
    assert_allclose(table, exact, rtol=0, atol=1e-11)
    tail = (t < -2) & (exact > 1e-12)
    assert_allclose(table[tail], exact[tail], rtol=1e-6)


@pytest.mark.parametrize("dof", [np.inf, 2.5, 8.0])
def test_slopes_of_the_density(dof):
    """Minus the derivative of the log density, by differences."""
    t, h = np.linspace(-6, 6, 25), 1e-5
    density, decline = quantiles._density(dof), quantiles._decline(dof)
    assert_allclose(decline(t), (np.log(density(t - h)) - np.log(density(t + h))) / (2 * h), atol=1e-8)
    assert_allclose(density(t), stats.norm.pdf(t) if np.isinf(dof) else stats.t.pdf(t, dof), rtol=1e-12)
