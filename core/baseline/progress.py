"""One display for all runs: how far each is, what has finished, and the time left."""
import contextlib
import pathlib
import sys
import threading

import tqdm

from core.baseline import tuning
from core.baseline.results import PREFIX
from core.baseline.worker import FAILURE
from core.training import run
from misc.config import Config
from misc.folders import changed_settings, folder_at, has_checkpoint
from misc.records import read_result, read_rows

SECONDS = 1.0
SHOWN = 4


class Progress:
    """Follows the files of the runs while it is open as a context manager.

    Args:
      tracks: list of Track.
    """

    def __init__(self, tracks):
        self._tracks = tracks
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="progress", daemon=True)

    def __enter__(self):
        before = [track.update() for track in self._tracks]
        self._finished, self._failed = {track for track in self._tracks if track.finished}, set()
        total = sum(track.total for track in self._tracks)
        self._bar = tqdm.tqdm(total=total, initial=sum(before), unit="epoch", dynamic_ncols=True,
                              disable=not sys.stderr.isatty())
        self._thread.start()
        return self

    def say_what_is_there(self):
        """A line about finished and interrupted runs, and one about those of another config, which will be moved."""
        resumed = sum(track.resumable for track in self._tracks if not track.finished)
        if self._finished or resumed:
            self._say(f"{len(self._finished)} of {len(self._tracks)} runs are finished already, {resumed} can go on "
                      "from a checkpoint")
        others = [track for track in self._tracks if track.changed]
        if others:
            self._say(f"{len(others)} earlier run{'s' if len(others) > 1 else ''} with other settings will be moved "
                      f"aside, to {others[0].job.root}.1 and so on ({others[0].label}: {others[0].changed})")

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self._show()
        self._bar.close()

    def _follow(self):
        while not self._stop.wait(SECONDS):
            self._show()

    def _show(self):
        done = 0
        for track in self._tracks:
            done += track.update()
            if track.finished and track not in self._finished:
                self._finished.add(track)
                self._bar.set_description_str(f"{len(self._finished)}/{len(self._tracks)} runs", refresh=False)
                self._say(f"{track.label}: {track.outcome} ({len(self._finished)} of {len(self._tracks)} runs)")
            if track.failure and track not in self._failed:
                self._failed.add(track)
                self._say(f"{track.label} FAILED: {track.failure}")
        running = [track for track in self._tracks if track.running]
        more = f" +{len(running) - SHOWN}" if len(running) > SHOWN else ""
        self._bar.n = done
        self._bar.set_description_str(f"{len(self._finished)}/{len(self._tracks)} runs", refresh=False)
        self._bar.set_postfix_str(", ".join(f"{track.label} {track.share:.0%}" for track in running[:SHOWN]) + more)
        self._bar.refresh()

    @staticmethod
    def _say(text):
        tqdm.tqdm.write(text, file=sys.stderr)


class Track:
    """How far one run is, read from its files.

    Args:
      label: what to call it.
      job: the Job; rows_hash: of its data.
    """

    def __init__(self, label, job, rows_hash):
        self.label, self.job, self._space, self._rows_hash = label, job, job.space, rows_hash
        self._config, self._folder = Config.from_dict(job.settings), folder_at(pathlib.Path(job.root))
        self.total = tuning.n_epochs(self._config, job.space) if job.space else self._config.epoch
        self.finished, self.outcome, self.failure, self._done, self.before = False, "", "", 0, None
        self._earlier_failure = self._failed_at()

    def update(self):
        """Epochs done."""
        if not self.finished:
            with contextlib.suppress(OSError, ValueError, KeyError):  # files that are just being written or moved
                self._done = self._look()
            if self.before is None:
                self.before = self._done
            if not self.failure and self._failed_at() not in (None, self._earlier_failure):
                self.failure = (self._folder.root / FAILURE).read_text()
        return self._done

    @property
    def share(self):
        return self._done / self.total

    @property
    def running(self):
        return not self.finished and not self.failure and self._done > self.before

    @property
    def resumable(self):
        """Whether something of it was there at first from which it can go on."""
        return self.before > 0 and (bool(self._space) or has_checkpoint(self._folder))

    @property
    def changed(self):
        """How an earlier run in this folder differs from this one, in words; empty if there is none."""
        if self.finished or self._space or not self._folder.config.is_file():
            return ""
        return ", ".join(changed_settings(self._folder, self._config, self._rows_hash, run.FREE_ON_RESUME))

    def _failed_at(self):
        path = self._folder.root / FAILURE
        return path.stat().st_mtime_ns if path.is_file() else None

    def _look(self):
        config = self._config
        if self._space:
            trials, config = tuning.how_far(self._folder, config, self._space, self._rows_hash)
            if config is None:
                return (self.total - self._config.epoch) * trials // self._space["trials"]
        before = self.total - config.epoch
        if not self._folder.config.is_file() or changed_settings(self._folder, config, self._rows_hash,
                                                                 run.FREE_ON_RESUME):
            return before
        result = read_result(self._folder.result)
        if result:
            metrics, prefix = result["metrics"], PREFIX[result["evaluate_on"]]
            self.outcome = (f"{result['evaluate_on']} RMSE {metrics[prefix + 'rmse']:.4f}, log-likelihood "
                            f"{metrics[prefix + 'log_likelihood']:.4f} in {result['train_time_s']:.0f} s")
            self.finished = True
            return self.total
        rows = read_rows(self._folder.metrics)
        return before + (int(rows[-1]["epoch"]) if rows else 0)
