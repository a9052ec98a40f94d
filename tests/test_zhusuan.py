"""Our posteriors and networks in ZhuSuan, against dense matrices, closed forms and ZhuSuan's own objectives."""
import numpy as np
import pytest
import scipy.stats
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose

from core.inference.posteriors import PointMass
from core.zhusuan_bridge import INSTALL
from misc.errors import UserError
from tests.test_gaussian import FAMILIES, MEAN, PRIOR, fully_factorized, matrix_normal

pytest.importorskip("zhusuan", reason=f"ZhuSuan is not installed: {INSTALL}")

from core.zhusuan_bridge.distributions import LogGamma, distribution
from core.zhusuan_bridge.library import zs


@pytest.fixture(autouse=True)
def seeded(session):
    """Every test: a session, whose random numbers are the same in every run."""
    tf.set_random_seed(1)


# Distributions.

@pytest.mark.parametrize("family", FAMILIES)
def test_log_prob_is_that_of_the_dense_normal(session, rng, family):
    posterior, dense = family(rng)
    ours, normal = distribution(posterior), scipy.stats.multivariate_normal(MEAN.ravel(), dense)
    given = MEAN + 0.1 * rng.randn(5, 4, 3, 2)
    expected = normal.logpdf(given.reshape(5, 4, -1))
    log_prob, prob = session.run([ours.log_prob(given), ours.prob(given)])
    assert_allclose(log_prob, expected, rtol=1e-10)
    assert_allclose(prob, np.exp(expected), rtol=1e-8)
    assert_allclose(session.run(ours.log_prob(given[0, 0])), expected[0, 0], rtol=1e-10)
    row = given[:, :, :1]  # broadcast over the rows of the matrix
    assert_allclose(session.run(ours.log_prob(row)),
                    normal.logpdf(np.broadcast_to(row, given.shape).reshape(5, 4, -1)), rtol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_samples_have_the_mean_and_covariance_of_the_dense_normal(session, rng, family):
    posterior, dense = family(rng)
    ours, n_draws = distribution(posterior), 40000
    draws, mean, std = session.run([ours.sample(n_draws), ours.mean, ours.std])
    largest = np.diag(dense).max()
    assert_allclose(draws.mean(axis=0), MEAN, atol=5 * np.sqrt(largest / n_draws))
    assert_allclose(np.cov(draws.reshape(n_draws, -1).T), dense, atol=5 * np.sqrt(2 / n_draws) * largest)
    assert_allclose(mean, MEAN, rtol=1e-12)
    assert_allclose(std.ravel(), np.sqrt(np.diag(dense)), rtol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_shapes_are_those_of_zhusuan(session, rng, family):
    ours = distribution(family(rng)[0])
    if family is fully_factorized:
        theirs = zs.distributions.Normal(tf.constant(MEAN), std=tf.ones([3, 2], tf.float64), group_ndims=2)
    else:
        theirs = zs.distributions.MatrixVariateNormalCholesky(tf.constant(MEAN), tf.eye(3, dtype=tf.float64),
                                                              tf.eye(2, dtype=tf.float64))
    n_draws = tf.placeholder(tf.int32, [])
    for dist in (ours, theirs):
        assert (dist.dtype, dist.param_dtype, dist.is_continuous) == (tf.float64, tf.float64, True)
        assert (dist.get_batch_shape().as_list(), dist.get_value_shape().as_list()) == (
            ([3, 2], []) if family is fully_factorized else ([], [3, 2]))
        one, several, unknown = dist.sample(), dist.sample(5), dist.sample(n_draws)
        assert [t.shape.as_list() for t in (one, several, unknown)] == [[3, 2], [5, 3, 2], [None, 3, 2]]
        assert [dist.log_prob(t).shape.as_list() for t in (one, several, unknown)] == [[], [5], [None]]
        drawn = session.run([unknown, dist.log_prob(unknown)], {n_draws: 4})
        assert [values.shape for values in drawn] == [(4, 3, 2), (4,)]


def test_every_call_draws_anew_as_the_seed_says():
    drawn = []
    for seed in (5, 5, 6):
        with tf.Graph().as_default(), tf.Session() as session:
            tf.set_random_seed(seed)
            sample = distribution(matrix_normal(np.random.RandomState(0))[0]).sample(2)
            drawn.append(np.stack([session.run(sample), session.run(sample)]))
            assert len(np.unique(drawn[-1])) == drawn[-1].size
    assert (drawn[0] == drawn[1]).all() and (drawn[0] != drawn[2]).all()


def test_the_density_of_every_weight_with_no_axes_grouped(session, rng):
    posterior, dense = fully_factorized(rng)
    given = MEAN + rng.randn(4, 3, 2)
    expected = scipy.stats.norm.logpdf(given, MEAN, np.sqrt(np.diag(dense)).reshape(3, 2))
    for group_ndims, values in ((0, expected), (1, expected.sum(axis=-1))):
        ours = type(distribution(posterior))(posterior, group_ndims)
        assert_allclose(session.run(ours.log_prob(given)), values, rtol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_our_kl_is_the_mean_of_zhusuans_log_ratio(session, rng, family):
    posterior, _ = family(rng)
    prior = zs.distributions.Normal(tf.zeros([3, 2], tf.float64),
                                    std=tf.constant(np.sqrt(PRIOR.prior_var)), group_ndims=2)
    ours = distribution(posterior)
    draws = ours.sample(40000)
    exact, ratios = session.run([posterior.kl(PRIOR.prior_var), ours.log_prob(draws) - prior.log_prob(draws)])
    assert abs(exact - ratios.mean()) < 4.0 * ratios.std() / np.sqrt(len(ratios))


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_go_where_zhusuan_promises(session, rng, family):
    posterior, _ = family(rng)

    def slopes(of_sample, **options):
        mean = tf.Variable(posterior.mean)
        ours = distribution(posterior._replace(mean=mean), **options)
        tensor = ours.sample() if of_sample else ours.log_prob(MEAN + 0.1)
        return tf.gradients(tensor, mean)[0]

    assert slopes(True) is not None and slopes(True, is_reparameterized=False) is None
    assert slopes(False) is not None and slopes(False, use_path_derivative=True) is None


def test_log_gamma(session, rng):
    alpha, beta = np.array([2.0, 7.0, 0.8]), np.array([0.5, 3.0, 1.5])
    ours = LogGamma(tf.constant(alpha), tf.constant(beta), group_ndims=1)
    given = rng.randn(4, 3)
    expected = scipy.stats.loggamma.logpdf(given, alpha, loc=-np.log(beta)).sum(axis=-1)
    assert_allclose(session.run(ours.log_prob(given)), expected, rtol=1e-10)
    draws = session.run(ours.sample(40000))
    assert_allclose(np.exp(draws).mean(axis=0), alpha / beta, atol=(5 * np.sqrt(alpha / 40000) / beta).max())


def test_a_point_estimate_is_no_distribution(session):
    with pytest.raises(UserError, match="PointMass has no density.*weight noise"):
        distribution(PointMass(tf.constant(MEAN)))
