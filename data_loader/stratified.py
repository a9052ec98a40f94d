"""Splits by class: every part has the same share of each class, to within one row (config key stratified).

The rows of each class keep the random order in which they come. Of a class of one row, or whose last row it would
be, that row is trained on.
"""
import typing
import warnings

import numpy as np

from data_loader.splits import Request, Split, hold_out
from misc.errors import UserError


def stratified_split(labels: np.ndarray, index: int, test_fraction: float) -> Split:
    """Returns a random split by RandomState(index) whose test rows have the given fraction of each class.

    The test rows are as many as in a split without classes, and of each class the last ones of the same random order.

    Args:
      labels: int [n_rows], from 0.
      index: of the split.
      test_fraction: share of the test rows.
    """
    order = np.random.RandomState(index).permutation(len(labels))
    n_test = len(order) - int(round((1.0 - test_fraction) * len(order)))
    is_test = _last_of_each_class(labels[order], n_test)
    return Split("stratified", index, order[~is_test], order[is_test])


def stratified_kfold_split(labels: np.ndarray, index: int, folds: int) -> Split:
    """Returns fold index % folds of scikit-learn's StratifiedKFold, shuffled by index // folds.

    Of a class with fewer rows than folds, some folds have none. Raises a UserError if that is so of every class.

    Args:
      labels: int [n_rows], from 0.
      index: of the split.
      folds: number of parts.
    """
    from sklearn.model_selection import StratifiedKFold

    most = int(np.bincount(labels).max())
    if folds > most:
        raise UserError(f"folds {folds}: with stratified, some class must have a row for each of them, and none has "
                        f"more than {most} rows")
    turn, fold = divmod(index, folds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a class with fewer rows
        pairs = list(StratifiedKFold(folds, shuffle=True, random_state=turn).split(np.zeros(len(labels)), labels))
    train, test = pairs[fold]
    return Split("stratified_kfold", index, np.random.RandomState(index).permutation(train), test)


# Protocols of tables that can split by class.
STRATIFIED: typing.Dict[str, typing.Callable[[Request], Split]] = {
    "random": lambda request: stratified_split(_labels(request), request.index, request.test_fraction),
    "kfold": lambda request: stratified_kfold_split(_labels(request), request.index, request.folds),
}


def hold_out_by_class(labels: np.ndarray, rows: np.ndarray, fraction: float,
                      fold: int = 0) -> typing.Tuple[np.ndarray, np.ndarray]:
    """Returns (training rows, validation rows) as `hold_out` does, with the given fraction of each class.

    Folds have no row in common. Raises a UserError for a fold that does not exist.
    """
    hold_out(rows, fraction, fold)  # checks the fold
    n_valid = int(round(fraction * len(rows)))
    classes = labels[rows]
    left = np.arange(len(rows))  # positions in `rows` that are in no fold yet
    chosen = left[:0]
    most = np.maximum(np.bincount(classes) - 1, 0)
    for _ in range(fold + 1):
        is_chosen = _last_of_each_class(classes[left], n_valid, most)
        left, chosen = left[~is_chosen], left[is_chosen]
    return np.delete(rows, chosen), rows[chosen]


def shares(n_chosen: int, sizes: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Divides `n_chosen` rows among classes in proportion to their sizes, by largest remainders: int [n_classes].

    Args:
      sizes: int [n_classes], rows per class.
      most: int [n_classes], the most rows that may be chosen of each class. If they are too few, fewer are chosen.
    """
    total = max(1, int(sizes.sum()))
    chosen = np.minimum(n_chosen * sizes // total, most)
    for label in np.argsort(-(n_chosen * sizes % total), kind="stable"):
        if chosen.sum() < n_chosen and chosen[label] < most[label]:
            chosen[label] += 1
    return chosen


def _labels(request: Request) -> np.ndarray:
    assert request.labels is not None, "only classifications ask for splits by class"
    return request.labels


def _last_of_each_class(labels: np.ndarray, n_chosen: int, most: typing.Optional[np.ndarray] = None) -> np.ndarray:
    """Tells which of the rows are chosen, of each class the last ones: bool [n].

    Args:
      labels: int [n], of the rows in their order.
      n_chosen: how many are chosen altogether.
      most: int [n_classes], of each class; default all but one.
    """
    sizes = np.bincount(labels, minlength=0 if most is None else len(most)).astype(np.int64)
    most = np.maximum(sizes - 1, 0) if most is None else np.minimum(most, sizes)
    is_chosen = np.zeros(len(labels), bool)
    for label, n_of_class in enumerate(shares(n_chosen, sizes, most)):
        rows = np.flatnonzero(labels == label)
        is_chosen[rows[len(rows) - n_of_class:]] = True
    return is_chosen
