"""Our posteriors and networks in ZhuSuan, against dense matrices, closed forms and ZhuSuan's own objectives."""
import re

import numpy as np
import pytest
import scipy.stats
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose

from core.assessment.restore import restored
from core.inference.gaussian import Prior
from core.inference.noise_model import expected_log_prob
from core.inference.posteriors import MatrixNormal, PointMass
from core.training.design import design_run
from core.zhusuan_bridge import INSTALL
from data_loader.parts import Spec
from misc.config import Config
from misc.errors import UserError
from misc.records import read_rows
from tests.conftest import ROOT
from tests.test_gaussian import FAMILIES, MEAN, PRIOR, fully_factorized, matrix_normal

pytest.importorskip("zhusuan", reason=f"ZhuSuan is not installed: {INSTALL}")

from benchmarks import zhusuan_hmc
from core.zhusuan_bridge.distributions import LogGamma, StudentT, distribution
from core.zhusuan_bridge.library import zs
from core.zhusuan_bridge.models import Approximation, approximation, chains, network_model, variational_net


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


def test_student_t(session, rng):
    mean, log_precision = rng.randn(4, 3), np.array([0.4, -0.9, 1.3])
    ours = StudentT(tf.constant(mean), tf.constant(log_precision), 5.0, group_ndims=1)
    given, scale = rng.randn(4, 3), np.exp(-0.5 * log_precision)
    expected = scipy.stats.t.logpdf(given, 5.0, mean, scale)
    assert_allclose(session.run(ours.log_prob(given)), expected.sum(axis=-1), rtol=1e-10)
    draws = session.run(ours.sample(20000))
    assert_allclose(draws.std(axis=0), np.broadcast_to(scale * np.sqrt(5.0 / 3.0), (4, 3)), rtol=0.1)
    assert_allclose(np.median(draws, axis=0), mean, atol=0.06)


def test_a_point_estimate_is_no_distribution(session):
    with pytest.raises(UserError, match="PointMass has no density.*weight noise"):
        distribution(PointMass(tf.constant(MEAN)))


# Models. The linear network on 7 rows of 2 inputs and 2 targets is Bayesian linear regression: weights [3, 2].

N_ROWS = 7
LOG_PRECISION = np.array([1.1, 0.3])


@pytest.fixture
def linear(config, rng):
    """(Design, inputs [7, 2], targets [7, 2]) of a linear network with eta 2."""
    made = config(model_name="linear", eta=2.0)
    x, y = rng.randn(N_ROWS, 2), rng.randn(N_ROWS, 2)
    return design_run(made, Spec(N_ROWS, (2,), 2, None)), x, y


def with_ones(x):
    return np.hstack([x, np.ones((len(x), 1))])


def exact_posterior(x, y, eta):
    """(means [3, 2], covariances [2, 3, 3]) of the weights of each target given LOG_PRECISION."""
    a = with_ones(x)
    covariances = np.stack([np.linalg.inv(tau * a.T @ a + np.eye(3) / eta) for tau in np.exp(LOG_PRECISION)])
    means = np.stack([tau * cov @ a.T @ column for tau, cov, column in zip(np.exp(LOG_PRECISION), covariances, y.T)])
    return means.T, covariances


def log_prior_of_precision(design):
    alpha, beta = design.likelihood.prior
    return scipy.stats.loggamma.logpdf(LOG_PRECISION, alpha, loc=-np.log(beta)).sum()


def test_log_joint_is_that_of_the_formula(session, linear, rng):
    design, x, y = linear
    weights, log_precision = rng.randn(4, 3, 2), rng.randn(4, 2)
    model = network_model(design, tf.constant(x))
    net = model.observe(dense0=weights, log_precision=log_precision, y=y)
    alpha, beta = design.likelihood.prior
    expected = (scipy.stats.norm.logpdf(weights, 0.0, np.sqrt(2.0)).sum(axis=(1, 2))
                + scipy.stats.loggamma.logpdf(log_precision, alpha, loc=-np.log(beta)).sum(axis=1)
                + scipy.stats.norm.logpdf(y, with_ones(x) @ weights,
                                          np.exp(-0.5 * log_precision)[:, None]).sum(axis=(1, 2)))
    assert_allclose(session.run(net.log_joint()), expected, rtol=1e-10)


