"""From a config to the rows of a table: read, split and encoded, for regression and for classification."""
import functools
import hashlib
import typing

import numpy as np

from data_loader import DATASETS, Dataset
from data_loader.filled import filled
from data_loader.known_tables import check_known, put_target_last
from data_loader.splits import (
    ALL,
    PROTOCOLS,
    Request,
    Split,
    Splitter,
    hold_out,
    rows_hash,
    split_hash,
    standard_split,
    training_rows,
)
from data_loader.stratified import STRATIFIED, hold_out_by_class
from data_loader.table_cells import BadCell, label
from data_loader.table_file import Table, refuse_missing
from data_loader.table_labels import Classes, find_classes, with_words
from data_loader.table_roles import ROLE_KEYS, Roles, find_column, find_roles
from data_loader.table_source import read_rows
from data_loader.table_test_rows import append_test_rows
from data_loader.table_transform import Column, Place, TableTransform, fit_columns
from data_loader.table_values import about_inputs
from misc.config import Config
from misc.errors import UserError
from misc.lookup import lookup

MIN_ROWS = 10  # so that a tenth of them is at least one test row
MIN_ROWS_OF_ALL = 2  # where none of them tests


class SplitTable(typing.NamedTuple):
    """A table, split and encoded."""

    whole: Table             # all columns
    table: Table             # only the columns that are used: the inputs and, last, the targets
    roles: Roles             # positions in the whole table
    split: Split
    train_rows: np.ndarray   # row numbers, int
    valid_rows: np.ndarray
    transform: TableTransform
    inputs: np.ndarray       # encoded, before they are standardised, float64 [n, d]
    is_plain: bool           # whether inputs and target are all columns of `table` as they are
    ids: typing.Optional[np.ndarray]  # what the rows are called, text [n]; None without a column row_id
    rows_hash: str           # of all rows in their order, before the split
    notices: typing.Tuple[str, ...]
    classes: typing.Optional[Classes] = None  # of the target; None: it is no class

    @property
    def target(self) -> "typing.Any":
        """The column of a single target, as a pandas Series."""
        return self.table.frame.iloc[:, -1]

    @property
    def targets(self) -> np.ndarray:
        """The targets of a regression, float64 [n, m]."""
        return self.table.frame.iloc[:, len(self.roles.inputs):].to_numpy(np.float64)


def load_split_table(config: Config, class_target: bool = False, given: typing.Optional[Table] = None,
                     splitter: typing.Optional[Splitter] = None) -> SplitTable:
    """Reads, checks, splits and encodes the table of a config. Raises a UserError if that is impossible.

    Args:
      class_target: whether the target is a class, so that its values may be words.
      given: the table, if it is in memory; None: it is read.
      splitter: chooses the split; None: the config's protocol.
    """
    known = None if config.data_file else DATASETS.get(config.dataset)
    table = read_rows(config, class_target) if given is None else given
    _check(table, config, known)
    if config.target is None:
        table = put_target_last(table, known)
        check_known(table, config.dataset, known)
    roles = find_roles(table, config)
    table = with_words(table, [find_column(table, reference, "categories") for reference in config.categories or ()])
    whole, used, n_inputs = table, [*roles.inputs, *roles.targets], len(roles.inputs)
    n_test, about = 0, list(about_inputs(table, roles.inputs))
    if config.protocol == "file":
        kept = used if roles.row_id is None else [*used, roles.row_id]
        table, n_test = append_test_rows(table, config, kept)
        whole = table
    table = _only(table, used)
    _refuse_missing(table, config, n_inputs)
    for column, target in enumerate(roles.targets, start=n_inputs):
        _check_target(table, column, label(target, whole.names), class_target)
    n_rows = len(table.frame)
    least = MIN_ROWS_OF_ALL if config.protocol == ALL else MIN_ROWS
    if n_rows < least:
        raise UserError(f"{table.source}: {n_rows} row{'s are' if n_rows > 1 else ' is'} too few, at least {least} are "
                        "needed")
    classes = find_classes(table.frame.iloc[:, -1], table.source, label(roles.targets[0], whole.names)) \
        if class_target else None
    split = _split(whole, roles, config, known, n_rows, n_test, classes, splitter)
    choose = functools.partial(hold_out_by_class, classes.labels) if classes and config.stratified else hold_out
    train_rows, valid_rows = training_rows(split, config, choose)
    if not len(train_rows) or not (len(split.test) or config.protocol == ALL):
        raise UserError(f"{table.source}: the split leaves {len(train_rows)} rows to train and {len(split.test)} to "
                        "test: both must have some")
    columns = _fit_columns(table, roles, train_rows, config)
    transform = TableTransform(columns, config.missing, _place(whole, roles.targets[0]),
                               None if roles.row_id is None else _place(whole, roles.row_id), whole.frame.shape[1],
                               tuple(_place(whole, column) for column in roles.targets[1:]))
    is_plain, frame = _is_plain(table, transform), table.frame.iloc[:, :n_inputs]
    inputs, unknown = (table.values[:, :n_inputs], []) if is_plain else transform.encode(frame)
    notices = [*table.notices, *about, *filled(transform, frame).about(n_rows, config.missing), *unknown]
    ids = None if roles.row_id is None else _texts(whole.frame.iloc[:, roles.row_id])
    return SplitTable(whole, table, roles, split, train_rows, valid_rows, transform, inputs, is_plain, ids,
                      _hash(table), tuple(notices), classes)


