"""The closed-form gradient of batch normalisation, against automatic and numerical differentiation in float64."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose

from networks.normalisation import normalise, normalise_by

K = 2


def arguments(rng, n, n_given, pixels):
    """Returns h [n_given, n, ..., 3], far from mean 0, and a scale and a shift of K particles."""
    ones = [1] * (1 + len(pixels))
    return 5.0 + 2.0 * rng.randn(n_given, n, *pixels, 3), rng.randn(K, *ones, 3), rng.randn(K, *ones, 3)


def by_autodiff(h, scale, shift):
    moments = tf.nn.moments(h, list(range(1, len(h.shape) - 1)), keep_dims=True)
    return normalise_by(moments, h, scale, shift)


@pytest.mark.parametrize("pixels", [(), (4, 5)], ids=["units", "pictures"])
@pytest.mark.parametrize("n_given", [K, 1])
@pytest.mark.parametrize("has_average", [False, True])
def test_value_and_gradient_are_those_of_autodiff(session, rng, pixels, n_given, has_average):
    inputs = [tf.constant(value) for value in arguments(rng, 7, n_given, pixels)]
    average = (tf.constant(rng.randn(3)), tf.constant(rng.rand(3))) if has_average else None  # for single values alone
    ds = tf.constant(rng.randn(K, 7, *pixels, 3))
    found = []
    for normalised in (normalise(*inputs, average), by_autodiff(*inputs)):
        loss = tf.reduce_sum(ds * tf.square(normalised.outputs))
        found.append(session.run([*normalised[:2], *normalised.moments, *tf.gradients(loss, inputs)]))
    for ours, theirs in zip(*found):
        assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)


def test_gradient_is_that_of_finite_differences(session, rng):
    h, scale, shift = arguments(rng, 6, K, (2, 2))
    given, ds = tf.placeholder(tf.float64, h.shape), rng.randn(*h.shape)
    loss = tf.reduce_sum(ds * normalise(given, tf.constant(scale), tf.constant(shift)).outputs)
    gradient = session.run(tf.gradients(loss, given)[0], {given: h})
    for place in [(0, 0, 0, 0, 0), (1, 3, 1, 0, 2), (1, 5, 1, 1, 1)]:
        step = np.zeros_like(h)
        step[place] = 1e-5
        slope = (session.run(loss, {given: h + step}) - session.run(loss, {given: h - step})) / 2e-5
        assert_allclose(gradient[place], slope, rtol=1e-6, atol=1e-8)


def test_a_single_value_takes_the_averages_which_do_not_depend_on_it(session, rng):
    inputs = [tf.constant(value) for value in arguments(rng, 1, K, ())]
    average = (tf.constant(rng.randn(3)), tf.constant(0.5 + rng.rand(3)))
    ours, theirs = normalise(*inputs, average), normalise_by(average, *inputs)
    ds = tf.constant(rng.randn(K, 1, 3))
    found = [session.run([out.outputs, out.normal, *tf.gradients(ds * out.outputs, inputs)]) for out in (ours, theirs)]
    for one, other in zip(*found):
        assert_allclose(one, other, rtol=1e-12)


def test_no_gradient_flows_through_what_is_recorded(rng):
    inputs = [tf.constant(value) for value in arguments(rng, 4, K, ())]
    found = normalise(*inputs)
    assert tf.gradients([found.normal, *found.moments], inputs) == [None] * 3


def test_a_second_derivative_is_refused(rng):
    """It would be wrong, since the gradient takes mean and rate for constants."""
    h, scale, shift = (tf.constant(value) for value in arguments(rng, 7, K, ()))
    first, = tf.gradients(tf.reduce_sum(tf.square(normalise(h, scale, shift).outputs)), h)
    with pytest.raises(LookupError, match="second derivative"):
        tf.gradients(first, h)
