"""Convolution curvature against loops over particles, examples and locations."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose

from core.inference import conv_factors
from networks.geometry import Geometry

CASES = [  # kernel, strides, padding, H x W, channels, outputs
    ((3, 3), (1, 1), "SAME", (5, 4), 2, 3), ((3, 2), (2, 1), "VALID", (6, 5), 3, 2),
    ((2, 3), (2, 2), "SAME", (5, 7), 1, 4), ((1, 1), (1, 1), "VALID", (3, 4), 2, 3),
    ((5, 3), (1, 2), "SAME", (4, 6), 2, 2), ((1, 1), (2, 2), "SAME", (5, 6), 3, 2),
    ((3, 3), (3, 2), "VALID", (8, 8), 2, 2), ((3, 3), (1, 1), "SAME", (2, 1), 2, 3),
    ((5, 5), (1, 1), "SAME", (2, 3), 1, 2), ((5, 3), (2, 1), "SAME", (9, 4), 2, 2),
]


def per_location(h, geometry, out):
    """[K, n, T, d_in + 1] by loops, from numpy images [K, n, H, W, C]."""
    (k_h, k_w), (s_h, s_w) = geometry.kernel, geometry.strides
    n_particles, n, height, width, channels = h.shape
    low = [0, 0]
    if geometry.padding == "SAME":
        low = [max(0, (o - 1) * s + k - length) // 2
               for o, s, k, length in zip(out, geometry.strides, geometry.kernel, (height, width))]
    a = np.zeros((n_particles, n, out[0] * out[1], k_h * k_w * channels + 1))
    a[..., -1] = 1
    for t in range(out[0] * out[1]):
        for row in range(k_h):
            for column in range(k_w):
                y, x = t // out[1] * s_h + row - low[0], t % out[1] * s_w + column - low[1]
                if 0 <= y < height and 0 <= x < width:
                    start = (row * k_w + column) * channels
                    a[:, :, t, start:start + channels] = h[:, :, y, x]
    return a


@pytest.fixture(params=CASES, ids=str)
def case(request, rng):
    """(geometry, h, ds, a, ds by location): 2 particles, 3 examples."""
    kernel, strides, padding, size, channels, outputs = request.param
    geometry = Geometry(kernel, strides, padding)
    out = geometry.output(size)
    h, ds = rng.randn(2, 3, *size, channels), rng.randn(2, 3, *out, outputs)
    return geometry, h, ds, per_location(h, geometry, out), ds.reshape(2, 3, -1, outputs)


def examples(a, ds):
    """Per-example gradients [K, n, d_in + 1, D]."""
    return np.einsum("knti,kntj->knij", a, ds)


def test_patches_are_what_the_convolution_sees(session, case, rng):
    geometry, h, _, a, ds = case
    weights = rng.randn(a.shape[-1], ds.shape[-1])
    kernel = weights[:-1].reshape(*geometry.kernel, h.shape[-1], -1)
    s = tf.nn.conv2d(h[0], kernel, strides=[1, *geometry.strides, 1], padding=geometry.padding) + weights[-1]
    rows, s = session.run([conv_factors.patches(tf.constant(h[0]), geometry), s])
    assert_allclose(rows, a[0], atol=1e-12)
    assert_allclose(a[0] @ weights, s.reshape(a[0].shape[:2] + (-1,)), atol=1e-10)


def test_particles_convolve_with_their_own_weights(session, case, rng):
    geometry, h, ds, a, _ = case
    weights = rng.randn(2, a.shape[-1], ds.shape[-1])
    own, shared = session.run([geometry.convolve(tf.constant(h), tf.constant(weights)),
                               geometry.convolve(tf.constant(h[:1]), tf.constant(weights))])
    assert_allclose(own.reshape(2, 3, -1, ds.shape[-1]), a @ weights[:, None], atol=1e-10)
    assert_allclose(shared.reshape(own.reshape(2, 3, -1, ds.shape[-1]).shape), a[:1] @ weights[:, None], atol=1e-10)


def test_gradient(session, case):
    geometry, h, ds, a, flat = case
    value = session.run(conv_factors.gradient(tf.constant(h), tf.constant(ds), geometry))
    assert_allclose(value, examples(a, flat).mean(axis=(0, 1)), atol=1e-10)
    for inputs, own in ((h, a), (h[:1], a[:1])):
        value = session.run(conv_factors.particle_gradients(tf.constant(inputs), tf.constant(ds), geometry))
        assert_allclose(value, examples(np.broadcast_to(own, a.shape), flat).mean(axis=1), atol=1e-10)


def test_factors(session, case):
    geometry, h, ds, a, flat = case
    a_cov, s_cov = session.run(conv_factors.second_moments(tf.constant(h), tf.constant(ds), geometry))
    assert_allclose(a_cov, np.einsum("knti,kntj->ij", a, a) / 6, atol=1e-10)
    assert_allclose(s_cov, np.einsum("knti,kntj->ij", flat, flat) / 6 / flat.shape[2], atol=1e-10)


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_scale_is_of_per_example_gradients(session, case, rng, monkeypatch, chunk):
    monkeypatch.setattr(conv_factors, "chunk_size", lambda *_: chunk)
    geometry, h, ds, a, flat = case
    q_a, q_s = (np.linalg.qr(rng.randn(dim, dim))[0] for dim in (a.shape[-1], flat.shape[-1]))
    scale, square = session.run([
        conv_factors.eigenbasis_scale(tf.constant(h), tf.constant(ds), tf.constant(q_a), tf.constant(q_s), geometry),
        conv_factors.squared_gradient(tf.constant(h), tf.constant(ds), geometry)])
    gradients = examples(a, flat)
    assert_allclose(scale, np.square(q_a.T @ gradients @ q_s).mean(axis=(0, 1)), atol=1e-10)
    assert_allclose(square, np.square(gradients).mean(axis=(0, 1)), atol=1e-10)


def test_inputs_shared_by_all_particles(session, case):
    geometry, h, ds, a, flat = case
    shared, ds = tf.constant(h[:1]), tf.constant(ds)
    gradients = examples(np.repeat(a[:1], 2, axis=0), flat)
    a_cov, grad, square = session.run([conv_factors.second_moments(shared, ds, geometry)[0],
                                       conv_factors.gradient(shared, ds, geometry),
                                       conv_factors.squared_gradient(shared, ds, geometry)])
    assert_allclose(a_cov, np.einsum("nti,ntj->ij", a[0], a[0]) / 3, atol=1e-10)
    assert_allclose(grad, gradients.mean(axis=(0, 1)), atol=1e-10)
    assert_allclose(square, np.square(gradients).mean(axis=(0, 1)), atol=1e-10)


def test_kfc_is_exact_with_one_location_and_independent_errors(session, rng):
    """With one location, a batch of all pairs makes inputs and errors independent, and the Fisher is A (x) S."""
    geometry = Geometry((2, 2), (1, 1), "VALID")
    images, errors = rng.randn(4, 2, 2, 3), rng.randn(5, 2)
    h = np.repeat(images, 5, axis=0)[None]
    ds = np.tile(errors, (4, 1)).reshape(1, 20, 1, 1, 2)
    a_cov, s_cov = session.run(conv_factors.second_moments(tf.constant(h), tf.constant(ds), geometry))
    gradients = examples(per_location(h, geometry, (1, 1)), ds.reshape(1, 20, 1, 2)).reshape(20, -1)
    assert_allclose(np.kron(a_cov, s_cov), gradients.T @ gradients / 20, atol=1e-10)


def test_kfc_is_exact_for_uncorrelated_errors_at_independent_locations(session, rng):
    """If the errors of locations have mean 0, no correlation and equal covariance, the mean Fisher is A (x) S."""
    geometry = Geometry((1, 2), (1, 2), "VALID")
    image, errors = rng.randn(1, 1, 4, 2), np.array([[1.0, 2.0], [1.0, -1.0]])
    signs = np.array([[i, j] for i in (-1, 1) for j in (-1, 1)])
    # Every location sees every error, with every combination of signs.
    ds = np.array([[sign[0] * errors[i], sign[1] * errors[j]] for sign in signs for i in (0, 1) for j in (0, 1)])
    h = np.repeat(image, len(ds), axis=0)[None]
    ds = ds.reshape(1, len(ds), 1, 2, 2)
    a_cov, s_cov = session.run(conv_factors.second_moments(tf.constant(h), tf.constant(ds), geometry))
    gradients = examples(per_location(h, geometry, (1, 2)), ds.reshape(1, -1, 2, 2)).reshape(ds.shape[1], -1)
    assert_allclose(np.kron(a_cov, s_cov), gradients.T @ gradients / ds.shape[1], atol=1e-10)


def test_chunks_of_vgg16_at_batch_128_are_bounded():
    """Largest layers of the published VGG16: 64 channels at 16 x 16 and 256 at 2 x 2."""
    for size, channels, outputs in ((32, 32, 32), (16, 64, 64), (8, 128, 128), (4, 256, 256), (2, 256, 256)):
        numbers = 2 * (9 * channels + 1) * (size**2 + outputs)
        assert conv_factors.chunk_size(size**2, 9 * channels + 1, outputs) * numbers <= conv_factors.CHUNK_NUMBERS
    assert conv_factors.chunk_size(224**2, 9 * 512 + 1, 512) == 1


def test_patches_times_a_matrix(session, case, rng):
    geometry, h, _, a, _ = case
    matrix = tf.constant(rng.randn(a.shape[-1], 5))
    product, matrix = session.run([geometry.times(tf.constant(h), matrix), matrix])
    assert_allclose(product.reshape(a.shape[:3] + (5,)), a @ matrix, atol=1e-10)


def test_share_of_the_patches_that_is_not_padding(case):
    geometry, h, *_ = case
    seen = per_location(np.ones_like(h), geometry, geometry.output(h.shape[2:4]))[0, 0, :, :-1]
    assert geometry.n_inside(h.shape[2:4]) == seen[:, ::h.shape[-1]].sum()


@pytest.mark.parametrize("chunk", [2, 100])
@pytest.mark.parametrize("n_copies", [1, 2])
def test_statistics_of_patches_in_other_coordinates(session, case, rng, monkeypatch, chunk, n_copies):
    monkeypatch.setattr(conv_factors, "chunk_size", lambda *_: chunk)
    _, _, ds, a, flat = case
    images = a[:n_copies].reshape(n_copies, *ds.shape[1:4], -1)
    grad, square = session.run([statistic(tf.constant(images), tf.constant(ds)) for statistic in
                                (conv_factors.core_gradient, conv_factors.core_squared_gradient)])
    gradients = examples(np.broadcast_to(a[:n_copies], a.shape), flat)
    assert_allclose(grad, gradients.mean(axis=(0, 1)), atol=1e-10)
    assert_allclose(square, np.square(gradients).mean(axis=(0, 1)), atol=1e-10)
