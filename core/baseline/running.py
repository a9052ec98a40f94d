"""Runs the jobs of repeated runs, also when processes die. Errors come back as {run folder: why it has no result}."""
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from core.baseline.pool import Workers, parallel_map
from core.baseline.progress import Followed
from core.baseline.worker import work
from misc.errors import Stopped, UserError
from misc.signals import interruption

Errors = Dict[str, str]
Work = Callable[[Any], Optional[str]]


class ProcessDied(Exception):
    """A process of a pool died, and nobody knows whose job did it."""


def run_all(tracks: Sequence[Followed], workers: Workers, function: Work = work) -> Errors:
    """Trains all unfinished runs in parallel; if processes die, trains the remaining ones one by one.

    function: does a job, in any process, and returns None or in one line why it could not.
    """
    errors, unfinished = run_parallel(tracks, workers, function)
    return dict(errors, **run_isolated(unfinished, workers, function))


def run_parallel(tracks: Sequence[Followed], workers: Workers, function: Work = work,
                 attempts: int = 2) -> Tuple[Errors, List[Followed]]:
    """Makes the runs together, again if a process dies. Returns the errors, and what is left after all attempts."""
    for _ in range(attempts):
        try:
            return _attempt(_unfinished(tracks), workers, function), []
        except ProcessDied:
            continue
    return {}, _unfinished(tracks)


def run_isolated(tracks: Sequence[Followed], workers: Workers, function: Work = work) -> Errors:
    """Makes the runs one by one, to find out which of them kills its process."""
    errors: Errors = {}
    workers = workers._replace(n_jobs=2, per_gpu=2 if workers.per_gpu else 0)  # 1: joblib would run it in this process
    for track in tracks:
        try:
            errors.update(_attempt([track], workers, function))
        except ProcessDied as error:
            errors[track.job.root] = f"its process died, killed or out of memory, or did not start ({error})"
    return errors


def _unfinished(tracks: Sequence[Followed]) -> List[Followed]:
    return [track for track in tracks if not track.finished]


def _attempt(tracks: Sequence[Followed], workers: Workers, function: Work) -> Errors:
    """Makes the runs together. Raises ProcessDied if a process does.

    A run in this very process that a signal has stopped ends this process as well.
    """
    if not tracks:
        return {}
    try:
        outcomes = parallel_map(function, [track.job for track in tracks], workers)
    except Stopped as stop:
        raise interruption(stop.number) from None
    except UserError:
        raise
    except Exception as error:  # the function catches what goes wrong in a run
        raise ProcessDied(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}") from error
    finally:
        for track in tracks:
            track.update()
    return {track.job.root: why or f"it left no result in {track.job.root}"
            for track, why in zip(tracks, outcomes) if why or not track.finished}
