"""Where a run's files go: experiments/DATASET/EXP_NAME/. An earlier run of that name is archived, never deleted."""
import contextlib
import glob
import itertools
import operator
import os
import pathlib
import platform
import typing

import filelock

from misc.config import PERIODS, REGRESSION, Config, key_mode
from misc.errors import UserError
from misc.records import read_json, write_json

EVALUATION = {"comparison.md", "metrics.json", "predictions.npz", "predictions.csv", "summary"}  # and figures, *.png
SELECTION = "selection"  # entry of config.json: the kl that was chosen of kl_candidates, and why
EXTENDED_FROM, EXTENDED_TO = "extended_from", "extended_to"  # of a lengthened run: its former and its present length
MODEL_HASH = "model_hash"  # entry of config.json: a hash of model.json
REFRESH_MULTIPLE = "refresh_multiple"  # entry of config.json: of the periods, if the config has auto_refresh
ROWS_HASH = "rows_hash"  # entry of config.json: a hash of all rows of the data
LOCK, OWNER = "lock", "owner"  # .NAME.lock and .NAME.owner beside a run's folder, which may be deleted while it trains


class Folder(typing.NamedTuple):
    """The paths of a run's files."""

    root: pathlib.Path  # the folder itself, which may hold other files, too
    summary: pathlib.Path  # folder of TensorBoard's events
    checkpoint: pathlib.Path  # folder of checkpoints
    config: pathlib.Path  # settings and provenance
    model: pathlib.Path  # what predictions must know of the data: columns, categories, classes, statistics
    reference: pathlib.Path  # training images whose moments batch normalisations use in predictions
    log: pathlib.Path
    metrics: pathlib.Path  # a row per evaluation
    incidents: pathlib.Path  # a row per skipped or recovered step
    result: pathlib.Path  # final metrics; there if and only if the run is finished
    card: pathlib.Path  # what the model predicts, how well, and within what limits, for people
    predictions: pathlib.Path  # of a regression
    probabilities: pathlib.Path  # of a classification
    evaluation: pathlib.Path  # folder of what evaluate.py wrote
    calibration: pathlib.Path  # what evaluate.py --calibrate has fitted after the training

    @property
    def files(self) -> typing.List[pathlib.Path]:
        """All paths that belong to the run alone: all but `root`."""
        return [path for path in self if path != self.root]


def run_folder(config: Config) -> Folder:
    """Returns the paths of the files of the run with this config; touches nothing."""
    return folder_at(pathlib.Path(config.experiments_path) / config.dataset / config.name)


def folder_at(root: pathlib.Path) -> Folder:
    """Returns the paths of a run's files below `root`; touches nothing."""
    return Folder(
        root=root,
        summary=root / "summary",
        checkpoint=root / "checkpoint",
        config=root / "config.json",
        model=root / "model.json",
        reference=root / "reference.npz",
        log=root / "log.txt",
        metrics=root / "metrics.csv",
        incidents=root / "incidents.csv",
        result=root / "result.json",
        card=root / "MODEL_CARD.md",
        predictions=root / "predictions.csv",
        probabilities=root / "predictions.npz",
        evaluation=root / "evaluation",
        calibration=root / "calibration.json",
    )


def check_writable(folder: Folder) -> None:
    """Raises a UserError if the folder could not be created or written to. Creates nothing."""
    existing = folder.root
    try:
        while not existing.exists():
            existing = existing.parent
    except OSError as error:
        raise UserError(f"cannot create {folder.root} ({error.strerror}): choose another experiments_path") from None
    if not existing.is_dir() or not os.access(str(existing), os.W_OK | os.X_OK):
        raise UserError(f"cannot write to {existing}: choose another experiments_path or change its permissions")


def is_evaluation(root: pathlib.Path) -> bool:
    """Tells whether evaluate.py wrote this folder. The pattern `experiments/DATASET/*` matches such folders, too."""
    names = {path.name for path in root.iterdir()} if root.is_dir() else set()
    return bool(names & {"comparison.md", "metrics.json"}) and all(name in EVALUATION or name.endswith(".png")
                                                                   for name in names)


