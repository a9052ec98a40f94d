"""Axes, styles and legends that the figures share.

Panels side by side share their axes. Legends stand below the panels, so that they cover nothing.
"""
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple, Union

from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH = 4.6  # inches of one panel
LINES, MARKERS = ("-", "--", "-.", ":"), "osD^vPX"
SMALL = 8  # points


def panels(n_rows: int, n_columns: int, height: float = 3.2, width: float = WIDTH,
            ratios: Optional[Sequence[float]] = None, share: Union[bool, str] = False) -> Tuple[Figure, List[Axes]]:
    """Returns a Figure and its axes, row by row.

    Args:
      height, width: of one panel, in inches; ratios: of the rows' heights.
      share: whether all panels (True) or those of each column ("col") have the same axes.
    """
    figure = Figure(figsize=(width * n_columns, height * n_rows))
    grid = figure.subplots(n_rows, n_columns, squeeze=False, sharex=share, sharey=share,
                           gridspec_kw={"height_ratios": ratios} if ratios else None)
    for axis in grid.ravel():
        axis.grid(alpha=0.25)
    return figure, list(grid.ravel())


def side_by_side(runs: Dict[str, Any]) -> Tuple[Figure, List[Axes]]:
    """Returns a Figure and its axes: a panel per run, side by side, with one scale."""
    return panels(1, len(runs), height=3.4 if len(runs) == 1 else 3.0, width=WIDTH if len(runs) == 1 else 2.7,
                   share=True)


def styles() -> Iterator[Dict[str, str]]:
    """Yields how the first, second, ... run is drawn: lines and marks that can be told apart where they overlap."""
    for i in range(1000):
        yield {"color": f"C{i % 10}", "linestyle": LINES[i % len(LINES)], "marker": MARKERS[i % len(MARKERS)]}


def leave_out(axis: Axes, why: str) -> None:
    axis.axis("off")
    axis.text(0.5, 0.5, why, ha="center", va="center", fontsize=SMALL, color="grey", transform=axis.transAxes)


def done(figure: Figure) -> Figure:
    """Adds one legend of all panels below them, and returns the figure."""
    figure.tight_layout()
    named = {label: handle for axis in figure.axes for handle, label in zip(*axis.get_legend_handles_labels())}
    if named:
        longest = 0.085 * max(map(len, named)) + 0.5  # inches, about
        columns = int(max(1, min(len(named), figure.get_figwidth() // longest)))
        figure.legend(named.values(), named, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncol=columns,
                      fontsize=SMALL, frameon=False)
    return figure
