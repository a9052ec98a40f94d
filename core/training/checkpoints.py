"""Atomic, checksummed checkpoints. One without a valid metadata file is ignored.

The metadata file model-STEP.json stands beside the files of TensorFlow's Saver, model-STEP.*. It holds their
checksums and the Progress of training, under a checksum of its own, and is written last. The newest
`max_to_keep` checkpoints are kept, and the best by validation log-likelihood.
"""
import contextlib
import hashlib
import json
import os
import pathlib
import tempfile
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional

import tensorflow.compat.v1 as tf

from core.training.failures import described
from misc.errors import RunError, UserError
from misc.records import read_json, write_json

Path = pathlib.Path


class Progress(NamedTuple):
    """Where training stands. Make it with keywords only."""

    step: int = 0                         # steps done
    seconds: float = 0.0                  # training time of these steps
    evaluated: bool = False               # whether the evaluation after them is done
    score: Optional[float] = None         # validation log-likelihood of that evaluation
    regular: bool = True                  # whether it was due by save_interval, not saved for its score alone
    row: Optional[Dict[str, Any]] = None  # of metrics.csv, which that evaluation gave
    best: Optional[float] = None          # the highest validation log-likelihood of all evaluations so far
    waited: int = 0                       # evaluations since that one

    def with_evaluation(self, row: Dict[str, Any]) -> "Progress":
        """Returns the progress after the evaluation that gave this row; an empty one: none was due."""
        score, best, waited = row.get("valid_log_likelihood"), self.best, self.waited
        if score is not None:
            risen = best is None or score > best
            best, waited = (score, 0) if risen else (best, waited + 1)
        return self._replace(evaluated=True, score=score, row=row or None, best=best, waited=waited)


class UnreadableCheckpoint(RunError):
    """Checkpoints exist, but training can continue from none of them."""


def progress_notes(folder: Path) -> Dict[Path, Optional[Progress]]:
    """Returns {prefix of a checkpoint's files: its Progress, or None if the metadata are not valid}, newest first.

    Whether the other files are intact is not checked.
    """
    notes: Dict[Path, Optional[Progress]] = {}
    for path in folder.glob("model-*.json"):
        prefix = path.with_suffix("")
        try:
            written = read_json(path)
            known = {name: written[name] for name in Progress._fields if name in written}  # earlier versions have fewer
            progress, expected = Progress(**known), _progress_sum(list(known.values()), written["files"])
            valid = written["note"] == expected and progress.step == _step(prefix)
            notes[prefix] = progress if valid else None
        except (OSError, ValueError, KeyError, TypeError):
            notes[prefix] = None
    for path in folder.glob("model-*.index"):
        notes.setdefault(path.with_suffix(""), None)
    return dict(sorted(notes.items(), key=lambda pair: (-_step(pair[0]), -len(pair[0].name))))


