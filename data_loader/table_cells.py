"""Columns of a table from its text: numbers, or words."""
import csv
import re
import typing

import numpy as np

from data_loader.table_dialect import WHITE_SPACE, split_line
from data_loader.table_header import MISSING, TRUTH, Layout, is_nameless, lines_of, n_empty_at_end, number
from data_loader.table_text import open_rows
from misc.errors import UserError

if typing.TYPE_CHECKING:
    import pathlib

    import pandas

LAST = -1  # the last column, where columns are numbered from 1
NOT_A_NUMBER = "nan"  # a missing value that is not finite either
WITH_UNIT = re.compile(r"[-+\u2212\u2013(]?\s*[$€£¥]?\s*\d[\d.,'\u00a0\u202f ]*"
                       r"\s*(%|[$€£¥]|[A-Za-zµ°][A-Za-z0-9/²³]{0,7})?\)?")
IN_QUOTES = re.compile(r"['\u2018\u2019\u201c\u201d`=\"]+\s*[-+]?[\d.,]*\d[\d.,]*\s*['\u2018\u2019\u201c\u201d`\"]+")
DOTTED_DATE = re.compile(r"\d{1,2}\.\d{1,2}\.\d{2,4}|\d{4}\.\d{1,2}\.\d{1,2}")  # no number, in spite of its points
WITH_COMMA = re.compile(r"[-+]?\d+,\d+([eE][-+]?\d+)?")
CODE = re.compile(r"0\d+")  # a whole number with leading zeros, which may be a code
MOSTLY = 0.8  # share of the different words of a column that look like numbers with units, from which it is refused


def label(column: int, names: typing.Optional[typing.Sequence[str]]) -> str:
    """Returns how messages call a column: its number from 1, and its name if it has one."""
    return f"column {column + 1}" + (f" ('{names[column]}')" if names else "")


class Texts(typing.NamedTuple):
    """The columns that were read from text."""

    frame: "pandas.DataFrame"                # as in Table
    truth: typing.List[int] = []             # columns of true and false, which are read as 1 and 0
    n_left_out: int = 0                      # nameless and empty columns at the end, which the frame does not have
    codes: typing.Mapping[int, str] = {}     # columns of numbers, and a field of each with leading zeros
    mixed: typing.Mapping[int, str] = {}     # columns of numbers and words that are kept as words, and what is wrong


def read_texts(path: "pathlib.Path", layout: Layout, missing_marks: typing.Collection[str] = (),
               words_in: typing.Container[typing.Union[str, int]] = (),
               unused: typing.Container[typing.Union[str, int]] = (), keeps_mixed: bool = False) -> Texts:
    """Reads all fields as text and converts each column; arguments as in `read_table`.

    Raises a UserError for a line of another length, and for what `convert` refuses.
    """
    import pandas

    width = _check_widths(path, layout)
    try:
        with open_rows(path, layout.encoding, layout.n_skipped) as handle:
            frame = pandas.read_csv(handle, sep=layout.separator, header=None, dtype=str, index_col=False,
                                    skipinitialspace=True, na_filter=False, names=range(width))
    except ValueError:  # pandas' parser errors are ValueErrors
        raise UserError(f"{path} line {_last_row_line(path, layout)}: a quote is opened and never closed") from None
    n_left_out = n_empty_at_end(layout, width, lambda column: not frame.iloc[:, column].str.strip().any())
    width -= n_left_out
    marks = MISSING | {NOT_A_NUMBER} | {mark.strip().lower() for mark in missing_marks}
    converted, mixed = {}, {}
    for column, (references, shown) in enumerate(_references(layout, width)):
        holds_words, is_unused = (any(reference in columns for reference in references)
                                  for columns in (words_in, unused))
        fields = frame.iloc[:, column].to_numpy()
        try:
            converted[column] = convert_fields(fields, layout.decimal, marks, holds_words)
        except BadCell as bad:
            where = position(path, layout, bad.row) if bad.row is not None else str(path)
            if keeps_mixed and bad.is_mixed:
                mixed[column] = f"{where} {shown}: {bad}"
            elif not is_unused:
                raise UserError(f"{where} {shown}: {bad}") from None
            converted[column] = convert_fields(fields, layout.decimal, marks, True)
    return Texts(pandas.DataFrame({column: values.values for column, values in converted.items()}),
                 [column for column, values in converted.items() if values.is_truth], n_left_out,
                 {column: values.code for column, values in converted.items() if values.code}, mixed)


