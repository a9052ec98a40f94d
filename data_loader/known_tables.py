"""Finds and checks the target of the known tables: files of them come with their columns in several orders."""
import re
import typing

import numpy as np

from data_loader import Dataset
from data_loader.table_cells import label
from data_loader.table_file import Table
from misc.errors import UserError

TARGET_NAMES = ("target", "y", "label", "response", "output", "outcome")  # what people call the target
SLACK = 0.1  # of the range of a target: what rounding or another edition of a set may change


def put_target_last(table: Table, known: typing.Optional[Dataset]) -> Table:
    """Moves the target of a known set to the end if the header names it elsewhere, and adds a notice.

    Of an own table (`known` is None) the last column stays the target; a notice says if another one has its name. The
    words of a comment, which may be any sentence, move nothing.
    """
    if table.names is None or table.is_commented:
        return table
    names, last = [_simplified(name) for name in table.names], len(table.names) - 1
    wanted = known.target_names if known else TARGET_NAMES
    found = [column for column, name in enumerate(names) if name in wanted]
    if len(found) != 1 or found == [last]:
        return table
    if known is None:
        notice = (f"note: the last column ('{table.names[last]}') is the target, although column {found[0] + 1} is "
                  f"called '{table.names[found[0]]}': put the target last if that is it")
        return table._replace(notices=(*table.notices, notice))
    order = [column for column in range(last + 1) if column != found[0]] + found
    notice = f"note: {label(found[0], table.names)} is the target, as its name says, and not the last one"
    field = table.field
    return table._replace(frame=table.frame.iloc[:, order].set_axis(range(last + 1), axis=1), field=lambda row, column:
                          field(row, order[column]), names=tuple(table.names[column] for column in order),
                          notices=(*table.notices, notice), codes=())


def check_known(table: Table, name: str, known: typing.Optional[Dataset]) -> None:
    """Raises a UserError unless the last column has the range of the known set's target."""
    if known is None or known.target_range is None or not table.is_number(table.frame.shape[1] - 1):
        return
    low, high = known.target_range
    target = table.frame.iloc[:, -1].to_numpy()
    slack = SLACK * (high - low)
    if np.abs(target.min() - low) > slack or np.abs(target.max() - high) > slack:
        raise UserError(f"{table.source}: the last column goes from {target.min():g} to {target.max():g}, but the "
                        f"target of {name}, {known.target}, from {low:g} to {high:g}: put the target last (or give "
                        "rows of your own another name)")


def _simplified(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
