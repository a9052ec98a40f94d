"""Columns of dates: how they are told from other words, and the numbers that are made of them."""
import re
import typing
import warnings

import numpy as np

from misc.errors import UserError

if typing.TYPE_CHECKING:
    import pandas

PATTERNS = tuple(re.compile(pattern) for pattern in (
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([T ]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?)?(Z|[+-]\d{2}:?\d{2})?",  # 2020-01-31, ISO
    r"\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})( \d{1,2}:\d{2}(:\d{2})?)?",                          # 31/01/2020
    r"\d{1,2}[- ][A-Za-z]{3,9}\.?[- ]\d{2,4}|[A-Za-z]{3,9}\.? \d{1,2}, \d{4}"))                  # 31 Jan 2020

# Names of the inputs that a date becomes, and how pandas calls them.
DATE_PARTS: typing.Dict[str, str] = {
    "year": "year", "month": "month", "day": "day", "weekday": "dayofweek", "hour": "hour", "minute": "minute"}
LOOKED_AT = 1000  # words by which a column of dates is told


def is_date(words: "pandas.Series") -> bool:
    """Tells whether all of the first words of a column look like dates of one kind."""
    known = [str(word) for word in words.dropna().iloc[:LOOKED_AT]]
    return bool(known) and any(all(pattern.fullmatch(word) for word in known) for pattern in PATTERNS)


def date_parts(words: "pandas.Series", label: str) -> typing.Dict[str, np.ndarray]:
    """Returns {name of DATE_PARTS: float64 [n]}.

    Raises a UserError for what is no date, and where day and month cannot be told apart (01/02/2020).
    """
    import pandas

    texts = [str(word) for word in words]
    dayfirst = _day_first(texts, label)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the order of day and month, which is known here
        stamps = pandas.to_datetime(pandas.Series(texts), dayfirst=dayfirst, errors="coerce", utc=True)
    bad = np.flatnonzero(stamps.isna().to_numpy())
    if len(bad):
        raise UserError(f"{label}: {texts[bad[0]]!r} is not a date")
    return {name: getattr(stamps.dt, part).to_numpy(np.float64) for name, part in DATE_PARTS.items()}


def _day_first(texts: typing.Sequence[str], label: str) -> bool:
    """Tells whether the first number of dates such as 31/01/2020 is the day."""
    if not PATTERNS[1].fullmatch(texts[0]):
        return False
    pairs = [tuple(map(int, re.split(r"[-/.]", text)[:2])) for text in texts if PATTERNS[1].fullmatch(text)]
    day_first, month_first = (any(pair[place] > 12 for pair in pairs) for place in (0, 1))
    if day_first == month_first:
        raise UserError(f"{label}: the order of day and month in {texts[0]!r} cannot be told: write dates as "
                        "2020-01-31")
    return day_first
