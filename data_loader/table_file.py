"""Reads the file of a table: a column of numbers or of words for each field."""
import functools
import pathlib
import typing

import numpy as np

from data_loader.row_blocks import BLOCK_NUMBERS, stack_rows
from data_loader.table_cache import parsed_once
from data_loader.table_cells import Texts, about_missing, field_at, read_texts, rows_of_file
from data_loader.table_dialect import WHITE_SPACE
from data_loader.table_header import (
    TRUTH,
    Layout,
    is_nameless,
    lines_of,
    names_of,
    read_layout,
    without_end,
)
from data_loader.table_text import ANY_FORMAT, TableFormat, open_rows
from data_loader.table_values import about_truth, about_values, find_codes, is_number
from misc.errors import UserError

if typing.TYPE_CHECKING:
    import pandas

PARQUET = (".parquet", ".pq")


class Table(typing.NamedTuple):
    """The rows of a table, and what its file says of them."""

    frame: "pandas.DataFrame"  # columns 0, 1, ...: float64, nan where a value is missing; or words, None where missing
    names: typing.Optional[typing.Tuple[str, ...]]  # of the columns; None if the file does not name them
    source: str  # where the rows come from
    notices: typing.Tuple[str, ...] = ()  # sentences about what was assumed
    is_commented: bool = False  # whether the names are the words of a comment, which may be any sentence
    codes: typing.Tuple[typing.Tuple[int, str], ...] = ()  # (column of numbers, a field of it with leading zeros)
    mixed: typing.Tuple[typing.Tuple[int, str], ...] = ()  # (column of numbers and words, what is wrong with it)
    field: typing.Callable[[int, int], typing.Tuple[str, str]] = lambda row, column: (
        f"row {row + 1} column {column + 1}", "")  # where (row, column), from 0, stands in the file, and the text there

    @property
    def values(self) -> np.ndarray:
        """The rows as float64 [rows, columns]; only for tables of numbers."""
        return self.frame.to_numpy(np.float64)

    def line(self, row: typing.Optional[int]) -> str:
        """Returns "SOURCE line L" of a row, from 0; None: of no single one."""
        return self.source if row is None else self.field(row, 0)[0].rsplit(" column", 1)[0]

    def is_number(self, column: int) -> bool:
        """Tells whether a column holds numbers."""
        return is_number(self.frame, column)


def table_of(values: np.ndarray, source: str) -> Table:
    """Returns the Table of rows in memory, float [rows, columns]."""
    import pandas

    return Table(pandas.DataFrame(np.asarray(values, np.float64)), None, source)


def read_table(path: pathlib.Path, form: TableFormat = ANY_FORMAT,
               words_in: typing.Collection[typing.Union[str, int]] = (),
               unused: typing.Collection[typing.Union[str, int]] = (), keeps_mixed: bool = False,
               kept_in: typing.Optional[pathlib.Path] = None) -> Table:
    """Reads a table from a file: text, compressed or not, or Parquet.

    In text, values are separated by white space, commas, semicolons, tabs or bars, and may stand in quotes. A first
    line without any number, or with the numbers 0, 1, ..., one per column, is a header; blank lines are skipped. A
    column without a name that numbers the rows is an index that pandas or R wrote, and is left out, as are columns at
    the end without name and values. A column holds numbers, or words if none of its fields is a number.

    Args:
      form: how the file is written; what is not given is found.
      words_in: columns that hold words, whatever their fields are: names, or numbers from 1.
      unused: columns that hold words if they cannot be read otherwise.
      keeps_mixed: whether a column of numbers and words holds words, and is listed as mixed, instead of refused.
      kept_in: folder of large tables of numbers that were parsed before; None: text is parsed every time.

    Raises a UserError that names the first bad line, or what may be read in two ways.
    """
    if path.suffix.lower() in PARQUET:
        from data_loader.table_parquet import read_parquet

        return read_parquet(path)
    layout = read_layout(path, form)
    _refuse_empty_fields(path, layout)

    def parse() -> Texts:
        frame = _read_numbers(path, layout) if not form.missing_marks and not words_in else None
        if frame is not None:
            return Texts(frame, codes=find_codes(path, layout, frame))
        return read_texts(path, layout, form.missing_marks, words_in, unused, keeps_mixed)

    kept = parsed_once(path, kept_in, [form, list(words_in), list(unused), keeps_mixed], parse)
    if kept.place is not None:
        notice = f"note: {path.name}: its numbers were parsed before and are read from {kept.place} (key cache)"
        layout = layout._replace(notices=(*layout.notices, notice))
    return _named(path, layout, kept.texts)


