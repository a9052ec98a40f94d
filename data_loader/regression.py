"""A regression data set, split and standardised."""
import collections
import pathlib

import numpy as np

from data_loader import DATASETS, IMAGE_SETS
from data_loader.parts import Part, Spec
from data_loader.splits import PROTOCOLS, hold_out, rows_hash, split_hash, standard_split
from data_loader.table_file import read_table
from misc.errors import UserError
from misc.lookup import did_you_mean, lookup

MIN_ROWS = 10
TINIEST_STD = 1e-150

Data = collections.namedtuple(
    "Data", ["train", "valid", "test", "spec", "input_mean", "input_std", "target_mean", "target_std", "n_constant",
             "source", "split", "split_hash", "rows_hash"]
)
"""Parts, the inputs' and the target's mean and standard deviation over the training rows (raw units), the
number of constant input columns, where the rows came from, the split, and a hash of all rows
in their order. `valid` is None without validation rows, `test` if only these are evaluated."""


def load_regression(config):
    """Reads, checks, splits and standardises `config.dataset`. UserError if that is impossible."""
    known = DATASETS.get(config.dataset)
    values, source = read_rows(config.dataset, config.data_path)
    _check(values, source, config.dataset, known)
    split_rows, _ = lookup(PROTOCOLS, config.protocol, "protocol")
    index = split_of(config)
    split = split_rows(len(values), index, known.n_standard_splits if known else 20)
    if known and config.protocol == "standard":
        _check_standard(values, source, config.dataset, known)
    train_rows, valid_rows = hold_out(split.train, config.validation_fraction, config.validation_fold)
    if config.evaluate_on == "validation" and not len(valid_rows):
        raise UserError(f"validation_fraction {config.validation_fraction:g} of {len(split.train)} training rows is "
                        "no row to evaluate on: set a larger one")
    data = _standardise(values, train_rows, valid_rows, split, source)
    return data if config.evaluate_on == "test" else data._replace(test=None)


def split_of(config):
    """Number of the config's split: as set, else by the seed. UserError if it has none."""
    index = config.split if config.split is not None else config.seed - lookup(
        PROTOCOLS, config.protocol, "protocol")[1]
    if index < 0:
        raise UserError("protocol standard with seed 0 has no default split: set split")
    return index


def read_rows(name, data_path):
    """(values with the target last, where they come from): NAME.data in data_path, or a known set, fetched."""
    path = pathlib.Path(data_path) / f"{name}.data"
    if path.is_file():
        return read_table(path), str(path)
    if name in IMAGE_SETS:
        raise UserError(f"dataset {name} is for mode classification, this config's mode is regression")
    if name not in DATASETS:
        for other in (path.parent / name, path.parent / f"{name}.csv", path.parent / f"{name}.txt"):
            if other.is_file():
                rename = "" if other.suffix == ".data" else f"rename it to {other.stem}.data and "
                raise UserError(f"unknown dataset {name!r}: there is a file {other}: {rename}give dataset {other.stem}")
        names = [*DATASETS, *(file.stem for file in path.parent.glob("*.data") if file.is_file())]
        raise UserError(f"unknown dataset {name!r}{did_you_mean(name, names)}: there is no file {path} and no set of "
                        "that name (--list shows them)")
    try:
        return DATASETS[name].fetch()
    except UserError as error:
        raise UserError(f"data set {name}: there is no file {path} {error}; "
                        "put the file there (numbers, target last), or set data_path to its folder") from None


def _check(values, source, name, known):
    n_rows, n_columns = values.shape
    if known and (n_rows, n_columns) != (known.n_rows, known.n_inputs + 1):
        raise UserError(f"{source}: {name} has {known.n_rows} rows of {known.n_inputs} inputs and the target, "
                        f"this has {n_rows} rows of {n_columns} columns (for rows of your own take another name)")
    if n_columns < 2:
        raise UserError(f"{source}: one column only; needed are inputs and, last, the target")
    if n_rows < MIN_ROWS:
        raise UserError(f"{source}: {n_rows} rows are too few to split, at least {MIN_ROWS} are needed")
    if not np.isfinite(values).all():
        raise UserError(f"{source}: not all values are finite")


def _check_standard(values, source, name, known):
    """UserError unless these are the rows and splits that papers share under this name."""
    if known.rows_hash not in (None, rows_hash(values)):
        raise UserError(f"{source}: these are not the rows of {name}, in the order for which the standard splits were "
                        f"made (hash {rows_hash(values)}, not {known.rows_hash}): use that file, or protocol published")
    splits = [standard_split(len(values), index, known.n_standard_splits) for index in range(known.n_standard_splits)]
    if known.standard_hash not in (None, split_hash(splits)):
        raise UserError(f"{source}: the standard splits of {name} come out as {split_hash(splits)}, not "
                        f"{known.standard_hash}: rows or numpy are not what they should be; use protocol published")


def _standardise(values, train_rows, valid_rows, split, source):
    """Training statistics only; a standard deviation of 0 becomes 1 (a constant column becomes 0)."""
    train = values[train_rows]
    with np.errstate(all="ignore"):
        mean, std = train.mean(axis=0), train.std(axis=0)
    constant = np.ptp(train, axis=0) == 0
    if constant[-1]:
        raise UserError(f"{source}: the target is constant over the training rows; there is nothing to learn")
    mean[constant], std[constant] = train[0, constant], 1.0
    with np.errstate(all="ignore"):
        scaled = (values - mean) / std
    if not (np.isfinite(scaled).all() and np.isfinite(std).all() and std.min() >= TINIEST_STD):
        raise UserError(f"{source}: the values are too large or too small to standardise; change their units")

    def part(rows):
        return Part(scaled[rows, :-1], scaled[rows, -1]) if len(rows) else None

    return Data(
        train=part(train_rows), valid=part(valid_rows), test=part(split.test),
        spec=Spec(len(train_rows), (values.shape[1] - 1,), 1, None),
        input_mean=mean[:-1], input_std=std[:-1],
        target_mean=float(mean[-1]), target_std=float(std[-1]), n_constant=int(constant[:-1].sum()),
        source=source, split=split, split_hash=split_hash([split]), rows_hash=rows_hash(values),
    )
