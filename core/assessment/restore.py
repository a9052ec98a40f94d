"""A run read back from its folder: its config and data, and its model at a checkpoint."""
import contextlib
import pathlib
import sys
import zipfile
import zlib
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, NoReturn, Optional, Union

import numpy as np
import tensorflow.compat.v1 as tf

from core.training import checkpoints
from core.training.auto_schedule import with_schedule
from core.training.checkpoints import Progress
from core.training.design import Design, Plan, design_run
from core.training.devices import UNUSED, choose_device
from core.training.failures import one_line_failures
from core.training.graph import Model, build_model
from core.training.tasks import TASKS
from data_loader import stored
from data_loader.parts import Part
from misc import backend
from misc.config import Config
from misc.errors import UserError
from misc.folders import MODEL_HASH, Folder, folder_at, read_config
from misc.records import read_json

ADVICE = "try a smaller --batch, fewer --particles, or --device cpu"


DataReader = Callable[[Folder, Config], Any]


class Restored(NamedTuple):
    """A run, and a session that holds its weights."""

    folder: Folder
    config: Config
    data: Any             # TableData or ImageData
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
            try:
                data = self.data if self.data.train is not None else _own_data(self.folder, self.config)
            except UserError as error:
                raise UserError(f"{self.folder.root}: the noise of predictions was not fitted at step {self.step}, "
                                f"where the checkpoint stands, and the run's data are missing ({error}): continue the "
                                "run with train.py --resume, or put its data back") from None
            return task.noise(self.session, self.model, data)


@contextlib.contextmanager
def restored(root: Union[str, pathlib.Path], overrides: Dict[str, Any], device: str = "auto",
             best: bool = False, read_data: Optional[DataReader] = None) -> Iterator[Restored]:
    """Yields `open_run(...)`, within its session, which is closed at the end."""
    run = open_run(root, overrides, device, best, read_data)
    with one_line_failures(ADVICE), run.session:
        yield run


def open_run(root: Union[str, pathlib.Path], overrides: Dict[str, Any], device: str = "auto",
             best: bool = False, read_data: Optional[DataReader] = None) -> Restored:
    """Returns the run in the folder `root` at its newest checkpoint. Raises UserError if it cannot be read back.

    The caller closes its session.

    Args:
      overrides: values of config keys that do not touch the training.
      best: take the checkpoint of the best validation log-likelihood instead, as for every run with `patience` that
        has been evaluated.
      read_data: function (folder, config) that reads the run's data: `own_data` (the default), `data_if_there` or
        `data_without_rows`.
    """
    config, _ = read_config(root, dict(overrides, curvature_device="auto"))  # no curvature is computed here
    if "data_path" in overrides:
        config = _with_moved_files(config)
    folder = folder_at(pathlib.Path(root))
    notes = checkpoints.progress_notes(folder.checkpoint)
    if not notes:
        raise UserError(f"{root} has no checkpoint (yet): there are no weights to evaluate")
    keeps_best = config.patience is not None and any(note and note.score is not None for note in notes.values())
    data = (read_data or own_data)(folder, config)
    config = with_schedule(config, data.spec.n_rows)
    design = design_run(config, data.spec)
    planned = Plan(config, data, design, *choose_device(device, design))
    if data.train is None and any(not layer.spec.has_weights for layer in design.layers):
        raise UserError(f"{folder.reference} is missing, from which batch normalisations take their moments: restore "
                        "the file")
    model = build_model(planned.design, planned.device, training=False)
    if UNUSED in planned.device_reason:
        print(f"{root}: note: {planned.device_reason}", file=sys.stderr)
    with one_line_failures(ADVICE), contextlib.ExitStack() as on_error:
        session = backend.session(model.graph, config.n_threads, "GPU" in planned.device)
        on_error.callback(session.close)
        progress = _load_weights(session, model, folder, best or keeps_best)
        if keeps_best:
            print(f"{root}: weights of epoch {progress.step // planned.design.steps_per_epoch}, the best by validation "
                  "log-likelihood (patience)", file=sys.stderr)
        model.graph.finalize()
        on_error.pop_all()
    return Restored(folder, config, planned.data, planned.design, model, session, progress)


