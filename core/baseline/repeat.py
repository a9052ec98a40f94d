"""Trains configs for many seeds and writes their tables: what regression_baseline.py does."""
import itertools
import os
import pathlib
import sys

from core.baseline import report, results
from core.baseline.curves import draw_curves
from core.baseline.ensembles import put_aside, write_mixtures
from core.baseline.jobs import (
    Experiment,
    check_experiments,
    choose_seeds,
    describe_experiment,
    every_run,
    experiment_root,
    make_jobs,
    run_root,
    settings_of,
    with_seed,
)
from core.baseline.pool import check_backend, run_parallel
from core.baseline.progress import Progress, Track
from core.baseline.tuning import read_space
from core.baseline.worker import work
from data_loader.regression import load_regression
from misc.errors import RunError, UserError
from misc.folders import claim, folder_at, move_aside, unused_name
from misc.records import write_rows


def plan_experiments(args):
    """[Experiment], search space or None, and root of the experiment to compare with or None. Writes nothing.

    UserError for whatever would not work.
    """
    if args.jobs is not None and args.jobs < 1:
        raise UserError(f"--jobs {args.jobs}: give at least 1")
    check_backend(args.backend, args.address)
    if args.tune and args.validate:
        raise UserError("--tune judges on validation rows by itself: leave --validate out")
    if args.ensemble < 1:
        raise UserError(f"--ensemble {args.ensemble}: give the number of members, e.g. 5")
    if args.tune and args.ensemble > 1:
        raise UserError("--ensemble does not go with --tune: tune first, then give the values found to an ensemble")
    configs = [_describe(args, path, args.set, args.overlays) for path in args.config]
    experiments = [Experiment(config, experiment_root(config), choose_seeds(config, args.runs, args.seeds),
                              args.ensemble) for config in configs]
    check_experiments(experiments, args.device)
    space = read_space(args.tune, configs[0]) if args.tune else None
    for config in configs[1:] if args.tune else []:
        read_space(args.tune, config)
    if args.report and not args.report.endswith(".md"):
        raise UserError(f"--report {args.report}: give a name that ends in .md; .csv and .tex are written beside it")
    if args.report and pathlib.Path(args.report).is_dir():
        raise UserError(f"--report {args.report}: this is a folder; give the name of a file")
    if args.report and not pathlib.Path(args.report).absolute().parent.is_dir():
        raise UserError(f"--report {args.report}: there is no such folder")
    if args.report and not os.access(str(pathlib.Path(args.report).absolute().parent), os.W_OK):
        raise UserError(f"--report {args.report}: this folder cannot be written to")
    return experiments, space, find_rival(args, experiments)


def _describe(args, path, overrides, overlays):
    return describe_experiment(path, overrides, args.protocol, args.validate, bool(args.tune), overlays)


def find_rival(args, experiments):
    """Root of the experiment that --against names (a config file or a folder), or None.

    Overlays are laid over a config file, too, unless that makes it the only experiment of this command.
    """
    if args.against is None:
        return None
    path = pathlib.Path(args.against)
    if not path.exists():
        raise UserError(f"--against {path}: there is no such config file or folder of runs")
    overrides = [text for text in args.set if not text.startswith("exp_name=")]
    places = [text for text in overrides if text.startswith("experiments_path=")]
    configs = [] if path.is_dir() else [
        _describe(args, args.against, some, _overlays_of_rival(args, experiments, overrides))
        for some in (overrides, places)]
    root = experiment_root(configs[0]) if configs else path
    to_come = {experiment.root: _identity(experiment) for experiment in experiments}
    rival = to_come[root] if root in to_come else results.read_runs(root)[0]
    if configs and root not in to_come:
        found = results.Rival(root).settings
        differ = [key for key, value in settings_of(configs[0]).items() if found.get(key, value) != value]
        if differ and found != settings_of(configs[1]):
            raise UserError(f"--against {path}: the runs in {root} were made with other settings "
                            f"({', '.join(differ)}): run that config again, or give the folder instead")
    for here in to_come.values():
        results.check_comparable(here, rival, root.name)
    return root


def _overlays_of_rival(args, experiments, overrides):
    root = experiment_root(_describe(args, args.against, overrides, args.overlays))
    return [] if [root] == [experiment.root for experiment in experiments] else args.overlays


def _identity(experiment):
    """What the rows of its runs.csv will say in the columns that decide whether numbers can be compared."""
    config = with_seed(experiment.config, experiment.seeds[0])
    return dict(config.model_dump(), rows_hash=load_regression(config).rows_hash)


def repeat(args):
    """Runs what the arguments ask for; writes and prints the tables. RunError if a run failed."""
    experiments, space, rival = plan_experiments(args)
    batches = [make_jobs(experiment, args.device, space, os.getpid()) for experiment in experiments]
    if args.fresh:
        for job in itertools.chain(*batches):
            _clear(folder_at(pathlib.Path(job.root)))
    tracks = [_tracks(experiment, batch) for experiment, batch in zip(experiments, batches)]
    every = list(itertools.chain(*tracks))
    failed, notes = {}, []
    try:
        with Progress(every) as progress:
            progress.say_what_is_there()
            _train(args, every, failed)
    finally:  # what is finished counts, whatever happened to the rest
        failed.update((track.job.root, track.failure) for track in every
                      if track.failure and not track.finished)
        finished = [_write_runs(experiment, batch) for experiment, batch in zip(experiments, tracks)]
        # Rivals first: their summaries say with which settings they ran.
        order = sorted(range(len(experiments)), key=lambda i: experiments[i].root != rival)
        written = {i: _write_summary(experiments[i], tracks[i], finished[i], failed, rival, space, notes)
                   for i in order if finished[i]}
        tables = [written[i] for i in sorted(written)]
        tables += [found for experiment, table, rows in zip(experiments, tracks, finished)
                   for found in _write_ensemble(experiment, table, rows, failed, notes)]
        _show(args, tables)
        for note in notes:
            print(note, file=sys.stderr)
    if failed:
        raise RunError(f"{len(failed)} of {len(every)} runs failed: " + "; ".join(
            f"{track.label}: {failed[track.job.root]}" for track in every if track.job.root in failed))


