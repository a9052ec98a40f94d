"""experiments/DATASET/EXP_NAME/: where a run's files go. Starting over never destroys."""
import collections
import contextlib
import itertools
import os
import pathlib
import platform

import filelock

from misc.config import Config, key_mode
from misc.errors import UserError
from misc.records import read_json, write_json

EVALUATION = {"comparison.md", "metrics.json", "predictions.npz", "predictions.csv", "summary"}  # and figures
LOCK, OWNER = "lock", "owner"  # .NAME.lock and .NAME.owner beside a run's folder, which may be deleted meanwhile

Folder = collections.namedtuple(
    "Folder", ["root", "summary", "checkpoint", "config", "log", "metrics", "incidents", "result", "predictions",
               "probabilities", "evaluation"]
)


def run_folder(config):
    """The paths of a run's files; touches nothing."""
    return folder_at(pathlib.Path(config.experiments_path) / config.dataset / config.name)


def folder_at(root):
    """The paths of a run's files below `root`; touches nothing."""
    return Folder(
        root=root,
        summary=root / "summary",
        checkpoint=root / "checkpoint",
        config=root / "config.json",
        log=root / "log.txt",
        metrics=root / "metrics.csv",
        incidents=root / "incidents.csv",
        result=root / "result.json",
        predictions=root / "predictions.csv",
        probabilities=root / "predictions.npz",
        evaluation=root / "evaluation",
    )


def check_writable(folder):
    """UserError if the folder could not be made. Makes nothing."""
    existing = folder.root
    try:
        while not existing.exists():
            existing = existing.parent
    except OSError as error:
        raise UserError(f"cannot create {folder.root} ({error.strerror}): choose another experiments_path") from None
    if not existing.is_dir() or not os.access(str(existing), os.W_OK | os.X_OK):
        raise UserError(f"cannot write to {existing}: choose another experiments_path or mend its permissions")


def is_evaluation(root):
    """Whether evaluate.py wrote this folder: `experiments/DATASET/*` names them with the runs."""
    names = {path.name for path in root.iterdir()} if root.is_dir() else set()
    return bool(names & {"comparison.md", "metrics.json"}) and all(name in EVALUATION or name.endswith(".png")
                                                                   for name in names)


def without_evaluations(roots):
    """The folders, without those that evaluate.py wrote. UserError if nothing else is there."""
    runs = [root for root in roots if not is_evaluation(root)]
    if not runs:
        raise UserError(f"{roots[0]} is what evaluate.py wrote: give a folder that train.py wrote to")
    return runs


def read_config(root, overrides):
    """(Config, hash of the data) of the run in a folder; `overrides` are keys that do not touch the training."""
    path = pathlib.Path(root) / "config.json"
    if not path.is_file():
        seeds = "; these are repeated runs: name one of its seeds/N" if (path.parent / "seeds").is_dir() else ""
        beneath = sorted(str(child.parent) for child in pathlib.Path(root).glob("*/config.json"))
        beneath = f"; there are {', '.join(beneath[:4])}{' and more' * (len(beneath) > 4)}" if beneath else ""
        raise UserError(f"{root} holds no run (there is no config.json): give the folder that train.py wrote to"
                        + (seeds or beneath))
    try:
        written = read_json(path)
        values = {name: value for name, value in written["config"].items()
                  if name not in Config.model_fields or key_mode(name) in (None, written["config"]["mode"])}
        return Config.from_dict(dict(values, **overrides), str(path)), written.get("rows_hash")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path} is damaged: it is not what train.py wrote") from None


