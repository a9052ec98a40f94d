"""What is said of a target before a network is trained on it: inputs that copy it, and regressions on two values."""
import typing

import numpy as np

from data_loader.table_transform import TableTransform

if typing.TYPE_CHECKING:
    import pandas

NEARLY_ONE = 1.0 - 1e-9  # correlation with the target, beyond which an input is taken for a copy of it
MOST_NAMED = 5  # copies that a notice names


def about_copies(transform: TableTransform, blocks: typing.Iterable[np.ndarray], y: np.ndarray) -> typing.List[str]:
    """Returns a notice that names the inputs whose correlation with the target is 1 or -1, up to rounding.

    Args:
      transform: names the inputs.
      blocks: inputs of the training rows, standardised or 0 and 1, [n, d] in blocks of consecutive rows.
      y: their targets, standardised, [n].
    """
    n_rows, n_seen = len(y), 0
    y = y - y.mean()
    sums, squares, products = (np.zeros(len(transform.names)) for _ in range(3))
    for x in blocks:
        sums += x.sum(axis=0)
        squares += np.einsum("nd,nd->d", x, x)
        products += x.T @ y[n_seen:n_seen + len(x)]
        n_seen += len(x)
    std = np.sqrt(np.maximum(squares / n_rows - (sums / n_rows)**2, 0.0))
    with np.errstate(all="ignore"):
        correlation = np.abs(products / n_rows / (std * y.std()))
    return _named([transform.label(int(column)) for column in np.flatnonzero(correlation > NEARLY_ONE)])


def about_class_copies(transform: TableTransform, frame: "pandas.DataFrame", labels: np.ndarray) -> typing.List[str]:
    """Returns a notice that names the columns that have one value for each class, and another for each other class.

    Args:
      transform: names the columns.
      frame: the input columns, training rows.
      labels: their classes, int [n].
    """
    import pandas

    copies, n_classes = [], len(np.unique(labels))
    for position, column in enumerate(transform.columns):
        codes, values = pandas.factorize(frame.iloc[:, position])
        pairs = np.unique(codes * (labels.max() + 1) + labels)
        if len(values) == len(pairs) == n_classes and codes.min() >= 0:
            copies.append(column.label)
    return _named(copies)


def about_two_values(target: np.ndarray) -> typing.List[str]:
    """Returns a notice if the target, [n], has two values: these are classes."""
    values = np.unique(target)
    if len(values) != 2:
        return []
    return [f"note: the target has two values, {values[0]:g} and {values[1]:g}: mode classification predicts their "
            "probabilities"]


def _named(copies: typing.Sequence[str]) -> typing.List[str]:
    if not copies:
        return []
    more = f" and {len(copies) - MOST_NAMED} more" if len(copies) > MOST_NAMED else ""
    return [f"note: the target can be read from {', '.join(copies[:MOST_NAMED])}{more}: list it in drop, unless it is "
            "known when predictions are made"]
