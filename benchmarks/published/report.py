"""Tables of finished runs beside the published numbers: table.md and table.csv."""
import pathlib
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import tabulate

from benchmarks.published import figures
from benchmarks.published.plan import TABLES, Choice, Run
from core.baseline.statistics import compare, summarise, with_error
from data_loader.corruptions import STRENGTHS
from misc.records import read_json, read_result, read_rows, write_rows

NUMBERS = pathlib.Path(__file__).with_name("numbers.csv")
REFERENCE = "sgd"  # whose runs the differences are to
METRICS = {"accuracy": "accuracy", "log_likelihood": "log-likelihood", "ece": "ECE", "brier": "Brier",
           "mean_accuracy": "accuracy, mean weights", "mean_log_likelihood": "log-likelihood, mean weights"}
COMPARED = ("accuracy", "log_likelihood", "ece", "brier", "corrupted_accuracy", "corrupted_log_likelihood")
OOD = {"ood_entropy": "AUROC, entropy", "ood_mutual_information": "AUROC, mutual information"}
CORRUPTED = {"corrupted_accuracy": "accuracy, corrupted", "corrupted_log_likelihood": "log-likelihood, corrupted",
             "corrupted_ece": "ECE, corrupted"}
COLUMNS = ["variant", "method", "seed", "epochs", "published_epochs", "width", "learning_rate", *METRICS, *OOD,
           *CORRUPTED, *(f"{name}_{strength}" for strength in (0, *STRENGTHS) for name in CORRUPTED),
           "train_log_likelihood", "skipped", "recovered", "hours", "revision"]
DIGITS = 4

Row = Dict[str, Any]


def write(choice: Choice, runs: Sequence[Run]) -> str:
    """Writes the tables and figures of the runs that are finished into choice.out; returns the text of table.md."""
    network = TABLES[choice.table].network
    finished = [(run, row) for run, row in ((run, row_of(run, network)) for run in runs) if row]
    rows = [row for _, row in finished]
    text = describe(choice, rows, len(runs))
    if not rows:
        return text
    choice.out.mkdir(parents=True, exist_ok=True)
    write_rows(choice.out / "table.csv", COLUMNS, rows)
    (choice.out / "table.md").write_text(text + "\n", encoding="utf-8")
    figures.draw_curves([(run, read_rows(run.folder.metrics)) for run, _ in finished], choice.out / "curves.png")
    figures.draw_corruptions(rows, choice.out / "corruptions.png")
    return text


def row_of(run: Run, network: str) -> Optional[Row]:
    """Returns what table.csv says of a run; None if it is not finished and evaluated.

    network: whose published numbers stand beside it.
    """
    result, path = read_result(run.folder.result), run.folder.evaluation / "metrics.json"
    if result is None or not path.is_file():
        return None
    metrics, evaluation = result["metrics"], read_json(path)
    row = {"variant": run.variant, "method": run.method, "seed": run.seed, "epochs": run.config.epoch,
           "published_epochs": _published(network, run.variant).get(run.method, {}).get("epochs"),
           "width": run.config.width, "learning_rate": run.config.learning_rate,
           "train_log_likelihood": metrics["train_expected_log_likelihood"], **result["incidents"],
           "hours": result["train_time_s"] / 3600.0, "revision": result["revision"]}
    row.update((name, metrics[f"test_{name}"]) for name in METRICS)
    for name in OOD:
        found = evaluation["ood"].get(f"auroc_{name[len('ood_'):]}")
        row[name] = found["value"] if found else None
    row.update(_corrupted(evaluation["corruptions"]))
    return row


def _corrupted(corruptions: Dict[str, Dict[str, Dict[str, float]]]) -> Row:
    """Returns means over the kinds of corruption: by strength, and over strengths 1 to 5."""
    row: Row = {}
    for name in CORRUPTED:
        metric = name[len("corrupted_"):]
        for strength in (0, *STRENGTHS):
            row[f"{name}_{strength}"] = float(np.mean([kind[str(strength)][metric] for kind in corruptions.values()]))
        row[name] = float(np.mean([row[f"{name}_{strength}"] for strength in STRENGTHS]))
    return row


def describe(choice: Choice, rows: Sequence[Row], n_runs: int) -> str:
    """Returns Markdown: conditions, averages beside published numbers, differences, corruptions, and single runs."""
    table = TABLES[choice.table]
    width = table.width if choice.width is None else choice.width
    network = choice.network.get("model_name", table.network)
    lengths = {row["epochs"] for row in published_numbers() if row["network"] == table.network} - {""}
    parts = [f"# {choice.table}: {network}, width {width:g}, {_of(choice.epochs, '/'.join(sorted(lengths)))} epochs",
             f"{len(rows)} of {n_runs} runs are finished. Means ± standard errors over seeds (no error for a single "
             "one), of test images; log-likelihood per image, in nats. OOD: uniform noise. Corruptions take the first "
             "images alone, so strength 0 differs from the scores of all."]
    if choice.network:
        parts.insert(1, "Random images and another network than the published one: nothing here can be compared.")
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    for variant in variants:
        own = [row for row in rows if row["variant"] == variant]
        parts += [f"## {variant}", _averages(table.network, variant, own)]
        differences = _differences(own)
        if differences:
            parts += [f"Differences to {REFERENCE}, paired over seeds:", differences]
        parts += ["Mean over the kinds of corruption, by strength (accuracy / log-likelihood):", _strengths(own)]
    parts += ["## Published numbers", "~: read off a figure, or not checked against the paper: not to be cited.",
              _published_table(choice.table)]
    if rows:
        parts += ["## Single runs", _single(rows)]
    return "\n\n".join(parts)