def _references(layout: Layout, width: int) -> typing.List[typing.Tuple[typing.List[typing.Union[str, int]], str]]:
    """Returns for each column (what a config may call it, what messages call it).

    A column without a name, which is an index, has no number; the columns after it have the numbers that they have
    without it.
    """
    words = list(layout.words or [])[:width]
    if len(words) == width - 1 and not layout.is_comment:
        words = ["", *words]  # as R writes an index
    found, number = [], 0
    for column in range(width):
        name = words[column] if len(words) == width else None
        is_index = name is not None and is_nameless(name) and column < width - 1
        number += not is_index
        references: typing.List[typing.Union[str, int]] = [] if is_index else [number]
        references += [LAST] * (column == width - 1)
        shown = f"column {column + 1}"
        if name and not layout.is_numbered:
            references.append(name)
            shown += f" ('{name}')"
        found.append((references, shown))
    return found


class BadCell(UserError):
    """A column that cannot be read.

    Attributes:
      row: number of the first bad field, from 0; None if there is none.
      is_mixed: whether words that do not look like numbers stand among numbers, so that all may be categories.
      alone: the message without the remedy that only the config of a training offers.
    """

    def __init__(self, message: str, row: typing.Optional[int], is_mixed: bool = False, in_training: str = "") -> None:
        super().__init__(message + in_training)
        self.row, self.is_mixed, self.alone = row, is_mixed, message


class Converted(typing.NamedTuple):
    """A column that was read from text."""

    values: np.ndarray      # float64 [n], nan where missing; or words, object [n], None where missing
    is_truth: bool = False  # whether the fields are true and false, which are 1 and 0
    code: str = ""          # the first field with leading zeros that was read as a number


def convert(fields: np.ndarray, decimal: str, marks: typing.Container[str], holds_words: bool = False) -> np.ndarray:
    """Returns the values of `convert_fields`."""
    return convert_fields(fields, decimal, marks, holds_words).values


def convert_fields(fields: np.ndarray, decimal: str, marks: typing.Container[str],
                   holds_words: bool = False) -> Converted:
    """Returns the column that these fields, text [n], spell.

    Args:
      decimal: the decimal mark.
      marks: words, in lower case, that stand for a missing value.
      holds_words: whether all fields are words, even those that could be numbers.

    Returns:
      Numbers, or words if no field is a number. Raises BadCell if some fields are numbers and others are not, and if
      all look like numbers with units.
    """
    import pandas

    codes, unique = pandas.factorize(fields)
    words = [str(word).strip() for word in unique]
    missing = np.array([word.lower() in marks for word in words], bool)
    values = [None if gone else number(word, decimal) for word, gone in zip(words, missing)]
    found = np.array([value is not None for value in values], bool)

    def first(chosen: np.ndarray) -> int:
        return int(np.flatnonzero(chosen[codes])[0])

    if holds_words or (not found.any() and not missing.all()):
        if not holds_words:
            _refuse_units([word for word, gone in zip(words, missing) if not gone])
        return Converted(np.array([None if gone else word for word, gone in zip(words, missing)], object)[codes])
    other = ~found & ~missing
    if other.any():
        row = first(other)
        is_mixed = not any(WITH_UNIT.fullmatch(word) for word, is_other in zip(words, other) if is_other)
        raise _word_among_numbers(words[codes[row]], row, is_mixed)
    truth = np.array([word.lower() in TRUTH for word in words], bool)
    if truth.any() and not (truth | missing).all():
        row = first(truth)
        raise BadCell(f"{words[codes[row]]!r} stands among numbers (a column of true and false holds no other values)",
                      row)
    numbers = np.array([np.nan if value is None else value for value in values], np.float64)
    if np.isinf(numbers).any():
        row = first(np.isinf(numbers))
        raise BadCell(f"{words[codes[row]]} is not finite; remove or impute it", row)
    return Converted(numbers[codes], bool(truth.any()), next((word for word in words if CODE.fullmatch(word)), ""))


def _word_among_numbers(word: str, row: int, is_mixed: bool) -> BadCell:
    """Returns what is wrong with a word among numbers, and what would be right."""
    if WITH_UNIT.fullmatch(word):
        return BadCell(f"{word!r} is not a number: write it without thousands separators, signs and units", row)
    return BadCell(f"{word!r} is not a number, as other fields of this column are: correct it, or list it in "
                   "missing_marks if it stands for a missing value", row, is_mixed, ", or the column in categories")