def test_minibatches_and_the_kl_weight_scale_the_likelihood(session, linear, rng):
    design, x, y = linear
    design = design._replace(prior=Prior(N_ROWS, 0.5, 2.0))
    latent = {"dense0": rng.randn(4, 3, 2), "log_precision": rng.randn(4, 2)}

    def likelihood(rows):
        """N / (lambda n) log p(y | ...) of some rows, [4]."""
        net = network_model(design, tf.constant(x[rows])).observe(y=y[rows], **latent)
        prior = net.cond_log_prob("dense0") + net.cond_log_prob("log_precision")
        scaled, bare = session.run([net.log_joint() - prior, net.cond_log_prob("y")])
        assert_allclose(scaled, bare * N_ROWS / (0.5 * len(rows)), rtol=1e-10)
        return scaled

    parts = 3 / 7 * likelihood([0, 2, 4]) + 4 / 7 * likelihood([1, 3, 5, 6])
    assert_allclose(parts, likelihood(range(N_ROWS)), rtol=1e-10)


def closed_form_bound(session, design, x, y, posterior, covariance, log_noise):
    """N times our objective per example, of a Gaussian q with this covariance of vec(W), row by row."""
    a = with_ones(x)
    spread = np.einsum("ni,ijkj,nk->nj", a, covariance.reshape(3, 2, 3, 2), a)
    mean_square = np.mean(np.square(y - a @ MEAN) + spread, axis=0)
    expected = session.run(expected_log_prob(tf.constant(log_noise), tf.constant(mean_square))).sum()
    kl = session.run(posterior.kl(design.prior.prior_var) + design.likelihood.kl_of(tf.constant(log_noise)))
    return N_ROWS * expected - design.prior.kl_weight * kl


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kl_weight", [1.0, 0.5])
def test_zhusuans_elbo_is_our_objective(session, linear, rng, family, kl_weight):
    design, x, y = linear
    design = design._replace(prior=Prior(N_ROWS, kl_weight, 2.0))
    posterior, dense = family(rng)
    log_noise = np.log([[6.0, 9.0], [4.0, 11.0]])
    q = variational_net(Approximation({"dense0": posterior}, tf.constant(log_noise)), 20000)
    bound = zs.variational.elbo(network_model(design, tf.constant(x)), {"y": y}, variational=q)
    values = kl_weight * session.run(bound.tensor)
    exact = closed_form_bound(session, design, x, y, posterior, dense, log_noise)
    assert values.shape == (20000,)
    assert abs(values.mean() - exact) < 4.0 * values.std() / np.sqrt(len(values))


def test_the_gradient_of_sgvb_is_that_of_the_closed_form(session, linear, rng):
    design, x, y = linear
    posterior, _ = matrix_normal(rng)
    mean = tf.Variable(posterior.mean)
    session.run(mean.initializer)
    q = variational_net(Approximation({"dense0": posterior._replace(mean=mean)}), 500)
    cost = zs.variational.elbo(network_model(design, tf.constant(x)), {"y": y, "log_precision": LOG_PRECISION},
                               variational=q, axis=0).sgvb()
    slope = tf.gradients(cost, mean)[0]
    slopes = np.stack([session.run(slope) for _ in range(40)])
    a = with_ones(x)
    exact = -(np.exp(LOG_PRECISION) * (a.T @ (y - a @ MEAN)) - MEAN / design.prior.prior_var)
    assert (np.abs(slopes.mean(axis=0) - exact) < 5.0 * slopes.std(axis=0) / np.sqrt(40)).all()
    assert (slopes.std(axis=0) < 0.2 * np.abs(exact).max()).all()


def exact_approximation(x, y, eta, tau):
    """The exact posterior of the weights for a precision tau of both targets, as the matrix normal that it is."""
    a = with_ones(x)
    precision = tau * a.T @ a + np.eye(3) / eta
    root = np.linalg.inv(np.linalg.cholesky(precision))
    mean = tau * np.linalg.solve(precision, a.T @ y)
    return MatrixNormal(*map(tf.constant, (mean, root, np.eye(2))), 1.0)


@pytest.mark.parametrize("bound", [
    zs.is_loglikelihood,
    lambda *args, proposal, axis: zs.variational.importance_weighted_objective(*args, variational=proposal, axis=axis)])
def test_importance_weighted_bounds_at_the_exact_posterior_are_the_evidence(session, linear, bound):
    design, x, y = linear
    tau, a = 1.7, with_ones(x)
    q = variational_net(Approximation({"dense0": exact_approximation(x, y, 2.0, tau)}), 3)
    noise = np.log([tau, tau])
    value = session.run(bound(network_model(design, tf.constant(x)), {"y": y, "log_precision": noise},
                              proposal=q, axis=0))
    evidence = scipy.stats.multivariate_normal.logpdf(y.T, np.zeros(N_ROWS), 2.0 * a @ a.T + np.eye(N_ROWS) / tau).sum()
    alpha, beta = design.likelihood.prior
    assert_allclose(value, evidence + scipy.stats.loggamma.logpdf(noise, alpha, loc=-np.log(beta)).sum(), rtol=1e-10)


