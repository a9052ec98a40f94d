"""Images for people: a grid of inputs, and a classifier's most confident mistakes."""
import numpy as np


def image_grid(images):
    """uint8 [n, height, width, 1 or 3] -> one uint8 picture with the images row by row, one pixel apart."""
    n, height, width, channels = images.shape
    columns = int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    grid = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, channels), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = (i // columns) * (height + 1), (i % columns) * (width + 1)
        grid[top:top + height, left:left + width] = image
    return grid


def misclassified_figure(images, probabilities, labels, classes, n_most=12):
    """The wrong predictions with the highest probability, as a matplotlib Figure; None if all are right."""
    from matplotlib.figure import Figure

    chosen = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(chosen != labels)
    if not len(wrong):
        return None
    worst = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:n_most]
    figure = Figure(figsize=(9, 2.5 * -(-len(worst) // 4)))
    axes = figure.subplots(-(-len(worst) // 4), 4, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, i in zip(axes, worst):
        axis.imshow(images[i].squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.set_title(f"{classes[chosen[i]]} {probabilities[i, chosen[i]]:.2f}\n"
                       f"is {classes[labels[i]]} {probabilities[i, labels[i]]:.2f}", fontsize=9)
    figure.tight_layout()
    return figure
