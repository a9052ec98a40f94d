"""Rows of other tables than a run was trained on, in the columns and the standardisation of the run."""
import typing

import numpy as np

from data_loader.column_order import readings
from data_loader.table_cells import BadCell, about_missing
from data_loader.table_data import MOST_NAMED, TableData
from data_loader.table_file import Table
from data_loader.table_labels import with_words
from data_loader.table_transform import CATEGORY, NUMBER, Column, Place, TableTransform
from misc.errors import UserError

if typing.TYPE_CHECKING:
    import pandas

ROUNDING = 1e-9  # relative difference from a constant that needs no mention
NO_REPLACEMENT = "the run has no replacement for it"
MAX_DISTANCE = 1e12  # in standard deviations: well below 1e19, where squares overflow in float32



class Header(typing.NamedTuple):
    """What is known of a table before its fields are read."""

    names: typing.Optional[typing.Sequence[str]]  # of the columns; None if the table does not name them
    width: int                                    # number of columns
    source: str                                   # what messages call the table
    is_commented: bool = False                    # whether the names are the words of a comment


class Expected(typing.NamedTuple):
    """Positions, from 0, of columns."""

    used: typing.FrozenSet[int]
    words: typing.FrozenSet[int]  # of those, whose fields are words even where they could be numbers
    numbers: typing.FrozenSet[int] = frozenset()  # of those, whose fields are never true and false for 1 and 0


class Matched(typing.NamedTuple):
    """Where the columns of a run stand in another table: positions from 0."""

    inputs: typing.List[int]
    targets: typing.Optional[typing.List[int]]  # None if the table lacks one of them
    row_id: typing.Optional[int]


class OtherRows(typing.NamedTuple):
    """The columns of another table that a run uses."""

    table: Table                                    # the whole table
    inputs: typing.List[int]                        # positions in it of the transform's columns
    targets: typing.Optional[typing.List[int]]      # positions of the targets; None if the table lacks one of them
    row_id: typing.Optional[int]
    notices: typing.Tuple[str, ...]

    @property
    def target(self) -> typing.Optional[int]:
        """Position of a single target; None if the table has none."""
        return None if self.targets is None else self.targets[0]

    @property
    def frame(self) -> "pandas.DataFrame":
        """The input columns."""
        return self.table.frame.iloc[:, self.inputs]

    @property
    def ids(self) -> np.ndarray:
        """What predictions call the rows: the values of row_id, or their numbers from 1."""
        if self.row_id is None:
            return np.arange(1, len(self.table.frame) + 1)
        column = self.table.frame.iloc[:, self.row_id]
        return np.array(["" if gone else str(value) for value, gone in zip(column, column.isna())], object)


def word_columns(data: TableData) -> typing.List[typing.Union[str, int]]:
    """Returns the columns that hold words in the run's table, for `read_table`: also a target that is a class."""
    transform = data.transform
    places = [Place(column.name, column.number) for column in transform.columns if column.kind != NUMBER]
    if transform.row_id is not None:
        places.append(transform.row_id)
    if data.classes is not None:
        places.append(transform.target)
    return [place.number if place.name is None else place.name for place in places]


def match_columns(table: Table, data: TableData, needs_target: bool) -> OtherRows:
    """Finds the columns of the run in another table: by their names, or by their order if only one table has names.

    Args:
      needs_target: whether a table without the target is refused.

    Raises a UserError that lists what is missing, and for a column of words where the run's table has numbers.
    """
    header = Header(table.names, table.frame.shape[1], table.source, table.is_commented)
    notices = [*table.notices, *_about_match(header, data, needs_target)]
    matched = _match(header, data, needs_target)
    if _is_by_name(header, data, needs_target):
        names = table.names or ()
        known = [names.index(place.name) for place in data.transform.targets if place.name in names]
        used = [*matched.inputs, *known, matched.row_id]
        unused = [name for position, name in enumerate(table.names or ()) if position not in used]
        if unused:
            notices.append(f"note: {table.source}: columns that the run does not know are not used: "
                           f"{', '.join(map(repr, unused[:MOST_NAMED]))}{', ...' if len(unused) > MOST_NAMED else ''}")
        targets = zip((place.number for place in data.transform.targets), matched.targets or ())
        pairs = sorted([*zip((column.number for column in data.transform.columns), matched.inputs), *targets])
        if [here for _, here in pairs] != sorted(here for _, here in pairs):
            notices.append("note: columns are matched by their names: their order is not that of the run's table")
    table = with_words(table, [position for position, column in zip(matched.inputs, data.transform.columns)
                               if column.kind == CATEGORY])
    for position, column in zip(matched.inputs, data.transform.columns):
        _check_kind(table, position, column)
    return OtherRows(table, matched.inputs, matched.targets, matched.row_id, tuple(notices))


