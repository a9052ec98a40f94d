"""What evaluate.py prints, as Markdown: a row per run of metrics, of OOD detection and of corrupted images."""
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
import tabulate

from core.assessment.calibrated import NOTICE, Compared
from core.assessment.evaluated import Evaluated
from core.assessment.inputs import OOD, TEST, Options
from core.assessment.results import Results
from core.metrics.calibration import FEW_ROWS, Interval

UNCORRUPTED = "0"  # as a strength
MOST_COLUMNS = 10  # of a table that are printed
CORRELATIONS = {
    "joint_log_likelihood": "joint log-likelihood per row", "marginal_log_likelihood": "of single rows",
    "moment_joint_log_likelihood": "joint, Gaussian", "xll": "cross-normalised (XLL)", "xll_rank": "mean rank of XLL",
    "meta_correlation": "meta-correlation", "meta_rank_correlation": "of ranks",
}


def describe_rows(run: Evaluated, options: Options) -> str:
    """Returns what rows a run was evaluated on, in a few words."""
    n_rows = n_rows_of(run.results)
    if options.data:
        return f"{n_rows} of {options.data}"
    split = run.data.split
    return f"{n_rows} {run.config.evaluate_on}, {run.config.dataset}, {split.protocol} split {split.index}"


def n_rows_of(results: Results) -> int:
    """Returns the number of rows that the results are about."""
    return len(next(iter(results.predictions.values())))


def comparison(results: Dict[str, Results], rows: Dict[str, str], options: Options, same_rows: bool = True) -> str:
    """Returns the tables of all runs, with a warning where they mislead.

    Args:
      results: by the runs' names; rows: `describe_rows` of each.
      same_rows: whether all were evaluated on the same rows.
    """
    tables = [metrics_table(results, rows)]
    if options.ood:
        tables.append(ood_table(results, options))
    if options.corrupt:
        tables.append(corruption_table(results))
    if options.correlations:
        tables.append(correlation_table(results, options))
    if options.importance:
        tables.append(importance_table(results))
    calibrated = [(name, rows[name], run.calibrated) for name, run in results.items() if run.calibrated is not None]
    if calibrated:
        tables.append(calibration_table(calibrated))
    if options.data or options.ood:
        tables += drift_table(results, options)
    return "\n\n".join(tables + warnings(results, same_rows))


def metrics_table(results: Dict[str, Results], rows: Dict[str, str]) -> str:
    """Returns a row per run: the rows it was evaluated on, and its metrics with their 95 % intervals."""
    columns = list(dict.fromkeys(metric for run in results.values() for metric in run.metrics))
    return _markdown(["run", "evaluated on", *columns], [
        [name, rows[name], *(with_interval(run.metrics[column]._asdict()) for column in columns)]
        for name, run in results.items()])


def ood_table(results: Dict[str, Results], options: Options) -> str:
    """Returns a row per run and uncertainty: how well it tells out-of-distribution rows from the data's own."""
    lines = []
    for name, run in results.items():
        for of, more in _by_target(name, run):
            for kind in (metric[len("auroc_"):] for metric in more["ood"] if metric.startswith("auroc_")):
                lines.append([of, kind.replace("_", " "),
                              *(with_interval(more["ood"][f"{metric}_{kind}"]) for metric in ("auroc", "fpr95"))])
    own = options.data or "the test rows"
    return _markdown(["run", f"{options.ood} (OOD) told from {own} by", "auroc", "fpr95"], lines)


def correlation_table(results: Dict[str, Results], options: Options) -> str:
    """Returns a row per run and target: joint scores of batches of rows, and what it has in common with a reference."""
    lines = [(of, more["correlations"]) for name, run in results.items() for of, more in _by_target(name, run)]
    found = [(key, words) for key, words in CORRELATIONS.items() if any(key in numbers for _, numbers in lines)]
    of_batches = f"{options.joint} {lines[0][1]['batches_of']} rows"
    return _markdown([f"run, batches of {of_batches}", *(words for _, words in found)], [
        [of, *(_number(numbers.get(key)) for key, _ in found)] for of, numbers in lines])


def _by_target(name: str, run: Results) -> List[Tuple[str, Dict[str, Any]]]:
    """Returns (name of the run and of a target, its further numbers) for several targets, or else the run's own."""
    return ([(f"{name}, {target}", more) for target, more in run.more.get("targets", {}).items()]
            or [(name, run.more)])


