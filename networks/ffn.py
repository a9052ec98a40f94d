"""Fully connected networks."""


def ffn(x, layers, n_outputs, hidden, batch_norm=False):
    """Hidden layers of the given widths, each with the activation, then a linear layer. Images are flattened."""
    x = layers.flatten(x)
    for width in hidden:
        x = layers.dense(x, width)
        x = layers.activate(layers.batch_norm(x) if batch_norm else x)
    return layers.dense(x, n_outputs)
