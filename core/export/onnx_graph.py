"""An ONNX model of K weight draws: from raw inputs to predictions.

The draws of a layer of numbers are a leading axis, [K, n, d]; those of images are groups of channels,
[n, K C, height, width], so that one grouped convolution serves them all. What all draws share has K = 1.
"""
import json
import pathlib
from typing import Any, Callable, Dict, NamedTuple, Sequence, Tuple

import numpy as np

from core.assessment.restore import Restored
from core.export.frozen import Frozen, check_kinds
from core.export.onnx_nodes import Nodes, onnx_package
from core.export.onnx_summary import outputs_of, summary
from core.export.writing import replaced
from misc.errors import UserError
from networks.geometry import Geometry
from networks.recording import Operation

OPSET, IR_VERSION = 17, 8
MOST_BYTES = 2000000000  # of a file of ONNX


class Value(NamedTuple):
    """A tensor of the graph."""

    name: str
    n_draws: int            # K, or 1 where all draws share it
    shape: Tuple[int, ...]  # of one example: (d,) or (height, width, channels)


def write_onnx(frozen: Frozen, run: Restored, path: pathlib.Path) -> None:
    """Writes the model.

    Raises UserError if the package onnx is missing, the network has a layer that is not known here, the draws are too
    many for the format, or the file cannot be written.
    """
    onnx = onnx_package()
    check_kinds(frozen.operations, OPERATIONS, "ONNX")
    n_bytes = sum(value.nbytes for value in frozen.weights.values())
    if n_bytes > MOST_BYTES:
        raise UserError(f"{path}: {frozen.n_draws} draws of the weights take {n_bytes / 1e9:.1f} GB, a file of ONNX "
                        f"{MOST_BYTES / 1e9:.0f} GB at most: give fewer --particles")
    nodes, shape = Nodes(run.config.precision), run.design.spec.shape
    is_image = run.data.spec.pixels is not None
    values = [(_images if is_image else _rows)(nodes, frozen, shape)]
    for operation in frozen.operations:
        inputs = [values[number] for number in operation.inputs]
        values.append(OPERATIONS[operation.kind](nodes, operation, frozen, *inputs)._replace(shape=operation.shape))
    summary(nodes, nodes.node("Cast", values[-1].name, to=nodes.type_of("float64")), frozen)
    helper = onnx.helper
    graph = helper.make_graph(
        nodes.nodes, "posterior",
        [helper.make_tensor_value_info("inputs", nodes.type_of("uint8" if is_image else "float64"), ["n", *shape])],
        [helper.make_tensor_value_info(name, nodes.type_of(kind), ["n", *further])
         for name, kind, further in outputs_of(frozen)], nodes.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="export.py")
    model.ir_version = IR_VERSION
    transform = getattr(run.data, "transform", None)
    helper.set_model_props(model, {"inputs": json.dumps(transform.names if transform else []),
                                   "classes": json.dumps(frozen.classes), "targets": json.dumps(frozen.targets)})
    onnx.checker.check_model(model)
    with replaced(path) as part:
        part.write_bytes(model.SerializeToString())


def _rows(nodes: Nodes, frozen: Frozen, shape: Sequence[int]) -> Value:
    """Standardises numbers, [n, d] in float64."""
    x, inputs = "inputs", frozen.inputs
    if not np.isnan(inputs.fill).all():
        x = nodes.node("Where", nodes.node("IsNaN", x), nodes.constant(inputs.fill), x)
    x = nodes.node("Div", nodes.node("Sub", x, nodes.constant(inputs.mean)), nodes.constant(inputs.std))
    x = nodes.node("Where", nodes.constant(inputs.constant), nodes.constant(np.float64(0.0)), x)
    x = nodes.node("Cast", x, to=nodes.type_of(nodes.precision))
    return Value(nodes.node("Unsqueeze", x, nodes.constant(np.array([0]))), 1, tuple(shape))


def _images(nodes: Nodes, frozen: Frozen, shape: Sequence[int]) -> Value:
    """Standardises images, uint8 [n, height, width, channels]."""
    x = nodes.node("Cast", "inputs", to=nodes.type_of(nodes.precision))
    x = nodes.node("Div", nodes.node("Sub", x, nodes.number(frozen.inputs.mean)), nodes.number(frozen.inputs.std))
    return Value(nodes.node("Transpose", x, perm=[0, 3, 1, 2]), 1, tuple(shape))


# Operations of networks, which draws share as far as they can.

def _dense(nodes: Nodes, operation: Operation, frozen: Frozen, h: Value) -> Value:
    weights = frozen.weights[operation.spec.name]
    s = nodes.node("MatMul", h.name, nodes.number(weights[:, :-1]))
    return Value(nodes.node("Add", s, nodes.number(weights[:, -1:])), len(weights), ())


