"""Loads a table whose target is a number, splits it and standardises it."""
import typing

import numpy as np

from data_loader.parts import Part, Spec
from data_loader.splits import Split, about_repeated, hash_of_rows, n_common, split_hash
from data_loader.table_notices import about_copies, about_two_values
from data_loader.table_transform import TableTransform
from data_loader.tables import SplitTable, load_split_table
from misc.config import Config
from misc.errors import UserError

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
    target_mean: typing.Any  # a float, or [m] of m targets
    target_std: typing.Any  # likewise
    constant: np.ndarray  # bool [d]: inputs that are constant over the training rows; they are 0 in every row
    transform: TableTransform  # from the table's columns to inputs, before they are standardised
    names: typing.Optional[typing.Tuple[str, ...]]  # of the columns, inputs and, last, the target; None: they have none
    is_commented: bool  # whether the names are the words of a comment, which may be any sentence
    source: str  # where the rows came from
    split: Split
    split_hash: str
    rows_hash: str  # of all rows in their order, before the split
    train_hashes: typing.Optional[np.ndarray]  # a hash per training row; None if the rows are not at hand
    n_valid_in_train: typing.Optional[int]  # validation rows that also stand among the training rows; None without any
    n_test_in_train: typing.Optional[int]  # the same of test rows; None if only the validation rows are evaluated
    notices: typing.Tuple[str, ...]  # sentences about what was assumed


def load_regression(config: Config) -> RegressionData:
    """Reads, checks, splits and standardises the config's table. Raises a UserError if that is impossible."""
    data = _standardise(load_split_table(config))
    return data if config.evaluate_on == "test" else data._replace(test=None, n_test_in_train=None)


class Standards(typing.NamedTuple):
    """Columns [n, c], standardised by the training rows, and by what."""

    scaled: np.ndarray    # [n, c]
    mean: np.ndarray      # [c]
    std: np.ndarray       # [c]
    constant: np.ndarray  # bool [c]: constant over the training rows, and 0 in every row


def standardise(values: np.ndarray, rows: np.ndarray, is_scaled: np.ndarray, source: str) -> Standards:
    """Standardises columns by the training rows. A column that is constant over them becomes 0 in every row.

    Args:
      values: [n, c].
      rows: numbers of the training rows.
      is_scaled: bool [c]; the other columns, which hold 0 and 1, stay as they are.
      source: where the table comes from.

    Raises a UserError for values that float64 cannot standardise.
    """
    train = values[rows]
    with np.errstate(all="ignore"):
        mean, std = train.mean(axis=0), train.std(axis=0)
    constant = is_constant(train, mean, std)
    mean[constant], std[constant] = train[0, constant], 1.0
    mean[~is_scaled & ~constant], std[~is_scaled] = 0.0, 1.0
    with np.errstate(all="ignore"):
        scaled = np.where(constant, 0.0, (values - mean) / std)
    if not (np.isfinite(scaled).all() and np.isfinite(std).all() and std.min() >= MIN_STD):
        raise UserError(f"{source}: the values are too large or too small to standardise; change their units")
    return Standards(scaled, mean, std, constant)


