"""Which rows of a table lie outside what a run has seen in training, column by column."""
import typing

import numpy as np

from data_loader.table_data import TableData
from data_loader.table_transform import CATEGORY, DATE, NUMBER


def outside(data: TableData, x: np.ndarray) -> typing.Dict[str, np.ndarray]:
    """Tells which rows lie outside the training rows, {column: bool [n]}.

    A number, or a part of a date, is outside if no training row has one as low, or as high; a category, if it is none
    of those of the training rows. Columns that are constant over the training rows are left out: the network does not
    see their values. A run of an earlier version, which has not stored the ranges, has none: {}.

    Args:
      x: inputs [n, d], standardised as the training rows were.
    """
    if data.input_range is None:
        return {}
    low, high = ((data.input_range - data.input_mean) / data.input_std).astype(x.dtype)
    columns: typing.Dict[str, np.ndarray] = {}
    position = 0
    for column in data.transform.columns:
        inputs = slice(position, position + len(column.inputs))
        position = inputs.stop
        if data.constant[inputs].all():
            continue
        columns[column.text] = _OUTSIDE[column.kind](x[:, inputs], low[inputs], high[inputs])
    return columns


def shares_outside(data: TableData, x: np.ndarray) -> typing.Dict[str, float]:
    """Returns the share of rows outside the training rows, {column: share}, the largest first."""
    shares = {column: float(rows.mean()) for column, rows in outside(data, x).items()}
    return dict(sorted(shares.items(), key=lambda pair: -pair[1]))


def _out_of_range(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return np.any((values < low) | (values > high), axis=1)


def _of_no_category(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return np.all(values == 0.0, axis=1)


_OUTSIDE: typing.Dict[str, typing.Callable[..., np.ndarray]] = {
    NUMBER: _out_of_range, DATE: _out_of_range, CATEGORY: _of_no_category}
