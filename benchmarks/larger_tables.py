"""Compares the recipe with tuned Adam on simulated tables, larger than those that it was chosen on.

    python -m benchmarks.larger_tables [--tables wide outliers long gaussian] [--out CSV]

Split 0 of the standard splits, ffn50, one thread. Adam is trained with step sizes of STEP_SIZES and three lengths for
each table on nine tenths of the training rows; the one with the best log-likelihood on the last tenth is trained again
on all of them. `seconds` is the training time of a fit, `tuning` that of the fits of the choice.
"""
import argparse
import itertools
import pathlib
import tempfile
from typing import Callable, NamedTuple, Tuple

import numpy as np
import tabulate

from benchmarks.checks import check_out, read_out
from misc import backend
from misc.config import Config
from misc.config_overlays import FOLDER, read_overlay
from misc.errors import one_line_errors
from misc.records import write_rows

STEP_SIZES = (0.001, 0.003, 0.01)
COLUMNS = ["table", "method", "rmse", "log_likelihood", "coverage", "seconds", "tuning", "chosen"]


class Simulated(NamedTuple):
    """A table that is drawn at random."""

    meaning: str
    draw: Callable[[np.random.RandomState], np.ndarray]  # rows [n, d + 1], the target last
    lengths: Tuple[int, ...]                             # epochs that Adam chooses from


def friedman(x):
    """Returns Friedman's function of the first five of ten inputs, uniform in [0, 1]."""
    return 10.0 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20.0 * (x[:, 2] - 0.5)**2 + 10.0 * x[:, 3] + 5.0 * x[:, 4]


def wide(rng):
    x = rng.standard_normal((20000, 50))
    return np.column_stack([x, np.sin(x[:, 0]) + x[:, 1] * x[:, 2] + 0.1 * rng.standard_normal(20000)])


def outliers(rng):
    x = rng.uniform(size=(5000, 10))
    scale = np.where(rng.uniform(size=5000) < 0.05, 15.0, 1.0)
    return np.column_stack([x, friedman(x) + scale * rng.standard_normal(5000)])


def long(rng):
    x = rng.standard_normal((200000, 8))
    smooth = np.sin(x[:, 0]) + 0.5 * x[:, 1] * x[:, 2] + np.tanh(x[:, 3]) - 0.3 * x[:, 4]
    return np.column_stack([x, smooth + 0.2 * rng.standard_normal(200000)])


def gaussian(rng):
    x = rng.uniform(size=(50000, 10))
    return np.column_stack([x, friedman(x) + rng.standard_normal(50000)])


TABLES = {
    "wide": Simulated("20000 x 50, sin(x0) + x1 x2, noise 0.1", wide, (20, 60, 150)),
    "outliers": Simulated("5000 x 10, Friedman's function, 5 % of the rows with 15 times the noise", outliers,
                          (30, 100, 300)),
    "long": Simulated("200000 x 8, noise 0.2", long, (3, 6, 12)),
    "gaussian": Simulated("50000 x 10, Friedman's function, Gaussian noise of 1", gaussian, (10, 30, 90)),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=TABLES)
    parser.add_argument("--out", metavar="CSV", help="write the rows to this file, and go on from it")
    args = parser.parse_args()
    with one_line_errors("benchmarks.larger_tables", "what was printed is complete"):
        check_out(args.out)
        backend.prepare()
        rows = read_out(args.out, ("table", "method", "chosen"), COLUMNS)
        done = {(row["table"], row["method"]) for row in rows}
        with tempfile.TemporaryDirectory() as place:
            for name in args.tables:
                np.savetxt(str(pathlib.Path(place) / f"{name}.data"), TABLES[name].draw(np.random.RandomState(0)))
                for label, method in METHODS.items():
                    if (name, label) in done:
                        continue
                    rows.append(dict(method(name, place), table=name, method=label))
                    print(", ".join(f"{column} {rows[-1][column]}" for column in COLUMNS), flush=True)
                    if args.out:
                        write_rows(pathlib.Path(args.out), COLUMNS, rows)
        print(tabulate.tabulate([[TABLES[row["table"]].meaning, *(row.get(column, "") for column in COLUMNS[1:])]
                                 for row in rows], COLUMNS, tablefmt="github", floatfmt=".3f"))


def recipe(name, place):
    """Returns the row of the recipe."""
    keys = {key: value for key, value in read_overlay(FOLDER / "recipe.json").values.items() if value is not None}
    return dict(row_of(trained(name, place, optimizer="ekfac", **keys)), tuning=0.0, chosen="")


def adam(name, place):
    """Returns the row of Adam, whose step size and length are chosen inside the training rows."""
    scores, tuning = {}, 0.0
    for alpha, epoch in itertools.product(STEP_SIZES, TABLES[name].lengths):
        result = trained(name, place, **adam_keys(alpha, epoch), evaluate_on="validation", validation_fraction=0.1)
        scores[alpha, epoch] = result["metrics"]["valid_log_likelihood"]
        tuning += result["train_time_s"]
    alpha, epoch = max(scores, key=scores.get)
    return dict(row_of(trained(name, place, **adam_keys(alpha, epoch))), tuning=tuning,
                chosen=f"alpha={alpha:g} epochs={epoch}")


def adam_keys(alpha, epoch):
    return dict(optimizer="adam", alpha=alpha, epoch=epoch, epoch_rate=epoch, save_interval=epoch, batch_size=128,
                noise_update="conjugate", learning_rate=0.02, noise_prior_shape=0.01, noise_prior_rate=0.0001)


def trained(name, place, **keys):
    """Returns what result.json says of a run on the table."""
    from core.training import run

    config = Config.from_dict(dict(keys, dataset=name, data_path=place, model_name="ffn50", protocol="standard",
                                   split=0, test_particles=20, experiments_path=f"{place}/experiments"))
    return run.execute(run.plan(config, "cpu"))


def row_of(result):
    metrics = result["metrics"]
    return {"rmse": metrics["test_rmse"], "log_likelihood": metrics["test_log_likelihood"],
            "coverage": metrics["test_coverage_90"], "seconds": result["train_time_s"]}


METHODS = {"ekfac, recipe": recipe, "adam": adam}

if __name__ == "__main__":
    main()