def _tracks(experiment, batch):
    rows_hash = load_regression(with_seed(experiment.config, experiment.seeds[0])).rows_hash
    return [Track(f"{experiment.config.name} seed {seed}" + (f" member {member}" if member > 1 else ""), job, rows_hash)
            for (member, seed), job in zip(every_run(experiment), batch)]


def _train(args, tracks, failed):
    """Runs the jobs that are not finished; puts into `failed` {run folder: why} for those that cannot be."""
    together = 2  # after as many deaths of a worker process the jobs run one by one, to find the culprit
    while True:
        left = [track for track in tracks if not track.finished and track.job.root not in failed]
        if not left:
            return
        batch = left if together else left[:1]
        jobs = [track.job for track in batch]
        try:
            outcomes = run_parallel(work, jobs, args.jobs if together else 2, args.backend, args.address)
            for track, why in zip(batch, outcomes):
                track.update()
                if why or not track.finished:
                    failed[track.job.root] = why or f"it left no result in {track.job.root}"
        except UserError:
            raise
        except Exception as error:  # `work` catches what goes wrong in a run: its process died
            if not together:
                failed[jobs[0].root] = ("its process died, killed or out of memory, or did not start "
                                        f"({type(error).__name__}: {' '.join(str(error).split())[:200]})")
            together = max(together - 1, 0)
        for track in batch:
            track.update()


def _write_runs(experiment, tracks):
    """runs.csv of one experiment, if a run has finished; returns its rows."""
    rows = [results.run_row(track.job.root) for track in _of_seeds(experiment, tracks) if track.finished]
    if rows:
        results.write_runs(experiment.root, rows)
    else:  # the tables of earlier runs are not of these
        for name in ("runs.csv", "summary.json", "curves.png"):
            if (experiment.root / name).exists():
                (experiment.root / name).rename(unused_name(experiment.root / name))
    return rows


def _of_seeds(experiment, tracks):
    """The Tracks of the runs themselves: those of further members of ensembles come after them."""
    return tracks[:len(experiment.seeds)]


def _write_ensemble(experiment, tracks, rows, failed, notes):
    """ensemble.csv and ensemble.json of one experiment; [its summary], or nothing without a whole ensemble.

    `notes` gets why ensembles are missing whose runs are all there. Tables of other settings are moved aside.
    """
    settings = settings_of(experiment.config)
    if experiment.members == 1:
        put_aside(experiment.root, settings)
        return []
    finished = {track.job.root for track in tracks if track.finished}
    roots = {seed: [str(run_root(experiment, seed, member + 1)) for member in range(experiment.members)]
             for seed in experiment.seeds}
    why = {seed: next((failed[root] for root in members if root in failed), "a member is not finished")
           for seed, members in roots.items() if not finished.issuperset(members)}
    whole = {seed: members for seed, members in roots.items() if seed not in why}
    return write_mixtures(experiment, whole, rows, why, settings, notes)


def _clear(folder):
    """Moves a run and its search aside, unless another process is at work there."""
    if folder.root.is_dir():
        with claim(folder):
            move_aside(folder)
            if (folder.root / "tuning").is_dir():
                (folder.root / "tuning").rename(unused_name(folder.root / "tuning"))


def _write_summary(experiment, tracks, rows, failed, rival, space, notes):
    """summary.json and curves.png of one experiment; returns the summary. `notes` gets why a comparison is missing."""
    against, tracks = None, _of_seeds(experiment, tracks)
    if rival not in (None, experiment.root):
        try:
            against = results.Rival(rival)
            results.paired(rows, against.name, against.rows)
        except UserError as error:
            notes.append(f"{experiment.config.name} is not compared: {error}")
            against = None
    why = {seed: failed[track.job.root] for seed, track in zip(experiment.seeds, tracks) if track.job.root in failed}
    settings = settings_of(experiment.config)
    found = results.summary(experiment.config.name, settings, rows, len(tracks), why, against, space)
    results.write_summary(experiment.root, found)
    curves = [results.curves(track.job.root) for track in tracks if track.finished]
    if any(curves):
        draw_curves(experiment.root / "curves.png", [curve for curve in curves if curve],
                    f"{experiment.config.name}: {experiment.config.dataset}, protocol {experiment.config.protocol}, "
                    f"{experiment.config.test_particles} draws", experiment.config.evaluate_on)
    return found


def _show(args, tables):
    """Prints the report, comparisons below it; writes --report as Markdown, CSV and LaTeX."""
    if not tables:
        return
    print(report.markdown(tables))
    if args.report:
        path = pathlib.Path(args.report)
        path.write_text(report.markdown(tables), encoding="utf-8")
        path.with_suffix(".tex").write_text(report.latex(tables), encoding="utf-8")
        write_rows(path.with_suffix(".csv"), *report.csv_rows(tables))
