"""Tables one pastes into a paper: rows data sets, columns methods, published values beside ours."""
import collections
import csv
import math
import pathlib

import tabulate

from core.baseline.results import DDOF, UNITS
from core.metrics.predictive import noise_name

PUBLISHED_FILE = pathlib.Path(__file__).with_name("published.csv")

ROUNDING = 1e-12
FEW = 6  # pairs; with fewer no Wilcoxon test can reach p = 0.05

Metric = collections.namedtuple("Metric", ["key", "name", "reading", "loss"])
"""reading: which values are good; loss: function of a mean that is lower where it is better."""

TABLES = (
    Metric("rmse", "RMSE", "lower is better", lambda mean: mean),
    Metric("log_likelihood", "log-likelihood", "higher is better", lambda mean: -mean),
    Metric("coverage_90", "coverage of 90 % intervals", "a share; 0.9 is right", lambda mean: abs(mean - 0.9)),
)

# Published columns: method in published.csv -> (heading, protocol of ours that it may stand beside; None: any).
PUBLISHED = {"NNG-MVG": ("published noisy K-FAC", "published"), "best": ("best published for this network", None)}

Cell = collections.namedtuple("Cell", ["mean", "se", "n", "bold"])


def read_published():
    """{(dataset, method, metric): row} of published.csv."""
    with open(str(PUBLISHED_FILE), newline="", encoding="utf-8") as handle:
        return {(row["dataset"], row["method"], row["metric"]): row for row in csv.DictReader(handle)}


def column_names(summaries):
    """A column per method; experiments of one method on one data set are told apart by their names."""
    counts = collections.Counter((found["dataset"], found["optimizer"]) for found in summaries)
    repeated = {method for (_, method), count in counts.items() if count > 1}
    return [found["exp_name"] if found["optimizer"] in repeated
            else found["optimizer"] + (" (tuned)" if "search" in found else "") for found in summaries]


def our_cells(summaries, metric):
    """{(dataset, column): Cell}. Bold: the best of a row and all whose loss is within its standard error of it."""
    columns = column_names(summaries)
    cells = {}
    for dataset in {found["dataset"] for found in summaries}:
        row = {column: found["metrics"][metric.key] for column, found in zip(columns, summaries)
               if found["dataset"] == dataset and metric.key in found["metrics"]}
        best = min(row.values(), key=lambda value: metric.loss(value["mean"]), default=None)
        for column, value in row.items():
            near = metric.loss(value["mean"]) - metric.loss(best["mean"]) <= (best["se"] or 0.0) + ROUNDING
            cells[dataset, column] = Cell(value["mean"], value["se"], value["n"], near and len(row) > 1)
    return cells


def markdown(summaries):
    """The report as Markdown: a table per metric and what its numbers are."""
    parts = []
    for metric in _known(summaries):
        columns, rows = _grid(summaries, metric, _markdown_cell)
        where = summaries[0]["evaluate_on"]
        parts.append(f"**{where.capitalize()} {metric.name}** ({metric.reading})\n\n" + _pipes(columns, rows))
    parts.append(_legend(summaries))
    parts += [_comparison(found) for found in summaries if "against" in found]
    return "\n\n".join(parts) + "\n"


def latex(summaries):
    """The same tables for LaTeX."""
    parts = []
    for metric in _known(summaries):
        columns, rows = _grid(summaries, metric, _latex_cell)
        rows = [[row[0].replace("_", r"\_"), *row[1:]] for row in rows]
        columns = [column.replace("_", r"\_") for column in columns]
        parts.append(f"% {summaries[0]['evaluate_on']} {metric.name}, {metric.reading}\n"
                     + tabulate.tabulate(rows, columns, tablefmt="latex_raw", disable_numparse=True))
    legend = _legend(summaries).replace("\n", "\n% ")
    return "\n\n".join(parts) + f"\n% {legend}\n"


def _comparison(found):
    """What summary.json says about --against, as a list."""
    rival = found["against"]
    differ = ", ".join(rival["settings_differ"])
    lines = [f"{found['exp_name']} minus {rival['exp_name']}, split by split"
             + (f" (settings that differ: {differ})" if differ else "") + ":", ""]
    for metric in TABLES:
        if metric.key not in rival["metrics"]:
            continue
        value = rival["metrics"][metric.key]
        spread = "" if value["se"] is None else (
            f" ± {value['se']:.4f}, 95 % interval {value['ci_low']:+.4f} to {value['ci_high']:+.4f}")
        few = f" (at least {2.0 ** (1 - value['n']):.2g} with so few)" if value["n"] < FEW else ""
        lines.append(f"- {metric.name}: {value['mean']:+.4f}{spread}, Wilcoxon p = {value['wilcoxon_p']:.3g}{few}, "
                     f"{value['n']} pairs of {found['n']} runs")
    return "\n".join(lines)


