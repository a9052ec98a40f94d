"""Networks on shapes and on tensors, every layer against loops over particles, and the gradients of a network."""
import functools
import types

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose

from core.inference.factors import statistics
from core.inference.likelihoods import Categorical
from core.training.graph import gradients
from misc.errors import UserError
from networks import NETWORKS
from networks.convolutional import lenet, resnet, vgg
from networks.ffn import ffn
from networks.layers import LayerBuilder, LayerSpec, ShapeRecorder, layer_specs
from networks.normalisation import NORM_EPSILON

K, N = 2, 3
VGG16 = [32, 32, 64, 64, 128, 128, 128] + [256] * 6


def specs_of(name, shape=(32, 32, 3), width=1.0, batch_norm=False):
    """(network, its layers) of a row of NETWORKS, with 10 outputs."""
    network = NETWORKS[name].make(types.SimpleNamespace(hidden=[5, 4], width=width, batch_norm=batch_norm))
    return network, layer_specs(network, shape, 10)


def widths(specs, kind="conv2d"):
    return [spec.d_out for spec in specs if spec.kind == kind]


def builder(recorder, *weights, moments=None):
    return LayerBuilder(recorder.specs, [tf.constant(weight) for weight in weights], tf.nn.relu, moments)


# Every row of the table, on shapes and on tensors.

@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_shapes_are_those_of_the_tensors(session, name, batch_norm):
    for shape in ((32, 32, 3), (9, 6, 1)) if NETWORKS[name].images_only else ((32, 32, 3), (9, 6, 1), (7,)):
        network, specs = specs_of(name, shape, 0.25, batch_norm)
        assert len({spec.name for spec in specs}) == len(specs)
        weights = [tf.placeholder(tf.float64, [K, spec.d_in + 1, spec.d_out]) for spec in specs]
        layers = LayerBuilder(specs, weights, tf.nn.relu)
        outputs = network(tf.placeholder(tf.float64, [1, N, *shape]), layers, 10)
        assert outputs.shape == [K, N, 10] and [record.spec for record in layers.records] == specs
        for record in layers.records:
            spec, seen = record.spec, record.inputs.shape.as_list()
            sizes = record.preactivations.shape.as_list()
            assert sizes[:2] == [K, N] and sizes[-1] == spec.d_out and np.prod(sizes[2:-1]) == spec.n_locations
            if spec.kind == "conv2d":
                assert seen[-1] * np.prod(spec.geometry.kernel) == spec.d_in
            elif spec.has_weights:
                assert seen[-1] == spec.d_in + 1
            else:
                assert seen == sizes and spec.d_in == 1


def test_the_first_convolution_keeps_shared_inputs(session):
    network, specs = specs_of("lenet", (8, 8, 1))
    layers = LayerBuilder(specs, [tf.zeros([K, spec.d_in + 1, spec.d_out]) for spec in specs], tf.nn.relu)
    network(tf.zeros([1, N, 8, 8, 1]), layers, 10)
    assert [record.inputs.shape[0] for record in layers.records] == [1, K, K, K, K]


def test_vgg16_is_the_published_one():
    _, specs = specs_of("vgg16")
    assert [spec.kind for spec in specs] == ["conv2d"] * 13 + ["dense"] and widths(specs) == VGG16
    assert [spec.n_locations for spec in specs] == [1024] * 2 + [256] * 2 + [64] * 3 + [16] * 3 + [4] * 3 + [1]
    assert [spec.d_in for spec in specs] == [9 * width for width in [3] + VGG16[:-1]] + [256]


@pytest.mark.parametrize("name, n", [("vgg11", 8), ("vgg13", 10), ("vgg16", 13), ("vgg19", 16)])
def test_vgg_has_as_many_layers_as_it_says(name, n):
    """The name counts three dense layers, of which this network has one."""
    kinds = [spec.kind for spec in specs_of(name)[1]]
    assert kinds == ["conv2d"] * n + ["dense"] and n == int(name[3:]) - 3


def test_lenet_is_the_published_one():
    _, specs = specs_of("lenet", (28, 28, 1))
    assert [(spec.kind, spec.d_in, spec.d_out, spec.n_locations) for spec in specs] == [
        ("conv2d", 25, 6, 784), ("conv2d", 150, 16, 196), ("dense", 784, 120, 1), ("dense", 120, 84, 1),
        ("dense", 84, 10, 1)]


