"""Measures the runs per hour of regression_baseline.py with 1, 2, ... jobs at a time, start-up included.

    python -m benchmarks.throughput [--jobs 1 2] [--runs 4] [--epoch 1000]
"""
import argparse
import subprocess
import sys
import tempfile
import time

CONFIG = "config/regression/ekfac_concrete.json"


def seconds(jobs, runs, epoch):
    """Returns the wall time of the whole command in a fresh folder."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "regression_baseline.py", "--config", CONFIG,
                   "--runs", str(runs), "--jobs", str(jobs),
                   "--set", f"epoch={epoch}", "--set", f"experiments_path={folder}"]
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2], help="jobs at a time; ratios are to the first")
    parser.add_argument("--runs", type=int, default=4, help="runs for each number")
    parser.add_argument("--epoch", type=int, default=1000, help="epochs of a run")
    args = parser.parse_args()
    base = None
    for jobs in args.jobs:
        rate = args.runs / seconds(jobs, args.runs, args.epoch) * 3600
        base = base or rate
        print(f"{jobs} jobs  {rate:7.1f} runs/hour  {rate / base:.2f} x {args.jobs[0]} job", flush=True)


if __name__ == "__main__":
    main()
