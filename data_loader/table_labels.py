"""The classes of a table: their names, and the label of every row."""
import typing

import numpy as np

from data_loader.table_file import Table
from misc.errors import UserError

if typing.TYPE_CHECKING:
    import pandas

MOST_CLASSES = 1000


class Classes(typing.NamedTuple):
    """The classes that a column of a table holds."""

    names: typing.List[str]  # sorted, as numbers if they are
    labels: np.ndarray       # int32 [n]: the place of every row's class among the names


def find_classes(column: "pandas.Series", source: str, label: str) -> Classes:
    """Returns the classes of a column without missing values. Raises a UserError if it holds too many.

    Args:
      column: the targets.
      source: where the table comes from.
      label: how messages call the column.
    """
    names = class_names(column)
    found = sorted({str(name) for name in names}, key=_order)
    if len(found) > min(MOST_CLASSES, len(names) / 2):
        raise UserError(f"{source}: the target, {label}, has {len(found)} values in {len(names)} rows: "
                        "too many for classes (mode regression predicts numbers)")
    numbers = {name: number for number, name in enumerate(found)}
    return Classes(found, np.array([numbers[str(name)] for name in names], np.int32))


def with_words(table: Table, columns: typing.Iterable[int]) -> Table:
    """Returns the table with words in place of numbers in these columns, as DataFrames and Parquet files have codes."""
    numbers = [column for column in columns if table.is_number(column)]
    if not numbers:
        return table
    frame = table.frame.copy()
    for column in numbers:
        frame[column] = np.array(class_names(table.frame.iloc[:, column]), object)
    return table._replace(frame=frame)


def class_names(column: "pandas.Series") -> typing.List[typing.Optional[str]]:
    """Returns the class of every row; None where it is missing. Whole numbers have no decimals."""
    if column.dtype.kind == "f":
        return [None if np.isnan(value) else f"{value:.15g}" for value in column]
    return [None if value is None or value != value else str(value) for value in column]


def _order(name: str) -> typing.Tuple[bool, float, str]:
    try:
        number = float(name)
    except ValueError:
        number = np.nan
    return (True, 0.0, name) if np.isnan(number) else (False, number, name)
