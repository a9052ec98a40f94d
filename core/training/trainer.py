"""The session loop: run steps, evaluate, save, resume."""
import functools
import logging
import pathlib
import sys
import time
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional

import numpy as np
import tensorflow.compat.v1 as tf
import tqdm

from core.training import checkpoints, warm_start
from core.training.checkpoints import Progress
from core.training.cost import draws_after
from core.training.design import Plan
from core.training.evaluation import Evaluation
from core.training.failures import described
from core.training.graph import Model
from core.training.recovery import Recovery
from core.training.reporter import METRICS, Reporter
from core.training.schedule import Segment
from core.training.stepper import Stepper
from misc.errors import RunError, Stopped
from misc.folders import Folder
from misc.log import SCREEN
from misc.records import read_rows_until, write_json
from misc.retry import Retry
from misc.signals import NAMES, Signals

CHECKPOINT, INCIDENTS = "the checkpoint", "incidents.csv"
CALL_SECONDS = 2.0  # about how long one session.run may take: signals wait for it
FIRST_STEPS = 10  # steps of a session.run until it is known how long a step takes


class Outcome(NamedTuple):
    """What a finished run leaves."""

    metrics: Dict[str, float]  # final metrics, by their names in metrics.csv
    evaluation: Optional[Evaluation]  # of the rows behind `metrics`; None if the run has none but training rows
    seconds: float             # training time
    steps: int                 # number of training steps
    incidents: List[Dict]      # rows of incidents.csv
    best_epoch: Optional[int]  # whose evaluation this is, if the best one is kept (key `patience`)
    stopped_early: bool        # whether `patience` ended the training


class _Interrupted(Exception):
    """A signal asks training to stop; `progress` says where it stands, if that has changed."""

    def __init__(self, progress: Optional[Progress] = None) -> None:
        super().__init__()
        self.progress = progress


