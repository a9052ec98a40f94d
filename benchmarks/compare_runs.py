"""Compares finished classification runs: a Markdown table of their final metrics, and their curves.

    python -m benchmarks.compare_runs experiments/cifar10/{sgd,ekfac}_vgg16_plain [--out curves.png]
"""
import argparse
import pathlib

import pandas as pd
import tabulate

from misc.errors import UserError, one_line_errors
from misc.records import read_json

CURVES = {"train_expected_log_likelihood": "training log-likelihood", "test_accuracy": "test accuracy",
          "test_log_likelihood": "test log-likelihood", "test_ece": "test ECE"}
COLUMNS = {"test_accuracy": "accuracy", "test_log_likelihood": "log-likelihood", "test_brier": "Brier",
           "test_ece": "ECE",
           "test_mean_accuracy": "accuracy, mean weights", "test_mean_log_likelihood": "log-likelihood, mean weights",
           "train_expected_log_likelihood": "training log-likelihood"}


def read_run(folder):
    """Returns (name, result.json, table of metrics.csv) of a finished classification run. UserError otherwise."""
    path = pathlib.Path(folder)
    try:
        result, curve = read_json(path / "result.json"), pd.read_csv(str(path / "metrics.csv"))
    except OSError:
        raise UserError(f"{path} holds no finished run (result.json and metrics.csv)") from None
    if "test_accuracy" not in result["metrics"]:
        raise UserError(f"{path} is not a classification run evaluated on test images")
    return path.name, result, curve


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run")
    parser.add_argument("--out", metavar="PNG", help="where the curves go")
    args = parser.parse_args()
    with one_line_errors("compare_runs", "start it again"):
        runs = [read_run(folder) for folder in args.runs]
        data = {result["rows_hash"]: result["dataset"] for _, result, _ in runs}
        if len(data) > 1:
            raise UserError(f"these runs have different data: {', '.join(data.values())}")
        rows = [[name, result["seed"], *(f"{result['metrics'][key]:.4f}" for key in COLUMNS)]
                for name, result, _ in runs]
        print(tabulate.tabulate(rows, ["run", "seed", *COLUMNS.values()], tablefmt="github", disable_numparse=True))
        if args.out:
            draw(runs, args.out)


def draw(runs, path):
    """Draws a curve per run in a panel per metric."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6))
    axes = figure.subplots(2, 2).ravel()
    for axis, (key, label) in zip(axes, CURVES.items()):
        for name, _, curve in runs:
            axis.plot(curve["epoch"], curve[key], marker=".", label=name)
        axis.set_xlabel("epoch")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
