"""One display for all runs: how far each is, what has finished, and the time left."""
import contextlib
import pathlib
import sys
import threading
from typing import Any, List, Optional, Sequence

import tqdm

from core.baseline import tuning
from core.baseline.archive import ENSEMBLE, archive_paths, archive_run, members_of
from core.baseline.kinds import KINDS
from core.baseline.worker import FAILURE, Job
from core.training import run
from core.training.tasks import METRIC_PREFIX
from misc.config import Config
from misc.folders import changed_settings, folder_at, has_checkpoint
from misc.records import read_result, read_rows

SECONDS = 1.0
MOST_LABELS = 4  # runs whose share is displayed


class Followed:
    """Reads the progress of one job from its files.

    Args:
      label: name of the job on the screen.
      job: has the field `root`, its folder.
      total: units of work, such as epochs.

    Attributes:
      finished: whether it has a result.
      outcome: the result in words.
      failure: why it failed, in words; empty if it did not fail.
    """

    def __init__(self, label: str, job: Any, total: int) -> None:
        self.label, self.job, self.total = label, job, total
        self.finished, self.outcome, self.failure = False, "", ""
        self._done = 0
        self._done_before: Optional[int] = None  # when it was first looked at
        self._earlier_failure = self._failed_at()

    def update(self) -> int:
        """Reads the files again and returns the number of units done."""
        if not self.finished:
            with contextlib.suppress(OSError, ValueError, KeyError):  # files that are just being written or moved
                self._done = self._units_done()
            if self._done_before is None:
                self._done_before = self._done
            if not self.failure and self._failed_at() not in (None, self._earlier_failure):
                self.failure = (pathlib.Path(self.job.root) / FAILURE).read_text()
        return self._done

    @property
    def share(self) -> float:
        """Share of its units that are done."""
        return self._done / self.total

    @property
    def running(self) -> bool:
        """Whether it has made progress and has not ended."""
        return not self.finished and not self.failure and self._done > self._done_before

    @property
    def resumable(self) -> bool:
        """Whether something was there at first from which it can resume."""
        return self._done_before > 0

    def _failed_at(self) -> Optional[int]:
        path = pathlib.Path(self.job.root) / FAILURE
        return path.stat().st_mtime_ns if path.is_file() else None

    def _units_done(self) -> int:
        """Returns the number of units done; sets `finished` and `outcome` once there is a result."""
        raise NotImplementedError


class Track(Followed):
    """Reads the progress of one run, in epochs, those of a search included.

    Args:
      label: name of the run on the screen.
      job: the Job.
      rows_hash: of its data.
    """

    def __init__(self, label: str, job: Job, rows_hash: str) -> None:
        self._rows_hash = rows_hash
        self._config, self._folder = Config.from_dict(job.settings), folder_at(pathlib.Path(job.root))
        super().__init__(label, job, tuning.n_epochs(self._config, job.space) if job.space else self._config.epoch)

    @property
    def resumable(self) -> bool:
        """Whether something was there at first from which it can resume."""
        return super().resumable and (bool(self.job.space) or has_checkpoint(self._folder))

    @property
    def changed(self) -> str:
        """How an earlier run in this folder differs from this one, in words; empty if there is none."""
        if self.finished or self.job.space or not self._folder.config.is_file():
            return ""
        return ", ".join(self._differs(self._config))

    @property
    def has_old_members(self) -> bool:
        """Whether the run's folder holds further members of an ensemble, all of them of other settings."""
        members = members_of(self._folder)
        return bool(members) and self.job.member == 1 and not self.job.space and all(
            changed_settings(member, self._config, self._rows_hash, {*run.FREE_ON_RESUME, "seed", "split"})
            for member in members)

    def archive_old_members(self) -> None:
        """Archives the members of `has_old_members`: with the run, if it is of other settings, too."""
        if self.changed:
            archive_run(self._folder)
        else:
            archive_paths(self._folder.root / ENSEMBLE)

    def _differs(self, config: Config) -> List[str]:
        return list(changed_settings(self._folder, config, self._rows_hash, run.FREE_ON_RESUME).values())

    def _units_done(self) -> int:
        config = self._config
        if self.job.space:
            trials, config = tuning.search_progress(self._folder, config, self.job.space, self._rows_hash)
            if config is None:
                return (self.total - self._config.epoch) * trials // self.job.space["trials"]
        of_search = self.total - config.epoch
        if not self._folder.config.is_file() or self._differs(config):
            return of_search
        result = read_result(self._folder.result)
        if result:
            metrics, prefix = result["metrics"], METRIC_PREFIX[result["evaluate_on"]]
            headline = ", ".join(f"{label} {metrics[prefix + name]:.4f}"
                                 for name, label in KINDS[config.mode].headline.items())
            self.outcome = f"{result['evaluate_on']} {headline} in {result['train_time_s']:.0f} s"
            self.finished = True
            return self.total
        rows = read_rows(self._folder.metrics)
        return of_search + (int(rows[-1]["epoch"]) if rows else 0)