def csv_rows(summaries):
    """(columns, rows): a row per data set, metric and column, published ones included; plain numbers."""
    columns = ["dataset", "metric", "column", "mean", "se", "n", "ddof", "seeds", "epoch", "bold", "protocol",
               "evaluate_on", "test_particles", "rows_hash", "splits_hash", "units", "source", "recalled"]
    rows = []
    for metric in _known(summaries):
        cells = our_cells(summaries, metric)
        for column, found in zip(column_names(summaries), summaries):
            if (found["dataset"], column) not in cells:
                continue
            cell = cells[found["dataset"], column]
            rows.append(dict(
                dataset=found["dataset"], metric=metric.key, column=column, mean=cell.mean, se=cell.se, n=cell.n,
                ddof=DDOF, seeds=" ".join(str(seed) for seed in found["seeds"]), epoch=found["settings"]["epoch"],
                bold="yes" if cell.bold else "no", source="this code", recalled="no", units=UNITS,
                **{name: found[name] for name in ("protocol", "evaluate_on", "test_particles", "rows_hash",
                                                  "splits_hash")}))
        for method, (heading, _) in _published_columns(summaries, metric.key).items():
            for dataset in _datasets(summaries):
                fact = read_published().get((dataset, method, metric.key))
                if fact:
                    rows.append(dict(dataset=dataset, metric=metric.key, column=heading, mean=fact["mean"],
                                     evaluate_on="test", units=UNITS,
                                     **{name: fact[name] for name in ("se", "protocol", "source", "recalled")}))
    return columns, rows


def _known(summaries):
    """Those of TABLES that some experiment has numbers for."""
    return [metric for metric in TABLES if any(metric.key in found["metrics"] for found in summaries)]


def _grid(summaries, metric, write):
    """(column headings, rows of text): ours, then the published ones."""
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


def _published_columns(summaries, key):
    if summaries[0]["evaluate_on"] != "test":
        return {}
    protocol, known = summaries[0]["protocol"], read_published()
    return {method: row for method, row in PUBLISHED.items() if row[1] in (None, protocol)
            and any((dataset, method, key) in known for dataset in _datasets(summaries))}


def _datasets(summaries):
    return list(dict.fromkeys(found["dataset"] for found in summaries))


def _fact_cell(fact, write, named):
    text = write(float(fact["mean"]), float(fact["se"]) if fact["se"] else None, None, False, fact["recalled"] == "yes")
    return f"{text} {fact['source']}" if named else text


def _markdown_cell(mean, se, n, bold, recalled=False):
    text = ("~" if recalled else "") + f"{mean:.3f}" + (f" ± {se:.3f}" if se is not None else "")
    return f"**{text}**" if bold else text


def _latex_cell(mean, se, n, bold, recalled=False):
    text = (r"\sim " if recalled else "") + f"{mean:.3f}" + (rf" \pm {se:.3f}" if se is not None else "")
    return rf"$\mathbf{{{text}}}$" if bold else f"${text}$"


def _pipes(columns, rows):
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _noise(summaries):
    """Its shape and how its level is found, if all have the same one, or that of every experiment."""
    names = {}
    for found in summaries:
        settings = found["settings"]
        dof = settings["noise_dof"] if settings.get("likelihood") == "student_t" else math.inf
        names[found["exp_name"]] = f"{noise_name(dof)} (noise_update {settings.get('noise_update', 'adam')})"
    if len(set(names.values())) == 1:
        return names.popitem()[1]
    return ", ".join(f"{name} {noise}" for name, noise in names.items())


def _legend(summaries):
    """What the numbers of the tables are."""
    def of_all(key, word):
        values = {str(found[key]) for found in summaries} if key in summaries[0] else {
            str(found["settings"][key]) for found in summaries}
        if len(values) == 1:
            return f"{values.pop()} {word}"
        return f"{word}: " + ", ".join(f"{found['exp_name']} {found.get(key) or found['settings'][key]}"
                                       for found in summaries)

    first = summaries[0]
    same = any(len(set(found["splits"])) < found["n"] for found in summaries)
    over = "seeds, not all on a split of their own" if same else "splits"
    lines = [
        f"Mean ± standard error (standard deviation with ddof {DDOF}) over {over}; {of_all('n', 'runs')}, "
        f"{of_all('epoch', 'epochs')}, {of_all('test_particles', 'draws')}; protocol {first['protocol']}, "
        f"{first['evaluate_on']} rows; {UNITS}.",
        "Noise: " + _noise(summaries) + ".",
        "Hash of the splits: " + ", ".join(dict.fromkeys(
            f"{found['dataset']} {found['splits_hash']}" for found in summaries)) + ".",
    ]
    if len(set(column_names(summaries))) > 1:
        lines.append("Bold: the best of our columns and all within one standard error of it (coverage: by the distance "
                     "from 0.9).")
    if any(_published_columns(summaries, metric.key) for metric in TABLES):
        lines.append("Published numbers are averages over other splits; ~: recalled, not read off the paper.")
    short = [f"{found['exp_name']} has {found['n']} of {found['n_asked']} runs" for found in summaries
             if found["n"] < found["n_asked"]]
    old = [found["exp_name"] for found in summaries if "coverage_90" not in found["metrics"]]
    if old:
        lines.append(f"No coverage: {', '.join(old)} (runs of an earlier version; --fresh makes them anew).")
    if short:
        lines.append("INCOMPLETE: " + "; ".join(short) + ".")
    return "\n".join(lines)
