"""Figures of correlations between the predictions of rows."""
from typing import Any, Dict

import numpy as np
from matplotlib.figure import Figure

from core.assessment.panels import done, panels, side_by_side


def correlations_figure(runs: Dict[str, np.ndarray]) -> Figure:
    """Draws the correlations between the outputs of rows, which are in the order of their predictions."""
    figure, axes = panels(1, len(runs), height=3.0, width=3.6)
    for axis, (name, matrix) in zip(axes, runs.items()):
        axis.grid(False)
        image = axis.imshow(matrix, cmap="RdBu_r", vmin=-1.0, vmax=1.0, interpolation="nearest")
        axis.set(title=name, xlabel="row, by its prediction", ylabel="row, by its prediction")
        figure.colorbar(image, ax=axis, shrink=0.8, label="correlation of the outputs")
    return done(figure)


def meta_correlation_figure(runs: Dict[str, Any]) -> Figure:
    """Draws the correlations of pairs of rows against those of the reference."""
    figure, axes = side_by_side(runs)
    for axis, (name, cloud) in zip(axes, runs.items()):
        axis.plot([-1, 1], [-1, 1], "--", color="grey", linewidth=1, label="equal")
        axis.scatter(cloud.reference, cloud.own, s=6, alpha=0.3, linewidths=0, label="pairs of rows")
        axis.set(xlabel=f"correlation, {cloud.name}", title=f"{name}:\nmeta-correlation {cloud.value:.3f}",
                 xlim=(-1.05, 1.05), ylim=(-1.05, 1.05))
    axes[0].set_ylabel("correlation of the outputs")
    return done(figure)