def _conv2d(nodes: Nodes, operation: Operation, frozen: Frozen, h: Value) -> Value:
    weights, geometry = frozen.weights[operation.spec.name], operation.spec.geometry
    kernels = weights[:, :-1].reshape(len(weights), *geometry.kernel, h.shape[2], -1).transpose(0, 4, 3, 1, 2)
    s = nodes.node("Conv", h.name, nodes.number(kernels.reshape(-1, *kernels.shape[2:])),
                   nodes.number(weights[:, -1].reshape(-1)), group=h.n_draws, **_places(geometry, h.shape))
    return Value(s, len(weights), ())


def _batch_norm(nodes: Nodes, operation: Operation, frozen: Frozen, h: Value) -> Value:
    weights, (mean, variance) = frozen.weights[operation.spec.name], frozen.moments[operation.spec.name]
    h = _for_draws(nodes, h, len(weights))
    scale = weights[:, 0] / np.sqrt(variance.astype(np.float64) + operation.settings["epsilon"])
    scale, shift = (nodes.number(each.reshape((1, -1, 1, 1) if len(h.shape) == 3 else (len(weights), 1, -1)))
                    for each in (scale, weights[:, 1] - mean * scale))
    return h._replace(name=nodes.node("Add", nodes.node("Mul", h.name, scale), shift), n_draws=len(weights))


def _activate(nodes: Nodes, operation: Operation, frozen: Frozen, h: Value) -> Value:
    return h._replace(name=nodes.node(ACTIVATIONS[operation.settings["activation"]], h.name))


def _flatten(nodes: Nodes, operation: Operation, frozen: Frozen, h: Value) -> Value:
    if len(h.shape) == 1:
        return h
    height, width, channels = h.shape
    each = nodes.reshape(h.name, -1, h.n_draws, channels, height * width)
    return h._replace(name=nodes.reshape(nodes.node("Transpose", each, perm=[1, 0, 3, 2]), h.n_draws, -1,
                                         height * width * channels))


def _pool(kind: str) -> Callable[..., Value]:
    def pool(nodes: Nodes, operation: Operation, frozen: Frozen, h: Value) -> Value:
        size = (operation.settings["size"],) * 2
        places = _places(Geometry(size, size, "SAME"), h.shape)
        return h._replace(name=nodes.node(kind, h.name, **places))

    return pool


def _global_pool(nodes: Nodes, operation: Operation, frozen: Frozen, h: Value) -> Value:
    mean = nodes.reshape(nodes.node("ReduceMean", h.name, axes=[2, 3], keepdims=0), -1, h.n_draws, h.shape[2])
    return h._replace(name=nodes.node("Transpose", mean, perm=[1, 0, 2]))


def _add(nodes: Nodes, operation: Operation, frozen: Frozen, h: Value, other: Value) -> Value:
    n_draws = max(h.n_draws, other.n_draws)
    h, shortcut = (_for_draws(nodes, each, n_draws) for each in (h, other))
    name = shortcut.name
    if len(h.shape) == 3:
        stride, more = -(-other.shape[0] // h.shape[0]), h.shape[2] - other.shape[2]
        if stride > 1:
            start, end, axes, steps = (nodes.constant(np.array(each, np.int64)) for each in (
                [0, 0], [other.shape[0], other.shape[1]], [2, 3], [stride, stride]))
            name = nodes.node("Slice", name, start, end, axes, steps)
        if more:
            name = nodes.reshape(name, -1, n_draws, other.shape[2], *h.shape[:2])
            pads = np.array([0, 0, more // 2, 0, 0, 0, 0, more - more // 2, 0, 0])
            name = nodes.reshape(nodes.node("Pad", name, nodes.constant(pads)), -1, n_draws * h.shape[2], *h.shape[:2])
    return h._replace(name=nodes.node("Add", h.name, name), n_draws=n_draws)


def _for_draws(nodes: Nodes, h: Value, n_draws: int) -> Value:
    """Repeats the channels of images that draws share; numbers are broadcast anyway."""
    if len(h.shape) == 1 or h.n_draws == n_draws:
        return h
    return h._replace(name=nodes.node("Tile", h.name, nodes.constant(np.array([1, n_draws, 1, 1]))), n_draws=n_draws)


def _places(geometry: Geometry, size: Sequence[int]) -> Dict[str, Any]:
    """Returns the attributes of a kernel that moves over images (height, width, ...)."""
    sides = [geometry.missing(axis, size[axis]) for axis in (0, 1)]
    return {"kernel_shape": list(geometry.kernel), "strides": list(geometry.strides),
            "pads": [m // 2 for m in sides] + [m - m // 2 for m in sides]}


ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "elu": "Elu"}
OPERATIONS: Dict[str, Callable[..., Value]] = {
    "dense": _dense, "conv2d": _conv2d, "batch_norm": _batch_norm, "activate": _activate, "flatten": _flatten,
    "max_pool": _pool("MaxPool"), "average_pool": _pool("AveragePool"), "global_pool": _global_pool, "add": _add}
