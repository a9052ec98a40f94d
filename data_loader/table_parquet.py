"""Tables in Parquet files, which need pyarrow or fastparquet."""
import pathlib

import numpy as np
import pandas

from data_loader.table_file import Table
from misc.errors import UserError


def read_parquet(path: pathlib.Path) -> Table:
    """Reads a Parquet file: numbers as float64, true and false as 1 and 0, everything else as words."""
    try:
        frame = pandas.read_parquet(str(path))
    except ImportError:
        raise UserError(f"{path}: Parquet needs a further package: pip install pyarrow, or save the table as CSV"
                        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {error}") from None
    names = tuple(str(name) for name in frame.columns)
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(f"{path} has {names.count(twice[0])} columns {twice[0]!r}: give every column a name of its own")
    if not len(frame):
        raise UserError(f"{path} has no rows")
    columns = {number: _column(frame.iloc[:, number]) for number in range(len(names))}
    truth = [name for number, name in enumerate(names) if frame.dtypes.iloc[number].kind == "b"]
    notices = [f"note: {path.name}: true and false are read as 1 and 0: {', '.join(truth)}"] if truth else []
    return Table(pandas.DataFrame(columns), names, str(path), tuple(notices))


def _column(column: pandas.Series) -> np.ndarray:
    if column.dtype.kind in "biuf" or str(column.dtype).lower().startswith(("int", "float", "uint", "bool")):
        return column.astype("float64").to_numpy()
    if column.dtype.kind == "M":
        column = column.astype(str).where(column.notna())
    return np.array([None if pandas.isna(value) else str(value) for value in column], object)
