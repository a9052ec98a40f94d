"""Test rows from a file of their own."""
import pathlib
import typing

import numpy as np

from data_loader.table_cells import label
from data_loader.table_file import Table, read_table
from data_loader.table_source import kept_tables
from data_loader.table_text import TableFormat
from misc.config import Config
from misc.errors import UserError


def append_test_rows(table: Table, config: Config, used: typing.Sequence[int]) -> typing.Tuple[Table, int]:
    """Returns (the table with the rows of test_file after its own, how many these are).

    Columns are matched by their names, or by their order if neither table has names.

    Args:
      used: positions of the columns that both tables must have.

    Raises a UserError if a column is missing in the test file, or holds words in one of the two only.
    """
    import pandas

    path = pathlib.Path(str(config.test_file))
    if not path.is_file():
        raise UserError(f"test_file {path}: {'this is a folder' if path.is_dir() else 'there is no such file'}")
    words = [table.names[column] if table.names else column + 1 for column in range(table.frame.shape[1])
             if not table.is_number(column)]
    other = read_table(path, TableFormat(**config.table_format), words, config.drop or (),
                       kept_in=kept_tables(config))
    if (table.names is None) != (other.names is None):
        raise UserError(f"{table.source} and {path}: only one of the two names its columns")
    order: typing.List[typing.Optional[int]]
    if table.names is not None and other.names is not None:
        there = {name: position for position, name in enumerate(other.names)}
        missing = [table.names[column] for column in used if table.names[column] not in there]
        if missing:
            raise UserError(f"{path} has no column {', '.join(map(repr, missing[:5]))}, which {table.source} has")
        order = [there.get(name) for name in table.names]
    elif other.frame.shape[1] != table.frame.shape[1]:
        raise UserError(f"{path} has {other.frame.shape[1]} columns, {table.source} has {table.frame.shape[1]}")
    else:
        order = list(range(table.frame.shape[1]))
    empty = np.full(len(other.frame), None, object)
    columns = {new: empty if old is None else other.frame.iloc[:, old].to_numpy() for new, old in enumerate(order)}
    for new, old in enumerate(order):
        if new in used and old is not None and other.is_number(old) != table.is_number(new):
            numeric = table.source if table.is_number(new) else path
            raise UserError(f"{label(new, table.names)} holds numbers in {numeric} and words in the other file")
    both = pandas.concat([table.frame, pandas.DataFrame(columns)], ignore_index=True)
    n_own, own, others = len(table.frame), table.field, other.field

    def field(row: int, column: int) -> typing.Tuple[str, str]:
        return own(row, column) if row < n_own else others(row - n_own, int(order[column] or 0))

    return table._replace(frame=both, notices=(*table.notices, *other.notices), field=field), len(other.frame)
