"""Reads a NAME.data file: numbers, one row a line, the target in the last column."""
import math

import numpy as np

from misc.errors import UserError


def read_table(path):
    """The file's numbers as a float64 array [rows, columns].

    Values are separated by white space or commas; a first line without any number is a
    header. Blank lines are passed over. UserError names the first bad line.
    """
    import pandas

    separator, header = _layout(path)
    try:
        frame = pandas.read_csv(
            str(path), sep=separator, header=None, skiprows=header, dtype=np.float64,
            float_precision="round_trip", index_col=False,
        )
        values = frame.to_numpy()
    except (ValueError, OSError):  # pandas' parser errors are ValueErrors
        values = None
    if values is None or not np.isfinite(values).all():
        _find_bad_line(path, separator, header)
    return values


def _lines(path):
    try:
        with open(str(path), encoding="utf-8-sig") as handle:
            yield from enumerate(handle, start=1)
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text file") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def _layout(path):
    """(separator for pandas, number of the header line or 0)."""
    for number, line in _lines(path):
        if line.strip():
            separator = "," if "," in line else r"\s+"
            words = _split(line, separator)
            is_header = all(_number(word) is None for word in words)
            return separator, number if is_header else number - 1
    raise UserError(f"{path} is empty")


def _split(line, separator):
    return [word.strip() for word in line.split(",")] if separator == "," else line.split()


def _number(word):
    try:
        return float(word)
    except ValueError:
        return None


def _find_bad_line(path, separator, header):
    """Raises the UserError for the first line that is ragged, not numeric or not finite."""
    width = None
    for number, line in _lines(path):
        if number <= header or not line.strip():
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