def is_intact(prefix: Path) -> bool:
    """Tells whether the files of a checkpoint match the checksums in its metadata."""
    try:
        sums = read_json(f"{prefix}.json")["files"]
        return bool(sums) and all(checksum(prefix.with_name(name)) == value for name, value in sums.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def check_intact(folder: Path) -> None:
    """Raises a UserError if there are checkpoints, but none whose files match the checksums in its metadata."""
    notes = progress_notes(folder)
    if notes and not any(progress is not None and is_intact(prefix) for prefix, progress in notes.items()):
        raise UserError(f"--resume: no checkpoint in {folder} is intact (files are damaged or missing): restore them, "
                        "or start the run without --resume")


def restore(session: tf.Session, saver: tf.train.Saver, folder: Path, best: bool = False,
            on_damaged: Callable[[Path], Any] = lambda prefix: None) -> Progress:
    """Restores the newest (or best) intact checkpoint into the session and returns its Progress.

    Calls on_damaged(prefix) for each checkpoint that is skipped. Raises UnreadableCheckpoint if none is intact.
    """
    candidates = [(prefix, progress) for prefix, progress in progress_notes(folder).items()
                  if not best or (progress and progress.score is not None)]
    if best:
        candidates.sort(key=lambda pair: (-pair[1].score, pair[1].step))  # of equal ones, the first
    for prefix, progress in candidates:
        if progress is not None and is_intact(prefix):
            try:
                with plain_path(prefix) as path:
                    saver.restore(session, str(path))
                return progress
            except (tf.errors.OpError, ValueError) as error:  # of another network, or gone meanwhile
                if described(error):  # the device is to blame: the checkpoint is good
                    raise
        on_damaged(prefix)
    if candidates:
        raise UnreadableCheckpoint(f"no checkpoint in {folder} is intact and belongs to this network: restore "
                                   "its files, or train the run again, without --resume")
    if best:
        raise UnreadableCheckpoint(f"no checkpoint in {folder} has a validation log-likelihood: leave "
                                   "out --best (a run has them with validation_fraction)")
    raise UnreadableCheckpoint(f"there is no checkpoint in {folder}")


def save(session: tf.Session, saver: tf.train.Saver, folder: Path, progress: Progress, max_to_keep: int) -> None:
    """Writes a checkpoint and removes those that are not to be kept. Raises OSError or tf.errors.OpError."""
    folder.mkdir(parents=True, exist_ok=True)
    prefix = folder / f"model-{progress.step}"
    while is_intact(prefix):  # saved before the evaluation of the same step; keep it until the new one is complete
        prefix = prefix.with_name(f"{prefix.name}-again")
    _remove([prefix.with_suffix(".json")])
    saver.save(session, str(prefix), write_meta_graph=False, write_state=False)
    files = [path for path in _files(prefix) if path.suffix != ".json"]
    for path in files:
        _flush_to_disk(path)
    sums = {path.name: checksum(path) for path in files}
    write_json(prefix.with_suffix(".json"),
               dict(progress._asdict(), files=sums, note=_progress_sum(list(progress), sums)))
    _flush_to_disk(folder)
    kept = to_keep({prefix: progress, **progress_notes(folder)}, max_to_keep)
    tf.train.update_checkpoint_state(str(folder), prefix.name, [path.name for path in reversed(kept)])
    for path in folder.glob("model-*"):
        if path.name.split(".")[0] not in {other.name for other in kept}:
            _remove([path])


def archive_damaged(prefix: Path) -> None:
    """Renames the files of a damaged checkpoint to damaged-model-..., so that it no longer counts."""
    for path in _files(prefix):
        path.replace(path.with_name(f"damaged-{path.name}"))


def to_keep(notes: Dict[Path, Optional[Progress]], max_to_keep: int) -> List[Path]:
    """Selects checkpoints from {prefix: Progress}, newest first: max_to_keep regular ones, the newest and the best."""
    known: Dict[Path, Progress] = {}
    for prefix, progress in notes.items():
        if progress is not None and all(progress.step != other.step for other in known.values()):
            known[prefix] = progress
    kept = [prefix for prefix, progress in known.items() if progress.regular][:max_to_keep]
    scored = [prefix for prefix, progress in known.items() if progress.score is not None]
    best = [max(scored, key=lambda prefix: (known[prefix].score, -known[prefix].step))] if scored else []
    return [prefix for prefix in known if prefix in kept + best + list(known)[:1]]


def fingerprint(prefix: Path) -> Optional[str]:
    """Returns a SHA-256 of the values in a checkpoint; None if its files do not match the checksums in its metadata."""
    if not is_intact(prefix):
        return None
    sums = sorted(read_json(f"{prefix}.json")["files"].items())
    return hashlib.sha256(json.dumps([value for _, value in sums]).encode()).hexdigest()


def checksum(path: Path) -> str:
    """Returns the SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(str(path), "rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def plain_path(prefix: Path) -> Iterator[Path]:
    """Yields the prefix, through a link if TensorFlow would take its path for a pattern."""
    if not set("[\\") & set(str(prefix)):
        yield prefix
        return
    with tempfile.TemporaryDirectory() as place:
        link = Path(place) / "checkpoint"
        link.symlink_to(prefix.parent.resolve(), target_is_directory=True)
        yield link / prefix.name


def _progress_sum(progress: List[Any], sums: Dict[str, str]) -> str:
    """Returns the SHA-256 of the values of a Progress and of its files' checksums."""
    return hashlib.sha256(json.dumps([progress, sums], sort_keys=True).encode()).hexdigest()


def _step(prefix: Path) -> int:
    number = prefix.name.split("-")[1]
    return int(number) if number.isdigit() else -1


def _files(prefix: Path) -> List[Path]:
    return sorted(prefix.parent.glob(f"{prefix.name}.*"))


def _remove(paths: Iterable[Path]) -> None:
    for path in sorted(paths, key=lambda path: path.suffix != ".json"):  # metadata first: then it no longer counts
        if path.exists():
            path.unlink()


def _flush_to_disk(path: Path) -> None:
    handle = os.open(str(path), os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
