"""FIGURES: name -> function ({run: data}) -> matplotlib Figure; the data are those of answers.Answers.panels.

Runs beside each other share their axes; legends stand under the panels, so that they cover nothing.
"""
import numpy as np

from core.metrics.calibration import LEVELS

WIDTH = 4.6  # inches of one panel
FEW = 5  # rows below which their accuracy is mostly chance
LEAST_NATS = 1e-4  # where the axes of uncertainties begin
LINES, MARKERS = ("-", "--", "-.", ":"), "osD^vPX"
SMALL = 8  # points


def reliability_figure(runs):
    """Accuracy against confidence, per bin (dots as large as the bins, those of 5 rows and more joined)."""
    figure, (axis, counts) = _panels(2, 1, height=2.2, ratios=(3, 1))
    axis.plot([0, 1], [0, 1], "--", color="grey", linewidth=1, label="calibrated")
    for (name, bins), style in zip(runs.items(), _styles()):
        share, many = bins.n_rows / bins.n_rows.sum(), bins.n_rows >= FEW
        gap = np.sum(share * np.abs(bins.accuracy - bins.confidence))
        axis.plot(bins.confidence[many], bins.accuracy[many], color=style["color"], linestyle=style["linestyle"],
                  linewidth=1, alpha=0.7, label=f"{name} (ECE {gap:.3f})")
        axis.scatter(bins.confidence, bins.accuracy, s=6 + 120 * share, color=style["color"], marker=style["marker"],
                     alpha=0.8, zorder=3)
        counts.plot(bins.confidence, share, markersize=4, linewidth=1, **style)
    axis.set(ylabel="accuracy", xlim=(0, 1.02), ylim=(-0.03, 1.05))
    counts.set(xlabel="confidence (largest probability)", ylabel="share of rows", xlim=(0, 1.02), yscale="log")
    return _done(figure)


def rejection_figure(runs):
    """Accuracy on the rows that are kept when the least confident are rejected, up to where all runs are right."""
    figure, (axis,) = _panels(1, 1)
    last = [1.0]
    for (name, (share, accuracy)), style in zip(runs.items(), _styles()):
        axis.plot(1.0 - share[FEW:], accuracy[FEW:], color=style["color"], linestyle=style["linestyle"],
                  label=f"{name} (mean over all shares {accuracy.mean():.4f})")
        right = np.flatnonzero(accuracy == 1.0)
        last.append(1.0 - share[right[-1]] if len(right) else 1.0)
    end = max(last[1:])
    axis.set(xlabel="share of rows rejected, least confident first", ylabel="accuracy on the rest",
             xlim=(0, min(1.0, 1.15 * end + 0.02)))
    return _done(figure)


def uncertainty_figure(runs):
    """Mutual information against expected entropy of every row: doubt about the weights, and about the label."""
    figure, axes = _beside(runs)
    for axis, (name, kinds) in zip(axes, runs.items()):
        for kind, style in (("right", dict(color="tab:blue", alpha=0.3)), ("wrong", dict(color="tab:red", alpha=0.7))):
            axis.scatter(*np.maximum(kinds[kind], LEAST_NATS), s=10, linewidths=0, label=kind, **style)
        n_wrong, n_right = len(kinds["wrong"][0]), len(kinds["right"][0])
        axis.set(xlabel="expected entropy, nats (1e-4: or less)", xscale="log", yscale="log",
                 title=f"{name}:\n{n_wrong} of {n_wrong + n_right} wrong")
    most = [1.3 * max(kinds[kind][i].max() if len(kinds[kind][i]) else 0.0 for kinds in runs.values()
                      for kind in ("right", "wrong")) + LEAST_NATS for i in (0, 1)]
    axes[0].set(ylabel="mutual information, nats (1e-4: or less)", xlim=(0.8 * LEAST_NATS, most[0]),
                ylim=(0.8 * LEAST_NATS, most[1]))
    return _done(figure)


def ood_figure(runs):
    """Histograms of the uncertainty on the data's own and on strange rows."""
    kinds = list(dict.fromkeys(kind for strange in runs.values() for kind in strange.pairs))
    figure, axes = _panels(len(runs), len(kinds), height=2.4, share="col")
    for row, (name, strange) in zip(np.reshape(axes, (len(runs), -1)), runs.items()):
        for axis, kind in zip(row, kinds):
            if kind not in strange.pairs:
                _leave_out(axis, f"{name}: no weight noise,\nno {kind}")
                continue
            top = max(pair.max() for other in runs.values() for pair in other.pairs.get(kind, ()))
            edges = np.linspace(0.0, max(1e-6, top), 41)
            for values, label in zip(strange.pairs[kind], strange.names):
                weights = np.full(len(values), 1.0 / len(values))
                axis.hist(values, edges, weights=weights, histtype="stepfilled", alpha=0.5, label=label)
            axis.set(ylabel="share of rows", yscale="log")
            axis.set_title(f"{name}: AUROC {strange.auroc[kind]:.3f}", fontsize=10)
            axis.set_xlabel(f"{kind}, nats")
            axis.tick_params(labelbottom=True)
    return _done(figure)


