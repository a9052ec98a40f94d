"""Figures of the columns of a table."""
from typing import Any, Dict, List

import numpy as np
from matplotlib.figure import Figure

from core.assessment.panels import SMALL, done, panels, styles

MOST_COLUMNS = 25  # that a figure shows


def importance_figure(runs: Dict[str, Dict[str, Any]]) -> Figure:
    """Draws the log-likelihood lost without each column, with its 95 % interval, the most important on top."""
    columns = _first({column: max(run[column].value for run in runs.values() if column in run)
                      for column in dict.fromkeys(column for run in runs.values() for column in run)})
    figure, (axis,) = panels(1, 1, height=_height(columns), width=5.5)
    for offset, (name, run), style in zip(_offsets(len(runs)), runs.items(), styles()):
        here = [column for column in columns if column in run]
        values = np.array([run[column].value for column in here])
        reach = [[value - (value if run[column].low is None else run[column].low),
                  (value if run[column].high is None else run[column].high) - value]
                 for column, value in zip(here, values)]
        axis.errorbar(values, [columns.index(column) + offset for column in here], xerr=np.abs(np.transpose(reach)),
                      fmt=style["marker"], color=style["color"], markersize=4, capsize=2, label=name)
    axis.axvline(0.0, color="grey", linewidth=1)
    axis.set(xlabel="log-likelihood lost when the column is permuted, nats per row")
    return _with_names(figure, columns)


def drift_figure(runs: Dict[str, Dict[str, Dict[str, float]]]) -> Figure:
    """Draws the share of rows outside the range of the training rows, column by column."""
    lines = {(name, rows): shares for name, run in runs.items() for rows, shares in run.items()}
    columns = _first({column: max(shares.get(column, 0.0) for shares in lines.values())
                      for column in dict.fromkeys(column for shares in lines.values() for column in shares)})
    figure, (axis,) = panels(1, 1, height=_height(columns), width=5.5)
    for offset, ((name, rows), shares), style in zip(_offsets(len(lines)), lines.items(), styles()):
        axis.plot([100.0 * shares.get(column, 0.0) for column in columns],
                  [number + offset for number in range(len(columns))], style["marker"], color=style["color"],
                  markersize=5, label=f"{name}: {rows}")
    axis.set(xlabel="rows outside the range of the training rows, %", xlim=(-1, None))
    return _with_names(figure, columns)


def _first(values: Dict[str, float]) -> List[str]:
    """Returns the columns of the largest values, the largest first."""
    return sorted(values, key=lambda column: -values[column])[:MOST_COLUMNS]


def _height(columns: List[str]) -> float:
    return 1.0 + 0.24 * len(columns)


def _offsets(n_runs: int) -> Any:
    return np.linspace(-0.2, 0.2, n_runs) if n_runs > 1 else [0.0]


def _with_names(figure: Figure, columns: List[str]) -> Figure:
    axis = figure.axes[0]
    axis.set_yticks(range(len(columns)))
    axis.set_yticklabels([column if len(column) <= 40 else f"{column[:37]}..." for column in columns], fontsize=SMALL)
    axis.invert_yaxis()
    return done(figure)
