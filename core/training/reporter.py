"""What a run shows while it trains: metrics.csv, TensorBoard's events, and lines of the log."""
import logging
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from core.training.checkpoints import Progress
from core.training.evaluation import Evaluation, WrapBatches
from core.training.graph import Model
from core.training.recovery import Recovery, counts
from core.training.tasks import METRIC_PREFIX, Task
from misc.config import Config
from misc.errors import DIVERGED, Diverged
from misc.folders import Folder
from misc.image_figures import image_grid
from misc.records import Table, read_rows_until
from misc.retry import Retry
from misc.summary import SummaryWriter

EVENTS, METRICS = "TensorBoard's events", "metrics.csv"


def columns(task: Task, config: Config, data: Any) -> List[str]:
    """Returns the columns of metrics.csv."""
    metrics = task.metrics(data)
    return (["epoch", "step", "seconds"] + [prefix + name for prefix in METRIC_PREFIX.values() for name in metrics]
            + ["train_lower_bound", "train_expected_log_likelihood", "train_kl", *task.extra_columns,
               *task.noise_columns(config, data.spec.n_outputs)])


class Reporter:
    """Evaluates a model and writes the results to metrics.csv, TensorBoard's events and the log.

    Args:
      model: the Model in training.
      data: the data of its run.
      folder: where its files are.
      log: the run's logger.
      retry: tries to write; what cannot be written is kept in memory.
      on_screen: whether evaluations are also logged on the screen, because there is no progress bar.
    """

    def __init__(self, model: Model, data: Any, folder: Folder, log: logging.Logger, retry: Retry,
                 on_screen: bool) -> None:
        self._model, self._data, self._folder, self._log, self._retry = model, data, folder, log, retry
        self._on_screen, self._task = on_screen, model.design.task
        self._columns = columns(self._task, model.design.config, data)
        parts = ((METRIC_PREFIX["test"], data.test), (METRIC_PREFIX["validation"], data.valid))
        self._parts = [(prefix, part) for prefix, part in parts if part is not None]
        # The rows that the run is judged by: validation rows if the test rows are hidden; none if all rows train.
        self._final_prefix, self._final_part = self._parts[0] if self._parts else ("", None)
        self._latest: Optional[Tuple[int, Evaluation]] = None  # number of steps, and the evaluation of the final part
        self._table = Table(folder.metrics, self._columns)

    def open(self, session: tf.Session, progress: Progress, resumed: bool) -> None:
        """Begins to write TensorBoard's events."""
        config = self._model.design.config
        self._writer = SummaryWriter(self._folder.summary, self._model.graph, progress.step if resumed else None)
        self._writer.hyper_parameters(config.model_dump())

    def close(self) -> None:
        """Writes the last of TensorBoard's events."""
        self._retry.attempt(EVENTS, self._writer.close)

    def show_inputs(self, session: tf.Session, step: int) -> None:
        """Shows the first training images of the epoch in TensorBoard, as the network sees them."""
        self._writer.image("inputs/training", image_grid(session.run(self._model.load.preview)), step)

    def flush(self) -> None:
        """Writes TensorBoard's events."""
        self._retry.attempt(EVENTS, self._writer.flush)

    def write_metrics(self) -> None:
        """Brings metrics.csv up to date. Raises OSError."""
        self._table.write()

    def try_to_write_metrics(self) -> None:
        """Brings metrics.csv up to date, or keeps its rows in memory."""
        self._retry.attempt(METRICS, self._table.write)

    def resume(self, progress: Progress) -> None:
        """Continues the metrics.csv of an interrupted run; rows written after its checkpoint are dropped."""
        design = self._model.design
        last_step = progress.step if progress.evaluated else progress.step - 1
        rows = read_rows_until(self._folder.metrics, last_step)
        if progress.row and (not rows or int(rows[-1]["step"]) != progress.step):
            rows.append(progress.row)
        epochs, every, length = last_step // design.steps_per_epoch, design.config.evaluate_every, design.config.epoch
        n_missing = epochs // every + (epochs >= length and length % every > 0) - len(rows)
        if n_missing > 0:
            self._log.warning("metrics.csv lacks the rows of %d earlier evaluation(s); only its curve is affected, not "
                              "the weights or the results", n_missing)
        self._table = Table(self._folder.metrics, self._columns, rows)
        self.try_to_write_metrics()

    def evaluate(self, session: tf.Session, progress: Progress, recovery: Recovery,
                 batches: WrapBatches = iter, reset: bool = True, n_draws: Optional[int] = None) -> Dict[str, Any]:
        """Evaluates all parts, and writes metrics.csv, TensorBoard's curves and a line of the log. Returns the row.

        Args:
          batches: wraps the batches of an evaluation.
          reset: whether the training bound is averaged anew from here; otherwise the state stays as it is.
          n_draws: how many of the weight draws are taken; None: all.

        Raises RunError if a value is not finite.
        """
        model, design = self._model, self._model.design
        epoch = progress.step // design.steps_per_epoch
        report, weight_std = session.run([model.evaluate.report, model.evaluate.weight_std])
        values = {tag: float(value) for tag, value in report.items()}
        noise = self._task.noise(session, model, self._data, batches)
        values.update(noise.report if noise else {})
        for prefix, part in self._parts:
            evaluation = self._task.evaluate(session, model, part, self._data, noise, batches, n_draws)
            values.update({f"{prefix[:-1]}/{name}": value for name, value in evaluation.metrics.items()})
            if prefix == self._final_prefix and n_draws is None:
                self._latest = progress.step, evaluation
        self._check_finite(values, epoch)
        if reset:
            session.run(model.evaluate.reset)
            recovery.reset_counter()
        values["speed/steps_per_second"] = progress.step / progress.seconds
        values.update({f"incidents/{name}": count for name, count in counts(recovery.table.rows).items()})
        self._retry.attempt(EVENTS, lambda: self._write_curves(values, weight_std, progress.step))
        row = {tag.replace("/", "_"): value for tag, value in values.items()}
        row.update(epoch=epoch, step=progress.step, seconds=round(progress.seconds, 3))
        row = {name: row[name] for name in self._columns if name in row}
        self._table.add(row)
        self.try_to_write_metrics()
        watched = [self._final_prefix + name for name in self._task.headline] if self._parts else []
        logged = (*watched, "train_lower_bound", *self._task.extra_columns)
        self._log.info("epoch %d: %s", epoch, ", ".join(f"{name} {row[name]:.4f}" for name in logged),
                       extra={"screen": self._on_screen})
        return row

    def headline(self, row: Dict[str, Any]) -> str:
        """Returns the metrics that people watch, for the progress bar."""
        if not self._parts:
            return f"lower bound {row['train_lower_bound']:.3f}"
        return self._final_prefix[:-1] + " " + ", ".join(
            f"{label} {row[self._final_prefix + name]:.3f}" for name, label in self._task.headline.items())

    def final(self, session: tf.Session, step: int) -> Optional[Evaluation]:
        """Returns the Evaluation of the final part after `step` steps, which the session holds; shows its images.

        It is None if the run has neither test rows nor validation rows.
        """
        if self._final_part is None:
            return None
        if self._latest is None or self._latest[0] != step:
            noise = self._task.noise(session, self._model, self._data)
            self._latest = step, self._task.evaluate(session, self._model, self._final_part, self._data, noise)
        evaluation = self._latest[1]
        self._task.write_images(self._writer, evaluation, self._final_part, self._data, step)
        return evaluation

    def final_metrics(self, evaluation: Optional[Evaluation], row: Optional[Dict[str, Any]] = None) -> Dict[str, float]:
        """Returns the metrics of an evaluation and its row of metrics.csv; None: the last one."""
        row = row or (self._table.rows[-1] if self._table.rows else {})
        metrics = {name: float(row[name]) for name in self._columns[3:] if row.get(name, "") != ""}
        if evaluation is not None:
            metrics.update({self._final_prefix + name: value for name, value in evaluation.metrics.items()})
        return metrics

    def _check_finite(self, values: Dict[str, float], epoch: int) -> None:
        broken = [tag for tag, value in values.items() if not np.isfinite(value)]
        if broken:
            raise Diverged(f"{DIVERGED}: {broken[0]} is not finite after epoch {epoch}; try a smaller "
                           f"{self._task.step_key} or more damping")

    def _write_curves(self, values: Dict[str, float], weight_std: Dict[str, np.ndarray], step: int) -> None:
        self._writer.scalars(values, step)
        for name, std in weight_std.items():
            self._writer.histogram(f"{name}/weight_noise_std", std, step)
        self._writer.flush()
