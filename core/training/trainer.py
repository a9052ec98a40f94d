"""The session loop: run steps, evaluate, save, resume."""
import collections
import functools
import sys
import time

import numpy as np
import tensorflow.compat.v1 as tf
import tqdm

from core.training import checkpoints
from core.training.checkpoints import Note
from core.training.evaluation import TASKS
from core.training.incidents import Incidents, counts, step_key
from data_loader.batches import epoch_plan
from misc.errors import RunError, Stopped
from misc.image_figures import image_grid
from misc.log import SCREEN
from misc.records import Table, read_rows_until, write_json
from misc.retry import Retry
from misc.signals import NAMES, Signals
from misc.summary import SummaryWriter

PARTS = ("test", "valid")
CHECKPOINT, EVENTS = "the checkpoint", "TensorBoard's events"
CALL_SECONDS = 2.0  # about how long a session.run may take: signals wait for it
FIRST_STEPS = 10  # of a session.run, until it is known how long a step takes

Outcome = collections.namedtuple("Outcome", ["metrics", "evaluation", "seconds", "steps", "incidents"])
"""What a finished run leaves: final metrics, the Evaluation of the test rows, seconds of training, the
steps they took, and the rows of incidents.csv."""


class _Interrupted(Exception):
    """A signal asks training to stop; `note` says where it stands."""

    def __init__(self, note=None):
        super().__init__()
        self.note = note


def columns(task):
    """Of metrics.csv."""
    return (["epoch", "step", "seconds"] + [f"{part}_{name}" for part in PARTS for name in task.metrics]
            + ["train_lower_bound", "train_expected_log_likelihood", "train_kl", *task.extra])