@pytest.mark.parametrize("name, n", [("resnet20", 3), ("resnet32", 5)])
def test_resnets_are_the_published_ones(name, n):
    _, specs = specs_of(name)
    assert [spec.kind for spec in specs] == ["conv2d"] * (6 * n + 1) + ["dense"] and len(specs) == int(name[6:])
    assert widths(specs) == [16] * (2 * n + 1) + [32] * 2 * n + [64] * 2 * n and specs[-1].d_in == 64
    assert [spec.n_locations for spec in specs] == [1024] * (2 * n + 1) + [256] * 2 * n + [64] * 2 * n + [1]
    strided = [i for i, spec in enumerate(specs[:-1]) if spec.geometry.strides == (2, 2)]
    assert strided == [2 * n + 1, 4 * n + 1]


class Spell:
    """Layers that return a text with a word for each call, with the output's width or the stride after it."""

    def dense(self, x, d_out):
        return f"{x} dense{d_out}"

    def conv2d(self, x, d_out, kernel=3, stride=1):
        return f"{x} conv{kernel}x{d_out}" + (f"/{stride}" if stride > 1 else "")

    def add(self, h, other):
        return f"({h} + {other})"

    def __getattr__(self, word):
        return lambda x: f"{x} {word}"


@pytest.mark.parametrize("norm", ["", " batch_norm"])
def test_what_networks_do(norm):
    def spelt(network, *args):
        return network("x", Spell(), 4, *args, batch_norm=bool(norm))

    act = norm + " activate"
    assert spelt(ffn, [5, 3]) == f"x flatten dense5{act} dense3{act} dense4"
    assert spelt(lenet, [6, 2, 7, 3]) == (f"x conv5x6{act} max_pool conv5x2{act} max_pool flatten dense7{act} "
                                          f"dense3{act} dense4")
    assert spelt(vgg, [[2], [3, 5]]) == f"x conv3x2{act} max_pool conv3x3{act} conv3x5{act} max_pool flatten dense4"
    first = f"x conv3x2{act}"
    second = f"({first} conv3x2{act} conv3x2{norm} + {first}) activate"
    third = f"({second} conv3x3/2{act} conv3x3{norm} + {second}) activate"
    assert spelt(resnet, [2, 3], 1) == f"{third} global_pool dense4"


