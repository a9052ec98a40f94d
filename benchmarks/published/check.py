"""What is known before the training: whether all runs can be made, how long they take, and tuned step sizes."""
import math
from typing import Any, Dict, Optional, Sequence, Tuple

import tabulate

from benchmarks.published.plan import Run
from core.training import run as training
from core.training.cost import run_cost
from core.training.design import Plan, design_run
from misc.errors import DIVERGED, UserError
from misc.folders import ROWS_HASH, changed_settings, check_writable
from misc.records import read_result

HOUR = 3600.0


def check_runs(runs: Sequence[Run], device: str) -> Plan:
    """Returns the plan of the first run. Raises UserError if a run cannot be made. Writes nothing."""
    plan = training.plan(runs[0].config, device)
    for run in runs:
        check_writable(run.folder)
        design_run(run.config, plan.data.spec)
    check_folders(runs, plan.data.rows_hash)
    return plan


def check_folders(runs: Sequence[Run], rows_hash: Optional[str] = None) -> None:
    """Raises UserError if a folder holds a run of other settings.

    So a typo puts no hours of training aside, and no table says of a run what it is not.

    Args:
      rows_hash: of the data; None: they may be any.
    """
    for run in runs:
        if not run.folder.config.is_file():
            continue
        changed = changed_settings(run.folder, run.config, rows_hash or "", training.FREE_ON_RESUME)
        if rows_hash is None:
            changed.pop(ROWS_HASH, None)
        if changed:
            raise UserError(f"{run.folder.root} holds a run of other settings, {', '.join(changed.values())}: give "
                            "another --out, or the flags of that run")


def explain(runs: Sequence[Run], plan: Plan) -> str:
    """Returns a table of the estimated hours of each kind of run, evaluations left out, and their sum."""
    lines, total = [], 0.0
    hours: Dict[Tuple[Any, ...], float] = {}
    for run in runs:
        key = (run.variant, run.method, run.config.epoch)
        if key not in hours:
            design = design_run(run.config, plan.data.spec)
            seconds = run_cost(design).seconds * design.steps_per_epoch * run.config.epoch
            hours[key] = seconds / HOUR * (1.0 - run.config.validation_fraction)
        total += hours[key]
    for key, value in hours.items():
        n_runs = sum((run.variant, run.method, run.config.epoch) == key for run in runs)
        lines.append([*key, n_runs, f"{value:.2f}"])
    table = tabulate.tabulate(lines, ["variant", "method", "epochs", "runs", "hours each"], tablefmt="github")
    return f"{table}\n\n{len(runs)} runs, {total:.1f} hours of training one after the other, roughly"


def is_too_large(why: str) -> bool:
    """Tells whether a run of the search has failed because its step size is too large, which is an answer, too.

    why: the last line of its output.
    """
    return DIVERGED in why


def chosen_rates(search: Dict[Tuple[str, str], Dict[float, Run]]) -> Dict[Tuple[str, str], float]:
    """Returns {(variant, method): the learning_rate with the best validation log-likelihood} of finished runs.

    A pair none of whose runs is finished with a finite one has none.
    """
    chosen = {}
    for pair, by_rate in search.items():
        results = {rate: read_result(run.folder.result) for rate, run in by_rate.items()}
        scores = {rate: result["metrics"]["valid_log_likelihood"] for rate, result in results.items() if result}
        scores = {rate: score for rate, score in scores.items() if math.isfinite(score)}
        if scores:
            chosen[pair] = max(scores, key=lambda rate: scores[rate])
    return chosen
