"""Weights that are not multiplied out (FactoredWeights) train exactly like drawn weights."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose

from core.inference import batch, kfac, optimizer, posteriors
from core.inference.eigen_kfac import EigenKFAC
from core.inference.ekfac import EKFAC
from core.inference.gaussian import Prior
from core.inference.linalg import inverse_root
from core.inference.posteriors import EigenMatrixNormal, MatrixNormal
from core.inference.solvers import DEFAULT
from networks.layers import ACTIVATIONS, LayerBuilder, LayerSpec
from tests.test_model import Run, flat

SEED = [3, 4]


def both_posteriors(rng):
    """Returns both structured posteriors of a layer [4, 3], in float64."""
    a, s = (tf.constant(np.cov(rng.randn(d, 3 * d))) for d in (4, 3))
    mean = tf.constant(rng.randn(4, 3))
    bases = [tf.linalg.eigh(matrix)[1] for matrix in (a, s)]
    return [EigenMatrixNormal(mean, *bases, tf.constant(rng.rand(4, 3) + 0.1)),
            MatrixNormal(mean, inverse_root(a, 0.1), inverse_root(s, 0.2), 0.3)]


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("n_copies", [1, 2])
def test_they_are_the_weights_that_sample_draws(session, rng, which, n_copies):
    posterior = both_posteriors(rng)[which]
    rows = tf.constant(rng.randn(n_copies, 5, 3))
    factored, drawn = posterior.sample_factored(2, SEED), posterior.sample(2, SEED)
    outputs = []
    for weights in (factored, drawn):
        layers = LayerBuilder([LayerSpec("dense0", "dense", 3, 3)], [weights], ACTIVATIONS["tanh"])
        outputs.append(layers.dense(rows, 3))
    assert_allclose(*session.run(outputs), rtol=1e-9, atol=1e-12)


def train(config, monkeypatch, factored, **values):
    """Returns the state after seven steps with two refreshes in float64."""
    monkeypatch.setattr(optimizer.LayerMethod, "rotates_rows", lambda self, *sizes: factored and self.noisy)
    return flat(Run(config(precision="float64", hidden=[6], batch_size=5, Teigen=3, **values)).steps(7))


def assert_same(one, other):
    for name in other:
        if not name.endswith(("/q_a", "/q_s")):  # columns have any sign
            assert_allclose(np.abs(one[name]), np.abs(other[name]), rtol=1e-6, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("values", [
    {}, dict(kfac_init_after_basis=False, basis_tolerance=0.2), dict(true_fisher=False, TScale=2, TCov=1)])
def test_noisy_ekfac_takes_the_same_steps(config, monkeypatch, values):
    assert_same(*(train(config, monkeypatch, factored, **values) for factored in (True, False)))


@pytest.mark.parametrize("values", [{}, dict(damping=0.1, TInv=2)])
def test_noisy_kfac_takes_the_same_steps_but_for_the_prior(config, monkeypatch, values):
    """The prior's gradient is at the mean of the posterior instead of the mean of the drawn weights."""
    values, gradient = dict(values, optimizer="kfac"), batch.elbo_gradient
    with_prior = [train(config, monkeypatch, factored, **values)["dense0/mean"] for factored in (True, False)]
    monkeypatch.setattr(batch, "elbo_gradient", lambda grad, mean_weights, prior, kl_scale: grad)
    assert_same(*(train(config, monkeypatch, factored, **values) for factored in (True, False)))
    assert 1e-7 < np.abs(with_prior[0] - with_prior[1]).max() < 0.1
    monkeypatch.setattr(batch, "elbo_gradient", gradient)


