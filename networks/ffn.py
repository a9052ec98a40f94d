"""Fully connected networks."""
from typing import Any, Sequence


def ffn(x: Any, layers: Any, n_outputs: int, hidden: Sequence[int], batch_norm: bool = False) -> Any:
    """Applies hidden layers, each followed by the activation, then a linear layer. Images are flattened first.

    Args:
      x, layers: see networks/layers.py.
      hidden: widths of the hidden layers.
      batch_norm: whether every hidden layer is followed by batch normalisation, before the activation.
    """
    x = layers.flatten(x)
    for width in hidden:
        x = layers.dense(x, width)
        x = layers.activate(layers.batch_norm(x) if batch_norm else x)
    return layers.dense(x, n_outputs)
