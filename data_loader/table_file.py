"""Reads a NAME.data file: numbers, one row per line, the target in the last column."""
import math
import pathlib
import typing

import numpy as np

from data_loader.table_header import (
    MISSING,
    WHITE_SPACE,
    Layout,
    is_nameless,
    lines_of,
    names_of,
    number,
    read_layout,
    split_line,
)
from misc.errors import UserError

MISSING_MARKS = (-999.0, -8888.0, -9999.0, -99999.0)  # numbers that stand for missing values in many files


class Table(typing.NamedTuple):
    """The rows of a table, and what its file says of them."""

    values: np.ndarray  # float64 [rows, columns]; the target is the last column
    names: typing.Optional[typing.Tuple[str, ...]]  # of the columns; None if the file does not name them
    source: str  # where the rows come from
    notices: typing.Tuple[str, ...] = ()  # sentences about what was assumed
    is_commented: bool = False  # whether the names are the words of a comment, which may be any sentence


def read_table(path: pathlib.Path) -> Table:
    """Reads a file of numbers.

    Values are separated by white space or commas, and may stand in quotes. A first line without any number, or with
    the numbers 0, 1, ..., one per column, is a header; blank lines are skipped. A column without a name that numbers
    the rows is an index that pandas or R wrote, and is left out. Raises a UserError that names the first bad line.
    """
    layout = read_layout(path)
    _refuse_empty_fields(path, layout)
    values = _read_values(path, layout)
    names_rows = _numbers_rows if layout.is_indented else _counts_rows
    words, notices = names_of(path, layout, values.shape[1], may_lack_first=names_rows(values[:, 0]))
    if words is None:
        return Table(values, None, str(path), (*notices, *_about_values(path, values, None)))
    if layout.is_numbered:
        notices.append(f"note: {path.name}: the first line numbers the columns from 0 to {words[-1]} and is taken for "
                       "a header (if it is a row, write 0.0 for its 0)")
    kept = []
    for column, name in enumerate(words):
        if not is_nameless(name):
            kept.append(column)
        elif column == len(words) - 1 or not _numbers_rows(values[:, column]):
            raise UserError(f"{path}: column {column + 1} has no name, and is not an index of the rows before the "
                            "target: name it, or remove it")
        else:
            notices.append(f"note: {path.name}: column {column + 1} has no name and holds a different whole "
                           "number in every row, as an index does: it is left out")
    values = values[:, kept]
    names = None if layout.is_numbered else tuple(words[column] for column in kept)
    notices += _about_values(path, values, names)
    return Table(values, names, str(path), tuple(notices), is_commented=names is not None and layout.is_comment)


def label(column: int, names: typing.Optional[typing.Sequence[str]]) -> str:
    """Returns how messages call a column: its number from 1, and its name if it has one."""
    return f"column {column + 1}" + (f" ('{names[column]}')" if names else "")


def may_be_header(row: np.ndarray) -> bool:
    """Tells whether a row holds consecutive whole numbers, in any order, as columns without names are called."""
    ordered = np.sort(row)
    return bool(len(row) > 2 and ordered[0] % 1 == 0 and (np.diff(ordered) == 1).all())


def _read_values(path: pathlib.Path, layout: Layout) -> np.ndarray:
    import pandas

    try:
        frame = pandas.read_csv(
            str(path), sep=layout.separator, header=None, skiprows=layout.n_skipped, dtype=np.float64,
            index_col=False, skipinitialspace=True, na_filter=False, **_exact_rounding(),
        )
        values = frame.to_numpy()
    except (ValueError, OSError):  # pandas' parser errors are ValueErrors
        values = None
    if values is None or not np.isfinite(values).all():
        _raise_for_bad_line(path, layout)  # pandas does not name line and column
    return values


def _exact_rounding() -> typing.Dict[str, str]:
    """Returns what makes pandas read the float64 nearest to each number, as it always does from version 3.1 on."""
    import pandas

    version = tuple(int(part) for part in pandas.__version__.split(".")[:2])
    return {} if version >= (3, 1) else {"float_precision": "round_trip"}


def _numbers_rows(column: np.ndarray) -> bool:
    """Tells whether a column holds whole numbers that are all different, as an index does, in whatever order."""
    return bool((column >= 0).all() and (column == np.floor(column)).all() and len(np.unique(column)) == len(column))