class Progress:
    """Follows the files of the runs while it is open as a context manager.

    Args:
      tracks: of the runs.
      unit: of their work.
      what: what they are called.
    """

    def __init__(self, tracks: Sequence[Followed], unit: str = "epoch", what: str = "runs") -> None:
        self._tracks, self._unit, self._what = tracks, unit, what
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="progress", daemon=True)

    def __enter__(self) -> "Progress":
        before = [track.update() for track in self._tracks]
        self._finished, self._failed = {track for track in self._tracks if track.finished}, set()
        total = sum(track.total for track in self._tracks)
        self._bar = tqdm.tqdm(total=total, initial=sum(before), unit=self._unit, dynamic_ncols=True,
                              disable=not sys.stderr.isatty())
        self._thread.start()
        return self

    def announce(self) -> None:
        """Prints what is there already: finished and interrupted runs, and those of other settings."""
        resumable = sum(track.resumable for track in self._tracks if not track.finished)
        if self._finished or resumable:
            self._print(f"{self._count(' of ')} are finished already"
                        + (f", {resumable} can resume from a checkpoint" if resumable else ""))
        others = [track for track in self._tracks if isinstance(track, Track) and track.changed]
        if others:
            runs = "1 earlier run" if len(others) == 1 else f"{len(others)} earlier runs"
            self._print(f"{runs} with other settings will be archived, as {others[0].job.root}.1 and so on "
                        f"({others[0].label}: {others[0].changed})")

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        self._thread.join()
        self._refresh()
        self._bar.close()

    def _follow(self) -> None:
        while not self._stop.wait(SECONDS):
            self._refresh()

    def _refresh(self) -> None:
        done = 0
        for track in self._tracks:
            done += track.update()
            if track.finished and track not in self._finished:
                self._finished.add(track)
                self._bar.set_description_str(self._count("/"), refresh=False)
                self._print(f"{track.label}: {track.outcome} ({self._count(' of ')})")
            if track.failure and track not in self._failed:
                self._failed.add(track)
                self._print(f"{track.label} FAILED: {track.failure}")
        running = [track for track in self._tracks if track.running]
        more = f" +{len(running) - MOST_LABELS}" if len(running) > MOST_LABELS else ""
        self._bar.n = done
        self._bar.set_description_str(self._count("/"), refresh=False)
        self._bar.set_postfix_str(", ".join(
            f"{track.label} {track.share:.0%}" for track in running[:MOST_LABELS]) + more)
        self._bar.refresh()

    def _count(self, between: str) -> str:
        return f"{len(self._finished)}{between}{len(self._tracks)} {self._what}"

    @staticmethod
    def _print(text: str) -> None:
        tqdm.tqdm.write(text, file=sys.stderr)
