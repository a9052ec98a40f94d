"""The first line of a table: how its fields are separated, and whether it names the columns."""
import collections
import csv
import itertools
import pathlib
import re
import typing

from data_loader.table_dialect import NAMES, SAMPLE_LINES, WHITE_SPACE, find_dialect, join_quoted, split_line
from data_loader.table_text import ANY_FORMAT, TableFormat, find_encoding, lines_of
from misc.errors import UserError

# A line of these is a row, not a header. (Words such as nan count as numbers.)
MISSING = {"", "?", "-", "--", ".", "*", "na", "n/a", "#n/a", "<na>", "none", "null", "missing"}
TRUTH = {"false": 0.0, "true": 1.0}
SEPARATOR_LINE = re.compile(r"\"?sep=(\S|\t)\"?\s*", re.IGNORECASE)  # how Excel is told the separator of a file
MOST_NAMED = 10  # columns that a notice names
NAMELESS = r"(Unnamed: \d+(\.\d+)*)?"  # what pandas calls a column without a name


class Layout(typing.NamedTuple):
    """How a file is written."""

    separator: str  # for pandas
    n_skipped: int  # lines before the first row
    words: typing.Optional[typing.List[str]]  # of the header; None without one
    is_comment: bool = False  # whether these words come from a comment
    is_numbered: bool = False  # whether it holds the numbers 0, 1, ..., as pandas calls columns without names
    is_indented: bool = False  # whether white space stands before its first word, as if a name were empty
    decimal: str = "."
    encoding: str = "utf-8-sig"
    notices: typing.Tuple[str, ...] = ()  # about what was found


def split_at_tabs(line: str) -> typing.List[str]:
    """Returns what stands between the tabs of a line, without quotes and the white space around it."""
    return split_line(line, "\t")


def number(word: str, decimal: str = ".") -> typing.Optional[float]:
    """Returns the float that `word` spells for pandas, or None: true and false are 1 and 0, 1_000 is a name."""
    if word.lower() in TRUTH:
        return TRUTH[word.lower()]
    if decimal == ",":
        if "." in word:
            return None
        word = word.replace(",", ".", 1)
    try:
        return float(word) if word.isascii() and "_" not in word else None
    except ValueError:
        return None


def read_layout(path: pathlib.Path, form: TableFormat = ANY_FORMAT) -> Layout:
    """Finds encoding, separator, decimal mark and header of a table.

    The header is the first line that is neither blank nor a comment (#), if none of its fields is a number. Without
    one, a comment just before the first row may name the columns, as numpy's savetxt writes them.

    Args:
      form: what the config says of the file.

    Raises a UserError for an empty file, and for what may be read in two ways.
    """
    encoding, notices = (form.encoding, []) if form.encoding else find_encoding(path)
    found = layout_of(str(path), lines_of(path, encoding), form)
    return found._replace(encoding=encoding, notices=(*notices, *found.notices))


def layout_of(path: str, lines: typing.Iterator[typing.Tuple[int, str]], form: TableFormat) -> Layout:
    """Returns the Layout of lines, which are read as far as needed; see `read_layout`.

    Args:
      path: what messages call the source of the lines.
      lines: (line number from 1, line).
    """
    notices: typing.List[str] = []
    first, last, comment, sample = _sample(lines)
    if not sample:
        raise UserError(f"{path} is empty")
    try:
        separator, decimal = find_dialect(sample, form.separator, form.decimal)
        words = _first_words(sample[0], sample[1] if len(sample) > 1 else "", separator)
        following = [split_line(line, separator) for line in sample[1:]]
    except (UserError, csv.Error) as error:
        raise UserError(f"{path}: {error}") from None
    if separator == WHITE_SPACE and form.separator is None:
        _refuse_title(path, first, sample, len(words) == len(following[0]) if following else True)
    words = [" ".join(word.split()) if len(word.splitlines()) > 1 else word for word in words]
    name = pathlib.Path(path).name
    if separator not in (",", WHITE_SPACE) and form.separator is None:
        notices.append(f"note: {name}: fields are separated by {NAMES[separator]} (key separator)")
    if decimal == "," and form.decimal is None:
        notices.append(f"note: {name}: the comma is the decimal mark (key decimal)")
    found = Layout(separator, last, None, decimal=decimal, notices=tuple(notices))
    names = split_line(comment, separator)
    if form.header and len(names) == len(words) and _are_names(names, decimal) and not _are_names(words, decimal):
        return found._replace(n_skipped=first - 1, words=names)
    if form.header is not None:
        return found._replace(words=words) if form.header else found._replace(n_skipped=first - 1)
    is_numbered = _is_numbered(words)
    if is_numbered and words[0] != "":
        _refuse_ambiguous_numbers(path, first, words, following[0] if following else [])
    if is_numbered or (_are_names(words, decimal) and not _recurs(words, following, decimal)):
        return found._replace(words=words, is_numbered=is_numbered,
                              is_indented=separator == WHITE_SPACE and sample[0][0].isspace())
    _refuse_mixed_names(path, first, words, following, decimal)
    return found._replace(n_skipped=first - 1, words=names if _are_names(names, decimal) else None, is_comment=True)


