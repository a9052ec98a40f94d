"""A figure of the metrics against the number of labelled rows."""
import pathlib
from typing import Mapping, Sequence

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from core.acquisition.summary import MEAN, Entry

SIZE, DOTS_PER_INCH = (9, 3.6), 120


def draw_curves(path: pathlib.Path, entries: Sequence[Entry], labels: Mapping[str, str], title: str) -> None:
    """Writes a PNG: mean (line) and standard error over repeats (band) of each strategy, a panel per metric.

    labels: {metric: its label}, from left to right.
    """
    figure, axes = plt.subplots(1, len(labels), figsize=SIZE)
    for axis, (metric, label) in zip(axes, labels.items()):
        for number, strategy in enumerate(dict.fromkeys(entry.strategy for entry in entries)):
            those = [entry for entry in entries if entry.strategy == strategy and entry.step != MEAN]
            labelled = [entry.labelled for entry in those]
            mean, error = (np.array([entry.metrics[metric][name] or 0.0 for entry in those]) for name in ("mean", "se"))
            axis.plot(labelled, mean, color=f"C{number}", marker="o", ms=3, label=strategy)
            axis.fill_between(labelled, mean - error, mean + error, color=f"C{number}", alpha=0.2, lw=0)
        axis.set_xlabel("labelled rows")
        axis.set_ylabel(f"test {label}")
        axis.grid(alpha=0.3)
    axes[-1].legend()
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(str(path), dpi=DOTS_PER_INCH)
    plt.close(figure)
