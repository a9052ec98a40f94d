"""Means over repeats at every step, and differences from random choice, repeat by repeat."""
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Sequence, Tuple

import tabulate

from core.acquisition.strategies import RANDOM
from core.acquisition.trajectory import Step
from core.baseline.statistics import compare, summarise, with_error

Steps = Dict[Tuple[int, str], Sequence[Step]]
"""{(repeat, strategy): its steps}, as far as they are done."""

DIGITS = 4  # of the tables
MEAN = "mean"  # in the column of steps: the mean over all steps but step 0, which has no choice behind it


class Entry(NamedTuple):
    """Metrics of a strategy at a step."""

    strategy: str
    step: Any                            # its number, or MEAN
    labelled: Any                        # number of labelled rows; "" for MEAN
    metrics: Dict[str, Dict[str, Any]]   # {metric: `summarise` over repeats}
    against: Dict[str, Dict[str, Any]]   # {metric: `compare` with random choice, repeat by repeat}; {}: not possible


def step_columns(metrics: Sequence[str]) -> List[str]:
    """Returns the columns of steps.csv."""
    return ["repeat", "strategy", "step", "labelled", *metrics, "rows", "scores"]


def step_rows(steps: Steps, metrics: Sequence[str]) -> Iterator[Dict[str, Any]]:
    """Yields the rows of steps.csv. Numbers of data rows count from 1, as in predictions.csv."""
    for (repeat, strategy), of_one in steps.items():
        scores: Sequence[float] = ()
        for number, step in enumerate(of_one):
            values = {name: step.metrics[name] for name in metrics if name in step.metrics}
            yield dict(values, repeat=repeat, strategy=strategy, step=number, labelled=step.n_labelled,
                       rows=" ".join(str(row + 1) for row in step.added), scores=" ".join(map(repr, scores)))
            scores = step.scores


def summary(steps: Steps, strategies: Sequence[str], n_steps: int, metrics: Sequence[str]) -> List[Entry]:
    """Returns the Entries of all strategies and steps that some repeat has reached."""
    entries = []
    for strategy in strategies:
        for step in [*range(n_steps + 1), MEAN]:
            values, others = (values_at(steps, name, step, n_steps, metrics) for name in (strategy, RANDOM))
            if not values:
                continue
            pairs = sorted(set(values) & set(others)) if strategy != RANDOM else []
            labelled = "" if step == MEAN else next(
                of_one[step].n_labelled for (_, name), of_one in steps.items()
                if name == strategy and len(of_one) > step)
            entries.append(Entry(
                strategy, step, labelled,
                {name: summarise([row[name] for row in values.values()]) for name in metrics},
                {name: compare([values[repeat][name] for repeat in pairs], [others[repeat][name] for repeat in pairs])
                 for name in metrics} if pairs else {}))
    return entries


def values_at(steps: Steps, strategy: str, step: Any, n_steps: int,
              metrics: Sequence[str]) -> Dict[int, Dict[str, float]]:
    """Returns {repeat: {metric: value}} of the repeats that have come as far as this step, or MEAN."""
    of_strategy = {repeat: of_one for (repeat, name), of_one in steps.items() if name == strategy}
    if step != MEAN:
        return {repeat: of_one[step].metrics for repeat, of_one in of_strategy.items() if len(of_one) > step}
    return {repeat: {name: sum(each.metrics[name] for each in of_one[1:n_steps + 1]) / n_steps for name in metrics}
            for repeat, of_one in of_strategy.items() if len(of_one) > n_steps}


def summary_columns(metrics: Sequence[str]) -> List[str]:
    """Returns the columns of summary.csv."""
    return ["strategy", "step", "labelled", "repeats", *(f"{name}_{part}" for name in metrics for part in (
        "mean", "se", "minus_random", "minus_random_se", "minus_random_ci_low", "minus_random_ci_high",
        "wilcoxon_p"))]


def summary_row(entry: Entry) -> Dict[str, Any]:
    """Returns the row of summary.csv of an Entry."""
    row: Dict[str, Any] = {"strategy": entry.strategy, "step": entry.step, "labelled": entry.labelled}
    for name, value in entry.metrics.items():
        row.update({"repeats": value["n"], f"{name}_mean": value["mean"], f"{name}_se": value["se"]})
    for name, value in entry.against.items():
        row.update({f"{name}_minus_random": value["mean"], f"{name}_minus_random_se": value["se"],
                    f"{name}_minus_random_ci_low": value["ci_low"], f"{name}_minus_random_ci_high": value["ci_high"],
                    f"{name}_wilcoxon_p": value["wilcoxon_p"]})
    return row


def markdown(entries: Sequence[Entry], labels: Mapping[str, str]) -> str:
    """Returns a table per metric: a row per step, a column per strategy and one per difference from random choice.

    While repeats are unfinished, a column says over how many of them a row is, "2 to 3" if strategies differ in this.

    labels: {metric: its name in the heading}.
    """
    by_place = {(entry.strategy, entry.step): entry for entry in entries}
    strategies = list(dict.fromkeys(entry.strategy for entry in entries))
    steps = sorted({entry.step for entry in entries}, key=lambda step: (step == MEAN, step if step != MEAN else 0))
    compared = [name for name in strategies if any(entry.against for entry in entries if entry.strategy == name)]
    counts = {place: next(iter(entry.metrics.values()))["n"] for place, entry in by_place.items()}
    is_incomplete = len(set(counts.values())) > 1
    parts = []
    for metric, label in labels.items():
        lines = []
        for step in steps:
            there = {name: by_place[name, step] for name in strategies if (name, step) in by_place}
            of_step = sorted({counts[name, step] for name in there})
            lines.append(["mean" if step == MEAN else str(next(iter(there.values())).labelled)]
                         + ([" to ".join(map(str, of_step[::max(1, len(of_step) - 1)]))] if is_incomplete else [])
                         + [with_error(there[name].metrics[metric], DIGITS) if name in there else ""
                            for name in strategies]
                         + [difference(there[name].against[metric]) if name in there and there[name].against else ""
                            for name in compared])
        columns = ["labelled rows", *(["repeats"] if is_incomplete else []), *strategies,
                   *(f"{name} minus {RANDOM}" for name in compared)]
        parts.append(f"**Test {label}**\n\n" + tabulate.tabulate(lines, columns, "github", disable_numparse=True))
    return "\n\n".join(parts)


def difference(value: Mapping[str, Any], digits: int = DIGITS) -> str:
    """Returns the mean, standard error and p-value of a `compare`; of a single repeat the difference alone."""
    return with_error(value, digits, "+") + (f" (p = {value['wilcoxon_p']:.2g})" if value["n"] > 1 else "")