def _averages(network: str, variant: str, rows: Sequence[Row]) -> str:
    lines = []
    for method, own in _by_method(rows).items():
        published = _published(network, variant).get(method, {})
        lines.append([method, len(own), _of(own[0]["epochs"], published.get("epochs", "")),
                      *(_mean(own, name) for name in METRICS), *(_mean(own, name) for name in (*OOD, *CORRUPTED)),
                      *(_shown(published, name) for name in ("accuracy", "log_likelihood", "ece")),
                      _mean(own, "hours")])
    return _table(lines, ["method", "seeds", "epochs", *METRICS.values(), *OOD.values(), *CORRUPTED.values(),
                          "published accuracy", "published log-likelihood", "published ECE", "hours"])


def _differences(rows: Sequence[Row]) -> str:
    """Returns a table of the mean differences to REFERENCE over the seeds that both have; empty if it has no run."""
    by_method = _by_method(rows)
    theirs = {row["seed"]: row for row in by_method.get(REFERENCE, [])}
    lines = []
    for method, own in by_method.items():
        paired = [row for row in own if row["seed"] in theirs]
        if method != REFERENCE and paired:
            statistics = [compare([row[name] for row in paired], [theirs[row["seed"]][name] for row in paired])
                          for name in COMPARED]
            lines.append([method, len(paired), *(with_error(each, DIGITS, "+") for each in statistics)])
    return _table(lines, ["method", "seeds", *(dict(METRICS, **CORRUPTED)[name] for name in COMPARED)]) if lines else ""


def _strengths(rows: Sequence[Row]) -> str:
    return _table([[method, *(f"{_mean(own, f'corrupted_accuracy_{strength}', 3)} / "
                              f"{_mean(own, f'corrupted_log_likelihood_{strength}', 3)}"
                              for strength in (0, *STRENGTHS))] for method, own in _by_method(rows).items()],
                  ["method", *map(str, (0, *STRENGTHS))])


def _published_table(name: str) -> str:
    networks = TABLES[name].published
    return _table([[row["network"], row["variant"], row["label"], *(_shown(row, key) for key in (
        "accuracy", "log_likelihood", "ece")), row["epochs"], row["source"]] for row in published_numbers()
        if row["network"] in networks],
        ["network", "variant", "method", "accuracy", "log-likelihood", "ECE", "epochs", "source"])


def _single(rows: Sequence[Row]) -> str:
    names = ["accuracy", "log_likelihood", "ece", "brier", "hours"]
    return _table([[row["variant"], row["method"], row["seed"], f"{row['learning_rate']:g}",
                    *(f"{row[name]:.{DIGITS}f}" for name in names), row["skipped"], row["recovered"]] for row in rows],
                  ["variant", "method", "seed", "step size", *names, "skipped steps", "recovered steps"])


def published_numbers() -> List[Dict[str, str]]:
    """Returns the rows of numbers.csv; `epochs` is empty where the length of the training is not known."""
    return read_rows(NUMBERS)


def _published(network: str, variant: str) -> Dict[str, Dict[str, str]]:
    """Returns {method: its row of numbers.csv}, the first one if there are several."""
    return {row["method"]: row for row in reversed(published_numbers())
            if (row["network"], row["variant"]) == (network, variant)}


def _of(epochs: int, published: str) -> str:
    """Returns "epochs of published", or the number of epochs alone where the published one is not known."""
    return f"{epochs} of {published}" if published else str(epochs)


def _by_method(rows: Sequence[Row]) -> Dict[str, List[Row]]:
    return {method: [row for row in rows if row["method"] == method]
            for method in dict.fromkeys(row["method"] for row in rows)}


def _shown(row: Dict[str, str], name: str) -> str:
    """Returns a published number, with ~ if it was recalled or read off a figure."""
    value = row.get(name, "")
    return f"{'~' if row['approximate'] == 'yes' else ''}{value}" if value else ""


def _mean(rows: Sequence[Row], name: str, digits: int = DIGITS) -> str:
    values = [row[name] for row in rows if row[name] is not None]
    if not values:
        return ""
    return with_error(summarise(values), digits)


def _table(lines: Sequence[Sequence[Any]], heads: Sequence[str]) -> str:
    return tabulate.tabulate(lines, heads, tablefmt="github", disable_numparse=True)
