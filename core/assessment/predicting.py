"""Predicts new rows with trained runs: all that predict.py does."""
import contextlib
import pathlib
import re
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set

import numpy as np
import tqdm

from core.assessment.prediction_files import open_writer
from core.assessment.restore import Restored, data_without_rows, restored
from core.assessment.summaries import SUMMARIES, Asked
from core.training.row_columns import unused_name
from data_loader.other_rows import Expected, Header, encode_as, expected_columns, match_columns
from data_loader.row_stream import RowBlock, bisected, count_lines, stream_table
from data_loader.table_text import TableFormat
from data_loader.table_transform import ROW
from misc.errors import UserError

Path = pathlib.Path


class Encoded(NamedTuple):
    """Rows that every run has standardised in its own way."""

    id_name: str                # of the column that identifies the rows
    ids: np.ndarray             # what predictions call the rows, [n]
    first: int                  # number of the first of them, from 0
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
    _check_rows(rows, out)
    with contextlib.ExitStack() as stack:
        write = stack.enter_context(open_writer(out))
        runs = [stack.enter_context(restored(root, overrides, device, asked.best, data_without_rows))
                for root in roots]
        _check_together(runs)
        noises = [run.noise() for run in runs]
        summarise, data, n_bad = SUMMARIES[runs[0].config.kind], [run.data for run in runs], 0

        def on_bad(message: str) -> None:
            nonlocal n_bad
            n_bad += 1
            print(f"left out: {' '.join(message.split())}", file=sys.stderr)

        def finish(block: Encoded, draws: List[Any]) -> int:
            columns = summarise(draws, data, asked, block.first, runs[0].config.seed)
            write({unused_name(block.id_name, columns): block.ids, **columns})
            return len(block.ids)

        bar = stack.enter_context(tqdm.tqdm(total=count_lines(rows), unit="row", unit_scale=True, dynamic_ncols=True,
                                            leave=False, disable=None if out else True))
        # A block is summarised and written while the networks compute the next one.
        worker, behind, n_rows = stack.enter_context(ThreadPoolExecutor(1)), _Behind(), 0
        for block in _encoded_blocks(runs, rows, on_bad if asked.skip_bad else None):
            draws = [run.design.task.draws(run.session, run.model, x, run.data, noise)
                     for run, noise, x in zip(runs, noises, block.inputs)]
            n_done = behind.swap(worker.submit(finish, block, draws))
            n_rows += n_done
            bar.update(n_done)
        n_rows += behind.swap(None)
        if not n_rows:
            raise UserError(f"{rows}: there is no row to predict ({n_bad} were left out)")
    return n_rows


class _Behind:
    """The block that is being written; at most one, so that memory holds two."""

    def __init__(self) -> None:
        self._future: Optional[Future] = None

    def swap(self, future: Optional[Future]) -> int:
        """Waits for the block before, whose number of rows it returns; raises what went wrong there."""
        before, self._future = self._future, future
        return 0 if before is None else before.result()


def _check_rows(rows: str, out: Optional[Path]) -> None:
    if rows == "-":
        return
    if not Path(rows).is_file():
        raise UserError(f"{rows}: there is no such file")
    if out is not None and out.exists() and out.resolve() == Path(rows).resolve():
        raise UserError(f"--out {out} is the file of the rows: choose another one")


def _check_together(runs: Sequence[Restored]) -> None:
    """Raises UserError unless the runs predict the same quantity."""
    first = runs[0]
    for other in runs[1:]:
        same = first.config.kind == other.config.kind and _target(first) == _target(other)
        if not same:
            raise UserError(f"--ensemble: {first.folder.root} and {other.folder.root} do not predict the same target")


def _target(run: Restored) -> Any:
    return run.data.transform.target.name, getattr(run.data, "classes", None)


def _encoded_blocks(runs: Sequence[Restored], rows: str,
                    on_bad: Optional[Callable[[str], None]]) -> Iterator[Encoded]:
    """Yields the rows of the table, block by block. Notices go to the screen once."""
    form, said = TableFormat(**runs[0].config.table_format), set()

    def expect(header: Header) -> Expected:
        used, words = zip(*(expected_columns(header, run.data) for run in runs))
        return Expected(frozenset().union(*used), frozenset().union(*words))

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
    if matches[0].row_id is None:
        return Encoded(ROW, first + np.arange(len(positions)) + 1, first, inputs)
    return Encoded(runs[0].data.transform.id_name, matches[0].ids, first, inputs)


def _say(notices: Sequence[str], said: Set[str]) -> None:
    for notice in notices:
        topic = re.sub(r"(, )?'[^']*'| and \d+ more", "", notice)  # other blocks have other unknown categories
        if topic not in said:
            said.add(topic)
            print(notice, file=sys.stderr)