class Trainer:
    """Trains a model on its data and keeps the files of its folder up to date.

    After every evaluation: metrics.csv, summary/ and log.txt (and a line on the screen where it has no
    bar); after every save_interval epochs, at a new best validation log-likelihood, when a signal asks and
    at the end: checkpoint/. What cannot be written is kept in memory and tried again.

    Args:
      plan: run.Plan. about: what config.json says, should its folder vanish.
    """

    def __init__(self, plan, model, folder, log, about, bar=True):
        self._config, self._model, self._data = plan.config, model, plan.data
        self._folder, self._log, self._bar, self._about = folder, log, bar and sys.stderr.isatty(), about
        self._task = TASKS[plan.config.mode]
        self._columns = columns(self._task)
        self._parts = [(name, part) for name, part in zip(PARTS, (plan.data.test, plan.data.valid)) if part is not None]
        self._final = self._parts[0]  # the test rows, or the validation rows if these are hidden
        self._latest = None  # their last Evaluation
        self._metrics = Table(folder.metrics, self._columns)
        self._incidents = Incidents(plan, model, folder.incidents)
        self._signals, self._disk = Signals(), Retry(log, (OSError, tf.errors.OpError))
        self._pace = None  # seconds of a step
        self._best = -np.inf  # validation log-likelihood that was saved

    def run(self, session, resume=False):
        """Trains to the last epoch, from the newest checkpoint if `resume`. Returns an Outcome.

        RunError if training fails or diverges; what was saved before stays. Stopped by a signal, after saving.
        """
        model, rows = self._model, self._data.train
        session.run(model.load.data_op, {model.load.x: rows.x, model.load.y: rows.y})
        note = self._restore(session) if resume else self._initialise(session)
        model.graph.finalize()
        writer = SummaryWriter(self._folder.summary, model.graph, note.step if resume else None)
        writer.hyper_parameters(self._config.model_dump())
        try:
            self._preview(session, writer, note)
            self._disk.attempt(EVENTS, writer.flush)
            with self._signals:
                note = self._train(session, writer, note)
            name, part = self._final
            final = self._latest or self._task.evaluate(session, model, part, self._data, self._config)
            self._task.show(writer, final, part, self._data, note.step)
            self._insist(session, note)
        except tf.errors.ResourceExhaustedError:
            raise RunError("out of memory: try fewer particles, a smaller batch_size or test_batch_size") from None
        finally:
            self._disk.attempt(EVENTS, writer.close)
        metrics = dict(self._last_row(), **{f"{name}_{key}": value for key, value in final.metrics.items()})
        return Outcome(metrics, final, note.seconds, note.step, self._incidents.table.rows)

    @property
    def _per_epoch(self):
        return self._model.design.steps_per_epoch

    def _preview(self, session, writer, note):
        """The first training pictures of the epoch, as the network sees them, in TensorBoard."""
        load = self._model.load
        if self._data.spec.pixels and note.step < self._config.epoch * self._per_epoch:
            self._load_epoch(session, note.step // self._per_epoch + 1)
            writer.image("inputs/training", image_grid(session.run(load.preview)), note.step)

    def _load_epoch(self, session, epoch):
        load = self._model.load
        plan = epoch_plan(self._config, len(self._data.train.x), epoch)
        session.run(load.epoch_op, dict(zip(load.epoch, plan.values())))

    # Where training begins.

    def _initialise(self, session):
        session.run(self._model.init)
        self._disk.attempt("metrics.csv", self._metrics.write)
        return Note(0, 0.0, True, None, True)

    def _restore(self, session):
        """The state of the newest intact checkpoint; rows written after it are dropped."""
        damaged = []
        note = checkpoints.restore(session, self._model.saver, self._folder.checkpoint, damaged=lambda prefix: (
            self._log.warning("checkpoint %s is damaged or incomplete: it is passed over", prefix.name)
            or damaged.append(prefix)))
        for prefix in damaged:  # else they would count among the newest
            self._disk.attempt("a damaged checkpoint", functools.partial(checkpoints.set_aside, prefix))
        done = note.step if note.evaluated else note.step - 1
        metrics, incidents = (read_rows_until(path, last) for path, last in (
            (self._folder.metrics, done), (self._folder.incidents, note.step)))
        if note.row and (not metrics or int(metrics[-1]["step"]) != note.step):
            metrics.append(note.row)
        missing = done // self._per_epoch // self._config.evaluate_every - len(metrics)
        if missing > 0:
            self._log.warning("metrics.csv lacks the rows of %d earlier evaluation(s): weights and results are not "
                              "touched, its curve is", missing)
        self._metrics = Table(self._folder.metrics, self._columns, metrics)
        self._disk.attempt("metrics.csv", self._metrics.write)
        self._incidents.start(incidents, int(session.run(self._model.variables["train"]["steps"])))
        if self._folder.incidents.is_file():
            self._disk.attempt("incidents.csv", self._incidents.table.write)
        scores = [other.score for other in checkpoints.notes(self._folder.checkpoint).values()
                  if other and other.score is not None and other.step <= note.step]
        self._best = max(scores, default=-np.inf)
        self._log.info("resuming after epoch %d%s", note.step // self._per_epoch,
                       f", step {note.step}" if note.step % self._per_epoch else "")
        return note

    # Training.

    def _train(self, session, writer, note):
        """Epochs until the last; evaluates and saves when due. Returns the Note at the end."""
        config, n_steps = self._config, self._config.epoch * self._per_epoch
        with tqdm.tqdm(total=config.epoch, initial=note.step // self._per_epoch, unit="epoch", dynamic_ncols=True,
                       file=SCREEN, disable=not self._bar) as bar:
            try:
                while True:
                    if note.step % self._per_epoch == 0 and not note.evaluated:
                        note = self._after_epoch(session, writer, note, bar)
                    if note.step == n_steps:
                        return note
                    note = self._epoch(session, note)
                    bar.update()
            except _Interrupted as stop:
                note = stop.note or note
        self._insist(session, note)
        raise Stopped(f"stopped by {NAMES[self._signals.received]} after step {note.step} of {n_steps}, which is "
                      "saved: --resume goes on", self._signals.received)

    def _after_epoch(self, session, writer, note, bar):
        """Evaluates and saves, if due. Returns the Note, evaluated."""
        epoch, row = note.step // self._per_epoch, {}
        if self._due(epoch, self._config.evaluate_every):
            row, part = self._evaluate(session, writer, note), self._final[0]
            bar.set_postfix_str(part + " " + ", ".join(
                f"{label} {row[part + '_' + name]:.3f}" for name, label in self._task.headline.items()))
        note = note._replace(evaluated=True, score=row.get("valid_log_likelihood"), row=row or None)
        better = note.score is not None and note.score > self._best
        due = self._due(epoch, self._config.save_every) or better or CHECKPOINT in self._disk.pending
        if due and self._disk.attempt(CHECKPOINT, lambda: self._save(session, note)) and better:
            self._best = note.score
        return note

    def _save(self, session, note):
        if not self._folder.config.is_file():
            self._log.warning("%s was gone: it is made anew, without TensorBoard's earlier curves and the earlier log",
                              self._folder.root)
            self._folder.root.mkdir(parents=True, exist_ok=True)
            write_json(self._folder.config, self._about)
        regular = self._due(note.step // self._per_epoch, self._config.save_every) or note.score is None
        checkpoints.save(session, self._model.saver, self._folder.checkpoint, note._replace(regular=regular),
                         self._config.max_to_keep)

    def _due(self, epoch, period):
        return epoch % period == 0 or epoch == self._config.epoch

    def _epoch(self, session, note):
        """The remaining steps of an epoch, in as few calls as the schedule and CALL_SECONDS allow."""
        epoch = note.step // self._per_epoch
        decay = self._config.lr_decay_ratio ** (epoch // self._config.decay_interval)
        start, before = time.perf_counter(), note
        self._load_epoch(session, epoch + 1)
        while note.step < (epoch + 1) * self._per_epoch:
            for segment in self._segments(note.step + 1, (epoch + 1) * self._per_epoch):
                step, began = note.step, time.perf_counter()
                try:
                    session.run(self._model.advance[segment.due],
                                dict(zip(self._model.knobs, (segment.rounds, segment.plain, decay))))
                    after = int(session.run(self._model.global_step))
                    self._incidents.counted += after - step
                    self._pace = (time.perf_counter() - began) / (after - step)
                except tf.errors.OpError as error:
                    try:
                        after = self._incidents.attend(session, step, decay, error)
                    finally:
                        self._disk.attempt("incidents.csv", self._incidents.table.write)
                seconds = before.seconds + time.perf_counter() - start
                note = Note(after, seconds, False, None, True)
                if self._signals.received:
                    raise _Interrupted(note)
                if after != step + segment.rounds * (segment.plain + (segment.due is not None)):
                    break  # a step failed and was seen to: what remains is planned anew
        return note

    def _segments(self, first, last):
        limit = FIRST_STEPS if self._pace is None else max(1, int(CALL_SECONDS / self._pace))
        return self._model.design.schedule.segments(first, last, self._config.steps_per_run or limit)

    # What it leaves.

    def _evaluate(self, session, writer, note):
        """Writes a row of metrics.csv, TensorBoard's curves and a line of the log. Returns the row."""
        model, epoch = self._model, note.step // self._per_epoch
        report, weight_std = session.run([model.evaluate.report, model.evaluate.weight_std])
        values = {tag: float(value) for tag, value in report.items()}
        for name, part in self._parts:
            found = self._task.evaluate(session, model, part, self._data, self._config, self._ticks)
            values.update({f"{name}/{key}": value for key, value in found.metrics.items()})
            self._latest = found if name == self._final[0] else self._latest
        broken = [tag for tag, value in values.items() if not np.isfinite(value)]
        if broken:
            raise RunError(f"training diverged: {broken[0]} is not finite after epoch {epoch}; "
                           f"try a smaller {step_key(self._config)} or more damping")
        session.run(model.evaluate.reset)
        self._incidents.counted = 0
        values["speed/steps_per_second"] = note.step / note.seconds
        values.update({f"incidents/{name}": count for name, count in counts(self._incidents.table.rows).items()})
        self._disk.attempt(EVENTS, lambda: self._show(writer, values, weight_std, note.step))
        row = {tag.replace("/", "_"): value for tag, value in values.items()}
        row.update(epoch=epoch, step=note.step, seconds=round(note.seconds, 3))
        row = {name: row[name] for name in self._columns if name in row}
        self._metrics.add(row)
        self._disk.attempt("metrics.csv", self._metrics.write)
        watched = [f"{self._final[0]}_{name}" for name in self._task.headline]
        self._log.info("epoch %d: %s", epoch, ", ".join(f"{name} {row[name]:.4f}" for name in (
            *watched, "train_lower_bound", *self._task.extra)), extra={"screen": not self._bar})
        return row

    @staticmethod
    def _show(writer, values, weight_std, step):
        writer.scalars(values, step)
        for name, std in weight_std.items():
            writer.histogram(f"{name}/weight_noise_std", std, step)
        writer.flush()

    def _ticks(self, batches):
        for batch in batches:
            if self._signals.received:
                raise _Interrupted
            yield batch

    def _last_row(self):
        """Metrics of the last evaluation, which was after the last epoch."""
        row = self._metrics.rows[-1] if self._metrics.rows else {}
        return {name: float(row[name]) for name in self._columns[3:] if row.get(name, "") != ""}

    def _insist(self, session, note):
        """Saves what is not saved, with patience; RunError if it cannot be."""
        saved = any(written == note._replace(regular=written.regular) and checkpoints.is_intact(prefix)
                    for prefix, written in checkpoints.notes(self._folder.checkpoint).items() if written)
        due = {"metrics.csv": self._metrics.write}
        if self._incidents.table.rows:
            due["incidents.csv"] = self._incidents.table.write
        if not saved:
            due[CHECKPOINT] = lambda: self._save(session, note)
        self._disk.write_all(due, self._folder.root)