def without_evaluations(roots: typing.Sequence[pathlib.Path]) -> typing.List[pathlib.Path]:
    """Returns the folders that evaluate.py did not write. Raises a UserError if there are none."""
    runs = [root for root in roots if not is_evaluation(root)]
    if roots and not runs:
        raise UserError(f"{roots[0]} was written by evaluate.py: give a folder that train.py wrote to")
    return runs


def read_config(root: pathlib.Path,
                overrides: typing.Mapping[str, object]) -> typing.Tuple[Config, typing.Optional[str]]:
    """Returns (Config, rows_hash of the data) of the run in a folder.

    Args:
      overrides: values of keys that have no effect on training.

    Raises a UserError if the folder holds no run, or a damaged one.
    """
    path = pathlib.Path(root) / "config.json"
    if not path.is_file():
        raise UserError(f"{root} holds no run (there is no config.json): give the folder that train.py wrote to"
                        + _runs_nearby(pathlib.Path(root)))
    try:
        written = read_json(path)
        values = {name: value for name, value in as_now(written["config"]).items()
                  if name not in Config.model_fields or key_mode(name) in (None, written["config"]["mode"])}
        if values.get("kl_candidates"):
            values["kl"] = written[SELECTION]["kl"]
        return Config.from_dict(dict(values, **overrides), str(path)), written.get("rows_hash")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path} is damaged: it is not what train.py wrote") from None


def as_now(values: typing.Mapping[str, typing.Any]) -> typing.Dict[str, typing.Any]:
    """Returns stored values of config keys as this version writes them: null for periods that are the default.

    Earlier versions stored the default numbers, also for regressions, in which they had no effect before the key
    auto_refresh existed.
    """
    is_default = {name for name, number in PERIODS.items() if values.get(name) == number}
    if values["mode"] == REGRESSION:
        is_default = set() if "auto_refresh" in values else set(PERIODS)
    return dict(values, **dict.fromkeys(is_default & set(values)))


def _runs_nearby(root: pathlib.Path) -> str:
    """Returns the end of a message that names runs below the folder, or one of the same name of other data, if any."""
    if (root / "seeds").is_dir():
        return "; these are repeated runs: name one of its seeds/N"
    runs = sorted(str(child.parent) for child in root.glob("*/config.json"))
    more = " and more" if len(runs) > 4 else ""
    if runs:
        return f"; there are {', '.join(runs[:4])}{more}"
    if root.exists():
        return ""
    elsewhere = sorted(root.parent.parent.glob(f"*/{glob.escape(root.name)}/config.json"))
    return f"; did you mean {elsewhere[0].parent}?" if elsewhere else ""


@contextlib.contextmanager
def claim(folder: Folder, wait: float = 0) -> typing.Iterator[None]:
    """Keeps other processes from training in the folder while the context lasts; creates the folder.

    Raises a UserError if another process still trains there after `wait` seconds, or if the folder cannot be created.
    """
    created = [path for path in (folder.root, *folder.root.parents) if not path.exists()]
    lock = filelock.FileLock(str(_beside(folder, LOCK)))
    try:
        folder.root.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=wait, poll_interval=0.2)
        write_json(_beside(folder, OWNER), {"pid": os.getpid(), "host": platform.node()})
    except NotImplementedError:
        raise UserError(f"the file system of {folder.root} does not support locks: choose another "
                        "experiments_path") from None
    except filelock.Timeout:
        raise UserError(f"another process{_owner(folder)} is training in {folder.root}: wait for it, or set another "
                        "exp_name") from None
    except OSError as error:
        lock.release()
        _remove_traces(folder, created)
        raise UserError(f"cannot create {folder.root} ({error.strerror}): choose another experiments_path") from None
    try:
        yield
    finally:
        lock.release()


def _remove_traces(folder: Folder, created: typing.Sequence[pathlib.Path]) -> None:
    """Removes the folders that a failed `claim` has created, and the files beside the run's folder."""
    with contextlib.suppress(OSError):
        for kind in (LOCK, OWNER, f"{OWNER}.part") if created else ():
            if _beside(folder, kind).exists():
                _beside(folder, kind).unlink()
        for path in created:
            if path.exists():
                path.rmdir()


