"""Minibatches: the order of the rows, which of them wait, and how pictures are shifted and flipped, per epoch.

All are functions of (seed, epoch), drawn for all rows at once, so that what happens to a row is
a function of (seed, epoch, row) and a resumed run sees exactly what an uninterrupted one does.
"""
import numpy as np
import tensorflow.compat.v1 as tf

from misc.seeding import stream

PADDING = 4  # pixels on every side, before a random crop of the old size


def steps_per_epoch(n_rows, batch_size):
    """Steps that one pass takes; the last batch may be smaller."""
    return -(-n_rows // batch_size)


def epoch_order(n_rows, seed, epoch):
    """The order of the rows in `epoch` (counted from 1): int32 [n_rows], a function of (seed, epoch)."""
    return stream(seed, "order", epoch).permutation(n_rows).astype(np.int32)


def epoch_crops(n_rows, seed, epoch):
    """int32 [n_rows, 3]: first row and column of each row's crop, 0 to 2 PADDING, and whether it is flipped."""
    return stream(seed, "crops", epoch).randint(0, [2 * PADDING + 1, 2 * PADDING + 1, 2], (n_rows, 3)).astype(np.int32)


def held_out_rows(config, n_rows):
    """The rows by which the noise level is found: int32 [m], at least 5 if these are no more than half.

    They do not train until `held_out_epochs` are over.
    """
    n_held = max(int(config.held_out * n_rows), min(5, n_rows // 2))
    return stream(config.seed, "held_out").permutation(n_rows)[:n_held].astype(np.int32)


def epoch_plan(config, n_rows, epoch):
    """{name: array} that `epoch` (from 1) needs: the order, the crops under data_aug, and which rows are held out.

    While rows are held out, others have their places, each at most once more in the epoch than it would be: an
    epoch has its length, and N counts all rows.
    """
    plan = {"order": epoch_order(n_rows, config.seed, epoch)}
    if config.data_aug:
        plan["crops"] = epoch_crops(n_rows, config.seed, epoch)
    if config.holds_out:
        plan["held_out"] = held_out_rows(config, n_rows)
        plan["holding_out"] = np.array(epoch <= config.epochs_held_out)
        if plan["holding_out"]:
            kept = plan["order"][~np.isin(plan["order"], plan["held_out"])]
            again = stream(config.seed, "again", epoch)
            plan["order"] = again.permutation(np.concatenate([kept, again.permutation(kept)])[:n_rows])
    return plan


def crop_and_flip(images, crops):
    """Pads by zeros, cuts out the old size at (row, column), and mirrors left to right where asked. In the graph.

    images: [n, height, width, channels]; crops: as from `epoch_crops`, [n, 3].
    """
    height, width, channels = (int(length) for length in images.shape[1:])
    padded = tf.pad(images, [[0, 0], [PADDING, PADDING], [PADDING, PADDING], [0, 0]])
    wide, n = width + 2 * PADDING, tf.shape(images)[0]
    rows = crops[:, :1] + tf.range(height)
    columns = crops[:, 1:2] + tf.where(tf.tile(crops[:, 2:] > 0, [1, width]),
                                       tf.tile(tf.range(width)[None, ::-1], [n, 1]),
                                       tf.tile(tf.range(width)[None], [n, 1]))
    first = tf.range(n) * ((height + 2 * PADDING) * wide)
    index = first[:, None, None] + rows[:, :, None] * wide + columns[:, None, :]
    return tf.gather(tf.reshape(padded, [-1, channels]), index)