def about_missing(word: str, remedy: str = "key missing: mean, median or indicator") -> str:
    """Returns what is wrong with a field that holds no value, and what would be right."""
    if word.strip().lower() == NOT_A_NUMBER:
        return f"{word} is not finite; remove or impute it"
    what = f"{word!r} stands for a missing value" if word.strip() else "the field is empty"
    return f"{what}; remove the row or impute the value ({remedy})"


def field_at(path: "pathlib.Path", layout: Layout, row: int, column: int) -> typing.Tuple[str, str]:
    """Returns ("PATH line L column C", the text there); row and column: from 0, without blank lines."""
    for n_rows, (line_number, words) in enumerate(rows_of_file(path, layout)):
        if n_rows == row:
            return f"{path} line {line_number} column {column + 1}", words[column] if column < len(words) else ""
    return f"{path} row {row + 1} column {column + 1}", ""


def position(path: "pathlib.Path", layout: Layout, row: int) -> str:
    """Returns "PATH line L" of a row, from 0."""
    return field_at(path, layout, row, 0)[0].rsplit(" column", 1)[0]


def _refuse_units(words: typing.Sequence[str]) -> None:
    alike = [word for word in words if _likeness(word) is not None]
    if alike and len(alike) >= MOSTLY * len(words):
        raise BadCell(f"fields such as {alike[0]!r} look like numbers {_likeness(alike[0])}", None,
                      in_training=", or list the column in categories")


def _likeness(word: str) -> typing.Optional[str]:
    """Returns how a word differs from a number, and what would be right; None if it is no number at all."""
    if DOTTED_DATE.fullmatch(word):
        return None
    return next((what for pattern, what in LOOK_ALIKES if pattern.fullmatch(word)), None)


# Words that are nearly numbers, and what is said of a column of them.
LOOK_ALIKES = (
    (WITH_COMMA, "with a decimal comma or thousands: set decimal to \",\", write plain numbers"),
    (WITH_UNIT, "with thousands separators, signs or units: write plain numbers"),
    (IN_QUOTES, "in single, double or curly quotes: write plain numbers"),
)


def _check_widths(path: "pathlib.Path", layout: Layout) -> int:
    """Returns the number of columns. Raises a UserError for the first line that has another, or if there is none."""
    width = None
    for line_number, words in rows_of_file(path, layout):
        width = width or len(words)
        if len(words) != width:
            quoted = any(len(word.splitlines()) > 1 for word in words)
            raise UserError(f"{path} line {line_number}: {len(words)} columns where the lines before have {width}"
                            + " (a quoted field goes on over ends of lines: is a quote not closed?)" * quoted)
    if width is None:
        raise UserError(f"{path} has no rows")
    return width


def _last_row_line(path: "pathlib.Path", layout: Layout) -> int:
    """Returns the number of the line in which the last row begins."""
    before, last = layout.n_skipped, layout.n_skipped
    for line_number, _ in rows_of_file(path, layout):
        before, last = last, line_number
    return before + 1


def rows_of_file(path: "pathlib.Path", layout: Layout) -> typing.Iterator[typing.Tuple[int, typing.List[str]]]:
    """Yields (number of its last line, fields) of every row."""
    lines = (pair for pair in lines_of(path, layout.encoding) if pair[0] > layout.n_skipped)
    try:
        yield from rows_of_lines(lines, layout.separator)
    except csv.Error as error:
        raise UserError(f"{path}: {error}") from None


def rows_of_lines(lines: typing.Iterable[typing.Tuple[int, str]],
                  separator: str) -> typing.Iterator[typing.Tuple[int, typing.List[str]]]:
    """Yields (number of its last line, fields) of every row that is not blank.

    Quoted fields may hold line ends, except among white space.

    Args:
      lines: (line number, line).
    """
    if separator == WHITE_SPACE:
        for number, line in lines:
            if line.strip():
                yield number, split_line(line, separator)
        return
    number = 0

    def texts() -> typing.Iterator[str]:
        nonlocal number
        for of_line, line in lines:
            number = of_line
            yield line

    for words in csv.reader(texts(), delimiter=separator, skipinitialspace=True):
        if words and (len(words) > 1 or words[0].strip()):
            yield number, words


