"""Which rows train, which validate and which test. All are functions of numbers; none reads data.

Every result names its protocol and split: numbers of different protocols are not comparable.
"""
import hashlib
import typing

import numpy as np

from misc.config import Config
from misc.errors import UserError

TRAIN_SHARES = {"published": 0.9, "standard": 0.9, "random": 0.8}  # of protocols, unless a config sets another one


class Split(typing.NamedTuple):
    """A division of the rows into those to train on and those to test on."""

    protocol: str  # how it was made: published, standard, random, stratified, or given (by the data set itself)
    index: int  # type: ignore[assignment]  # which of the protocol's splits (hides tuple.index)
    train: np.ndarray  # int [n_train] row numbers, in random order
    test: np.ndarray  # int [n_test] row numbers


def published_split(n_rows: int, index: int, n_splits: int = 0) -> Split:
    """Returns a random 90/10 split by RandomState(index). Zhang et al. (2018) average over 10 of them.

    Any index is a split; `n_splits` is not used, and is there because all functions in PROTOCOLS take it.
    """
    order = np.random.RandomState(index).permutation(n_rows)
    return _cut("published", index, order)


def standard_split(n_rows: int, index: int, n_splits: int) -> Split:
    """Returns split `index` of the `n_splits` fixed ones of Hernandez-Lobato and Adams (2015).

    One generator, seeded with 1, draws the order of each split in turn. Raises a UserError for an index that does
    not exist.
    """
    if index >= n_splits:
        raise UserError(f"split {index} does not exist: the standard protocol has {n_splits} here, counted from 0")
    rng = np.random.RandomState(1)
    for _ in range(index + 1):
        order = rng.choice(range(n_rows), n_rows, replace=False)
    return _cut("standard", index, order)


def random_split(n_rows: int, index: int, test_fraction: float = 0.2) -> Split:
    """Returns a random split by RandomState(index), for images that come without a test set."""
    return _cut("random", index, np.random.RandomState(index).permutation(n_rows), train_share=1.0 - test_fraction)


class Protocol(typing.NamedTuple):
    """A way to split the rows of a table."""

    split: typing.Callable[[int, int, int], Split]  # of (n_rows, index, n_splits)
    first_seed: int  # the seed whose default split is number 0


PROTOCOLS = {"published": Protocol(published_split, 0), "standard": Protocol(standard_split, 1)}


def hold_out(rows: np.ndarray, fraction: float, fold: int = 0) -> typing.Tuple[np.ndarray, np.ndarray]:
    """Returns (training rows, validation rows) of the shuffled `rows`.

    The validation rows of fold 0 are the last `fraction` of the rows, those of fold 1 the part before it, and so on.
    Raises a UserError for a fold that does not exist.
    """
    n_valid = int(round(fraction * len(rows)))
    end = len(rows) - fold * n_valid
    if fold and n_valid == 0:
        raise UserError(f"validation_fold {fold} needs validation rows: set validation_fraction, e.g. to 0.1")
    if fold and end < n_valid:
        raise UserError(f"validation_fold {fold} does not exist: {len(rows)} rows give {len(rows) // n_valid} "
                        f"folds of {n_valid}, counted from 0")
    return np.concatenate([rows[: end - n_valid], rows[end:]]), rows[end - n_valid: end]


HoldOut = typing.Callable[[np.ndarray, float, int], typing.Tuple[np.ndarray, np.ndarray]]  # as hold_out


def training_rows(split: Split, config: Config, choose: HoldOut = hold_out) -> typing.Tuple[np.ndarray, np.ndarray]:
    """Returns (training rows, validation rows) of a split, as the config sets them; `choose` chooses them.

    Raises a UserError for a fold that does not exist, or if evaluate_on needs validation rows and there are none.
    """
    train, valid = choose(split.train, config.validation_fraction, config.validation_fold)
    if config.evaluate_on == "validation" and not len(valid):
        raise UserError(f"validation_fraction {config.validation_fraction:g} of {len(split.train)} training rows "
                        "leaves no row to evaluate on: set a larger one")
    return train, valid


def rows_hash(values: np.ndarray) -> str:
    """Returns the first 16 hex digits of the SHA-256 of the rows as little-endian float64.

    Two tables have the same hash if they have the same values in the same order.
    """
    return hashlib.sha256(np.ascontiguousarray(values + 0.0, "<f8").tobytes()).hexdigest()[:16]


def hash_of_rows(values: np.ndarray) -> np.ndarray:
    """Returns a hash per row, or per image, of values [n, ...]: int64 [n].

    Rows have the same hash if they have the same values. Hashes are comparable within one process only.
    """
    rows = np.ascontiguousarray(values + 0.0 if values.dtype.kind == "f" else values)  # -0.0 + 0.0 is 0.0
    return np.fromiter((hash(row.tobytes()) for row in rows), np.int64, len(rows))


def n_common(hashes: np.ndarray, others: np.ndarray) -> int:
    """Returns how many of the `hashes` are also among the `others`."""
    return int(np.isin(hashes, others).sum())


def about_repeated(what: str, **counts: typing.Tuple[int, int]) -> typing.Iterator[str]:
    """Yields a notice for each part of which some rows are also training rows: part=(how many, of how many)."""
    for part, (n_repeated, n_rows) in counts.items():
        if n_repeated:
            yield f"note: {n_repeated} of the {n_rows} {part} {what} also stand among the training {what}"


def split_hash(splits: typing.Iterable[Split]) -> str:
    """Returns the first 16 hex digits of the SHA-256 of all train and test indices, as little-endian int32.

    The number of training rows goes before them unless it follows from the protocol.
    """
    digest = hashlib.sha256()
    for split in splits:
        cut = [] if _is_cut_as_usual(split) else [[len(split.train)]]
        for rows in (*cut, split.train, split.test):
            digest.update(np.asarray(rows, "<i4").tobytes())
    return digest.hexdigest()[:16]


def _is_cut_as_usual(split: Split) -> bool:
    """Tells whether the protocol says how many rows train. If not, one order of the rows could be of many splits."""
    n_rows = len(split.train) + len(split.test)
    return split.protocol == "given" or len(split.train) == _n_train(n_rows, TRAIN_SHARES.get(split.protocol, -1.0))


def _cut(protocol: str, index: int, order: np.ndarray, train_share: float = 0.9) -> Split:
    n_train = _n_train(len(order), train_share)
    return Split(protocol, index, order[:n_train], order[n_train:])


def _n_train(n_rows: int, train_share: float) -> int:
    return int(round(train_share * n_rows))
