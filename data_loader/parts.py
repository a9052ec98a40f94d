"""What a loader hands on: rows to train and to evaluate on, and what the graph must know of them."""
import collections

Part = collections.namedtuple("Part", ["x", "y"])
"""x: [n, d] standardised inputs, or uint8 pictures [n, height, width, channels]; y: [n] standardised
targets, or int32 labels."""

Pixels = collections.namedtuple("Pixels", ["mean", "std"])
"""Mean and standard deviation of every channel over the training pictures, in 0..255."""

Spec = collections.namedtuple("Spec", ["n_rows", "shape", "n_outputs", "pixels"])
"""Training rows; shape of one input; width of the network's output; Pixels, or None for numbers
that are standardised already."""
