"""FIGURES: name -> function ({run: data}) -> matplotlib Figure; the data are those of answers.Answers.panels."""
import numpy as np

from core.calibration import LEVELS

WIDTH = 4.6  # inches of one panel
FEW = 5  # rows of a bin below which its accuracy is mostly chance


def reliability_figure(runs):
    """Accuracy against confidence, per bin (dots as large as the bins, those of 5 rows and more joined)."""
    figure, (axis, counts) = _panels(2, 1, height=2.2, ratios=(3, 1))
    axis.plot([0, 1], [0, 1], "--", color="grey", linewidth=1, label="calibrated")
    for name, bins in runs.items():
        share = bins.count / bins.count.sum()
        many = bins.count >= FEW
        line, = axis.plot(bins.confidence[many], bins.accuracy[many], linewidth=1, alpha=0.7, label=name)
        axis.scatter(bins.confidence, bins.accuracy, s=6 + 120 * share, color=line.get_color(), zorder=3)
        counts.plot(bins.confidence, share, marker=".", linestyle=":", linewidth=1)
    axis.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    counts.set(xlabel="confidence (largest probability)", ylabel="share of rows", xlim=(0, 1), ylim=(0, None))
    axis.legend(fontsize=8)
    return _done(figure)


def rejection_figure(runs):
    """Accuracy on the rows that are kept when the least confident are rejected."""
    figure, (axis,) = _panels(1, 1)
    for name, (share, accuracy) in runs.items():
        axis.plot(1.0 - share, accuracy, label=f"{name} (mean {accuracy.mean():.3f})")
    axis.set(xlabel="share of rows rejected, least confident first", ylabel="accuracy on the rest", xlim=(0, 1))
    axis.legend(fontsize=8)
    return _done(figure)


def uncertainty_figure(runs):
    """Mutual information against expected entropy of every row: doubt about the weights, and about the label."""
    figure, axes = _panels(1, len(runs), height=3.6)
    for axis, (name, kinds) in zip(axes, runs.items()):
        for kind, style in (("right", dict(color="tab:blue", alpha=0.3)), ("wrong", dict(color="tab:red", alpha=0.7))):
            axis.scatter(*kinds[kind], s=6, linewidths=0, label=f"{kind} ({len(kinds[kind][0])})", **style)
        axis.set(xlabel="expected entropy, nats", ylabel="mutual information, nats", title=name)
        axis.legend(fontsize=8)
    return _done(figure)


def ood_figure(runs):
    """Histograms of the uncertainty on the data's own and on strange rows."""
    kinds = list(dict.fromkeys(kind for pairs in runs.values() for kind in pairs))
    figure, axes = _panels(len(runs), len(kinds), height=2.6)
    for row, (name, pairs) in zip(np.reshape(axes, (len(runs), -1)), runs.items()):
        for axis, kind in zip(row, kinds):
            if kind not in pairs:  # without weight noise there is no mutual information
                axis.axis("off")
                continue
            edges = np.linspace(0.0, max(1e-6, *(values.max() for values in pairs[kind])), 31)
            for values, label in zip(pairs[kind], ("test rows", "strange rows")):
                axis.hist(values, edges, density=True, alpha=0.55, label=label)
            axis.set(xlabel=f"{kind}, nats", ylabel="density", title=name)
            axis.legend(fontsize=8)
    return _done(figure)


def corruptions_figure(runs):
    """Accuracy, log-likelihood and ECE against the strength of each corruption (0: the pictures as they are)."""
    metrics = {"accuracy": "accuracy", "log_likelihood": "log-likelihood, nats", "ece": "ECE"}
    kinds = list(next(iter(runs.values())))
    figure, axes = _panels(len(metrics), len(kinds), height=1.9, width=2.3)
    for row, (metric, label) in zip(np.reshape(axes, (len(metrics), -1)), metrics.items()):
        for axis, kind in zip(row, kinds):
            for name, by in runs.items():
                axis.plot([int(strength) for strength in by[kind]], [found[metric] for found in by[kind].values()],
                          marker="o", markersize=3, label=name)
            axis.sharey(row[0])
            axis.set_xticks(range(6))
            if metric == "accuracy":
                axis.set_title(kind, fontsize=10)
        row[0].set_ylabel(label)
        if metric == "ece":
            for axis in row:
                axis.set_xlabel("strength")
    np.ravel(axes)[0].legend(fontsize=7)
    return _done(figure)


def predictions_figure(runs):
    """Predictive mean against target; bars: two epistemic (dark) and two whole (light) standard deviations."""
    figure, axes = _panels(1, len(runs), height=3.8)
    for axis, (name, (target, mean, std, epistemic)) in zip(axes, runs.items()):
        axis.errorbar(target, mean, 2.0 * std, fmt="none", ecolor="tab:blue", alpha=0.25, label="2 std, whole")
        axis.errorbar(target, mean, 2.0 * epistemic, fmt="o", markersize=3, color="tab:blue", elinewidth=1.5,
                      label="2 std, of the weights")
        ends = [min(target.min(), mean.min()), max(target.max(), mean.max())]
        axis.plot(ends, ends, "--", color="grey", linewidth=1)
        axis.set(xlabel="target (its own units)", ylabel="predicted", title=name)
        axis.legend(fontsize=8)
    return _done(figure)