def expected_columns(header: Header, data: TableData) -> Expected:
    """Returns which columns of a table, whose rows are to be predicted, the run uses, and which hold words.

    Raises a UserError that lists what is missing.
    """
    matched = _match(header, data, needs_target=False)
    words = {position for position, column in zip(matched.inputs, data.transform.columns) if column.kind != NUMBER}
    identifies = set() if matched.row_id is None else {matched.row_id}
    numbers = {position for position, column in zip(matched.inputs, data.transform.columns)
               if column.kind == NUMBER and not _may_be_truth(data, column)}
    return Expected(frozenset({*matched.inputs, *identifies}), frozenset(words | identifies), frozenset(numbers))


def _may_be_truth(data: TableData, column: Column) -> bool:
    """Tells whether the training rows of a column of numbers may have held true and false, which are 1 and 0."""
    if data.input_range is None:
        return True
    low, high = data.input_range[:, data.transform.names.index(column.inputs[0])]
    return bool(low >= 0.0 and high <= 1.0)


def _match(header: Header, data: TableData, needs_target: bool) -> Matched:
    return (_by_name if _is_by_name(header, data, needs_target) else _by_order)(header, data, needs_target)


def _is_by_name(header: Header, data: TableData, needs_target: bool) -> bool:
    if header.names is None or data.transform.target.name is None:
        return False
    return not ((header.is_commented or data.is_commented) and _missing(header, data.transform, needs_target))


def _about_match(header: Header, data: TableData, needs_target: bool) -> typing.Iterator[str]:
    """Yields a notice if columns are matched by their order although one of the tables names them."""
    if _is_by_name(header, data, needs_target):
        return
    if header.names is not None and data.transform.target.name is not None:
        yield ("note: columns are matched by their order, because the words of a comment in "
               f"{header.source if header.is_commented else data.source} are not the names of the other table")
    elif (header.names is None) != (data.transform.target.name is None):
        nameless = header.source if header.names is None else "the run's table"
        yield f"note: columns are matched by their order, because {nameless} does not name them"
    yield from _about_order(header, data, needs_target)


def encode_as(data: TableData, rows: OtherRows) -> typing.Tuple[np.ndarray, typing.List[str]]:
    """Returns (inputs [n, d], standardised as the training rows were; notices).

    Inputs that are constant over the training rows become 0. Raises a UserError for missing values that the run's
    config refuses, and for values too far from the training rows.
    """
    _refuse_missing(data.transform, rows)
    values, notices = _encoded(data, rows)
    with np.errstate(all="ignore"):
        x = np.where(data.constant, 0.0, (values - data.input_mean) / data.input_std)
    if len(x) and not np.abs(x).max() <= MAX_DISTANCE:
        row, column = (int(index) for index in np.argwhere(~(np.abs(x) <= MAX_DISTANCE))[0])
        made_of = [position for position, of in zip(rows.inputs, data.transform.columns) for _ in of.inputs][column]
        raise UserError(f"{rows.table.field(row, made_of)[0]}: {data.transform.label(column)} is more than "
                        f"{MAX_DISTANCE:g} standard deviations of the training rows away from their mean")
    distance = np.abs(values - data.input_mean)
    other = data.constant & (distance > ROUNDING * np.abs(data.input_mean)).any(axis=0)
    if other.any():
        named = [data.transform.label(int(column)) for column in np.flatnonzero(other)[:MOST_NAMED]]
        notices.append(f"note: constant over the training rows, so other values here are not used: {', '.join(named)}")
    return x, notices


def _encoded(data: TableData, rows: OtherRows) -> typing.Tuple[np.ndarray, typing.List[str]]:
    """Returns what the transform makes of the rows. Raises a UserError that names the place of a bad date."""
    try:
        return data.transform.encode(rows.frame)
    except BadCell as bad:
        raise UserError(f"{rows.table.line(bad.row)}: {bad}") from None