def _sample(lines: typing.Iterator[typing.Tuple[int, str]]) -> typing.Tuple[int, int, str, typing.List[str]]:
    """Returns (first and last number of the first line that is neither blank, a comment nor sep=;, the comment before
    it, lines from it on). A line ends where no quoted field is open.
    """
    comment = ""
    for line_number, line in lines:
        if line.lstrip(" ").startswith("#"):
            comment = line.lstrip(" ").lstrip("#")
        elif line.strip() and not SEPARATOR_LINE.fullmatch(line):
            joined = join_quoted(itertools.chain([(line_number, line)], lines))
            last, text = next(joined)
            rest = itertools.islice((text for _, text in joined if text.strip()), SAMPLE_LINES)
            return line_number, last, comment, [text, *rest]
    return 0, 0, comment, []


def _refuse_title(path: str, line_number: int, sample: typing.Sequence[str], fits: bool) -> None:
    """Raises a UserError if the first line is not separated as those after it are.

    fits: whether it has as many words as the second one.
    """
    for mark in ",;|":
        counts = {line.count(mark) for line in sample[1:]}
        if not fits and mark not in sample[0] and len(counts) == 1 and counts != {0}:
            raise UserError(f"{path} line {line_number}: there are no {NAMES[mark]}, which separate the fields after "
                            "it: remove this line if it is a title")


def _recurs(words: typing.Sequence[str], following: typing.Sequence[typing.Sequence[str]], decimal: str) -> bool:
    """Tells whether no column holds numbers and some word of the first line stands below itself again: it is a row."""
    if not following or any(number(word, decimal) is not None for row in following for word in row):
        return False
    return any(len(row) == len(words) and row[column] == word
               for column, word in enumerate(words) for row in following if word)


def _refuse_mixed_names(path: str, line_number: int, words: typing.Sequence[str],
                        following: typing.Sequence[typing.Sequence[str]], decimal: str) -> None:
    """Raises a UserError if a first line of words and numbers may be a header or a row.

    It may be a header if its words stand above other words or numbers, none of them a second time, and its numbers are
    whole, all different and of the size of years or counts.
    """
    rows = [row for row in following if len(row) == len(words)]
    values = [number(word, decimal) for word in words]
    texts = [column for column, value in enumerate(values) if value is None and words[column].lower() not in MISSING]
    numbers = [words[column] for column, value in enumerate(values) if value is not None]
    if len(rows) < 2 or not texts or not numbers or len(set(numbers)) < len(numbers):
        return
    if not all(re.fullmatch(r"[12]?\d{1,3}", word) for word in numbers):
        return
    if any(row[column] == words[column] for column in texts for row in rows):
        return
    if all(number(row[column], decimal) is None or row[column].lower() == "nan" for column in texts for row in rows):
        raise UserError(f"{path} line {line_number}: these words and numbers may be a row or the names of the columns: "
                        "set header to true or false")


def _first_words(line: str, second: str, separator: str) -> typing.List[str]:
    """Returns the fields of the first line; if tabs separate those of the second, names may hold spaces."""
    words = split_line(line, separator)
    if separator == WHITE_SPACE and "\t" in line and "\t" in second:
        tabbed, width = split_at_tabs(line), len(split_line(second, separator))
        if len(tabbed) in (width, width - 1):
            return tabbed
    return words


def _are_names(words: typing.Sequence[str], decimal: str = ".") -> bool:
    """Tells whether no field is a number, or one with a decimal comma, and some say more than that a value is missing.
    """
    return (all(number(word, mark) is None for word in words for mark in (decimal, ","))
            and not all(word.lower() in MISSING for word in words))


def _is_numbered(words: typing.Sequence[str]) -> bool:
    """Tells whether the fields are 0, 1, ..., in whole numbers; the first one may be that of a nameless index."""
    counted = list(words[1:] if words[0] == "" else words)
    return len(counted) > 1 and counted == [str(column) for column in range(len(counted))]


def _refuse_ambiguous_numbers(path: str, line_number: int, words: typing.Sequence[str],
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
        twice = [(name, count) for name, count in collections.Counter(words).items()
                 if count > 1 and not is_nameless(name)]
        if not twice:
            return words, []
        if layout.is_comment:  # a sentence
            return None, []
        name, count = twice[0]
        raise UserError(f"{path} line {layout.n_skipped} names {count} columns {name!r}: give every column a name of "
                        "its own")
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


def without_end(layout: Layout, path: pathlib.Path, width: int, n_left_out: int) -> Layout:
    """Returns the Layout without the last `n_left_out` of so many columns, and with a notice that says so."""
    if not n_left_out:
        return layout
    left_out = ", ".join(f"column {column + 1}" for column in range(width - n_left_out, width)[:MOST_NAMED])
    more = f" and {n_left_out - MOST_NAMED} more" if n_left_out > MOST_NAMED else ""
    return layout._replace(words=layout.words and layout.words[:width - n_left_out], notices=(
        *layout.notices, f"note: {path.name}: {left_out}{more}, at the end, without name and values: left out"))


def n_empty_at_end(layout: Layout, width: int, is_empty: typing.Callable[[int], bool]) -> int:
    """Returns how many columns at the end have neither a name nor a value, because separators end every line.

    Args:
      layout: of the file.
      width: number of columns in the rows.
      is_empty: tells of a column, from 0, whether it has no value.
    """
    words, count = layout.words or [], 0
    while count < width - 1 and is_empty(width - 1 - count):
        column = width - 1 - count
        if column < len(words) and words[column] != "":
            break
        count += 1
    return count


def is_nameless(name: str) -> bool:
    """Tells whether pandas or R wrote no name for this column."""
    return re.fullmatch(NAMELESS, name) is not None
