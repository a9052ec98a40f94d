"""The first line of a table: how its fields are separated, and whether it names the columns."""
import csv
import pathlib
import re
import typing

from misc.errors import UserError

WHITE_SPACE = r"\s+"  # as a separator of pandas
# A line of these is a row, not a header. (Words such as nan count as numbers.)
MISSING = {"", "?", "-", "--", ".", "*", "na", "n/a", "#n/a", "<na>", "none", "null", "missing"}
TRUTH = {"false": 0.0, "true": 1.0}
NAMELESS = r"(Unnamed: \d+(\.\d+)*)?"  # what pandas calls a column without a name


class Layout(typing.NamedTuple):
    """How a file is written."""

    separator: str  # for pandas
    n_skipped: int  # lines before the first row
    words: typing.Optional[typing.List[str]]  # of the header; None without one
    is_comment: bool = False  # whether these words come from a comment
    is_numbered: bool = False  # whether it holds the numbers 0, 1, ..., as pandas calls columns without names
    is_indented: bool = False  # whether white space stands before its first word, as if a name were empty


def lines_of(path: pathlib.Path) -> typing.Iterator[typing.Tuple[int, str]]:
    """Yields (line number from 1, line)."""
    try:
        with open(str(path), encoding="utf-8-sig") as handle:
            yield from enumerate(handle, start=1)
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text file in UTF-8: save it as one") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def split_line(line: str, separator: str) -> typing.List[str]:
    """Returns the fields of a line, without quotes and the white space around them."""
    if separator == WHITE_SPACE:
        line, separator = " ".join(line.split()), " "
    return [word.strip() for word in next(csv.reader([line.strip()], delimiter=separator, skipinitialspace=True), [])]


def split_at_tabs(line: str) -> typing.List[str]:
    """Returns what stands between the tabs of a line, without quotes and the white space around it."""
    return [word.strip() for word in next(csv.reader([line.rstrip("\r\n")], delimiter="\t"), [])]


def number(word: str) -> typing.Optional[float]:
    """Returns the float that `word` spells for pandas, or None: true and false are 1 and 0, 1_000 is a name."""
    if word.lower() in TRUTH:
        return TRUTH[word.lower()]
    try:
        return float(word) if word.isascii() and "_" not in word else None
    except ValueError:
        return None


def read_layout(path: pathlib.Path) -> Layout:
    """Finds the separator and the header from the first line that is neither blank nor a comment (#).

    Without a header, a comment just before the first row may name the columns, as numpy's savetxt writes them.
    """
    comment, lines = "", lines_of(path)
    for line_number, line in lines:
        if line.lstrip().startswith("#"):
            comment = line.lstrip().lstrip("#")
        elif line.strip():
            separator = "," if "," in re.sub(r'"[^"]*"', "", line) else WHITE_SPACE
            second = next((text for _, text in lines if text.strip()), "")
            following = split_line(second, separator)
            words = _first_words(line, second, separator)
            is_numbered = _is_numbered(words)
            if is_numbered and words[0] != "":
                _refuse_ambiguous_numbers(path, line_number, words, following)
            if is_numbered or _are_names(words):
                return Layout(separator, line_number, words, is_numbered=is_numbered,
                              is_indented=separator == WHITE_SPACE and line[0].isspace())
            words = split_line(comment, separator)
            return Layout(separator, line_number - 1, words if _are_names(words) else None, is_comment=True)
    raise UserError(f"{path} is empty")


def _first_words(line: str, second: str, separator: str) -> typing.List[str]:
    """Returns the fields of the first line; if tabs separate those of the second, names may hold spaces."""
    words = split_line(line, separator)
    if separator == WHITE_SPACE and "\t" in line and "\t" in second:
        tabbed, width = split_at_tabs(line), len(split_line(second, separator))
        if len(tabbed) in (width, width - 1):
            return tabbed
    return words


def _are_names(words: typing.Sequence[str]) -> bool:
    """Tells whether no field is a number, and some say more than that a value is missing."""
    return all(number(word) is None for word in words) and not all(word.lower() in MISSING for word in words)


def _is_numbered(words: typing.Sequence[str]) -> bool:
    """Tells whether the fields are 0, 1, ..., in whole numbers; the first one may be that of a nameless index."""
    counted = list(words[1:] if words[0] == "" else words)
    return len(counted) > 1 and counted == [str(column) for column in range(len(counted))]


def _refuse_ambiguous_numbers(path: pathlib.Path, line_number: int, words: typing.Sequence[str],
                              following: typing.Sequence[str]) -> None:
    """Raises a UserError if a first line of 0, 1, ... may be a row or a header: of two numbers, or above whole numbers.
    """
    above_whole = len(following) == len(words) and all(re.fullmatch("[+-]?[0-9]+", word) for word in following)
    if len(words) == 2 or above_whole:
        raise UserError(f"{path} line {line_number}: these numbers may be a row or pandas' names of the columns: write "
                        "0.0 for 0 if they are a row, or name the columns")


def names_of(path: pathlib.Path, layout: Layout, width: int,
             may_lack_first: bool) -> typing.Tuple[typing.Optional[typing.List[str]], typing.List[str]]:
    """Returns (a name per column, or None; notices).

    Args:
      layout: of the file.
      width: number of columns in the rows.
      may_lack_first: whether the first column names the rows, so that the header may have no field for it.

    Raises a UserError if a header has one name twice, lacks one, or differs otherwise from the rows of a file with
    commas.
    """
    words = layout.words
    if words is not None and len(words) == width:
        twice = [name for name in words if not is_nameless(name) and words.count(name) > 1]
        if not twice:
            return words, []
        if layout.is_comment:  # a sentence
            return None, []
        raise UserError(f"{path} line {layout.n_skipped} names {words.count(twice[0])} columns {twice[0]!r}: give "
                        "every column a name of its own")
    if words is None:
        return None, []
    if len(words) == width - 1 and may_lack_first and not layout.is_comment:
        return ["", *words], []
    if not layout.is_comment and (layout.is_numbered or layout.separator != WHITE_SPACE or len(words) == width - 1):
        raise UserError(f"{path} line {layout.n_skipped} names {len(words)} columns, but the rows have {width}")
    if layout.is_comment:
        return None, []
    return None, [f"note: {path.name}: the first line is skipped, because its {len(words)} words do not name the "
                  f"{width} columns"]


def is_nameless(name: str) -> bool:
    """Tells whether pandas or R wrote no name for this column."""
    return re.fullmatch(NAMELESS, name) is not None
