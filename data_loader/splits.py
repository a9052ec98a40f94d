"""Which rows train, which validate and which test. All are functions of numbers; none reads data.

Every result names its protocol and split: numbers of different protocols are not comparable.
"""
import hashlib
import typing

import numpy as np

from data_loader.row_blocks import slices
from misc.config import Config
from misc.errors import UserError

TRAIN_SHARES = {"published": 0.9, "standard": 0.9, "random": 0.8}  # of protocols, unless a config sets another one


GIVEN = "given"  # protocol of sets of images with test images of their own, which no seed chooses


class Split(typing.NamedTuple):
    """A division of the rows into those to train on and those to test on."""

    protocol: str  # how: a key of PROTOCOLS, stratified, stratified_kfold, or given (by the data set itself)
    index: int  # type: ignore[assignment]  # which of the protocol's splits (hides tuple.index)
    train: np.ndarray  # int [n_train] row numbers, in random order
    test: np.ndarray  # int [n_test] row numbers
    valid: typing.Optional[np.ndarray] = None  # int [n_valid] row numbers, if the protocol sets validation rows aside


def published_split(n_rows: int, index: int) -> Split:
    """Returns a random 90/10 split by RandomState(index). Zhang et al. (2018) average over 10 of them."""
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


class Request(typing.NamedTuple):
    """What a protocol of a table may need to know."""

    n_rows: int
    index: int  # type: ignore[assignment]  # of the split (hides tuple.index)
    n_splits: int = 20                         # number of standard splits
    test_fraction: float = 0.2
    folds: int = 10
    groups: typing.Optional[np.ndarray] = None  # a value per row: of the group, or of the split column
    n_test: int = 0                            # number of the last rows that come from a file of test rows
    labels: typing.Optional[np.ndarray] = None  # a class per row, int [n_rows], for splits by class


def fraction_split(request: Request) -> Split:
    """Returns a random split by RandomState(index), of which `test_fraction` tests."""
    order = np.random.RandomState(request.index).permutation(request.n_rows)
    return _cut("random", request.index, order, train_share=1.0 - request.test_fraction)


def kfold_split(request: Request) -> Split:
    """Returns fold index % folds of scikit-learn's KFold, shuffled by index // folds."""
    from sklearn.model_selection import KFold

    if request.folds > request.n_rows:
        raise UserError(f"folds {request.folds}: there are {request.n_rows} rows only")
    turn, fold = divmod(request.index, request.folds)
    pairs = list(KFold(request.folds, shuffle=True, random_state=turn).split(np.zeros(request.n_rows)))
    return Split("kfold", request.index, _shuffled(pairs[fold][0], request.index), pairs[fold][1])


def ordered_split(request: Request) -> Split:
    """Returns the split whose test rows are the last `test_fraction`; there is one only."""
    n_train = int(round((1.0 - request.test_fraction) * request.n_rows))
    return Split("ordered", 0, np.arange(n_train), np.arange(n_train, request.n_rows))


def group_split(request: Request) -> Split:
    """Returns a split by scikit-learn's GroupShuffleSplit: about `test_fraction` of the groups test."""
    from sklearn.model_selection import GroupShuffleSplit

    assert request.groups is not None, "the config's check has asked for a group"
    names, groups = np.unique(request.groups.astype(str), return_inverse=True)
    if len(names) < 2:
        raise UserError("protocol group needs at least two groups")
    chooser = GroupShuffleSplit(1, test_size=request.test_fraction, random_state=request.index)
    train, test = next(chooser.split(np.zeros(request.n_rows), groups=groups))
    return Split("group", request.index, _shuffled(train, request.index), test)


