"""What networks are made of. A network is a function of (x, layers, ...) that calls these methods of `layers`.

Two classes have the methods: `ShapeRecorder` runs a network on shapes, to learn its layers before anything is built,
and `LayerBuilder` runs it on tensors. A new kind of layer is a method of both, and a row of STATISTICS in
core/inference/factors.py for its curvature.
"""
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

from misc.errors import UserError
from networks.geometry import Geometry

Shape = Tuple[int, ...]                   # of one example: (d,) or (height, width, channels)
Moments = Tuple[tf.Tensor, tf.Tensor]     # mean and variance, [d_out]


class LayerSpec(NamedTuple):
    """One weight matrix [d_in + 1, d_out], whose last row is the bias."""

    name: str                            # kind and number, e.g. conv2d0
    kind: str                            # dense, conv2d or batch_norm
    d_in: int                            # of a convolution: k_h k_w channels; of a batch normalisation: 1
    d_out: int
    geometry: Optional[Geometry] = None  # of a convolution
    n_locations: int = 1                 # places of an input at which it is used

    @property
    def has_weights(self) -> bool:
        """Whether it is a weight matrix. Of a batch normalisation the rows are scale and shift."""
        return self.kind != "batch_norm"

    @property
    def fans(self) -> Tuple[int, int]:
        """(inputs of one unit, units that see one input), for initial weights."""
        n_offsets = self.geometry.kernel[0] * self.geometry.kernel[1] if self.geometry else 1
        return self.d_in, self.d_out * n_offsets


class LayerRecord(NamedTuple):
    """All that curvature needs of a layer."""

    spec: LayerSpec
    inputs: tf.Tensor                  # [K or 1, n, ...]; of a dense layer with the 1 appended
    preactivations: tf.Tensor          # [K, n, ..., d_out]
    moments: Optional[Moments] = None  # of the minibatch, averaged over particles, in a batch normalisation


ACTIVATIONS: Dict[str, Callable[[tf.Tensor], tf.Tensor]] = {"relu": tf.nn.relu, "tanh": tf.tanh, "elu": tf.nn.elu}

NORM_EPSILON = 1e-5


