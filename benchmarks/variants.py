"""Evaluates variants of a method on validation rows; its log shows how the recipe was chosen.

    python -m benchmarks.variants --space config/search/recipe.json --data concrete yacht --splits 0-1 --folds 0-2 \
        --out docs/data/recipe_log.csv

The space is a JSON object, {NAME: {KEY: VALUE, ...}, ...}: what each variant changes in the config file of a data set
(`optimizer`, too); null resets a key to its default. Every run holds out the test rows of a standard split and, for
each fold, another tenth of its training rows, on which it is evaluated; no run uses test rows. Runs that the log
already holds with the same settings and rows are not repeated. A run that failed is reported, and left out of the
table. The table has the paired differences to the first variant: mean ± standard error over the runs that both have; in
percent for the RMSE.
"""
import argparse
import itertools
import json
import os
import pathlib
import tempfile

import numpy as np
import tabulate

from benchmarks.checks import check_out
from misc import backend
from misc.config import Config
from misc.config_overlays import Overlay
from misc.errors import RunError, UserError, one_line_errors
from misc.records import read_json, read_rows, write_rows

KEYS = ["data", "variant", "split", "fold"]
COLUMNS = [*KEYS, "rmse", "log_likelihood", "noise_precision", "seconds", "failed", "rows_hash", "settings"]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="config/search/recipe.json", metavar="JSON")
    parser.add_argument("--config", default="config/regression/ekfac_{data}.json", metavar="PATTERN")
    parser.add_argument("--data", nargs="+", default=["concrete", "energy", "housing", "yacht"], metavar="SET")
    parser.add_argument("--variants", nargs="+", metavar="NAME", help="only these of the space")
    parser.add_argument("--splits", default="0-1", help="of the standard protocol, from 0")
    parser.add_argument("--folds", default="0-2", help="tenths of the training rows, from 0")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for all variants")
    parser.add_argument("--jobs", type=int, help="runs at a time (default: as many as cores)")
    parser.add_argument("--out", default="docs/data/recipe_log.csv", metavar="CSV")
    args = parser.parse_args(argv)
    with one_line_errors("benchmarks.variants", "the same command goes on from here"):
        check_out(args.out)
        backend.prepare()
        rows = screen(args)
        print(table([row for row in rows if not row["failed"]]))
        failed = [f"{' '.join(key_of(row))}: {row['failed']}" for row in rows if row["failed"]]
        if failed:
            raise RunError(f"{len(failed)} of {len(rows)} runs failed: {'; '.join(failed)}")


def screen(args):
    """Makes the runs that the log lacks; returns the rows of all that were asked for."""
    from core.baseline.jobs import parse_seeds
    from core.baseline.pool import Workers, parallel_map

    space, path = read_space(args.space, args.variants), pathlib.Path(args.out)
    log = {key_of(row): row for row in (read_rows(path) if path.is_file() else [])}
    wanted = [(data, variant, str(split), str(fold)) for variant, data in itertools.product(space, args.data)
              for split, fold in itertools.product(parse_seeds(args.splits), parse_seeds(args.folds))]
    for (variant, data), group in itertools.groupby(wanted, key=lambda key: key[1::-1]):
        configs = {key: config_of(args.config.format(data=data), args.set, space[variant], *map(int, key[2:]))
                   for key in group}
        identities = {key: identity(config) for key, config in configs.items()}
        due = [key for key, row in identities.items() if any(
            log.get(key, {}).get(name) != value for name, value in dict(row, failed="").items())]
        rows = parallel_map(row_of, [configs[key] for key in due], Workers(args.jobs)) if due else []
        for key, row in zip(due, rows):
            log[key] = dict(zip(KEYS, key), **identities[key], **row)
        if due:
            write_rows(path, COLUMNS, list(log.values()))
    return [log[key] for key in wanted]


def read_space(path, names=None):
    """Returns {variant: {key: value}}, the reference first. Raises UserError if the space cannot be read."""
    try:
        space = read_json(pathlib.Path(path))
    except (OSError, ValueError) as error:
        raise UserError(f"--space {path}: {error}") from None
    if not isinstance(space, dict) or not all(isinstance(values, dict) for values in space.values()):
        raise UserError(f"--space {path} must hold one JSON object of objects, {{NAME: {{KEY: VALUE, ...}}, ...}}")
    unknown = sorted(set(names or []) - set(space))
    if unknown:
        raise UserError(f"--variants {', '.join(unknown)}: {path} has {', '.join(space)}")
    return {name: space[name] for name in names or space}


def identity(config):
    """Returns what the numbers of a run depend on: its settings and the hash of the rows."""
    from data_loader.regression import load_regression

    settings = config.model_dump(exclude_unset=True, exclude={"data_path", "exp_name", "experiments_path"})
    return {"settings": json.dumps(settings, sort_keys=True), "rows_hash": load_regression(config).rows_hash}


def key_of(row):
    """Returns (data, variant, split, fold) of a row, as text."""
    return tuple(row[name] for name in KEYS)


def config_of(path, overrides, values, split, fold):
    """Returns the Config of one run. It is evaluated on validation rows, whatever the space says."""
    settings = Overlay("", "", values).laid_over(Config.from_file(path, overrides).model_dump(exclude_unset=True))
    return Config.from_dict(dict(settings, protocol="standard", split=split, seed=split + 1, validation_fraction=0.1,
                                 validation_fold=fold, evaluate_on="validation", epoch_rate=10**6))


def row_of(config):
    """Trains one Config in a temporary folder; returns what the log says of it."""
    from core.baseline.worker import Job, work
    from misc.folders import folder_at

    with tempfile.TemporaryDirectory() as place:
        folder = folder_at(pathlib.Path(place) / "run")
        failure = work(Job(root=str(folder.root), settings=config.model_dump(exclude_unset=True), device="cpu",
                           parent=os.getpid()))
        if failure:
            return {"failed": failure}
        result = read_json(folder.result)
    metrics = result["metrics"]
    return {"rmse": metrics["valid_rmse"], "log_likelihood": metrics["valid_log_likelihood"],
            "noise_precision": metrics["train_noise_precision"], "seconds": round(result["train_time_s"], 2),
            "failed": ""}


def table(rows):
    """Returns Markdown: a row per data set and variant."""
    from core.baseline.statistics import summarise, with_error

    groups = {}
    for row in rows:
        groups.setdefault(row["data"], {}).setdefault(row["variant"], {})[row["split"], row["fold"]] = row
    lines = []
    for data, variants in groups.items():
        first = next(iter(variants.values()))
        for name, runs in variants.items():
            pairs = [(run, first[key]) for key, run in runs.items() if key in first]
            values = [[100.0 * (float(run["rmse"]) / float(other["rmse"]) - 1.0) for run, other in pairs],
                      [float(run["log_likelihood"]) - float(other["log_likelihood"]) for run, other in pairs]]
            means = [np.mean([float(run[metric]) for run in runs.values()]) for metric in (
                "rmse", "log_likelihood", "noise_precision", "seconds")]
            lines.append([data, name, len(runs), *(f"{mean:.3f}" for mean in means[:2]),
                          *(with_error(summarise(value), digits, "+") for value, digits in zip(values, (1, 3))),
                          f"{means[2]:.1f}", f"{means[3]:.0f}"])
    heads = ["data", "variant", "runs", "RMSE", "log-likelihood", "RMSE, % more than the first",
             "log-likelihood, more than the first", "noise precision", "s"]
    return tabulate.tabulate(lines, heads, tablefmt="github", disable_numparse=True)


if __name__ == "__main__":
    main()