def _number(value: Any) -> str:
    """Returns a number, an Interval's dict, or None as text."""
    if value is None:
        return ""
    return with_interval(value) if isinstance(value, dict) else f"{value:.4g}"


def importance_table(results: Dict[str, Results]) -> str:
    """Returns a row per run and column, the MOST_COLUMNS most important: the log-likelihood lost without it."""
    return _markdown(["run", "column", "log-likelihood lost, nats per row"], [
        [name, column, with_interval(interval)] for name, run in results.items()
        for column, interval in list(run.more["importance"].items())[:MOST_COLUMNS]])


def calibration_table(runs: Sequence[Tuple[str, str, Compared]]) -> str:
    """Returns two rows per run and rows, as trained and calibrated; runs: (name, what rows, their metrics)."""
    columns = list(dict.fromkeys(metric for _, _, compared in runs for metric in compared.before))
    return _markdown(["run", "rows", "level", "", *columns], [
        [name, rows, f"{compared.level:.15g}", words, *(_of_metric(metrics, column) for column in columns)]
        for name, rows, compared in runs
        for words, metrics in (("as trained", compared.before), ("calibrated", compared.after))])


def _of_metric(metrics: Dict[str, Interval], name: str) -> str:
    return with_interval(metrics[name]._asdict()) if name in metrics else ""


def drift_table(results: Dict[str, Results], options: Options) -> List[str]:
    """Returns a table of the columns with rows outside the range of the training rows; [] if there is none."""
    names = {TEST: options.data or "test rows", OOD: options.ood}
    lines = [[name, names[rows], column, f"{100.0 * share:.3g} %"] for name, run in results.items()
             for rows, shares in run.more.get("drift", {}).items()
             for column, share in list(shares.items())[:MOST_COLUMNS] if share]
    return [_markdown(["run", "rows", "column", "outside the range of the training rows"], lines)] if lines else []


def corruption_table(results: Dict[str, Results]) -> str:
    """Returns a row per run and metric: on uncorrupted images, and means over the strengths of each corruption."""
    kinds, lines = list(next(iter(results.values())).more["corruptions"]), []
    for name, run in results.items():
        by_kind = run.more["corruptions"]
        uncorrupted = by_kind[kinds[0]][UNCORRUPTED]
        for metric in uncorrupted:
            means = [np.mean([metrics[metric] for strength, metrics in by_kind[kind].items()
                              if strength != UNCORRUPTED]) for kind in kinds]
            numbers = [uncorrupted[metric], *means, np.mean(means)]
            lines.append([name, metric, run.more["corrupted_rows"], *(f"{number:.4g}" for number in numbers)])
    return _markdown(["run", "metric", "rows", "uncorrupted", *(f"{kind} 1-5" for kind in kinds), "mean corrupted"],
                     lines)


def warnings(results: Dict[str, Results], same_rows: bool) -> List[str]:
    """Returns sentences about what the numbers cannot show."""
    sentences = []
    for rows, count in (("rows", n_rows_of), ("corrupted rows", lambda run: run.more.get("corrupted_rows", FEW_ROWS)),
                        ("OOD rows", lambda run: run.more.get("ood_rows", FEW_ROWS))):
        few = [name for name, run in results.items() if count(run) < FEW_ROWS]
        if few:
            sentences.append(f"Fewer than {FEW_ROWS} {rows} ({', '.join(few)}): no intervals, and the metrics are "
                             "mostly chance.")
    for name, run in results.items():
        for key, n_rows, rows in (("n_in_train", n_rows_of(run), "rows"),
                                  ("n_ood_in_train", run.more.get("ood_rows"), "OOD rows")):
            if run.more.get(key):
                sentences.append(f"{run.more[key]} of the {n_rows} {rows} ({name}) are rows that the run was trained "
                                 "on: these metrics are not those of new rows.")
    sentences += dict.fromkeys(notice for run in results.values() for notice in run.more.get("notices", []))
    sentences += (f"{name}: {run.more[NOTICE]}." for name, run in results.items()
                  if NOTICE in run.more)
    if not same_rows:
        sentences.append("These runs were not evaluated on the same rows, which by itself makes their numbers differ.")
    return sentences


def with_interval(interval: Dict[str, Any]) -> str:
    """Returns "value [low, high]" of an Interval's dict; the value alone where there is no interval."""
    if interval["low"] is None:
        return f"{interval['value']:.4g}"
    return "{value:.4g} [{low:.4g}, {high:.4g}]".format(**interval)


def _markdown(columns: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    return tabulate.tabulate(lines, columns, tablefmt="github", disable_numparse=True)