def targets_of(data: TableData, rows: OtherRows) -> np.ndarray:
    """Returns the targets, [n] or [n, m] of several, in their own units.

    Raises a UserError for words and for missing values.
    """
    assert rows.targets is not None, "the table has no target"
    columns = []
    for position, place in zip(rows.targets, data.transform.targets):
        if not rows.table.is_number(position):
            raise UserError(f"{rows.table.source}: the target, {place.label}, holds words")
        columns.append(rows.table.frame.iloc[:, position].to_numpy(np.float64))
        gone = np.flatnonzero(np.isnan(columns[-1]))
        if len(gone):
            where, word = rows.table.field(int(gone[0]), position)
            raise UserError(f"{where}: {about_missing(word, 'a target is not replaced')}")
    return columns[0] if len(columns) == 1 else np.column_stack(columns)


def _wanted(transform: TableTransform, needs_target: bool) -> typing.List[str]:
    targets = transform.targets if needs_target else ()
    names = [column.name for column in transform.columns] + [place.name for place in targets]
    return [str(name) for name in names]


def _missing(header: Header, transform: TableTransform, needs_target: bool) -> typing.List[str]:
    return [name for name in _wanted(transform, needs_target) if name not in (header.names or ())]


def _by_name(header: Header, data: TableData, needs_target: bool) -> Matched:
    transform, names = data.transform, list(header.names or ())
    missing = _missing(header, transform, needs_target)
    if missing:
        wanted = [*_wanted(transform, True), *([] if transform.row_id is None else [transform.row_id.name])]
        further = [name for name in names if name not in wanted]
        has = f" and has the further {', '.join(map(repr, further[:5]))}" if further else ""
        raise UserError(f"{header.source} misses {', '.join(map(repr, missing[:5]))}{has}: its columns must be those "
                        f"of the run's table ({data.source})")

    def find(place: typing.Optional[Place]) -> typing.Optional[int]:
        return names.index(place.name) if place is not None and place.name in names else None

    inputs = [names.index(str(column.name)) for column in transform.columns]
    targets = [names.index(str(place.name)) for place in transform.targets if place.name in names]
    return Matched(inputs, targets if len(targets) == len(transform.targets) else None, find(transform.row_id))


def _by_order(header: Header, data: TableData, needs_target: bool) -> Matched:
    """Matches columns by their order in the run's table: by the first of `_readings` that fits."""
    transform, width = data.transform, header.width
    found = [matched for columns, matched in readings(transform, needs_target) if len(columns) == width]
    if not found:
        n_inputs, n_targets = len(transform.columns), len(transform.targets)
        what = "a target" if n_targets == 1 else f"{n_targets} targets"
        raise UserError(f"{header.source} has {width} columns, but the network takes {n_inputs} inputs and {what}")
    inputs, targets, row_id = found[0]
    return Matched(list(inputs), None if targets is None else list(targets), row_id)


def _about_order(header: Header, data: TableData, needs_target: bool) -> typing.Iterator[str]:
    """Yields a notice if the columns could be matched by their order in more than one way."""
    found = {matched: columns for columns, matched in reversed(list(readings(data.transform, needs_target)))
             if len(columns) == header.width}
    if len(found) > 1:
        columns = list(found.values())[-1]  # of the first reading
        transform = data.transform
        places: typing.List[typing.Any] = [*transform.columns, *transform.targets]
        names = {place.number: place.text for place in [*places, *([transform.row_id] if transform.row_id else [])]}
        named = [names.get(number, f"column {number}") for number in columns]
        yield (f"note: {header.source} has no names: its columns are taken for {', '.join(named[:MOST_NAMED])}"
               f"{', ...' if len(named) > MOST_NAMED else ''} of the run's table")


def _check_kind(table: Table, position: int, column: Column) -> None:
    if table.is_number(position) == (column.kind == NUMBER) or table.frame.iloc[:, position].isna().all():
        return
    example = table.frame.iloc[:, position].dropna().iloc[0]
    kinds = ("numbers", "words such as " + repr(example)) if column.kind == NUMBER else ("words", "numbers")
    where, _ = table.field(0, position)
    raise UserError(f"{where}: {column.label} holds {kinds[0]} in the run's table, but {kinds[1]} here: write "
                    f"{kinds[0]}")


def _refuse_missing(transform: TableTransform, rows: OtherRows) -> None:
    """Raises a UserError for the first missing value that the run's transform has no number for."""
    refused = [position for position, column in zip(rows.inputs, transform.columns)
               if transform.missing == "refuse" or (column.kind not in (NUMBER, CATEGORY))]
    gone = rows.table.frame.iloc[:, refused].isna().to_numpy()
    if gone.any():
        row, column = (int(index) for index in np.argwhere(gone)[0])
        where, word = rows.table.field(row, refused[column])
        raise UserError(f"{where}: {about_missing(word, NO_REPLACEMENT)}")
