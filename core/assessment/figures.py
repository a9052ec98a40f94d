"""FIGURES: a function ({run: data}) -> matplotlib Figure for each of the panels of results.Results."""
from typing import Dict, Tuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from core.assessment.correlation_figures import correlations_figure, meta_correlation_figure
from core.assessment.detection import Detection
from core.assessment.panels import SMALL, WIDTH, done, leave_out, panels, side_by_side, styles
from core.assessment.results import Band
from core.assessment.table_figures import drift_figure, importance_figure
from core.metrics.calibration import LEVELS, Bins, LocalCoverage

Arrays = Tuple[np.ndarray, ...]

FEW = 5  # rows below which their accuracy is mostly chance
LEAST_NATS = 1e-4  # where the axes of uncertainties begin
KINDS = {"right": dict(color="tab:blue", alpha=0.3), "wrong": dict(color="tab:red", alpha=0.7)}


def reliability_figure(runs: Dict[str, Bins]) -> Figure:
    """Draws accuracy against confidence per bin: dots as large as the bins; bins of FEW rows and more are joined."""
    figure, (axis, counts) = panels(2, 1, height=2.2, ratios=(3, 1))
    axis.plot([0, 1], [0, 1], "--", color="grey", linewidth=1, label="calibrated")
    for (name, bins), style in zip(runs.items(), styles()):
        share, many = bins.n_rows / bins.n_rows.sum(), bins.n_rows >= FEW
        gap = np.sum(share * np.abs(bins.accuracy - bins.confidence))
        axis.plot(bins.confidence[many], bins.accuracy[many], color=style["color"], linestyle=style["linestyle"],
                  linewidth=1, alpha=0.7, label=f"{name} (ECE {gap:.3f})")
        axis.scatter(bins.confidence, bins.accuracy, s=6 + 120 * share, color=style["color"], marker=style["marker"],
                     alpha=0.8, zorder=3)
        counts.plot(bins.confidence, share, markersize=4, linewidth=1, **style)
    axis.set(ylabel="accuracy", xlim=(0, 1.02), ylim=(-0.03, 1.05))
    counts.set(xlabel="confidence (largest probability)", ylabel="share of rows", xlim=(0, 1.02), yscale="log")
    return done(figure)


def rejection_figure(runs: Dict[str, Arrays]) -> Figure:
    """Draws the accuracy on the rows that are kept as the least confident are rejected, until all runs are right."""
    figure, (axis,) = panels(1, 1)
    last = [1.0]
    for (name, (share, accuracy)), style in zip(runs.items(), styles()):
        axis.plot(1.0 - share[FEW:], accuracy[FEW:], color=style["color"], linestyle=style["linestyle"],
                  label=f"{name} (mean over all shares {accuracy.mean():.4f})")
        right = np.flatnonzero(accuracy == 1.0)
        last.append(1.0 - share[right[-1]] if len(right) else 1.0)
    end = max(last[1:])
    axis.set(xlabel="share of rows rejected, least confident first", ylabel="accuracy on the rest",
             xlim=(0, min(1.0, 1.15 * end + 0.02)))
    return done(figure)


def uncertainty_figure(runs: Dict[str, Dict[str, Arrays]]) -> Figure:
    """Draws mutual information (doubt about the weights) against expected entropy (about the label) of every row."""
    figure, axes = side_by_side(runs)
    for axis, (name, rows) in zip(axes, runs.items()):
        for kind, style in KINDS.items():
            axis.scatter(*np.maximum(rows[kind], LEAST_NATS), s=10, linewidths=0, label=kind, **style)
        n_wrong, n_right = len(rows["wrong"][0]), len(rows["right"][0])
        axis.set(xlabel="expected entropy, nats (clipped at 1e-4)", xscale="log", yscale="log",
                 title=f"{name}:\n{n_wrong} of {n_wrong + n_right} wrong")
    x_most, y_most = (max(_largest(rows[kind][i]) for rows in runs.values() for kind in KINDS) for i in (0, 1))
    axes[0].set(ylabel="mutual information, nats (clipped at 1e-4)", xlim=(0.8 * LEAST_NATS, 1.3 * x_most + LEAST_NATS),
                ylim=(0.8 * LEAST_NATS, 1.3 * y_most + LEAST_NATS))
    return done(figure)


def _largest(values: np.ndarray) -> float:
    return values.max() if len(values) else 0.0


