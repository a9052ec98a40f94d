import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose

from core.inference import optimizer
from core.inference.adam import adam_step
from core.inference.batch import Score, elbo_gradient, layer_batch
from core.inference.ekfac import EKFAC
from core.inference.factors import STATISTICS
from core.inference.families import Batch, Diagonal
from core.inference.gaussian import Prior
from core.inference.step_sizes import StepSizes
from misc.errors import UserError
from networks.layers import LayerRecord, LayerSpec

SPEC = LayerSpec("dense0", "dense", 3, 2)


def layer(family, config, noisy=True):
    return optimizer.LayerMethod(SPEC, family(Prior(20, 0.6, 0.5), config), noisy)


def test_gradient_of_the_bound_has_the_prior_at_the_drawn_weights(session, rng):
    """v = d/dw [ E log p - gamma_in / 2 |w|^2 ], mean over examples and particles, by autodiff."""
    prior, k, n = Prior(20, 0.6, 0.5), 3, 5
    a, y, w = tf.constant(rng.randn(1, n, 4)), tf.constant(rng.randn(n, 2)), tf.constant(rng.randn(k, 4, 2))
    s = tf.matmul(a + tf.zeros([k, 1, 1], tf.float64), w)
    log_prob = -0.5 * tf.reduce_sum(tf.square(y - s)) / n
    bound = log_prob - 0.5 * prior.damping * tf.reduce_sum(tf.square(w))
    by_autodiff = tf.reduce_mean(tf.gradients(bound, w)[0], axis=0)
    batch = layer_batch(LayerRecord(SPEC, a, s), Score(y - s), Score(None), w, w[0], prior, 1.0)
    got, expected, noise = session.run([batch.grad, by_autodiff, batch.noise])
    assert_allclose(got, expected, rtol=1e-10)
    assert_allclose(noise[0], 0.0)


def test_unit_step_reaches_the_exact_posterior_mean(session, rng, config):
    """In a linear model with unit noise, one EK-FAC step of length 1 from any point ends at the exact mean."""
    n, prior = 20, Prior(n_data=20, kl_weight=6.0, prior_var=1.0)  # gamma_in = 0.3
    x, y, start = rng.randn(n, 4), rng.randn(n, 1), rng.randn(4, 1)
    plan = optimizer.LayerMethod(LayerSpec("dense0", "dense", 3, 1), EKFAC(prior, config()), False)
    grad = elbo_gradient(tf.constant(x.T @ (y - x @ start) / n), tf.constant(start), prior)
    unit_errors = tf.ones([1, n, 1], tf.float64)
    batch = Batch(tf.constant(x[None]), None, unit_errors, None, grad, STATISTICS["dense"](None))
    one = tf.constant(1.0, tf.float64)
    state = optimizer.initial_state(plan, tf.constant(start))
    step_sizes = StepSizes(one, one, one, one, 1.0)
    new = optimizer.averaged_step(plan, state, batch, step_sizes, 0.9, {"cov", "basis", "scale"})
    exact = np.linalg.solve(x.T @ x / n + 0.3 * np.eye(4), x.T @ y / n)
    assert_allclose(session.run(plan.weights(new)), exact, rtol=1e-9)


def test_momentum_is_a_bias_corrected_average(session, config):
    plan = layer(Diagonal, config(), noisy=False)
    state = optimizer.initial_state(plan, tf.zeros([4, 2], tf.float64))
    grads = [np.full((4, 2), value) for value in (1.0, 3.0)]
    for number, grad in enumerate(grads, start=1):
        batch = Batch(None, None, None, None, tf.constant(grad), STATISTICS["dense"](None))
        step_sizes = StepSizes(tf.constant(0.5, tf.float64), None, None, tf.constant(float(number), tf.float64), 1.0)
        state = optimizer.averaged_step(plan, state, batch, step_sizes, 0.9, frozenset())
    mean = session.run(state["mean"])
    direction = [1.0, (0.1 * 3.0 + 0.9 * 0.1 * 1.0) / (1 - 0.81)]
    assert_allclose(mean, 0.5 * sum(direction) / (1.0 + 0.06), rtol=1e-10)  # f = 1, gamma_in = 0.06


def test_adam_against_the_algorithm_written_out(session, rng):
    grads = rng.randn(4, 3)
    m = v = np.zeros(3)
    average, square = tf.zeros([3], tf.float64), tf.zeros([3], tf.float64)
    for t, grad in enumerate(grads, start=1):
        m, v = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad**2
        expected = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        direction, average, square = adam_step(tf.constant(grad), average, square, tf.constant(float(t), tf.float64))
        assert_allclose(session.run(direction), expected, rtol=1e-10)


def test_adam_method_is_adam(session, rng, config):
    plan = layer(optimizer.METHODS["adam"].family, config(), noisy=False)
    state = optimizer.initial_state(plan, tf.zeros([4, 2], tf.float64))
    average, square, mean = (tf.zeros([4, 2], tf.float64) for _ in range(3))
    for t in range(1, 4):
        grad, now = tf.constant(rng.randn(4, 2)), tf.constant(float(t), tf.float64)
        state = optimizer.averaged_step(plan, state, Batch(None, None, None, None, grad, None),
                               StepSizes(tf.constant(0.1, tf.float64), None, None, now, 1.0), 0.9, frozenset())
        direction, average, square = adam_step(grad, average, square, now)
        mean += 0.1 * direction
    got, expected = session.run([state["mean"], mean])
    assert_allclose(got, expected, rtol=1e-10)


@pytest.mark.parametrize("choice, kind", [("refuse", "refused"), ("diagonal", "diagonal"), ("point", "point")])
def test_layers_with_too_large_factors(config, choice, kind):
    cfg = config(max_factor_dim=4, large_layers=choice)
    specs = [LayerSpec("dense0", "dense", 3, 4), LayerSpec("dense1", "dense", 4, 1)]
    plans = optimizer.layer_methods(cfg, specs, Prior(20, 1.0, 1.0))
    assert [plan.kind for plan in plans] == ["structured", kind]
    if kind == "refused":
        with pytest.raises(UserError, match="layer dense1 needs factors of 5 and 1, max_factor_dim is 4"):
            optimizer.check_layers(plans, cfg)
    else:
        optimizer.check_layers(plans, cfg)


def test_every_method_has_the_posterior_it_says(config):
    expected = {"ekfac": "structured", "kfac": "structured", "diag": "diagonal", "bbb": "diagonal",
                "ekfac_point": "point", "kfac_point": "point", "adam": "point", "sgd": "point"}
    kinds = {name: optimizer.layer_methods(config(optimizer=name), [SPEC], Prior(20, 1.0, 1.0))[0].kind
             for name in expected}
    assert kinds == expected
