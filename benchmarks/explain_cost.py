"""Holds the time per step that `train.py --explain` predicts against the measured one, for ten kinds of run.

    python -m benchmarks.explain_cost [--only WORD]

The rows are random numbers in the shapes of real sets: nothing is downloaded. Every kind of run has a process of its
own, because the number of TensorFlow's threads is fixed when its first session begins. Times are those of the schedule
after its early refreshes, without evaluation. The fastest of the repetitions counts: other work on the machine only
makes them slower.
"""
import argparse
import json
import subprocess
import sys
from typing import Any, Dict, List, NamedTuple, Tuple

import numpy as np

from misc import backend
from misc.config import CLASSIFICATION, REGRESSION, Config
from misc.errors import one_line_errors

SLOW = 20.0  # milliseconds of a step from which every kind of step is timed by itself, instead of whole epochs
REPETITIONS = 5
CONCRETE, PROTEIN, DIGITS, CIFAR = (927, 8), (41157, 9), (1438, 8, 8, 1), (1024, 32, 32, 3)
BATCH_1030 = {"batch_size": 10, "train_particles": 10, "Teigen": 5, "re_init_iters": 50}
BATCH_128 = {"batch_size": 128, "TCov": 10, "TScale": 10, "TEigen": 200, "TInv": 200, "damping": 1e-3}
BATCH_64 = dict(BATCH_128, batch_size=64)


class Case(NamedTuple):
    """One kind of run."""

    name: str
    mode: str
    rows: Tuple[int, ...]      # (n, d) or (n, height, width, channels) of the training rows
    settings: Dict[str, Any]   # config values


CASES = (
    Case("ekfac, ffn50, concrete", REGRESSION, CONCRETE, dict(BATCH_1030, optimizer="ekfac", model_name="ffn50")),
    Case("kfac, ffn50, concrete", REGRESSION, CONCRETE, dict(BATCH_1030, optimizer="kfac", model_name="ffn50")),
    Case("ekfac, ffn50, 270 rows, batch_size 100000", REGRESSION, (270, 8),
         dict(BATCH_1030, optimizer="ekfac", model_name="ffn50", batch_size=100000)),
    Case("ekfac, ffn100, protein", REGRESSION, PROTEIN,
         dict(BATCH_1030, optimizer="ekfac", model_name="ffn100", batch_size=100)),
    Case("ekfac, ffn [400, 400], concrete", REGRESSION, CONCRETE,
         dict(BATCH_1030, optimizer="ekfac", model_name="ffn", hidden=[400, 400])),
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


def measure(case: Case) -> Tuple[float, float]:
    """Returns (predicted, measured) milliseconds per step."""
    backend.prepare(case.mode)
    from benchmarks.step_time import Contender
    from core.training.cost import run_cost

    config = Config.from_dict(dict(case.settings, mode=case.mode, dataset="random", epoch=100))
    contender = Contender(config, make_rows(case))
    schedule, per_epoch = contender.design.schedule, contender.design.steps_per_epoch
    contender.time_epoch()  # the first run of a graph is slow
    if contender._time(None) > SLOW:
        times = [contender.time_kinds() for _ in range(1 + REPETITIONS)][1:]
    else:
        cycle = max(schedule.periods.values(), default=1)
        while contender.epochs_done * per_epoch < cycle:
            contender.time_epoch()
        n_epochs = -(-max(cycle, 100) // per_epoch)
        times = [float(np.mean([contender.time_epoch() for _ in range(n_epochs)])) for _ in range(REPETITIONS)]
    return run_cost(contender.design).seconds * 1e3, min(times)


def measure_in_a_process(number: int) -> Tuple[float, float]:
    """Returns what `measure` does, of CASES[number]."""
    command = [sys.executable, "-m", "benchmarks.explain_cost", "--case", str(number)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode()
    return tuple(json.loads(printed.split("\n")[-2]))


def table(results: List[Tuple[str, float, float]]) -> str:
    """Returns Markdown; results: (name, predicted, measured) of every case."""
    lines = ["| run | predicted, ms/step | measured, ms/step | predicted / measured |", "|---|---|---|---|"]
    return "\n".join(lines + [f"| {name} | {predicted:.3g} | {measured:.3g} | {predicted / measured:.2f} |"
                              for name, predicted, measured in results])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="WORD", help="only cases whose name contains this")
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    with one_line_errors("explain_cost", "start it again"):
        if args.case is not None:
            print(json.dumps(measure(CASES[args.case])))
            return
        results = []
        for number, case in enumerate(CASES):
            if args.only in case.name:
                results.append((case.name, *measure_in_a_process(number)))
                print(f"{case.name}: done", file=sys.stderr, flush=True)
        print(table(results))


if __name__ == "__main__":
    main()
