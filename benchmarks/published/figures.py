"""Figures of the runs: their metrics against the epoch, and against the strength of corruptions."""
import pathlib
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import numpy as np
from matplotlib.figure import Figure

from benchmarks.published.plan import Run
from data_loader.corruptions import STRENGTHS

CURVES = {"accuracy": "test accuracy", "log_likelihood": "test log-likelihood"}
STRENGTH_CURVES = {"corrupted_accuracy": "accuracy", "corrupted_log_likelihood": "log-likelihood"}


def draw_curves(curves: Sequence[Tuple[Run, List[Dict[str, str]]]], path: pathlib.Path) -> None:
    """Draws a row of panels per variant, with a thin line per run and a thick one per method, the mean of its runs.

    curves: every run and the rows of its metrics.csv.
    """
    variants = list(dict.fromkeys(run.variant for run, _ in curves))
    figure, axes = _panels(variants, CURVES)
    for line, variant in zip(axes, variants):
        for axis, name in zip(line, CURVES):
            for number, method in enumerate(dict.fromkeys(run.method for run, _ in curves if run.variant == variant)):
                lines = [np.array([(float(row["epoch"]), float(row[f"test_{name}"])) for row in rows])
                         for run, rows in curves if (run.variant, run.method) == (variant, method)]
                for each in lines:
                    axis.plot(*each.T, color=f"C{number}", alpha=0.3, linewidth=0.8)
                axis.plot(*np.mean(lines, axis=0).T, color=f"C{number}", marker=".", label=method)
            axis.set_xlabel("epoch")
    _save(figure, axes, path)


def draw_corruptions(rows: Sequence[Mapping[str, Any]], path: pathlib.Path) -> None:
    """Draws, for the rows of table.csv, means over kinds of corruption and seeds against the strength."""
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    figure, axes = _panels(variants, STRENGTH_CURVES)
    for line, variant in zip(axes, variants):
        for axis, name in zip(line, STRENGTH_CURVES):
            for method in dict.fromkeys(row["method"] for row in rows if row["variant"] == variant):
                own = [row for row in rows if (row["variant"], row["method"]) == (variant, method)]
                axis.plot((0, *STRENGTHS), [np.mean([row[f"{name}_{strength}"] for row in own])
                                            for strength in (0, *STRENGTHS)], marker=".", label=method)
            axis.set_xlabel("strength of the corruption")
    _save(figure, axes, path)


def _panels(variants: Sequence[str], labels: Mapping[str, str]) -> Any:
    figure = Figure(figsize=(4.5 * len(labels), 3.2 * len(variants)))
    axes = figure.subplots(len(variants), len(labels), squeeze=False)
    for line, variant in zip(axes, variants):
        for axis, label in zip(line, labels.values()):
            axis.set_title(variant, fontsize=9)
            axis.set_ylabel(label)
            axis.grid(alpha=0.3)
    return figure, axes


def _save(figure: Figure, axes: Any, path: pathlib.Path) -> None:
    for line in axes:
        line[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(str(path), dpi=100)
