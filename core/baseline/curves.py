"""A figure of test metrics against epochs, with their spread over seeds."""
import pathlib
from typing import Dict, List, Mapping, Sequence, Tuple

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

SIZE, DOTS_PER_INCH = (9, 3.6), 120
FEW = 5  # with fewer evaluations, points are drawn too
VIEW = (2, 98)  # percentiles of the second half of training that the axis must show


def draw_curves(path: pathlib.Path, curves: Sequence[List[Dict[str, float]]], panels: Mapping[str, str], title: str,
                evaluate_on: str) -> None:
    """Writes a PNG: mean (line) and quartiles (band) over seeds, a panel per metric.

    Args:
      curves: per seed, a list of {"epoch": its number, METRIC: value}.
      panels: {METRIC: its label}, from left to right.
      evaluate_on: which rows, for the labels.
    """
    epochs = sorted(set.intersection(*[{row["epoch"] for row in curve} for curve in curves]))
    figure, axes = plt.subplots(1, len(panels), figsize=SIZE)
    for axis, (name, label) in zip(axes, panels.items()):
        values = np.array([[row[name] for row in curve if row["epoch"] in set(epochs)] for curve in curves])
        lower, upper = np.percentile(values, [25, 75], axis=0)
        axis.plot(epochs, values.mean(axis=0), color="C0", marker="o" if len(epochs) < FEW else "",
                  label=f"mean of {len(curves)} runs")
        axis.fill_between(epochs, lower, upper, color="C0", alpha=0.25, lw=0, label="quartiles")
        axis.set_ylim(*_limits(lower, values.mean(axis=0), upper))
        axis.set_xlabel("epoch")
        axis.set_ylabel(f"{evaluate_on} {label}")
        axis.grid(alpha=0.3)
    axes[-1].legend(loc="lower right")
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(str(path), dpi=DOTS_PER_INCH)
    plt.close(figure)


def _limits(lower: np.ndarray, mean: np.ndarray, upper: np.ndarray) -> Tuple[float, float]:
    """Returns limits of the y axis that show the second half well; the first epochs may lie outside."""
    half = len(mean) // 2
    low, high = np.percentile(np.concatenate([lower[half:], mean[half:], upper[half:]]), VIEW)
    margin = max(high - low, 1e-3 * abs(high), 1e-9)
    return low - margin, high + margin
