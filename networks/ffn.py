"""Fully connected networks."""
from typing import Any, Sequence


def ffn(x: Any, layers: Any, n_outputs: int, hidden: Sequence[int], batch_norm: bool = False) -> Any:
    """Hidden layers of the given widths, each with the activation, then a linear layer. Images are flattened.

    x, layers: see networks/layers.py.
    """
    x = layers.flatten(x)
    for width in hidden:
        x = layers.dense(x, width)
        x = layers.activate(layers.batch_norm(x) if batch_norm else x)
    return layers.dense(x, n_outputs)
