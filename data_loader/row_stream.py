"""Rows of a table in blocks, so that memory is bounded for any number of rows: from a file, or from standard input."""
import io
import itertools
import pathlib
import sys
import typing

import numpy as np

from data_loader.table_cells import NOT_A_NUMBER, BadCell, convert, label, rows_of_lines
from data_loader.table_file import PARQUET, Table, exact_rounding, read_table
from data_loader.table_header import MISSING, Layout, is_nameless, layout_of, names_of
from data_loader.table_text import TableFormat, find_encoding, open_text
from misc.errors import UserError

STDIN = "-"
BLOCK_ROWS = 10000
SAMPLE = 61  # lines from which the layout is found

T = typing.TypeVar("T")
Line = typing.Tuple[int, str]  # its number from 1, and its text


class RowBlock(typing.NamedTuple):
    """Some consecutive rows of a table."""

    first: int     # number of the first of them, from 0
    table: Table


def stream_table(path: str, form: TableFormat, words_in: typing.Collection[typing.Union[str, int]],
                 on_bad: typing.Optional[typing.Callable[[str], None]] = None) -> typing.Iterator[RowBlock]:
    """Yields the rows of a table, BLOCK_ROWS at a time.

    Args:
      path: of the file, or STDIN.
      form, words_in: as for `read_table`.
      on_bad: called with a message for each line that cannot be read, which is left out; None: it is an error.

    Raises a UserError as `read_table` does.
    """
    if path != STDIN and pathlib.Path(path).suffix.lower() in PARQUET:
        whole = read_table(pathlib.Path(path), form)
        for start in range(0, len(whole.frame), BLOCK_ROWS):
            frame = whole.frame.iloc[start:start + BLOCK_ROWS].reset_index(drop=True)
            yield RowBlock(start, whole._replace(frame=frame))
        return
    name = "standard input" if path == STDIN else path
    with _opened(path, form) as handle:
        try:
            lines = ((number, line) for number, line in enumerate(handle, start=1))
            sample = list(itertools.islice(lines, SAMPLE))
            layout = layout_of(name, iter(sample), form)
            rows = (pair for pair in itertools.chain(sample, lines) if pair[0] > layout.n_skipped and pair[1].strip())
            reader = _Reader(name, layout, form, words_in)
            first = 0
            for block in _blocks(rows):
                for table in reader.read(block, on_bad):
                    yield RowBlock(first, table)
                    first += len(table.frame)
            if not first and on_bad is None:
                raise UserError(f"{name} has no rows")
        except UnicodeDecodeError as error:
            raise UserError(f"{name} is not a text file in UTF-8: set encoding in the run's config ({error})") from None


def count_lines(path: str) -> typing.Optional[int]:
    """Returns the number of lines of a file, for a progress bar; None where counting would take as long as reading."""
    if path == STDIN or pathlib.Path(path).suffix.lower() in (".gz", ".bz2", ".xz", ".zip", *PARQUET):
        return None
    with open(path, "rb") as handle:
        return sum(block.count(b"\n") for block in iter(lambda: handle.read(1 << 20), b""))


def _opened(path: str, form: TableFormat) -> typing.TextIO:
    if path == STDIN:
        return io.TextIOWrapper(sys.stdin.buffer, encoding=form.encoding or "utf-8-sig", newline="")
    encoding = form.encoding or find_encoding(pathlib.Path(path))[0]
    return open_text(pathlib.Path(path), encoding)


def _blocks(rows: typing.Iterator[Line]) -> typing.Iterator[typing.List[Line]]:
    """Yields BLOCK_ROWS lines at a time, and more where a quoted field goes on over the end of a line."""
    while True:
        block = list(itertools.islice(rows, BLOCK_ROWS))
        if not block:
            return
        n_quotes = sum(line.count('"') for _, line in block)
        while n_quotes % 2:
            more = next(rows, None)
            if more is None:
                break
            block.append(more)
            n_quotes += more[1].count('"')
        yield block


