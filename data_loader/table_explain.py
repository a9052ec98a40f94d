"""A line about every column of a table, for --explain."""
import typing

from data_loader.table_cells import label
from data_loader.table_transform import CATEGORY, DATE, NUMBER, Column
from data_loader.tables import SplitTable

MOST_LEVELS = 8  # categories that a line names


def about_columns(loaded: SplitTable) -> typing.Iterator[str]:
    """Yields for each column of the file: what it is used for, its kind, range or categories, and the share of missing
    values. Ranges and shares are those of all rows.
    """
    whole, roles = loaded.whole, loaded.roles
    columns = dict(zip(roles.inputs, loaded.transform.columns))
    others = {roles.row_id: "row_id", roles.group: "group", roles.split_column: "split_column"}
    for position in range(whole.frame.shape[1]):
        values = whole.frame.iloc[:, position]
        if position in columns:
            about = f"input, {_about_input(columns[position], values)}"
        elif position in roles.targets:
            about = f"the target, {_about_target(values)}"
        else:
            about = others.get(position, "not used")
        gone = float(values.isna().mean())
        yield f"{label(position, whole.names)}: {about}" + (f", {gone:.1%} missing" if gone else "")


def _about_input(column: Column, values: typing.Any) -> str:
    return f"{column.kind}, {_ABOUT[column.kind](column, values)}"


def _about_target(values: typing.Any) -> str:
    if values.dtype.kind == "f":
        return f"{NUMBER}, {_range(values)}"
    return f"{CATEGORY}, {_some(sorted(map(str, values.dropna().unique())))}"


def _range(values: typing.Any) -> str:
    return f"{values.min():.6g} to {values.max():.6g}"


def _some(levels: typing.Sequence[str]) -> str:
    more = f" and {len(levels) - MOST_LEVELS} more" if len(levels) > MOST_LEVELS else ""
    words = [word if word.isprintable() else repr(word) for word in levels[:MOST_LEVELS]]
    return f"{len(levels)} categor{'y' if len(levels) == 1 else 'ies'} ({', '.join(words)}{more})"


_ABOUT: typing.Dict[str, typing.Callable[[Column, typing.Any], str]] = {
    NUMBER: lambda column, values: _range(values),
    CATEGORY: lambda column, values: _some(column.levels),
    DATE: lambda column, values: ", ".join(column.parts),
}
