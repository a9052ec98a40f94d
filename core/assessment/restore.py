"""A run read back from its folder: its config and data, and its model at a checkpoint."""
import contextlib
import pathlib
import sys
from typing import Any, Dict, Iterator, NamedTuple, Union

import tensorflow.compat.v1 as tf

from core.training import checkpoints
from core.training.design import Design
from core.training.devices import UNUSED
from core.training.failures import one_line_failures
from core.training.graph import Model, build_model
from core.training.run import plan
from misc import backend
from misc.config import Config
from misc.errors import UserError
from misc.folders import Folder, folder_at, read_config

ADVICE = "try a smaller --batch, fewer --particles, or --device cpu"


class Restored(NamedTuple):
    """A run, and a session that holds its weights."""

    folder: Folder
    config: Config
    data: Any             # RegressionData or ImageData
    design: Design
    model: Model
    session: tf.Session
    step: int             # steps of training after which the weights were saved


@contextlib.contextmanager
def restored(root: Union[str, pathlib.Path], overrides: Dict[str, Any], device: str = "auto",
             best: bool = False) -> Iterator[Restored]:
    """Yields the run in the folder `root` at its newest checkpoint. Raises UserError if it cannot be read back.

    Args:
      overrides: values of config keys that do not touch the training.
      best: take the checkpoint of the best validation log-likelihood instead, as for every run with `patience` that
        has been evaluated.
    """
    config, rows_hash = read_config(root, dict(overrides, curvature_device="auto"))  # no curvature is computed here
    folder = folder_at(pathlib.Path(root))
    notes = checkpoints.progress_notes(folder.checkpoint)
    if not notes:
        raise UserError(f"{root} has no checkpoint (yet): there are no weights to evaluate")
    keeps_best = config.patience is not None and any(note and note.score is not None for note in notes.values())
    planned = plan(config, device)
    if rows_hash not in (None, planned.data.rows_hash):
        raise UserError(f"{root}: {planned.data.source} is not the data that the run was trained on (hash {rows_hash}, "
                        f"now {planned.data.rows_hash}): give the folder of its data with --data-path")
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
        yield Restored(folder, config, planned.data, planned.design, model, session, progress.step)
