"""Fully connected networks."""


def ffn(x, layers, n_outputs, hidden):
    """Hidden layers of the given widths, each with the activation, then a linear layer."""
    for width in hidden:
        x = layers.activate(layers.dense(x, width))
    return layers.dense(x, n_outputs)
