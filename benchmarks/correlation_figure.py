"""The figure of benchmarks.correlations: scores of all methods, data set by data set."""
import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

SIZE, DOTS_PER_INCH = (5.2, 3.6), 120
PANELS = {"meta": ("meta-correlation with the reference", lambda row: row["meta"]),
          "joint": ("joint minus marginal log-likelihood", lambda row: row["joint"] - row["marginal"])}


def draw_scores(path, rows):
    """Writes a PNG: mean (dot) and standard error over splits (bar) of each method, a panel per score.

    rows: of benchmarks.correlations. Meta-correlations are left out if a row has none.
    """
    shown = [panel for name, panel in PANELS.items() if all(name in row for row in rows)]
    sets = list(dict.fromkeys(row["data"] for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    figure, axes = plt.subplots(1, len(shown), figsize=(SIZE[0] * len(shown), SIZE[1]), squeeze=False)
    for axis, (label, score) in zip(axes[0], shown):
        for number, method in enumerate(methods):
            values = [[score(row) for row in rows if (row["data"], row["method"]) == (data, method)] for data in sets]
            errors = [np.std(group, ddof=1) / len(group)**0.5 if len(group) > 1 else 0.0 for group in values]
            shift = 0.7 * ((number + 0.5) / len(methods) - 0.5)  # so that dots of a data set stand side by side
            axis.errorbar(np.arange(len(sets)) + shift, [np.mean(group) if group else np.nan for group in values],
                          errors, fmt="o", ms=4, lw=1.2, label=method)
        axis.axhline(0.0, color="grey", lw=0.8)
        axis.set_xticks(range(len(sets)))
        axis.set_xticklabels(sets, rotation=30, ha="right")
        axis.set_ylabel(label, fontsize=9)
        axis.grid(alpha=0.3)
    axes[0][-1].legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    figure.tight_layout()
    figure.savefig(str(path), dpi=DOTS_PER_INCH)
    plt.close(figure)
