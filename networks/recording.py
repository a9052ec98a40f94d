"""A network as a list of operations, so that programs without TensorFlow can run it.

Nothing here knows a kind of layer: what a network calls is recorded, with its arguments.
"""
import inspect
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from networks.layers import LayerSpec, NetworkFunction, Shape, ShapeRecorder


class Operation(NamedTuple):
    """A call of a method of `layers`. Values are numbered: 0 is the network's input, i the result of operation i - 1.
    """

    kind: str                  # name of the method, e.g. "conv2d"
    inputs: Tuple[int, ...]    # numbers of the values that it is given
    spec: Optional[LayerSpec]  # of the layer whose weights it uses; None without weights
    settings: Dict[str, Any]   # its other arguments, with those that the network leaves to their defaults
    shape: Shape               # of its result for one example


class _Value(NamedTuple):
    """What a network is run on: a value with its number and the shape of one example."""

    number: int
    shape: Shape


class _OperationRecorder:
    """Runs a network on values, and records the operations by which it makes them.

    Shapes are those of a ShapeRecorder, which is also asked for the names of arguments.
    """

    def __init__(self) -> None:
        self.operations: List[Operation] = []
        self._shapes = ShapeRecorder()

    def __getattr__(self, kind: str) -> Callable[..., _Value]:
        method = getattr(self._shapes, kind)

        def call(*args: Any, **kwargs: Any) -> _Value:
            bound = inspect.signature(method).bind(*args, **kwargs)
            bound.apply_defaults()
            values = {name: value for name, value in bound.arguments.items() if isinstance(value, _Value)}
            settings = {name: value for name, value in bound.arguments.items() if name not in values}
            before = len(self._shapes.specs)
            shape = method(**{name: value.shape for name, value in values.items()}, **settings)
            added: Sequence[LayerSpec] = self._shapes.specs[before:]
            inputs = tuple(value.number for value in values.values())
            self.operations.append(Operation(kind, inputs, added[0] if added else None, settings, shape))
            return _Value(len(self.operations), shape)

        return call


def operations(network: NetworkFunction, shape: Sequence[int], n_outputs: int) -> List[Operation]:
    """Returns what `network` does with an example of `shape`; the result of the last operation is its output."""
    recorder = _OperationRecorder()
    output = network(_Value(0, tuple(int(length) for length in shape)), recorder, n_outputs)
    assert output.number == len(recorder.operations), "the last operation of a network makes its output"
    return recorder.operations
