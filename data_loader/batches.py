"""Minibatch order: a permutation per epoch, so that every row is used once in each."""
import numpy as np

from misc.seeding import stream


def steps_per_epoch(n_rows, batch_size):
    """Steps that one pass takes; the last batch may be smaller."""
    return -(-n_rows // batch_size)


def epoch_order(n_rows, seed, epoch):
    """The order of the rows in `epoch` (counted from 1): int32 [n_rows], a function of (seed, epoch)."""
    return stream(seed, "order", epoch).permutation(n_rows).astype(np.int32)
