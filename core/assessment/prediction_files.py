"""Files of predictions, written block by block: CSV, Parquet or npz. The old file stays until the new one is complete.
"""
import contextlib
import csv
import importlib
import os
import pathlib
import sys
from typing import Any, Callable, Dict, Iterator, List, Optional

import numpy as np

from misc.errors import UserError

Path = pathlib.Path
Write = Callable[[Dict[str, np.ndarray]], None]  # writes the next rows, given a value per row of every column
Place = Optional[Path]


@contextlib.contextmanager
def open_writer(out: Place) -> Iterator[Write]:
    """Yields a function that writes the next rows. The ending of the file says how; None: CSV on standard output.

    Raises UserError for another ending, a folder that does not exist, and a disk that is full.
    """
    if out is None:
        with _csv(sys.stdout) as write:
            yield write
        return
    check_out(out)
    part = out.with_name(f".{out.name}.part")
    try:
        with FORMATS[out.suffix.lower()](part) as write:
            yield write
        os.replace(str(part), str(out))
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}") from None
    finally:
        if part.exists():
            part.unlink()


def check_out(out: Path) -> None:
    """Raises UserError unless the file can be written."""
    if out.suffix.lower() not in FORMATS:
        raise UserError(f"--out {out}: the name must end in {', '.join(FORMATS)}")
    if out.is_dir() or not out.resolve().parent.is_dir():
        raise UserError(f"--out {out}: " + ("this is a folder" if out.is_dir() else "its folder does not exist"))
    if out.suffix.lower() == ".parquet":
        _pyarrow("pyarrow")


@contextlib.contextmanager
def _csv_file(path: Path) -> Iterator[Write]:
    with open(str(path), "w", newline="", encoding="utf-8") as handle, _csv(handle) as write:
        yield write


@contextlib.contextmanager
def _csv(handle: Any) -> Iterator[Write]:
    is_first = True

    def write(columns: Dict[str, np.ndarray]) -> None:
        nonlocal is_first
        writer = csv.writer(handle, lineterminator="\n")
        if is_first:
            writer.writerow(columns)
        writer.writerows(zip(*(values.tolist() for values in columns.values())))  # every digit of a float
        is_first = False

    yield write
    handle.flush()


@contextlib.contextmanager
def _npz_file(path: Path) -> Iterator[Write]:
    blocks: Dict[str, List[np.ndarray]] = {}

    def write(columns: Dict[str, np.ndarray]) -> None:
        for name, values in columns.items():
            blocks.setdefault(name, []).append(values)

    yield write
    arrays = {name: np.concatenate(values) for name, values in blocks.items()}
    with open(str(path), "wb") as handle:
        np.savez_compressed(handle, **{name: values.astype(str) if values.dtype == object else values
                                       for name, values in arrays.items()})


@contextlib.contextmanager
def _parquet_file(path: Path) -> Iterator[Write]:
    arrow, parquet, writer = _pyarrow("pyarrow"), _pyarrow("pyarrow.parquet"), None

    def write(columns: Dict[str, np.ndarray]) -> None:
        nonlocal writer
        table = arrow.table({name: arrow.array(values) for name, values in columns.items()})
        writer = writer or parquet.ParquetWriter(str(path), table.schema)
        writer.write_table(table)

    try:
        yield write
    finally:
        if writer is not None:
            writer.close()


def _pyarrow(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError("Parquet needs a further package: pip install pyarrow, or write .csv or .npz") from None


FORMATS: Dict[str, Callable[[Path], Any]] = {".csv": _csv_file, ".parquet": _parquet_file, ".npz": _npz_file}