@pytest.mark.parametrize("values", [dict(damping=0.1), dict(TInv=2, TCov=2)])
def test_noisy_kfac_takes_the_same_steps_in_its_eigenbasis(config, monkeypatch, values):
    """Without noise, whose coordinates differ, the step is the same; under auto_refresh alone it is chosen."""
    monkeypatch.setattr(posteriors, "_noise", lambda mean, n_particles, seed: tf.zeros(
        [n_particles, *mean.shape.as_list()], mean.dtype))
    means = []
    for auto_refresh in (True, False):
        monkeypatch.setattr(optimizer.LayerMethod, "rotates_rows",
                            lambda self, n_rows, n_particles, rotates=auto_refresh: rotates and self.noisy)
        run = Run(config(precision="float64", hidden=[6], batch_size=5, optimizer="kfac", auto_refresh=auto_refresh,
                         **values))
        assert all(isinstance(layer.family, EigenKFAC) == auto_refresh for layer in run.model.design.layers)
        state = run.steps(7)
        means.append([entries["q_a"] @ entries["mean"] @ entries["q_s"].T if auto_refresh else entries["mean"]
                      for entries in (state[layer.spec.name] for layer in run.model.design.layers)])
    for one, other in zip(*means):
        assert_allclose(one, other, rtol=1e-7, atol=1e-10)


def test_the_gradient_of_the_prior_is_at_the_posterior_mean(session, rng):
    spec, prior = LayerSpec("dense0", "dense", 3, 3), Prior(20, 0.6, 0.5)
    posterior = both_posteriors(rng)[1]
    weights, rows = posterior.sample_factored(2, SEED), tf.constant(rng.randn(1, 5, 3))
    layers = LayerBuilder([spec], [weights], ACTIVATIONS["tanh"])
    score = batch.Score(tf.zeros_like(layers.dense(rows, 3)), tf.zeros([2, 5, 3], tf.float64))
    made = batch.layer_batch(layers.records[0], score, score, weights, posterior.mean, prior, 0.5)
    got, mean = session.run([made.grad, posterior.mean])
    assert_allclose(got, -0.5 * prior.damping * mean, rtol=1e-9)
    assert made.rotated is None


@pytest.mark.parametrize("damping", [0.0, 0.1])
def test_inverses_that_are_kept_make_the_same_step(session, rng, config, monkeypatch, damping):
    """Under auto_refresh, wide layers keep the inverses of the step instead of multiplying by roots twice."""
    monkeypatch.setattr(kfac, "LAPACK_MIN_DIM", 4)
    grad, prior = tf.constant(rng.randn(4, 3)), Prior(20, 0.6, 0.5)
    factors = {"a_cov": tf.constant(np.cov(rng.randn(4, 9))), "s_cov": tf.constant(np.cov(rng.randn(3, 9)))}
    steps = []
    for auto_refresh in (True, False):
        family = kfac.KFAC(prior, config(damping=damping, auto_refresh=auto_refresh))
        state = dict(factors, **family._decompositions(DEFAULT, factors, {}))
        assert ("step_inverse_a" in state) == (auto_refresh or damping > 0)
        assert set(family.init((4, 3), tf.float64)) == set(state)
        steps.append(family.precondition(grad, state))
    assert_allclose(*session.run(steps), rtol=1e-9)


def test_the_choice_follows_the_sizes(config):
    def method(d_in, d_out, kind="dense", family=None, **fields):
        return optimizer.LayerMethod(LayerSpec("layer", kind, d_in, d_out, **fields), family, True)

    assert method(512, 512).rotates_rows(128, 1)
    assert not method(512, 512).rotates_rows(200, 1)   # more rows than a third of the layer
    assert not method(50, 512).rotates_rows(128, 1)    # a narrow side: the weights are small
    assert not method(100, 100).rotates_rows(10, 1)    # bound by the dispatch of ops
    small, family = dict(n_locations=4, filled=4 / 9), EKFAC(Prior(20, 0.6, 0.5), config())
    assert method(2304, 256, "conv2d", family, **small).rotates_rows(64, 1)
    assert not method(2304, 256, "conv2d", family, **small).rotates_rows(128, 1)
    assert method(2304, 256, "conv2d", family, **small).rotates_rows(90, 1)      # the gradient is not rotated, either:
    assert not method(2304, 256, "conv2d", family, **small).rotates_rows(90, 2)  # it is one for all draws of a step
    assert not method(2304, 256, "conv2d", family, n_locations=4).rotates_rows(64, 1)  # without padding: more numbers
    assert not method(2304, 256, "conv2d", **small).rotates_rows(64, 1)  # not in the eigenbasis
