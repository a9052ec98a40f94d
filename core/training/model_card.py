"""MODEL_CARD.md in a run's folder: what the model predicts, how well, within what limits, and how to use it.

Its sections follow Mitchell et al. (2019), Model cards for model reporting, Sec. 4, as far as a run can know them.
"""
from typing import Any, Dict, Iterable, List, Optional

import tabulate

from core.inference.optimizer import METHODS
from core.metrics.calibration import FEW_ROWS, with_intervals
from core.training.design import Plan
from core.training.evaluation import Evaluation
from core.training.tasks import METRIC_PREFIX
from data_loader.table_transform import CATEGORY, DATE, NUMBER, Column
from misc.folders import Folder

MOST_CATEGORIES, MOST_COLUMNS = 12, 200
RESAMPLES = 400  # for the intervals of the metrics


def model_card(plan: Plan, evaluation: Optional[Evaluation], result: Dict[str, Any], folder: Folder) -> str:
    """Returns the card of a finished run, in Markdown.

    Args:
      evaluation: of the rows that the run is judged by; None if all rows train.
      result: as in result.json.
      folder: of the run.
    """
    sections = {
        f"Model card: {plan.config.name}": _about_model(plan, result),
        "Inputs": _about_inputs(plan.data),
        "How good it is": _about_metrics(plan, evaluation, result),
        "Limits": [f"- {sentence}" for sentence in _limits(plan, evaluation, result)],
        "How to use it": _about_use(plan, folder),
    }
    return "\n".join(line for number, (title, lines) in enumerate(sections.items())
                     for line in [f"{'#' if number == 0 else '##'} {title}", "", *lines, ""])


def _about_model(plan: Plan, result: Dict[str, Any]) -> List[str]:
    config, data = plan.config, plan.data
    classes = getattr(data, "classes", None)
    if classes:
        what = f"one of {len(classes)} classes ({_some(classes)})"
    else:
        targets = [place.label for place in data.transform.targets]
        what = f"a number, {targets[0]}" if len(targets) == 1 else f"{len(targets)} numbers: {_some(targets)}"
    rows = [("predicts", what), ("trained on", f"{result['n_train']} rows of {data.source} (hash {data.rows_hash})"),
            ("network", f"{config.model_name}, {config.activation}"),
            ("method", f"{config.optimizer}: {METHODS[config.optimizer].meaning}"),
            ("training", f"{result['steps']} steps, seed {config.seed}"),
            ("software", ", ".join(f"{name} {version}" for name, version in result["versions"].items())
             + (f"; revision {result['revision']}" if result["revision"] else ""))]
    return [_table(rows, ["", ""])]


def _about_inputs(data: Any) -> List[str]:
    transform = getattr(data, "transform", None)
    if transform is None:
        height, width, channels = data.spec.shape
        return [f"Images of {height} x {width} pixels with {channels} channel{'s' if channels > 1 else ''}."]
    lines, position = [], 0
    for column in transform.columns[:MOST_COLUMNS]:
        lines.append([column.name or f"column {column.number}", column.kind, _values_of(column, data, position)])
        position += len(column.inputs)
    more = len(transform.columns) - len(lines)
    return [_table(lines, ["column", "kind", "training rows"])] + ([f"\n... and {more} more columns."] if more else [])


def _values_of(column: Column, data: Any, position: int) -> str:
    """Describes the values of a column over the training rows; position: of its first input."""
    about = _ABOUT[column.kind](column, float(data.input_mean[position]), float(data.input_std[position]))
    if data.constant[position] and column.kind == NUMBER:
        about = f"always {data.input_mean[position]:.6g}: not used"
    if column.fill is not None:
        about += f"; missing values become {column.fill:.6g}"
    return about + ("; an input says where values are missing" if column.has_indicator else "")


_ABOUT = {NUMBER: lambda column, mean, std: f"mean {mean:.4g}, standard deviation {std:.4g}",
          CATEGORY: lambda column, mean, std: _some(column.levels),
          DATE: lambda column, mean, std: f"used: {', '.join(column.parts)}"}


def _about_metrics(plan: Plan, evaluation: Optional[Evaluation], result: Dict[str, Any]) -> List[str]:
    if evaluation is None:
        return ["All rows were trained on, so that this run has not been judged. A run of the same config with another "
                "`protocol` tells how good such a model is."]
    n_rows = len(evaluation.targets)
    statistics = plan.design.task.statistics(evaluation.prediction, evaluation.targets, plan.data)
    intervals = with_intervals(statistics, n_rows, RESAMPLES)
    lines = [[name, f"{interval.value:.4g}",
              "" if interval.low is None else f"{interval.low:.4g} to {interval.high:.4g}"]
             for name, interval in intervals.items()]
    return [f"{n_rows} {plan.config.evaluate_on} rows, protocol {result['protocol']}, split {result['split']}; 95 % "
            "intervals by bootstrap over these rows.", "", _table(lines, ["metric", "value", "95 % interval"]), "",
            f"Units: {result['units']}."]


def _limits(plan: Plan, evaluation: Optional[Evaluation], result: Dict[str, Any]) -> Iterable[str]:
    data = plan.data
    if evaluation is not None and len(evaluation.targets) < FEW_ROWS:
        yield f"These are {len(evaluation.targets)} rows only: the metrics are mostly chance."
    coverage = result["metrics"].get(METRIC_PREFIX[plan.config.evaluate_on] + "coverage_90")
    if coverage is not None:
        yield f"The central 90 % intervals hold {100.0 * coverage:.0f} % of them."
    if evaluation is not None:
        yield "The metrics are those of rows like these; a random split says nothing of other times, places or groups."
    if data.spec.pixels is None:
        yield ("Far outside the range of the training rows, the network extrapolates; its uncertainty grows there, but "
               "need not grow enough.")
    transform = getattr(data, "transform", None)
    if transform is not None and any(column.kind == CATEGORY for column in transform.columns):
        yield "A category that did not occur in the training rows is treated as none of them, and predict.py says so."
    if transform is not None and transform.missing == "refuse":
        yield "Rows with missing values are refused."
    if result["incidents"] and any(result["incidents"].values()):
        yield f"Incidents in training: {', '.join(f'{name} {count}' for name, count in result['incidents'].items())}."
    for notice in data.notices:
        said = notice.split(": ", 1)[1] if notice.startswith(("note: ", "warning: ")) else notice
        yield said[0].upper() + said[1:].rstrip(".") + "."


def _about_use(plan: Plan, folder: Folder) -> List[str]:
    rows = "IMAGES" if plan.data.spec.pixels is not None else "ROWS.csv"
    return ["This folder is all that predictions need:", "",
            f"    python predict.py {folder.root} {rows} --out predictions.csv", "",
            "The settings are in `config.json`; `model.json` has columns, categories and statistics, and no row of the "
            "data."]


def _some(names: Iterable[Any]) -> str:
    names = [str(name) for name in names]
    more = f" and {len(names) - MOST_CATEGORIES} more" if len(names) > MOST_CATEGORIES else ""
    return ", ".join(names[:MOST_CATEGORIES]) + more


def _table(rows: Iterable[Iterable[Any]], heads: List[str]) -> str:
    escaped = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return tabulate.tabulate(escaped, heads, tablefmt="github", disable_numparse=True)


