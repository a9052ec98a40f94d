"""From the outputs of the weight draws to predictions, as nodes of an ONNX graph in float64."""
from typing import List, NamedTuple, Tuple

import numpy as np

from core.export.frozen import Frozen
from core.export.onnx_nodes import Nodes
from core.metrics.predictive import noise_cdf
from core.metrics.quantiles import noise_quantile
from core.training.row_columns import INTERVAL

REACH, CELLS = 20.0, 1 << 16  # of the table of the noise's distribution, in arsinh(t)
N_BISECTIONS = 60


class Output(NamedTuple):
    """An output of the model."""

    name: str
    kind: str                  # type, as numpy calls it
    further: Tuple[int, ...]   # axes beside the rows


def outputs_of(frozen: Frozen) -> List[Output]:
    """Returns the outputs of the model, by which predict.py calls them, too; "predicted" is the class's number."""
    if frozen.noise is None:
        return [Output("predicted", "int64", ()), *(Output(name, "float64", ()) for name in (
            "confidence", "entropy", "mutual_information")), Output("probabilities", "float64", (len(frozen.classes),))]
    further = (len(frozen.targets),) if frozen.targets else ()
    return [Output(name, "float64", further) for name in ("mean", "std", "epistemic_std", "lower", "upper")]


def summary(nodes: Nodes, outputs: str, frozen: Frozen) -> None:
    """Adds the outputs of the model; outputs: of the network, [K or 1, n, n_outputs]."""
    (_of_classes if frozen.noise is None else _of_numbers)(nodes, outputs, frozen)


def _of_classes(nodes: Nodes, logits: str, frozen: Frozen) -> None:
    each = nodes.node("Softmax", logits, axis=-1)
    mixed = nodes.node("ReduceMean", each, axes=[0], keepdims=0, outputs=["probabilities"])
    nodes.node("ArgMax", mixed, axis=-1, keepdims=0, outputs=["predicted"])
    nodes.node("ReduceMax", mixed, axes=[-1], keepdims=0, outputs=["confidence"])
    total = nodes.node("Neg", _sum_p_log_p(nodes, mixed), outputs=["entropy"])
    expected = nodes.reduce("ReduceMean", nodes.node("Neg", _sum_p_log_p(nodes, each)), 0)
    nodes.node("Max", nodes.node("Sub", total, expected), nodes.constant(np.float64(0.0)),
               outputs=["mutual_information"])


def _sum_p_log_p(nodes: Nodes, p: str) -> str:
    log = nodes.node("Log", nodes.node("Max", p, nodes.constant(np.float64(1e-300))))
    return nodes.node("ReduceSum", nodes.node("Mul", p, log), nodes.constant(np.array([-1])), keepdims=0)


def _of_numbers(nodes: Nodes, outputs: str, frozen: Frozen) -> None:
    noise = frozen.noise
    assert noise is not None, "a regression has noise"
    precisions = noise.precisions[:, None]
    variances = nodes.constant(1.0 / precisions)  # squared scales, [K, 1 or n, m]
    if noise.bound is not None:
        outputs, raw = nodes.name(), outputs
        half, bound = len(noise.location), nodes.constant(np.float64(noise.bound))
        second = nodes.name()
        nodes.node("Split", raw, nodes.constant(np.array([half, half])), axis=-1, outputs=[outputs, second])
        log_variance = nodes.node("Mul", bound, nodes.node("Tanh", nodes.node("Div", second, bound)))
        variances = nodes.node("Mul", variances, nodes.node("Exp", log_variance))
    mean = nodes.reduce("ReduceMean", outputs, 0)
    errors = nodes.node("Sub", outputs, mean)
    epistemic = nodes.reduce("ReduceMean", nodes.node("Mul", errors, errors), 0)
    of_noise = nodes.node("Div", nodes.reduce("ReduceMean", variances, 0), nodes.constant(1.0 - 2.0 / noise.dof))
    std = nodes.node("Sqrt", nodes.node("Add", epistemic, of_noise))
    quantiles = _quantiles(nodes, outputs, nodes.node("Sqrt", variances), noise.dof)
    lower, upper = (nodes.node("Gather", quantiles, nodes.constant(np.array(number)), axis=0) for number in (0, 1))
    scale, location = nodes.constant(noise.scale), nodes.constant(noise.location)
    for name, value in (("std", std), ("epistemic_std", nodes.node("Sqrt", epistemic))):
        _named(nodes, nodes.node("Mul", value, scale), name, frozen)
    for name, value in (("mean", mean), ("lower", lower), ("upper", upper)):
        _named(nodes, nodes.node("Add", nodes.node("Mul", value, scale), location), name, frozen)


