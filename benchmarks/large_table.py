"""Measures memory, start-up and speed of a regression on a large table, which is drawn at random and written as CSV.

    python -m benchmarks.large_table [--rows N] [--inputs N] [--steps N] [--config FILE] [--set KEY=VALUE ...]

The table has the shape of year_prediction unless the flags say otherwise. Every row of the printed table is a process
of its own: a first start, which parses the file; a second one, which finds the parsed table in the cache; and a table
of 1000 rows of the same width. `load` is the time to read, split and standardise the table, `first step` that from
the start of the process to the end of the first training step, and `of the CPU` what processors spent on it. `peak` is
the largest resident memory up to the end of an evaluation with all draws of the config, and `limit` is 1.5 times the
table in float32, plus 1 GB.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import tabulate

from benchmarks.step_time import own_peak
from misc import backend
from misc.config import Config
from misc.errors import one_line_errors

CONFIG = "config/regression/ekfac_year.json"
SMALL_ROWS = 1000
BLOCK_ROWS = 20000  # rows that are drawn and written at a time
PLACES, DECIMALS = 9, 5  # digits of a field, of them decimals
MEBIBYTE = 2.0**20
COLUMNS = ["table", "load, s", "first step, s", "of the CPU, s", "steps/s", "peak, MiB", "limit, MiB"]


def write_table(path, n_rows, n_inputs):
    """Writes a CSV with names: inputs of five decimals and, last, a whole number that depends on them."""
    rng = np.random.RandomState(0)
    with open(str(path), "wb") as handle:
        handle.write((",".join([f"x{number}" for number in range(n_inputs)] + ["year"]) + "\n").encode())
        for start in range(0, n_rows, BLOCK_ROWS):
            handle.write(block(rng, min(BLOCK_ROWS, n_rows - start), n_inputs))


def block(rng, n_rows, n_inputs):
    """Returns the text of rows that are drawn at random."""
    x = rng.standard_normal((n_rows, n_inputs)) * (1.0 + 30.0 * (np.arange(n_inputs) % 12 > 8))
    year = np.clip(1998.0 + 6.0 * np.tanh(x[:, 0]) + 4.0 * x[:, 1] + rng.standard_normal(n_rows), 1922, 2011)
    scaled = np.round(np.column_stack([x, np.round(year)]) * 10.0**DECIMALS).astype(np.int64)
    digits = np.abs(scaled)[..., None] // 10**np.arange(PLACES - 1, -1, -1) % 10
    before = PLACES - DECIMALS
    # -1234.56789, of which leading zeros, the sign of positive numbers and the decimals of the target are left out.
    text = np.full((n_rows, n_inputs + 1, PLACES + 3), ord(","), np.uint8)
    text[..., 0], text[..., 1 + before] = ord("-"), ord(".")
    text[..., 1:1 + before], text[..., 2 + before:-1] = digits[..., :before] + 48, digits[..., before:] + 48
    text[:, -1, -1] = ord("\n")
    kept = np.ones(text.shape, bool)
    kept[..., 0] = scaled < 0
    kept[..., 1:before] = np.maximum.accumulate(digits[..., :before - 1] > 0, axis=-1)
    kept[:, -1, 1 + before:-1] = False
    return text[kept].tobytes()


def measure(config, n_steps, started):
    """Trains `n_steps` steps, evaluates once, and prints what `COLUMNS` says, as JSON."""
    backend.prepare(config.mode)
    from core.training import run
    from core.training.graph import build_model
    from core.training.schedule import Segment
    from core.training.stepper import Stepper

    loading = time.perf_counter()
    plan = run.plan(config, "cpu")
    loaded = time.perf_counter() - loading
    model = build_model(plan.design, plan.device)
    with backend.session(model.graph, plan.design.n_threads) as session:
        session.run(model.init)
        stepper = Stepper(session, model, plan.data.train)
        stepper.load_data()
        stepper.load_epoch(1)
        stepper.run(Segment(1, 1, None))
        first_step, of_cpu = time.time() - started, time.process_time()
        began = time.perf_counter()
        for segment in plan.design.schedule.segments(2, n_steps + 1):
            stepper.run(segment)
        rate = n_steps / (time.perf_counter() - began)
        noise = plan.design.task.noise(session, model, plan.data)
        plan.design.task.evaluate(session, model, plan.data.test, plan.data, noise)
    print(json.dumps([loaded, first_step, of_cpu, rate, own_peak()]))


def measured(args, name, path, place):
    """Returns the row of a table's file, measured in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.large_table", "--config", args.config, "--steps", str(args.steps),
               "--only", str(path), "--experiments", str(place / "experiments"), "--started", repr(time.time())]
    for text in args.set:
        command += ["--set", text]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode()
    loaded, first_step, of_cpu, rate, peak = json.loads(out.splitlines()[-1])
    n_rows = args.rows if path.stem == "large" else SMALL_ROWS
    limit = 1.5 * n_rows * (args.inputs + 1) * 4 / MEBIBYTE + 1e9 / MEBIBYTE
    return [name, round(loaded, 1), round(first_step, 1), round(of_cpu, 1), round(rate), round(peak), round(limit)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=515345)
    parser.add_argument("--inputs", type=int, default=90)
    parser.add_argument("--steps", type=int, default=500, help="training steps that are timed")
    parser.add_argument("--config", default=CONFIG, metavar="FILE")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--experiments", help=argparse.SUPPRESS)
    parser.add_argument("--started", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args()
    with one_line_errors("benchmarks.large_table", "start it again"):
        if args.only:
            name = pathlib.Path(args.only).stem
            config = Config.from_file(args.config, [*args.set, f"dataset={name}", f"data_file={args.only}",
                                                    f"experiments_path={args.experiments}"])
            measure(config, args.steps, args.started)
            return
        with tempfile.TemporaryDirectory() as folder:
            place = pathlib.Path(folder)
            large, small = place / "large.csv", place / "small.csv"
            write_table(large, args.rows, args.inputs)
            write_table(small, SMALL_ROWS, args.inputs)
            size = f"{args.rows} x {args.inputs}"
            print(f"{size}: {large.stat().st_size / MEBIBYTE:.0f} MiB of text", flush=True)
            rows = [measured(args, f"{size}, first start", large, place),
                    measured(args, f"{size}, second start", large, place),
                    measured(args, f"{SMALL_ROWS} x {args.inputs}", small, place)]
        print(tabulate.tabulate(rows, COLUMNS, tablefmt="github"))


if __name__ == "__main__":
    main()