def as_float32(posterior):
    return type(posterior)(*(tf.cast(entry, tf.float32) for entry in posterior))


def sampled(session, sample, states, n_discarded, n_kept):
    """The states [n_kept, n_chains, 3, 2] of the chains in the calls after the first n_discarded."""
    session.run(tf.global_variables_initializer())
    run = session.make_callable([states, sample])
    return np.stack([run()[0] for _ in range(n_discarded + n_kept)][n_discarded:])


def test_hmc_agrees_with_the_closed_form(session, linear, rng):
    design, x, y = linear
    start = chains(Approximation({"dense0": as_float32(fully_factorized(rng)[0])}), 40, seed=1)
    sampler = zs.HMC(step_size=0.1, n_leapfrogs=8)
    sample, info = sampler.sample(network_model(design, tf.constant(x, tf.float32)),
                                  {"y": np.float32(y), "log_precision": np.float32(LOG_PRECISION)}, start)
    states = sampled(session, sample, info.samples["dense0"], 50, 150)
    means, covariances = exact_posterior(x, y, 2.0)
    spread = np.sqrt(np.stack([np.diag(cov) for cov in covariances]).T)
    per_chain = states.mean(axis=0)  # the chains are independent
    assert (np.abs(per_chain.mean(axis=0) - means) < 4.0 * per_chain.std(axis=0) / np.sqrt(40)).all()
    assert (per_chain.std(axis=0) < 0.3 * spread).all()  # they mix, so that the test above means something
    for j, covariance in enumerate(covariances):
        drawn = np.cov(states[..., j].reshape(-1, 3).T)
        assert_allclose(drawn / np.outer(spread[:, j], spread[:, j]),
                        covariance / np.outer(spread[:, j], spread[:, j]), atol=0.1)
    assert 0.6 < session.run(info.acceptance_rate).mean() <= 1.0


def test_sgld_agrees_with_the_closed_form(session, linear, rng):
    design, x, y = linear
    start = chains(Approximation({"dense0": as_float32(fully_factorized(rng)[0])}), 100, seed=1)
    sample, info = zs.SGLD(learning_rate=0.02).sample(
        network_model(design, tf.constant(x, tf.float32)),
        {"y": np.float32(y), "log_precision": np.float32(LOG_PRECISION)}, start)
    states = sampled(session, sample, info.q["dense0"], 300, 600)
    means, covariances = exact_posterior(x, y, 2.0)
    spread = np.sqrt(np.stack([np.diag(cov) for cov in covariances]).T)
    per_chain = states.mean(axis=0)
    assert (np.abs(per_chain.mean(axis=0) - means) < 4.0 * per_chain.std(axis=0) / 10.0).all()
    assert_allclose(states.std(axis=(0, 1)), spread, rtol=0.1)


def test_chains_start_at_draws_of_the_posterior_and_of_the_seed(session, rng):
    posterior, dense = matrix_normal(rng)
    log_noise = tf.constant(np.log([[6.0, 9.0], [4.0, 11.0]]))
    variables = [chains(Approximation({"dense0": posterior}, log_noise), 4000, seed) for seed in (1, 1, 2)]
    session.run(tf.global_variables_initializer())
    first, again, other = session.run(variables)
    assert (first["dense0"] == again["dense0"]).all() and (first["dense0"] != other["dense0"]).all()
    assert_allclose(np.cov(first["dense0"].reshape(4000, -1).T), dense, atol=0.15 * np.diag(dense).max())
    assert_allclose(first["log_precision"], np.broadcast_to(np.log([1.5, 9 / 11]), (4000, 2)), rtol=1e-10)


@pytest.mark.parametrize("overrides", [
    dict(), dict(likelihood="student_t", noise_dof=4.0), dict(optimizer="kfac"), dict(optimizer="diag")])
