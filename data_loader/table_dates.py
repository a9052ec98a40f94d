"""Columns of dates: how they are told from other words, and the numbers that are made of them."""
import re
import typing
import warnings

import numpy as np

from data_loader.table_cells import BadCell

if typing.TYPE_CHECKING:
    import pandas

PATTERNS = tuple(re.compile(pattern) for pattern in (
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([T ]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?)?(Z|[+-]\d{2}:?\d{2})?",  # 2020-01-31, ISO
    r"\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})( \d{1,2}:\d{2}(:\d{2})?)?",                          # 31/01/2020
    r"\d{1,2}[- ][A-Za-z]{3,9}\.?[- ]\d{2,4}|[A-Za-z]{3,9}\.? \d{1,2}, \d{4}"))                  # 31 Jan 2020
OTHER = re.compile(r"(\d{1,4}[-/.]\d{1,2}([-/.]\d{1,4})?[T ])?\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?( ?[AaPp]\.?[Mm]\.?)?"
                   r"|\d{4}[-/.]\d{1,2}|\d{1,2}[-/.]\d{4}|[A-Za-z]{3,9}\.?[- ]'?\d{2,4}|\d{4}[- ]?[QqWw]\d{1,2}"
                   r"|[QqWw]\d{1,2}[-/ ]\d{4}")  # 12:30, 01/31/2020 1:30 PM, 2020-01, Jan 2020, 2020Q1

# Names of the inputs that a date becomes, and how pandas calls them.
DATE_PARTS: typing.Dict[str, str] = {
    "year": "year", "month": "month", "day": "day", "weekday": "dayofweek", "hour": "hour", "minute": "minute"}
MOSTLY_DATES = 0.8  # share of words that look like dates from which a column is taken for one of dates
LOOKED_AT = 1000  # words by which a column of dates is told


def is_date(words: "pandas.Series") -> bool:
    """Tells whether all of the first words of a column look like dates of one kind."""
    known = [str(word) for word in words.dropna().iloc[:LOOKED_AT]]
    return bool(known) and any(all(pattern.fullmatch(word) for word in known) for pattern in PATTERNS)


def is_other_date(words: "pandas.Series") -> bool:
    """Tells whether all of the first words of a column look like dates or times of a kind that is not read."""
    known = [str(word) for word in words.dropna().iloc[:LOOKED_AT]]
    return bool(known) and all(OTHER.fullmatch(word) for word in known)


def irregular_dates(words: "pandas.Series") -> typing.Optional[typing.Tuple[int, int]]:
    """Tells of a column that is not one of dates whether most of its words are dates, written in different ways.

    Returns the rows, from 0, of the first date and of the first word that is written otherwise; None: it is no such
    column.
    """
    known = words.dropna().iloc[:LOOKED_AT]
    kinds = [next((number for number, pattern in enumerate(PATTERNS) if pattern.fullmatch(str(word))), -1)
             for word in known]
    n_dates = len(kinds) - kinds.count(-1)
    if not n_dates or len(set(kinds)) == 1 or n_dates < MOSTLY_DATES * len(kinds):
        return None
    first = next(place for place, kind in enumerate(kinds) if kind >= 0)
    other = next(place for place, kind in enumerate(kinds) if kind != kinds[first])
    rows = np.flatnonzero(words.notna().to_numpy())
    return int(rows[first]), int(rows[other])


def about_irregular(first: str, other: str, lines: typing.Sequence[str] = ("", "")) -> str:
    """Returns what is said of a column of dates that holds these two words, and what would be right.

    lines: where they stand, such as " (line 2)".
    """
    both_dates = all(any(pattern.fullmatch(word) for pattern in PATTERNS) for word in (first, other))
    what = "holds dates in two formats" if both_dates else "holds dates and other words"
    return f"{what}, such as {first!r}{lines[0]} and {other!r}{lines[1]}: write all of them as 2020-01-31"


def date_parts(words: "pandas.Series", label: str,
               day_first: typing.Optional[bool]) -> typing.Dict[str, np.ndarray]:
    """Returns {name of DATE_PARTS: float64 [n]}.

    Args:
      day_first: whether 01/02/2020 is the first of February; None: that is not known.

    Raises BadCell for what is no date, for one in the other order of day and month, and for one of unknown order.
    """
    import pandas

    texts = [str(word) for word in words]
    mixed = {"format": "mixed"} if int(pandas.__version__.split(".")[0]) >= 2 else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the order of day and month, which is known here
        stamps = pandas.to_datetime(pandas.Series(texts, dtype=object), dayfirst=bool(day_first), errors="coerce",
                                    utc=True, **mixed)
    for row, is_none in enumerate(stamps.isna()):
        if is_none or not any(pattern.fullmatch(texts[row]) for pattern in PATTERNS):  # pandas takes 12:30 for today
            raise BadCell(f"{label}: {texts[row]!r} is not a date: write it as 2020-01-31", row)
        if not PATTERNS[1].fullmatch(texts[row]):
            continue
        if day_first is None:
            raise BadCell(f"{label}: the order of day and month in {texts[row]!r} cannot be told from the training "
                          "rows, whose dates are written otherwise: write it as 2020-01-31", row)
        # pandas swaps day and month where only that gives a date
        if _numbers(texts[row])[int(day_first)] > 12:
            order = "day and month" if day_first else "month and day"
            raise BadCell(f"{label}: {texts[row]!r} is not a date, because {order} stand in this order in other rows: "
                          "write it as 2020-01-31", row)
    return {name: getattr(stamps.dt, part).to_numpy(np.float64) for name, part in DATE_PARTS.items()}


def find_day_first(words: "pandas.Series", label: str) -> typing.Optional[bool]:
    """Tells whether the first number of dates such as 31/01/2020 is the day; None for dates written otherwise.

    Raises BadCell if that cannot be told.
    """
    texts = [str(word) for word in words]
    if not PATTERNS[1].fullmatch(texts[0]):
        return None
    pairs = [_numbers(text) for text in texts if PATTERNS[1].fullmatch(text)]
    day_first, month_first = (any(pair[place] > 12 for pair in pairs) for place in (0, 1))
    if not day_first and not month_first:
        raise BadCell(f"{label}: the order of day and month in {texts[0]!r} cannot be told: write dates as 2020-01-31",
                      0)
    return day_first


def _numbers(text: str) -> typing.Tuple[int, int]:
    """Returns the first two numbers of a date such as 31/01/2020."""
    first, second = re.split(r"[-/.]", text)[:2]
    return int(first), int(second)
