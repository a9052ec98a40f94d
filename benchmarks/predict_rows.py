"""Measures rows per second and memory of predict.py, beside a numpy forward pass of the same weight draws.

    python -m benchmarks.predict_rows [--rows 2000000] [--inputs 8] [--particles 100]

The numpy pass, in float32, multiplies blocks of 1000 rows that are in memory: it neither parses CSV, nor computes
quantiles, nor writes a file. Times of predict.py exclude its start, which is timed with 10 rows.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import typing

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
WIDTH = 50            # of the hidden layer of ffn50
BLOCK = 1000          # rows at a time of the numpy pass
WRITTEN = 100000      # rows of the file that are written at a time
CONFIG = dict(target="y", optimizer="ekfac", model_name="ffn50", epoch=2, epoch_rate=2, batch_size=50)


class Usage(typing.NamedTuple):
    """What a process used."""

    seconds: float      # wall time
    cpu_seconds: float  # of all its threads
    memory: float       # largest resident set, MB


def measured(command: typing.Sequence[str], folder: pathlib.Path) -> Usage:
    """Runs a program of the repository in `folder` and returns what it used. Raises RuntimeError if it fails."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, str(ROOT / command[0]), *command[1:]], cwd=str(folder),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{command[0]} failed")
    return Usage(time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def write_rows(path: pathlib.Path, n_rows: int, n_inputs: int, with_target: bool = False) -> None:
    """Writes a CSV file of standard normal inputs, with a noisy function of them as the target y."""
    rng = np.random.RandomState(0)
    names = [f"x{number}" for number in range(n_inputs)] + ["y"] * with_target
    with open(str(path), "w") as handle:
        handle.write(",".join(names) + "\n")
        for start in range(0, n_rows, WRITTEN):
            x = rng.randn(min(WRITTEN, n_rows - start), n_inputs)
            y = np.sin(x.sum(axis=1, keepdims=True)) + 0.1 * rng.randn(len(x), 1)
            np.savetxt(handle, np.hstack([x, y]) if with_target else x, fmt="%.6g", delimiter=",")


def numpy_seconds(n_rows: int, n_inputs: int, n_particles: int) -> typing.Tuple[float, float]:
    """Returns the wall time and the CPU time of a forward pass of ffn50 for all weight draws, in float32."""
    rng = np.random.RandomState(0)
    first, second = (rng.randn(n_particles, *shape).astype(np.float32)
                     for shape in ((n_inputs + 1, WIDTH), (WIDTH + 1, 1)))
    x = rng.randn(BLOCK, n_inputs).astype(np.float32)
    start, cpu = time.perf_counter(), time.process_time()
    for _ in range(n_rows // BLOCK):
        hidden = np.maximum(x @ first[:, :-1] + first[:, -1:], 0)
        hidden @ second[:, :-1] + second[:, -1:]
    return time.perf_counter() - start, time.process_time() - cpu


def train(folder: pathlib.Path, n_inputs: int, n_particles: int) -> None:
    """Trains a small run into folder/experiments/rows/run."""
    write_rows(folder / "rows.csv", 500, n_inputs, with_target=True)
    (folder / "config.json").write_text(json.dumps(dict(
        CONFIG, dataset="rows", data_file="rows.csv", exp_name="run", test_particles=n_particles)))
    measured(["train.py", "--config", "config.json"], folder)


def measure(n_rows: int, n_inputs: int, n_particles: int) -> typing.Dict[str, float]:
    """Returns rows per second of predict.py and of numpy, CPU seconds, and the memory of predict.py in MB."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        train(folder, n_inputs, n_particles)
        write_rows(folder / "few.csv", 10, n_inputs)
        write_rows(folder / "many.csv", n_rows, n_inputs)
        few, many = (measured(["predict.py", "experiments/rows/run", f"{which}.csv", "--out", "out.csv"], folder)
                     for which in ("few", "many"))
    numpy_wall, numpy_cpu = numpy_seconds(n_rows, n_inputs, n_particles)
    return {"rows_per_second": n_rows / (many.seconds - few.seconds), "numpy_rows_per_second": n_rows / numpy_wall,
            "cpu_seconds": many.cpu_seconds - few.cpu_seconds, "numpy_cpu_seconds": numpy_cpu,
            "start_seconds": few.seconds, "memory_mb": many.memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000, help="rows to predict, a multiple of 1000")
    parser.add_argument("--inputs", type=int, default=8, help="columns")
    parser.add_argument("--particles", type=int, default=100, help="weight draws")
    args = parser.parse_args()
    found = measure(args.rows, args.inputs, args.particles)
    ratio = found["rows_per_second"] / found["numpy_rows_per_second"]
    print(f"predict.py {found['rows_per_second']:9.0f} rows/s ({found['cpu_seconds']:.1f} s of CPU time; start "
          f"{found['start_seconds']:.1f} s; at most {found['memory_mb']:.0f} MB)\n"
          f"numpy      {found['numpy_rows_per_second']:9.0f} rows/s ({found['numpy_cpu_seconds']:.1f} s of CPU time); "
          f"predict.py has {ratio:.2f} times as many")


if __name__ == "__main__":
    main()
