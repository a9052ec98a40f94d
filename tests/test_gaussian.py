"""Each posterior against the dense Gaussian it stands for."""
import numpy as np
import pytest
import scipy.stats
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose

from core.inference.gaussian import Prior
from core.inference.kfac import solve_damped
from core.inference.normals import box_muller, normals
from core.inference.posteriors import EigenMatrixNormal, FullyFactorized, MatrixNormal, PointMass
from core.inference.solvers import DEFAULT
from tests import reference

MEAN = np.array([[0.3, -0.2], [1.0, 0.5], [-0.7, 0.1]])
PRIOR = Prior(n_data=50, kl_weight=0.5, prior_var=2.0)


def matrix_normal(rng):
    a_cov, s_cov = reference.random_cov(rng, 3), reference.random_cov(rng, 2)
    roots = solve_damped(DEFAULT.root, tf.constant(a_cov), tf.constant(s_cov), PRIOR.damping)
    dense = PRIOR.temperature() * np.linalg.inv(reference.damped_kron(a_cov, s_cov, PRIOR.damping))
    return MatrixNormal(tf.constant(MEAN), roots[0], roots[1], PRIOR.temperature()), dense


def eigen_matrix_normal(rng):
    q_a, q_s = (np.linalg.qr(rng.randn(d, d))[0] for d in (3, 2))
    scale = rng.gamma(2.0, size=(3, 2))
    q = np.kron(q_a, q_s)
    dense = (q * (PRIOR.temperature() / (scale.ravel() + PRIOR.damping))) @ q.T
    variance = tf.constant(PRIOR.temperature() / (scale + PRIOR.damping))
    return EigenMatrixNormal(tf.constant(q_a.T @ MEAN @ q_s), tf.constant(q_a), tf.constant(q_s), variance), dense


def fully_factorized(rng):
    variance = rng.gamma(2.0, size=(3, 2))
    return FullyFactorized(tf.constant(MEAN), tf.constant(variance)), np.diag(variance.ravel())


FAMILIES = [matrix_normal, eigen_matrix_normal, fully_factorized]


def test_prior_units():
    assert PRIOR.temperature() == 0.01
    assert PRIOR.damping == 0.005


@pytest.mark.parametrize("family", FAMILIES)
def test_kl_is_the_dense_kl(session, rng, family):
    posterior, dense = family(rng)
    assert_allclose(session.run(posterior.kl(2.0)), reference.gaussian_kl(MEAN.ravel(), dense, 2.0), rtol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_std_is_the_dense_diagonal(session, rng, family):
    posterior, dense = family(rng)
    assert_allclose(session.run(posterior.std()).ravel(), np.sqrt(np.diag(dense)), rtol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_log_prob_is_that_of_the_dense_normal(session, rng, family):
    posterior, dense = family(rng)
    weights = MEAN + 0.1 * rng.randn(5, 3, 2)
    expected = scipy.stats.multivariate_normal.logpdf(weights.reshape(5, -1), MEAN.ravel(), dense)
    assert_allclose(session.run(posterior.log_prob(tf.constant(weights))), expected, rtol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_samples_have_mean_and_covariance_of_the_formula(session, rng, family):
    posterior, dense = family(rng)
    draws = 40000
    w = session.run(posterior.sample(draws, tf.constant([1, 2]))).reshape(draws, -1)
    # Standard errors: of a mean at most sqrt(max var / draws), of a covariance sqrt(2 / draws) max var.
    largest = np.diag(dense).max()
    assert_allclose(w.mean(axis=0), MEAN.ravel(), atol=5 * np.sqrt(largest / draws))
    assert_allclose(np.cov(w.T), dense, atol=5 * np.sqrt(2 / draws) * largest)


def test_samples_are_a_function_of_seed_and_step(session, rng):
    posterior, _ = eigen_matrix_normal(rng)
    first, again, later, other = (session.run(posterior.sample(3, tf.constant(seed)))
                                  for seed in ([7, 1], [7, 1], [7, 2], [8, 1]))
    assert (first == again).all()
    assert (first != later).all() and (first != other).all()


def test_noise_is_the_same_on_every_tensorflow(session):
    noise = session.run(FullyFactorized(tf.zeros([2, 2]), tf.ones([2, 2])).sample(1, tf.constant([5, 6])))
    assert_allclose(noise.ravel(), [1.023984, -0.538789, 1.279553, 0.91201], rtol=1e-5)


def test_point_mass(session):
    posterior = PointMass(tf.constant(MEAN))
    assert_allclose(session.run(posterior.sample(2, None)), [MEAN, MEAN])
    log_prior = -0.5 * (MEAN**2 / 2.0 + np.log(2 * np.pi * 2.0)).sum()
    assert_allclose(session.run(posterior.kl(2.0)), -log_prior, rtol=1e-12)
    assert (session.run(posterior.std()) == 0).all()


# Many numbers at once.

def test_box_muller_makes_standard_normal_numbers(session):
    """Moments, tails, independence of the members of a pair and of neighbours, and both ends of the order."""
    shape = [3, 500, 401]  # an odd number of numbers
    numbers = session.run(box_muller(shape, tf.constant([5, 6]), tf.float32))
    flat, n = numbers.ravel(), numbers.size
    assert numbers.shape == tuple(shape) and np.isfinite(flat).all() and np.abs(flat).max() < 5.8
    for power, expected, std in ((1, 0.0, 1.0), (2, 1.0, 2.0**0.5), (3, 0.0, 15.0**0.5), (4, 3.0, 96.0**0.5)):
        assert abs(np.mean(flat.astype(float)**power) - expected) < 4.0 * std / n**0.5
    assert scipy.stats.kstest(flat[::7].astype(float), "norm").pvalue > 1e-3
    half = (n + 1) // 2
    for lag in (1, half):
        assert abs(np.mean(flat[:-lag] * flat[lag:])) < 4.0 / (n - lag)**0.5
        assert abs(np.mean((flat[:-lag]**2 - 1.0) * (flat[lag:]**2 - 1.0))) < 4.0 * 2.0 / (n - lag)**0.5


def test_large_layers_draw_by_box_muller_from_the_seed(session):
    shape = [2, 130, 127]
    drawn, again, other = (session.run(normals(shape, tf.constant([5, number]), tf.float64)) for number in (6, 6, 7))
    assert_allclose(drawn, session.run(box_muller(shape, tf.constant([5, 6]), tf.float64)))
    assert (drawn == again).all() and (drawn != other).all()
    small = session.run(normals([2, 127, 127], tf.constant([5, 6]), tf.float64))
    assert_allclose(small, session.run(tf.random.stateless_normal([2, 127, 127], seed=[5, 6], dtype=tf.float64)))


def test_the_number_of_draws_may_be_a_tensor(session):
    """As ZhuSuan gives it."""
    n_draws, seed = tf.placeholder(tf.int32, []), tf.constant([5, 6])
    for further in ([130, 127], [3, 2]):
        drawn = session.run(normals([n_draws, *further], seed, tf.float64), {n_draws: 3})
        assert (drawn == session.run(normals([3, *further], seed, tf.float64))).all()
