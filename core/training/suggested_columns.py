"""Which columns of a table a suggested config takes as inputs, and as what: `train.py --init`."""
import re
from typing import Any, Dict, List, NamedTuple, Sequence, Union

import numpy as np

from data_loader.table_dates import about_irregular, irregular_dates, is_date, is_other_date
from data_loader.table_file import Table
from data_loader.table_header import number
from data_loader.table_roles import find_column
from data_loader.table_transform import FEW_ROWS, MOST_LEVELS
from misc.errors import UserError

ID_NAMES = re.compile(r"(.*[_ ])?(id|index|idx|key|uuid|rowid|row_id|name)", re.IGNORECASE)
MOST_DIFFERENT = 0.4  # words per row of a column that is a category (beyond 0.5 of the training rows, it is refused)
MOST_MIXED = 20  # different values of a column of numbers and words up to which they are categories
MANY_WORDS = 0.1  # share of such a column that is no number, from which it is no column of numbers with errors


class Columns(NamedTuple):
    """Positions of columns, from 0."""

    row_id: List[int]      # one, or none
    inputs: List[int]
    categories: List[int]  # inputs that are listed as such
    drop: List[int]        # columns that are listed as not used


def choose_columns(table: Table, targets: Sequence[int], given: Dict[str, Any], reasons: List[str]) -> Columns:
    """Returns which columns are used for what, and says why.

    Args:
      table: as it is read, with columns of numbers and words.
      targets: positions of the targets, from 0.
      given: what the user says, by keys of the config: categories, drop, row_id.
      reasons: gets a sentence for every choice.

    Raises UserError for a column of numbers that holds a few words.
    """
    dropped, listed, row_ids = ([find_column(table, reference, f"--set {key}") for reference in references]
                                for key, references in (("drop", given.get("drop") or []),
                                                        ("categories", given.get("categories") or []),
                                                        ("row_id", [given["row_id"]] if given.get("row_id") else [])))
    categories = listed + _mixed_categories(table, [*targets, *dropped, *row_ids, *listed], reasons)
    free = [column for column in range(table.frame.shape[1]) if column not in (*targets, *dropped, *row_ids)]
    row_ids += [column for column in free if column not in categories and _identifies(table, column)]
    constant = [column for column in free if column not in row_ids
                and table.frame.iloc[:, column].nunique(dropna=False) < 2]
    if row_ids:
        reasons.append(f"row_id: {name_of(table, row_ids[0])} names or numbers the rows")
    for columns, why in ((row_ids[1:], "name or number the rows"), (constant, "are constant")):
        if columns:
            reasons.append(f"not among the inputs: {names_of(table, columns)}, which {why}")
    inputs = [column for column in free if column not in (*row_ids, *constant)]
    inputs = _without_unusable(table, inputs, categories, reasons)
    used = [*inputs, *targets, *row_ids[:1]]
    drop = dropped + [column for column, _ in table.mixed if column not in (*used, *dropped)]  # or they are refused
    return Columns(row_ids[:1], inputs, [column for column in categories if column in inputs], drop)


def check_target(table: Table, target: int) -> None:
    """Raises UserError for a target of dates, and for one of numbers and words that are too many for classes."""
    if not table.is_number(target) and is_date(table.frame.iloc[:, target]):
        word = str(table.frame.iloc[:, target].dropna().iloc[0])
        raise UserError(f"--target: {name_of(table, target)} holds dates, such as {word!r}, which are neither numbers "
                        "nor classes: name another column, or write a number of days")
    for message in (message for column, message in table.mixed if column == target):
        known = table.frame.iloc[:, target].dropna()
        if known.nunique() > min(MOST_MIXED, MOST_DIFFERENT * len(known)):
            raise UserError(message)


def _mixed_categories(table: Table, others: Sequence[int], reasons: List[str]) -> List[int]:
    """Returns the columns of numbers and words that hold few different values.

    Raises UserError for those that hold many, of which few are words.
    """
    found = []
    for column, message in table.mixed:
        known = table.frame.iloc[:, column].dropna()
        is_word = np.array([number(word) is None and number(word, ",") is None for word in known])
        if column in others:
            continue
        if known.nunique() <= min(MOST_MIXED, MOST_DIFFERENT * max(len(known), FEW_ROWS)):
            found.append(column)
            first = known.iloc[int(np.flatnonzero(is_word)[0])]
            reasons.append(f"categories: {name_of(table, column)} holds words such as {first!r} among numbers, and "
                           f"{known.nunique()} different values in all"
                           + ("; list a word in missing_marks if it stands for a missing value"
                              if is_word.mean() < MANY_WORDS else ""))
        elif is_word.mean() < MANY_WORDS:
            raise UserError(message)
    return found


def _without_unusable(table: Table, inputs: List[int], categories: Sequence[int], reasons: List[str]) -> List[int]:
    """Returns the inputs without those that would be refused, and says why."""
    dates, words, irregular, others = [], [], [], []
    for column in inputs:
        values = table.frame.iloc[:, column]
        known = values.dropna()
        if table.is_number(column) or column in categories:
            continue
        rows = irregular_dates(values)
        if is_date(values):
            if len(known) < len(values):
                dates.append(column)
        elif rows is not None:
            irregular.append(column)
            lines = [f" ({table.line(row).replace(table.source, '').strip()})" for row in rows]
            reasons.append(f"not among the inputs: {name_of(table, column)}, which "
                           f"{about_irregular(*(str(values.iloc[row]) for row in rows), lines=lines)} to use them")
        elif known.nunique() == len(known) > 1 and is_other_date(known):
            others.append(column)
        elif known.nunique() > min(MOST_LEVELS, MOST_DIFFERENT * max(len(known), FEW_ROWS)):
            words.append(column)
    for columns, why in ((dates, "are dates and sometimes missing"), (words, "hold too many different words"),
                         (others, "look like dates or times, of a kind that is not read: write them as 2020-01-31 or "
                                  "2020-01-31 12:30 to use them")):
        if columns:
            reasons.append(f"not among the inputs: {names_of(table, columns)}, which {why}")
    return [column for column in inputs if column not in (*dates, *words, *irregular, *others)]


def _identifies(table: Table, column: int) -> bool:
    """Tells whether a column numbers or names the rows: all different, and counted, called an id, or words."""
    values = table.frame.iloc[:, column].dropna()
    if len(values) < 2 or values.nunique() < len(values):
        return False
    if not table.is_number(column):
        return not is_date(values) and irregular_dates(values) is None and not is_other_date(values)
    numbers = values.to_numpy()
    is_whole = bool((numbers % 1 == 0).all())
    called = table.names is not None and ID_NAMES.fullmatch(table.names[column]) is not None
    return is_whole and (called or bool((np.abs(np.diff(numbers)) == 1).all()))


def reference_to(table: Table, column: int) -> Union[str, int]:
    """Returns what a config calls a column."""
    return column + 1 if table.names is None else table.names[column]


def name_of(table: Table, column: int) -> str:
    """Returns what a reason calls a column."""
    return f"column {column + 1}" if table.names is None else repr(table.names[column])


def names_of(table: Table, columns: Sequence[int]) -> str:
    """Returns what a reason calls these columns."""
    return ", ".join(name_of(table, column) for column in columns)
