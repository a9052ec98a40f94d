"""The layers that networks are made of.

A network is a function (x, layers, n_outputs) -> outputs that calls methods of `layers`. Two classes have these
methods: `ShapeRecorder` runs a network on shapes, so that its layers are known before anything is built; `LayerBuilder`
runs it on tensors.

To add a kind of layer with weights, add a method to both classes, and a row to STATISTICS in core/inference/factors.py
for its curvature.
"""
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import tensorflow.compat.v1 as tf

from misc.errors import UserError
from networks.factored import CoreRecord, FactoredWeights, times_matrix
from networks.geometry import Geometry
from networks.normalisation import Moments, normalise, normalise_by

ACTIVATIONS = {"relu": tf.nn.relu, "tanh": tf.tanh, "elu": tf.nn.elu}
"""Config's `activation` -> function of a tensor."""

Shape = Tuple[int, ...]
"""Shape of one example: (d,) or (height, width, channels)."""

Pair = Union[int, Tuple[int, int]]
"""A number for both rows and columns, or (rows, columns)."""

Weights = Union[tf.Tensor, FactoredWeights]
"""K weight matrices of a layer: [K, d_in + 1, d_out], or the factors of their product."""

NetworkFunction = Callable[[Any, Any, int], Any]
"""A network: (x, layers, n_outputs) -> outputs, where x is a shape or a tensor, as `layers` needs it."""


class LayerSpec(NamedTuple):
    """What is known of a layer before anything is built: parameters [d_in + 1, d_out], the bias in the last row."""

    name: str  # kind and number, e.g. "dense0"
    kind: str  # row of STATISTICS in core/inference/factors.py
    d_in: int  # inputs of one unit; k_h k_w C for a convolution, 1 for a batch normalisation
    d_out: int  # units or channels
    geometry: Optional[Geometry] = None  # of a convolution; None for other kinds
    n_locations: int = 1  # number of places of one input at which the parameters are used
    filled: float = 1.0  # share of the patches at all these places that is not padding
    has_weights: bool = True  # false for a scale and a shift, which have no prior, no noise and a fixed initial value

    @property
    def fans(self) -> Tuple[int, int]:
        """(inputs of one unit, units that see one input), for the initial weights."""
        n_offsets = self.geometry.kernel[0] * self.geometry.kernel[1] if self.geometry else 1
        return self.d_in, self.d_out * n_offsets


class LayerRecord(NamedTuple):
    """What the curvature of a layer needs from a forward pass with K particles and n examples."""

    spec: LayerSpec
    inputs: tf.Tensor  # [K or 1, n, ...]; of a dense layer with the 1 appended
    preactivations: tf.Tensor  # [K, n, ..., d_out]
    moments: Optional[Moments] = None  # each particle's, by which a batch normalisation has normalised
    core: Optional[CoreRecord] = None  # of a layer with FactoredWeights


