"""Loads a table of numbers, splits it and standardises it."""
import pathlib
import typing

import numpy as np

from data_loader import DATASETS, IMAGE_SETS, Dataset
from data_loader.known_tables import check_known, put_target_last
from data_loader.parts import Part, Spec
from data_loader.splits import (
    PROTOCOLS,
    Split,
    about_repeated,
    hash_of_rows,
    n_common,
    rows_hash,
    split_hash,
    standard_split,
    training_rows,
)
from data_loader.table_file import Table, label, read_table
from misc.config import Config
from misc.errors import UserError
from misc.lookup import did_you_mean, lookup

MIN_ROWS = 10  # so that a tenth of them is at least one test row
MOST_NAMED = 10  # constant columns that a notice names
MIN_STD = 1e-150  # standard deviations below 1e-154 underflow when they are squared


class RegressionData(typing.NamedTuple):
    """A table, split and standardised by the training rows. Means and standard deviations are in raw units."""

    train: Part
    valid: typing.Optional[Part]  # None without validation rows
    test: typing.Optional[Part]  # None if only the validation rows are evaluated
    spec: Spec
    input_mean: np.ndarray  # [d]
    input_std: np.ndarray  # [d]; 1 where a column is constant
    target_mean: float
    target_std: float
    constant: np.ndarray  # bool [d]: inputs that are constant over the training rows; they are 0 in every row
    names: typing.Optional[typing.Tuple[str, ...]]  # of the columns, the target's last; None if they have none
    is_commented: bool  # whether the names are the words of a comment, which may be any sentence
    source: str  # where the rows came from
    split: Split
    split_hash: str
    rows_hash: str  # of all rows in their order, before the split
    train_hashes: np.ndarray  # a hash per training row
    n_valid_in_train: typing.Optional[int]  # validation rows that also stand among the training rows; None without any
    n_test_in_train: typing.Optional[int]  # the same of test rows; None if only the validation rows are evaluated
    notices: typing.Tuple[str, ...]  # sentences about what was assumed


def load_regression(config: Config) -> RegressionData:
    """Reads, checks, splits and standardises `config.dataset`. Raises a UserError if that is impossible."""
    known = DATASETS.get(config.dataset)
    table = read_rows(config.dataset, config.data_path)
    _check(table, config.dataset, known)
    table = put_target_last(table, known)
    check_known(table, config.dataset, known)
    values = table.values
    protocol = lookup(PROTOCOLS, config.protocol, "protocol")
    split = protocol.split(len(values), split_of(config), known.n_standard_splits if known else 20)
    if known and config.protocol == "standard":
        _check_standard(values, table.source, config.dataset, known)
    train_rows, valid_rows = training_rows(split, config)
    data = _standardise(table, train_rows, valid_rows, split)
    return data if config.evaluate_on == "test" else data._replace(test=None, n_test_in_train=None)


def split_of(config: Config) -> int:
    """Returns the index of the config's split: as set, else by the seed. Raises a UserError if it has none."""
    first_seed = lookup(PROTOCOLS, config.protocol, "protocol").first_seed
    index = config.split if config.split is not None else config.seed - first_seed
    if index < 0:
        raise UserError("protocol standard with seed 0 has no default split: set split")
    return index


def read_rows(name: str, data_path: str) -> Table:
    """Returns the rows of a data set.

    They are read from NAME.data in data_path if there is such a file; otherwise a known data set is fetched. Raises a
    UserError if there is neither.
    """
    path = pathlib.Path(data_path) / f"{name}.data"
    if path.is_file():
        return read_table(path)
    if name in IMAGE_SETS:
        raise UserError(f"dataset {name} is for mode classification, but this config's mode is regression")
    if name not in DATASETS:
        _raise_unknown(name, path)
    try:
        values, source = DATASETS[name].fetch()
    except UserError as error:
        raise UserError(f"data set {name}: there is no file {path}, and {error}; "
                        "put the file there (numbers, target last), or set data_path to its folder") from None
    return Table(values, None, source)


def _raise_unknown(name: str, path: pathlib.Path) -> typing.NoReturn:
    """Raises the UserError for a name that is neither a file nor known; it names the file or set that was meant."""
    for other in (path.parent / name, path.parent / f"{name}.csv", path.parent / f"{name}.txt"):
        if other.is_file():
            rename = "" if other.suffix == ".data" else f"rename it to {other.stem}.data and "
            raise UserError(f"unknown dataset {name!r}, but there is a file {other}: {rename}set dataset to "
                            f"{other.stem}")
    names = [*DATASETS, *(file.stem for file in path.parent.glob("*.data") if file.is_file())]
    raise UserError(f"unknown dataset {name!r}{did_you_mean(name, names)}: there is no file {path}, and no known data "
                    "set has that name (--list shows them)")