class Trainer:
    """Trains a model on its data and keeps the files of its folder up to date.

    After every evaluation it writes metrics.csv, summary/ and log.txt. Checkpoints are written every
    save_interval epochs, at a new best validation log-likelihood, at a signal and at the end. What cannot
    be written is kept in memory and tried again.

    Args:
      plan: the Plan of the run.
      model: the Model built for the plan's design.
      folder: where the run's files are.
      log: the run's logger.
      about: contents of config.json, which is written again if the folder is removed.
      bar: whether to show a progress bar.
    """

    def __init__(self, plan: Plan, model: Model, folder: Folder, log: logging.Logger, about: Dict[str, Any],
                 bar: bool = True) -> None:
        self._config, self._design, self._model, self._data = plan.config, plan.design, model, plan.data
        self._start = plan.start
        self._folder, self._log, self._about = folder, log, about
        self._bar = bar and sys.stderr.isatty()
        self._signals, self._retry = Signals(), Retry(log, (OSError, tf.errors.OpError))
        self._reporter = Reporter(model, plan.data, folder, log, self._retry, on_screen=not self._bar)
        self._recovery = Recovery(plan.design, plan.device, plan.data.train, folder.incidents)
        self._seconds_per_step: Optional[float] = None
        self._reached = Progress()  # where training stood before the present session.run
        self._best_score = -np.inf  # the highest validation log-likelihood that was saved

    def run(self, session: tf.Session, resume: bool = False) -> Outcome:
        """Trains to the last epoch, from the newest checkpoint if `resume`.

        Raises RunError if training fails or diverges (what was saved before stays), and Stopped by a signal, after
        saving.
        """
        self._stepper = Stepper(session, self._model, self._data.train)
        self._stepper.load_data()
        progress = self._restore(session) if resume else self._initialise(session)
        self._model.graph.finalize()
        self._reporter.open(session, progress, resume)
        try:
            self._show_inputs(session, progress)
            with self._signals:
                progress = self._train(session, progress)
            self._save_all(session, progress)
            best = self._restore_best(session) if self._config.patience else None
            evaluation = self._reporter.final(session, (best or progress).step)
        finally:
            self._reporter.close()
        metrics = self._reporter.final_metrics(evaluation, best and best.row)
        return Outcome(metrics, evaluation, progress.seconds, progress.step, self._recovery.table.rows,
                       best and best.step // self._per_epoch, self._has_waited(progress))

    @property
    def _per_epoch(self) -> int:
        return self._design.steps_per_epoch

    # Where training begins.

    def _initialise(self, session: tf.Session) -> Progress:
        session.run(self._model.init)
        if self._start:
            warm_start.load(session, self._model, self._start)
        self._reporter.try_to_write_metrics()
        return Progress(evaluated=True)

    def _restore(self, session: tf.Session) -> Progress:
        """Restores the state of the newest intact checkpoint; rows written after it are dropped."""
        damaged: List[pathlib.Path] = []

        progress = checkpoints.restore(session, self._model.saver, self._folder.checkpoint,
                                       on_damaged=functools.partial(self._skip, damaged))
        for prefix in damaged:  # archived, or they would count among the newest
            self._retry.attempt("a damaged checkpoint", functools.partial(checkpoints.archive_damaged, prefix))
        self._reporter.resume(progress)
        incidents = read_rows_until(self._folder.incidents, progress.step)
        self._recovery.start(incidents, int(session.run(self._model.variables["train"]["steps"])))
        if self._folder.incidents.is_file():
            self._retry.attempt(INCIDENTS, self._recovery.table.write)
        scores = [other.score for other in checkpoints.progress_notes(self._folder.checkpoint).values()
                  if other and other.score is not None and other.step <= progress.step]
        self._best_score = max(scores, default=-np.inf)
        within = progress.step % self._per_epoch
        self._log.info("resuming after epoch %d%s", progress.step // self._per_epoch,
                       f", step {progress.step}" if within else "")
        return progress

    def _restore_best(self, session: tf.Session) -> Progress:
        """Restores the state of the best validation log-likelihood and returns the Progress there."""
        return checkpoints.restore(session, self._model.saver, self._folder.checkpoint, best=True,
                                   on_damaged=functools.partial(self._skip, []))

    def _skip(self, skipped: List[pathlib.Path], prefix: pathlib.Path) -> None:
        self._log.warning("checkpoint %s is damaged or incomplete and is skipped", prefix.name)
        skipped.append(prefix)

    def _show_inputs(self, session: tf.Session, progress: Progress) -> None:
        """Shows the first training images as the network sees them, unless training is over."""
        if self._data.spec.pixels and progress.step < self._design.n_epochs * self._per_epoch:
            self._stepper.load_epoch(progress.step // self._per_epoch + 1)
            self._reporter.show_inputs(session, progress.step)
        self._reporter.flush()

    # Training.

    def _train(self, session: tf.Session, progress: Progress) -> Progress:
        """Trains epochs until the last, or until patience ends; evaluates and saves when due."""
        n_steps = self._design.n_epochs * self._per_epoch
        with tqdm.tqdm(total=self._design.n_epochs, initial=progress.step // self._per_epoch, unit="epoch",
                       dynamic_ncols=True, file=SCREEN, disable=not self._bar) as bar:
            try:
                while True:
                    self._reached = progress
                    if progress.step % self._per_epoch == 0 and not progress.evaluated:
                        self._reached = progress = self._after_epoch(session, progress, bar)
                    if progress.step >= n_steps or self._has_waited(progress):
                        return progress
                    progress = self._epoch(progress)
                    bar.update()
            except _Interrupted as stop:
                progress = stop.progress or progress
            except (MemoryError, tf.errors.OpError) as error:
                raise self._saved(session, error) from None
        self._save_all(session, progress)
        raise Stopped(f"stopped by {NAMES[self._signals.received]} after step {progress.step} of {n_steps}; it is "
                      "saved: --resume continues from there", self._signals.received)

    def _epoch(self, progress: Progress) -> Progress:
        """Runs the remaining steps of an epoch, in as few calls as the schedule and CALL_SECONDS allow."""
        epoch = progress.step // self._per_epoch
        started, last = time.perf_counter() - progress.seconds, (epoch + 1) * self._per_epoch
        self._stepper.load_epoch(epoch + 1)
        while progress.step < last:
            for segment in self._segments(progress.step + 1, last):
                planned = progress.step + segment.n_steps
                step = self._run_segment(segment, progress.step)
                self._reached = progress = progress._replace(
                    step=step, seconds=time.perf_counter() - started, evaluated=False, score=None, row=None)
                if self._signals.received:
                    raise _Interrupted(progress)
                if step != planned:
                    break  # a step failed and was handled: plan the remaining steps again
        return progress

    def _segments(self, first: int, last: int) -> List[Segment]:
        limit = FIRST_STEPS
        if self._seconds_per_step is not None:
            limit = max(1, int(CALL_SECONDS / self._seconds_per_step))
        return self._design.schedule.segments(first, last, self._config.steps_per_run or limit)

    def _run_segment(self, segment: Segment, start: int) -> int:
        """Runs the segment after step `start`; returns the step that was reached, earlier if a step failed."""
        began = time.perf_counter()
        try:
            self._stepper.run(segment)
            step = self._stepper.step
        except tf.errors.OpError as error:
            return self._recover(start, error)
        self._recovery.count_steps(step - start)
        self._seconds_per_step = (time.perf_counter() - began) / (step - start)
        return step

    def _recover(self, start: int, error: tf.errors.OpError) -> int:
        try:
            return self._recovery.recover(self._stepper, start, error)
        finally:
            self._retry.attempt(INCIDENTS, self._recovery.table.write)

    def _after_epoch(self, session: tf.Session, progress: Progress, bar: tqdm.tqdm) -> Progress:
        """Evaluates and saves, if due.

        The evaluation at the end of a lengthened run is no part of its state, unless it is due anyway, so that a run
        that is lengthened twice equals one that is lengthened once.
        """
        epoch, row = progress.step // self._per_epoch, {}
        due = self._is_due(epoch, self._config.evaluate_every)
        if due or epoch == self._design.n_epochs:
            row = self._reporter.evaluate(session, progress, self._recovery, self._interruptible, reset=due,
                                          n_draws=draws_after(self._design, epoch))
            bar.set_postfix_str(self._reporter.headline(row))
            if not due:
                return progress
        progress = progress.with_evaluation(row)
        better = progress.score is not None and progress.score > self._best_score
        due = self._is_due(epoch, self._config.save_every) or better or CHECKPOINT in self._retry.pending
        if due and self._retry.attempt(CHECKPOINT, lambda: self._save(session, progress)) and better:
            self._best_score = progress.score
        return progress

    def _is_due(self, epoch: int, period: int) -> bool:
        return epoch % period == 0 or epoch == self._config.epoch

    def _has_waited(self, progress: Progress) -> bool:
        return self._config.patience is not None and progress.waited >= self._config.patience

    def _interruptible(self, batches: Iterable) -> Iterator:
        """Yields the batches of an evaluation until a signal arrives."""
        for batch in batches:
            if self._signals.received:
                raise _Interrupted
            yield batch

    # Saving.

    def _save(self, session: tf.Session, progress: Progress) -> None:
        if not self._folder.config.is_file():
            self._log.warning("%s was removed and has been created again; TensorBoard's earlier curves and the "
                              "earlier log are lost", self._folder.root)
            self._folder.root.mkdir(parents=True, exist_ok=True)
            write_json(self._folder.config, self._about)
        regular = self._is_due(progress.step // self._per_epoch, self._config.save_every) or progress.score is None
        checkpoints.save(session, self._model.saver, self._folder.checkpoint, progress._replace(regular=regular),
                         self._config.max_to_keep)

    def _save_all(self, session: tf.Session, progress: Progress) -> None:
        """Saves what is not saved yet, with several tries. Raises RunError if that is impossible."""
        writes = {METRICS: self._reporter.write_metrics}
        if self._recovery.table.rows:
            writes[INCIDENTS] = self._recovery.table.write
        if not self._is_saved(progress):
            writes[CHECKPOINT] = lambda: self._save(session, progress)
        self._retry.write_all(writes, self._folder.root)

    def _saved(self, session: tf.Session, error: Exception) -> Exception:
        """Saves the state if memory ran out or the GPU failed, and it can be read. Returns the error to raise."""
        what = described(error)
        if what is None:
            return error
        self._log.info("%s", what, extra={"screen": False})  # saving may end this process
        try:
            step = self._recovery.rewind(self._stepper, self._reached.step)
            progress = self._reached if step == self._reached.step else self._reached._replace(
                step=step, evaluated=False, score=None, row=None)
            if not self._is_saved(progress):
                self._save(session, progress)
            return RunError(f"{what}; the state after step {step} is saved: --resume continues from there")
        except (OSError, MemoryError, tf.errors.OpError):
            steps = [note.step for note in checkpoints.progress_notes(self._folder.checkpoint).values() if note]
            return RunError(f"{what}; the state could not be saved: " + (
                f"--resume continues from the checkpoint of step {max(steps)}" if steps else "there is no checkpoint"))

    def _is_saved(self, progress: Progress) -> bool:
        return any(written == progress._replace(regular=written.regular) and checkpoints.is_intact(prefix)
                   for prefix, written in checkpoints.progress_notes(self._folder.checkpoint).items() if written)
