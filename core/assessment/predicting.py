"""Predicts new rows with trained runs: all that predict.py does."""
import contextlib
import pathlib
import sys
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set

import numpy as np
import tqdm

from core.assessment.prediction_files import open_writer
from core.assessment.restore import Restored, restored
from core.assessment.summaries import SUMMARIES, Asked
from data_loader.other_rows import encode_as, match_columns, word_columns
from data_loader.row_stream import RowBlock, bisected, count_lines, stream_table
from data_loader.table_text import TableFormat
from misc.errors import UserError

Path = pathlib.Path


class Encoded(NamedTuple):
    """Rows that every run has standardised in its own way."""

    ids: np.ndarray             # what predictions call the rows, [n]
    inputs: List[np.ndarray]    # [n, d], of each run


def predict_rows(roots: Sequence[Path], rows: str, out: Optional[Path], asked: Asked, overrides: Dict[str, Any],
                 device: str = "auto") -> int:
    """Predicts every row of a table, block by block, and writes a row for each; returns how many were written.

    Args:
      roots: folders of runs; several are mixed with equal weights.
      rows: file of the rows, or - for standard input.
      out: file to write, by its ending .csv, .parquet or .npz; None: CSV on standard output.
      overrides: values of config keys that do not touch the training.

    Raises UserError for runs that do not fit together, for bad rows unless they are skipped, and for a file that
    cannot be written; an earlier file then stays as it was.
    """
    if rows != "-" and not Path(rows).is_file():
        raise UserError(f"{rows}: there is no such file")
    with contextlib.ExitStack() as stack:
        runs = [stack.enter_context(restored(root, overrides, device, asked.best, needs_rows=False)) for root in roots]
        _check_together(runs)
        noises = [run.noise() for run in runs]
        summarise, data, n_bad = SUMMARIES[runs[0].config.kind], [run.data for run in runs], 0

        def on_bad(message: str) -> None:
            nonlocal n_bad
            n_bad += 1
            print(f"left out: {' '.join(message.split())}", file=sys.stderr)

        total = count_lines(rows)
        bar = stack.enter_context(tqdm.tqdm(total=total, unit="row", unit_scale=True, dynamic_ncols=True, leave=False,
                                            disable=None if out else True))
        write, n_rows = stack.enter_context(open_writer(out)), 0
        for block in _encoded_blocks(runs, rows, on_bad if asked.skip_bad else None):
            draws = [run.design.task.draws(run.session, run.model, x, run.data, noise)
                     for run, noise, x in zip(runs, noises, block.inputs)]
            write({id_column(runs[0].data): block.ids,
                   **summarise(draws, data, asked, n_rows, runs[0].config.seed)})
            n_rows += len(block.ids)
            bar.update(len(block.ids))
        if not n_rows:
            raise UserError(f"{rows}: there is no row to predict" + (f" ({n_bad} were left out)" if n_bad else ""))
    return n_rows


def _check_together(runs: Sequence[Restored]) -> None:
    """Raises UserError unless the runs predict the same quantity."""
    first = runs[0]
    for other in runs[1:]:
        same = first.config.kind == other.config.kind and _target(first) == _target(other)
        if not same:
            raise UserError(f"--ensemble: {first.folder.root} and {other.folder.root} do not predict the same target")


def _target(run: Restored) -> Any:
    return getattr(run.data, "classes", None) or run.data.transform.target.name


def id_column(data: Any) -> str:
    """Returns the name of the column that identifies the rows: row_id's own, or "row"."""
    row_id = data.transform.row_id
    return "row" if row_id is None else row_id.name or f"column {row_id.number}"


def _encoded_blocks(runs: Sequence[Restored], rows: str,
                    on_bad: Optional[Callable[[str], None]]) -> Iterator[Encoded]:
    """Yields the rows of the table, block by block. Notices go to the screen once."""
    words = [column for run in runs for column in word_columns(run.data.transform)]
    form, said = TableFormat(**runs[0].config.table_format), set()
    for block in stream_table(rows, form, words, on_bad):
        def encode(positions: range, block: RowBlock = block) -> Encoded:
            return _encode(runs, block, positions, said)

        yield from bisected(range(len(block.table.frame)), encode, on_bad)


def _encode(runs: Sequence[Restored], block: RowBlock, positions: range, said: Set[str]) -> Encoded:
    table = block.table
    if len(positions) < len(table.frame):
        start, field = positions.start, table.field
        table = table._replace(frame=table.frame.iloc[positions.start:positions.stop].reset_index(drop=True),
                               field=lambda row, column: field(start + row, column))
    inputs, ids = [], np.arange(block.first + positions.start, block.first + positions.stop) + 1
    for run in runs:
        matched = match_columns(table, run.data, needs_target=False)
        x, notices = encode_as(run.data, matched)
        inputs.append(x)
        ids = ids if matched.row_id is None else matched.ids
        _say([*matched.notices, *notices], said)
    return Encoded(ids, inputs)


def _say(notices: Sequence[str], said: Set[str]) -> None:
    for notice in notices:
        if notice not in said:
            said.add(notice)
            print(notice, file=sys.stderr)


