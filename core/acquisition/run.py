"""Chooses rows step by step, in all repeats, and writes what comes of it: what active_learning.py does."""
import os
import sys
from typing import List, Sequence

from core.acquisition.figure import draw_curves
from core.acquisition.job import Job, work
from core.acquisition.options import Options
from core.acquisition.planning import ABOUT, ActivePlan, plan_active
from core.acquisition.progress import RepeatTrack
from core.acquisition.summary import Steps, markdown, step_columns, step_rows, summary, summary_columns, summary_row
from core.acquisition.trajectory import read_steps, steps_path
from core.baseline.archive import archive_paths
from core.baseline.kinds import KINDS
from core.baseline.pool import Workers
from core.baseline.progress import Progress
from core.baseline.running import Errors, Work, run_all
from core.training.run import provenance
from misc.errors import RunError
from misc.records import write_json, write_rows

FEW = 6  # repeats, the fewest with which a difference can have a p-value below 0.05


def run_active(options: Options) -> None:
    """Does what the Options ask for; writes and prints the tables. Raises RunError if a repeat failed."""
    plan = plan_active(options)
    begin(plan)
    for notice in plan.notices:
        print(notice, file=sys.stderr)
    jobs = make_jobs(plan)
    try:
        follow([RepeatTrack(job, f"repeat {job.repeat}", plan.headline) for job in jobs], plan.workers)
    finally:  # what is finished counts, whatever happened to the rest
        print(write_results(plan, read_all(plan)))


def begin(plan: ActivePlan) -> None:
    """Makes the folder of the results, and writes what they are of. Results of other settings are archived."""
    if plan.has_earlier:
        target, = archive_paths(plan.root)
        print(f"earlier results with other settings have been moved to {target}", file=sys.stderr)
    plan.root.mkdir(parents=True, exist_ok=True)
    if not (plan.root / ABOUT).is_file():
        write_json(plan.root / ABOUT, dict(identity=plan.identity, **provenance()))


def make_jobs(plan: ActivePlan) -> List[Job]:
    """Returns a Job per repeat."""
    return [Job(str(plan.repeat_root(repeat)), plan.config.model_dump(exclude_unset=True), repeat, plan.strategies,
                tuple(plan.sizes), device=plan.device, parent=os.getpid()) for repeat in range(1, plan.repeats + 1)]


def follow(tracks: Sequence[RepeatTrack], workers: Workers, function: Work = work) -> None:
    """Does the jobs of the tracks with a progress bar. Raises RunError if one has failed.

    function: does a job, as `work`.
    """
    errors: Errors = {}
    try:
        with Progress(tracks, "training", "repeats") as progress:
            progress.announce()
            errors = run_all(tracks, workers, function)
    finally:
        errors.update((track.job.root, track.failure) for track in tracks if track.failure and not track.finished)
    if errors:
        raise RunError(f"{len(errors)} of {len(tracks)} repeats failed: " + "; ".join(
            f"{track.label}: {errors[track.job.root]}" for track in tracks if track.job.root in errors))


def read_all(plan: ActivePlan) -> Steps:
    """Returns the steps that are done, up to those asked for."""
    found = {(repeat, name): read_steps(steps_path(plan.repeat_root(repeat), name))[:plan.sizes.steps + 1]
             for repeat in range(1, plan.repeats + 1) for name in plan.strategies}
    return {key: steps for key, steps in found.items() if steps}


def write_results(plan: ActivePlan, steps: Steps) -> str:
    """Writes steps.csv, summary.csv and curves.png of the steps that are done; returns the tables as Markdown."""
    labels = KINDS[plan.config.mode].headline
    if not steps:
        return "no step is done"
    entries = summary(steps, plan.strategies, plan.sizes.steps, list(labels))
    write_rows(plan.root / "steps.csv", step_columns(list(labels)),
               step_rows(steps, list(labels)))
    write_rows(plan.root / "summary.csv", summary_columns(list(labels)), map(summary_row, entries))
    draw_curves(plan.root / "curves.png", entries, labels, _title(plan))
    return f"{_title(plan)}\n\n{markdown(entries, labels)}\n\n{_legend(plan, steps)}"


def _title(plan: ActivePlan) -> str:
    return f"{plan.config.name}: {plan.config.dataset}, {plan.config.optimizer}"


def _legend(plan: ActivePlan, steps: Steps) -> str:
    """Returns what the numbers of the tables are."""
    done = sum(all(len(steps.get((repeat, name), ())) > plan.sizes.steps for name in plan.strategies)
               for repeat in range(1, plan.repeats + 1))
    short = "" if done == plan.repeats else f"\nINCOMPLETE: {done} of {plan.repeats} repeats have all steps."
    repeats = "1 repeat" if plan.repeats == 1 else f"{plan.repeats} repeats"
    test = "" if plan.repeats == 1 else "; p: Wilcoxon's signed-rank test over repeats"
    if 1 < plan.repeats < FEW:
        test += f"; with {plan.repeats} repeats, p cannot be below {2.0 ** (1 - plan.repeats):g}"
    return (f"Mean ± standard error over {repeats}, with {plan.sizes.test} test rows each; mean: over all steps after "
            f"the first choice{test}. Units: {KINDS[plan.config.mode].headline_units}.{short}")
