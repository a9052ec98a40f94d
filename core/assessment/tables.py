"""What evaluate.py prints, as Markdown: a row per run of metrics, of strange rows and of damaged ones."""
import numpy as np
import tabulate

from core.metrics.calibration import FEW_ROWS

AS_THEY_ARE = "0"  # the strength of no damage


def rows_of(run, asked):
    """What rows an Evaluated was judged on, in a few words."""
    n_rows = n_rows_of(run.answers)
    if asked.data:
        return f"{n_rows} of {asked.data}"
    split = run.data.split
    return f"{n_rows} {run.config.evaluate_on}, {run.config.dataset}, {split.protocol} split {split.index}"


def n_rows_of(answers):
    """How many rows the Answers are about."""
    return len(next(iter(answers.predictions.values())))


def comparison(named, judged_on, asked, same=True):
    """The tables of all runs, {name: Answers}, {name: rows_of it}; with a warning where they mislead.

    same: whether all were judged on the same rows.
    """
    tables = [metrics_table(named, judged_on)]
    if asked.ood:
        tables.append(strange_table(named, asked))
    if asked.corrupt:
        tables.append(damaged_table(named))
    return "\n\n".join(tables + warnings(named, same))


def metrics_table(named, judged_on):
    """A row per run: the rows it was judged on, its metrics with their 95 % intervals."""
    columns = list(dict.fromkeys(metric for answers in named.values() for metric in answers.metrics))
    return _markdown(["run", "judged on", *columns], [
        [name, judged_on[name], *(with_interval(answers.metrics[column]._asdict()) for column in columns)]
        for name, answers in named.items()])


def strange_table(named, asked):
    """A row per run and uncertainty: how well it tells strange rows from the data's own."""
    rows = [[name, kind, *(with_interval(answers.more["ood"][f"{metric}_{kind.replace(' ', '_')}"])
                           for metric in ("auroc", "fpr95"))]
            for name, answers in named.items() for kind in answers.panels["ood"].pairs]
    own = asked.data or "the test rows"
    return _markdown(["run", f"{asked.ood} told from {own} by", "auroc", "fpr95"], rows)


def damaged_table(named):
    """A row per run and metric: on the pictures as they are, and means over the strengths of each kind of damage."""
    kinds, rows = list(next(iter(named.values())).more["corruptions"]), []
    for name, answers in named.items():
        found = answers.more["corruptions"]
        for metric in found[kinds[0]][AS_THEY_ARE]:
            means = [np.mean([values[metric] for strength, values in found[kind].items() if strength != AS_THEY_ARE])
                     for kind in kinds]
            numbers = [found[kinds[0]][AS_THEY_ARE][metric], *means, np.mean(means)]
            rows.append([name, metric, answers.more["corrupted_rows"], *(f"{number:.4g}" for number in numbers)])
    return _markdown(["run", "metric", "rows", "as they are", *(f"{kind} 1-5" for kind in kinds), "mean damaged"], rows)


def warnings(named, same):
    """Lines about what the numbers cannot bear."""
    few = [name for name, answers in named.items() if min(
        n_rows_of(answers), answers.more.get("corrupted_rows", FEW_ROWS), answers.more.get("ood_rows", FEW_ROWS)
    ) < FEW_ROWS]
    found = [f"Fewer than {FEW_ROWS} rows ({', '.join(few)}): no intervals, and the metrics are mostly chance."
             ] if few else []
    if not same:
        found.append("These runs were not judged on the same rows: their numbers differ by that, too.")
    return found


def with_interval(found):
    """value [low, high] of an Interval's dict; the value alone where there is no interval."""
    if found["low"] is None:
        return f"{found['value']:.4g}"
    return "{value:.4g} [{low:.4g}, {high:.4g}]".format(**found)


def _markdown(columns, rows):
    return tabulate.tabulate(rows, columns, tablefmt="github", disable_numparse=True)