@contextlib.contextmanager
def claim(folder, wait=0):
    """While this holds, no other process writes to the folder. UserError if one still does after `wait` seconds."""
    made = [path for path in (folder.root, *folder.root.parents) if not path.exists()]
    lock = filelock.FileLock(str(_beside(folder, LOCK)))
    try:
        folder.root.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=wait, poll_interval=0.2)
        write_json(_beside(folder, OWNER), {"pid": os.getpid(), "host": platform.node()})
    except NotImplementedError:
        raise UserError(f"the file system of {folder.root} knows no locks: choose another experiments_path") from None
    except filelock.Timeout:
        raise UserError(f"another process{_owner(folder)} is training in {folder.root}: wait for it, or set another "
                        "exp_name") from None
    except OSError as error:
        lock.release()
        with contextlib.suppress(OSError):
            for kind in (LOCK, OWNER, f"{OWNER}.part") if made else ():
                if _beside(folder, kind).exists():
                    _beside(folder, kind).unlink()
            for path in made:
                if path.exists():
                    path.rmdir()
        raise UserError(f"cannot create {folder.root} ({error.strerror}): choose another experiments_path") from None
    try:
        yield
    finally:
        lock.release()


def _beside(folder, kind):
    root = folder.root.resolve()  # one folder, one lock, whatever link leads there
    return root.with_name(f".{root.name}.{kind}")


def _owner(folder):
    """' (pid .. on ..)' of whoever claimed the folder, or nothing. (A lock of a dead process holds nobody off.)"""
    try:
        owner = read_json(_beside(folder, OWNER))
        return f" (pid {owner['pid']} on {owner['host']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def has_checkpoint(folder):
    """Whether a run could go on from here."""
    return any(folder.checkpoint.glob("model-*.json")) and folder.config.is_file()


def changed(folder, config, rows_hash, free):
    """What differs between the run in the folder and one that would begin now: a list of "key (then .., now ..)".

    Args:
      config: the Config of the run that would begin. Keys that an older file lacks have their default.
      rows_hash: of its data.
      free: names of keys that may differ.
    """
    try:
        before = read_json(folder.config)
        then = {name: before["config"].get(name, field.default) for name, field in type(config).model_fields.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [f"{folder.config.name} (it is damaged)"]
    pairs = [(name, then[name], value) for name, value in config.model_dump().items() if name not in free]
    pairs.append(("the data's rows_hash", before.get("rows_hash"), rows_hash))
    return [f"{name} (then {old!r}, now {new!r})" for name, old, new in pairs if old != new]


def check_resumable(folder, config, rows_hash, free):
    """UserError unless the folder holds a checkpoint of a run with this config and data; see `changed`."""
    if any(folder.checkpoint.glob("model-*.json")) and not folder.config.is_file():
        raise UserError(f"--resume: {folder.config} is gone: bring it back or start anew without --resume")
    if not has_checkpoint(folder):
        raise UserError(f"--resume: there is no checkpoint in {folder.checkpoint}; start the run without --resume")
    differ = changed(folder, config, rows_hash, free)
    if differ:
        raise UserError(f"--resume: the config has changed since this run began: {', '.join(differ)}; "
                        "restore these values or start anew without --resume")


def start_over(folder):
    """Makes room for a run: `move_aside`, then the folders it writes to. Returns what that returned."""
    try:
        aside = move_aside(folder)
        for path in (folder.summary, folder.checkpoint):
            path.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"cannot create {folder.root} ({error.strerror}): choose another experiments_path") from None
    return aside


def move_aside(folder):
    """Moves the files of a run, if there is one, to NAME.1, NAME.2, ...; returns that folder, or None.

    Other files and folders, such as the repeated runs of regression_baseline.py, stay.
    """
    earlier = [path for path in folder[1:] if path.exists()]
    earlier += sorted(path for path in folder.root.glob("evaluation.*") if is_evaluation(path)) if earlier else []
    if not earlier:
        return None
    aside = unused_name(folder.root)
    aside.mkdir()
    for path in earlier:
        path.rename(aside / path.name)
    return aside


def unused_name(path):
    """The first of NAME.1, NAME.2, ... that does not exist."""
    return next(other for other in (path.with_name(f"{path.name}.{i}") for i in itertools.count(1))
                if not other.exists())