def bisected(rows: typing.Any, read: typing.Callable[[typing.Any], T],
             on_bad: typing.Optional[typing.Callable[[str], None]]) -> typing.Iterator[T]:
    """Yields read(rows), or if that is impossible what it returns for parts of the rows, without the bad ones.

    Args:
      rows: anything with a length and slices.
      read: raises a UserError for bad rows.
      on_bad: called with the error of each bad row; None: errors are raised.
    """
    try:
        yield read(rows)
    except UserError as error:
        if on_bad is None:
            raise
        if len(rows) == 1:
            on_bad(str(error))
            return
        middle = len(rows) // 2
        yield from bisected(rows[:middle], read, on_bad)
        yield from bisected(rows[middle:], read, on_bad)


class _Reader:
    """Turns lines of one file into Tables."""

    def __init__(self, name: str, layout: Layout, form: TableFormat,
                 words_in: typing.Collection[typing.Union[str, int]]) -> None:
        self._name, self._layout, self._words_in = name, layout, words_in
        self._marks = MISSING | {NOT_A_NUMBER} | {mark.strip().lower() for mark in form.missing_marks}
        self._is_plain = layout.decimal == "." and not form.missing_marks and not words_in
        self._width = 0
        self._names: typing.Optional[typing.Tuple[str, ...]] = None

    def read(self, lines: typing.List[Line],
             on_bad: typing.Optional[typing.Callable[[str], None]]) -> typing.Iterator[Table]:
        """Yields the rows of these lines: one Table, or several without the lines that `on_bad` is told of."""
        if not self._width:
            self._find_names(lines)
        frame = self._numbers(lines) if self._is_plain else None
        if frame is not None:
            yield self._table(frame, lines)
            return
        yield from bisected(list(rows_of_lines(lines, self._layout.separator)), self._texts, on_bad)

    def _texts(self, rows: typing.Sequence[typing.Tuple[int, typing.List[str]]]) -> Table:
        import pandas

        for number, words in rows:
            if len(words) != self._width:
                raise UserError(f"{self._name} line {number}: {len(words)} columns where the lines before have "
                                f"{self._width}")
        columns = {column: self._convert(rows, column) for column in range(self._width)}
        return self._table(pandas.DataFrame(columns), rows)

    def _find_names(self, lines: typing.List[Line]) -> None:
        first = next(rows_of_lines(lines, self._layout.separator))[1]
        self._width = len(first)
        words, _ = names_of(pathlib.Path(self._name), self._layout, self._width, may_lack_first=True)
        if words is not None and not self._layout.is_numbered:
            self._names = tuple(f"({label(column, None)})" if is_nameless(word) else word
                                for column, word in enumerate(words))

    def _numbers(self, lines: typing.List[Line]) -> typing.Optional[typing.Any]:
        """Returns the rows as numbers, or None unless every field is a finite number."""
        import pandas

        try:
            frame = pandas.read_csv(io.StringIO("".join(line for _, line in lines)), sep=self._layout.separator,
                                    header=None, dtype=np.float64, index_col=False, skipinitialspace=True,
                                    na_filter=False, **exact_rounding())
        except ValueError:
            return None
        good = frame.shape == (len(lines), self._width) and np.isfinite(frame.to_numpy()).all()
        return frame if good else None

    def _convert(self, rows: typing.Sequence[typing.Tuple[int, typing.List[str]]], column: int) -> np.ndarray:
        holds_words = column + 1 in self._words_in or bool(self._names and self._names[column] in self._words_in)
        fields = np.array([words[column] for _, words in rows], object)
        try:
            return convert(fields, self._layout.decimal, self._marks, holds_words)
        except BadCell as bad:
            line = rows[bad.row or 0][0]
            raise UserError(f"{self._name} line {line} column {column + 1}: {bad}") from None

    def _table(self, frame: typing.Any, rows: typing.Sequence[typing.Tuple[int, typing.Any]]) -> Table:
        def field(row: int, column: int) -> typing.Tuple[str, str]:
            number, words = rows[row]
            if isinstance(words, str):
                words = next(rows_of_lines([(number, words)], self._layout.separator))[1]
            return f"{self._name} line {number} column {column + 1}", words[column]

        return Table(frame, self._names, self._name, self._layout.notices, self._layout.is_comment, field)