def _named(path: pathlib.Path, layout: Layout, texts: Texts) -> Table:
    """Returns the Table with its names, without an index column."""
    frame = texts.frame
    first, width = frame.iloc[:, 0], frame.shape[1]
    layout = without_end(layout, path, width + texts.n_left_out, texts.n_left_out)
    numbers_rows = _numbers_rows if layout.is_indented else _counts_rows
    words, found = names_of(path, layout, frame.shape[1], may_lack_first=numbers_rows(first))
    notices = [*layout.notices, *found]
    field = functools.partial(field_at, path, layout)
    if words is None:
        notices += [*about_truth(path, texts.truth, None), *about_values(path, frame, None)]
        return Table(frame, None, str(path), tuple(notices), codes=tuple(texts.codes.items()),
                     mixed=tuple(texts.mixed.items()), field=field)
    if layout.is_numbered:
        notices.append(f"note: {path.name}: the first line numbers the columns from 0 to {words[-1]} and is taken for "
                       "a header (if it is a row, write 0.0 for its 0)")
    elif not layout.is_comment and not any(is_number(frame, column) for column in range(width)):
        notices.append(f"note: {path.name}: the first line is taken for a header (key header)")
    kept = []
    for column, name in enumerate(words):
        if not is_nameless(name):
            kept.append(column)
        elif column == len(words) - 1 or not _numbers_rows(frame.iloc[:, column]):
            raise UserError(f"{path}: column {column + 1} has no name, and is not an index of the rows before the "
                            "target: name it, or remove it")
        else:
            notices.append(f"note: {path.name}: column {column + 1} has no name and holds a different whole "
                           "number in every row, as an index does: it is left out")
    columns = list(kept)
    if len(kept) < width:
        frame = frame.iloc[:, kept].set_axis(range(len(kept)), axis=1)
    names = None if layout.is_numbered else tuple(words[column] for column in kept)
    truth = [kept.index(column) for column in texts.truth if column in kept]
    notices += [*about_truth(path, truth, names), *about_values(path, frame, names)]
    codes, mixed = (tuple((kept.index(column), text) for column, text in texts_of.items() if column in kept)
                    for texts_of in (texts.codes, texts.mixed))
    return Table(frame, names, str(path), tuple(notices), names is not None and layout.is_comment, codes, mixed,
                 field=lambda row, column: field(row, columns[column]))


def refuse_missing(table: Table) -> None:
    """Raises a UserError for the first missing value of a table, in the order of its lines."""
    gone = table.frame.isna().to_numpy()
    if gone.any():
        row, column = (int(index) for index in np.argwhere(gone)[0])
        where, word = table.field(row, column)
        raise UserError(f"{where}: {about_missing(word)}")


def _read_numbers(path: pathlib.Path, layout: Layout) -> typing.Optional["pandas.DataFrame"]:
    """Returns the rows as numbers, or None unless every field is a finite number with a decimal point.

    Columns of true and false are left to `read_texts`, which tells them from others.
    """
    import pandas

    if layout.decimal != ".":
        return None
    _, words = next(rows_of_file(path, layout), (0, []))
    if any(word.strip().lower() in TRUTH for word in words):  # pandas reads true and false as 1 and 0
        return None
    try:
        with open_rows(path, layout.encoding, layout.n_skipped) as handle:
            blocks = pandas.read_csv(handle, sep=layout.separator, header=None, dtype=np.float64, index_col=False,
                                     skipinitialspace=True, na_filter=False, **exact_rounding(),
                                     chunksize=max(1, BLOCK_NUMBERS // max(len(words), 1)))
            return pandas.DataFrame(stack_rows(map(_finite, blocks)), copy=False)
    except (ValueError, OSError):  # pandas' parser errors are ValueErrors
        return None


def _finite(block: "pandas.DataFrame") -> np.ndarray:
    """Returns the numbers of a block. Raises ValueError unless all are finite."""
    values = block.to_numpy()
    if not np.isfinite(values).all():
        raise ValueError("not finite")
    return values


def exact_rounding() -> typing.Dict[str, str]:
    """Returns what makes pandas read the float64 nearest to each number, as it always does from version 3.1 on."""
    import pandas

    version = tuple(int(part) for part in pandas.__version__.split(".")[:2])
    return {} if version >= (3, 1) else {"float_precision": "round_trip"}


def _numbers_rows(column: "pandas.Series") -> bool:
    """Tells whether a column holds whole numbers that are all different, as an index does, in whatever order."""
    if column.dtype.kind != "f":
        return False
    values = column.to_numpy()
    return bool((values >= 0).all() and (values == np.floor(values)).all() and len(np.unique(values)) == len(values))


def _counts_rows(column: "pandas.Series") -> bool:
    """Tells whether a column holds 0, ..., n - 1 or 1, ..., n for n rows, in whatever order."""
    if column.dtype.kind != "f" or not len(column):
        return False
    values = column.to_numpy()
    first = values.min()
    return bool(first in (0, 1) and np.array_equal(np.sort(values), np.arange(len(values)) + first))


def _refuse_empty_fields(path: pathlib.Path, layout: Layout) -> None:
    """Raises a UserError for an empty field between tabs, which would otherwise count as white space.

    In lines with equally many tabs a field is empty if other lines, or the header, have a word in its column. Tabs
    that only align columns are no fields: lines then differ in their numbers of tabs, or have them in the same places.
    """
    if layout.separator != WHITE_SPACE:
        return
    header: typing.List[str] = []
    filled: typing.Set[int] = set()
    empty: typing.Dict[int, int] = {}  # column -> first line
    width = None
    for line_number, line in lines_of(path, layout.encoding):
        words = [word.strip() for word in line.rstrip("\r\n").split("\t")]
        if line_number <= layout.n_skipped:
            header = words if line_number == layout.n_skipped and layout.words and not layout.is_comment else []
        elif line.strip():
            width = width or len(words)
            if width == 1 or len(words) != width:
                return
            for column, word in enumerate(words):
                if word:
                    filled.add(column)
                else:
                    empty.setdefault(column, line_number)
    if len(header) == width:
        filled.update(column for column, word in enumerate(header) if word)
    missing = sorted((line_number, column) for column, line_number in empty.items() if column in filled)
    if missing:
        line_number, column = missing[0]
        raise UserError(f"{path} line {line_number} column {column + 1}: the field between tabs is empty; remove the "
                        "row or impute the value (with separator \"\\t\", missing says how)")


