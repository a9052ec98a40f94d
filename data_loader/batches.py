"""Minibatches: in each epoch, the order of the rows, the rows that are held out, and crops and flips of images.

All are functions of (seed, epoch), drawn for all rows at once. What happens to a row thus depends on (seed, epoch,
row) alone, and a resumed run sees exactly what an uninterrupted one sees.
"""
import typing

import numpy as np
import tensorflow.compat.v1 as tf

from misc.config import Config
from misc.seeding import stream

PADDING = 4  # zero pixels added on every side before a random crop of the original size


def steps_per_epoch(n_rows: int, batch_size: int) -> int:
    """Returns the number of steps in one pass over the rows; the last batch may be smaller."""
    return -(-n_rows // batch_size)


def epoch_order(n_rows: int, seed: int, epoch: int) -> np.ndarray:
    """Draws the order of the rows in `epoch` (from 1): int32 [n_rows]."""
    return stream(seed, "order", epoch).permutation(n_rows).astype(np.int32)


def epoch_crops(n_rows: int, seed: int, epoch: int) -> np.ndarray:
    """Draws the crops and flips of `epoch` (from 1): int32 [n_rows, 3].

    The columns are the first pixel row and the first pixel column of the crop, both from 0 to 2 PADDING, and whether
    it is flipped.
    """
    return stream(seed, "crops", epoch).randint(0, [2 * PADDING + 1, 2 * PADDING + 1, 2], (n_rows, 3)).astype(np.int32)


def held_out_rows(config: Config, n_rows: int) -> np.ndarray:
    """Draws the rows from which noise_update held_out estimates the noise level: int32 [m].

    The weights are not trained on them during the first `held_out_epochs`. There are at least 5 of them, but at most
    half of all rows.
    """
    n_held_out = max(int(config.held_out * n_rows), min(5, n_rows // 2))
    return stream(config.seed, "held_out").permutation(n_rows)[:n_held_out].astype(np.int32)


def epoch_plan(config: Config, n_rows: int, epoch: int) -> typing.Dict[str, np.ndarray]:
    """Returns the arrays that the graph needs in `epoch` (from 1).

    They are "order", int32 [n_rows]; under data_aug "crops"; if rows are held out to estimate the noise level,
    "held_out" (these rows) and "holding_out" (bool [], whether they are held out in this epoch).

    While rows are held out, randomly chosen training rows take their places, so that an epoch keeps its length and N
    counts all rows. No row appears more than twice per epoch.
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


def crop_and_flip(images: tf.Tensor, crops: tf.Tensor) -> tf.Tensor:
    """Pads images by zeros, cuts out crops of the original size, and mirrors them left to right. Runs in the graph.

    Args:
      images: [n, height, width, channels].
      crops: int32 [n, 3], see `epoch_crops`.
    """
    height, width, channels = (int(length) for length in images.shape[1:])
    padded = tf.pad(images, [[0, 0], [PADDING, PADDING], [PADDING, PADDING], [0, 0]])
    wide, n = width + 2 * PADDING, tf.shape(images)[0]
    rows = crops[:, :1] + tf.range(height)
    columns = crops[:, 1:2] + tf.where(tf.tile(crops[:, 2:] > 0, [1, width]),
                                       tf.tile(tf.range(width)[None, ::-1], [n, 1]),
                                       tf.tile(tf.range(width)[None], [n, 1]))
    # One gather of pixels by their index in the flattened batch is faster than a slice per image.
    first = tf.range(n) * ((height + 2 * PADDING) * wide)
    index = first[:, None, None] + rows[:, :, None] * wide + columns[:, None, :]
    return tf.gather(tf.reshape(padded, [-1, channels]), index)
