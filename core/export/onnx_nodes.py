"""Nodes and constants of an ONNX graph, while it is built."""
import importlib
from typing import Any, Dict, List

import numpy as np

from misc.errors import UserError


def onnx_package() -> Any:
    """Returns the package onnx. Raises UserError if it is missing."""
    try:
        return importlib.import_module("onnx")
    except ImportError:
        raise UserError("--onnx needs a further package: pip install onnx, or write --npz FILE") from None


class Nodes:
    """Names what it adds by numbers.

    Args:
      precision: type of the network, float32 or float64.
      prefix: of all names.
    """

    def __init__(self, precision: str, prefix: str = "t") -> None:
        self.precision, self.onnx, self._prefix = precision, onnx_package(), prefix
        self.nodes: List[Any] = []
        self.constants: List[Any] = []
        self._n_names = 0
        self._known: Dict[Any, str] = {}

    def node(self, kind: str, *inputs: str, outputs: Any = None, **attributes: Any) -> str:
        """Adds a node; returns the name of its result, or of the first of `outputs`."""
        outputs = outputs or [self.name()]
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), outputs, **attributes))
        return outputs[0]

    def constant(self, array: Any) -> str:
        """Adds an array, once; returns its name."""
        array = np.asarray(array)
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = self.name()
            self.constants.append(self.onnx.numpy_helper.from_array(array, self._known[key]))
        return self._known[key]

    def number(self, array: Any) -> str:
        """Adds an array of the network's type."""
        return self.constant(np.asarray(array, self.precision))

    def reshape(self, name: str, *shape: int) -> str:
        """Adds a node that gives a tensor another shape; one length may be -1."""
        return self.node("Reshape", name, self.constant(np.array(shape, np.int64)))

    def reduce(self, kind: str, name: str, axis: int) -> str:
        """Adds a node that reduces one axis, which is then gone."""
        return self.node(kind, name, axes=[axis], keepdims=0)

    def type_of(self, name: str) -> int:
        """Returns the number of a type of numpy."""
        return self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(name))

    def name(self) -> str:
        """Returns a name that is not used yet."""
        self._n_names += 1
        return f"{self._prefix}{self._n_names}"
