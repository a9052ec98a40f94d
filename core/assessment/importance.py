"""Permutation importance of the columns of a table: the log-likelihood that is lost without what a column says.

The values of one column are exchanged among the rows at random, so that its distribution stays and its relation to the
target goes (Breiman 2001, Random forests, Sec. 10). All inputs that are made of the column move together.
"""
from typing import Any, Dict, Iterator, Tuple

import numpy as np

from core.metrics.calibration import Interval, with_intervals
from core.metrics.draws import Draws
from core.metrics.gaussian_outputs import logits_of
from core.metrics.joint import joint_log_prob
from core.metrics.predictive import by_row, log_mean_exp, log_softmax, noise_log_prob, over_rows, weighted_mean
from data_loader.parts import Part
from misc.seeding import stream

PREFIX = "without "  # of the names of inputs, before that of the column and the number of the repetition
N_REPEATS = 5


def permuted(part: Part, data: Any, column: str, repeat: int) -> Part:
    """Returns the rows with the values of one column exchanged among them, as a function of column and repeat."""
    x = part.x.copy()
    inputs = columns_of(data)[column]
    order = stream(0, "importance", repeat, column).permutation(len(x))
    x[:, inputs] = part.x[order][:, inputs]
    return part._replace(x=x)


def columns_of(data: Any) -> Dict[str, slice]:
    """Returns the inputs of every column, {name: positions}, without columns that the network does not see vary."""
    columns, position = {}, 0
    for column in data.transform.columns:
        inputs = slice(position, position + len(column.inputs))
        if not data.constant[inputs].all():
            columns[column.text] = inputs
        position = inputs.stop
    return columns


def names_of_inputs(data: Any) -> Iterator[Tuple[str, str, int]]:
    """Yields (name of the input, column, repetition) of all that `importances` needs."""
    for column in columns_of(data):
        for repeat in range(N_REPEATS):
            yield f"{PREFIX}{column} {repeat}", column, repeat


def mean_log_prob(draws: Any, part: Part) -> np.ndarray:
    """Returns log p(y | x) of every row under the mixture over draws, [1, n]; standardised, of a regression."""
    return log_mean_exp(log_probs(draws, part.y))[None]


def log_probs(draws: Any, y: np.ndarray) -> np.ndarray:
    """Returns log p(y | x) of every draw and row, [K, n]; standardised, of a regression.

    Args:
      draws: Draws, or logits [K, n, C] or ProbitDraws.
      y: standardised targets [n] or [n, m], or labels [n].
    """
    if not isinstance(draws, Draws):
        return log_softmax(logits_of(draws))[:, np.arange(len(y)), y]
    if draws.n_targets > 1:
        return joint_log_prob(draws, y)
    outputs = np.broadcast_to(draws.outputs, (len(draws.precisions), draws.outputs.shape[1]))
    return noise_log_prob(y, outputs.astype(np.float64), by_row(1.0 / draws.precisions), over_rows(draws.dof))


def importances(collected: Dict[str, Any], own: np.ndarray, data: Any) -> Dict[str, Interval]:
    """Returns the log-likelihood per row that is lost without each column, in nats, the most important first.

    The intervals are those of the rows, by bootstrap; each row's loss is the mean over the repetitions.

    Args:
      collected: {name of the input: Collected, whose draws are those of `mean_log_prob` of one or several runs}.
      own: log p(y | x) of the rows as they are, [n].
    """
    lost = {column: np.zeros(len(own)) for column in columns_of(data)}
    for name, column, _ in names_of_inputs(data):
        lost[column] += (own - log_mean_exp(collected[name].draws)) / N_REPEATS
    intervals = with_intervals({column: weighted_mean(values) for column, values in lost.items()}, len(own))
    return dict(sorted(intervals.items(), key=lambda pair: -pair[1].value))
