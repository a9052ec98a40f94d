"""The data of a table: its rows, split and standardised, whether numbers or classes are predicted."""
import typing

import numpy as np

from data_loader.parts import Part, Spec
from data_loader.row_blocks import LARGE_NUMBERS, Numbers, aligned_empty, slices, sum_of_rows
from data_loader.splits import Split, about_repeated, hash_of_rows, n_common, split_hash
from data_loader.table_transform import TableTransform
from data_loader.tables import SplitTable
from misc.config import Config
from misc.errors import UserError

MOST_NAMED = 10  # constant columns that a notice names
MIN_STD = 1e-150  # standard deviations below 1e-154 underflow when they are squared


class TableData(typing.NamedTuple):
    """A table, split and standardised by the training rows. Means and standard deviations are in raw units."""

    train: Part
    valid: typing.Optional[Part]  # None without validation rows
    test: typing.Optional[Part]  # None if only the validation rows are evaluated, or if all rows train
    spec: Spec
    input_mean: np.ndarray  # [d]
    input_std: np.ndarray  # [d]; 1 where a column is constant
    constant: np.ndarray  # bool [d]: inputs that are constant over the training rows; they are 0 in every row
    transform: TableTransform  # from the table's columns to inputs, before they are standardised
    names: typing.Optional[typing.Tuple[str, ...]]  # of the columns, inputs and, last, targets; None: they have none
    is_commented: bool  # whether the names are the words of a comment, which may be any sentence
    source: str  # where the rows came from
    split: Split
    split_hash: str
    rows_hash: str  # of all rows in their order, before the split
    train_hashes: typing.Optional[np.ndarray]  # a hash per training row; None if the rows are not at hand
    n_valid_in_train: typing.Optional[int]  # validation rows that also stand among the training rows; None without any
    n_test_in_train: typing.Optional[int]  # the same of test rows; None if only the validation rows are evaluated
    notices: typing.Tuple[str, ...]  # sentences about what was assumed
    target_mean: typing.Any = None  # of a regression: a float, or [m] of m targets
    target_std: typing.Any = None  # likewise
    classes: typing.Optional[typing.List[str]] = None  # of a classification: names, in the order of the labels
    input_range: typing.Optional[np.ndarray] = None  # [2, d], lowest and highest over the training rows, raw


