"""Trains configs for many seeds and writes their tables: what regression_baseline.py does."""
import contextlib
import itertools
import os
import pathlib
import sys

from core.baseline.archive import archive_run
from core.baseline.jobs import Experiment, make_jobs
from core.baseline.options import Options
from core.baseline.planning import plan_repeat
from core.baseline.progress import Progress, Track
from core.baseline.running import Errors, run_all
from core.baseline.worker import Job
from core.baseline.writing import show, write_tables
from misc.errors import RunError, UserError
from misc.folders import folder_at


def repeat(options: Options) -> None:
    """Runs what the Options ask for; writes and prints the tables.

    Raises RunError if a run failed or an ensemble cannot be mixed.
    """
    plan = plan_repeat(options)
    batches = [make_jobs(experiment, device, plan.space, os.getpid())
               for experiment, device in zip(plan.experiments, plan.devices)]
    if options.fresh:
        for job in itertools.chain(*batches):
            archive_run(folder_at(pathlib.Path(job.root)))
    for note in plan.notes:
        print(note, file=sys.stderr)
    tracks = [[Track(_label(experiment, job), job, rows_hash) for job in batch]
              for experiment, batch, rows_hash in zip(plan.experiments, batches, plan.rows_hashes)]
    every = list(itertools.chain(*tracks))
    errors: Errors = {}
    try:
        with Progress(every) as progress:
            progress.announce()
            for track in every:
                if track.has_old_members:
                    with contextlib.suppress(UserError):  # another process trains there: the run itself will say so
                        track.archive_old_members()
            errors = run_all(every, plan.workers)
    finally:  # what is finished counts, whatever happened to the rest
        errors.update((track.job.root, track.failure) for track in every if track.failure and not track.finished)
        written = write_tables(plan, tracks, errors)
        show(written.summaries, options.report)
        for note in written.notes:
            print(note, file=sys.stderr)
    failures = []
    if errors:
        failures.append(f"{len(errors)} of {len(every)} runs failed: " + "; ".join(
            f"{track.label}: {errors[track.job.root]}" for track in every if track.job.root in errors))
    if failures or written.unmixed:
        raise RunError("; ".join([*failures, *written.unmixed]))


def _label(experiment: Experiment, job: Job) -> str:
    label = f"{experiment.config.name} seed {job.seed}"
    return label if job.member == 1 else f"{label} member {job.member}"
