"""What networks are made of. A network is a function of (x, layers, ...) that calls these methods.

Two classes have them: `ShapeRecorder` runs a network on shapes, to know its layers before
anything is built; `LayerBuilder` runs it on tensors. Imports nothing of core.

A new kind of layer is a method of both, and a row in core/factors.py for its curvature.
"""
import collections

import tensorflow.compat.v1 as tf

LayerSpec = collections.namedtuple("LayerSpec", ["name", "kind", "d_in", "d_out"])
"""One weight matrix [d_in + 1, d_out], the bias its last row."""

LayerRecord = collections.namedtuple("LayerRecord", ["spec", "inputs", "preactivations"])
"""All that curvature needs: a [K or 1, n, d_in + 1] with the 1 appended, and s [K, n, d_out]."""

ACTIVATIONS = {"relu": tf.nn.relu, "tanh": tf.tanh, "elu": tf.nn.elu}


class ShapeRecorder:
    """Runs a network on the shape of one example; leaves `specs`, in order."""

    def __init__(self):
        self.specs = []

    def dense(self, shape, d_out):
        self.specs.append(LayerSpec(f"dense{len(self.specs)}", "dense", shape[-1], d_out))
        return shape[:-1] + (d_out,)

    def activate(self, shape):
        return shape


class LayerBuilder:
    """Runs a network on tensors; leaves `records`, in order.

    Args:
      specs: the layers, as a ShapeRecorder leaves them.
      weights: one tensor [K, d_in + 1, d_out] per layer: K draws, one per particle.
      activation: function of a tensor.
    """

    def __init__(self, specs, weights, activation):
        self._layers = iter(zip(specs, weights))
        self._activation = activation
        self.records = []

    def dense(self, h, _):
        """[K or 1, n, d_in] -> [K, n, d_out] pre-activations."""
        spec, weight = next(self._layers)
        a = append_one(h)
        s = tf.matmul(a, weight)
        self.records.append(LayerRecord(spec, a, s))
        return s

    def activate(self, s):
        return self._activation(s)


def append_one(h):
    """[..., d] -> [..., d + 1] with a last column of ones for the bias."""
    return tf.concat([h, tf.ones_like(h[..., :1])], axis=-1)


def layer_specs(network, n_inputs, n_outputs):
    """The layers of `network` for inputs [n_inputs]: a list of LayerSpec. Builds nothing."""
    recorder = ShapeRecorder()
    network((n_inputs,), recorder, n_outputs)
    return recorder.specs
