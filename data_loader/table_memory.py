"""Tables in memory: pandas DataFrames and arrays."""
import typing

import numpy as np
import pandas

from data_loader.table_file import Table
from misc.errors import UserError


def table_of_frame(frame: pandas.DataFrame, source: str) -> Table:
    """Returns the Table of a DataFrame: numbers as float64, true and false as 1 and 0, everything else as words.

    Raises a UserError if two columns have one name, or there is no row.
    """
    names = tuple(str(name) for name in frame.columns)
    twice = [name for name in names if names.count(name) > 1] if len(set(names)) < len(names) else []
    if twice:
        raise UserError(f"{source} has {names.count(twice[0])} columns {twice[0]!r}: give every column a name of its "
                        "own")
    if not len(frame):
        raise UserError(f"{source} has no rows")
    columns = {number: _column(frame.iloc[:, number]) for number in range(len(names))}
    truth = [name for number, name in enumerate(names) if frame.dtypes.iloc[number].kind == "b"]
    notices = [f"note: {source}: true and false are read as 1 and 0: {', '.join(truth)}"] if truth else []
    return Table(pandas.DataFrame(columns), names, source, tuple(notices))


def table_of_rows(rows: typing.Any, source: str) -> Table:
    """Returns the Table of a DataFrame or of an array [n, columns], whose columns have no names."""
    if isinstance(rows, dict):
        rows = pandas.DataFrame(rows)
    if isinstance(rows, pandas.DataFrame):
        return table_of_frame(rows, source)
    array = np.asarray(rows)
    if array.ndim != 2:
        raise UserError(f"{source} must be a DataFrame or an array [n, columns], got {type(rows).__name__} of "
                        f"{array.ndim} dimensions")
    return table_of_frame(pandas.DataFrame(array), source)._replace(names=None)


def _column(column: pandas.Series) -> np.ndarray:
    if column.dtype.kind in "biuf" or str(column.dtype).lower().startswith(("int", "float", "uint", "bool")):
        return column.astype("float64").to_numpy()
    if column.dtype.kind == "M":
        column = column.astype(str).where(column.notna())
    return np.array([None if pandas.isna(value) else str(value) for value in column], object)
