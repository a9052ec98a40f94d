"""A run read back from its folder: its config and data, and its model at the newest checkpoint."""
import collections
import contextlib
import pathlib
import sys

from core.training import checkpoints
from core.training.graph import build_model
from core.training.run import plan
from misc import backend
from misc.errors import UserError
from misc.folders import folder_at, read_config

Restored = collections.namedtuple("Restored", ["folder", "config", "data", "design", "model", "session", "step"])
"""Folder, Config, data, Design, Model and the session that holds its weights as they were after `step` steps."""


@contextlib.contextmanager
def restored(root, overrides, device="auto", best=False):
    """The run in the folder `root`, as a Restored, while this holds. UserError if it cannot be read back.

    best: its checkpoint of the best validation log-likelihood instead of the newest.
    """
    config, rows_hash = read_config(root, dict(overrides, curvature_device="auto"))  # no curvature is computed here
    folder = folder_at(pathlib.Path(root))
    if not checkpoints.notes(folder.checkpoint):
        raise UserError(f"{root} has no checkpoint (yet): there are no weights to evaluate")
    made = plan(config, device)
    if rows_hash not in (None, made.data.rows_hash):
        raise UserError(f"{root}: {made.data.source} is not the data that the run was trained on (hash {rows_hash}, "
                        f"now {made.data.rows_hash}): say where they are with --data-path")
    model = build_model(config, made.data.spec, made.device, training=False)
    damaged = []
    with backend.session(model.graph, config.n_threads) as session:
        try:
            note = checkpoints.restore(session, model.saver, folder.checkpoint, best, damaged=damaged.append)
        except checkpoints.UnreadableCheckpoint as error:
            raise UserError(str(error)) from None
        for prefix in damaged:
            print(f"{root}: checkpoint {prefix.name} is damaged or incomplete: it is passed over", file=sys.stderr)
        model.graph.finalize()
        yield Restored(folder, config, made.data, made.design, model, session, note.step)
