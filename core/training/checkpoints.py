"""Checkpoints that are whole or do not count.

Beside the files of TensorFlow's Saver, model-STEP.*, stands model-STEP.json: their checksums and a
note of where training stood. It is written last; a checkpoint without it, or with other checksums, is
none. Kept are the newest `max_to_keep`, and the best by validation log-likelihood.
"""
import collections
import contextlib
import hashlib
import json
import os
import pathlib
import tempfile

import tensorflow.compat.v1 as tf

from misc.errors import RunError
from misc.records import read_json, write_json

Note = collections.namedtuple("Note", ["step", "seconds", "evaluated", "score", "regular", "row"], defaults=(None,))
"""Steps done and the seconds of training they took; whether the evaluation after them is done; the
validation log-likelihood then, or None; whether it was saved for its time rather than its score; the row of
metrics.csv that the evaluation gave, or None."""


class UnreadableCheckpoint(RunError):
    """Checkpoints are there, but none that training could go on from."""


def notes(folder):
    """{prefix of the files: Note, or None without a whole one}, newest first; the other files are another matter."""
    found = {}
    for path in folder.glob("model-*.json"):
        try:
            written = read_json(path)
            note = Note(**{name: written[name] for name in Note._fields})
            whole = written["note"] == _note_sum(note, written["files"]) and note.step == _step(path.with_suffix(""))
            found[path.with_suffix("")] = note if whole else None
        except (OSError, ValueError, KeyError, TypeError):
            found[path.with_suffix("")] = None
    for path in folder.glob("model-*.index"):
        found.setdefault(path.with_suffix(""), None)
    return dict(sorted(found.items(), key=lambda pair: (-_step(pair[0]), -len(pair[0].name))))


def is_intact(prefix):
    """Whether the files are those that were saved."""
    try:
        sums = read_json(f"{prefix}.json")["files"]
        return bool(sums) and all(checksum(prefix.with_name(name)) == value for name, value in sums.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def restore(session, saver, folder, best=False, damaged=lambda prefix: None):
    """The Note of the newest (or best) intact checkpoint, whose values are in the session then.

    damaged: function (prefix), called for each that is passed over. UnreadableCheckpoint if none is intact.
    """
    found = [(prefix, note) for prefix, note in notes(folder).items()
             if not best or (note and note.score is not None)]
    if best:
        found.sort(key=lambda pair: -pair[1].score)
    for prefix, note in found:
        if note is not None and is_intact(prefix):
            try:
                with _plain_path(prefix) as path:
                    saver.restore(session, str(path))
                return note
            except (tf.errors.OpError, ValueError):  # of another network, or gone meanwhile
                pass
        damaged(prefix)
    raise UnreadableCheckpoint(f"no checkpoint in {folder} is intact and of this network: train anew" if found else
                               f"there is no checkpoint with a validation log-likelihood in {folder}: they come with "
                               "validation_fraction" if best else f"there is no checkpoint in {folder}")


def save(session, saver, folder, note, max_to_keep):
    """Writes a checkpoint and removes those that are not to be kept. Raises what the disk does."""
    folder.mkdir(parents=True, exist_ok=True)
    prefix = folder / f"model-{note.step}"
    while is_intact(prefix):  # of the same step, before its evaluation: it counts until the new one does
        prefix = prefix.with_name(f"{prefix.name}-again")
    _remove([prefix.with_suffix(".json")])
    saver.save(session, str(prefix), write_meta_graph=False, write_state=False)
    files = [path for path in _files(prefix) if path.suffix != ".json"]
    for path in files:
        _to_disk(path)
    sums = {path.name: checksum(path) for path in files}
    write_json(prefix.with_suffix(".json"), dict(note._asdict(), files=sums, note=_note_sum(note, sums)))
    _to_disk(folder)
    kept = to_keep({prefix: note, **notes(folder)}, max_to_keep)
    tf.train.update_checkpoint_state(str(folder), prefix.name, [path.name for path in reversed(kept)])
    for path in folder.glob("model-*"):
        if path.name.split(".")[0] not in {other.name for other in kept}:
            _remove([path])


def set_aside(prefix):
    """Takes damaged files out of the count: they are called damaged-model-... from now on."""
    for path in _files(prefix):
        path.replace(path.with_name(f"damaged-{path.name}"))


def to_keep(found, max_to_keep):
    """Of {prefix: Note}, newest first: the newest of those saved for their time, the newest, the best."""
    known = {}
    for prefix, note in found.items():
        if note is not None and all(note.step != other.step for other in known.values()):
            known[prefix] = note
    kept = [prefix for prefix, note in known.items() if note.regular][:max_to_keep]
    scored = [prefix for prefix, note in known.items() if note.score is not None]
    best = [max(scored, key=lambda prefix: known[prefix].score)] if scored else []
    return [prefix for prefix in known if prefix in kept + best + list(known)[:1]]


def checksum(path):
    """SHA-256 of a file."""
    found = hashlib.sha256()
    with open(str(path), "rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            found.update(block)
    return found.hexdigest()


@contextlib.contextmanager
def _plain_path(prefix):
    """The prefix, by way of a link if TensorFlow would take its path for a pattern."""
    if not set("[\\") & set(str(prefix)):
        yield prefix
        return
    with tempfile.TemporaryDirectory() as place:
        link = pathlib.Path(place) / "checkpoint"
        link.symlink_to(prefix.parent.resolve(), target_is_directory=True)
        yield link / prefix.name


def _note_sum(note, sums):
    """SHA-256 of a Note and its files' checksums."""
    return hashlib.sha256(json.dumps([note, sums], sort_keys=True).encode()).hexdigest()


def _step(prefix):
    number = prefix.name.split("-")[1]
    return int(number) if number.isdigit() else -1


def _files(prefix):
    return sorted(prefix.parent.glob(f"{prefix.name}.*"))


def _remove(paths):
    for path in sorted(paths, key=lambda path: path.suffix != ".json"):  # first what makes them count
        if path.exists():
            path.unlink()


def _to_disk(path):
    handle = os.open(str(path), os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
