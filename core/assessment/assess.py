"""All that evaluate.py does: evaluates the runs, writes their files, compares several."""
import pathlib
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

from core.assessment.correlations import add_correlations, read_reference
from core.assessment.evaluated import ENSEMBLE, distinct_names, evaluate_ensemble, evaluate_run, same_rows
from core.assessment.inputs import Options
from core.assessment.output import check_replaceable, write_comparison, write_ensemble, write_run
from core.assessment.tables import comparison, describe_rows
from misc.folders import folder_at, unused_name

Path = Union[str, pathlib.Path]


def assess(roots: Sequence[Path], overrides: Dict[str, Any], options: Options, ensemble: bool = False,
           out: Optional[Path] = None, device: str = "auto") -> Tuple[str, List[str]]:
    """Evaluates runs and writes what came out.

    Args:
      roots: folders of runs.
      overrides: values of config keys, for all of them.
      ensemble: evaluate all runs as one mixture, too.
      out: folder of the comparison of several runs; None: `evaluation` beside the first run.

    Returns:
      The tables, in Markdown, and a line for each folder that was written. An earlier evaluation there is archived
      as NAME.1, NAME.2, ... Raises UserError before anything is written.
    """
    roots = [pathlib.Path(root).resolve() for root in roots]
    out = pathlib.Path(out).resolve() if out else roots[0].parent / "evaluation"
    ensemble_out = out.parent / f"{out.name}_{ENSEMBLE}"
    folders = [folder_at(root).evaluation for root in roots]
    if len(roots) > 1:
        folders.append(out)
    if ensemble:
        folders.append(ensemble_out)
    for folder in folders:
        check_replaceable(folder, [other for other in folders + roots if other is not folder])

    reference = read_reference(options, overrides, device)
    keep = ensemble or bool(options.correlations)
    runs = [evaluate_run(root, overrides, options, device, keep) for root in roots]
    by_name = distinct_names(runs)
    results = {name: run.results for name, run in by_name.items()}
    rows = {name: describe_rows(run, options) for name, run in by_name.items()}
    if ensemble:
        results[ENSEMBLE], rows[ENSEMBLE] = evaluate_ensemble(runs, options), describe_rows(runs[0], options)
    if options.correlations:
        add_correlations(results, runs, options, reference)
    tables = comparison(results, rows, options, all(same_rows(runs[0], other) for other in runs[1:]))

    lines = [_line(folder) for folder in folders]
    for run in runs:
        write_run(run, options)
    if ensemble:
        write_ensemble(results[ENSEMBLE], runs, options, ensemble_out)
    if len(runs) > 1:
        write_comparison(results, tables, out)
    return tables, lines


def _line(folder: pathlib.Path) -> str:
    """Returns the folder's name, and that of the earlier evaluation there, which is about to be archived."""
    return f"{folder} (the earlier one is now {unused_name(folder).name})" if folder.exists() else str(folder)
