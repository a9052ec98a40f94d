"""What networks are made of. A network is a function of (x, layers, ...) that calls these methods.

Two classes have them: `ShapeRecorder` runs a network on shapes, to know its layers before
anything is built; `LayerBuilder` runs it on tensors. Imports nothing of core but the geometry of
convolutions.

A new kind of layer is a method of both, and a row in core/inference/factors.py for its curvature.
"""
import collections

import tensorflow.compat.v1 as tf

from misc.errors import UserError
from networks.geometry import Geometry


class LayerSpec(collections.namedtuple(
        "LayerSpec", ["name", "kind", "d_in", "d_out", "geometry", "n_locations"], defaults=(None, 1))):
    """One weight matrix [d_in + 1, d_out], the bias its last row, used at `n_locations` places of an input.

    A convolution's d_in is k_h k_w channels; geometry is None for other kinds. A batch normalisation
    has d_in = 1 and no weights: its rows are scale and shift.
    """

    @property
    def has_weights(self):
        return self.kind != "batch_norm"

    @property
    def fans(self):
        """(inputs of one unit, units that see one input), for initial weights."""
        n_offsets = self.geometry.kernel[0] * self.geometry.kernel[1] if self.geometry else 1
        return self.d_in, self.d_out * n_offsets



LayerRecord = collections.namedtuple(
    "LayerRecord", ["spec", "inputs", "preactivations", "moments"], defaults=(None,))
"""All that curvature needs: inputs [K or 1, n, ...] (of a dense layer with the 1 appended), and
preactivations [K, n, ..., d_out]. moments: (mean, variance) [d_out] over the minibatch that a
batch normalisation used, averaged over particles; None for other kinds."""

ACTIVATIONS = {"relu": tf.nn.relu, "tanh": tf.tanh, "elu": tf.nn.elu}

NORM_EPSILON = 1e-5


