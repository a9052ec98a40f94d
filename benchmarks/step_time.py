"""Time per training step of every method, and its ratio to plain Adam, in one run.

    python -m benchmarks.step_time [--config FILE] [--rounds N] [--set KEY=VALUE ...]

The methods take turns, an epoch each, so that a slow moment of the machine meets them all;
the figure is the median over rounds. Curvature refreshes at the config's periods are in it.
"""
import argparse
import time

STARTED = time.perf_counter()

import numpy as np  # noqa: E402

from misc import backend  # noqa: E402

tf = backend.prepare()

from core.model import build_model  # noqa: E402
from core.optimizer import METHODS  # noqa: E402
from core.run import LOADERS  # noqa: E402
from data_loader.batches import epoch_plan  # noqa: E402
from misc.config import Config  # noqa: E402
from misc.errors import one_line_errors  # noqa: E402

IMPORTED = time.perf_counter() - STARTED


class Contender:
    """One method's graph and session on the training data."""

    def __init__(self, config, data):
        start = time.perf_counter()
        self.model = build_model(config, data.spec)
        self.build_seconds = time.perf_counter() - start
        self.config, self.n_rows, self.epoch = config, len(data.train.x), 0
        self.session = backend.session(self.model.graph, config.n_threads)
        self.session.run(self.model.init)
        load = self.model.load
        self.session.run(load.data_op, {load.x: data.train.x, load.y: data.train.y})

    def time_epoch(self):
        """Milliseconds per step of the next epoch, as the trainer runs it."""
        model, n_steps = self.model, self.model.design.steps_per_epoch
        plan = epoch_plan(self.config, self.n_rows, self.epoch + 1)
        start = time.perf_counter()
        self.session.run(model.load.epoch_op, dict(zip(model.load.epoch, plan)))
        for segment in model.design.schedule.segments(self.epoch * n_steps + 1, (self.epoch + 1) * n_steps):
            self.session.run(model.advance[segment.due], dict(zip(model.knobs, (segment.rounds, segment.plain, 1.0))))
        self.epoch += 1
        return (time.perf_counter() - start) / n_steps * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="config/regression/ekfac_concrete.json", metavar="FILE")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--rounds", type=int, default=40, help="epochs timed per method")
    args = parser.parse_args()
    with one_line_errors("step_time", "start it again"):
        configs = {name: Config.from_file(args.config, args.set + [f"optimizer={name}"]) for name in METHODS}
        config = configs["adam"]
        data = LOADERS[config.mode](config)
        contenders = {name: Contender(configs[name], data) for name in METHODS}
    print(f"{config.dataset}, {config.model_name}, batch {config.batch_size}, {config.train_particles} particles, "
          f"{config.n_threads or 'all'} thread(s), TensorFlow {tf.__version__}")
    print(f"import {IMPORTED:.1f} s; graph of ekfac {contenders['ekfac'].build_seconds:.1f} s")
    times = {name: [] for name in METHODS}
    for number in range(args.rounds + 3):
        for name, contender in contenders.items():
            milliseconds = contender.time_epoch()
            if number >= 3:  # the first epochs warm up
                times[name].append(milliseconds)
    medians = {name: np.median(values) for name, values in times.items()}
    for name, median in medians.items():
        print(f"{name:<12} {median:.3f} ms/step  {median / medians['adam']:.1f} x adam")


if __name__ == "__main__":
    main()
