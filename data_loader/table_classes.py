"""Loads a table whose target is a class, splits it and standardises its inputs."""
import typing

import numpy as np

from data_loader.other_rows import OtherRows, encode_as
from data_loader.parts import Part
from data_loader.row_blocks import Numbers
from data_loader.splits import Splitter, hash_of_rows, n_common
from data_loader.table_cells import about_missing
from data_loader.table_data import TableData, standards_of, table_data
from data_loader.table_file import Table
from data_loader.table_labels import class_names
from data_loader.table_notices import about_class_copies
from data_loader.tables import load_split_table
from misc.config import Config
from misc.errors import UserError


def load_class_table(config: Config, given: typing.Optional[Table] = None,
                     splitter: typing.Optional[Splitter] = None) -> TableData:
    """Reads, checks, splits and standardises the config's table. Raises a UserError if that is impossible.

    Args:
      given: the table, if it is in memory; None: it is read.
      splitter: chooses the split; None: the config's protocol.
    """
    loaded = load_split_table(config, class_target=True, given=given, splitter=splitter)
    table, rows = loaded.table, loaded.train_rows
    assert loaded.classes is not None, "they are asked for"
    classes, labels = loaded.classes
    if len(set(labels[rows])) < 2:
        raise UserError(f"{table.source}: the training rows are all of one class; there is nothing to learn")
    inputs = standards_of(Numbers((loaded.inputs,)), rows, loaded.transform.scaled, table.source)
    notices = (*_about_absent(classes, labels[rows]),
               *about_class_copies(loaded.transform, table.frame.iloc[rows, :-1], labels[rows]))
    return table_data(config, loaded, inputs, labels, labels, len(classes), notices, classes=classes)


def class_part(data: TableData, rows: OtherRows) -> Part:
    """Returns the rows of another table with their labels. Raises a UserError for a class that the run does not have.
    """
    assert rows.target is not None and data.classes is not None, "there is no target, or it is no class"
    x, notices = encode_as(data, rows)
    names = class_names(rows.table.frame.iloc[:, rows.target])
    numbers = {name: number for number, name in enumerate(data.classes)}
    for row, name in enumerate(names):
        if name not in numbers:
            where, word = rows.table.field(row, rows.target)
            what = f"the run has no class {name!r}; it has {', '.join(data.classes[:10])}"
            if name is None:
                what = about_missing(word, "a target is not replaced")
            raise UserError(f"{where}: {what}")
    labels = np.array([numbers[str(name)] for name in names], np.int32)
    n_in_train = None
    if data.train_hashes is not None:
        values = np.column_stack([data.transform.encode(rows.frame)[0], labels])
        n_in_train = n_common(hash_of_rows(values), data.train_hashes)
    return Part(x, labels, n_in_train, (*rows.notices, *notices), rows.ids, data.transform.id_name)


def _about_absent(classes: typing.Sequence[str], train_labels: np.ndarray) -> typing.Iterator[str]:
    absent = [name for number, name in enumerate(classes) if not (train_labels == number).any()]
    if absent:
        yield f"note: no training row is of class {', '.join(absent[:10])}, which some other rows are"
