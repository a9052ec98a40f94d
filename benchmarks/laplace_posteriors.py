"""Compares last-layer and linearised posteriors with those of the package laplace-torch: same network, same splits.

    pip install -r benchmarks/requirements.txt
    python -m benchmarks.laplace_posteriors --data concrete yacht digits --splits 0-4 [--out CSV]

Each of our variants is trained with a posterior of all layers and of the last one, and predicts by weight draws and by
the linearised network. Regressions take the recipe: as it is, and with Gaussian noise of the level that the training
finds, which is the noise that laplace-torch knows. Digits take the classification configs with the network ffn50.

laplace-torch trains a network of the same layers on the same standardised rows, for as many epochs of minibatches of
the same size (laplace_torch.py), and predicts by the linearised network, classes by the probit approximation. The
tables have means and standard errors over splits, and of the differences, which are paired by split. Splits of tables
are the standard ones, those of digits random, counted from 0. Rows that --out has already are kept.
"""
import argparse
import functools
import itertools
import json
import pathlib
import subprocess
import sys
import tempfile
from typing import Dict, List, NamedTuple

import numpy as np
import tabulate

from benchmarks.checks import check_out, check_packages, read_out
from benchmarks.hmc import spread
from misc import backend
from misc.config import Config
from misc.errors import UserError, one_line_errors
from misc.records import write_rows

METRICS = ["rmse", "accuracy", "log_likelihood"]
COLUMNS = ["data", "split", "method", "layers", "predictive", *METRICS, "seconds"]
ROOT = pathlib.Path(__file__).resolve().parent.parent
RECIPE = "config/overlays/recipe.json"
METHODS = ["ekfac", "kfac", "ekfac_recipe", "laplace"]
FITS = ["last full, map", "last kron, map", "all kron, map", "last full, online", "last kron, online",
        "all kron, online"]  # of laplace: column `layers` of its rows
TINY = np.finfo(np.float64).tiny


class Variant(NamedTuple):
    """A method of ours."""

    optimizer: str
    overlays: List[str]
    settings: List[str]  # KEY=VALUE


class Set(NamedTuple):
    """A data set to compare on."""

    config: str                   # pattern of the config files
    variants: Dict[str, Variant]  # the first also says how long laplace-torch trains, and with which prior
    settings: List[str]           # KEY=VALUE, of all variants


GAUSSIAN = ["likelihood=gaussian", "predictive_noise=trained"]
OF_TABLES = {"ekfac": Variant("ekfac", [RECIPE], GAUSSIAN), "kfac": Variant("kfac", [RECIPE], GAUSSIAN),
             "ekfac_recipe": Variant("ekfac", [RECIPE], [])}
OF_DIGITS = {"ekfac": Variant("ekfac", [], []), "kfac": Variant("kfac", [], [])}
SETS = {"concrete": Set("config/regression/{}_concrete.json", OF_TABLES, ["protocol=standard"]),
        "yacht": Set("config/regression/{}_yacht.json", OF_TABLES, ["protocol=standard"]),
        "digits": Set("config/classification/{}_digits.json", OF_DIGITS, ["model_name=ffn50", "threads=1"])}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--splits", default="0-4", help="counted from 0")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--data-path", default="data", metavar="FOLDER")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for all methods")
    parser.add_argument("--out", metavar="CSV", help="write the rows to this file, too")
    args = parser.parse_args()
    with one_line_errors("benchmarks.laplace_posteriors", "what was printed is complete"):
        check_packages(["torch", "laplace"])
        check_out(args.out)
        backend.prepare()
        from core.baseline.jobs import parse_seeds

        rows = read_out(args.out, ("data", "method", "layers", "predictive"), COLUMNS)
        done = {(row["data"], row["split"], row["method"]) for row in rows}
        every = {(name, split): jobs(name, split, [f"data_path={args.data_path}", *args.set])
                 for name, split in itertools.product(args.data, parse_seeds(args.splits, "--splits"))}
        for (name, split), of_split in every.items():
            for method, compute in of_split.items():
                if method not in args.methods or (name, split, method) in done:
                    continue
                for row in compute():
                    rows.append(dict(data=name, split=split, **row))
                    print(", ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
                                    for key, value in rows[-1].items()), flush=True)
                if args.out:
                    write_rows(pathlib.Path(args.out), COLUMNS, rows)
        print(tables(rows))


def jobs(name, split, overrides):
    """Returns {method: function without arguments that yields its rows of the table}, for one split of a set."""
    settings = [*SETS[name].settings, f"split={split}", f"seed={split + 1}", *overrides]
    configs = {method: Config.from_file(ROOT / SETS[name].config.format(variant.optimizer),
                                        [*settings, *variant.settings], [ROOT / path for path in variant.overlays])
               for method, variant in SETS[name].variants.items()}
    found = {method: functools.partial(ours, method, config) for method, config in configs.items()}
    return dict(found, laplace=functools.partial(theirs, next(iter(configs.values()))))


