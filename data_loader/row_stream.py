"""Rows of a table in blocks, so that memory is bounded for any number of rows: from a file, or from standard input."""
import collections
import contextlib
import csv
import io
import itertools
import lzma
import pathlib
import sys
import typing
import zipfile
import zlib

import numpy as np

from data_loader.other_rows import Expected, Header
from data_loader.row_fields import Words, is_index, plain_numbers, refuse_truth
from data_loader.table_cells import NOT_A_NUMBER, BadCell, convert, label, rows_of_lines
from data_loader.table_file import PARQUET, Table, exact_rounding, read_table
from data_loader.table_header import (
    MISSING,
    TRUTH,
    Layout,
    is_nameless,
    layout_of,
    n_empty_at_end,
    names_of,
    without_end,
)
from data_loader.table_text import TableFormat, find_encoding, open_text
from misc.errors import UserError

STDIN = "-"
BLOCK_ROWS = 10000
SAMPLE = 61  # lines from which the layout is found

T = typing.TypeVar("T")
Line = typing.Tuple[int, str]  # its number from 1, and its text

OnBad = typing.Optional[typing.Callable[[str], None]]
Expect = typing.Callable[[Header], Expected]  # what is wanted of the columns that a table turns out to have


class RowBlock(typing.NamedTuple):
    """Some consecutive rows of a table."""

    first: int     # number of the first of them, from 0; lines that are left out count, too
    table: Table


