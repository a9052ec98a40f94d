"""Measures the time per training step of every method, and its ratio to that of Adam or SGD.

    python -m benchmarks.step_time [--config FILE] [--methods NAME ...] [--rounds N] [--memory] [--set KEY=VALUE ...]
                                   [--device cpu]

Methods take turns, so that slow moments of the machine affect them all; the figures are medians over rounds. Curvature
updates at the config's periods are included: for regression, whole epochs are timed; for classification, every kind of
step (base, with statistics, with a refresh), and the mean is over one cycle of the schedule, without early refreshes.
--memory measures the peak memory of each method in a process of its own, over a cycle of steps and an evaluation batch
with all its draws.
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

# mode -> methods that are timed if none are named; None: all.
DEFAULT_METHODS = {REGRESSION: None, CLASSIFICATION: ["ekfac", "kfac", "diag", "adam", "sgd"]}
REFERENCE = {REGRESSION: "adam", CLASSIFICATION: "sgd"}  # ratios are to this one, or to the last that is timed


class Contender:
    """One method's graph and session on the training data."""

    def __init__(self, config, data, device="cpu"):
        from core.training.design import design_run
        from core.training.devices import choose_device, uses_gpu
        from core.training.graph import build_model
        from core.training.stepper import Stepper

        start = time.perf_counter()
        self.design = design_run(config, data.spec)
        self.device = choose_device(device, self.design).device
        self.model = build_model(self.design, self.device)
        self.build_seconds = time.perf_counter() - start
        self.session = backend.session(self.model.graph, self.design.n_threads, uses_gpu(config, self.device))
        self.session.run(self.model.init)
        self.stepper = Stepper(self.session, self.model, data.train)
        self.stepper.load_data()
        self.stepper.load_epoch(1)
        self.epochs_done = 0

    def time_epoch(self):
        """Returns the milliseconds per step of the next epoch, as the trainer runs it."""
        n_steps, done = self.design.steps_per_epoch, self.epochs_done
        start = time.perf_counter()
        self.stepper.load_epoch(done % self.design.config.epoch + 1)  # the timing may take longer than the run
        for segment in self.design.schedule.segments(done * n_steps + 1, (done + 1) * n_steps):
            self.stepper.run(segment)
        self.epochs_done += 1
        return (time.perf_counter() - start) / n_steps * 1e3

    def time_kinds(self):
        """Returns the milliseconds per step over one cycle of the schedule, with each kind of step timed once."""
        return sum(count * self._time(due) for due, count in self.cycle().items()) / sum(self.cycle().values())

    def cycle(self):
        """Returns {due set (None: base steps): how often} over one cycle, after the early refreshes."""
        schedule = self.design.schedule
        length = max(schedule.periods.values(), default=1)
        due = [schedule.due(step) for step in range(length + 1, 2 * length + 1)]
        return collections.Counter(None if names == schedule.base else names for names in due)

    def _time(self, due):
        """Returns the milliseconds of a step with the updates of `due`; None: of a base step."""
        from core.training.schedule import Segment

        segment = Segment(1, 4 if due is None else 0, due)  # a base step is too short to be timed alone
        start = time.perf_counter()
        self.stepper.run(segment)
        return (time.perf_counter() - start) / segment.n_steps * 1e3


TIMERS = {REGRESSION: Contender.time_epoch, CLASSIFICATION: Contender.time_kinds}
ROUNDS = {REGRESSION: (3, 40), CLASSIFICATION: (1, 3)}  # rounds that warm up, rounds that count


def peak_memory(args, name):
    """Returns the peak MiB of a process that trains a cycle of steps with one method and evaluates a batch."""
    command = [sys.executable, "-m", "benchmarks.step_time", "--config", args.config, "--only-memory", name,
               "--device", args.device]
    for text in args.set:
        command += ["--set", text]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode().split()[-1])


def train_and_evaluate(config, data, device):
    """Does what `peak_memory` measures, and prints the peak MiB."""
    from core.training.schedule import Segment

    contender = Contender(config, data, device)
    for due in contender.cycle():
        contender.stepper.run(Segment(1, 1, due))
    part = data.test._replace(x=data.test.x[:config.test_batch_size], y=data.test.y[:config.test_batch_size])
    task = contender.design.task
    noise = task.noise(contender.session, contender.model, data)
    task.evaluate(contender.session, contender.model, part, data, noise)
    print(own_peak())


def own_peak():
    """Returns the peak MiB of this process, on Linux from /proc: a child inherits ru_maxrss there."""
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
    parser.add_argument("--device", default="cpu", choices=["cpu", "gpu", "auto"], help="where the operations run")
    parser.add_argument("--memory", action="store_true", help="measure peak memory, too")
    parser.add_argument("--only-memory", metavar="NAME", help=argparse.SUPPRESS)
    args = parser.parse_args()
    with one_line_errors("step_time", "start it again"):
        config = Config.from_file(args.config, args.set)
        start = time.perf_counter()
        tf = backend.prepare(config.mode)
        from core.inference.optimizer import METHODS
        from core.training.tasks import TASKS

        imported = time.perf_counter() - start
        data = TASKS[config.kind].load(config)
        if args.only_memory:
            train_and_evaluate(with_method(config, args.only_memory), data, args.device)
            return
        contenders = {name: Contender(with_method(config, name), data, args.device)
                      for name in args.methods or DEFAULT_METHODS[config.mode] or list(METHODS)}
        print(f"{config.dataset}, {config.model_name}, batch {config.batch_size}, {config.train_particles} particles, "
              f"TensorFlow {tf.__version__}, "
              + ", ".join(f"{name} on {contender.device} with {contender.design.n_threads or 'all'} thread(s)"
                          for name, contender in contenders.items()))
        first = next(iter(contenders))
        print(f"import {imported:.1f} s; graph of {first} {contenders[first].build_seconds:.1f} s", flush=True)
        medians = median_times(contenders, config.mode, args.rounds)
        memory = {name: peak_memory(args, name) for name in contenders} if args.memory else {}
        print_results(medians, memory, config.mode)


def with_method(config, name):
    """Returns the Config with another optimizer."""
    return Config.from_dict(dict(config.model_dump(exclude_unset=True), optimizer=name))


def median_times(contenders, mode, rounds=None):
    """Returns {method: median of the milliseconds per step over the rounds}."""
    warm_up, counted = ROUNDS[mode]
    times = {name: [] for name in contenders}
    for number in range((rounds or counted) + warm_up):
        for name, contender in contenders.items():
            milliseconds = TIMERS[mode](contender)
            if number >= warm_up:
                times[name].append(milliseconds)
    return {name: np.median(values) for name, values in times.items()}


def print_results(medians, memory, mode):
    """Prints a line per method; memory: {method: peak MiB}, or {}."""
    reference = REFERENCE[mode] if REFERENCE[mode] in medians else list(medians)[-1]
    digits = 1 if mode == REGRESSION else 2
    for name, median in medians.items():
        line = f"{name:<12} {median:.3f} ms/step  {median / medians[reference]:.{digits}f} x {reference}"
        if memory:
            line += f"  peak {memory[name]:.0f} MiB  {memory[name] / memory[reference]:.2f} x"
        print(line)


if __name__ == "__main__":
    main()
