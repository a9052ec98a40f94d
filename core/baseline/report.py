"""Tables for a paper: a row per data set, a column per method, published values beside ours."""
import collections
import csv
import pathlib
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import tabulate

from core.baseline.kinds import KINDS, kind_of
from core.baseline.statistics import DDOF
from misc.config import REGRESSION

PUBLISHED_FILE = pathlib.Path(__file__).with_name("published.csv")

ROUNDING = 1e-12
FEW = 6  # pairs; with fewer no Wilcoxon test can reach p = 0.05

Summary = Dict[str, Any]  # what summary.json or ensemble.json holds


class Metric(NamedTuple):
    """A metric that has a table."""

    key: str                         # its name in summary.json
    name: str                        # in the heading
    reading: str                     # which values are good
    loss: Callable[[float], float]   # of a mean; lower where it is better


class Cell(NamedTuple):
    """An entry of a table: mean and standard error over runs."""

    mean: float
    se: Optional[float]  # None for a single run
    n: Optional[int]     # number of runs
    bold: bool


TABLES = (
    Metric("rmse", "RMSE", "lower is better", lambda mean: mean),
    Metric("accuracy", "accuracy", "higher is better", lambda mean: -mean),
    Metric("log_likelihood", "log-likelihood", "higher is better", lambda mean: -mean),
    Metric("coverage_90", "coverage of 90 % intervals", "fraction of targets inside; ideal: 0.9",
           lambda mean: abs(mean - 0.9)),
    Metric("brier", "Brier score", "lower is better", lambda mean: mean),
    Metric("ece", "expected calibration error", "lower is better", lambda mean: mean),
)

# Published columns of regressions: method in published.csv -> (heading, protocol of ours that it may stand beside;
# None: any).
PUBLISHED = {"NNG-MVG": ("published noisy K-FAC", "published"), "best": ("best published for this network", None)}


def read_published() -> Dict[Tuple[str, str, str], Dict[str, str]]:
    """Returns the rows of published.csv by (dataset, method, metric)."""
    with open(str(PUBLISHED_FILE), newline="", encoding="utf-8") as handle:
        return {(row["dataset"], row["method"], row["metric"]): row for row in csv.DictReader(handle)}


def column_names(summaries: Sequence[Summary]) -> List[str]:
    """Returns the column of each experiment: its method, or its name where one data set has several of the method."""
    counts = collections.Counter((summary["dataset"], summary["optimizer"]) for summary in summaries)
    repeated = {method for (_, method), count in counts.items() if count > 1}
    names = []
    for summary in summaries:
        tuned = " (tuned)" if "search" in summary else ""
        names.append(summary["exp_name"] if summary["optimizer"] in repeated else summary["optimizer"] + tuned)
    return names


def our_cells(summaries: Sequence[Summary], metric: Metric) -> Dict[Tuple[str, str], Cell]:
    """Returns {(dataset, column): Cell}. Bold: the best of a row and all whose loss is within its standard error."""
    columns = column_names(summaries)
    cells = {}
    for dataset in {summary["dataset"] for summary in summaries}:
        row = {column: summary["metrics"][metric.key] for column, summary in zip(columns, summaries)
               if summary["dataset"] == dataset and metric.key in summary["metrics"]}
        best = min(row.values(), key=lambda value: metric.loss(value["mean"]), default=None)
        for column, value in row.items():
            near = metric.loss(value["mean"]) - metric.loss(best["mean"]) <= (best["se"] or 0.0) + ROUNDING
            cells[dataset, column] = Cell(value["mean"], value["se"], value["n"], near and len(row) > 1)
    return cells


def markdown(summaries: Sequence[Summary]) -> str:
    """Returns the report as Markdown: a table per metric, what its numbers are, and the comparisons."""
    parts = []
    for metric in _known(summaries):
        columns, rows = _grid(summaries, metric, _markdown_cell)
        where = summaries[0]["evaluate_on"]
        parts.append(f"**{where.capitalize()} {metric.name}** ({metric.reading})\n\n" + _pipes(columns, rows))
    parts.append(_legend(summaries))
    parts += [_comparison(summary) for summary in summaries if "against" in summary]
    return "\n\n".join(parts) + "\n"


def latex(summaries: Sequence[Summary]) -> str:
    """Returns the same tables for LaTeX, with the legend as a comment."""
    parts = []
    for metric in _known(summaries):
        columns, rows = _grid(summaries, metric, _latex_cell)
        rows = [[row[0].replace("_", r"\_"), *row[1:]] for row in rows]
        columns = [column.replace("_", r"\_") for column in columns]
        parts.append(f"% {summaries[0]['evaluate_on']} {metric.name}, {metric.reading}\n"
                     + tabulate.tabulate(rows, columns, tablefmt="latex_raw", disable_numparse=True))
    legend = _legend(summaries).replace("\n", "\n% ")
    return "\n\n".join(parts) + f"\n% {legend}\n"