class ShapeRecorder:
    """Runs a network on the shape of one example, (d,) or (height, width, channels).

    Attributes:
      specs: the layers so far, a list of LayerSpec in the order of the network.
    """

    def __init__(self) -> None:
        self.specs: List[LayerSpec] = []

    def dense(self, shape: Shape, d_out: int) -> Shape:
        """Records a dense layer. Raises UserError if it would be given images."""
        if len(shape) != 1:
            raise UserError(f"a dense layer takes rows of numbers, the network gives it {' x '.join(map(str, shape))}: "
                            "let it call layers.flatten first")
        self._add("dense", shape[-1], d_out)
        return shape[:-1] + (d_out,)

    def conv2d(self, shape: Shape, d_out: int, kernel: Pair = 3, stride: Pair = 1, padding: str = "SAME") -> Shape:
        """Records a convolution. Raises UserError if the kernel is larger than the images."""
        _check_images(shape, "a convolution")
        geometry = Geometry(_pair(kernel), _pair(stride), padding)
        height, width = geometry.output((shape[0], shape[1]))
        if min(height, width) < 1:
            size = " x ".join(map(str, geometry.kernel))
            raise UserError(f"a {size} convolution does not fit into {shape[0]} x {shape[1]} pixels")
        n_offsets = geometry.kernel[0] * geometry.kernel[1]
        self._add("conv2d", n_offsets * shape[2], d_out, geometry=geometry, n_locations=height * width,
                  filled=geometry.n_inside((shape[0], shape[1])) / (n_offsets * height * width))
        return height, width, d_out

    def batch_norm(self, shape: Shape) -> Shape:
        self._add("batch_norm", 1, shape[-1], n_locations=shape[0] * shape[1] if len(shape) == 3 else 1,
                  has_weights=False)
        return shape

    def activate(self, shape: Shape) -> Shape:
        return shape

    def flatten(self, shape: Shape) -> Shape:
        return (shape[0] * shape[1] * shape[2],) if len(shape) == 3 else shape

    def max_pool(self, shape: Shape, size: int = 2) -> Shape:
        _check_images(shape, "pooling")
        return -(-shape[0] // size), -(-shape[1] // size), shape[2]

    average_pool = max_pool

    def global_pool(self, shape: Shape) -> Shape:
        _check_images(shape, "pooling")
        return shape[2:]

    def add(self, shape: Shape, other: Shape) -> Shape:
        if len(shape) == 1:
            if shape != other:
                raise UserError(f"a shortcut of {other[0]} units does not fit a layer of {shape[0]}")
            return shape
        stride = -(-other[0] // shape[0])
        return -(-other[0] // stride), -(-other[1] // stride), shape[2]

    def _add(self, kind: str, d_in: int, d_out: int, **fields: Any) -> None:
        """Adds a LayerSpec, named after its kind and its number among those of the kind."""
        name = f"{kind}{sum(spec.kind == kind for spec in self.specs)}"
        self.specs.append(LayerSpec(name, kind, d_in, d_out, **fields))


class LayerBuilder:
    """Runs a network on tensors, [K or 1, n, d] or [K or 1, n, height, width, channels] for K particles, n examples.

    Args:
      specs: the layers, as a ShapeRecorder recorded them.
      weights: one tensor [K, d_in + 1, d_out] per layer, drawn for each particle; dense layers and convolutions also
        take FactoredWeights.
      activation: function of a tensor.
      moments: {layer: (mean, variance)} that batch normalisations use. None: each particle uses those of its own values
        for these examples, as in training.
      averages: {layer: (mean, variance)} that a batch normalisation uses instead where the minibatch gives it a single
        value per channel, which has no variance; for the layers to which that can happen.

    Attributes:
      records: the LayerRecords so far, in the order of the network.
    """

    def __init__(self, specs: Sequence[LayerSpec], weights: Sequence[Weights],
                 activation: Callable[[tf.Tensor], tf.Tensor], moments: Optional[Dict[str, Moments]] = None,
                 averages: Optional[Dict[str, Moments]] = None) -> None:
        self._layers = iter(zip(specs, weights))
        self._activation, self._moments, self._averages = activation, moments, averages or {}
        self.records: List[LayerRecord] = []

    def dense(self, h: tf.Tensor, d_out: int) -> tf.Tensor:
        """Returns the pre-activations [K, n, d_out] of [K or 1, n, d_in]."""
        spec, weight = next(self._layers)
        a = append_one(h)
        if isinstance(weight, FactoredWeights):
            s, core = weight.times(a, times_matrix)
            return self._record(spec, a, s, core=core)
        return self._record(spec, a, tf.matmul(a, weight))

    def conv2d(self, h: tf.Tensor, d_out: int, kernel: Pair = 3, stride: Pair = 1, padding: str = "SAME") -> tf.Tensor:
        """Returns the pre-activations [K, n, H', W', d_out] of [K or 1, n, H, W, C]."""
        spec, weight = next(self._layers)
        geometry = Geometry(_pair(kernel), _pair(stride), padding)
        if isinstance(weight, FactoredWeights):
            s, core = weight.times(h, geometry.times)
            return self._record(spec, h, s, core=core)
        return self._record(spec, h, geometry.convolve(h, weight))

    def batch_norm(self, h: tf.Tensor) -> tf.Tensor:
        """Normalises every unit or channel, then scales and shifts it: [K or 1, n, ..., d] -> [K, n, ..., d]."""
        spec, weight = next(self._layers)
        assert not isinstance(weight, FactoredWeights)
        shape = [-1] + [1] * (len(h.shape) - 2) + [spec.d_out]
        scale, shift = (tf.reshape(weight[:, row], shape) for row in (0, 1))
        if self._moments is None:
            found = normalise(h, scale, shift, self._averages.get(spec.name))
        else:
            found = normalise_by(self._moments[spec.name], h, scale, shift)
        return self._record(spec, found.normal, found.outputs, found.moments)

    def activate(self, s: tf.Tensor) -> tf.Tensor:
        """Applies the activation elementwise."""
        return self._activation(s)

    def flatten(self, h: tf.Tensor) -> tf.Tensor:
        """Turns images [K or 1, n, H, W, C] into rows [K or 1, n, H W C]; leaves rows as they are."""
        return tf.reshape(h, tf.concat([tf.shape(h)[:2], [_size(h)]], axis=0)) if len(h.shape) == 5 else h

    def max_pool(self, h: tf.Tensor, size: int = 2) -> tf.Tensor:
        """Takes maxima over size x size pixels: [K or 1, n, H, W, C] -> [K or 1, n, ceil(H / size), ceil(W / size), C].
        """
        return over_particles(lambda images: tf.nn.max_pool2d(images, size, size, "SAME"), h)

    def average_pool(self, h: tf.Tensor, size: int = 2) -> tf.Tensor:
        """Averages over size x size pixels; shapes as for `max_pool`."""
        return over_particles(lambda images: tf.nn.avg_pool2d(images, size, size, "SAME"), h)

    def global_pool(self, h: tf.Tensor) -> tf.Tensor:
        """Averages every channel over the pixels: [K or 1, n, H, W, C] -> [K or 1, n, C]."""
        return tf.reduce_mean(h, axis=[2, 3])

    def add(self, h: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
        """Returns h plus a shortcut `other`: [K, n, H, W, C] and [K or 1, n, H', W', C'], or [K, n, d] both.

        Where h has fewer pixels, `other` is subsampled; where h has more channels, it is padded with zeros.
        """
        if len(h.shape) == 3:
            return h + other
        stride = -(-int(other.shape[2]) // int(h.shape[2]))
        more = int(h.shape[4]) - int(other.shape[4])
        return h + tf.pad(other[:, :, ::stride, ::stride], [[0, 0]] * 4 + [[more // 2, more - more // 2]])

    def _record(self, spec: LayerSpec, inputs: tf.Tensor, preactivations: tf.Tensor,
                moments: Optional[Moments] = None, core: Optional[CoreRecord] = None) -> tf.Tensor:
        self.records.append(LayerRecord(spec, inputs, preactivations, moments, core))
        return preactivations


def append_one(h: tf.Tensor) -> tf.Tensor:
    """Appends a column of ones for the bias: [..., d] -> [..., d + 1]."""
    return tf.concat([h, tf.ones_like(h[..., :1])], axis=-1)


def over_particles(change: Callable[[tf.Tensor], tf.Tensor], h: tf.Tensor) -> tf.Tensor:
    """Applies a function of images [N, H, W, C] to h [K or 1, n, H, W, C], to all particles at once."""
    images = change(tf.reshape(h, [-1] + [int(length) for length in h.shape[2:]]))
    return tf.reshape(images, tf.concat([tf.shape(h)[:2], [int(length) for length in images.shape[1:]]], axis=0))


def glorot(spec: LayerSpec, seed: List[int], dtype: tf.DType) -> tf.Tensor:
    """Draws Glorot-uniform weights [d_in + 1, d_out]; the bias row is 0."""
    limit = np.sqrt(6.0 / sum(spec.fans))
    weights = tf.random.stateless_uniform([spec.d_in, spec.d_out], seed=seed, minval=-limit, maxval=limit, dtype=dtype)
    return tf.concat([weights, tf.zeros([1, spec.d_out], dtype)], axis=0)


def layer_specs(network: NetworkFunction, shape: Sequence[int], n_outputs: int) -> List[LayerSpec]:
    """Returns the layers of `network` for examples of `shape`. Builds nothing."""
    recorder = ShapeRecorder()
    network(tuple(int(length) for length in shape), recorder, n_outputs)
    return recorder.specs


def _pair(value: Pair) -> Tuple[int, int]:
    if isinstance(value, int):
        return value, value
    rows, columns = value
    return rows, columns


def _check_images(shape: Shape, what: str) -> None:
    if len(shape) != 3:
        raise UserError(f"{what} takes images, but the rows have {shape[0]} numbers each; a network that needs "
                        "images has images_only=True in NETWORKS")


def _size(h: tf.Tensor) -> int:
    """Returns H W C of images [K or 1, n, H, W, C]."""
    return int(h.shape[2]) * int(h.shape[3]) * int(h.shape[4])