def _load_weights(session: tf.Session, model: Model, folder: Folder, best: bool) -> Progress:
    """Restores the newest intact checkpoint, or the best one; says which are skipped. Returns where it stands."""
    damaged: List[pathlib.Path] = []
    try:
        progress = checkpoints.restore(session, model.saver, folder.checkpoint, best, on_damaged=damaged.append)
    except checkpoints.UnreadableCheckpoint as error:
        raise UserError(str(error)) from None
    except (tf.errors.InvalidArgumentError, tf.errors.NotFoundError):
        _raise_misfit(folder)
    variables = model.graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)
    if any(np.shape(value) != tuple(var.shape) for var, value in zip(variables, session.run(variables))):
        _raise_misfit(folder)  # a restored variable takes any shape
    for prefix in damaged:
        print(f"{folder.root}: checkpoint {prefix.name} is damaged or incomplete and is skipped", file=sys.stderr)
    return progress


def _raise_misfit(folder: Folder) -> NoReturn:
    raise UserError(f"{folder.checkpoint} does not fit the network that {folder.config} and {folder.model.name} "
                    "describe: it is of another run or version, or one of these was changed: restore the "
                    "files")


def _with_moved_files(config: Config) -> Config:
    """Returns the config with the files of its table in data_path."""
    files = {key: str(pathlib.Path(config.data_path) / pathlib.Path(getattr(config, key)).name)
             for key in ("data_file", "test_file") if getattr(config, key)}
    return config.model_copy(update=files)


def own_data(folder: Folder, config: Config) -> Any:
    """Returns the run's data. Raises UserError if they are missing or have changed, and says what to do."""
    try:
        return _own_data(folder, config)
    except UserError as error:
        raise UserError(f"{folder.root}: the run's data are missing or have changed ({error}): put them back, give "
                        "their folder with --data-path, or evaluate other rows with --data") from None


def data_if_there(folder: Folder, config: Config) -> Any:
    """Returns the run's data, without rows if these are missing or have changed. Raises UserError as `stored_data`."""
    try:
        return _own_data(folder, config)
    except UserError:
        return stored_data(folder)


def data_without_rows(folder: Folder, config: Config) -> Any:
    """Returns the run's data without rows, from its folder alone.

    A run of an earlier version has no model.json: its data are then read. Raises UserError if these are missing, too.
    """
    if folder.model.is_file():
        return stored_data(folder)
    try:
        return _own_data(folder, config)
    except UserError as error:
        raise UserError(f"{folder.root} has no {folder.model.name} (runs of earlier versions have none), so that the "
                        f"run's data are needed, and {error}: put them back, or train the run again") from None


def _own_data(folder: Folder, config: Config) -> Any:
    """Returns the run's data. Raises UserError if they cannot be read, or are not those that it was trained on."""
    rows_hash = read_config(folder.root, {})[1]
    data = TASKS[config.kind].load(config)
    if rows_hash not in (None, data.rows_hash):
        raise UserError(f"{data.source} is not the data that the run was trained on (hash {rows_hash}, now "
                        f"{data.rows_hash})")
    return data


def stored_data(folder: Folder) -> Any:
    """Returns the run's data without rows. Raises UserError if model.json or reference.npz is missing or damaged."""
    path = folder.model
    try:
        description, expected = read_json(path), read_json(folder.config).get(MODEL_HASH)
        data = stored.restore(description)
        if expected not in (None, stored.hash_of(description)):
            raise UserError(f"it is not what train.py wrote for the run, whose hash is in {folder.config}: restore the "
                            "file")
        if folder.reference.is_file():
            path = folder.reference
            with np.load(str(path)) as arrays:
                data = data._replace(train=Part(arrays["x"], None))
        return data
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error):
        raise UserError(f"{path} is missing or damaged: restore the file, or train the run again") from None