class ShapeRecorder:
    """Runs a network on the shape of one example; leaves `specs`, in order.

    A shape is (d,) or (height, width, channels).
    """

    def __init__(self):
        self.specs = []

    def dense(self, shape, d_out):
        if len(shape) != 1:
            raise UserError(f"a dense layer takes rows of numbers, the network gives it {' x '.join(map(str, shape))}: "
                            "let it call layers.flatten first")
        self._add("dense", shape[-1], d_out)
        return shape[:-1] + (d_out,)

    def conv2d(self, shape, d_out, kernel=3, stride=1, padding="SAME"):
        geometry = Geometry(_pair(kernel), _pair(stride), padding)
        height, width = geometry.output(shape[:2])
        if min(height, width) < 1:
            raise UserError(f"a {kernel} x {kernel} convolution does not fit into {shape[0]} x {shape[1]} pixels")
        self._add("conv2d", geometry.kernel[0] * geometry.kernel[1] * shape[2], d_out, geometry, height * width)
        return height, width, d_out

    def batch_norm(self, shape):
        self._add("batch_norm", 1, shape[-1], n_locations=shape[0] * shape[1] if len(shape) == 3 else 1)
        return shape

    def activate(self, shape):
        return shape

    def flatten(self, shape):
        return (shape[0] * shape[1] * shape[2],) if len(shape) == 3 else shape

    def max_pool(self, shape, size=2):
        return -(-shape[0] // size), -(-shape[1] // size), shape[2]

    average_pool = max_pool

    def global_pool(self, shape):
        return shape[2:]

    def add(self, shape, other):
        stride = -(-other[0] // shape[0])
        return -(-other[0] // stride), -(-other[1] // stride), shape[2]

    def _add(self, kind, d_in, d_out, geometry=None, n_locations=1):
        name = f"{kind}{sum(spec.kind == kind for spec in self.specs)}"
        self.specs.append(LayerSpec(name, kind, d_in, d_out, geometry, n_locations))


class LayerBuilder:
    """Runs a network on tensors; leaves `records`, in order.

    Args:
      specs: the layers, as a ShapeRecorder leaves them.
      weights: one tensor [K, d_in + 1, d_out] per layer: K draws, one per particle.
      activation: function of a tensor.
      moments: {name: (mean, variance)} that batch normalisations use; None: those of the minibatch,
        of each particle by itself, as in training.

    Tensors are [K or 1, n, d] or [K or 1, n, height, width, channels].
    """

    def __init__(self, specs, weights, activation, moments=None):
        self._layers = iter(zip(specs, weights))
        self._activation, self._moments = activation, moments
        self.records = []

    def dense(self, h, d_out):
        """[K or 1, n, d_in] -> [K, n, d_out] pre-activations."""
        spec, weight = next(self._layers)
        a = append_one(h)
        return self._record(spec, a, tf.matmul(a, weight))

    def conv2d(self, h, d_out, kernel=3, stride=1, padding="SAME"):
        """[K or 1, n, H, W, C] -> [K, n, H', W', d_out] pre-activations."""
        spec, weight = next(self._layers)
        return self._record(spec, h, spec.geometry.convolve(h, weight))

    def batch_norm(self, h):
        """Every unit or channel to mean 0 and variance 1, then scaled and shifted."""
        spec, weight = next(self._layers)
        axes = list(range(1, len(h.shape) - 1))
        moments = None
        if self._moments is None:
            mean, variance = tf.nn.moments(h, axes, keep_dims=True)
            moments = tuple(tf.reduce_mean(tf.reshape(value, [-1, spec.d_out]), axis=0) for value in (mean, variance))
        else:
            mean, variance = self._moments[spec.name]
        normal = (h - mean) * tf.rsqrt(variance + NORM_EPSILON)
        shape = [-1] + [1] * len(axes) + [spec.d_out]
        scale, shift = (tf.reshape(weight[:, row], shape) for row in (0, 1))
        return self._record(spec, normal, normal * scale + shift, moments)

    def activate(self, s):
        return self._activation(s)

    def flatten(self, h):
        return tf.reshape(h, tf.concat([tf.shape(h)[:2], [_size(h)]], axis=0)) if len(h.shape) == 5 else h

    def max_pool(self, h, size=2):
        return over_particles(lambda images: tf.nn.max_pool2d(images, size, size, "SAME"), h)

    def average_pool(self, h, size=2):
        return over_particles(lambda images: tf.nn.avg_pool2d(images, size, size, "SAME"), h)

    def global_pool(self, h):
        return tf.reduce_mean(h, axis=[2, 3])

    def add(self, h, other):
        """h plus `other`; where h has fewer pixels and more channels, `other` is thinned out and padded by zeros."""
        stride = -(-int(other.shape[2]) // int(h.shape[2]))
        more = int(h.shape[4]) - int(other.shape[4])
        return h + tf.pad(other[:, :, ::stride, ::stride], [[0, 0]] * 4 + [[more // 2, more - more // 2]])

    def _record(self, spec, inputs, preactivations, moments=None):
        self.records.append(LayerRecord(spec, inputs, preactivations, moments))
        return preactivations


def append_one(h):
    """[..., d] -> [..., d + 1] with a last column of ones for the bias."""
    return tf.concat([h, tf.ones_like(h[..., :1])], axis=-1)


def over_particles(change, h):
    """change(images [N, H, W, C]) for h [K, n, H, W, C], all particles at once."""
    images = change(tf.reshape(h, [-1] + [int(length) for length in h.shape[2:]]))
    return tf.reshape(images, tf.concat([tf.shape(h)[:2], [int(length) for length in images.shape[1:]]], axis=0))


def layer_specs(network, shape, n_outputs):
    """The layers of `network` for inputs of `shape`: a list of LayerSpec. Builds nothing."""
    recorder = ShapeRecorder()
    network(tuple(int(length) for length in shape), recorder, n_outputs)
    return recorder.specs


def _pair(value):
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def _size(h):
    return int(h.shape[2]) * int(h.shape[3]) * int(h.shape[4])
