"""Predicts new rows with trained runs: all that predict.py does."""
import collections
import contextlib
import pathlib
import sys
import typing
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Dict, List, Optional, Sequence

import tqdm

from core.assessment.calibration_file import read_calibration
from core.assessment.encoded_rows import Encoded, count_rows, encoded_rows, target_of
from core.assessment.prediction_files import open_writer
from core.assessment.restore import Restored, data_without_rows, restored
from core.assessment.summaries import SUMMARIES, Asked, with_calibration
from core.training.row_columns import INTERVAL, unused_name
from data_loader.drift import outside
from data_loader.filled import NONE
from data_loader.table_data import MOST_NAMED
from misc.config import CLASSIFICATION
from misc.errors import UserError

Path = pathlib.Path
MUCH = 0.05  # share of the rows outside the training rows from which a column is named


def predict_rows(roots: Sequence[Path], rows: str, out: Optional[Path], asked: Asked, overrides: Dict[str, Any],
                 device: str = "auto", written: Optional[Dict[str, Any]] = None) -> int:
    """Predicts every row of a table, or every image, block by block. Returns how many rows were written.

    Args:
      roots: folders of runs; several are mixed with equal weights.
      rows: as in `encoded_rows`.
      out: file to write, by its ending .csv, .parquet or .npz; None: CSV on standard output.
      overrides: values of config keys that do not touch the training.
      written: how the table is written, as in `encoded_rows`.

    Raises UserError for runs that do not fit together, for bad rows unless they are skipped, and for a file that
    cannot be written; an earlier file then stays as it was.
    """
    _check_rows(rows, out)
    with contextlib.ExitStack() as stack:
        write = stack.enter_context(open_writer(out))
        runs = [stack.enter_context(restored(root, overrides, device, asked.best, data_without_rows))
                for root in roots]
        _check_together(runs)
        if runs[0].config.mode == CLASSIFICATION and not asked.calibrated and (
                asked.quantiles or asked.interval not in (None, INTERVAL)):
            raise UserError("--interval and --quantiles are for regressions: these runs predict classes")
        asked = with_calibration(asked, runs[0], read_calibration(runs[0].folder) if asked.calibrated else None)
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

        n_outside: typing.Counter[str] = collections.Counter()
        n_filled = NONE
        bar = stack.enter_context(tqdm.tqdm(total=count_rows(runs, rows), unit="row", unit_scale=True, leave=False,
                                            dynamic_ncols=True, disable=None if out else True))
        # A block is summarised and written while the networks compute the next one.
        worker, behind, n_rows = stack.enter_context(ThreadPoolExecutor(1)), _Behind(), 0
        for block in encoded_rows(runs, rows, on_bad if asked.skip_bad else None, written):
            n_filled = n_filled.plus(block.filled)
            draws = [run.design.task.draws(run.session, run.model, x, run.data, noise)
                     for run, noise, x in zip(runs, noises, block.inputs)]
            if runs[0].data.spec.pixels is None:
                n_outside.update({column: int(rows.sum())
                                  for column, rows in outside(runs[0].data, block.inputs[0]).items()})
            n_done = behind.swap(worker.submit(finish, block, draws))
            n_rows += n_done
            bar.update(n_done)
        n_rows += behind.swap(None)
        if not n_rows:
            raise UserError(f"{rows}: there is no row to predict ({n_bad} were left out)")
        for notice in n_filled.about(n_rows, runs[0].config.missing):
            print(notice, file=sys.stderr)
    _say_outside(n_outside, n_rows)
    return n_rows


def _say_outside(n_outside: Dict[str, int], n_rows: int) -> None:
    """Tells on the screen which columns have many rows outside the range of the training rows."""
    many = [(column, n) for column, n in n_outside.items() if n >= MUCH * n_rows]
    if many:
        named = ", ".join(f"{column!r} in {n}" for column, n in sorted(many, key=lambda pair: -pair[1])[:MOST_NAMED])
        print(f"note: outside the range of the training rows, of {n_rows} row{'s' if n_rows > 1 else ''}: {named}"
              f"{', ...' if len(many) > MOST_NAMED else ''}: the network extrapolates there", file=sys.stderr)


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
    if not Path(rows).exists():
        raise UserError(f"{rows}: there is no such file")
    if out is not None and out.exists() and out.resolve() == Path(rows).resolve():
        raise UserError(f"--out {out} is the file of the rows: choose another one")


def _check_together(runs: Sequence[Restored]) -> None:
    """Raises UserError unless the runs predict the same quantity."""
    first = runs[0]
    for other in runs[1:]:
        same = first.config.kind == other.config.kind and target_of(first) == target_of(other)
        if not same:
            raise UserError(f"--ensemble: {first.folder.root} and {other.folder.root} do not predict the same target")
