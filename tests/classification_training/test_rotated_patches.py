"""A convolution whose patches are rotated computes what one with rotated weights does."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose

from core.inference.batch import layer_batch
from core.inference.ekfac import EKFAC
from core.inference.gaussian import Prior
from core.inference.linalg import project
from core.inference.optimizer import LayerMethod
from core.training.graph import gradients
from networks.layers import ACTIVATIONS, LayerBuilder, layer_specs

PRIOR, SEED, SHAPE = Prior(20, 0.6, 0.5), [3, 4], (4, 3, 2)


def network(h, layers, n_outputs):
    h = layers.activate(layers.conv2d(h, 3))
    return layers.dense(layers.flatten(layers.conv2d(h, 2, (2, 3), stride=2)), n_outputs)


def random_state(rng, d_a, d_s):
    """Returns a state of noisy EK-FAC in float64."""
    bases = (np.linalg.qr(rng.randn(dim, dim))[0] for dim in (d_a, d_s))
    state = dict(zip(("q_a", "q_s"), bases), mean=rng.randn(d_a, d_s) / d_a, scale=rng.rand(d_a, d_s) + 0.1)
    return {name: tf.constant(value) for name, value in state.items()}


@pytest.mark.parametrize("n_particles, share", [(1, 1.0), (2, 0.5)])
def test_outputs_gradients_and_scales_are_the_same(session, rng, config, monkeypatch, n_particles, share):
    family = EKFAC(PRIOR, config(curvature_rows=share))
    layers = [LayerMethod(spec, family, True) for spec in layer_specs(network, SHAPE, 2)]
    states = [random_state(rng, *layer.shape) for layer in layers]
    x, errors = tf.constant(rng.randn(1, 5, *SHAPE)), [tf.constant(rng.randn(n_particles, 5, 2)) for _ in range(2)]
    found = []
    for rotates in (True, False):
        monkeypatch.setattr(LayerMethod, "rotates_rows", lambda self, n_rows, n_particles, rotates=rotates: rotates)
        weights = [layer.draw(state, 0.3, n_particles, SEED, 5) for layer, state in zip(layers, states)]
        builder = LayerBuilder([layer.spec for layer in layers], weights, ACTIVATIONS["tanh"])
        outputs = network(x, builder, 2)
        scores, fisher_scores = (gradients(outputs, builder.records, error) for error in errors)
        found.append([outputs])
        for state, *of_layer in zip(states, builder.records, scores, fisher_scores, weights):
            batch = layer_batch(*of_layer, state["mean"], PRIOR, 0.7)
            assert (batch.rotated is not None) == rotates
            grad = batch.grad if rotates else project(batch.grad, state["q_a"], state["q_s"])
            found[-1] += [grad, family._measured_scale(batch, state, state)]
    for one, other in zip(*session.run(found)):
        assert_allclose(one, other, rtol=1e-8, atol=1e-11)