def _beside(folder: Folder, kind: str) -> pathlib.Path:
    root = folder.root.resolve()  # all paths to a folder, through links too, share one lock
    return root.with_name(f".{root.name}.{kind}")


def _owner(folder: Folder) -> str:
    """Returns ' (pid .. on ..)' of the process that claimed the folder, or an empty text if it is not known."""
    try:
        owner = read_json(_beside(folder, OWNER))
        return f" (pid {owner['pid']} on {owner['host']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def has_checkpoint(folder: Folder) -> bool:
    """Tells whether a run could continue from here."""
    return any(folder.checkpoint.glob("model-*.json")) and folder.config.is_file()


def changed_settings(folder: Folder, config: Config, rows_hash: str,
                     free: typing.Container[str]) -> typing.Dict[str, str]:
    """Returns {what: words} of all in which the run in the folder differs from one that would begin now.

    `what` is the name of a config key, ROWS_HASH for the data, or the name of a damaged file; the words are "what
    (then .., now ..)".

    Args:
      config: of the run that would begin. Keys that the folder's older config.json lacks have their default.
      rows_hash: of its data.
      free: names of keys that may differ.
    """
    try:
        before = read_json(folder.config)
        stored = as_now(before["config"])
        then = {name: stored.get(name, field.default) for name, field in Config.model_fields.items()}
        if then["kl_candidates"]:
            float(before[SELECTION]["kl"])
        if operator.index(before.get(REFRESH_MULTIPLE, 1)) < 1:
            raise ValueError(REFRESH_MULTIPLE)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {folder.config.name: f"{folder.config.name} (it is damaged)"}
    pairs = [(name, then[name], value) for name, value in as_now(config.model_dump()).items() if name not in free]
    pairs.append((ROWS_HASH, before.get(ROWS_HASH), rows_hash))
    return {name: f"{name} (then {old!r}, now {new!r})" for name, old, new in pairs if old != new}


def check_resumable(folder: Folder, config: Config, rows_hash: str, free: typing.Container[str]) -> None:
    """Raises a UserError unless the folder holds a checkpoint of a run with this config and data.

    The arguments are those of `changed_settings`.
    """
    if any(folder.checkpoint.glob("model-*.json")) and not folder.config.is_file():
        raise UserError(f"--resume: {folder.config} is missing: restore it, or start the run without --resume")
    if not has_checkpoint(folder):
        raise UserError(f"--resume: there is no checkpoint in {folder.checkpoint}; start the run without --resume")
    changes = changed_settings(folder, config, rows_hash, free)
    if set(changes) == {ROWS_HASH}:
        raise UserError(f"--resume: the data have changed since this run began: {changes[ROWS_HASH]}; restore them, or "
                        "start the run without --resume")
    if changes:
        raise UserError(f"--resume: the config has changed since this run began: {', '.join(changes.values())}; "
                        "restore these values or start the run without --resume")


def archive_and_create(folder: Folder) -> typing.Optional[pathlib.Path]:
    """Archives an earlier run, then creates the folders that a new one writes to. Returns the archive, or None."""
    try:
        archived = archive(folder)
        for path in (folder.summary, folder.checkpoint):
            path.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"cannot create {folder.root} ({error.strerror}): choose another experiments_path") from None
    return archived


def archive(folder: Folder) -> typing.Optional[pathlib.Path]:
    """Moves the files of a run, if there is one, to the first free of NAME.1, NAME.2, ...; returns it, or None.

    Other files and folders, such as the repeated runs of regression_baseline.py, stay.
    """
    earlier = [path for path in folder.files if path.exists()]
    if not earlier:
        return None
    earlier += sorted(path for path in folder.root.glob("evaluation.*") if is_evaluation(path))
    target = unused_name(folder.root)
    target.mkdir()
    for path in earlier:
        path.rename(target / path.name)
    return target


def unused_name(path: pathlib.Path) -> pathlib.Path:
    """Returns the first of NAME.1, NAME.2, ... that does not exist."""
    return next(other for other in (path.with_name(f"{path.name}.{i}") for i in itertools.count(1))
                if not other.exists())
