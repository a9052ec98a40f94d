"""Variants of a method judged on validation rows: the log of how a recipe was found.

    python -m benchmarks.variants --space config/search/recipe.json --data concrete yacht --splits 0-1 --folds 0-2 \
        --out docs/data/recipe_log.csv

The space is a JSON object, {NAME: {KEY: VALUE, ...}, ...}: what each variant changes in METHOD_SET.json of ekfac, say
(`optimizer`, too). Every run holds out a tenth of the training rows of a standard split, another tenth for every
fold, and is judged there; no run looks at test rows. Runs that the log holds already, with the same settings and
rows, are not made again; one that failed is said, and left out. The table has the paired differences to the first
variant: mean ± standard error over the runs that both have; of the RMSE in percent.
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
from misc.errors import RunError, UserError, one_line_errors
from misc.records import read_json, read_rows, write_rows

KEYS = ["data", "variant", "split", "fold"]
COLUMNS = [*KEYS, "rmse", "log_likelihood", "noise_precision", "seconds", "failed", "rows_hash", "settings"]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="config/search/recipe.json", metavar="JSON")
    parser.add_argument("--config", default="config/regression/ekfac_{data}.json", metavar="PATTERN")
    parser.add_argument("--data", nargs="+", default=["concrete", "energy", "housing", "yacht"], metavar="SET")
    parser.add_argument("--variants", nargs="+", metavar="NAME", help="some of the space only")
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
    """Makes the runs that the log lacks; returns all its rows that were asked for."""
    from core.baseline.jobs import parse_seeds
    from core.baseline.pool import run_parallel

    space, path = read_space(args.space, args.variants), pathlib.Path(args.out)
    found = {key_of(row): row for row in (read_rows(path) if path.is_file() else [])}
    wanted = [(data, variant, str(split), str(fold)) for variant, data in itertools.product(space, args.data)
              for split, fold in itertools.product(parse_seeds(args.splits), parse_seeds(args.folds))]
    for (variant, data), group in itertools.groupby(wanted, key=lambda key: key[1::-1]):
        configs = {key: config_of(args.config.format(data=data), args.set, space[variant], *map(int, key[2:]))
                   for key in group}
        identities = {key: identity(config) for key, config in configs.items()}
        due = [key for key, row in identities.items() if any(
            found.get(key, {}).get(name) != value for name, value in dict(row, failed="").items())]
        rows = run_parallel(row_of, [configs[key] for key in due], args.jobs) if due else []
        for key, row in zip(due, rows):
            found[key] = dict(zip(KEYS, key), **identities[key], **row)
        if due:
            write_rows(path, COLUMNS, list(found.values()))
    return [found[key] for key in wanted]


def read_space(path, names=None):
    """{name of a variant: {key: value}}, the first one the yardstick. UserError if it cannot be read."""
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
    """All that the numbers of a run depend on: its settings and the hash of the rows."""
    from data_loader.regression import load_regression

    settings = config.model_dump(exclude_unset=True, exclude={"data_path", "exp_name", "experiments_path"})
    return {"settings": json.dumps(settings, sort_keys=True), "rows_hash": load_regression(config).rows_hash}


def key_of(row):
    return tuple(row[name] for name in KEYS)


def config_of(path, overrides, values, split, fold):
    """The Config of one run. What it is judged on are validation rows, whatever the space says."""
    found = dict(Config.from_file(path, overrides).model_dump(exclude_unset=True), **values)
    return Config.from_dict(dict(found, protocol="standard", split=split, seed=split + 1, validation_fraction=0.1,
                                 validation_fold=fold, evaluate_on="validation", epoch_rate=10**6))


def row_of(config):
    """Trains one Config in a folder of its own, which does not stay; what the log says of it."""
    from core.baseline.worker import Job, work
    from misc.folders import folder_at

    with tempfile.TemporaryDirectory() as place:
        folder = folder_at(pathlib.Path(place) / "run")
        failure = work(Job(str(folder.root), config.model_dump(exclude_unset=True), "cpu", None, os.getpid()))
        if failure:
            return {"failed": failure}
        result = read_json(folder.result)
    metrics = result["metrics"]
    return {"rmse": metrics["valid_rmse"], "log_likelihood": metrics["valid_log_likelihood"],
            "noise_precision": metrics["train_noise_precision"], "seconds": round(result["train_time_s"], 2),
            "failed": ""}


def table(rows):
    """Markdown: a row per data set and variant."""
    from core.baseline.statistics import summarise

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
                          *(_spread(summarise(value), digits) for value, digits in zip(values, (1, 3))),
                          f"{means[2]:.1f}", f"{means[3]:.0f}"])
    heads = ["data", "variant", "runs", "RMSE", "log-likelihood", "RMSE, % more than the first",
             "log-likelihood, more than the first", "noise precision", "s"]
    return tabulate.tabulate(lines, heads, tablefmt="github", disable_numparse=True)


def _spread(found, digits):
    error = "" if found["se"] is None else f" ± {found['se']:.{digits}f}"
    return f"{found['mean']:+.{digits}f}{error}"


if __name__ == "__main__":
    main()
