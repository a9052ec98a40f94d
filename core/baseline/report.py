"""Tables one pastes into a paper: rows data sets, columns methods, published values beside ours."""
import collections
import csv
import pathlib

import tabulate

from core.baseline.results import DDOF, UNITS

PUBLISHED_FILE = pathlib.Path(__file__).with_name("published.csv")

TABLES = (("rmse", "RMSE", "lower is better", min), ("log_likelihood", "log-likelihood", "higher is better", max))

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
    return [found["exp_name"] if found["optimizer"] in repeated else found["optimizer"] for found in summaries]


def our_cells(summaries, metric, best_of):
    """{(dataset, column): Cell}. Bold: the best of a row and all within one standard error, its own, of it."""
    columns = column_names(summaries)
    cells = {}
    for dataset in {found["dataset"] for found in summaries}:
        row = {column: found["metrics"][metric] for column, found in zip(columns, summaries)
               if found["dataset"] == dataset}
        best = best_of(row.values(), key=lambda value: value["mean"])
        for column, value in row.items():
            near = abs(value["mean"] - best["mean"]) <= (best["se"] or 0.0)
            cells[dataset, column] = Cell(value["mean"], value["se"], value["n"], near and len(row) > 1)
    return cells


def markdown(summaries):
    """The report as Markdown: a table per metric and what its numbers are."""
    parts = []
    for metric, name, direction, best_of in TABLES:
        columns, rows = _grid(summaries, metric, best_of, _markdown_cell)
        where = summaries[0]["evaluate_on"]
        parts.append(f"**{where.capitalize()} {name}** ({direction})\n\n" + _pipes(columns, rows))
    return "\n\n".join(parts) + "\n\n" + _legend(summaries) + "\n"


def latex(summaries):
    """The same tables for LaTeX."""
    parts = []
    for metric, name, direction, best_of in TABLES:
        columns, rows = _grid(summaries, metric, best_of, _latex_cell)
        rows = [[row[0].replace("_", r"\_"), *(cell.replace("~", r"$\sim$") for cell in row[1:])] for row in rows]
        columns = [column.replace("_", r"\_") for column in columns]
        parts.append(f"% {summaries[0]['evaluate_on']} {name}, {direction}\n"
                     + tabulate.tabulate(rows, columns, tablefmt="latex_raw", disable_numparse=True))
    legend = _legend(summaries).replace("\n", "\n% ")
    return "\n\n".join(parts) + f"\n% {legend}\n"


def comparison(found):
    """What summary.json says about --against, in a few lines."""
    lines = [f"{found['exp_name']} minus {found['against']['exp_name']}, split by split:"]
    for metric, name, _, _ in TABLES:
        value = found["against"]["metrics"][metric]
        spread = "" if value["se"] is None else (
            f" ± {value['se']:.4f}, 95 % interval {value['ci_low']:+.4f} to {value['ci_high']:+.4f}")
        lines.append(f"  {name}: {value['mean']:+.4f}{spread}, Wilcoxon p = {value['wilcoxon_p']:.3g}, "
                     f"n = {value['n']}")
    return "\n".join(lines)


def csv_rows(summaries):
    """(columns, rows): a row per data set, metric and column, published ones included; plain numbers."""
    columns = ["dataset", "metric", "column", "mean", "se", "n", "ddof", "bold", "protocol", "evaluate_on",
               "test_particles", "rows_hash", "splits_hash", "units", "source", "recalled"]
    rows = []
    for metric, _, _, best_of in TABLES:
        cells = our_cells(summaries, metric, best_of)
        for column, found in zip(column_names(summaries), summaries):
            cell = cells[found["dataset"], column]
            rows.append(dict(
                dataset=found["dataset"], metric=metric, column=column, mean=cell.mean, se=cell.se, n=cell.n, ddof=DDOF,
                bold=cell.bold, source="this code", recalled="no", units=UNITS,
                **{name: found[name] for name in ("protocol", "evaluate_on", "test_particles", "rows_hash",
                                                  "splits_hash")}))
        for method, (heading, _) in _published_columns(summaries).items():
            for dataset in _datasets(summaries):
                fact = read_published().get((dataset, method, metric))
                if fact:
                    rows.append(dict(dataset=dataset, metric=metric, column=heading, mean=fact["mean"], se=fact["se"],
                                     protocol=fact["protocol"], evaluate_on="test", units=UNITS, source=fact["source"],
                                     recalled=fact["recalled"]))
    return columns, rows


def _grid(summaries, metric, best_of, write):
    """(column headings, rows of text): ours, then the published ones."""
    names = list(dict.fromkeys(column_names(summaries)))
    cells, facts = our_cells(summaries, metric, best_of), read_published()
    published = _published_columns(summaries)
    rows = []
    for dataset in _datasets(summaries):
        row = [dataset] + [write(*cells[dataset, name]) if (dataset, name) in cells else "" for name in names]
        for method in published:
            fact = facts.get((dataset, method, metric))
            row.append(_fact_cell(fact, write, named=method == "best") if fact else "")
        rows.append(row)
    return ["data set", *names, *(heading for heading, _ in published.values())], rows


def _published_columns(summaries):
    if summaries[0]["evaluate_on"] != "test":
        return {}
    protocol, known = summaries[0]["protocol"], {(dataset, method) for dataset, method, _ in read_published()}
    return {method: row for method, row in PUBLISHED.items() if row[1] in (None, protocol)
            and any((dataset, method) in known for dataset in _datasets(summaries))}


def _datasets(summaries):
    return list(dict.fromkeys(found["dataset"] for found in summaries))


def _fact_cell(fact, write, named):
    text = write(float(fact["mean"]), float(fact["se"]) if fact["se"] else None, None, False)
    text = ("~" if fact["recalled"] == "yes" else "") + text
    return f"{text} {fact['source']}" if named else text


def _markdown_cell(mean, se, n, bold):
    text = f"{mean:.3f}" + (f" ± {se:.3f}" if se is not None else "")
    return f"**{text}**" if bold else text


def _latex_cell(mean, se, n, bold):
    text = f"{mean:.3f}" + (rf" \pm {se:.3f}" if se is not None else "")
    return rf"$\mathbf{{{text}}}$" if bold else f"${text}$"


def _pipes(columns, rows):
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _legend(summaries):
    counts = "; ".join(f"{column} on {found['dataset']}: {found['n']}" for column, found
                       in zip(column_names(summaries), summaries))
    numbers = sorted({found["n"] for found in summaries})
    runs = f"{numbers[0]} run{'s each' if numbers[0] > 1 else ''}" if len(numbers) == 1 else f"runs: {counts}"
    draws = sorted({found["test_particles"] for found in summaries})
    splits = ", ".join(dict.fromkeys(f"{found['dataset']} {found['splits_hash']}" for found in summaries))
    return (
        f"Mean ± standard error (standard deviation with ddof {DDOF}) over splits; {runs}; protocol "
        f"{summaries[0]['protocol']}, {summaries[0]['evaluate_on']} rows; {' or '.join(map(str, draws))} draws; "
        f"{UNITS}.\nBold: the best of our columns and all within one standard error of it. Published numbers are "
        "averages over other splits;\na ~ marks those recalled, not read off the paper. "
        f"Hash of the splits: {splits}."
    )