def _standardise(loaded: SplitTable) -> RegressionData:
    table, split, train_rows, valid_rows = loaded.table, loaded.split, loaded.train_rows, loaded.valid_rows
    values = table.values if loaded.is_plain else np.column_stack([loaded.inputs, loaded.targets])
    n_targets = len(loaded.roles.targets)
    n_inputs, one = values.shape[1] - n_targets, n_targets == 1
    is_scaled = np.append(loaded.transform.scaled, np.ones(n_targets, bool))
    scaled, mean, std, constant = standardise(values, train_rows, is_scaled, table.source)
    for column in range(n_inputs, values.shape[1]):
        if constant[column]:
            _refuse_constant(loaded, values[train_rows, column], column - n_inputs)

    def part(rows: np.ndarray) -> Part:
        return Part(scaled[rows, :n_inputs], scaled[rows, n_inputs] if one else scaled[rows, n_inputs:],
                    ids=names_of_rows(loaded, rows))

    train, hashes = part(train_rows), hash_of_rows(values)
    n_valid, n_test = (n_common(hashes[rows], hashes[train_rows]) for rows in (valid_rows, split.test))
    return RegressionData(
        train=train, valid=part(valid_rows) if len(valid_rows) else None, test=part(split.test),
        spec=Spec(len(train_rows), (n_inputs,), n_targets, None),
        input_mean=mean[:n_inputs], input_std=std[:n_inputs],
        target_mean=float(mean[-1]) if one else mean[n_inputs:], target_std=float(std[-1]) if one else std[n_inputs:],
        constant=constant[:n_inputs], transform=loaded.transform,
        names=table.names, is_commented=table.is_commented, source=table.source, split=split,
        split_hash=split_hash([split]), rows_hash=loaded.rows_hash,
        train_hashes=hashes[train_rows], n_valid_in_train=n_valid if len(valid_rows) else None, n_test_in_train=n_test,
        notices=(*loaded.notices, *about_constant(loaded.transform, values, train_rows, constant),
                 *(notice for column in range(n_inputs, values.shape[1]) for notice in (
                     *about_copies(loaded.transform, train.x, scaled[train_rows, column]),
                     *about_two_values(values[:, column]))),
                 *about_repeated("rows", validation=(n_valid, len(valid_rows)), test=(n_test, len(split.test)))),
    )


def _refuse_constant(loaded: SplitTable, targets: np.ndarray, number: int) -> typing.NoReturn:
    """Raises a UserError for a target that does not vary over the training rows; number: which of them, from 0."""
    spread, places = np.ptp(targets), loaded.transform.targets
    why = f"varies by {spread:.2g} only, as rounding does (subtract an offset from it)" if spread else "is constant"
    name = "the target" if len(places) == 1 else f"the target {places[number].label}"
    raise UserError(f"{loaded.table.source}: {name} {why} over the training rows; there is nothing to learn")


def names_of_rows(loaded: SplitTable, rows: np.ndarray) -> np.ndarray:
    """Returns what predictions call these rows: the values of the column row_id, or their numbers from 1."""
    return rows + 1 if loaded.ids is None else loaded.ids[rows]


def is_constant(train: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Tells which columns of the training rows [n, d + 1] vary by no more than rounding can explain: bool [d + 1].

    As in scikit-learn (`_is_constant_feature`): var <= n eps var + (n mean eps)^2. Standard deviations are compared
    instead of variances, whose squares could underflow. A deviation of 0 that is not exact has underflown: it counts
    as spread.
    """
    n_eps = len(train) * np.finfo(np.float64).eps
    with np.errstate(all="ignore"):
        below_rounding = np.isfinite(std) & (std > 0) & (std * np.sqrt(1.0 - n_eps) <= n_eps * np.abs(mean))
        return below_rounding | (np.ptp(train, axis=0) == 0)


def about_constant(transform: TableTransform, values: np.ndarray, rows: np.ndarray,
                   constant: np.ndarray) -> typing.List[str]:
    """Returns a notice that names the constant inputs and counts the rows in which they have other values."""
    columns = [int(column) for column in np.flatnonzero(constant)]
    if not columns:
        return []
    words = []
    for column in columns[:MOST_NAMED]:
        low, high = values[rows, column].min(), values[rows, column].max()
        n_other = int(((values[:, column] < low) | (values[:, column] > high)).sum())
        others = f" (other values in {n_other} row{'s' if n_other > 1 else ''} are not used)" if n_other else ""
        words.append(transform.label(column) + others)
    more = f" and {len(columns) - MOST_NAMED} more" if len(columns) > MOST_NAMED else ""
    return [f"note: constant over the training rows, so 0 in every row: {', '.join(words)}{more}"]