def _comparison(summary: Summary) -> str:
    """Returns what summary.json says about --against, as a list in Markdown."""
    rival = summary["against"]
    differ = ", ".join(rival["settings_differ"])
    lines = [f"{summary['exp_name']} minus {rival['exp_name']}, split by split"
             + (f" (settings that differ: {differ})" if differ else "") + ":", ""]
    for metric in TABLES:
        if metric.key not in rival["metrics"]:
            continue
        value = rival["metrics"][metric.key]
        spread = "" if value["se"] is None else (
            f" ± {value['se']:.4f}, 95 % interval {value['ci_low']:+.4f} to {value['ci_high']:+.4f}")
        few = f" (at least {2.0 ** (1 - value['n']):.2g} with so few)" if value["n"] < FEW else ""
        lines.append(f"- {metric.name}: {value['mean']:+.4f}{spread}, Wilcoxon p = {value['wilcoxon_p']:.3g}{few}, "
                     f"{value['n']} pairs of {summary['n']} runs")
    return "\n".join(lines)


def csv_rows(summaries: Sequence[Summary]) -> Tuple[List[str], List[Dict[str, Any]]]:
    """Returns (columns, rows): a row per data set, metric and column, published ones included; plain numbers."""
    columns = ["dataset", "metric", "column", "mean", "se", "n", "ddof", "seeds", "epoch", "bold", "protocol",
               "evaluate_on", "test_particles", "rows_hash", "splits_hash", "units", "source", "recalled"]
    rows = []
    for metric in _known(summaries):
        rows += _our_csv_rows(summaries, metric) + _published_csv_rows(summaries, metric)
    return columns, rows


def _our_csv_rows(summaries: Sequence[Summary], metric: Metric) -> List[Dict[str, Any]]:
    cells, rows = our_cells(summaries, metric), []
    for column, summary in zip(column_names(summaries), summaries):
        if (summary["dataset"], column) not in cells:
            continue
        cell = cells[summary["dataset"], column]
        identity = {name: summary[name] for name in ("protocol", "evaluate_on", "test_particles", "rows_hash",
                                                     "splits_hash")}
        rows.append(dict(
            identity, dataset=summary["dataset"], metric=metric.key, column=column, mean=cell.mean, se=cell.se,
            n=cell.n, ddof=DDOF, seeds=" ".join(str(seed) for seed in summary["seeds"]),
            epoch=summary["settings"]["epoch"], bold="yes" if cell.bold else "no", source="this code", recalled="no",
            units=_units(summary)))
    return rows


def _published_csv_rows(summaries: Sequence[Summary], metric: Metric) -> List[Dict[str, Any]]:
    published, rows = read_published(), []
    for method, (heading, _) in _published_columns(summaries, metric.key).items():
        for dataset in _datasets(summaries):
            fact = published.get((dataset, method, metric.key))
            if fact:
                rows.append(dict(dataset=dataset, metric=metric.key, column=heading, mean=fact["mean"],
                                 evaluate_on="test", units=KINDS[REGRESSION].units,
                                 **{name: fact[name] for name in ("se", "protocol", "source", "recalled")}))
    return rows


def _known(summaries: Sequence[Summary]) -> List[Metric]:
    """Returns those of TABLES that some experiment has numbers for."""
    return [metric for metric in TABLES if any(metric.key in summary["metrics"] for summary in summaries)]


def _grid(summaries: Sequence[Summary], metric: Metric,
          write: Callable[..., str]) -> Tuple[List[str], List[List[str]]]:
    """Returns (column headings, rows of text): our columns, then the published ones."""
    names = list(dict.fromkeys(column_names(summaries)))
    cells, facts = our_cells(summaries, metric), read_published()
    published = _published_columns(summaries, metric.key)
    rows = []
    for dataset in _datasets(summaries):
        if not any((dataset, name) in cells for name in names):
            continue
        row = [dataset] + [write(*cells[dataset, name]) if (dataset, name) in cells else "" for name in names]
        for method in published:
            fact = facts.get((dataset, method, metric.key))
            row.append(_fact_cell(fact, write, named=method == "best") if fact else "")
        rows.append(row)
    return ["data set", *names, *(heading for heading, _ in published.values())], rows


