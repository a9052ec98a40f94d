"""Trains three methods on numerically difficult data: every run must end with finite metrics or in a one-line error.

    python -m tests.nasty_data [--sets N] [--steps N] [--seed S]

Prints how often each outcome occurred. The exit code is 1 after a traceback, or a finished run with a metric that is
not finite.
"""
import argparse
import collections
import json
import pathlib
import sys
import tempfile

import numpy as np

from misc import backend
from misc.config import Config
from misc.errors import RunError, UserError

METHODS = ("ekfac", "kfac", "diag")
EXTREME = ({}, {"kl": 1e-8, "eta": 1e8, "beta": 0.3}, {"kl": 1e-8, "eta": 1e8, "beta": 0.3, "damping": 1e-2})


def constant_columns(rng, x, y):
    x[:, rng.randint(0, x.shape[1], 2)] = rng.choice([0.0, 1.0, -1e6, 1e-6])
    return x, y


def doubled_columns(rng, x, y):
    return np.column_stack([x, x, x[:, ::-1]]), y


def scales(rng, x, y):
    return x * 10.0 ** rng.uniform(-8, 8, x.shape[1]), y * 10.0 ** rng.uniform(-8, 8)


def few_rows(rng, x, y):
    n = rng.randint(10, 14)
    return rng.randn(n, 30), rng.randn(n)


def one_hot_targets(rng, x, y):
    return x, (np.arange(len(y)) == rng.randint(len(y))).astype(float)


def outliers(rng, x, y):
    x[rng.randint(len(x))] *= 10.0 ** rng.uniform(3, 12)
    y[rng.randint(len(y))] *= 10.0 ** rng.uniform(3, 12)
    return x, y


def identical_rows(rng, x, y):
    x[:] = x[0]
    return x, y if rng.rand() < 0.5 else np.full_like(y, y[0])


def nearly_constant(rng, x, y):
    return 1e8 + 1e-6 * x, y


def rank_one(rng, x, y):
    return x[:, :1] * rng.randn(1, x.shape[1]), x[:, 0]


def heavy_tails(rng, x, y):
    return rng.standard_cauchy(x.shape) ** 3, rng.standard_cauchy(len(y)) ** 3


def binary(rng, x, y):
    return (x > 1.5).astype(float), (y > 0).astype(float)


KINDS = (constant_columns, doubled_columns, scales, few_rows, one_hot_targets, outliers, identical_rows,
         nearly_constant, rank_one, heavy_tails, binary)


def outcome(values):
    """Trains one run; returns (what happened, detail)."""
    from core.training import run

    try:
        result = run.execute(run.plan(Config.from_dict(values), "cpu"))
    except RunError as error:
        return "stopped with a message", str(error)
    except UserError as error:
        return "refused", str(error)
    except Exception as error:  # a bug
        return "TRACEBACK", f"{type(error).__name__}: {error}"
    broken = [name for name, value in result["metrics"].items() if not np.isfinite(value)]
    if broken:
        return "NOT FINITE", ", ".join(broken)
    return ("finite, with incidents" if any(result["incidents"].values()) else "finite"), ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=110)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    backend.prepare()
    counts = collections.Counter()
    with tempfile.TemporaryDirectory() as place:
        for index in range(args.sets):
            rng, kind = np.random.RandomState(args.seed + index), KINDS[index % len(KINDS)]
            x = rng.randn(rng.randint(12, 90), rng.randint(2, 9))
            x, y = kind(rng, x, x[:, 0] - np.sin(2.0 * x[:, 1]) + 0.1 * rng.randn(len(x)))
            name = f"set{index}"
            np.savetxt(str(pathlib.Path(place) / f"{name}.data"), np.column_stack([x, y]))
            for method in METHODS:
                what, detail = outcome(dict(
                    dataset=name, optimizer=method, model_name="ffn", hidden=[20], batch_size=10, seed=index,
                    data_path=place, epoch=-(-args.steps // -(-int(0.9 * len(x)) // 10)), epoch_rate=1000,
                    experiments_path=f"{place}/e", train_particles=3, test_particles=10,
                    **EXTREME[index // len(KINDS) % len(EXTREME)]))
                counts[what] += 1
                if what not in ("finite", "finite, with incidents"):
                    print(json.dumps([kind.__name__, name, method, what, detail]), flush=True)
    print(", ".join(f"{what}: {count}" for what, count in sorted(counts.items())))
    sys.exit(any(what.isupper() for what in counts))


if __name__ == "__main__":
    main()
