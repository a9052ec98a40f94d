"""Tables of numbers that were parsed before, kept so that a large text file is parsed once.

What is kept is used only for a file of the same path, content and reading keys, and only if its checksum is right. If
the folder cannot be read or written, the text is parsed every time.
"""
import contextlib
import hashlib
import json
import os
import pathlib
import typing

import numpy as np

from data_loader.table_cells import Texts

VERSION = 1  # of what is kept, and of the rules by which text becomes numbers
LEAST_BYTES = 2**23  # of a file whose numbers are kept; those of others are parsed in less than a second
BLOCK = 2**20  # bytes that are hashed at a time
DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError)  # what unreadable files raise


class Kept(typing.NamedTuple):
    """The columns of a table, and where they are kept."""

    texts: Texts
    place: typing.Optional[pathlib.Path] = None  # None: they were parsed just now


def parsed_once(path: pathlib.Path, folder: typing.Optional[pathlib.Path], keys: typing.Sequence[typing.Any],
                parse: typing.Callable[[], Texts]) -> Kept:
    """Returns the columns of a file of text: those kept in `folder`, or else those that `parse` returns.

    Args:
      folder: where tables of numbers are kept; None: nowhere.
      keys: all on which the columns depend beside the file, for JSON.
    """
    if folder is None or path.stat().st_size < LEAST_BYTES:
        return Kept(parse())
    name = hashlib.sha256(json.dumps([str(path.absolute()), *keys]).encode("utf-8")).hexdigest()[:16]
    place, content = folder / f"{path.stem[:50]}-{name}.npy", _hash_of_file(path)
    texts = _read(place, content)
    if texts is not None:
        return Kept(texts, place)
    texts = parse()
    if all(kind.kind == "f" for kind in texts.frame.dtypes):
        _write(place, texts, content)
    return Kept(texts)


def _hash_of_file(path: pathlib.Path) -> str:
    digest = hashlib.sha256(str(VERSION).encode())
    with open(str(path), "rb") as handle:
        for block in iter(lambda: handle.read(BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()


def _read(place: pathlib.Path, content: str) -> typing.Optional[Texts]:
    """Returns what is kept in `place`, or None unless it is of this content and intact."""
    import pandas

    with contextlib.suppress(*DAMAGED), open(str(place), "rb") as handle:
        about = json.loads(str(np.load(handle, allow_pickle=False)))
        if about["content"] == content:
            values = np.load(handle, allow_pickle=False)
            if hashlib.sha256(values.data).hexdigest() == about["values"]:
                codes = {int(column): text for column, text in about["codes"].items()}
                return Texts(pandas.DataFrame(values, copy=False), about["truth"], about["n_left_out"], codes)
    return None


def _write(place: pathlib.Path, texts: Texts, content: str) -> None:
    """Keeps columns of numbers, if the folder can be written, in place of those of another content."""
    values = np.ascontiguousarray(texts.frame.to_numpy(np.float64))
    partial = place.with_name(f"{place.name}.{os.getpid()}.partial")
    about = {"content": content, "truth": texts.truth, "n_left_out": texts.n_left_out,
             "codes": dict(texts.codes), "values": hashlib.sha256(values.data).hexdigest()}
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with open(str(partial), "wb") as handle:
            np.save(handle, np.array(json.dumps(about)))
            np.save(handle, values)
        os.replace(str(partial), str(place))
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
