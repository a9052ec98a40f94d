"""The training data inside the graph: rows, the plan of an epoch, and minibatches of them."""
import contextlib
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from core.inference.noise_precision import HeldOut
from core.inference.types import Scalar
from core.training.design import Design
from data_loader.batches import crop_and_flip, epoch_plan

PREVIEW_ROWS = 36


class Load(NamedTuple):
    """Placeholders and ops that put the training data and the plan of an epoch into the graph."""

    x: Optional[tf.Tensor]  # placeholder for all inputs; None: the graph reads them from `source`
    y: tf.Tensor            # placeholder for all targets
    data_op: tf.Operation   # stores both
    source: "RowSource"     # of inputs that are not in the graph
    epoch: List[tf.Tensor]  # placeholders for the arrays of `batches.epoch_plan`, in its order
    epoch_op: tf.Operation  # stores them
    preview: tf.Tensor      # the first rows of the epoch as the network sees them


class RowSource:
    """Where the graph reads the inputs of minibatches that it does not hold; `Stepper.load_data` sets `rows`."""

    def __init__(self) -> None:
        self.rows: Any = None  # [n, ...], indexed by row numbers

    def __call__(self, numbers: np.ndarray) -> np.ndarray:
        """Returns the rows of these numbers."""
        return self.rows[numbers]


class TrainingData:
    """Variables for the training rows and the epoch's plan. They are not saved: they are functions of the config."""

    def __init__(self, design: Design, dtype: tf.DType) -> None:
        self._design, self._dtype = design, dtype
        config, spec = design.config, design.spec
        pixels = "/device:CPU:0" if spec.pixels else None  # bytes are gathered where every TensorFlow can do so
        self.input_type = tf.uint8 if spec.pixels else dtype  # of inputs as they are stored: bytes for images
        self._x, self._source = None, RowSource()
        with tf.device(pixels) if pixels else contextlib.nullcontext():
            if not spec.is_mapped:
                self._x = _local_variable("x", [spec.n_rows, *spec.shape], self.input_type)
            self._y = _local_variable("y", [spec.n_rows, *design.likelihood.target_shape],
                                      design.likelihood.target_type(dtype))
            self._epoch = {name: _local_variable(name, array.shape, array.dtype)
                           for name, array in epoch_plan(config, spec.n_rows, 1).items()}
            planned = list(self._epoch.values())
            held = [self._y] if self._x is None else [self._x, self._y]
            feeds = {var: tf.placeholder(var.dtype.base_dtype, var.shape) for var in [*held, *planned]}
            put = {var: var.assign(feed, read_value=False) for var, feed in feeds.items()}
            preview = self._rows(self._epoch["order"].read_value()[:PREVIEW_ROWS])
        self.load = Load(feeds.get(self._x), feeds[self._y], tf.group(*(put[var] for var in held)), self._source,
                         [feeds[var] for var in planned], tf.group([put[var] for var in planned]), preview)

    def minibatch(self, step: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        """Returns the inputs and targets of the step that follows `step` steps."""
        size = self._design.batch_size
        start = (step % self._design.steps_per_epoch) * size
        with tf.device(self._y.device):
            rows = self._epoch["order"].read_value()[start:start + size]
            x, y = self._rows(rows), tf.gather(self._y, rows)
        return self.standardised(x), y

    def share_of_batch(self, x: tf.Tensor) -> Scalar:
        """Returns the number of rows of a minibatch as a share of those of a whole one; the last one may be smaller."""
        if not self._design.last_batch_size:
            return 1.0
        return tf.cast(tf.shape(x)[0], self._dtype) / self._design.batch_size

    def held_out_batch(self, step: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        """Returns inputs and targets of as many held-out rows as a minibatch has, the next ones in every step."""
        n_held = self.n_held_out
        size = min(self._design.config.batch_size, n_held)
        rows = tf.gather(self._epoch["held_out"], (step % n_held * size + tf.range(size)) % n_held)
        return self.standardised(self._rows(rows)), tf.gather(self._y, rows)

    def held_out(self, outputs: tf.Tensor, targets: tf.Tensor) -> HeldOut:
        """Returns what the noise precision needs to know of the held-out rows, given the network's outputs there."""
        return HeldOut(outputs, targets, self.n_held_out, self._epoch["holding_out"].read_value())

    @property
    def n_held_out(self) -> int:
        """Number of held-out rows."""
        return int(self._epoch["held_out"].shape[0])

    def standardised(self, x: tf.Tensor) -> tf.Tensor:
        """Returns what the network sees: pixels standardised per channel, numbers as they are."""
        pixels = self._design.spec.pixels
        if pixels is None:
            return x
        mean, std = (tf.constant(value, self._dtype) for value in pixels)
        return (tf.cast(x, self._dtype) - mean) / std

    def _rows(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns rows of the training data. Images stay bytes; under data_aug they are cropped and flipped."""
        if self._x is None:
            x = tf.numpy_function(self._source, [rows], self.input_type)
            x.set_shape([None, *self._design.spec.shape])
        else:
            x = tf.gather(self._x.read_value(), rows)  # a gather from the variable itself would copy a shared array
        return crop_and_flip(x, tf.gather(self._epoch["crops"], rows)) if self._design.config.data_aug else x


def _local_variable(name: str, shape: Sequence[int], dtype: Any) -> tf.Variable:
    return tf.get_variable(name, initializer=tf.zeros(shape, dtype), trainable=False, use_resource=True,
                           collections=[tf.GraphKeys.LOCAL_VARIABLES])