class Standards(typing.NamedTuple):
    """By what columns are standardised: statistics of the training rows."""

    mean: np.ndarray      # [c]
    std: np.ndarray       # [c]
    constant: np.ndarray  # bool [c]: constant over the training rows, and 0 in every row
    range: np.ndarray     # [2, c], lowest and highest over the training rows, raw

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Returns the standardised values of some rows, [n, c]."""
        with np.errstate(all="ignore"):
            return np.where(self.constant, 0.0, (values - self.mean) / self.std)

    def of(self, columns: slice) -> "Standards":
        """Returns the standards of some of the columns."""
        return Standards(self.mean[columns], self.std[columns], self.constant[columns], self.range[:, columns])


def standards_of(values: Numbers, rows: np.ndarray, is_scaled: np.ndarray, source: str) -> Standards:
    """Finds how columns are standardised by the training rows. One that is constant over them becomes 0 in every row.

    Args:
      values: [n, c].
      rows: numbers of the training rows.
      is_scaled: bool [c]; the other columns, which hold 0 and 1, stay as they are.
      source: where the table comes from.

    Raises a UserError for values that float64 cannot standardise.
    """
    with np.errstate(all="ignore"):
        mean = sum_of_rows(values.blocks(rows)) / len(rows)
        std = np.sqrt(sum_of_rows(np.square(block - mean) for block in values.blocks(rows)) / len(rows))
    ends = _ends(values.blocks(rows))
    constant = _is_constant(len(rows), ends, mean, std)
    mean[constant], std[constant] = values.rows(rows[:1])[0, constant], 1.0
    mean[~is_scaled & ~constant], std[~is_scaled] = 0.0, 1.0
    found = Standards(mean, std, constant, ends)
    # Rounding keeps the order, so that all values are finite if the lowest and the highest of each column are.
    is_finite = np.isfinite(found.scaled(_ends(values.blocks()))).all() and np.isfinite(std).all()
    if not (is_finite and std.min() >= MIN_STD):
        raise UserError(f"{source}: the values are too large or too small to standardise; change their units")
    return found


def _ends(blocks: typing.Iterable[np.ndarray]) -> np.ndarray:
    """Returns the lowest and the highest values of all columns of blocks [n, c]: [2, c]."""
    pairs = np.array([[block.min(axis=0), block.max(axis=0)] for block in blocks])
    return np.stack([pairs[:, 0].min(axis=0), pairs[:, 1].max(axis=0)])


def table_data(config: Config, loaded: SplitTable, inputs: Standards, targets: np.ndarray, raw_targets: np.ndarray,
               n_outputs: int, notices: typing.Iterable[str] = (), **about_target: typing.Any) -> TableData:
    """Returns the data of a table whose inputs and targets are ready.

    Args:
      inputs: how the encoded inputs are standardised.
      targets: standardised, [n] or [n, m], or labels.
      raw_targets: as they identify a row, [n] or [n, m].
      n_outputs: number of targets, or of classes.
      notices: further sentences about what was assumed.
      about_target: target_mean and target_std, or classes.
    """
    table, split, train_rows, valid_rows = loaded.table, loaded.split, loaded.train_rows, loaded.valid_rows
    hashes = np.concatenate([hash_of_rows(block) for block in Numbers((loaded.inputs, raw_targets)).blocks()])
    n_valid, n_test = (n_common(hashes[rows], hashes[train_rows]) for rows in (valid_rows, split.test))

    def part(rows: np.ndarray) -> Part:
        return Part(_scaled_inputs(loaded, inputs, rows, config.precision), targets[rows],
                    ids=_names_of_rows(loaded, rows), id_name=loaded.transform.id_name)

    on_test = config.evaluate_on == "test" and len(split.test) > 0
    return TableData(
        train=part(train_rows), valid=part(valid_rows) if len(valid_rows) else None,
        test=part(split.test) if on_test else None,
        spec=Spec(len(train_rows), (len(inputs.mean),), n_outputs, None,
                  len(valid_rows) + (len(split.test) if on_test else 0)),
        input_mean=inputs.mean, input_std=inputs.std, constant=inputs.constant, transform=loaded.transform,
        names=table.names, is_commented=table.is_commented, source=table.source, split=split,
        split_hash=split_hash([split]), rows_hash=loaded.rows_hash, train_hashes=hashes[train_rows],
        n_valid_in_train=n_valid if len(valid_rows) else None, n_test_in_train=n_test if on_test else None,
        notices=(*loaded.notices, *_about_constant(loaded, inputs.constant), *notices,
                 *about_repeated("rows", validation=(n_valid, len(valid_rows)), test=(n_test, len(split.test)))),
        input_range=inputs.range, **about_target)


def _scaled_inputs(loaded: SplitTable, standards: Standards, rows: np.ndarray, precision: str) -> np.ndarray:
    """Returns the standardised inputs of some rows, [n, d]: float64, or of a large table in the graph's precision.

    The graph rounds to its precision anyway. The array of a large table is one that the graph can share; it cannot be
    written to.
    """
    inputs, n_columns = Numbers((loaded.inputs,)), len(standards.mean)
    is_large = loaded.inputs.size >= LARGE_NUMBERS
    scaled = aligned_empty((len(rows), n_columns), precision if is_large else np.float64)
    for part in slices(len(rows), n_columns):
        scaled[part] = standards.scaled(inputs.rows(rows[part]))
    scaled.flags.writeable = not is_large
    return scaled


def _names_of_rows(loaded: SplitTable, rows: np.ndarray) -> np.ndarray:
    """Returns what predictions call these rows: the values of the column row_id, or their numbers from 1."""
    return rows + 1 if loaded.ids is None else loaded.ids[rows]


def _is_constant(n_rows: int, ends: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Tells which columns vary by no more than rounding can explain over so many training rows: bool [c].

    As in scikit-learn (`_is_constant_feature`): var <= n eps var + (n mean eps)^2. Standard deviations are compared
    instead of variances, whose squares could underflow. A deviation of 0 that is not exact has underflown: it counts
    as spread.

    ends: the lowest and the highest values, [2, c].
    """
    n_eps = n_rows * np.finfo(np.float64).eps
    with np.errstate(all="ignore"):
        below_rounding = np.isfinite(std) & (std > 0) & (std * np.sqrt(1.0 - n_eps) <= n_eps * np.abs(mean))
        return below_rounding | (ends[1] - ends[0] == 0)


def _about_constant(loaded: SplitTable, constant: np.ndarray) -> typing.List[str]:
    """Returns a notice that names the constant inputs and counts the rows in which they have other values."""
    columns, values, rows = [int(column) for column in np.flatnonzero(constant)], loaded.inputs, loaded.train_rows
    if not columns:
        return []
    words = []
    for column in columns[:MOST_NAMED]:
        low, high = values[rows, column].min(), values[rows, column].max()
        n_other = int(((values[:, column] < low) | (values[:, column] > high)).sum())
        others = f" (other values in {n_other} row{'s' if n_other > 1 else ''} are not used)" if n_other else ""
        words.append(loaded.transform.label(column) + others)
    more = f" and {len(columns) - MOST_NAMED} more" if len(columns) > MOST_NAMED else ""
    return [f"note: constant over the training rows, so 0 in every row: {', '.join(words)}{more}"]
