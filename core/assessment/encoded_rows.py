"""Rows to be predicted, block by block, as every run takes them: of a table, or images."""
import pathlib
import re
import sys
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set

import numpy as np

from core.assessment.restore import Restored
from data_loader.filled import NONE, Filled, filled
from data_loader.image_files import image_paths, read_images
from data_loader.other_rows import Expected, Header, encode_as, expected_columns, match_columns
from data_loader.parts import FILE, ROW
from data_loader.row_stream import STDIN, RowBlock, bisected, count_lines, stream_table
from data_loader.table_text import TableFormat
from misc.errors import UserError

IMAGES_AT_ONCE = 500  # or more, so that they make whole batches

OnBad = Optional[Callable[[str], None]]  # is told of each bad row, which is left out; None: it is an error


class Encoded(NamedTuple):
    """Rows that every run has standardised in its own way."""

    id_name: str                # of the column that identifies the rows
    ids: np.ndarray             # what predictions call the rows, [n]
    first: int                  # number of the first of them, from 0
    inputs: List[np.ndarray]    # [n, d], or images, of each run
    filled: Filled = NONE       # missing fields that the first run fills


def encoded_rows(runs: Sequence[Restored], rows: str, on_bad: OnBad,
                 written: Optional[Dict[str, Any]] = None) -> Iterator[Encoded]:
    """Yields the rows, block by block. Notices go to the screen once.

    Args:
      rows: file of a table, or STDIN; for runs on images: a folder of images at any depth, an image, a text file with
        the path of an image in every line, or STDIN for such lines.
      written: how the table is written, by keys of the config, where that differs from the run's table.
    """
    if runs[0].data.spec.pixels is None:
        form = dict(runs[0].config.table_format, **(written or {}))
        marks = tuple(form.pop("missing_marks") or ())
        return _table_rows(runs, rows, on_bad, TableFormat(missing_marks=marks, **form))
    if written:
        raise UserError(f"--set {next(iter(written))}: the run predicts images, and not rows of a table")
    return _images(runs, rows, on_bad)


def count_rows(runs: Sequence[Restored], rows: str) -> Optional[int]:
    """Returns about how many rows there are, for a progress bar; None if that is not known beforehand."""
    if runs[0].data.spec.pixels is None:
        if rows != STDIN and pathlib.Path(rows).is_dir():
            raise UserError(f"{rows} is a folder, but the run predicts rows of a table: give its file")
        return count_lines(rows)
    return None if rows == STDIN else len(_paths(rows))


def _images(runs: Sequence[Restored], rows: str, on_bad: OnBad) -> Iterator[Encoded]:
    paths = _paths(rows)
    root = pathlib.Path(rows) if pathlib.Path(rows).is_dir() else None

    def read(positions: range) -> Encoded:
        chosen = [paths[position] for position in positions]
        inputs = [read_images(chosen, run.data.spec.shape, run.config.image_fit if run.config.image_size else None)
                  for run in runs]
        names = [str(path.relative_to(root)) if root else str(path) for path in chosen]
        return Encoded(FILE, np.array(names, object), positions.start, inputs)

    batch = runs[0].config.test_batch_size
    at_once = -(-IMAGES_AT_ONCE // batch) * batch  # batches are then those of an evaluation of the same images
    for start in range(0, len(paths), at_once):
        yield from bisected(range(start, min(start + at_once, len(paths))), read, on_bad)


def _paths(rows: str) -> List[pathlib.Path]:
    """Returns the images that `rows` stands for. Raises UserError if there are none."""
    path = pathlib.Path(rows)
    if rows != STDIN and path.is_dir():
        return image_paths(path)
    if rows != STDIN and path.suffix.lower() not in (".txt", ".csv", ".list"):
        return [path]
    try:
        text = sys.stdin.read() if rows == STDIN else path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise UserError(f"{rows} cannot be read as a list of images, one path per line") from None
    paths = [pathlib.Path(line.strip()) for line in text.splitlines() if line.strip()]
    if not paths:
        raise UserError(f"{rows}: there is no image to predict")
    return paths


def _table_rows(runs: Sequence[Restored], rows: str, on_bad: OnBad, form: TableFormat) -> Iterator[Encoded]:
    said: Set[str] = set()

    def expect(header: Header) -> Expected:
        wanted = [expected_columns(header, run.data) for run in runs]
        return Expected(*(frozenset().union(*columns) for columns in zip(*wanted)))

    for block in stream_table(rows, form, expect, on_bad):
        def encode(positions: range, block: RowBlock = block) -> Encoded:
            return _encode(runs, block, positions, said)

        yield from bisected(range(len(block.table.frame)), encode, on_bad)


def _encode(runs: Sequence[Restored], block: RowBlock, positions: range, said: Set[str]) -> Encoded:
    table, first = block.table, block.first + positions.start
    if len(positions) < len(table.frame):
        start, field = positions.start, table.field
        table = table._replace(frame=table.frame.iloc[positions.start:positions.stop].reset_index(drop=True),
                               field=lambda row, column: field(start + row, column))
    matches = [match_columns(table, run.data, needs_target=False) for run in runs]
    inputs = []
    for run, matched in zip(runs, matches):
        x, notices = encode_as(run.data, matched)
        inputs.append(x)
        _say([*matched.notices, *notices], said)
    fields = filled(runs[0].data.transform, matches[0].frame)
    if matches[0].row_id is None:
        return Encoded(ROW, first + np.arange(len(positions)) + 1, first, inputs, fields)
    return Encoded(runs[0].data.transform.id_name, matches[0].ids, first, inputs, fields)


def _say(notices: Sequence[str], said: Set[str]) -> None:
    for notice in notices:
        topic = re.sub(r"(, )?'[^']*'| and \d+ more", "", notice)  # other blocks have other unknown categories
        if topic not in said:
            said.add(topic)
            print(notice, file=sys.stderr)


def target_of(run: Restored) -> Any:
    """Returns what the run predicts, for a comparison: the name of the target, and the classes."""
    transform = getattr(run.data, "transform", None)
    return transform and [place.name for place in transform.targets], getattr(run.data, "classes", None)