def _fit_columns(table: Table, roles: Roles, train_rows: np.ndarray,
                 config: Config) -> typing.Tuple[Column, ...]:
    """Returns `fit_columns` of the inputs. Its errors name the file, and the line if there is one."""
    try:
        return fit_columns(table.frame.iloc[:, :len(roles.inputs)], train_rows, table.names,
                           [column + 1 for column in roles.inputs], config.missing, config.dates,
                           config.categories or ())
    except BadCell as bad:
        raise UserError(f"{table.line(bad.row)}: {bad}") from None
    except UserError as error:
        raise UserError(f"{table.source}: {error}") from None


def split_of(config: Config) -> int:
    """Returns the index of the config's split: as set, else by the seed. Raises a UserError if it has none."""
    first_seed = lookup(PROTOCOLS, config.protocol, "protocol").first_seed
    if first_seed is None:
        if config.split:
            raise UserError(f"split {config.split} does not exist: protocol {config.protocol} has one split, number 0")
        return 0
    index = config.split if config.split is not None else config.seed - first_seed
    if index < 0:
        raise UserError(f"protocol {config.protocol} with seed 0 has no default split: set split")
    return index


def _place(table: Table, column: int) -> Place:
    return Place(table.names[column] if table.names else None, column + 1)


def _only(table: Table, used: typing.Sequence[int]) -> Table:
    """Returns the table with these columns alone, in this order."""
    if list(used) == list(range(table.frame.shape[1])):
        return table
    chosen, field = list(used), table.field
    return table._replace(
        frame=table.frame.iloc[:, chosen].set_axis(range(len(chosen)), axis=1),
        names=tuple(table.names[column] for column in chosen) if table.names else None,
        field=lambda row, column: field(row, chosen[column]))


def _refuse_missing(table: Table, config: Config, n_inputs: int) -> None:
    """Raises a UserError for a missing target, and for missing inputs unless the config says how to replace them."""
    if config.missing == "refuse":
        refuse_missing(table._replace(frame=table.frame.iloc[:, :n_inputs]))
    gone = table.frame.iloc[:, n_inputs:].isna().to_numpy()
    if gone.any():
        row, column = (int(index) for index in np.argwhere(gone)[0])
        where, _ = table.field(row, n_inputs + column)
        n_rows = int(gone.any(axis=1).sum())
        raise UserError(f"{where}: the target is missing in {n_rows} row{'s' if n_rows > 1 else ''}: remove "
                        "these rows (predict.py predicts rows without a target)")


def _check_target(table: Table, column: int, name: str, class_target: bool) -> None:
    if not class_target and not table.is_number(column):
        word = str(table.frame.iloc[0, column])
        raise UserError(f"{table.source}: the target, {name}, holds words such as {word!r}: name "
                        "another column with the key target, or set mode to classification")


