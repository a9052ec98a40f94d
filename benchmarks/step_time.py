"""Time per training step of every method, and its ratio to a plain one, in one run.

    python -m benchmarks.step_time [--config FILE] [--methods NAME ...] [--rounds N] [--memory] [--set KEY=VALUE ...]

Methods take turns, so that a slow moment of the machine meets them all; figures are medians over
rounds. Curvature refreshes at the config's periods are in them: for regression whole epochs are
timed, for classification every kind of step (plain, with statistics, with a refresh), and the mean is
over one cycle of the schedule, early refreshes left out. --memory: peak memory of each method in a
process of its own, with a cycle of steps and an evaluation batch with all its draws.
"""
import argparse
import collections
import pathlib
import resource
import subprocess
import sys
import time

import numpy as np

from misc import backend
from misc.config import CLASSIFICATION, REGRESSION, Config
from misc.errors import one_line_errors

# mode -> methods that are timed if none are named, the last the one that ratios are to; None: all.
DEFAULT_METHODS = {REGRESSION: None, CLASSIFICATION: ["ekfac", "kfac", "diag", "adam", "sgd"]}
PLAIN = {REGRESSION: "adam", CLASSIFICATION: "sgd"}


class Contender:
    """One method's graph and session on the training data."""

    def __init__(self, config, data):
        from core.training.graph import build_model

        start = time.perf_counter()
        self.model = build_model(config, data.spec)
        self.build_seconds = time.perf_counter() - start
        self.config, self.data, self.epoch = config, data, 0
        self.session = backend.session(self.model.graph, config.n_threads)
        self.session.run(self.model.init)
        load = self.model.load
        self.session.run(load.data_op, {load.x: data.train.x, load.y: data.train.y})
        self.load_epoch()

    def load_epoch(self):
        from data_loader.batches import epoch_plan

        load = self.model.load
        plan = epoch_plan(self.config, len(self.data.train.x), self.epoch + 1)
        self.session.run(load.epoch_op, dict(zip(load.epoch, plan.values())))

    def advance(self, rounds, plain, due):
        self.session.run(self.model.advance[due], dict(zip(self.model.knobs, (rounds, plain, 1.0))))

    def time_epoch(self):
        """Milliseconds per step of the next epoch, as the trainer runs it."""
        n_steps = self.model.design.steps_per_epoch
        start = time.perf_counter()
        self.load_epoch()
        for segment in self.model.design.schedule.segments(self.epoch * n_steps + 1, (self.epoch + 1) * n_steps):
            self.advance(*segment)
        self.epoch += 1
        return (time.perf_counter() - start) / n_steps * 1e3

    def time_kinds(self):
        """Milliseconds per step over one cycle of the schedule, each kind of step timed once."""
        return sum(count * self._time(due) for due, count in self.cycle().items()) / sum(self.cycle().values())

    def cycle(self):
        """{due set (None: plain steps): how often} over one cycle, after the early refreshes."""
        schedule = self.model.design.schedule
        length = max(schedule.periods.values(), default=1)
        due = [schedule.due(step) for step in range(length + 1, 2 * length + 1)]
        return collections.Counter(None if names == schedule.base else names for names in due)

    def _time(self, due, n_plain=4):
        start = time.perf_counter()
        self.advance(*((1, n_plain, None) if due is None else (1, 0, due)))
        return (time.perf_counter() - start) / (n_plain if due is None else 1) * 1e3


TIMERS = {REGRESSION: Contender.time_epoch, CLASSIFICATION: Contender.time_kinds}
ROUNDS = {REGRESSION: (3, 40), CLASSIFICATION: (1, 3)}  # rounds that warm up, rounds that count


def peak_memory(args, name):
    """Peak MiB of a process that trains a cycle of steps with one method and evaluates a batch."""
    command = [sys.executable, "-m", "benchmarks.step_time", "--config", args.config, "--only-memory", name]
    for text in args.set:
        command += ["--set", text]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode().split()[-1])


def train_and_evaluate(config, data):
    """What `peak_memory` measures."""
    from core.training.evaluation import TASKS

    contender = Contender(config, data)
    for due in contender.cycle():
        contender.advance(1, 1, due)
    part = data.test._replace(x=data.test.x[:config.test_batch_size], y=data.test.y[:config.test_batch_size])
    TASKS[config.mode].evaluate(contender.session, contender.model, part, data, config)
    print(own_peak())


def own_peak():
    """Peak MiB of this process. (Linux hands ru_maxrss on to a child, so the kernel's own figure is read there.)"""
    status = pathlib.Path("/proc/self/status")
    if status.is_file():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="config/regression/ekfac_concrete.json", metavar="FILE")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--methods", nargs="+", metavar="NAME")
    parser.add_argument("--rounds", type=int, help="rounds timed per method")
    parser.add_argument("--memory", action="store_true", help="measure peak memory, too")
    parser.add_argument("--only-memory", metavar="NAME", help=argparse.SUPPRESS)
    args = parser.parse_args()
    with one_line_errors("step_time", "start it again"):
        first = Config.from_file(args.config, args.set)
        start = time.perf_counter()
        tf = backend.prepare(first.mode)
        from core.inference.optimizer import METHODS
        from core.training.run import LOADERS

        imported = time.perf_counter() - start
        data = LOADERS[first.mode](first)

        def config_of(name):
            return Config.from_dict(dict(first.model_dump(exclude_unset=True), optimizer=name))

        if args.only_memory:
            train_and_evaluate(config_of(args.only_memory), data)
            return
        methods = args.methods or DEFAULT_METHODS[first.mode] or list(METHODS)
        plain = PLAIN[first.mode] if PLAIN[first.mode] in methods else methods[-1]
        contenders = {name: Contender(config_of(name), data) for name in methods}
        print(f"{first.dataset}, {first.model_name}, batch {first.batch_size}, {first.train_particles} particles, "
              f"{first.n_threads or 'all'} thread(s), TensorFlow {tf.__version__}")
        built = contenders[methods[0]].build_seconds
        print(f"import {imported:.1f} s; graph of {methods[0]} {built:.1f} s", flush=True)
        warm, counted = ROUNDS[first.mode]
        times = {name: [] for name in methods}
        for number in range((args.rounds or counted) + warm):
            for name, contender in contenders.items():
                milliseconds = TIMERS[first.mode](contender)
                if number >= warm:
                    times[name].append(milliseconds)
        medians = {name: np.median(values) for name, values in times.items()}
        memory = {name: peak_memory(args, name) for name in methods} if args.memory else {}
        for name, median in medians.items():
            size = f"  peak {memory[name]:.0f} MiB  {memory[name] / memory[plain]:.2f} x" if memory else ""
            ratio = median / medians[plain]
            print(f"{name:<12} {median:.3f} ms/step  {ratio:.{1 if first.mode == REGRESSION else 2}f} x {plain}{size}")


if __name__ == "__main__":
    main()