def corruptions_figure(runs):
    """Accuracy, log-likelihood and ECE against the strength of each corruption (0: the pictures as they are)."""
    metrics = {"accuracy": "accuracy", "log_likelihood": "log-likelihood, nats", "ece": "ECE"}
    kinds = list(next(iter(runs.values())))
    figure, axes = _panels(len(kinds), len(metrics), height=1.5, width=2.8, share="col")
    for row, kind in zip(np.reshape(axes, (len(kinds), -1)), kinds):
        for axis, metric in zip(row, metrics):
            for (name, by), style in zip(runs.items(), _styles()):
                axis.plot([int(strength) for strength in by[kind]], [found[metric] for found in by[kind].values()],
                          markersize=4, linewidth=1.2, label=name, **style)
            axis.set_xticks(range(6))
        row[0].set_ylabel(kind)
    for axis, label in zip(axes, metrics.values()):
        axis.set_title(label, fontsize=10)
    for axis in axes[-len(metrics):]:
        axis.set_xlabel("strength")
    return _done(figure)


def predictions_figure(runs):
    """Predictive mean against target; bars: two epistemic (dark) and two whole (light) standard deviations."""
    figure, axes = _beside(runs)
    for axis, (name, (target, mean, std, epistemic)) in zip(axes, runs.items()):
        axis.errorbar(target, mean, 2.0 * std, fmt="none", ecolor="tab:blue", alpha=0.25, label="2 std, whole")
        axis.errorbar(target, mean, 2.0 * epistemic, fmt="o", markersize=3, color="tab:blue", elinewidth=1.5,
                      label="2 std, of the weights")
        ends = [min(target.min(), mean.min()), max(target.max(), mean.max())]
        axis.plot(ends, ends, "--", color="grey", linewidth=1, label="predicted = target")
        axis.set(xlabel="target (its own units)", title=name)
    axes[0].set_ylabel("predicted")
    return _done(figure)


def coverage_figure(runs):
    """Share of targets inside the central interval against its nominal level; below the diagonal: too sure."""
    figure, (axis,) = _panels(1, 1)
    axis.plot([0, 1], [0, 1], "--", color="grey", linewidth=1, label="calibrated (below: too sure)")
    for (name, coverage), style in zip(runs.items(), _styles()):
        axis.plot(LEVELS, coverage, color=style["color"], linestyle=style["linestyle"],
                  label=f"{name} (area {np.mean(np.abs(coverage - LEVELS)):.3f})")
    axis.set(xlabel="nominal level of the interval", ylabel="share of targets inside", xlim=(0, 1), ylim=(-0.02, 1.02))
    return _done(figure)


def residuals_figure(runs):
    """Residual against predictive std; 95 % should lie between the lines."""
    figure, axes = _beside(runs)
    for axis, (name, (std, residual)) in zip(axes, runs.items()):
        axis.scatter(std, residual, s=12, alpha=0.6, linewidths=0, label="test rows")
        ends = np.array([0.95 * std.min(), 1.05 * std.max()])
        for sign in (-1.96, 1.96):
            axis.plot(ends, sign * ends, "--", color="grey", linewidth=1, label="1.96 std")
        inside = np.mean(np.abs(residual) <= 1.96 * std)
        axis.set(xlabel="predictive std", title=f"{name}:\n{100 * inside:.0f} % within 1.96 std")
    axes[0].set_ylabel("target - predicted (its units)")
    return _done(figure)


def band_figure(runs):
    """One-dimensional inputs: mean, two epistemic and two whole standard deviations, some draws, the training rows."""
    figure, axes = _beside(runs)
    limits = [value for band in runs.values() for value in (band.train_y.min(), band.train_y.max())]
    margin = 1.2 * (max(limits) - min(limits))
    for axis, (name, band) in zip(axes, runs.items()):
        for std, alpha, label in ((band.std, 0.15, "2 std, whole"), (band.epistemic_std, 0.3, "2 std, of the weights")):
            axis.fill_between(band.x, band.mean - 2.0 * std, band.mean + 2.0 * std, color="tab:blue", alpha=alpha,
                              linewidth=0, label=label)
        axis.plot(band.x, band.mean, color="tab:blue", label="mean")
        lines = axis.plot(band.x, band.samples.T, color="tab:orange", linewidth=0.5, alpha=0.7)
        lines[0].set_label(f"{len(lines)} draws" if len(lines) > 1 else "the weights as they are")
        axis.plot(band.train_x, band.train_y, "k.", markersize=5, label="training rows")
        axis.set(xlabel="input", title=name, ylim=(min(limits) - margin, max(limits) + margin))
    axes[0].set_ylabel("target")
    return _done(figure)


