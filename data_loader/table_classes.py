"""Loads a table whose target is a class, splits it and standardises its inputs."""
import typing

import numpy as np

from data_loader.other_rows import OtherRows, encode_as
from data_loader.parts import Part, Spec
from data_loader.regression import about_constant, names_of_rows, standardise
from data_loader.splits import Split, about_repeated, hash_of_rows, n_common, split_hash
from data_loader.table_cells import about_missing
from data_loader.table_notices import about_class_copies
from data_loader.table_transform import TableTransform
from data_loader.tables import SplitTable, load_split_table
from misc.config import Config
from misc.errors import UserError

MOST_CLASSES = 1000


class ClassTableData(typing.NamedTuple):
    """A table of labelled rows, split; inputs are standardised by the training rows."""

    train: Part
    valid: typing.Optional[Part]  # None without validation rows
    test: typing.Optional[Part]  # None if only the validation rows are evaluated
    spec: Spec
    input_mean: np.ndarray  # [d]
    input_std: np.ndarray  # [d]; 1 where a column is constant
    constant: np.ndarray  # bool [d]: inputs that are constant over the training rows; they are 0 in every row
    transform: TableTransform  # from the table's columns to inputs, before they are standardised
    names: typing.Optional[typing.Tuple[str, ...]]  # of the columns, inputs and, last, the target; None: they have none
    is_commented: bool  # whether the names are the words of a comment, which may be any sentence
    classes: typing.List[str]  # in the order of the labels
    source: str  # where the rows came from
    split: Split
    split_hash: str
    rows_hash: str  # of all rows in their order, before the split
    train_hashes: typing.Optional[np.ndarray]  # a hash per training row; None if the rows are not at hand
    n_valid_in_train: typing.Optional[int]  # validation rows that also stand among the training rows; None without any
    n_test_in_train: typing.Optional[int]  # the same of test rows; None if only the validation rows are evaluated
    notices: typing.Tuple[str, ...]  # sentences about what was assumed


def load_class_table(config: Config) -> ClassTableData:
    """Reads, checks, splits and standardises the config's table. Raises a UserError if that is impossible."""
    loaded = load_split_table(config, class_target=True)
    table, split, train_rows, valid_rows = loaded.table, loaded.split, loaded.train_rows, loaded.valid_rows
    classes, labels = _classes(loaded)
    if len(set(labels[train_rows])) < 2:
        raise UserError(f"{table.source}: the training rows are all of one class; there is nothing to learn")
    scaled, mean, std, constant = standardise(loaded.inputs, train_rows, loaded.transform.scaled, table.source)
    hashes = hash_of_rows(np.column_stack([loaded.inputs, labels]))
    n_valid, n_test = (n_common(hashes[rows], hashes[train_rows]) for rows in (valid_rows, split.test))

    def part(rows: np.ndarray) -> Part:
        return Part(scaled[rows], labels[rows], ids=names_of_rows(loaded, rows))

    data = ClassTableData(
        train=part(train_rows), valid=part(valid_rows) if len(valid_rows) else None, test=part(split.test),
        spec=Spec(len(train_rows), (scaled.shape[1],), len(classes), None),
        input_mean=mean, input_std=std, constant=constant, transform=loaded.transform, names=table.names,
        is_commented=table.is_commented, classes=classes, source=table.source, split=split,
        split_hash=split_hash([split]), rows_hash=loaded.rows_hash, train_hashes=hashes[train_rows],
        n_valid_in_train=n_valid if len(valid_rows) else None, n_test_in_train=n_test,
        notices=(*loaded.notices, *_about_absent(classes, labels[train_rows]),
                 *about_constant(loaded.transform, loaded.inputs, train_rows, constant),
                 *about_class_copies(loaded.transform, table.frame.iloc[train_rows, :-1], labels[train_rows]),
                 *about_repeated("rows", validation=(n_valid, len(valid_rows)), test=(n_test, len(split.test)))))
    return data if config.evaluate_on == "test" else data._replace(test=None, n_test_in_train=None)


def class_part(data: ClassTableData, rows: OtherRows) -> Part:
    """Returns the rows of another table with their labels. Raises a UserError for a class that the run does not have.
    """
    assert rows.target is not None, "the table has no target"
    x, notices = encode_as(data, rows)
    names = _names(rows.table.frame.iloc[:, rows.target])
    numbers = {name: number for number, name in enumerate(data.classes)}
    for row, name in enumerate(names):
        if name not in numbers:
            where, word = rows.table.field(row, rows.target)
            what = about_missing(word) if name is None else (f"the run has no class {name!r}; it has "
                                                             f"{', '.join(data.classes[:10])}")
            raise UserError(f"{where}: {what}")
    labels = np.array([numbers[str(name)] for name in names], np.int32)
    n_in_train = None
    if data.train_hashes is not None:
        values = np.column_stack([data.transform.encode(rows.frame)[0], labels])
        n_in_train = n_common(hash_of_rows(values), data.train_hashes)
    return Part(x, labels, n_in_train, (*rows.notices, *notices), rows.ids)


def _classes(loaded: SplitTable) -> typing.Tuple[typing.List[str], np.ndarray]:
    """Returns (names of the classes, sorted as numbers if they are; labels, int32 [n])."""
    names = _names(loaded.target)
    found = sorted({str(name) for name in names}, key=_order)
    if len(found) > min(MOST_CLASSES, len(names) / 2):
        target = loaded.transform.target.label
        raise UserError(f"{loaded.table.source}: the target, {target}, has {len(found)} values in {len(names)} rows: "
                        "too many for classes (mode regression predicts numbers)")
    numbers = {name: number for number, name in enumerate(found)}
    return found, np.array([numbers[str(name)] for name in names], np.int32)


def _names(column: typing.Any) -> typing.List[typing.Optional[str]]:
    """Returns the class of every row; None where it is missing. Whole numbers have no decimals."""
    if column.dtype.kind == "f":
        return [None if np.isnan(value) else f"{value:.15g}" for value in column]
    return [None if value is None or value != value else str(value) for value in column]


def _order(name: str) -> typing.Tuple[bool, float, str]:
    try:
        return False, float(name), name
    except ValueError:
        return True, 0.0, name


def _about_absent(classes: typing.Sequence[str], train_labels: np.ndarray) -> typing.Iterator[str]:
    absent = [name for number, name in enumerate(classes) if not (train_labels == number).any()]
    if absent:
        yield f"note: no training row is of class {', '.join(absent[:10])}, which some other rows are"