def _published_columns(summaries: Sequence[Summary], key: str) -> Dict[str, Tuple[str, Optional[str]]]:
    """Returns those of PUBLISHED that may stand beside these experiments and have a value."""
    if summaries[0]["evaluate_on"] != "test" or kind_of(summaries[0]) is not KINDS[REGRESSION]:
        return {}
    protocol, known = summaries[0]["protocol"], read_published()
    return {method: row for method, row in PUBLISHED.items() if row[1] in (None, protocol)
            and any((dataset, method, key) in known for dataset in _datasets(summaries))}


def _datasets(summaries: Sequence[Summary]) -> List[str]:
    return list(dict.fromkeys(summary["dataset"] for summary in summaries))


def _fact_cell(fact: Dict[str, str], write: Callable[..., str], named: bool) -> str:
    text = write(float(fact["mean"]), float(fact["se"]) if fact["se"] else None, None, False, fact["recalled"] == "yes")
    return f"{text} {fact['source']}" if named else text


def _markdown_cell(mean: float, se: Optional[float], n: Optional[int], bold: bool, recalled: bool = False) -> str:
    text = ("~" if recalled else "") + f"{mean:.3f}" + (f" ± {se:.3f}" if se is not None else "")
    return f"**{text}**" if bold else text


def _latex_cell(mean: float, se: Optional[float], n: Optional[int], bold: bool, recalled: bool = False) -> str:
    text = (r"\sim " if recalled else "") + f"{mean:.3f}" + (rf" \pm {se:.3f}" if se is not None else "")
    return rf"$\mathbf{{{text}}}$" if bold else f"${text}$"


def _pipes(columns: List[str], rows: List[List[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _units(summary: Summary) -> str:
    return summary.get("units", kind_of(summary).units)


def _noise(summaries: Sequence[Summary]) -> List[str]:
    """Returns a sentence about the noise, once if all experiments agree, or for each of them; none without noise."""
    about = kind_of(summaries[0]).about_noise
    if about is None:
        return []
    names = {summary["exp_name"]: about(summary["settings"]) for summary in summaries}
    if len(set(names.values())) == 1:
        return [f"Noise: {names.popitem()[1]}."]
    return ["Noise: " + "; ".join(f"{name} {noise}" for name, noise in names.items()) + "."]


def _count(summaries: Sequence[Summary], key: str, word: str) -> str:
    """Returns e.g. "20 runs", or the number of every experiment if they differ."""
    numbers = [str(summary[key] if key in summary else summary["settings"][key]) for summary in summaries]
    if len(set(numbers)) == 1:
        return f"{numbers[0]} {word}"
    return f"{word}: " + ", ".join(f"{summary['exp_name']} {number}" for summary, number in zip(summaries, numbers))


def _legend(summaries: Sequence[Summary]) -> str:
    """Returns what the numbers of the tables are."""
    first = summaries[0]
    shared = any(len(set(summary["splits"])) < summary["n"] for summary in summaries)
    over = "seeds, not all on a split of their own" if shared else "splits"
    counts = ", ".join(_count(summaries, key, word) for key, word in (
        ("n", "runs"), ("epoch", "epochs"), ("test_particles", "draws")))
    lines = [
        f"Mean ± standard error (sample standard deviation / sqrt(n)) over {over}; {counts}; "
        f"protocol {first['protocol']}, {first['evaluate_on']} rows; {_units(first)}.",
        *_noise(summaries),
        "Hash of the splits: " + ", ".join(dict.fromkeys(
            f"{summary['dataset']} {summary['splits_hash']}" for summary in summaries)) + ".",
    ]
    if len(set(column_names(summaries))) > 1:
        coverage = " (coverage: by the distance from 0.9)" if "coverage_90" in kind_of(first).metrics else ""
        lines.append(f"Bold: the best of our columns and all within one standard error of it{coverage}.")
    if any(_published_columns(summaries, metric.key) for metric in TABLES):
        lines.append("Published numbers are averages over other splits; ~: quoted from memory, not checked against the "
                     "paper.")
    old = [summary["exp_name"] for summary in summaries
           if not set(kind_of(summary).further) <= set(summary["metrics"])]
    if old:
        lines.append(f"No coverage: {', '.join(old)} (runs of an earlier version; --fresh repeats them).")
    short = [f"{summary['exp_name']} has {summary['n']} of {summary['n_asked']} runs" for summary in summaries
             if summary["n"] < summary["n_asked"]]
    if short:
        lines.append("INCOMPLETE: " + "; ".join(short) + ".")
    return "\n".join(lines)