def ood_figure(runs: Dict[str, Detection]) -> Figure:
    """Draws histograms of the uncertainty on the data's own rows and on out-of-distribution rows."""
    kinds = list(dict.fromkeys(kind for detection in runs.values() for kind in detection.pairs))
    figure, axes = panels(len(runs), len(kinds), height=2.4, share="col")
    for row, (name, detection) in zip(np.reshape(axes, (len(runs), -1)), runs.items()):
        for axis, kind in zip(row, kinds):
            if kind not in detection.pairs:
                leave_out(axis, f"{name}: no weight noise,\nno {kind}")
                continue
            top = max(values.max() for other in runs.values() for values in other.pairs.get(kind, ()))
            edges = np.linspace(0.0, max(1e-6, top), 41)
            for values, label in zip(detection.pairs[kind], detection.names):
                weights = np.full(len(values), 1.0 / len(values))
                axis.hist(values, edges, weights=weights, histtype="stepfilled", alpha=0.5, label=label)
            axis.set(ylabel="share of rows", yscale="log")
            axis.set_title(f"{name}: AUROC {detection.auroc[kind]:.3f}", fontsize=10)
            axis.set_xlabel(f"{kind}, {detection.unit}")
            axis.tick_params(labelbottom=True)
    return done(figure)


def corruptions_figure(runs: Dict[str, Dict[str, Dict[str, Dict[str, float]]]]) -> Figure:
    """Draws accuracy, log-likelihood and ECE against the strength of each corruption (0: uncorrupted)."""
    metrics = {"accuracy": "accuracy", "log_likelihood": "log-likelihood, nats", "ece": "ECE"}
    kinds = list(next(iter(runs.values())))
    figure, axes = panels(len(kinds), len(metrics), height=1.5, width=2.8, share="col")
    for row, kind in zip(np.reshape(axes, (len(kinds), -1)), kinds):
        for axis, metric in zip(row, metrics):
            for (name, by_kind), style in zip(runs.items(), styles()):
                axis.plot([int(strength) for strength in by_kind[kind]],
                          [metrics_there[metric] for metrics_there in by_kind[kind].values()],
                          markersize=4, linewidth=1.2, label=name, **style)
            axis.set_xticks(range(6))
        row[0].set_ylabel(kind)
    for axis, label in zip(axes, metrics.values()):
        axis.set_title(label, fontsize=10)
    for axis in axes[-len(metrics):]:
        axis.set_xlabel("strength")
    return done(figure)


def predictions_figure(runs: Dict[str, Arrays]) -> Figure:
    """Draws predictive mean against target; bars: two epistemic (dark) and two total (light) standard deviations."""
    figure, axes = side_by_side(runs)
    for axis, (name, (target, mean, std, epistemic)) in zip(axes, runs.items()):
        axis.errorbar(target, mean, 2.0 * std, fmt="none", ecolor="tab:blue", alpha=0.25, label="2 std, total")
        axis.errorbar(target, mean, 2.0 * epistemic, fmt="o", markersize=3, color="tab:blue", elinewidth=1.5,
                      label="2 std, epistemic")
        ends = [min(target.min(), mean.min()), max(target.max(), mean.max())]
        axis.plot(ends, ends, "--", color="grey", linewidth=1, label="predicted = target")
        axis.set(xlabel="target (data's own units)", title=name)
    axes[0].set_ylabel("predicted")
    return done(figure)


def coverage_figure(runs: Dict[str, np.ndarray]) -> Figure:
    """Draws the share of targets in the central interval against its level; below the diagonal: overconfident."""
    figure, (axis,) = panels(1, 1)
    axis.plot([0, 1], [0, 1], "--", color="grey", linewidth=1, label="calibrated (below: overconfident)")
    for (name, coverage), style in zip(runs.items(), styles()):
        axis.plot(LEVELS, coverage, color=style["color"], linestyle=style["linestyle"],
                  label=f"{name} (area {np.mean(np.abs(coverage - LEVELS)):.3f})")
    axis.set(xlabel="nominal level of the interval", ylabel="share of targets inside", xlim=(0, 1), ylim=(-0.02, 1.02))
    return done(figure)


def local_coverage_figure(runs: Dict[str, LocalCoverage]) -> Figure:
    """Draws the share of targets in the central interval along the predictive mean; an even share is right."""
    figure, axes = side_by_side(runs)
    for axis, (name, local) in zip(axes, runs.items()):
        axis.fill_between(local.position, local.low, local.high, color="grey", alpha=0.25, linewidth=0,
                          label="95 % of calibrated groups of this size")
        axis.axhline(local.level, linestyle="--", color="grey", linewidth=1, label="nominal level")
        axis.plot(local.position, local.share, "o-", color="tab:blue", markersize=4,
                  label=f"share of targets in the central {100 * local.level:.0f} % interval")
        axis.set(xlabel="predicted (data's own units)", title=name, ylim=(-0.02, 1.02))
    axes[0].set_ylabel("coverage")
    return done(figure)


