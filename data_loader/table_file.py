"""Reads a NAME.data file: numbers, one row per line, the target in the last column."""
import math
import pathlib
import typing

import numpy as np

from misc.errors import UserError


def read_table(path: pathlib.Path) -> np.ndarray:
    """Returns the numbers in the file as a float64 array [rows, columns].

    Values are separated by white space or commas. A first line without any number is a header; blank lines are
    skipped. Raises a UserError that names the first bad line.
    """
    import pandas

    separator, n_skipped = _layout(path)
    try:
        frame = pandas.read_csv(
            str(path), sep=separator, header=None, skiprows=n_skipped, dtype=np.float64,
            float_precision="round_trip", index_col=False,
        )
        values = frame.to_numpy()
    except (ValueError, OSError):  # pandas' parser errors are ValueErrors
        values = None
    if values is None or not np.isfinite(values).all():
        _raise_for_bad_line(path, separator, n_skipped)  # pandas does not name line and column
    return values


def _lines(path: pathlib.Path) -> typing.Iterator[typing.Tuple[int, str]]:
    """Yields (line number from 1, line)."""
    try:
        with open(str(path), encoding="utf-8-sig") as handle:
            yield from enumerate(handle, start=1)
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text file") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def _layout(path: pathlib.Path) -> typing.Tuple[str, int]:
    """Returns (separator for pandas, number of lines before the first row)."""
    for number, line in _lines(path):
        if line.strip():
            separator = "," if "," in line else r"\s+"
            words = _split(line, separator)
            is_header = all(_number(word) is None for word in words)
            return separator, number if is_header else number - 1
    raise UserError(f"{path} is empty")


def _split(line: str, separator: str) -> typing.List[str]:
    return [word.strip() for word in line.split(",")] if separator == "," else line.split()


def _number(word: str) -> typing.Optional[float]:
    """Returns the float that `word` spells, or None."""
    try:
        return float(word)
    except ValueError:
        return None


def _raise_for_bad_line(path: pathlib.Path, separator: str, n_skipped: int) -> typing.NoReturn:
    """Raises a UserError for the first line that has another length, is not numeric or not finite."""
    width = None
    for number, line in _lines(path):
        if number <= n_skipped or not line.strip():
            continue
        words = _split(line, separator)
        width = width or len(words)
        if len(words) != width:
            raise UserError(f"{path} line {number}: {len(words)} columns where the lines before have {width}")
        for column, word in enumerate(words, start=1):
            value = _number(word)
            if value is None:
                raise UserError(f"{path} line {number} column {column}: {word!r} is not a number "
                                "(numbers are separated by white space or commas)")
            if not math.isfinite(value):
                raise UserError(f"{path} line {number} column {column}: {word} is not finite; remove or impute it")
    if width is None:
        raise UserError(f"{path} has no rows")
    raise UserError(f"{path} cannot be read as a table of numbers")