def column_split(request: Request) -> Split:
    """Returns the split that a column gives: train, valid and test, or numbers of folds, of which `index` tests."""
    assert request.groups is not None, "the config's check has asked for a split column"
    words = np.char.lower(np.char.strip(request.groups.astype(str)))
    kinds = sorted(set(map(str, words)))
    if set(kinds) <= {*TRAIN_WORDS, *VALID_WORDS, *TEST_WORDS}:
        train, valid, test = (np.flatnonzero(np.isin(words, list(those))) for those in (
            TRAIN_WORDS, VALID_WORDS, TEST_WORDS))
        return Split("column", 0, _shuffled(train, 0), test, valid if len(valid) else None)
    try:
        folds = words.astype(float)
    except ValueError:
        raise UserError(f"split_column holds {', '.join(map(repr, kinds[:6]))}: it must hold train, valid and test, or "
                        "the numbers of folds") from None
    if not (folds % 1 == 0).all():
        raise UserError(f"split_column holds numbers such as {folds[folds % 1 != 0][0]:g}: it must hold train, valid "
                        "and test, or the numbers of folds")
    numbers = np.unique(folds)
    if len(numbers) < 2 or request.index >= len(numbers):
        raise UserError(f"split {request.index} does not exist: split_column holds {len(numbers)} "
                        f"fold{'s' if len(numbers) > 1 else ''}, counted from 0")
    tests = folds == numbers[request.index]
    return Split("column", request.index, _shuffled(np.flatnonzero(~tests), request.index), np.flatnonzero(tests))


def file_split(request: Request) -> Split:
    """Returns the split whose test rows, the last ones, come from another file; there is one only."""
    n_train = request.n_rows - request.n_test
    return Split("file", 0, _shuffled(np.arange(n_train), 0), np.arange(n_train, request.n_rows))


def all_rows(request: Request) -> Split:
    """Returns the split in which every row trains and none tests; there is one only."""
    return Split(ALL, 0, np.arange(request.n_rows), np.arange(0))


ALL = "all"
TRAIN_WORDS, VALID_WORDS, TEST_WORDS = {"train", "training"}, {"valid", "val", "validation", "dev"}, {"test", "testing"}


Splitter = typing.Callable[[Request], Split]


class Protocol(typing.NamedTuple):
    """A way to split the rows of a table."""

    split: Splitter
    first_seed: typing.Optional[int]  # the seed whose default split is number 0; None: there is only split 0


PROTOCOLS = {
    "published": Protocol(lambda request: published_split(request.n_rows, request.index), 0),
    "standard": Protocol(lambda request: standard_split(request.n_rows, request.index, request.n_splits), 1),
    "random": Protocol(fraction_split, 1), "kfold": Protocol(kfold_split, 1), "ordered": Protocol(ordered_split, None),
    "group": Protocol(group_split, 1), "column": Protocol(column_split, 1), "file": Protocol(file_split, None),
    ALL: Protocol(all_rows, None),
}


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
    if split.valid is not None:
        if config.validation_fraction:
            raise UserError("validation_fraction: the split column has validation rows of its own: leave it out")
        return split.train, split.valid
    rows = _shuffled(split.train, 0) if split.protocol == ALL and config.validation_fraction else split.train
    train, valid = choose(rows, config.validation_fraction, config.validation_fold)
    if split.protocol == "ordered":  # the validation rows are the last ones before the test rows
        train = _shuffled(train, 0)
    if config.evaluate_on == "validation" and not len(valid):
        raise UserError(f"validation_fraction {config.validation_fraction:g} of {len(split.train)} training rows "
                        "leaves no row to evaluate on: set a larger one")
    return train, valid


def rows_hash(values: np.ndarray) -> str:
    """Returns the first 16 hex digits of the SHA-256 of the rows as little-endian float64.

    Two tables have the same hash if they have the same values in the same order.
    """
    digest = hashlib.sha256()
    for part in slices(*values.shape):
        digest.update(np.ascontiguousarray(values[part] + 0.0, "<f8").data)
    return digest.hexdigest()[:16]


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


def _shuffled(rows: np.ndarray, seed: int) -> np.ndarray:
    return np.random.RandomState(seed).permutation(rows)


def _is_cut_as_usual(split: Split) -> bool:
    """Tells whether the protocol says how many rows train. If not, one order of the rows could be of many splits."""
    n_rows = len(split.train) + len(split.test)
    return split.protocol == GIVEN or len(split.train) == _n_train(n_rows, TRAIN_SHARES.get(split.protocol, -1.0))


def _cut(protocol: str, index: int, order: np.ndarray, train_share: float = 0.9) -> Split:
    n_train = _n_train(len(order), train_share)
    return Split(protocol, index, order[:n_train], order[n_train:])


def _n_train(n_rows: int, train_share: float) -> int:
    return int(round(train_share * n_rows))
