"""Measures what the checks of every step cost: time per step with and without them.

    python -m benchmarks.guards [--config FILE ...] [--rounds N] [--set KEY=VALUE ...]

Both graphs take turns, epoch by epoch; the ratio is the median over rounds. Also measures the time of one checkpoint
(files, checksums, wait for the disk) as a percentage of the training time between two.
"""
import argparse
import pathlib
import statistics
import tempfile
import time
from unittest import mock

from benchmarks.step_time import Contender
from misc import backend
from misc.config import Config
from misc.errors import one_line_errors

CONFIGS = [f"config/regression/{method}_concrete.json" for method in ("ekfac", "kfac", "diag")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", nargs="+", default=CONFIGS)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    with one_line_errors("benchmarks.guards", "nothing was written"):
        for path in args.config:
            compare(Config.from_file(path, args.set), args.rounds)


def compare(config, rounds):
    """Prints a line for one config."""
    backend.prepare(config.mode)
    from core.training import run
    from core.training.graph import _Builder

    data = run.plan(config).data
    guarded = Contender(config, data)
    with mock.patch.object(_Builder, "_checked", lambda builder, new: new):
        bare = Contender(config, data)
    for contender in (guarded, bare):  # the first epochs are slow
        contender.time_epoch(), contender.time_epoch()
    ratios, times = [], []
    for i in range(rounds):
        pair = (guarded, bare) if i % 2 else (bare, guarded)
        fastest = {id(contender): min(contender.time_epoch() for _ in range(3)) for contender in pair}
        ratios.append(fastest[id(guarded)] / fastest[id(bare)])
        times.append(fastest[id(guarded)])
    step, seconds = statistics.median(times), statistics.median(save_seconds(guarded) for _ in range(9))
    between = config.save_every * guarded.design.steps_per_epoch * step / 1e3
    print(f"{config.optimizer:<6} {config.dataset}: {step:.3f} ms/step, with checks {statistics.median(ratios):.3f} x; "
          f"a checkpoint {seconds * 1e3:.0f} ms, {100 * seconds / between:.2f} % of the training between two",
          flush=True)


def save_seconds(contender):
    """Returns the seconds that one checkpoint takes."""
    from core.training import checkpoints

    with tempfile.TemporaryDirectory() as place:
        start = time.perf_counter()
        checkpoints.save(contender.session, contender.model.saver, pathlib.Path(place),
                         checkpoints.Progress(step=1, evaluated=True), max_to_keep=3)
        return time.perf_counter() - start


if __name__ == "__main__":
    main()
