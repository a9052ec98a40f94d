"""Which column of a table is the target, and which are inputs."""
import typing

from data_loader.table_cells import label
from data_loader.table_file import Table
from misc.config import Config
from misc.errors import UserError
from misc.lookup import did_you_mean

Reference = typing.Union[str, int]  # a column: its name, or its number from 1
ROLE_KEYS = ("target", "inputs", "drop", "row_id", "group", "split_column")


class Roles(typing.NamedTuple):
    """Positions of columns, from 0."""

    targets: typing.Tuple[int, ...]            # several in a regression of several targets
    inputs: typing.Tuple[int, ...]
    row_id: typing.Optional[int] = None
    group: typing.Optional[int] = None         # rows with the same value stand on one side of a split
    split_column: typing.Optional[int] = None  # says of every row whether it trains or tests


def find_roles(table: Table, config: Config) -> Roles:
    """Finds the columns by the keys of the config. Without `target` it is the last column that has no other role.

    Inputs are all columns without a role, unless `inputs` lists them. Raises a UserError for a column that does not
    exist or has two roles.
    """
    width = table.frame.shape[1]
    given = {"row_id": config.row_id, "group": config.group, "split_column": config.split_column}
    targets = [find_column(table, reference, "target") for reference in config.targets]
    single = {key: find_column(table, reference, key) for key, reference in given.items() if reference is not None}
    dropped = [find_column(table, reference, "drop") for reference in config.drop or []]
    taken: typing.Dict[int, str] = {}
    for key, column in [*(("target", column) for column in targets), *single.items(),
                        *(("drop", column) for column in dropped)]:
        if column in taken and {key, taken[column]} != {"group", "row_id"}:
            raise UserError(f"{table.source}: {label(column, table.names)} cannot be {taken[column]} and {key}, too")
        taken[column] = key
    free = [column for column in range(width) if column not in taken]
    if not targets:
        if not free:
            raise UserError(f"{table.source}: no column is left for the target")
        targets = [free.pop()]
    if config.inputs is not None:
        listed = [find_column(table, reference, "inputs") for reference in config.inputs]
        for column in listed:
            if column in targets or column in taken:
                raise UserError(f"{table.source}: {label(column, table.names)} cannot be an input and "
                                f"{taken.get(column, 'target')}, too")
        free = sorted(set(listed))
    if not free:
        raise UserError(f"{table.source}: there is one column only; inputs and, in the last column, a target are needed"
                        if width == 1 else f"{table.source}: no column is left as an input beside the target")
    for reference in config.categories or []:
        column = find_column(table, reference, "categories")
        if column not in free:
            raise UserError(f"{table.source}: {label(column, table.names)} is listed in categories, but is no input")
    return Roles(tuple(targets), tuple(free), single.get("row_id"), single.get("group"), single.get("split_column"))


def find_column(table: Table, reference: Reference, key: str) -> int:
    """Returns the position, from 0, of a column that a key names or numbers from 1."""
    width = table.frame.shape[1]
    if isinstance(reference, int):
        if not 1 <= reference <= width:
            raise UserError(f"{key} {reference}: {table.source} has the columns 1 to {width}")
        return reference - 1
    if table.names is None:
        raise UserError(f"{key} {reference!r}: {table.source} does not name its columns: give a number from 1 to "
                        f"{width}")
    if reference not in table.names:
        raise UserError(f"{key} {reference!r}: {table.source} has no such column"
                        f"{did_you_mean(reference, table.names)}; it has {', '.join(table.names[:20])}"
                        + (", ..." if width > 20 else ""))
    return table.names.index(reference)
