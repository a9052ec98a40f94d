"""How the fields of a table are separated and its numbers written, found from the first lines."""
import csv
import re
import typing

from misc.errors import UserError

WHITE_SPACE = r"\s+"  # as a separator of pandas
SAMPLE_LINES = 60  # from which separator and decimal mark are found
MOST_JOINED = 20  # further lines over which a quoted field of the sample may go on
NAMES = {WHITE_SPACE: "white space", ",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}

_INTEGER = r"[+-]?\d+"
_COMMA_NUMBER = re.compile(_INTEGER + r",\d+([eE][+-]?\d+)?")        # 1,5
_POINT_NUMBER = re.compile(r"[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?")   # 1.5
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")                   # 1,500: a comma of thousands or of decimals
_WHOLE = re.compile(_INTEGER)
_QUOTED = re.compile(r'"[^"]*"')
_OPENING = re.compile(r'(^|[,;|\s])"')  # a quote that begins a field


class Dialect(typing.NamedTuple):
    """How fields are separated and numbers written."""

    separator: str  # for pandas
    decimal: str = "."


def split_line(line: str, separator: str) -> typing.List[str]:
    """Returns the fields of a line, without quotes and the white space around them."""
    if separator == WHITE_SPACE:
        line, separator = " ".join(line.split()), " "
    stripped = line.strip("\r\n") if separator == "\t" else line.strip()
    return [word.strip() for word in next(csv.reader([stripped], delimiter=separator, skipinitialspace=True), [])]


def join_quoted(lines: typing.Iterable[typing.Tuple[int, str]]) -> typing.Iterator[typing.Tuple[int, str]]:
    """Yields (number of its last line, text) of lines, of which some go on where a quoted field holds a line end.

    A quote that is not closed in MOST_JOINED lines is taken for a part of its field, such as inches.

    Args:
      lines: (line number, line).
    """
    waiting = iter(lines)
    pending: typing.List[typing.Tuple[int, str]] = []
    while True:
        first = pending.pop(0) if pending else next(waiting, None)
        if first is None:
            return
        number, text = first
        taken: typing.List[typing.Tuple[int, str]] = []
        while _is_open(text) and len(taken) < MOST_JOINED:
            following = pending.pop(0) if pending else next(waiting, None)
            if following is None:
                break
            taken.append(following)
            text += following[1]
        if taken and _is_open(text):  # it is never closed
            pending = taken + pending
            yield first
        else:
            yield (taken[-1][0] if taken else number), text


def _is_open(text: str) -> bool:
    """Tells whether a text ends within quotes."""
    if '"' not in text:
        return False
    return _OPENING.search(_QUOTED.sub("", text)) is not None


def find_dialect(lines: typing.Sequence[str], separator: typing.Optional[str],
                 decimal: typing.Optional[str]) -> Dialect:
    """Finds the dialect of a table from its first lines, which are neither blank nor comments.

    Semicolons and bars separate if every line has as many; tabs if every line has as many and commas or words of
    several parts stand between them; semicolons and bars also if every line has some, and not every line as many
    commas; otherwise commas, if the first line has one that is no decimal mark; otherwise white space. The decimal mark
    is a comma if numbers such as 1,5 stand between other separators and no 1.5 does.

    Args:
      lines: quoted fields may hold line ends.
      separator, decimal: keys of the config; None: to be found.

    Raises a UserError if 1,234 may be a little more than one, or more than a thousand.
    """
    if separator is not None and (len(separator) != 1 or separator in '"\r\n') and separator != "whitespace":
        raise UserError(f"separator {separator!r} cannot separate fields: give one character, such as \";\"")
    found = separator or _separator(lines)
    if found in (" ", "whitespace"):
        found = WHITE_SPACE
    if decimal or found == ",":
        return Dialect(found, decimal or ".")
    fields = [field for line in lines for field in split_line(line, found)]
    with_comma = [field for field in fields if _COMMA_NUMBER.fullmatch(field)]
    if not with_comma or any(_POINT_NUMBER.fullmatch(field) for field in fields):
        return Dialect(found)
    if all(_THOUSANDS.fullmatch(field) for field in with_comma):
        raise UserError(f"'{with_comma[0]}' may be a number with decimals or with thousands: set decimal to \",\" or "
                        "write thousands without a comma")
    return Dialect(found, ",")


def _separator(lines: typing.Sequence[str]) -> str:
    bare = [_QUOTED.sub("", line) for line in lines]
    for mark in ";|":
        if mark in bare[0] and len({line.count(mark) for line in bare}) == 1:
            return mark
    if _has_columns_of_tabs(bare) and any("," in line or _holds_words(line) for line in bare):
        return "\t"
    commas = {line.count(",") for line in bare}
    for mark in ";|":
        if all(mark in line for line in bare) and (len(commas) > 1 or commas == {0}):
            return mark
    if "," in bare[0]:
        return WHITE_SPACE if _is_comma_decimal(bare) else ","
    return WHITE_SPACE


def _has_columns_of_tabs(lines: typing.Sequence[str]) -> bool:
    return "\t" in lines[0] and len({line.rstrip("\r\n").count("\t") for line in lines}) == 1


def _holds_words(line: str) -> bool:
    """Tells whether a word of several parts, which are not all numbers, stands between tabs."""
    return any(len(field.split()) > 1 and not all(re.fullmatch(r"[-+.\deE]+", part) for part in field.split())
               for field in line.split("\t"))


def _is_comma_decimal(lines: typing.Sequence[str]) -> bool:
    """Tells whether white space separates equally many numbers in every line but the first, some of them as 1,5."""
    rows = [line.split() for line in lines[1:] or lines]
    width = len(rows[0])
    numbers = [field for row in rows for field in row]
    return (width > 1 and all(len(row) == width for row in rows) and any("," in field for field in numbers)
            and all(_COMMA_NUMBER.fullmatch(field) or _WHOLE.fullmatch(field) for field in numbers))
