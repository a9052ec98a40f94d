"""The files of repeated experiments, from the runs that have finished."""
import pathlib
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from core.baseline import report, results
from core.baseline.archive import archive_paths
from core.baseline.curves import draw_curves
from core.baseline.ensembles import archive_mixtures, write_mixtures
from core.baseline.jobs import Experiment, run_root, settings_of
from core.baseline.kinds import KINDS
from core.baseline.planning import RepeatPlan
from core.baseline.progress import Track
from core.baseline.running import Errors
from misc.errors import UserError
from misc.records import write_rows

Rows = List[Dict[str, Any]]  # of runs.csv


class Written(NamedTuple):
    """What was written, for the report and for the screen."""

    summaries: Sequence[report.Summary]  # of the runs in the order of the configs, then of the ensembles
    notes: Sequence[str]          # sentences about comparisons that are missing
    unmixed: Sequence[str] = ()   # sentences about ensembles that are missing although their runs are there


def write_tables(plan: RepeatPlan, tracks: Sequence[Sequence[Track]], errors: Errors) -> Written:
    """Writes the tables and curves of all experiments.

    Args:
      tracks: the Tracks of each experiment.
    """
    experiments, notes, unmixed = plan.experiments, [], []
    rows = [_write_runs(*pair) for pair in zip(experiments, tracks)]
    summaries: Dict[int, report.Summary] = {}
    # The rival first: the comparisons of the others read from its summary which settings it ran with.
    for i in sorted(range(len(experiments)), key=lambda i: experiments[i].root != plan.rival):
        if rows[i]:
            rival, why = _read_rival(experiments[i], plan.rival, rows[i])
            summaries[i] = _write_summary(experiments[i], tracks[i], rows[i], errors, rival, plan.space)
            notes += why
    written = [summaries[i] for i in sorted(summaries)]
    for experiment, batch, single in zip(experiments, tracks, rows):
        summary, why = _write_ensemble(experiment, batch, single, errors)
        written += [summary] if summary else []
        unmixed += why
    return Written(written, notes, unmixed)


def _first_members(tracks: Sequence[Track]) -> List[Track]:
    """Returns the runs themselves: the further members are for ensembles only."""
    return [track for track in tracks if track.job.member == 1]


def _write_runs(experiment: Experiment, tracks: Sequence[Track]) -> Rows:
    """Writes runs.csv of one experiment and returns its rows. Without a finished run, archives the earlier tables."""
    rows = [results.run_row(track.job.root) for track in _first_members(tracks) if track.finished]
    if rows:
        results.write_runs(experiment.root, rows)
    else:
        archive_paths(*(experiment.root / name for name in ("runs.csv", "summary.json", "curves.png")))
    return rows


def _read_rival(experiment: Experiment, root: Optional[pathlib.Path],
                rows: Rows) -> Tuple[Optional[results.Rival], List[str]]:
    """Returns what to compare the experiment with, or None; and a sentence if the comparison is not possible."""
    if root in (None, experiment.root):
        return None, []
    try:
        rival = results.read_rival(root)
        results.paired(rows, rival.name, rival.rows)
        return rival, []
    except UserError as error:
        return None, [f"{experiment.config.name} is not compared: {error}"]


def _write_summary(experiment: Experiment, tracks: Sequence[Track], rows: Rows, errors: Errors,
                   rival: Optional[results.Rival], space: Optional[Dict[str, Any]]) -> report.Summary:
    """Writes summary.json and curves.png of one experiment, and returns the summary."""
    config, tracks = experiment.config, _first_members(tracks)
    failed = {track.job.seed: errors[track.job.root] for track in tracks if track.job.root in errors}
    summary = results.summary(config.name, settings_of(config), rows, len(tracks), failed, rival, space)
    results.write_summary(experiment.root, summary)
    panels = KINDS[config.mode].headline
    curves = [curve for curve in (results.curves(track.job.root, panels) for track in tracks if track.finished)
              if curve]
    if curves:
        draw_curves(experiment.root / "curves.png", curves, panels,
                    f"{config.name}: {config.dataset}, protocol {rows[0]['protocol']}, {config.test_particles} draws",
                    config.evaluate_on)
    return summary


def _write_ensemble(experiment: Experiment, tracks: Sequence[Track], rows: Rows,
                    errors: Errors) -> Tuple[Optional[report.Summary], List[str]]:
    """Writes ensemble.csv and ensemble.json of one experiment.

    Returns the summary (None without a complete ensemble), and a sentence per ensemble that cannot be mixed although
    its runs are there. Tables of an earlier ensemble with other settings are archived.
    """
    if experiment.members == 1:
        archive_mixtures(experiment.root, keep=settings_of(experiment.config))
        return None, []
    finished = {track.job.root for track in tracks if track.finished}
    complete, failed = {}, {}
    for seed in experiment.seeds:
        roots = [str(run_root(experiment, seed, member + 1)) for member in range(experiment.members)]
        if finished.issuperset(roots):
            complete[seed] = roots
        else:
            failed[seed] = next((errors[root] for root in roots if root in errors), "a member is not finished")
    return write_mixtures(experiment, complete, rows, failed, settings_of(experiment.config))


def show(summaries: Sequence[report.Summary], path: Optional[str]) -> None:
    """Prints the report; writes it as Markdown to `path`, if given, and beside it as CSV and LaTeX."""
    if not summaries:
        return
    print(report.markdown(summaries))
    if path:
        markdown = pathlib.Path(path)
        markdown.write_text(report.markdown(summaries), encoding="utf-8")
        markdown.with_suffix(".tex").write_text(report.latex(summaries), encoding="utf-8")
        write_rows(markdown.with_suffix(".csv"), *report.csv_rows(summaries))
