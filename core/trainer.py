"""The session loop: run the steps of an epoch, evaluate, save, resume."""
import collections
import sys
import time

import numpy as np
import tensorflow.compat.v1 as tf
import tqdm

from core.evaluation import TASKS
from data_loader.batches import epoch_plan
from misc.config import CLASSIFICATION, REGRESSION
from misc.errors import RunError
from misc.mistakes import picture_grid
from misc.records import append_row, read_json, read_rows, write_json, write_rows
from misc.summary import SummaryWriter

PARTS = ("test", "valid")

Clock = collections.namedtuple("Clock", ["epoch", "seconds"])
"""Epochs done, and the seconds of training they took (without evaluating and saving)."""

Outcome = collections.namedtuple("Outcome", ["metrics", "evaluation", "seconds", "steps"])
"""What a finished run leaves: final metrics, the Evaluation of the test rows, seconds of training, and
the steps they took."""


def columns(task):
    """Of metrics.csv."""
    return (["epoch", "step", "seconds"] + [f"{part}_{name}" for part in PARTS for name in task.metrics]
            + ["train_lower_bound", "train_expected_log_likelihood", "train_kl", *task.extra])


class UnreadableCheckpoint(RunError):
    """A checkpoint is there, but training cannot go on from it."""


class Trainer:
    """Trains a model on its data and keeps the files of its folder up to date.

    After every evaluation: metrics.csv, summary/ and log.txt (and a line on the screen where it has no
    bar); after every save_interval epochs and at the end: checkpoint/.
    """

    def __init__(self, config, model, data, folder, log, bar=True):
        self._config, self._model, self._data = config, model, data
        self._folder, self._log, self._bar = folder, log, bar and sys.stderr.isatty()
        self._task = TASKS[config.mode]
        self._columns = columns(self._task)
        self._parts = [(name, part) for name, part in zip(PARTS, (data.test, data.valid)) if part is not None]
        self._final = self._parts[0]  # the test rows, or the validation rows if these are hidden
        self._latest = None  # their last Evaluation

    def run(self, session, resume=False):
        """Trains to the last epoch, from the newest checkpoint if `resume`. Returns an Outcome.

        RunError if training fails or diverges; what was saved before stays.
        """
        model, rows = self._model, self._data.train
        session.run(model.load.data_op, {model.load.x: rows.x, model.load.y: rows.y})
        clock = self._restore(session) if resume else self._initialise(session)
        model.graph.finalize()
        resumed_at = session.run(model.global_step) if resume else None
        writer = SummaryWriter(self._folder.summary, model.graph, resumed_at)
        writer.hyper_parameters(self._config.model_dump())
        try:
            self._preview(session, writer, clock)
            clock = self._train(session, writer, clock)
            name, part = self._final
            final = self._latest or self._task.evaluate(session, model, part, self._data, self._config)
            self._task.show(writer, final, part, self._data, session.run(model.global_step))
        except (tf.errors.InvalidArgumentError, tf.errors.UnknownError) as error:
            if "decomposition" not in str(error):  # only a factorisation that met NaN is the user's to mend
                raise
            raise RunError("training diverged: a curvature factor is not finite; "
                           f"try a smaller {self._step_key} or more damping") from None
        except tf.errors.ResourceExhaustedError:
            raise RunError("out of memory: try fewer particles, a smaller batch_size or test_batch_size") from None
        finally:
            writer.close()
        metrics = dict(self._last_row(), **{f"{name}_{key}": value for key, value in final.metrics.items()})
        return Outcome(metrics, final, clock.seconds, clock.epoch * model.design.steps_per_epoch)

    @property
    def _step_key(self):
        return {REGRESSION: "alpha", CLASSIFICATION: "learning_rate"}[self._config.mode]

    def _preview(self, session, writer, clock):
        """The first training pictures of the next epoch, as the network sees them, in TensorBoard."""
        load = self._model.load
        if self._data.spec.pixels and clock.epoch < self._config.epoch:
            self._load_epoch(session, clock.epoch + 1)
            writer.image("inputs/training", picture_grid(session.run(load.preview)),
                         clock.epoch * self._model.design.steps_per_epoch)

    def _load_epoch(self, session, epoch):
        load = self._model.load
        plan = epoch_plan(self._config, len(self._data.train.x), epoch)
        session.run(load.epoch_op, dict(zip(load.epoch, plan)))

    def _initialise(self, session):
        session.run(self._model.init)
        write_rows(self._folder.metrics, self._columns, [])
        return Clock(0, 0.0)

    def _restore(self, session):
        """The state of the newest checkpoint; rows of metrics.csv written after it are dropped."""
        path = tf.train.latest_checkpoint(str(self._folder.checkpoint))
        try:
            self._model.saver.restore(session, path)
        except (tf.errors.OpError, ValueError) as error:
            raise UnreadableCheckpoint(
                f"checkpoint {path or self._folder.checkpoint} is damaged or incomplete ({type(error).__name__}): "
                "start anew without --resume") from None
        epoch = int(session.run(self._model.global_step)) // self._model.design.steps_per_epoch
        rows = [row for row in self._rows() if int(row["epoch"]) <= epoch]
        write_rows(self._folder.metrics, self._columns, rows)
        self._log.info("resuming after epoch %d", epoch)
        clock = self._folder.checkpoint / "clock.json"
        return Clock(epoch, read_json(clock).get(str(epoch), 0.0) if clock.is_file() else 0.0)

    def _train(self, session, writer, clock):
        """Epochs until the last; evaluates and saves when due. Returns the Clock at the end."""
        config = self._config
        with tqdm.tqdm(total=config.epoch, initial=clock.epoch, unit="epoch", dynamic_ncols=True,
                       disable=not self._bar) as bar:
            while clock.epoch < config.epoch:
                clock = self._epoch(session, clock)
                bar.update()
                if self._due(clock.epoch, config.evaluate_every):
                    row, part = self._evaluate(session, writer, clock), self._final[0]
                    bar.set_postfix_str(part + " " + ", ".join(
                        f"{label} {row[part + '_' + name]:.3f}" for name, label in self._task.headline.items()))
                if self._due(clock.epoch, config.save_every):
                    self._save(session, clock)
        return clock

    def _save(self, session, clock):
        """A checkpoint, after a note of the seconds that training took so far, by epoch."""
        path = self._folder.checkpoint / "clock.json"
        seconds = dict(read_json(path) if path.is_file() else {}, **{str(clock.epoch): clock.seconds})
        write_json(path, seconds)
        step = clock.epoch * self._model.design.steps_per_epoch
        self._model.saver.save(session, str(self._folder.checkpoint / "model"), global_step=step,
                               write_meta_graph=False)

    def _due(self, epoch, period):
        return epoch % period == 0 or epoch == self._config.epoch

    def _epoch(self, session, clock):
        """All steps of the next epoch, in as few calls as the schedule allows."""
        config, model = self._config, self._model
        first, last = clock.epoch * model.design.steps_per_epoch + 1, (clock.epoch + 1) * model.design.steps_per_epoch
        decay = config.lr_decay_ratio ** (clock.epoch // config.decay_interval)
        start = time.perf_counter()
        self._load_epoch(session, clock.epoch + 1)
        for segment in model.design.schedule.segments(first, last, config.steps_per_run):
            session.run(model.advance[segment.due], dict(zip(model.knobs, (segment.rounds, segment.plain, decay))))
        seconds = clock.seconds + time.perf_counter() - start
        step = session.run(model.global_step)
        assert step == last, f"the graph counts {step} steps, the schedule {last}"
        return Clock(clock.epoch + 1, seconds)

    def _evaluate(self, session, writer, clock):
        """Writes a row of metrics.csv, TensorBoard's curves and a line of the log. Returns the row."""
        model = self._model
        step, report, weight_std = session.run([model.global_step, model.evaluate.report, model.evaluate.weight_std])
        session.run(model.evaluate.reset)
        values = {tag: float(value) for tag, value in report.items()}
        for name, part in self._parts:
            found = self._task.evaluate(session, model, part, self._data, self._config)
            values.update({f"{name}/{key}": value for key, value in found.metrics.items()})
            self._latest = found if name == self._final[0] else self._latest
        broken = [tag for tag, value in values.items() if not np.isfinite(value)]
        if broken:
            raise RunError(f"training diverged: {broken[0]} is not finite after epoch {clock.epoch}; "
                           f"try a smaller {self._step_key} or more damping")
        values["speed/steps_per_second"] = clock.epoch * model.design.steps_per_epoch / clock.seconds
        writer.scalars(values, step)
        for name, std in weight_std.items():
            writer.histogram(f"{name}/weight_noise_std", std, step)
        writer.flush()
        row = {tag.replace("/", "_"): value for tag, value in values.items()}
        row.update(epoch=clock.epoch, step=int(step), seconds=round(clock.seconds, 3))
        row = {name: row[name] for name in self._columns if name in row}
        append_row(self._folder.metrics, self._columns, row)
        watched = [f"{self._final[0]}_{name}" for name in self._task.headline]
        self._log.info("epoch %d: %s", clock.epoch, ", ".join(f"{name} {row[name]:.4f}" for name in (
            *watched, "train_lower_bound", *self._task.extra)), extra={"screen": not self._bar})
        return row

    def _last_row(self):
        """Metrics of the last evaluation, which was after the last epoch."""
        rows = self._rows()
        return {name: float(rows[-1][name]) for name in self._columns[3:] if rows[-1][name]} if rows else {}

    def _rows(self):
        return read_rows(self._folder.metrics) if self._folder.metrics.is_file() else []
