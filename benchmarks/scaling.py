"""Measures how the time of a step, and of a training by the recipe, grows with the width and with the rows.

    python -m benchmarks.scaling [--widths W ...] [--rows N ...] [--rounds R]

The rows are random numbers. Every figure is the CPU time of one thread in a process of its own, with all work included
at its period; methods take turns, and the fastest of the rounds counts. Widths have two hidden layers, 50 inputs and
minibatches of 128 rows; numbers of rows have the recipe's own minibatches, 10 inputs and one hidden layer of 50.
"""
import argparse
from typing import Any, Dict, List, NamedTuple, Sequence

import numpy as np
import tabulate

from benchmarks.explain_cost import Case, measure_in_a_process
from misc.config import REGRESSION
from misc.config_overlays import FOLDER, read_overlay
from misc.errors import one_line_errors

METHODS = ("ekfac", "kfac", "diag", "adam")
REFERENCE = "adam"
WIDTHS, ROWS = (50, 128, 256, 512, 1024, 2048), (1000, 10000, 100000, 1000000)
N_INPUTS, N_ROWS, BATCH = 50, 20000, 128  # beside the widths


class Size(NamedTuple):
    """One row of a table."""

    label: int
    shape: Sequence[int]       # (rows, inputs)
    settings: Dict[str, Any]   # beside the recipe's
    n_steps: int               # that the column "training" is for


def sizes_of_widths(widths: Sequence[int]) -> List[Size]:
    """Returns networks of two hidden layers on the same rows."""
    return [Size(width, (N_ROWS, N_INPUTS), {"model_name": "ffn", "hidden": [width, width], "batch_size": BATCH}, 0)
            for width in widths]


def sizes_of_rows(numbers: Sequence[int]) -> List[Size]:
    """Returns the recipe for these numbers of rows."""
    from core.training.auto_schedule import schedule_for

    sizes = []
    for n_rows in numbers:
        values = schedule_for(n_rows, "ekfac", {})
        n_steps = values["epoch"] * -(-n_rows // values["batch_size"])
        sizes.append(Size(n_rows, (n_rows, 10), {"model_name": "ffn50", "batch_size": values["batch_size"]}, n_steps))
    return sizes


def milliseconds(size: Size, method: str) -> float:
    """Returns the time per step."""
    from core.training.auto_schedule import schedule_for

    recipe = {name: value for name, value in read_overlay(FOLDER / "recipe.json").values.items() if value is not None}
    values = dict(recipe, **size.settings, optimizer=method, auto_schedule=False)
    values = dict(schedule_for(size.shape[0], method, values), **values)
    values.pop("epoch")  # a benchmark's own
    return measure_in_a_process(Case(method, REGRESSION, tuple(size.shape), values), one_thread=True)[1]


def measured(sizes: Sequence[Size], rounds: int) -> List[Dict[str, float]]:
    """Returns {method: milliseconds per step} of every size, the fastest of the rounds."""
    times = [dict.fromkeys(METHODS, np.inf) for _ in sizes]
    for _ in range(rounds):
        for size, found in zip(sizes, times):
            for method in METHODS:
                found[method] = min(found[method], milliseconds(size, method))
            print(f"{size.label}: " + ", ".join(f"{name} {value:.3g} ms" for name, value in found.items()), flush=True)
    return times


def table(title: str, sizes: Sequence[Size], times: Sequence[Dict[str, float]]) -> str:
    """Returns Markdown: times, ratios to REFERENCE, and by which power of the size each time grows at the end."""
    rows = [[size.label, *(f"{found[method]:.3g}" + ("" if method == REFERENCE else
                                                     f" ({found[method] / found[REFERENCE]:.1f} x)")
                           for method in METHODS)]
            + ([f"{found[METHODS[0]] * size.n_steps / 1e3:.3g}"] if size.n_steps else [])
            for size, found in zip(sizes, times)]
    if len(sizes) > 1:
        rows.append(["exponent", *(f"{exponent(sizes, [found[method] for found in times]):.2f}"
                                   for method in METHODS)])
    header = [title, *(f"{method}, ms/step" for method in METHODS)]
    header += [f"training, s ({METHODS[0]})"] if sizes[0].n_steps else []
    return tabulate.tabulate(rows, header, tablefmt="github", disable_numparse=True)


def exponent(sizes: Sequence[Size], times: Sequence[float]) -> float:
    """Returns the slope of log(time) against log(size), by least squares over the upper half of the sizes."""
    upper = slice(len(sizes) // 2 - 1 if len(sizes) > 2 else 0, None)
    return np.polyfit(np.log([size.label for size in sizes][upper]), np.log(times[upper]), 1)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="*", default=list(WIDTHS))
    parser.add_argument("--rows", type=int, nargs="*", default=list(ROWS))
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    with one_line_errors("scaling", "start it again"):
        for title, sizes in (("width", sizes_of_widths(args.widths)), ("rows", sizes_of_rows(args.rows))):
            if sizes:
                print(table(title, sizes, measured(sizes, args.rounds)), flush=True)


if __name__ == "__main__":
    main()
