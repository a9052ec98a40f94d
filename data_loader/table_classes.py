"""Loads a table whose target is a class, splits it and standardises its inputs."""
import typing

import numpy as np

from data_loader.other_rows import OtherRows, encode_as
from data_loader.parts import Part
from data_loader.splits import hash_of_rows, n_common
from data_loader.table_cells import about_missing
from data_loader.table_data import TableData, standardise, table_data
from data_loader.table_notices import about_class_copies
from data_loader.tables import SplitTable, load_split_table
from misc.config import Config
from misc.errors import UserError

MOST_CLASSES = 1000


def load_class_table(config: Config) -> TableData:
    """Reads, checks, splits and standardises the config's table. Raises a UserError if that is impossible."""
    loaded = load_split_table(config, class_target=True)
    table, rows = loaded.table, loaded.train_rows
    classes, labels = _classes(loaded)
    if len(set(labels[rows])) < 2:
        raise UserError(f"{table.source}: the training rows are all of one class; there is nothing to learn")
    inputs = standardise(loaded.inputs, rows, loaded.transform.scaled, table.source)
    notices = (*_about_absent(classes, labels[rows]),
               *about_class_copies(loaded.transform, table.frame.iloc[rows, :-1], labels[rows]))
    return table_data(config, loaded, inputs, labels, labels, len(classes), notices, classes=classes)


def class_part(data: TableData, rows: OtherRows) -> Part:
    """Returns the rows of another table with their labels. Raises a UserError for a class that the run does not have.
    """
    assert rows.target is not None and data.classes is not None, "there is no target, or it is no class"
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