def ours(method, config):
    """Yields the rows of a method of ours: posteriors of all layers and of the last, and both ways to predict."""
    from core.assessment.restore import restored
    from core.training.run import finish
    from misc.folders import claim, folder_at
    from misc.records import read_json

    for layers in ("all", "last"):
        with tempfile.TemporaryDirectory() as place:
            folder = folder_at(pathlib.Path(place) / "run")
            with claim(folder):
                finish(config.model_copy(update={"posterior_layers": layers}), folder, "cpu")
            result = read_json(folder.result)
            sampled = {name: result["metrics"].get(f"test_{name}") for name in METRICS}
            yield row_of(method, layers, "sampled", sampled, result["train_time_s"])
            with restored(folder.root, {"predictive": "linearised"}, "cpu") as run:
                evaluation = run.design.task.evaluate(run.session, run.model, run.data.test, run.data, run.noise())
            yield row_of(method, layers, "linearised", evaluation.metrics, result["train_time_s"])


def row_of(method, layers, predictive, metrics, seconds):
    """Returns a row of the table, without the data set and the split."""
    kept = {name: metrics[name] for name in METRICS if metrics.get(name) is not None}
    return dict(method=method, layers=layers, predictive=predictive, **kept, seconds=seconds)


def theirs(config):
    """Yields the rows of laplace-torch, for the network, prior, length of training and rows of a Config."""
    from core.training.run import plan

    planned = plan(config, "cpu")
    config, data = planned.config, planned.data
    settings = dict(hidden=config.hidden or [int(config.model_name[3:])], n_outputs=data.spec.n_outputs,
                    regression=data.spec.pixels is None, epochs=config.epoch, batch_size=config.batch_size,
                    prior_variance=config.eta, seed=config.seed)
    with tempfile.TemporaryDirectory() as place:
        rows, out = pathlib.Path(place) / "rows.npz", pathlib.Path(place) / "predictions.npz"
        np.savez(rows, x=inputs_of(data, data.train), y=data.train.y, new=inputs_of(data, data.test),
                 settings=json.dumps(settings))
        done = subprocess.run([sys.executable, "-m", "benchmarks.laplace_torch", str(rows), str(out)], cwd=str(ROOT),
                              capture_output=True, text=True)
        if done.returncode:
            raise UserError(f"laplace-torch failed: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
        with np.load(str(out)) as arrays:
            found = {}
            for name in arrays.files:
                fit, key = name.rsplit("/", 1)
                found.setdefault(fit, {})[key] = arrays[name]
    for fit, values in found.items():
        yield row_of("laplace", fit, "linearised", metrics_of(values, data), float(values["seconds"]))


def inputs_of(data, part):
    """Returns what the network sees, [n, d]: standardised columns, or pixels."""
    pixels = data.spec.pixels
    x = part.x if pixels is None else (part.x - pixels.mean) / pixels.std
    return np.reshape(x, (len(x), -1))


def metrics_of(values, data):
    """Returns the metrics of laplace-torch's predictions for the test rows, as those of ours are computed."""
    from core.metrics.predictive import (
        classification_statistics,
        predict,
        predict_classes,
        regression_statistics,
        values_of,
    )

    labels = data.test.y
    if "probabilities" in values:
        logits = np.log(np.maximum(values["probabilities"], TINY))[None]
        return values_of(classification_statistics(predict_classes(logits), labels), len(labels))
    prediction = predict(values["mean"][None], 1.0 / values["variance"][None], labels, data.target_mean,
                         data.target_std)
    return values_of(regression_statistics(prediction, data.target_mean + data.target_std * labels), len(labels))


def tables(rows):
    """Returns two tables in Markdown: mean and standard error over splits, and of the paired differences."""
    groups = {}
    for row in rows:
        key = tuple(row[name] for name in ("data", "method", "layers", "predictive"))
        groups.setdefault(key, {})[row["split"]] = row
    lines = [[*key, len(group), *(spread_of(group, name) for name in METRICS),
              f"{np.mean([row['seconds'] for row in group.values()]):.1f}"] for key, group in groups.items()]
    heads = ["data", "method", "layers", "predictive", "splits", "RMSE", "accuracy", "log-likelihood", "s per fit"]
    differences = [[*key, *(paired(group, groups.get((key[0], "laplace", fit, "linearised"), {})) for fit in FITS)]
                   for key, group in groups.items() if key[1] != "laplace"]
    names = [f"minus {fit}" for fit in FITS]
    return "\n\n".join(tabulate.tabulate(body, head, tablefmt="github", disable_numparse=True)
                       for body, head in ((lines, heads), (differences, [*heads[:4], *names])))


def spread_of(group, name):
    """Returns mean ± standard error of a column, or nothing if a row lacks it; group: {split: row}."""
    values = [row.get(name) for row in group.values()]
    return "" if None in values else spread(values)


def paired(group, peer):
    """Returns mean ± standard error of the differences in log-likelihood on the splits that both have."""
    shared = sorted(set(group) & set(peer))
    differences = [group[split]["log_likelihood"] - peer[split]["log_likelihood"] for split in shared]
    return spread(differences) if shared else ""


if __name__ == "__main__":
    main()