def _counts_rows(column: np.ndarray) -> bool:
    """Tells whether a column holds 0, ..., n - 1 or 1, ..., n for n rows, in whatever order."""
    first = column.min()
    return bool(first in (0, 1) and np.array_equal(np.sort(column), np.arange(len(column)) + first))


def _about_values(path: pathlib.Path, values: np.ndarray,
                  names: typing.Optional[typing.Sequence[str]]) -> typing.Iterator[str]:
    """Yields a notice for a first row that may be a header, each input that counts the rows, and each missing mark."""
    if names is None and may_be_header(values[0]):
        yield (f"note: {path.name}: the first line holds the numbers {values[0].min():g} to {values[0].max():g} and is "
               "taken for a row: remove it if it is a header")
    for column in range(values.shape[1] - 1):
        if values[0, column] in (0, 1) and len(values) > 1 and (np.diff(values[:, column]) == 1).all():
            yield (f"note: {path.name}: {label(column, names)} counts the rows from {values[0, column]:g} and is used "
                   "as an input: remove it if it is an index")
    for column, lowest in enumerate(values.min(axis=0)):
        others = values[values[:, column] > lowest, column]
        if lowest in MISSING_MARKS and len(others) and others.min() > lowest / 2:
            yield (f"note: {path.name}: {label(column, names)} holds {lowest:g} in {len(values) - len(others)} of "
                   f"{len(values)} rows and is {others.min():g} or more in the others: if {lowest:g} marks a missing "
                   "value, remove these rows or impute it")


def _refuse_empty_fields(path: pathlib.Path, layout: Layout) -> None:
    """Raises a UserError for an empty field between tabs, which would otherwise count as white space.

    In lines with equally many tabs a field is empty if other lines, or the header, have a word in its column. Tabs
    that only align columns are no fields: lines then differ in their numbers of tabs, or have them in the same places.
    """
    if layout.separator != WHITE_SPACE:
        return
    header: typing.List[str] = []
    filled: typing.Set[int] = set()
    empty: typing.Dict[int, int] = {}  # column -> first line
    width = None
    for line_number, line in lines_of(path):
        words = [word.strip() for word in line.rstrip("\r\n").split("\t")]
        if line_number <= layout.n_skipped:
            header = words if line_number == layout.n_skipped and layout.words and not layout.is_comment else []
        elif line.strip():
            width = width or len(words)
            if width == 1 or len(words) != width:
                return
            for column, word in enumerate(words):
                if word:
                    filled.add(column)
                else:
                    empty.setdefault(column, line_number)
    if len(header) == width:
        filled.update(column for column, word in enumerate(header) if word)
    missing = sorted((line_number, column) for column, line_number in empty.items() if column in filled)
    if missing:
        line_number, column = missing[0]
        raise UserError(f"{path} line {line_number} column {column + 1}: the field between tabs is empty; remove the "
                        "row or impute the value")


def _raise_for_bad_line(path: pathlib.Path, layout: Layout) -> typing.NoReturn:
    """Raises a UserError for the first line that has another length, is not numeric or not finite."""
    width = None
    for line_number, line in lines_of(path):
        if line_number <= layout.n_skipped or not line.strip():
            continue
        words = split_line(line, layout.separator)
        width = width or len(words)
        if len(words) != width:
            raise UserError(f"{path} line {line_number}: {len(words)} columns where the lines before have {width}")
        for column, word in enumerate(words, start=1):
            value = number(word)
            if value is None and word.strip().lower() in MISSING:
                what = f"{word!r} stands for a missing value" if word.strip() else "the field is empty"
                raise UserError(f"{path} line {line_number} column {column}: {what}; remove the row or impute the "
                                "value")
            if value is None:
                raise UserError(f"{path} line {line_number} column {column}: {word!r} is not a number "
                                "(numbers are separated by white space or commas)")
            if not math.isfinite(value):
                raise UserError(f"{path} line {line_number} column {column}: {word} is not finite; remove or impute it")
    if width is None:
        raise UserError(f"{path} has no rows")
    raise UserError(f"{path} cannot be read as a table of numbers (a column of true and false holds no other values)")