def stream_table(path: str, form: TableFormat, expect: Expect, on_bad: OnBad = None) -> typing.Iterator[RowBlock]:
    """Yields the rows of a table, BLOCK_ROWS at a time.

    Args:
      path: of the file, or STDIN.
      form: how it is written, as for `read_table`.
      expect: tells which columns are used, and which of them hold words; the others stay as text. (In Parquet files,
        columns have types.)
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
    with _readable(name), _opened(path, form) as handle:
        lines = ((number, line) for number, line in enumerate(handle, start=1))
        sample = list(itertools.islice(lines, SAMPLE))
        layout = layout_of(name, iter(sample), form)
        rows = (pair for pair in itertools.chain(sample, lines) if pair[0] > layout.n_skipped and pair[1].strip())
        reader, first = _Reader(name, layout, form, _first_rows(name, sample, layout), on_bad is not None, expect), 0
        for block in _blocks(rows):
            n_rows, tables = reader.read(block, on_bad)
            for offset, table in tables:
                yield RowBlock(first + offset, table)
            first += n_rows


@contextlib.contextmanager
def _readable(name: str) -> typing.Iterator[None]:
    """Turns what can go wrong with the text of a file into a UserError."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is not a text file in UTF-8: set encoding, or save it in UTF-8 ({error})") from None
    except LookupError as error:
        raise UserError(f"{name}: {error}: set encoding as Python calls it, such as cp1252") from None
    except csv.Error as error:
        raise UserError(f"{name}: {error}") from None
    except (EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"{name} cannot be read: {error}") from None


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
             on_bad: OnBad) -> typing.Iterator[T]:
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

    def __init__(self, name: str, layout: Layout, form: TableFormat, first_rows: typing.Sequence[Words],
                 skips_bad: bool, expect: Expect) -> None:
        """Finds number and names of the columns.

        Those at the end are left out if they have neither name nor value, unless there are no names at all and the
        run expects as many.

        Args:
          first_rows: from which their number is found: if bad ones are skipped, it is the most common that fits the
            header, else that of the first.
        """
        n_columns = _common_width(first_rows, layout) if skips_bad else len(first_rows[0])
        whole = [row for row in first_rows if len(row) == n_columns]
        self._n_left_out = n_empty_at_end(layout, n_columns, lambda column: not any(row[column] for row in whole))
        if self._n_left_out and layout.words is None and _fits(expect, Header(None, n_columns, name)):
            self._n_left_out = 0  # the last values are missing
        layout = without_end(layout, pathlib.Path(name), n_columns, self._n_left_out)
        self._name, self._layout, self._width = name, layout, n_columns - self._n_left_out
        self._marks = MISSING | {NOT_A_NUMBER} | {mark.strip().lower() for mark in form.missing_marks}
        self._is_plain = layout.decimal == "." and not form.missing_marks  # numbers are as Python writes them
        words, _ = names_of(pathlib.Path(name), layout, self._width, may_lack_first=is_index(whole, layout))
        self._names: typing.Optional[typing.Tuple[str, ...]] = None
        if words is not None and not layout.is_numbered:
            self._names = tuple(f"({label(column, None)})" if is_nameless(word) else word
                                for column, word in enumerate(words))
        self._expected = expect(Header(self._names, self._width, name, self._is_commented))

    def read(self, lines: typing.List[Line],
             on_bad: OnBad) -> typing.Tuple[int, typing.Iterable[typing.Tuple[int, Table]]]:
        """Returns how many rows these lines hold, and them: (number from 0 of the first row, Table).

        It is one Table, or several without the lines that `on_bad` is told of.
        """
        if self._is_plain and not self._expected.words and not self._n_left_out:
            frame = self._numbers(lines)
            if frame is not None:
                return len(lines), [(0, self._table(frame, lines))]
        texts = list(rows_of_lines(lines, self._layout.separator))

        def read(positions: range) -> typing.Tuple[int, Table]:
            return positions.start, self._texts(texts[positions.start:positions.stop])

        return len(texts), bisected(range(len(texts)), read, on_bad)

    def _texts(self, rows: typing.Sequence[typing.Tuple[int, typing.List[str]]]) -> Table:
        import pandas

        n_columns = self._width + self._n_left_out
        for number, words in rows:
            if len(words) != n_columns:
                raise UserError(f"{self._name} line {number}: {len(words)} columns where the others have {n_columns}")
            for column in range(self._width, n_columns):
                if words[column]:
                    raise UserError(f"{self._name} line {number} column {column + 1}: {words[column]!r} stands in a "
                                    "column without a name, which is empty in the first rows: name it, or remove it")
        columns = {column: self._convert(rows, column) for column in range(self._width)}
        return self._table(pandas.DataFrame(columns), rows)

    @property
    def _is_commented(self) -> bool:
        return self._names is not None and self._layout.is_comment

    def _numbers(self, lines: typing.List[Line]) -> typing.Optional[typing.Any]:
        """Returns the rows as numbers, or None unless every field is a finite number."""
        import pandas

        text = "".join(line for _, line in lines)
        if any(word in text.lower() for word in TRUTH):  # pandas reads true and false as 1 and 0
            return None
        try:
            frame = pandas.read_csv(io.StringIO(text), sep=self._layout.separator,
                                    header=None, dtype=np.float64, index_col=False, skipinitialspace=True,
                                    na_filter=False, **exact_rounding())
        except ValueError:
            return None
        good = frame.shape == (len(lines), self._width) and np.isfinite(frame.to_numpy()).all()
        return frame if good else None

    def _convert(self, rows: typing.Sequence[typing.Tuple[int, typing.List[str]]], column: int) -> np.ndarray:
        fields = np.array([words[column] for _, words in rows], object)
        if column not in self._expected.used:
            return fields
        holds_words = column in self._expected.words
        numbers = plain_numbers(fields) if self._is_plain and not holds_words else None
        if numbers is not None:
            return numbers
        try:
            if column in self._expected.numbers:
                refuse_truth(fields)
            return convert(fields, self._layout.decimal, self._marks, holds_words)
        except BadCell as bad:
            line = rows[bad.row or 0][0]
            raise UserError(f"{self._name} line {line} column {column + 1}: {bad.alone}") from None

    def _table(self, frame: typing.Any, rows: typing.Sequence[typing.Tuple[int, typing.Any]]) -> Table:
        def field(row: int, column: int) -> typing.Tuple[str, str]:
            number, words = rows[row]
            if isinstance(words, str):
                words = next(rows_of_lines([(number, words)], self._layout.separator))[1]
            return f"{self._name} line {number} column {column + 1}", words[column]

        return Table(frame, self._names, self._name, self._layout.notices, self._is_commented, field=field)


def _fits(expect: Expect, header: Header) -> bool:
    """Tells whether a table of this header is expected."""
    try:
        expect(header)
    except UserError:
        return False
    return True


def _first_rows(name: str, sample: typing.Sequence[Line], layout: Layout) -> typing.List[Words]:
    """Returns the fields of the first rows. Raises a UserError if there is none."""
    rows = rows_of_lines([line for line in sample if line[0] > layout.n_skipped], layout.separator)
    fields = [words for _, words in rows]
    if not fields:
        raise UserError(f"{name} has no rows")
    return fields if len(fields) < 2 else fields[:-1]  # the last one may go on in the next line


def _common_width(rows: typing.Sequence[Words], layout: Layout) -> int:
    """Returns the most common width that fits the header, which may lack fields for an index and for empty columns."""
    words = None if layout.is_comment else layout.words
    fitting = [len(row) for row in rows if words is None or len(row) - len(words) in (0, 1)
               or (len(row) > len(words) and not any(row[len(words):]))]
    return collections.Counter(fitting or [len(words or ())]).most_common(1)[0][0]