def test_width_multiplies_all_hidden_widths():
    assert widths(specs_of("vgg16", width=0.5)[1]) == [width // 2 for width in VGG16]
    assert widths(specs_of("resnet20", width=2.0)[1]) == [32] * 7 + [64] * 6 + [128] * 6
    small = specs_of("lenet", (8, 8, 1), width=0.01)[1]
    assert widths(small) == [1, 1] and widths(small, "dense") == [1, 1, 10]


@pytest.mark.parametrize("name, n_hidden", [("linear", 0), ("ffn", 2), ("lenet", 4), ("vgg16", 13), ("resnet20", 19)])
def test_batch_norm_follows_every_hidden_layer(name, n_hidden):
    _, specs = specs_of(name, batch_norm=True)
    assert [spec.kind == "batch_norm" for spec in specs] == [False, True] * n_hidden + [False]
    for before, norm in zip(specs[:-1:2], specs[1::2]):
        assert (norm.d_out, norm.n_locations) == (before.d_out, before.n_locations)


def test_a_kernel_that_does_not_fit():
    with pytest.raises(UserError, match="a 5 x 5 convolution does not fit into 4 x 7 pixels"):
        ShapeRecorder().conv2d((4, 7, 2), 3, kernel=5, padding="VALID")


def test_a_dense_layer_on_images():
    with pytest.raises(UserError, match="the network gives it 4 x 7 x 2: let it call layers.flatten first"):
        ShapeRecorder().dense((4, 7, 2), 3)


# One layer at a time, particles with inputs of their own (K) or shared ones (1).

@pytest.fixture(params=[K, 1], ids=["own inputs", "shared inputs"])
def images(request, rng):
    return rng.randn(request.param, N, 5, 4, 2)


def test_dense(session, images, rng):
    h, weight = images.reshape(len(images), N, -1), rng.randn(K, 41, 6)
    recorder = ShapeRecorder()
    assert recorder.dense((40,), 6) == (6,)
    layers = builder(recorder, weight)
    outputs, a = session.run([layers.dense(tf.constant(h), 6), layers.records[0].inputs])
    for k in range(K):
        assert_allclose(outputs[k], h[k % len(h)] @ weight[k, :-1] + weight[k, -1], rtol=1e-12)
    assert_allclose(a, np.concatenate([h, np.ones((len(h), N, 1))], axis=2))


@pytest.mark.parametrize("kernel, stride, padding", [(3, 1, "SAME"), (3, 2, "SAME"), ((2, 3), (2, 1), "VALID")])
def test_conv2d(session, images, rng, kernel, stride, padding):
    recorder = ShapeRecorder()
    shape = recorder.conv2d((5, 4, 2), 3, kernel, stride, padding)
    weight = rng.randn(K, recorder.specs[0].d_in + 1, 3)
    layers = builder(recorder, weight)
    outputs, h = session.run([layers.conv2d(tf.constant(images), 3, kernel, stride, padding), layers.records[0].inputs])
    assert outputs.shape == (K, N, *shape) and (h == images).all()
    size, steps = ((k, k) if isinstance(k, int) else k for k in (kernel, stride))
    for k in range(K):
        filters = weight[k, :-1].reshape(*size, 2, 3)
        each = tf.nn.conv2d(images[k % len(images)], filters, strides=[1, *steps, 1], padding=padding)
        assert_allclose(outputs[k], session.run(each) + weight[k, -1], atol=1e-12)


@pytest.mark.parametrize("pool, reduce", [("max_pool", np.max), ("average_pool", np.mean)])
@pytest.mark.parametrize("size", [2, 3])
def test_pooling(session, images, pool, reduce, size):
    """A window that extends beyond the image uses only pixels of the image."""
    pooled = session.run(getattr(builder(ShapeRecorder()), pool)(tf.constant(images - 2.0), size))
    assert pooled.shape[2:] == getattr(ShapeRecorder(), pool)((5, 4, 2), size) and pooled.shape[:2] == images.shape[:2]
    low = [(-length % size) // 2 for length in (5, 4)]  # the padding before, its smaller half
    for i, j in np.ndindex(*pooled.shape[2:4]):
        rows, columns = (slice(max(0, at * size - before), at * size - before + size)
                         for at, before in zip((i, j), low))
        assert_allclose(pooled[:, :, i, j], reduce(images[:, :, rows, columns] - 2.0, axis=(2, 3)), rtol=1e-12)


def test_global_pool_and_flatten(session, images):
    layers, h = builder(ShapeRecorder()), tf.constant(images)
    pooled, flat = session.run([layers.global_pool(h), layers.flatten(h)])
    assert_allclose(pooled, images.mean(axis=(2, 3)), rtol=1e-12)
    assert_allclose(flat, images.reshape(len(images), N, 40))
    assert layers.flatten(tf.constant(flat)).shape == flat.shape  # it is flat already
    shapes = ShapeRecorder()
    assert shapes.global_pool((5, 4, 2)) == (2,) and shapes.flatten((5, 4, 2)) == (40,) and shapes.flatten((7,)) == (7,)


@pytest.mark.parametrize("size, channels", [((5, 4), 2), ((3, 2), 2), ((3, 2), 5)])
def test_add_thins_out_and_pads_the_shortcut(session, images, rng, size, channels):
    h = rng.randn(K, N, *size, channels)
    outputs = session.run(builder(ShapeRecorder()).add(tf.constant(h), tf.constant(images)))
    step, before = (1 if size == (5, 4) else 2), (channels - 2) // 2
    expected = h.copy()
    for k in range(K):
        for i, j in np.ndindex(*size):
            expected[k, :, i, j, before:before + 2] += images[k % len(images), :, step * i, step * j]
    assert_allclose(outputs, expected, rtol=1e-12)
    assert ShapeRecorder().add(h.shape[2:], (5, 4, 2)) == h.shape[2:]


# Batch normalisation: h [K, n, ...] of a convolution or of a dense layer.

@pytest.fixture(params=[(4, 5), ()], ids=["pictures", "units"])
def norm(request, rng):
    """(h, weights, recorder), where each particle has its own scale and shift."""
    recorder = ShapeRecorder()
    recorder.batch_norm((*request.param, 6))
    h = 3.0 * rng.randn(K, N, *request.param, 6) + np.array([1.0, -2.0]).reshape(K, *[1] * (len(request.param) + 2))
    return h, rng.randn(K, 2, 6), recorder


def test_each_particle_is_normalised_by_its_own_minibatch(session, norm):
    h, weight, recorder = norm
    layers = builder(recorder, weight)
    outputs, record = session.run([layers.batch_norm(tf.constant(h)), layers.records[0][1:4]])
    axes = tuple(range(h.ndim - 2))
    for k in range(K):
        normal = (h[k] - h[k].mean(axis=axes)) / np.sqrt(h[k].var(axis=axes) + NORM_EPSILON)
        assert_allclose(record[0][k], normal, atol=1e-12)
        assert_allclose(outputs[k], normal * weight[k, 0] + weight[k, 1], atol=1e-12)
        for value, own in zip(record[2], (h[k].mean(axis=axes), h[k].var(axis=axes))):
            assert_allclose(value[k].ravel(), own, atol=1e-12)


def test_given_moments_are_used(session, norm, rng):
    h, weight, recorder = norm
    mean, variance = rng.randn(6), 0.5 + rng.rand(6)
    moments = {"batch_norm0": (tf.constant(mean), tf.constant(variance))}
    layers = builder(recorder, weight, moments=moments)
    outputs = session.run(layers.batch_norm(tf.constant(h)))
    for k in range(K):
        normal = (h[k] - mean) / np.sqrt(variance + NORM_EPSILON)
        assert_allclose(outputs[k], normal * weight[k, 0] + weight[k, 1], atol=1e-12)
    assert layers.records[0].moments == moments["batch_norm0"]


def test_gradients_of_scale_and_shift(session, norm, rng):
    h, ds = norm[0], rng.randn(*norm[0].shape)
    functions = statistics(LayerSpec("batch_norm0", "batch_norm", 1, 6))
    grad, square = session.run([function(tf.constant(h), tf.constant(ds))
                                for function in (functions.gradient, functions.squared_gradient)])
    examples = []
    for k in range(K):
        for n in range(N):
            a, d = h[k, n].reshape(-1, 6), ds[k, n].reshape(-1, 6)
            examples.append([sum(a[t] * d[t] for t in range(len(a))), sum(d[t] for t in range(len(a)))])
    assert_allclose(grad, np.mean(examples, axis=0), rtol=1e-10, atol=1e-12)
    assert_allclose(square, np.mean(np.square(examples), axis=0), rtol=1e-10)


# Gradients through a whole network.

@pytest.mark.parametrize("batch_norm", [False, True])
def test_gradients_of_a_resnet_are_those_of_its_weights(session, rng, batch_norm):
    """Compares gradients from the layers' records with tf.gradients, for shortcuts with and without a stride."""
    network = functools.partial(resnet, widths=[2, 3], n_blocks=1, batch_norm=batch_norm)
    specs = layer_specs(network, (5, 4, 2), 3)
    weights = [tf.constant(0.5 * rng.randn(K, spec.d_in + 1, spec.d_out)) for spec in specs]
    layers = LayerBuilder(specs, weights, tf.tanh)
    outputs = network(tf.constant(rng.randn(1, N, 5, 4, 2)), layers, 3)
    labels = tf.constant([2, 0, 1])
    likelihood = Categorical(None, 3)
    layer_gradients = gradients(outputs, layers.records, likelihood.score({}, outputs, labels))
    parts = [(statistics(record.spec), record.inputs, ds) for record, (ds, _) in zip(layers.records, layer_gradients)]
    per_particle = tf.gradients(likelihood.update({}, outputs, labels, 1.0, 1.0, 1.0)[1], weights)
    means, each, expected = session.run([
        [functions.gradient(a, ds) for functions, a, ds in parts],
        [functions.particle_gradients(a, ds) for functions, a, ds in parts if functions.particle_gradients],
        per_particle])
    for spec, mean, grad in zip(specs, means, expected):
        assert np.abs(grad).max() > 1e-4, spec.name
        assert_allclose(mean, grad.sum(axis=0), atol=1e-11, err_msg=spec.name)
    assert len(each) == 6
    for own, grad in zip(each, [grad for spec, grad in zip(specs, expected) if spec.has_weights]):
        assert_allclose(own / K, grad, atol=1e-11)
