"""Loads a table of numbers, splits it and standardises it."""
import pathlib
import typing

import numpy as np

from data_loader import DATASETS, IMAGE_SETS, Dataset
from data_loader.parts import Part, Spec
from data_loader.splits import PROTOCOLS, Split, rows_hash, split_hash, standard_split, training_rows
from data_loader.table_file import read_table
from misc.config import Config
from misc.errors import UserError
from misc.lookup import did_you_mean, lookup

MIN_ROWS = 10  # so that a tenth of them is at least one test row
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
    n_constant: int  # constant input columns
    source: str  # where the rows came from
    split: Split
    split_hash: str
    rows_hash: str  # of all rows in their order, before the split
    notes: typing.Tuple[str, ...] = ()  # sentences about what was left out


def load_regression(config: Config) -> RegressionData:
    """Reads, checks, splits and standardises `config.dataset`. Raises a UserError if that is impossible."""
    known = DATASETS.get(config.dataset)
    values, source = read_rows(config.dataset, config.data_path)
    _check(values, source, config.dataset, known)
    protocol = lookup(PROTOCOLS, config.protocol, "protocol")
    split = protocol.split(len(values), split_of(config), known.n_standard_splits if known else 20)
    if known and config.protocol == "standard":
        _check_standard(values, source, config.dataset, known)
    train_rows, valid_rows = training_rows(split, config)
    data = _standardise(values, train_rows, valid_rows, split, source)
    return data if config.evaluate_on == "test" else data._replace(test=None)


def split_of(config: Config) -> int:
    """Returns the index of the config's split: as set, else by the seed. Raises a UserError if it has none."""
    first_seed = lookup(PROTOCOLS, config.protocol, "protocol").first_seed
    index = config.split if config.split is not None else config.seed - first_seed
    if index < 0:
        raise UserError("protocol standard with seed 0 has no default split: set split")
    return index


def read_rows(name: str, data_path: str) -> typing.Tuple[np.ndarray, str]:
    """Returns (values [n, d + 1] with the target last, where they come from).

    They are read from NAME.data in data_path if there is such a file; otherwise a known data set is fetched. Raises a
    UserError if there is neither.
    """
    path = pathlib.Path(data_path) / f"{name}.data"
    if path.is_file():
        return read_table(path), str(path)
    if name in IMAGE_SETS:
        raise UserError(f"dataset {name} is for mode classification, but this config's mode is regression")
    if name not in DATASETS:
        _raise_unknown(name, path)
    try:
        return DATASETS[name].fetch()
    except UserError as error:
        raise UserError(f"data set {name}: there is no file {path}, and {error}; "
                        "put the file there (numbers, target last), or set data_path to its folder") from None


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


def _check(values: np.ndarray, source: str, name: str, known: typing.Optional[Dataset]) -> None:
    """Raises a UserError unless the values can be split and are what is known of the data set."""
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


def _standardise(values: np.ndarray, train_rows: np.ndarray, valid_rows: np.ndarray, split: Split,
                 source: str) -> RegressionData:
    """Standardises by the training rows; a standard deviation of 0 becomes 1, so that a constant column becomes 0."""
    train = values[train_rows]
    with np.errstate(all="ignore"):
        mean, std = train.mean(axis=0), train.std(axis=0)
    constant = np.ptp(train, axis=0) == 0  # the computed standard deviation may be a rounding error instead of 0
    if constant[-1]:
        raise UserError(f"{source}: the target is constant over the training rows; there is nothing to learn")
    mean[constant], std[constant] = train[0, constant], 1.0
    with np.errstate(all="ignore"):
        scaled = (values - mean) / std
    if not (np.isfinite(scaled).all() and np.isfinite(std).all() and std.min() >= MIN_STD):
        raise UserError(f"{source}: the values are too large or too small to standardise; change their units")

    def part(rows: np.ndarray) -> Part:
        return Part(scaled[rows, :-1], scaled[rows, -1])

    return RegressionData(
        train=part(train_rows), valid=part(valid_rows) if len(valid_rows) else None, test=part(split.test),
        spec=Spec(len(train_rows), (values.shape[1] - 1,), 1, None),
        input_mean=mean[:-1], input_std=std[:-1],
        target_mean=float(mean[-1]), target_std=float(std[-1]), n_constant=int(constant[:-1].sum()),
        source=source, split=split, split_hash=split_hash([split]), rows_hash=rows_hash(values),
    )
