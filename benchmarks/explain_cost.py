"""Holds the time per step that `train.py --explain` predicts against the measured one, for ten kinds of run.

    python -m benchmarks.explain_cost [--only WORD] [--one-thread]

The rows are random numbers in the shapes of real sets: nothing is downloaded. Every kind of run has a process of its
own, because the number of TensorFlow's threads is fixed when its first session begins. Every kind of step (base, with
statistics, with a refresh) is timed by itself, in short pieces of which the fastest counts, since other work on the
machine only makes them slower; the mean is over one cycle of the schedule, without early refreshes and evaluation.
On a busy machine, --one-thread gives every run one thread and measures its CPU time.
"""
import argparse
import json
import os
import subprocess
import sys
import time
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

import numpy as np

from misc import backend
from misc.config import CLASSIFICATION, REGRESSION, Config
from misc.errors import one_line_errors

SECONDS, FEWEST = 2.0, 5  # how long, and how often at least, each kind of step is repeated
PIECE = 5e-3              # seconds that a piece should take
CONCRETE, PROTEIN, DIGITS, CIFAR = (927, 8), (41157, 9), (1438, 8, 8, 1), (1024, 32, 32, 3)
DRAWS_10 = {"batch_size": 10, "train_particles": 10, "Teigen": 5, "re_init_iters": 50}
BATCH_128 = {"batch_size": 128, "train_particles": 1, "TCov": 10, "TScale": 10, "TEigen": 200, "TInv": 200,
             "damping": 1e-3}
BATCH_64 = dict(BATCH_128, batch_size=64)


Clock = Callable[[], float]


class Case(NamedTuple):
    """One kind of run."""

    name: str
    mode: str
    rows: Tuple[int, ...]      # (n, d) or (n, height, width, channels) of the training rows
    settings: Dict[str, Any]   # config values


CASES = (
    Case("ekfac, ffn50, concrete", REGRESSION, CONCRETE, dict(DRAWS_10, optimizer="ekfac", model_name="ffn50")),
    Case("kfac, ffn50, concrete", REGRESSION, CONCRETE, dict(DRAWS_10, optimizer="kfac", model_name="ffn50")),
    Case("ekfac, ffn50, 270 rows, batch_size 100000", REGRESSION, (270, 8),
         dict(DRAWS_10, optimizer="ekfac", model_name="ffn50", batch_size=100000)),
    Case("ekfac, ffn100, protein", REGRESSION, PROTEIN,
         dict(DRAWS_10, optimizer="ekfac", model_name="ffn100", batch_size=100)),
    Case("ekfac, ffn [400, 400], concrete", REGRESSION, CONCRETE,
         dict(DRAWS_10, optimizer="ekfac", model_name="ffn", hidden=[400, 400])),
    Case("sgd, mlp, digits", CLASSIFICATION, DIGITS, {"batch_size": 64, "optimizer": "sgd", "model_name": "mlp"}),
    Case("ekfac, mlp, digits", CLASSIFICATION, DIGITS, dict(BATCH_64, optimizer="ekfac", model_name="mlp")),
    Case("kfac, lenet, digits", CLASSIFICATION, DIGITS, dict(BATCH_64, optimizer="kfac", model_name="lenet")),
    Case("ekfac, lenet, digits", CLASSIFICATION, DIGITS, dict(BATCH_64, optimizer="ekfac", model_name="lenet")),
    Case("ekfac, vgg16 of width 0.25, cifar10", CLASSIFICATION, CIFAR,
         dict(BATCH_128, optimizer="ekfac", model_name="vgg16", width=0.25)),
)


class Rows(NamedTuple):
    """Random training rows."""

    spec: Any
    train: Any


