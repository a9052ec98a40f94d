"""Trains and evaluates one run: python -m benchmarks.published.worker PARENT JSON

PARENT is the process id of whoever started it. When that process is gone, this one stops as it does after SIGTERM: it
saves the state of the training and ends. An interrupted run is resumed, a finished one is left as it is.
"""
import json
import os
import pathlib
import signal
import sys
import threading
import time

from misc import backend
from misc.config import Config
from misc.errors import one_line_errors
from misc.folders import claim, folder_at

LOCK_SECONDS = 60  # for a process that was started earlier to save its state
SECONDS = 0.5


def stop_without(parent: int) -> None:
    """Sends SIGTERM to this process when its parent is no longer the process of this id."""
    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="watch parent", daemon=True).start()


def train_and_evaluate(root: pathlib.Path, settings, device: str, options) -> None:
    """Makes sure that the folder holds the result of the run and, with `options` of evaluate.py, its evaluation."""
    config, folder = Config.from_dict(settings), folder_at(root)
    backend.prepare(config.mode)
    from core.assessment.assess import assess
    from core.assessment.inputs import Options
    from core.training import run

    with claim(folder, LOCK_SECONDS):
        run.finish(config, folder, device)
        if options is not None and not (folder.evaluation / "metrics.json").is_file():
            assess([folder.root], {}, Options(**options), device=device)


def main() -> None:
    parent, job = int(sys.argv[1]), json.loads(sys.argv[2])
    stop_without(parent)
    with one_line_errors("worker", "the state is saved"):
        train_and_evaluate(pathlib.Path(job["root"]), job["settings"], job["device"], job["options"])


if __name__ == "__main__":
    main()