def coverage_figure(runs):
    """Share of targets inside the central interval against its nominal level; below the diagonal: too sure."""
    figure, (axis,) = _panels(1, 1)
    axis.plot([0, 1], [0, 1], "--", color="grey", linewidth=1, label="calibrated")
    for name, coverage in runs.items():
        axis.plot(LEVELS, coverage, label=f"{name} (area {np.mean(np.abs(coverage - LEVELS)):.3f})")
    axis.set(xlabel="nominal level of the interval", ylabel="share of targets inside", xlim=(0, 1), ylim=(0, 1))
    axis.legend(fontsize=8)
    return _done(figure)


def residuals_figure(runs):
    """Residual against predictive std; 95 % should lie between the lines."""
    figure, axes = _panels(1, len(runs), height=3.4)
    for axis, (name, (std, residual)) in zip(axes, runs.items()):
        axis.scatter(std, residual, s=10, alpha=0.6, linewidths=0)
        ends = np.array([0.95 * std.min(), 1.05 * std.max()])
        for sign in (-1.96, 1.96):
            axis.plot(ends, sign * ends, "--", color="grey", linewidth=1)
        inside = np.mean(np.abs(residual) <= 1.96 * std)
        axis.set(xlabel="predictive std (the target's units)", ylabel="target - predicted",
                 title=f"{name}: {100 * inside:.0f} % within 1.96 std")
    return _done(figure)


def band_figure(runs):
    """One-dimensional inputs: mean, two epistemic and two whole standard deviations, some draws, the training rows."""
    figure, axes = _panels(1, len(runs), height=3.0, width=WIDTH if len(runs) == 1 else 3.0)
    limits = [value for band in runs.values() for value in (band.train_y.min(), band.train_y.max())]
    margin = 1.2 * (max(limits) - min(limits))
    for axis, (name, band) in zip(axes, runs.items()):
        for std, alpha, label in ((band.std, 0.15, "2 std, whole"), (band.epistemic_std, 0.3, "2 std, of the weights")):
            axis.fill_between(band.x, band.mean - 2.0 * std, band.mean + 2.0 * std, color="tab:blue", alpha=alpha,
                              linewidth=0, label=label)
        axis.plot(band.x, band.samples.T, color="tab:orange", linewidth=0.5, alpha=0.7)
        axis.plot(band.x, band.mean, color="tab:blue", label="mean")
        axis.plot(band.train_x, band.train_y, "k.", markersize=5, label="training rows")
        axis.set(xlabel="input", title=name, ylim=(min(limits) - margin, max(limits) + margin))
    axes[0].set_ylabel("target")
    axes[0].legend(fontsize=7, loc="upper left")
    return _done(figure)


def noise_figure(runs):
    """Weight noise per layer: median and the middle 90 % of the elementwise std."""
    names = list(dict.fromkeys(layer for found in runs.values() for layer in found))
    figure, (axis,) = _panels(1, 1, width=max(WIDTH, 0.45 * len(names) + 2))
    for offset, (name, found) in zip(np.linspace(-0.15, 0.15, len(runs)) if len(runs) > 1 else [0.0], runs.items()):
        here = [layer for layer in names if layer in found]
        low, middle, high = ([found[layer][f"noise_std_{q}"] for layer in here] for q in (5, 50, 95))
        axis.errorbar([names.index(layer) + offset for layer in here], middle,
                      [np.subtract(middle, low), np.subtract(high, middle)], fmt="o", markersize=4, capsize=2,
                      label=name)
    axis.set_xticks(range(len(names)))
    axis.set_xticklabels(names, rotation=60 if len(names) > 4 else 0, ha="right" if len(names) > 4 else "center",
                         fontsize=8)
    axis.set(ylabel="std of a weight (median, 5 to 95 %)", yscale="log")
    axis.legend(fontsize=8)
    return _done(figure)


def precision_figure(runs):
    """Normalised precision of the weights of small layers: a row per run, a column per layer."""
    names = list(dict.fromkeys(layer for found in runs.values() for layer in found))
    most = max(len(matrix) for found in runs.values() for matrix in found.values())
    side = max(2.7, most / 110.0)  # inches: a pixel per weight at least
    figure, axes = _panels(len(runs), len(names), height=side + 0.4, width=side + 0.9)
    for row, (name, found) in zip(np.reshape(axes, (len(runs), -1)), runs.items()):
        for axis, layer in zip(row, names):
            if layer not in found:
                axis.axis("off")
                continue
            axis.grid(False)
            image = axis.imshow(found[layer], cmap="viridis", vmin=0.0, vmax=0.5, interpolation="nearest")
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


def _panels(n_rows, n_columns, height=3.2, width=WIDTH, ratios=None):
    """(Figure, list of its axes), row by row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * n_columns, height * n_rows))
    grid = figure.subplots(n_rows, n_columns, squeeze=False,
                           gridspec_kw={"height_ratios": ratios} if ratios else None)
    for axis in grid.ravel():
        axis.grid(alpha=0.25)
    return figure, list(grid.ravel())


def _done(figure):
    figure.tight_layout()
    return figure