def _check(table: Table, config: Config, known: typing.Optional[Dataset]) -> None:
    """Raises a UserError unless the table can be split and is what is known of the data set."""
    n_rows, n_columns = table.frame.shape
    if known:
        given = [name for name in ROLE_KEYS if getattr(config, name) is not None]
        if given:
            raise UserError(f"{', '.join(given)}: not for the known data set {config.dataset}, whose columns are "
                            "known: set data_file to use a table of your own")
        if (n_rows, n_columns) != (known.n_rows, known.n_inputs + 1):
            raise UserError(f"{table.source}: {config.dataset} has {known.n_rows} rows of {known.n_inputs} inputs and "
                            f"the target, but this table has {n_rows} rows of {n_columns} columns (give rows of your "
                            "own another name)")
    if n_columns < 2:
        raise UserError(f"{table.source}: there is one column only; inputs and, in the last column, a target are "
                        "needed (set separator if fields are separated otherwise; no line may stand before the header)")


def _split(whole: Table, roles: Roles, config: Config, known: typing.Optional[Dataset], n_rows: int,
           n_test: int, classes: typing.Optional[Classes], splitter: typing.Optional[Splitter]) -> Split:
    if known and config.protocol == "standard":
        _check_standard(whole.values, whole.source, config.dataset, known)
    column = roles.group if roles.group is not None else roles.split_column
    groups = None
    if column is not None:
        words = whole.frame.iloc[:, column]
        if words.isna().any():
            where, _ = whole.field(int(np.flatnonzero(words.isna())[0]), column)
            raise UserError(f"{where}: the field is empty, but {label(column, whole.names)} must say of every row "
                            "where it belongs")
        groups = words.to_numpy()
    request = Request(n_rows, split_of(config), known.n_standard_splits if known else 20, config.test_fraction,
                      config.folds, groups, n_test, classes.labels if classes else None)
    if splitter is not None:
        return splitter(request)
    split_rows = lookup(PROTOCOLS, config.protocol, "protocol").split
    split = (STRATIFIED.get(config.protocol, split_rows) if config.stratified else split_rows)(request)
    if config.split not in (None, split.index):
        raise UserError(f"split {config.split} does not exist: split_column holds no folds, so there is one split, "
                        f"number {split.index}")
    return split


def _is_plain(table: Table, transform: TableTransform) -> bool:
    """Tells whether the table is one of numbers, which need no encoding."""
    return (all(table.is_number(column) for column in range(table.frame.shape[1]))
            and not any(column.has_indicator for column in transform.columns)
            and not table.frame.isna().to_numpy().any())


def _texts(column: typing.Any) -> np.ndarray:
    """Returns the words of a pandas Series, object [n], empty where they are missing."""
    return np.array(["" if gone else str(value) for value, gone in zip(column, column.isna())], object)


def _hash(table: Table) -> str:
    """Returns `rows_hash` of a table of numbers; of other tables, a hash of the numbers and the words."""
    numbers = [column for column in range(table.frame.shape[1]) if table.is_number(column)]
    if len(numbers) == table.frame.shape[1]:
        return rows_hash(table.values)
    digest = hashlib.sha256()
    for column in range(table.frame.shape[1]):
        values = table.frame.iloc[:, column]
        if column in numbers:
            digest.update(np.ascontiguousarray(values.to_numpy(), "<f8").tobytes())
        else:
            words = ("\x00" if gone else str(value) for value, gone in zip(values, values.isna()))
            digest.update("\x1f".join(words).encode("utf-8"))
    return digest.hexdigest()[:16]


def _check_standard(values: np.ndarray, source: str, name: str, known: Dataset) -> None:
    """Raises a UserError unless rows and splits are those that papers share under this name."""
    if known.rows_hash not in (None, rows_hash(values)):
        raise UserError(f"{source}: these are not the rows of {name}, in the order for which the standard splits were "
                        f"made (hash {rows_hash(values)}, not {known.rows_hash}): use that file, or protocol published")
    splits = [standard_split(len(values), index, known.n_standard_splits) for index in range(known.n_standard_splits)]
    if known.standard_hash not in (None, split_hash(splits)):
        raise UserError(f"{source}: the standard splits of {name} come out as {split_hash(splits)}, not "
                        f"{known.standard_hash}: the rows or numpy's random numbers are not those for which they were "
                        "made; use protocol published")


