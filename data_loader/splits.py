"""Which rows train and which test. Pure functions of numbers.

A result names its protocol and split; numbers of different protocols are not comparable.
"""
import collections
import hashlib

import numpy as np

from misc.errors import UserError

Split = collections.namedtuple("Split", ["protocol", "index", "train", "test"])


def published_split(n_rows, index, n_splits=None):
    """Random 90/10 split by RandomState(index) (Zhang et al. 2018 average over 10 of them)."""
    order = np.random.RandomState(index).permutation(n_rows)
    return _cut("published", index, order)


def standard_split(n_rows, index, n_splits):
    """Split `index` of the `n_splits` fixed ones of Hernandez-Lobato and Adams (2015).

    One generator, seeded with 1, draws the order of each split in turn. UserError for an
    index that does not exist.
    """
    if index >= n_splits:
        raise UserError(f"split {index} does not exist: the standard protocol has {n_splits} here, counted from 0")
    rng = np.random.RandomState(1)
    for _ in range(index + 1):
        order = rng.choice(range(n_rows), n_rows, replace=False)
    return _cut("standard", index, order)


# protocol -> (split function, what to subtract from the seed for the default index).
PROTOCOLS = {"published": (published_split, 0), "standard": (standard_split, 1)}


def rows_hash(values):
    """First 16 hex digits of the SHA-256 of the rows as little-endian float64: same values, same order."""
    return hashlib.sha256(np.ascontiguousarray(values + 0.0, "<f8").tobytes()).hexdigest()[:16]


def split_hash(splits):
    """First 16 hex digits of the SHA-256 of all train and test indices, little-endian int32."""
    digest = hashlib.sha256()
    for split in splits:
        for rows in (split.train, split.test):
            digest.update(np.asarray(rows, "<i4").tobytes())
    return digest.hexdigest()[:16]


def hold_out(rows, fraction, fold=0):
    """(training rows, validation rows) of the already shuffled `rows`.

    The validation rows of fold 0 are the last `fraction`, those of fold 1 the part before it,
    and so on. UserError for a fold that does not exist.
    """
    n_valid = int(round(fraction * len(rows)))
    end = len(rows) - fold * n_valid
    if fold and n_valid == 0:
        raise UserError(f"validation_fold {fold} goes with validation rows: set validation_fraction, e.g. to 0.1")
    if fold and end < n_valid:
        raise UserError(f"validation_fold {fold} does not exist: {len(rows)} rows give {len(rows) // n_valid} "
                        f"folds of {n_valid}, counted from 0")
    return np.concatenate([rows[: end - n_valid], rows[end:]]), rows[end - n_valid: end]


def random_split(n_rows, index):
    """Random 80/20 split by RandomState(index), for pictures that come without a test set."""
    return _cut("random", index, np.random.RandomState(index).permutation(n_rows), share=0.8)


def _cut(protocol, index, order, share=0.9):
    n_train = int(round(share * len(order)))
    return Split(protocol, index, order[:n_train], order[n_train:])
