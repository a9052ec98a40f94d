"""From the columns of a table to the numbers that a network takes: filled, one-hot, in an order that is kept.

What is learned from the training rows is a `TableTransform`, which a run stores, so that rows of any other table with
these columns are encoded in the same way.
"""
import typing

import numpy as np

from data_loader.parts import ROW
from data_loader.table_cells import BadCell
from data_loader.table_dates import (
    DATE_PARTS,
    about_irregular,
    date_parts,
    find_day_first,
    irregular_dates,
    is_date,
)
from misc.errors import UserError

if typing.TYPE_CHECKING:
    import pandas

NUMBER, CATEGORY, DATE = "number", "category", "date"
FILLS: typing.Dict[str, typing.Callable] = {"mean": np.nanmean, "median": np.nanmedian, "indicator": np.nanmean}
MOST_LEVELS = 1000
FEW_ROWS = 20  # below, a column of words that are all different is not refused


class Column(typing.NamedTuple):
    """An input column of a table."""

    name: typing.Optional[str]                   # None if the table does not name its columns
    number: int                                  # in the training table, from 1
    kind: str                                    # NUMBER, CATEGORY or DATE
    fill: typing.Optional[float] = None          # of a number: what replaces a missing value; None: they are refused
    has_indicator: bool = False                  # whether a further input says which values were missing
    levels: typing.Tuple[str, ...] = ()          # of a category, sorted: each is an input, 1 where the field has it
    parts: typing.Tuple[str, ...] = ()           # of a date: the inputs that are made of it, keys of DATE_PARTS
    day_first: typing.Optional[bool] = None      # of a date: whether 01/02/2020 is in February; None: unknown

    @property
    def text(self) -> str:
        """How tables and figures call the column."""
        return f"column {self.number}" if self.name is None else self.name

    @property
    def label(self) -> str:
        """How messages call the column."""
        return f"column {self.number}" if self.name is None else f"column {self.number} ('{self.name}')"

    @property
    def inputs(self) -> typing.List[str]:
        """Names of the inputs that are made of the column."""
        named = {NUMBER: [self.text], CATEGORY: [f"{self.text}={level}" for level in self.levels],
                 DATE: [f"{self.text} {part}" for part in self.parts]}[self.kind]
        return named + [f"{self.text} is missing"] * self.has_indicator


class Place(typing.NamedTuple):
    """Where a column that is no input stands in the training table."""

    name: typing.Optional[str]  # None if the table does not name its columns
    number: int                 # from 1

    @property
    def text(self) -> str:
        """How files of predictions call the column."""
        return f"column {self.number}" if self.name is None else self.name

    @property
    def label(self) -> str:
        """How messages call the column."""
        return f"column {self.number}" if self.name is None else f"column {self.number} ('{self.name}')"


class TableTransform(typing.NamedTuple):
    """How the input columns of a table become inputs of the network, before these are standardised."""

    columns: typing.Tuple[Column, ...]
    missing: str                     # as config's key: what happens to missing values
    target: Place
    row_id: typing.Optional[Place]   # the column that names the rows
    n_columns: int                   # of the training table, with those that are not used
    further: typing.Tuple[Place, ...] = ()  # further targets of a regression

    @property
    def targets(self) -> typing.Tuple[Place, ...]:
        """All targets."""
        return (self.target, *self.further)

    @property
    def names(self) -> typing.List[str]:
        """A name for each input of the network."""
        return [name for column in self.columns for name in column.inputs]

    @property
    def id_name(self) -> str:
        """How files of predictions call what identifies the rows: the column row_id, or else their numbers."""
        return ROW if self.row_id is None else self.row_id.text

    @property
    def is_encoding(self) -> bool:
        """Whether some column is more, or other, than the number that it holds."""
        return any(column.kind != NUMBER or column.has_indicator for column in self.columns)

    def label(self, position: int) -> str:
        """Returns how messages call an input, by its position from 0."""
        made_of = [column for column in self.columns for _ in column.inputs][position]
        name = self.names[position]
        return made_of.label if made_of.kind == NUMBER and len(made_of.inputs) == 1 else f"{made_of.label} as {name!r}"

    @property
    def scaled(self) -> np.ndarray:
        """Tells which inputs are to be standardised, bool [d]: numbers and parts of dates; the others are 0 or 1."""
        return np.array([flag for column in self.columns for flag in _scaled(column)], bool)

    def encode(self, frame: "pandas.DataFrame") -> typing.Tuple[np.ndarray, typing.List[str]]:
        """Returns (inputs, float64 [n, d], before they are standardised; notices about what is encoded as unknown).

        Args:
          frame: the columns of `self.columns`, in their order: float64, or words.

        Missing values must have been refused before, unless `missing` says how to replace them.
        """
        blocks, notices = [], []
        for position, column in enumerate(self.columns):
            block, notice = _ENCODERS[column.kind](column, frame.iloc[:, position])
            blocks.append(block)
            notices += notice
        return np.concatenate(blocks, axis=1) if blocks else np.zeros((len(frame), 0)), notices


