"""Figures of images: a grid of inputs, and the misclassified ones with the highest confidence."""
import typing

import numpy as np

if typing.TYPE_CHECKING:
    from matplotlib.figure import Figure


def image_grid(images: np.ndarray) -> np.ndarray:
    """Arranges images, uint8 [n, height, width, 1 or 3], row by row and one pixel apart; returns one uint8 image."""
    n, height, width, channels = images.shape
    columns = int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    grid = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, channels), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = (i // columns) * (height + 1), (i % columns) * (width + 1)
        grid[top:top + height, left:left + width] = image
    return grid


def misclassified_figure(images: np.ndarray, probabilities: np.ndarray, labels: np.ndarray,
                         classes: typing.Sequence[str], n_most: int = 12) -> "typing.Optional[Figure]":
    """Draws the wrong predictions with the highest probability; returns None if all predictions are right.

    Args:
      images: uint8 [n, height, width, 1 or 3].
      probabilities: [n, classes].
      labels: int [n].
      classes: names in the order of the labels.
      n_most: draw at most so many.
    """
    from matplotlib.figure import Figure

    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    if not len(wrong):
        return None
    worst = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:n_most]
    figure = Figure(figsize=(9, 2.5 * -(-len(worst) // 4)))
    axes = figure.subplots(-(-len(worst) // 4), 4, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, i in zip(axes, worst):
        axis.imshow(images[i].squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.set_title(f"{classes[predicted[i]]} {probabilities[i, predicted[i]]:.2f}\n"
                       f"is {classes[labels[i]]} {probabilities[i, labels[i]]:.2f}", fontsize=9)
    figure.tight_layout()
    return figure