def _check(table: Table, name: str, known: typing.Optional[Dataset]) -> None:
    """Raises a UserError unless the values can be split and are what is known of the data set."""
    values, source = table.values, table.source
    n_rows, n_columns = values.shape
    if known and (n_rows, n_columns) != (known.n_rows, known.n_inputs + 1):
        raise UserError(f"{source}: {name} has {known.n_rows} rows of {known.n_inputs} inputs and the target, but this "
                        f"table has {n_rows} rows of {n_columns} columns (give rows of your own another name)")
    if n_columns < 2:
        raise UserError(f"{source}: there is one column only; inputs and, in the last column, a target are needed")
    if n_rows < MIN_ROWS:
        raise UserError(f"{source}: {n_rows} rows are too few to split, at least {MIN_ROWS} are needed")
    if not np.isfinite(values).all():
        raise UserError(f"{source}: not all values are finite")


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


def _standardise(table: Table, train_rows: np.ndarray, valid_rows: np.ndarray, split: Split) -> RegressionData:
    """Standardises by the training rows. A column that is constant over them becomes 0 in every row."""
    values, source = table.values, table.source
    train = values[train_rows]
    with np.errstate(all="ignore"):
        mean, std = train.mean(axis=0), train.std(axis=0)
    constant = _is_constant(train, mean, std)
    if constant[-1]:
        spread = np.ptp(train[:, -1])
        why = f"varies by {spread:.2g} only, as rounding does (subtract an offset from it)" if spread else "is constant"
        raise UserError(f"{source}: the target {why} over the training rows; there is nothing to learn")
    mean[constant], std[constant] = train[0, constant], 1.0
    with np.errstate(all="ignore"):
        scaled = np.where(constant, 0.0, (values - mean) / std)
    if not (np.isfinite(scaled).all() and np.isfinite(std).all() and std.min() >= MIN_STD):
        raise UserError(f"{source}: the values are too large or too small to standardise; change their units")

    def part(rows: np.ndarray) -> Part:
        return Part(scaled[rows, :-1], scaled[rows, -1])

    hashes = hash_of_rows(values)
    n_valid, n_test = (n_common(hashes[rows], hashes[train_rows]) for rows in (valid_rows, split.test))
    return RegressionData(
        train=part(train_rows), valid=part(valid_rows) if len(valid_rows) else None, test=part(split.test),
        spec=Spec(len(train_rows), (values.shape[1] - 1,), 1, None),
        input_mean=mean[:-1], input_std=std[:-1],
        target_mean=float(mean[-1]), target_std=float(std[-1]), constant=constant[:-1], names=table.names,
        is_commented=table.is_commented, source=source, split=split, split_hash=split_hash([split]),
        rows_hash=rows_hash(values),
        train_hashes=hashes[train_rows], n_valid_in_train=n_valid if len(valid_rows) else None, n_test_in_train=n_test,
        notices=(*table.notices, *_about_constant(table, train, constant),
                 *about_repeated("rows", validation=(n_valid, len(valid_rows)), test=(n_test, len(split.test)))),
    )


def _is_constant(train: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Tells which columns of the training rows [n, d + 1] vary by no more than rounding can explain: bool [d + 1].

    As in scikit-learn (`_is_constant_feature`): var <= n eps var + (n mean eps)^2. Standard deviations are compared
    instead of variances, whose squares could underflow. A deviation of 0 that is not exact has underflown: it counts
    as spread.
    """
    n_eps = len(train) * np.finfo(np.float64).eps
    with np.errstate(all="ignore"):
        below_rounding = np.isfinite(std) & (std > 0) & (std * np.sqrt(1.0 - n_eps) <= n_eps * np.abs(mean))
        return below_rounding | (np.ptp(train, axis=0) == 0)


def _about_constant(table: Table, train: np.ndarray, constant: np.ndarray) -> typing.List[str]:
    """Returns a notice that names the constant inputs and counts the rows in which they have other values."""
    columns = [int(column) for column in np.flatnonzero(constant)]
    if not columns:
        return []
    words = []
    for column in columns[:MOST_NAMED]:
        low, high = train[:, column].min(), train[:, column].max()
        n_other = int(((table.values[:, column] < low) | (table.values[:, column] > high)).sum())
        others = f" (other values in {n_other} row{'s' if n_other > 1 else ''} are not used)" if n_other else ""
        words.append(label(column, table.names) + others)
    more = f" and {len(columns) - MOST_NAMED} more" if len(columns) > MOST_NAMED else ""
    return [f"note: constant over the training rows, so 0 in every row: {', '.join(words)}{more}"]