def fit_columns(frame: "pandas.DataFrame", rows: np.ndarray, names: typing.Optional[typing.Sequence[str]],
                numbers: typing.Sequence[int], missing: str, dates: str,
                categories: typing.Container[typing.Union[str, int]]) -> typing.Tuple[Column, ...]:
    """Learns from the training rows how the input columns are encoded.

    Args:
      frame: the input columns, all rows.
      rows: numbers of the training rows.
      names, numbers: of the columns; numbers are those in the table, from 1.
      missing, dates: as the keys of the config.
      categories: columns that the config lists as such.

    Raises a UserError for dates under `dates` refuse, for columns of words that are all different, and for columns
    without any value.
    """
    columns = []
    for position, number in enumerate(numbers):
        name = names[position] if names else None
        words = frame.iloc[:, position]
        column = Column(name, number, NUMBER)
        if words.dtype.kind == "f":
            columns.append(_fit_number(column, words.to_numpy(), rows, missing))
        elif number not in categories and name not in categories and is_date(words):
            columns.append(_fit_date(column._replace(kind=DATE), words, dates, missing))
        else:
            is_listed = number in categories or name in categories
            if not is_listed:
                _refuse_irregular_dates(column, words)
            columns.append(_fit_category(column._replace(kind=CATEGORY), words, rows, missing, is_listed))
    return tuple(columns)


def _fit_number(column: Column, values: np.ndarray, rows: np.ndarray, missing: str) -> Column:
    gone = np.isnan(values)
    if missing == "refuse":
        return column
    if gone[rows].all():
        raise UserError(f"{column.label} has no value in any training row: list it in drop")
    if missing == "indicator" and not gone[rows].any():
        return column._replace(fill=float(FILLS[missing](values[rows])))
    return column._replace(fill=float(FILLS[missing](values[rows])), has_indicator=missing == "indicator")


def _fit_category(column: Column, words: "pandas.Series", rows: np.ndarray, missing: str, is_listed: bool) -> Column:
    known = words.iloc[rows].dropna()
    levels = tuple(sorted(map(str, known.unique())))
    if not levels:
        raise UserError(f"{column.label} has no value in any training row: list it in drop")
    n_known = len(known)
    if len(levels) > MOST_LEVELS or (not is_listed and n_known >= FEW_ROWS and len(levels) > n_known / 2):
        raise UserError(f"{column.label} holds {len(levels)} different words in {n_known} training rows, such as "
                        f"{levels[0]!r}: make it the row_id, list it in drop, or in categories if it is one (at most "
                        f"{MOST_LEVELS})")
    gone = bool(words.iloc[rows].isna().any())
    return column._replace(levels=levels, has_indicator=missing == "indicator" and gone)


def _refuse_irregular_dates(column: Column, words: "pandas.Series") -> None:
    rows = irregular_dates(words)
    if rows is not None:
        about = about_irregular(*(str(words.iloc[row]) for row in rows))
        raise BadCell(f"{column.label} {about}, or list it in drop, or in categories", rows[1])


def _fit_date(column: Column, words: "pandas.Series", dates: str, missing: str) -> Column:
    example = words.dropna().iloc[0]
    if dates == "refuse":
        raise UserError(f"{column.label} holds dates, such as {example!r}: set dates to expand, which makes year, "
                        "month, day and weekday of it, or list it in drop, or in categories (protocol ordered tests "
                        "on the last rows)")
    if words.isna().any():
        raise UserError(f"{column.label} holds dates, and some are missing: remove these rows, or list it in drop")
    day_first = find_day_first(words, column.label)
    parts = date_parts(words, column.label, day_first)
    varying = tuple(name for name in DATE_PARTS if len(np.unique(parts[name])) > 1)
    return column._replace(parts=varying or ("year",), day_first=day_first)


def _scaled(column: Column) -> typing.List[bool]:
    n_levels = len(column.inputs) - column.has_indicator
    return [column.kind != CATEGORY] * n_levels + [False] * column.has_indicator


def _encode_number(column: Column, values: "pandas.Series") -> typing.Tuple[np.ndarray, typing.List[str]]:
    numbers = values.to_numpy(np.float64)
    gone = np.isnan(numbers)
    filled = np.where(gone, column.fill, numbers) if gone.any() else numbers
    return np.column_stack([filled, gone] if column.has_indicator else [filled]), []


def _encode_category(column: Column, values: "pandas.Series") -> typing.Tuple[np.ndarray, typing.List[str]]:
    import pandas

    words = values.to_numpy(object)
    gone = pandas.isna(words)
    codes = np.asarray(pandas.Categorical(words, categories=list(column.levels)).codes)
    block = codes[:, None] == np.arange(len(column.levels))
    unknown = sorted({str(word) for word in words[(codes < 0) & ~gone]})
    notices = []
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        notices = [f"note: {column.label}: {', '.join(map(repr, unknown[:5]))}{more} did not occur in the training "
                   "rows: encoded as none of their categories"]
    return np.column_stack([block, gone] if column.has_indicator else [block]).astype(np.float64), notices


def _encode_date(column: Column, values: "pandas.Series") -> typing.Tuple[np.ndarray, typing.List[str]]:
    parts = date_parts(values, column.label, column.day_first)
    return np.column_stack([parts[name] for name in column.parts]).astype(np.float64), []


_ENCODERS = {NUMBER: _encode_number, CATEGORY: _encode_category, DATE: _encode_date}
