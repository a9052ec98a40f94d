"""A run read back from its folder: its config and data, and its model at a checkpoint."""
import contextlib
import pathlib
import sys
from typing import Any, Dict, Iterator, NamedTuple, Optional, Union

import numpy as np
import tensorflow.compat.v1 as tf

from core.training import checkpoints
from core.training.auto_schedule import with_schedule
from core.training.checkpoints import Progress
from core.training.design import Design, Plan, design_run
from core.training.devices import UNUSED, choose_device
from core.training.failures import one_line_failures
from core.training.graph import Model, build_model
from core.training.run import plan
from data_loader import stored
from data_loader.parts import Part
from misc import backend
from misc.config import Config
from misc.errors import UserError
from misc.folders import Folder, folder_at, read_config
from misc.records import read_json

ADVICE = "try a smaller --batch, fewer --particles, or --device cpu"


class Restored(NamedTuple):
    """A run, and a session that holds its weights."""

    folder: Folder
    config: Config
    data: Any             # RegressionData or ImageData
    design: Design
    model: Model
    session: tf.Session
    progress: Progress    # of training when the weights were saved

    @property
    def step(self) -> int:
        """Steps of training after which the weights were saved."""
        return self.progress.step

    def noise(self) -> Any:
        """Returns the noise of predictions: as the run evaluated it at this step, or else as the training rows say.

        Raises UserError if neither is known.
        """
        row, task = self.progress.row, self.design.task
        try:
            return task.restored_noise(self.session, self.model, row or {})
        except KeyError:
            if self.data.train is not None:
                return task.noise(self.session, self.model, self.data)
        raise UserError(f"{self.folder.root}: the noise of predictions was not fitted at step {self.step}, where the "
                        "newest checkpoint stands: continue the run with --resume, or give the folder of its data with "
                        "--data-path")


@contextlib.contextmanager
def restored(root: Union[str, pathlib.Path], overrides: Dict[str, Any], device: str = "auto",
             best: bool = False, needs_rows: bool = True) -> Iterator[Restored]:
    """Yields the run in the folder `root` at its newest checkpoint. Raises UserError if it cannot be read back.

    Args:
      overrides: values of config keys that do not touch the training.
      best: take the checkpoint of the best validation log-likelihood instead, as for every run with `patience` that
        has been evaluated.
      needs_rows: whether the rows of the run's data must be there; without them, the data come from model.json.
    """
    config, rows_hash = read_config(root, dict(overrides, curvature_device="auto"))  # no curvature is computed here
    folder = folder_at(pathlib.Path(root))
    notes = checkpoints.progress_notes(folder.checkpoint)
    if not notes:
        raise UserError(f"{root} has no checkpoint (yet): there are no weights to evaluate")
    keeps_best = config.patience is not None and any(note and note.score is not None for note in notes.values())
    planned = _planned(folder, config, rows_hash, device, needs_rows)
    model = build_model(planned.design, planned.device, training=False)
    damaged = []
    if UNUSED in planned.device_reason:
        print(f"{root}: note: {planned.device_reason}", file=sys.stderr)
    with one_line_failures(ADVICE), backend.session(model.graph, config.n_threads, "GPU" in planned.device) as session:
        try:
            progress = checkpoints.restore(session, model.saver, folder.checkpoint, best or keeps_best,
                                           on_damaged=damaged.append)
        except checkpoints.UnreadableCheckpoint as error:
            raise UserError(str(error)) from None
        for prefix in damaged:
            print(f"{root}: checkpoint {prefix.name} is damaged or incomplete and is skipped", file=sys.stderr)
        if keeps_best:
            print(f"{root}: weights of epoch {progress.step // planned.design.steps_per_epoch}, the best by validation "
                  "log-likelihood (patience)", file=sys.stderr)
        model.graph.finalize()
        yield Restored(folder, config, planned.data, planned.design, model, session, progress)


def _planned(folder: Folder, config: Config, rows_hash: Optional[str], device: str, needs_rows: bool) -> Plan:
    """Returns the plan of the run, whose data have no rows if these are not needed and not there.

    Raises UserError if the rows are needed, or there is no model.json, and the rows are missing or have changed.
    """
    try:
        planned = plan(config, device)
        changed = rows_hash not in (None, planned.data.rows_hash)
        error = UserError(f"{folder.root}: {planned.data.source} is not the data that the run was trained on (hash "
                          f"{rows_hash}, now {planned.data.rows_hash}): give the folder of its data with --data-path")
    except UserError as missing:
        changed, error = True, missing
    if not changed:
        return planned
    if needs_rows or not folder.model.is_file():
        raise error
    data = stored_data(folder)
    config = with_schedule(config, data.spec.n_rows)
    design = design_run(config, data.spec)
    return Plan(config, data, design, *choose_device(device, design))


def stored_data(folder: Folder) -> Any:
    """Returns the run's data without rows. Raises UserError if model.json is missing or damaged."""
    try:
        data = stored.restore(read_json(folder.model))
        if folder.reference.is_file():
            with np.load(str(folder.reference)) as arrays:
                data = data._replace(train=Part(arrays["x"], None))
        return data
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{folder.model} is missing or damaged: train the run again, or restore the file") from None