def noise_figure(runs):
    """Weight noise per layer: median and the middle 90 % of the elementwise std."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    names = list(dict.fromkeys(layer for found in runs.values() for layer in found))
    figure, (axis,) = _panels(1, 1, width=max(WIDTH, 0.45 * len(names) + 2))
    offsets = np.linspace(-0.25, 0.25, len(runs)) if len(runs) > 1 else [0.0]
    for offset, (name, found), style in zip(offsets, runs.items(), _styles()):
        here = [layer for layer in names if layer in found]
        low, middle, high = ([found[layer][f"noise_std_{q}"] for layer in here] for q in (5, 50, 95))
        axis.errorbar([names.index(layer) + offset for layer in here], middle,
                      [np.subtract(middle, low), np.subtract(high, middle)], fmt=style["marker"],
                      color=style["color"], markersize=4, capsize=2, label=name)
    axis.set_xticks(range(len(names)))
    axis.set_xticklabels(names, rotation=60 if len(names) > 4 else 0, ha="right" if len(names) > 4 else "center",
                         fontsize=SMALL)
    axis.set(ylabel="std of a weight (median, 5 to 95 %)", yscale="log")
    low, high = axis.get_ylim()
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}") if high < 10 * low
                                   else NullFormatter())
    return _done(figure)


def precision_figure(runs):
    """Normalised precision of the weights of small layers: a row per run, a column per layer."""
    names = list(dict.fromkeys(layer for found in runs.values() for layer in found))
    most = max(len(matrix) for found in runs.values() for matrix in found.values())
    side = max(2.7, most / 110.0)  # inches: about a pixel per weight
    figure, axes = _panels(len(runs), len(names), height=side + 0.4, width=side + 0.9)
    for row, (name, found) in zip(np.reshape(axes, (len(runs), -1)), runs.items()):
        for axis, layer in zip(row, names):
            if layer not in found:
                _leave_out(axis, f"{name}:\n{layer} has no weight noise\nor is large")
                continue
            axis.grid(False)
            image = axis.imshow(found[layer], cmap="viridis", vmin=0.0, vmax=0.5, interpolation="antialiased")
            axis.set_title(f"{name}: {layer}", fontsize=9)
            axis.set(xlabel="weight", ylabel="weight")
            figure.colorbar(image, ax=axis, shrink=0.8, extend="max", label="|precision|, normalised")
    return _done(figure)


FIGURES = {
    "reliability": reliability_figure, "rejection": rejection_figure, "uncertainty": uncertainty_figure,
    "ood": ood_figure, "corruptions": corruptions_figure, "predictions": predictions_figure,
    "coverage": coverage_figure, "residuals": residuals_figure, "band": band_figure, "noise": noise_figure,
    "precision": precision_figure,
}


def _panels(n_rows, n_columns, height=3.2, width=WIDTH, ratios=None, share=False):
    """(Figure, list of its axes), row by row. share: axes alike in all panels (True), or in each column ("col")."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * n_columns, height * n_rows))
    grid = figure.subplots(n_rows, n_columns, squeeze=False, sharex=share, sharey=share,
                           gridspec_kw={"height_ratios": ratios} if ratios else None)
    for axis in grid.ravel():
        axis.grid(alpha=0.25)
    return figure, list(grid.ravel())


def _beside(runs):
    """(Figure, its axes): a panel per run, side by side, with one scale."""
    return _panels(1, len(runs), height=3.4 if len(runs) == 1 else 3.0, width=WIDTH if len(runs) == 1 else 2.7,
                   share=True)


def _styles():
    """How the first, second, ... run is drawn: lines and marks that can be told apart where they overlap."""
    for i in range(1000):
        yield {"color": f"C{i % 10}", "linestyle": LINES[i % len(LINES)], "marker": MARKERS[i % len(MARKERS)]}


def _leave_out(axis, why):
    axis.axis("off")
    axis.text(0.5, 0.5, why, ha="center", va="center", fontsize=SMALL, color="grey", transform=axis.transAxes)


def _done(figure):
    """The figure with one legend of all its panels under them."""
    figure.tight_layout()
    named = {label: handle for axis in figure.axes for handle, label in zip(*axis.get_legend_handles_labels())}
    if named:
        longest = 0.085 * max(map(len, named)) + 0.5  # inches, about
        columns = int(max(1, min(len(named), figure.get_figwidth() // longest)))
        figure.legend(named.values(), named, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncol=columns,
                      fontsize=SMALL, frameon=False)
    return figure
