"""The figure of benchmarks.active_learning: metrics against the number of labelled rows."""
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D

SIZE, DOTS_PER_INCH = (3.0, 2.6), 120
STYLES = {"variance": "-", "random": ":"}


class Curve(NamedTuple):
    """A metric of one method and strategy on one data set; all arrays have an entry per step."""

    data: str
    method: str
    strategy: str
    metric: str    # as the axis shows it
    labelled: np.ndarray
    mean: np.ndarray
    error: np.ndarray  # standard error over repeats; NaN for a single one


def draw_curves(path, curves):
    """Writes a PNG: a row of panels per metric, a column per data set, a colour per method, a style per strategy."""
    sets, methods, metrics, strategies = (list(dict.fromkeys(getattr(curve, name) for curve in curves))
                                          for name in ("data", "method", "metric", "strategy"))
    figure, axes = plt.subplots(len(metrics), len(sets), figsize=(SIZE[0] * len(sets), SIZE[1] * len(metrics) + 0.4),
                                squeeze=False, sharex=True)
    for curve in curves:
        axis = axes[metrics.index(curve.metric)][sets.index(curve.data)]
        color = f"C{methods.index(curve.method)}"
        axis.plot(curve.labelled, curve.mean, STYLES[curve.strategy], color=color, lw=1.3)
        if curve.strategy != "random":  # a band for each would hide the lines
            axis.fill_between(curve.labelled, curve.mean - curve.error, curve.mean + curve.error, color=color,
                              alpha=0.15, lw=0)
    for axis, data in zip(axes[0], sets):
        axis.set_title(data, fontsize=10)
    for axis in axes[-1]:
        axis.set_xlabel("labelled rows")
    for row, metric in zip(axes, metrics):
        row[0].set_ylabel(f"test {metric}")
        for axis in row:
            axis.grid(alpha=0.3)
    keys = ([Line2D([], [], color=f"C{number}", label=method) for number, method in enumerate(methods)]
            + [Line2D([], [], color="black", ls=STYLES[name], label=f"by {name}" if name != "random" else "at random")
               for name in strategies])
    figure.legend(handles=keys, loc="lower center", ncol=len(keys), fontsize=9, frameon=False)
    figure.tight_layout(rect=(0, 0.4 / (SIZE[1] * len(metrics) + 0.4), 1, 1))
    figure.savefig(str(path), dpi=DOTS_PER_INCH)
    plt.close(figure)
