"""What evaluate.py writes: numbers, predictions, figures and TensorBoard images of a run; comparisons of several."""
import contextlib
import pathlib
import shutil
import tempfile
from typing import Any, Dict, Iterator, Sequence, Tuple

from matplotlib.figure import Figure

from core.assessment.evaluated import ENSEMBLE, Evaluated
from core.assessment.figures import FIGURES
from core.assessment.inputs import Options
from core.assessment.results import ASSESSMENTS, PerTarget, Results
from core.assessment.tables import describe_rows
from misc.errors import UserError
from misc.folders import check_writable, folder_at, is_evaluation, unused_name
from misc.records import write_json
from misc.summary import SummaryWriter

Path = pathlib.Path


def check_replaceable(folder: Path, others: Sequence[Path]) -> None:
    """Raises UserError if the folder cannot be written, or holds anything but an earlier evaluation.

    others: folders that must not be inside it.
    """
    if folder.is_file():
        raise UserError(f"{folder} is a file: choose another --out")
    if any(folder == other or folder in other.parents for other in others):
        raise UserError(f"--out {folder} is or contains a folder that this evaluation reads or writes: choose another")
    if folder == Path.cwd() or folder in Path.cwd().parents:
        raise UserError(f"--out {folder} is or contains the current folder and would be renamed: choose another")
    check_writable(folder_at(folder))
    if folder.exists() and any(folder.iterdir()) and not is_evaluation(folder):
        raise UserError(f"{folder} holds other files: choose another --out")


def write_run(run: Evaluated, options: Options) -> None:
    """Replaces the run's evaluation/ folder, completely or not at all."""
    data = run.data
    numbers = {"run": run.name, "step": run.step, "kl_scale": run.kl_scale, "rows": describe_rows(run, options),
               "particles": run.particles, "predictive": run.config.predictive, "dataset": run.config.dataset,
               "seed": run.config.seed, "optimizer": run.config.optimizer, "trained_on": data.source,
               "rows_hash": data.rows_hash}
    if not options.data:
        numbers.update(protocol=data.split.protocol, split=data.split.index, split_hash=data.split_hash)
    numbers.update(_numbers(run.results, options), layers=run.layers)
    _write(folder_at(run.root).evaluation, run.name, run.results, numbers, run)


def write_ensemble(results: Results, members: Sequence[Evaluated], options: Options, folder: Path) -> None:
    """Writes the files of an ensemble into `folder`."""
    numbers = {"run": ENSEMBLE, "of": [str(member.root) for member in members],
               "step": [member.step for member in members], "rows": describe_rows(members[0], options),
               "particles": [member.particles for member in members], "dataset": members[0].config.dataset,
               **_numbers(results, options)}
    _write(folder, ENSEMBLE, results, numbers, members[0])


def write_comparison(results: Dict[str, Results], tables: str, folder: Path) -> None:
    """Writes comparison.md, and figures that show all runs; results: by the runs' names."""
    with _replaced(folder) as new:
        (new / "comparison.md").write_text(tables + "\n", encoding="utf-8")
        for name, figure in _figures({run: of_run.panels for run, of_run in results.items()}):
            _save(figure, new, name)


def _numbers(results: Results, options: Options) -> Dict[str, Any]:
    numbers = {"metrics": {name: dict(interval._asdict()) for name, interval in results.metrics.items()},
               **results.more}
    if options.ood:
        numbers["ood_set"] = options.ood
    return numbers


def _write(folder: Path, name: str, results: Results, numbers: Dict[str, Any], run: Evaluated) -> None:
    """Writes all files of one evaluation; run: gives the mode, the classes and the step for TensorBoard."""
    with _replaced(folder) as new:
        write_json(new / "metrics.json", numbers)
        ASSESSMENTS[run.config.kind].write_predictions(results, run.data, new)
        writer = SummaryWriter(new / "summary")
        for figure_name, figure in _figures({name: results.panels}):
            _save(figure, new, figure_name)
            writer.figure(f"evaluation/{figure_name}", figure, run.step)
        writer.scalars({f"evaluation/{metric}": interval.value for metric, interval in results.metrics.items()},
                       run.step)
        writer.close()


def _save(figure: Figure, folder: Path, name: str) -> None:
    figure.savefig(str(folder / f"{name}.png"), dpi=110, bbox_inches="tight")


def _figures(panels: Dict[str, Dict[str, Any]]) -> Iterator[Tuple[str, Figure]]:
    """Yields (name, Figure) of every figure that some run has data for; panels: {run: {figure: its data}}.

    Several targets of a run are drawn as if they were runs.
    """
    for name, draw in FIGURES.items():
        runs: Dict[str, Any] = {}
        for run, data in panels.items():
            if isinstance(data.get(name), PerTarget):
                runs.update((f"{run}, {target}", of_target) for target, of_target in data[name].items())
            elif name in data:
                runs[run] = data[name]
        if runs:
            yield name, draw(runs)


@contextlib.contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """Yields a new folder to write into, which then takes the place of `folder`; the earlier one is archived."""
    new = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f"{folder.name}.part", dir=str(folder.parent)))
        yield new
        new.chmod(0o755)
        if folder.exists():
            folder.rename(unused_name(folder))
        new.rename(folder)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from None
    finally:
        if new is not None:
            shutil.rmtree(str(new), ignore_errors=True)
