"""experiments/DATASET/EXP_NAME/: where a run's files go. Starting over never destroys."""
import collections
import os
import pathlib

from misc.errors import UserError
from misc.records import read_json

Folder = collections.namedtuple(
    "Folder", ["root", "summary", "checkpoint", "config", "log", "metrics", "result", "predictions"]
)


def run_folder(config):
    """The paths of a run's files; touches nothing."""
    root = pathlib.Path(config.experiments_path) / config.dataset / config.name
    return Folder(
        root=root,
        summary=root / "summary",
        checkpoint=root / "checkpoint",
        config=root / "config.json",
        log=root / "log.txt",
        metrics=root / "metrics.csv",
        result=root / "result.json",
        predictions=root / "predictions.csv",
    )


def check_writable(folder):
    """UserError if the folder could not be made. Makes nothing."""
    existing = folder.root
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(str(existing), os.W_OK | os.X_OK):
        raise UserError(f"cannot write to {existing}: choose another experiments_path or mend its permissions")


def check_resumable(folder, settings, free):
    """UserError unless the folder holds a checkpoint of a run with these settings.

    Args:
      settings: dict of config values of the run that wants to go on.
      free: names of keys that may differ.
    """
    if not (folder.checkpoint / "checkpoint").is_file() or not folder.config.is_file():
        raise UserError(f"--resume: there is no checkpoint in {folder.checkpoint}; start the run without --resume")
    before = read_json(folder.config)["config"]
    differ = [f"{name} (then {before.get(name)!r}, now {value!r})" for name, value in settings.items()
              if name not in free and before.get(name) != value]
    if differ:
        raise UserError(f"--resume: the config has changed since this run began: {', '.join(differ)}; "
                        "restore these values or start anew without --resume")


def start_over(folder):
    """Makes an empty run folder; an earlier one is renamed NAME.1, NAME.2, ... and returned (else None)."""
    aside = None
    if folder.root.exists():
        number = 1
        while folder.root.with_name(f"{folder.root.name}.{number}").exists():
            number += 1
        aside = folder.root.with_name(f"{folder.root.name}.{number}")
        folder.root.rename(aside)
    try:
        for path in (folder.summary, folder.checkpoint):
            path.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"cannot create {folder.root}: {error.strerror}") from None
    return aside