def test_a_run_from_its_folder_is_sampled_from_its_posterior(finished_run, overrides):
    folder = finished_run(**overrides)[1]
    with restored(folder.root, {}) as run:
        found, design, data = approximation(run.model, run.session), run.design, run.data
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(1)
        start = chains(found, 3, seed=1)
        assert {name: v.shape.as_list() for name, v in start.items()} == {
            "dense0": [3, 4, 4], "dense1": [3, 5, 1], "log_precision": [3]}
        x, observed = tf.constant(data.train.x, tf.float32), {"y": np.float32(data.train.y)}
        model = network_model(design, x, 5)
        sample, info = zs.HMC(step_size=0.001, n_leapfrogs=5).sample(model, observed, start)
        bound = zs.variational.elbo(model, observed, variational=variational_net(found, 5), axis=0)
        session.run(tf.global_variables_initializer())
        before = session.run(start)
        rate = session.run([sample, info.acceptance_rate])[1]
        after = session.run(start)
        assert rate.shape == (3,) and rate.min() > 0.5
        assert all((before[name] != after[name]).any() for name in before)
        assert np.isfinite(session.run(bound))
        assert session.run(model.observe()["y"]).shape == (5, len(data.train.y))


def classes_design(**overrides):
    """Design of a network with one hidden layer of 4 units, for images [5, 3, 1] of 3 classes."""
    settings = dict(mode="classification", dataset="digits", optimizer="ekfac", model_name="ffn", hidden=[4], epoch=1,
                    batch_size=5, **overrides)
    return design_run(Config.from_dict(settings), Spec(N_ROWS, (5, 3, 1), 3, None))


def test_classes(session, rng):
    design = classes_design()
    x, y = rng.randn(N_ROWS, 5, 3, 1), rng.randint(3, size=N_ROWS)
    weights = {"dense0": rng.randn(6, 16, 4), "dense1": rng.randn(6, 5, 3)}
    net = network_model(design, tf.constant(x)).observe(y=y.astype(np.int32), **weights)
    outputs = session.run(net["outputs"])
    hidden = np.maximum(with_ones(x.reshape(N_ROWS, 15)) @ weights["dense0"], 0.0)
    expected = np.concatenate([hidden, np.ones((6, N_ROWS, 1))], axis=-1) @ weights["dense1"]
    assert_allclose(outputs, expected, rtol=1e-10)
    log_probs = expected - np.log(np.exp(expected).sum(axis=-1, keepdims=True))
    assert_allclose(session.run(net.cond_log_prob("y")), log_probs[:, np.arange(N_ROWS), y].sum(axis=1), rtol=1e-9)


def test_what_is_no_model_of_zhusuan_is_refused(config):
    with pytest.raises(UserError, match=r"^a network with batch normalisations .* set batch_norm to false$"):
        network_model(classes_design(batch_norm=True), tf.zeros([N_ROWS, 5, 3, 1]))
    noise = design_run(config(likelihood="heteroscedastic"), Spec(N_ROWS, (2,), 1, None))
    with pytest.raises(UserError, match=r"^ZhuSuan has no distribution .* \(HeteroscedasticLikelihood\).*$"):
        network_model(noise, tf.zeros([N_ROWS, 2]))


def test_the_examples_of_the_documentation_run(finished_run, tmp_path, capsys):
    page = (ROOT / "docs" / "zhusuan.md").read_text(encoding="utf-8")
    code = "".join(re.findall(r"(?ms)^```python\n(.*?)^```", page))
    assert code.count("experiments/concrete/ekfac_concrete") == 1
    root = finished_run()[1].root
    with tf.Graph().as_default():
        exec(compile(code.replace("experiments/concrete/ekfac_concrete", str(root)), "docs/zhusuan.md", "exec"), {})
    assert re.search(r"\(4, \d+, 1\) (1\.0|0\.\d+)\n\[.*\]\n\(5, 4, 4\) \[", capsys.readouterr().out)


def test_split_r_hat(rng):
    draws = rng.randn(4, 1000, 2)
    draws[:2, :, 1] += 2.0  # two chains elsewhere: variance 1 within, and 8 / 7 between the eight halves
    assert_allclose(zhusuan_hmc.split_r_hat(draws), [1.0, np.sqrt(1.0 + 8.0 / 7.0)], atol=0.03)


def test_the_benchmark_samples_on_from_a_run(config_file, tmp_path, monkeypatch, capsys):
    path, out = config_file(), tmp_path / "rows.csv"
    arguments = ["--data", "tiny", "--config", str(path), "--chains", "3", "--warmup", "12", "--samples", "6",
                 "--leapfrogs", "4", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["zhusuan_hmc", *arguments])
    zhusuan_hmc.main()
    row, = read_rows(out)
    assert list(row) == zhusuan_hmc.COLUMNS and row["method"] == "ekfac"
    values = {name: float(value) for name, value in row.items() if name not in ("data", "method")}
    assert np.isfinite(list(values.values())).all() and values["elbo"] < values["iw_bound"]
    assert 0.0 < values["acceptance"] <= 1.0 and "| tiny " in capsys.readouterr().out