def _named(nodes: Nodes, value: str, name: str, frozen: Frozen) -> None:
    """Makes [n, m] an output; [n] with a single target."""
    shape = [-1, len(frozen.targets)] if frozen.targets else [-1]
    nodes.node("Reshape", value, nodes.constant(np.array(shape)), outputs=[name])


def _quantiles(nodes: Nodes, f: str, scales: str, dof: np.ndarray) -> str:
    """Adds a bisection for the ends of the central interval of mixtures, [2, n, m]; f: [K or 1, n, m].

    A quantile of a mixture lies between those of its components.
    """
    levels = np.array([0.5 - 0.5 * INTERVAL, 0.5 + 0.5 * INTERVAL])
    unit = np.array([noise_quantile(level, dof) for level in levels])[:, None, None]
    each = nodes.node("Add", f, nodes.node("Mul", scales, nodes.constant(unit)))
    low, high = (nodes.reduce(kind, each, 1) for kind in ("ReduceMin", "ReduceMax"))
    body, onnx = Nodes(nodes.precision, "body"), nodes.onnx
    middle = body.node("Mul", body.node("Add", "low", "high"), body.constant(np.float64(0.5)))
    x = body.node("Unsqueeze", middle, body.constant(np.array([1])))
    t = body.node("Div", body.node("Sub", x, f), scales)
    cdf = body.reduce("ReduceMean", _noise_cdf(body, t, dof), 1)
    above = body.node("Greater", cdf, body.constant(levels[:, None, None]))
    body.node("Where", above, "low", middle, outputs=["new_low"])
    body.node("Where", above, middle, "high", outputs=["new_high"])
    body.node("Identity", "is_open", outputs=["stays_open"])
    double, truth = nodes.type_of("float64"), nodes.type_of("bool")
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        body.nodes, "bisection",
        [info("iteration", nodes.type_of("int64"), []), info("is_open", truth, []), info("low", double, None),
         info("high", double, None)],
        [info("stays_open", truth, []), info("new_low", double, None), info("new_high", double, None)], body.constants)
    ends = [nodes.name(), nodes.name()]
    nodes.node("Loop", nodes.constant(np.array(N_BISECTIONS)), nodes.constant(np.array(True)), low, high, body=graph,
               outputs=ends)
    return ends[0]


def _noise_cdf(nodes: Nodes, t: str, dof: np.ndarray) -> str:
    """Adds the distribution function of the noise, by linear interpolation in a table for each target."""
    places = np.linspace(-REACH, REACH, CELLS + 1)
    table = nodes.constant(np.concatenate([noise_cdf(np.sinh(places), float(each)) for each in dof]))
    one, zero = nodes.constant(np.float64(1.0)), nodes.constant(np.float64(0.0))
    size = nodes.node("Abs", t)
    v = nodes.node("Log", nodes.node("Add", size, nodes.node("Sqrt", nodes.node("Add", nodes.node("Mul", t, t), one))))
    v = nodes.node("Mul", v, nodes.node("Sign", t))
    place = nodes.node("Mul", nodes.node("Add", v, nodes.constant(np.float64(REACH))),
                       nodes.constant(np.float64(CELLS / (2.0 * REACH))))
    place = nodes.node("Min", nodes.node("Max", place, zero), nodes.constant(np.float64(CELLS - 1e-6)))
    cell = nodes.node("Floor", place)
    part = nodes.node("Sub", place, cell)
    first = nodes.constant(np.arange(len(dof), dtype=np.int64) * (CELLS + 1))
    index = nodes.node("Add", nodes.node("Cast", cell, to=nodes.type_of("int64")), first)
    here = nodes.node("Gather", table, index)
    after = nodes.node("Gather", table, nodes.node("Add", index, nodes.constant(np.array(1))))
    return nodes.node("Add", here, nodes.node("Mul", part, nodes.node("Sub", after, here)))
