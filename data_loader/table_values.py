"""What the values of a table's columns tell: numbers that may mark missing values, counts of the rows, and codes."""
import pathlib
import re
import typing

import numpy as np

from data_loader.row_blocks import Numbers
from data_loader.table_cells import CODE, label
from data_loader.table_dialect import split_line
from data_loader.table_header import MOST_NAMED, Layout, lines_of

if typing.TYPE_CHECKING:
    import pandas

    from data_loader.table_file import Table

MISSING_MARKS = (-999.0, -8888.0, -9999.0, -99999.0)  # numbers that stand for missing values in many files
FIRST_ROWS = 1000  # of a column that are looked at before the others
LARGEST_WHOLE = 2**53  # up to it, float64 holds every whole number
# In a line: a field with a leading zero. To search for a literal 0 is several times as fast as for what precedes it.
MAY_BE_CODE = re.compile(r"0(?<![^\s,;|\"']0)\d")

Names = typing.Optional[typing.Sequence[str]]


def is_number(frame: "pandas.DataFrame", column: int) -> bool:
    """Tells whether a column holds numbers."""
    return bool(frame.dtypes.iloc[column].kind == "f")


def columns_of(columns: typing.Sequence[int], names: Names = None) -> str:
    """Returns what messages call these columns; many are counted."""
    more = f" and {len(columns) - MOST_NAMED} more" if len(columns) > MOST_NAMED else ""
    return ", ".join(label(column, names) for column in columns[:MOST_NAMED]) + more


def may_be_header(row: np.ndarray) -> bool:
    """Tells whether a row holds consecutive whole numbers, in any order, as columns without names are called."""
    ordered = np.sort(row)
    return bool(len(row) > 2 and ordered[0] % 1 == 0 and (np.diff(ordered) == 1).all())


def about_truth(path: pathlib.Path, columns: typing.Sequence[int], names: Names) -> typing.Iterator[str]:
    """Yields a notice that names the columns of true and false."""
    if columns:
        yield f"note: {path.name}: true and false are read as 1 and 0: {columns_of(columns, names)}"


def about_values(path: pathlib.Path, frame: "pandas.DataFrame", names: Names) -> typing.Iterator[str]:
    """Yields a notice for a first row that may be a header, and for each missing mark."""
    columns = {column: frame.iloc[:, column].to_numpy() for column in range(frame.shape[1]) if is_number(frame, column)}
    if names is None and len(columns) == frame.shape[1] and len(frame):
        first = np.array([values[0] for values in columns.values()])
        if may_be_header(first):
            yield (f"note: {path.name}: the first line holds the numbers {first.min():g} to {first.max():g} and is "
                   "taken for a row: remove it if it is a header")
    lowest_of = _lowest(columns)
    for column, values in columns.items():
        lowest = lowest_of[column]
        if lowest not in MISSING_MARKS:
            continue
        known = values[~np.isnan(values)]
        others = known[known > lowest]
        if len(others) and others.min() > lowest / 2:
            yield (f"note: {path.name}: {label(column, names)} holds {lowest:g} in {len(known) - len(others)} of "
                   f"{len(values)} rows and is {others.min():g} or more in the others: if {lowest:g} marks a missing "
                   "value, remove these rows or impute it (key missing_marks)")


def _lowest(columns: typing.Dict[int, np.ndarray]) -> typing.Dict[int, float]:
    """Returns the lowest value of each column, or nan if there is none; a few rows of all columns at a time."""
    numbers = Numbers(tuple(columns.values()))
    if not columns or not numbers.n_rows:
        return dict.fromkeys(columns, np.nan)
    blocks = [np.fmin.reduce(block, axis=0) for block in numbers.blocks()]
    return dict(zip(columns, np.fmin.reduce(blocks, axis=0)))


def about_inputs(table: "Table", inputs: typing.Sequence[int]) -> typing.Iterator[str]:
    """Yields a notice for each input that counts the rows, holds numbers that are something else, or words that differ
    in capital letters only, and one for the inputs of codes with leading zeros.

    inputs: their positions in the table, from 0.
    """
    name = pathlib.Path(table.source).name
    for column in inputs:
        about = (_about_numbers if table.is_number(column) else _about_words)(table.frame.iloc[:, column])
        if about:
            yield f"note: {name}: {label(column, table.names)} {about}"
    codes = [(column, example) for column, example in table.codes if column in inputs]
    if codes:
        named = ", ".join(f"{label(column, table.names)}, such as {example}" for column, example in codes[:MOST_NAMED])
        more = f" and {len(codes) - MOST_NAMED} more" if len(codes) > MOST_NAMED else ""
        yield (f"note: {name}: read as numbers in spite of leading zeros: {named}{more}: list the column in categories "
               "if these are codes")


def _about_numbers(column: "pandas.Series") -> str:
    values = column.to_numpy()
    known = values[~np.isnan(values)]
    if len(values) > 1 and values[0] in (0, 1) and (np.diff(values) == 1).all():
        return f"counts the rows from {values[0]:g} and is used as an input: list it in drop if it is an index"
    if not len(known) or (known[:FIRST_ROWS] % 1 != 0).any() or (known % 1 != 0).any():
        return ""
    if np.abs(known).max() > LARGEST_WHOLE:
        return (f"holds whole numbers beyond {LARGEST_WHOLE}, whose last digits are lost: list it in categories, or in "
                "drop, if these are codes")
    year, month, day = known // 10000, known // 100 % 100, known % 100
    if (((year >= 1900) & (year <= 2100) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)).all()
            and len(np.unique(known)) > 1):
        return f"holds numbers such as {known[0]:.0f}: write them as 2020-01-31 if they are dates"
    return ""


def _about_words(column: "pandas.Series") -> str:
    first: typing.Dict[str, str] = {}
    for word in map(str, column.dropna().unique()):
        other = first.setdefault(word.casefold(), word)
        if other != word:
            return f"holds {other!r} and {word!r}, which are two categories: write them alike if they are one"
    return ""


def find_codes(path: pathlib.Path, layout: Layout, frame: "pandas.DataFrame") -> typing.Dict[int, str]:
    """Returns {column: the first field with a leading zero} of columns that were read as whole numbers.

    Only lines that may hold such a field are taken apart.
    """
    wanted = {column for column in range(frame.shape[1]) if _is_whole(frame.iloc[:FIRST_ROWS, column].to_numpy())
              and _is_whole(frame.iloc[:, column].to_numpy())}
    found: typing.Dict[int, str] = {}
    for number, line in lines_of(path, layout.encoding):
        if not wanted:
            break
        if number > layout.n_skipped and MAY_BE_CODE.search(line):
            fields = split_line(line, layout.separator)
            for column in [column for column in wanted if column < len(fields) and CODE.fullmatch(fields[column])]:
                found[column] = fields[column]
                wanted.remove(column)
    return dict(sorted(found.items()))


def _is_whole(values: np.ndarray) -> bool:
    """Tells whether all are whole numbers from 0."""
    return bool((values >= 0).all() and (values % 1 == 0).all())