def make_rows(case: Case) -> Rows:
    """Returns random rows in the shape of a case."""
    from data_loader.parts import Part, Pixels, Spec

    rng = np.random.RandomState(0)
    n_rows, shape = case.rows[0], case.rows[1:]
    if case.mode == REGRESSION:
        return Rows(Spec(n_rows, shape, 1, None), Part(rng.randn(*case.rows), rng.randn(n_rows)))
    pixels = Pixels(np.full(shape[-1], 128.0), np.full(shape[-1], 74.0))
    images = rng.randint(0, 256, case.rows).astype(np.uint8)
    return Rows(Spec(n_rows, shape, 10, pixels), Part(images, rng.randint(0, 10, n_rows).astype(np.int32)))


def config_of(case: Case, one_thread: bool) -> Config:
    """Returns the Config of a case."""
    threads = {"threads": 1} if one_thread else {}
    return Config.from_dict(dict(case.settings, mode=case.mode, dataset="random", epoch=100, **threads))


def measure(case: Case, one_thread: bool) -> Tuple[float, float]:
    """Returns (predicted, measured) milliseconds per step."""
    clock = time.process_time if one_thread else time.perf_counter
    backend.prepare(case.mode)
    from benchmarks.step_time import Contender
    from core.training.cost import run_cost

    contender = Contender(config_of(case, one_thread), make_rows(case))
    stepper, cycle = contender.stepper, contender.cycle()
    seconds = fastest(lambda: stepper.load_epoch(1), clock) / contender.design.steps_per_epoch
    seconds += sum(n * step_seconds(stepper, due, clock) for due, n in cycle.items()) / sum(cycle.values())
    return run_cost(contender.design).seconds * 1e3, seconds * 1e3


def step_seconds(stepper: Any, due: Any, clock: Clock) -> float:
    """Returns the seconds of a step with the updates of `due` (None: of a base step)."""
    from core.training.schedule import Segment

    def piece(n_steps: int) -> Segment:
        return Segment(1, n_steps, None) if due is None else Segment(n_steps, 0, due)

    stepper.run(piece(1))  # the first run of a graph is slow
    started = time.perf_counter()
    stepper.run(piece(1))
    n_steps = max(1, min(20, int(PIECE / (time.perf_counter() - started))))
    return fastest(lambda: stepper.run(piece(n_steps)), clock) / n_steps


def fastest(work: Callable[[], None], clock: Clock) -> float:
    """Returns the seconds of the fastest of many repetitions."""
    times: List[float] = []
    while len(times) < FEWEST or sum(times) < SECONDS:
        started = clock()
        work()
        times.append(clock() - started)
    return min(times)


def measure_in_a_process(case: Case, one_thread: bool) -> Tuple[float, float]:
    """Returns what `measure` does."""
    command = [sys.executable, "-m", "benchmarks.explain_cost", "--case", json.dumps(case)]
    command += ["--one-thread"] if one_thread else []
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    predicted, measured = json.loads(done.stdout.decode().splitlines()[-1])
    return predicted, measured


def table(results: List[Tuple[str, float, float]]) -> str:
    """Returns Markdown; results: (name, predicted, measured) of every case."""
    lines = ["| run | predicted, ms/step | measured, ms/step | predicted / measured |", "|---|---|---|---|"]
    return "\n".join(lines + [f"| {name} | {predicted:.3g} | {measured:.3g} | {predicted / measured:.2f} |"
                              for name, predicted, measured in results])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="WORD", help="only cases whose name contains this")
    parser.add_argument("--one-thread", action="store_true", help="measure CPU time with one thread")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    with one_line_errors("explain_cost", "start it again"):
        if args.case is not None:
            print(json.dumps(measure(Case(*json.loads(args.case)), args.one_thread)))
            return
        results = []
        for case in CASES:
            if args.only in case.name:
                results.append((case.name, *measure_in_a_process(case, args.one_thread)))
                print(f"{case.name}: done", file=sys.stderr, flush=True)
        print(table(results))
        print(f"{os.cpu_count()} cores; load averages {os.getloadavg()}")


if __name__ == "__main__":
    main()