class ShapeRecorder:
    """Runs a network on the shape of one example, (d,) or (height, width, channels); leaves `specs`, in order."""

    def __init__(self) -> None:
        self.specs: List[LayerSpec] = []

    def dense(self, shape: Shape, d_out: int) -> Shape:
        if len(shape) != 1:
            raise UserError(f"a dense layer takes rows of numbers, but the network gives it an input of "
                            f"{' x '.join(map(str, shape))}: let it call layers.flatten first")
        self._add("dense", shape[-1], d_out)
        return shape[:-1] + (d_out,)

    def conv2d(self, shape: Shape, d_out: int, kernel: Any = 3, stride: Any = 1, padding: str = "SAME") -> Shape:
        geometry = Geometry(_pair(kernel), _pair(stride), padding)
        height, width = geometry.output(shape[:2])
        if min(height, width) < 1:
            raise UserError(f"a {kernel} x {kernel} convolution does not fit into {shape[0]} x {shape[1]} pixels")
        self._add("conv2d", geometry.kernel[0] * geometry.kernel[1] * shape[2], d_out, geometry, height * width)
        return height, width, d_out

    def batch_norm(self, shape: Shape) -> Shape:
        self._add("batch_norm", 1, shape[-1], n_locations=shape[0] * shape[1] if len(shape) == 3 else 1)
        return shape

    def activate(self, shape: Shape) -> Shape:
        return shape

    def flatten(self, shape: Shape) -> Shape:
        return (shape[0] * shape[1] * shape[2],) if len(shape) == 3 else shape

    def max_pool(self, shape: Shape, size: int = 2) -> Shape:
        return -(-shape[0] // size), -(-shape[1] // size), shape[2]

    average_pool = max_pool

    def global_pool(self, shape: Shape) -> Shape:
        return shape[2:]

    def add(self, shape: Shape, other: Shape) -> Shape:
        stride = -(-other[0] // shape[0])
        return -(-other[0] // stride), -(-other[1] // stride), shape[2]

    def _add(self, kind: str, d_in: int, d_out: int, geometry: Optional[Geometry] = None, n_locations: int = 1) -> None:
        name = f"{kind}{sum(spec.kind == kind for spec in self.specs)}"
        self.specs.append(LayerSpec(name, kind, d_in, d_out, geometry, n_locations))


class LayerBuilder:
    """Runs a network on tensors [K or 1, n, d] or [K or 1, n, height, width, channels]; leaves `records`, in order.

    Args:
      specs: the layers, as a ShapeRecorder leaves them.
      weights: one tensor [K, d_in + 1, d_out] per layer: K draws, one per particle.
      activation: function of a tensor.
      moments: {layer: (mean, variance)} for batch normalisations; None: those of the minibatch, for each particle
        separately, as in training.
    """

    def __init__(self, specs: Sequence[LayerSpec], weights: Iterable[tf.Tensor],
                 activation: Callable[[tf.Tensor], tf.Tensor], moments: Optional[Dict[str, Moments]] = None) -> None:
        self._layers = iter(zip(specs, weights))
        self._activation, self._moments = activation, moments
        self.records: List[LayerRecord] = []

    def dense(self, h: tf.Tensor, d_out: int) -> tf.Tensor:
        """Returns pre-activations: [K or 1, n, d_in] -> [K, n, d_out]."""
        spec, weight = next(self._layers)
        a = append_one(h)
        return self._record(spec, a, tf.matmul(a, weight))

    def conv2d(self, h: tf.Tensor, d_out: int, kernel: Any = 3, stride: Any = 1, padding: str = "SAME") -> tf.Tensor:
        """Returns pre-activations: [K or 1, n, H, W, C] -> [K, n, H', W', d_out]."""
        spec, weight = next(self._layers)
        geometry: Any = spec.geometry
        return self._record(spec, h, geometry.convolve(h, weight))

    def batch_norm(self, h: tf.Tensor) -> tf.Tensor:
        """Normalises every unit or channel to mean 0 and variance 1, then scales and shifts it."""
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

    def activate(self, s: tf.Tensor) -> tf.Tensor:
        return self._activation(s)

    def flatten(self, h: tf.Tensor) -> tf.Tensor:
        return tf.reshape(h, tf.concat([tf.shape(h)[:2], [_size(h)]], axis=0)) if len(h.shape) == 5 else h

    def max_pool(self, h: tf.Tensor, size: int = 2) -> tf.Tensor:
        return over_particles(lambda images: tf.nn.max_pool2d(images, size, size, "SAME"), h)

    def average_pool(self, h: tf.Tensor, size: int = 2) -> tf.Tensor:
        return over_particles(lambda images: tf.nn.avg_pool2d(images, size, size, "SAME"), h)

    def global_pool(self, h: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(h, axis=[2, 3])

    def add(self, h: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
        """Returns h plus `other`, which is subsampled and padded with zero channels if h is smaller and wider."""
        stride = -(-int(other.shape[2]) // int(h.shape[2]))
        more = int(h.shape[4]) - int(other.shape[4])
        return h + tf.pad(other[:, :, ::stride, ::stride], [[0, 0]] * 4 + [[more // 2, more - more // 2]])

    def _record(self, spec: LayerSpec, inputs: tf.Tensor, preactivations: tf.Tensor,
                moments: Optional[Moments] = None) -> tf.Tensor:
        self.records.append(LayerRecord(spec, inputs, preactivations, moments))
        return preactivations


def append_one(h: tf.Tensor) -> tf.Tensor:
    """Appends a column of ones for the bias: [..., d] -> [..., d + 1]."""
    return tf.concat([h, tf.ones_like(h[..., :1])], axis=-1)


def over_particles(change: Callable[[tf.Tensor], tf.Tensor], h: tf.Tensor) -> tf.Tensor:
    """Applies a function of images [N, H, W, C] to h [K, n, H, W, C], all particles at once."""
    images = change(tf.reshape(h, [-1] + [int(length) for length in h.shape[2:]]))
    return tf.reshape(images, tf.concat([tf.shape(h)[:2], [int(length) for length in images.shape[1:]]], axis=0))


def layer_specs(network: Callable, shape: Sequence[int], n_outputs: int) -> List[LayerSpec]:
    """Returns the layers of `network` for inputs of `shape`. Builds nothing."""
    recorder = ShapeRecorder()
    network(tuple(int(length) for length in shape), recorder, n_outputs)
    return recorder.specs


def _pair(value: Any) -> Tuple[int, int]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def _size(h: tf.Tensor) -> int:
    return int(h.shape[2]) * int(h.shape[3]) * int(h.shape[4])
