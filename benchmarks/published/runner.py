"""Makes the runs, each in a process of its own, and displays how far they are."""
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Sequence

import tqdm

from benchmarks.published.plan import ROOT, Run
from misc.records import read_json, read_result

SECONDS = 0.5      # between two looks at the processes
STOP_SECONDS = 60  # that a process has to save its state
LAST_LINES = 2000  # bytes of a process's output in which the reason of a failure is looked for


class Making(NamedTuple):
    """How runs are made."""

    n_jobs: int               # at a time
    device: str               # auto, cpu or gpu
    options: Dict[str, Any]   # of the evaluation at the end, as for evaluate.py
    logs: pathlib.Path        # folder of what the processes print
    steps_per_epoch: float    # of a run on all training images


class Process(NamedTuple):
    """A process that makes a run."""

    run: Run
    popen: subprocess.Popen
    log: pathlib.Path


def is_done(run: Run) -> bool:
    """Tells whether the run is finished and evaluated."""
    return read_result(run.folder.result) is not None and (
        not run.evaluated or (run.folder.evaluation / "metrics.json").is_file())


def make_runs(runs: Sequence[Run], making: Making, finished: Callable[[], None]) -> Dict[str, str]:
    """Makes all runs that are not done; returns {name: why it failed} of those that could not be made.

    finished: is called after each of them.
    """
    waiting, errors = [run for run in runs if not is_done(run)], {}
    making.logs.mkdir(parents=True, exist_ok=True)
    if len(waiting) < len(runs):
        _say(f"{len(runs) - len(waiting)} of {len(runs)} runs are finished already")
    with _bar(runs, making) as bar, _stopping() as processes:
        while waiting or processes:
            while waiting and len(processes) < making.n_jobs:
                processes.append(_start(waiting.pop(0), making))
            time.sleep(SECONDS)
            _show(bar, runs, processes, making)
            for process in [each for each in processes if each.popen.poll() is not None]:
                processes.remove(process)
                if is_done(process.run):
                    _say(f"{process.run.name}: {outcome(process.run)}")
                else:
                    errors[process.run.name] = why_not(process)
                    _say(f"{process.run.name} FAILED: {errors[process.run.name]}")
                finished()
    return errors


def _start(run: Run, making: Making) -> Process:
    job = {"root": str(run.folder.root), "settings": run.config.model_dump(exclude_unset=True),
           "device": making.device, "options": making.options if run.evaluated else None}
    log = making.logs / f"{run.name}.log"
    with open(str(log), "ab") as handle:
        popen = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.published.worker", str(os.getpid()), json.dumps(job)], cwd=str(ROOT),
            stdin=subprocess.DEVNULL, stdout=handle, stderr=handle,
            start_new_session=True)  # Ctrl-C in a terminal is for this process alone, which passes it on
    return Process(run, popen, log)


@contextlib.contextmanager
def _stopping() -> Iterator[List[Process]]:
    """Yields a list of processes; those that are in it at the end have to save their state and end."""
    processes: List[Process] = []
    try:
        yield processes
    finally:
        for process in processes:
            process.popen.terminate()
        deadline = time.time() + STOP_SECONDS
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.popen.wait(max(0.0, deadline - time.time()))
            process.popen.kill()


def outcome(run: Run) -> str:
    """Returns the headline of a finished run."""
    result = read_json(run.folder.result)
    prefix = {"test": "test_", "validation": "valid_"}[result["evaluate_on"]]
    metrics = {name: result["metrics"][prefix + name] for name in ("accuracy", "log_likelihood", "ece")}
    return (f"{result['evaluate_on']} accuracy {metrics['accuracy']:.4f}, log-likelihood "
            f"{metrics['log_likelihood']:.4f}, ECE {metrics['ece']:.4f} in {result['train_time_s'] / 3600:.2f} h")


def why_not(process: Process) -> str:
    """Returns, in one line, why a process has left no result."""
    text = process.log.read_bytes()[-LAST_LINES:].decode(errors="replace").replace("\r", "\n")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"{lines[-1] if lines else 'no output'} (exit code {process.popen.returncode}, see {process.log})"


def epochs_done(run: Run, making: Making) -> float:
    """Returns how many epochs of the run its checkpoints hold."""
    if read_result(run.folder.result) is not None:
        return float(run.config.epoch)
    steps = [int(path.stem.split("-")[1]) for path in run.folder.checkpoint.glob("model-*.json")]
    per_epoch = making.steps_per_epoch * (1.0 - run.config.validation_fraction)
    return min(float(run.config.epoch), max(steps, default=0) / per_epoch)


def _bar(runs: Sequence[Run], making: Making) -> tqdm.tqdm:
    done = sum(epochs_done(run, making) for run in runs)
    return tqdm.tqdm(total=sum(run.config.epoch for run in runs), initial=done, dynamic_ncols=True,
                     disable=not sys.stderr.isatty(),
                     bar_format="{l_bar}{bar}| {n:.0f}/{total} epochs [{elapsed}<{remaining}{postfix}]")


def _show(bar: tqdm.tqdm, runs: Sequence[Run], processes: Sequence[Process], making: Making) -> None:
    bar.n = sum(epochs_done(run, making) for run in runs)
    bar.set_postfix_str(", ".join(f"{each.run.name} {epochs_done(each.run, making):.0f}/{each.run.config.epoch}"
                                  for each in processes), refresh=False)
    bar.refresh()


def _say(text: str) -> None:
    tqdm.tqdm.write(text, file=sys.stderr)