def residuals_figure(runs: Dict[str, Arrays]) -> Figure:
    """Draws residual against predictive std; 95 % should lie between the lines."""
    figure, axes = side_by_side(runs)
    for axis, (name, (std, residual)) in zip(axes, runs.items()):
        axis.scatter(std, residual, s=12, alpha=0.6, linewidths=0, label="test rows")
        ends = np.array([0.95 * std.min(), 1.05 * std.max()])
        for sign in (-1.96, 1.96):
            axis.plot(ends, sign * ends, "--", color="grey", linewidth=1, label="1.96 std")
        inside = np.mean(np.abs(residual) <= 1.96 * std)
        axis.set(xlabel="predictive std", title=f"{name}:\n{100 * inside:.0f} % within 1.96 std")
    axes[0].set_ylabel("target - predicted (data's own units)")
    return done(figure)


def band_figure(runs: Dict[str, Band]) -> Figure:
    """Draws predictions over a line of inputs: mean, two epistemic and two total standard deviations, some draws."""
    figure, axes = side_by_side(runs)
    limits = [value for band in runs.values() for value in (band.train_y.min(), band.train_y.max())]
    margin = 1.2 * (max(limits) - min(limits))
    for axis, (name, band) in zip(axes, runs.items()):
        for std, alpha, label in ((band.std, 0.15, "2 std, total"), (band.epistemic_std, 0.3, "2 std, epistemic")):
            axis.fill_between(band.x, band.mean - 2.0 * std, band.mean + 2.0 * std, color="tab:blue", alpha=alpha,
                              linewidth=0, label=label)
        axis.plot(band.x, band.mean, color="tab:blue", label="mean")
        lines = axis.plot(band.x, band.samples.T, color="tab:orange", linewidth=0.5, alpha=0.7)
        lines[0].set_label(f"{len(lines)} draws" if len(lines) > 1 else "point estimate")
        axis.plot(band.train_x, band.train_y, "k.", markersize=5, label="training rows")
        axis.set(xlabel="input", title=name, ylim=(min(limits) - margin, max(limits) + margin))
    axes[0].set_ylabel("target")
    return done(figure)


def noise_figure(runs: Dict[str, Dict[str, Dict[str, float]]]) -> Figure:
    """Draws the weight noise per layer: median and the middle 90 % of the elementwise std."""
    names = list(dict.fromkeys(layer for layers in runs.values() for layer in layers))
    figure, (axis,) = panels(1, 1, width=max(WIDTH, 0.45 * len(names) + 2))
    offsets = np.linspace(-0.25, 0.25, len(runs)) if len(runs) > 1 else [0.0]
    for offset, (name, layers), style in zip(offsets, runs.items(), styles()):
        here = [layer for layer in names if layer in layers]
        low, middle, high = ([layers[layer][f"noise_std_{q}"] for layer in here] for q in (5, 50, 95))
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
    return done(figure)


def precision_figure(runs: Dict[str, Dict[str, np.ndarray]]) -> Figure:
    """Draws the normalised precision of the weights of small layers: a row per run, a column per layer."""
    names = list(dict.fromkeys(layer for layers in runs.values() for layer in layers))
    most = max(len(matrix) for layers in runs.values() for matrix in layers.values())
    side = max(2.7, most / 110.0)  # inches: about a pixel per weight
    figure, axes = panels(len(runs), len(names), height=side + 0.4, width=side + 0.9)
    for row, (name, layers) in zip(np.reshape(axes, (len(runs), -1)), runs.items()):
        for axis, layer in zip(row, names):
            if layer not in layers:
                leave_out(axis, f"{name}:\n{layer} has no weight noise\nor is too large")
                continue
            axis.grid(False)
            image = axis.imshow(layers[layer], cmap="viridis", vmin=0.0, vmax=0.5, interpolation="antialiased")
            axis.set_title(f"{name}: {layer}", fontsize=9)
            axis.set(xlabel="weight", ylabel="weight")
            figure.colorbar(image, ax=axis, shrink=0.8, extend="max", label="|precision|, normalised")
    return done(figure)


FIGURES = {
    "reliability": reliability_figure, "rejection": rejection_figure, "uncertainty": uncertainty_figure,
    "ood": ood_figure, "corruptions": corruptions_figure, "predictions": predictions_figure,
    "coverage": coverage_figure, "local_coverage": local_coverage_figure, "residuals": residuals_figure,
    "band": band_figure, "noise": noise_figure, "precision": precision_figure, "drift": drift_figure,
    "importance": importance_figure, "correlations": correlations_figure, "meta_correlation": meta_correlation_figure,
}
