"""What evaluate.py leaves: numbers, predictions, figures and TensorBoard images of a run; comparisons of several."""
import collections
import contextlib
import pathlib
import shutil
import tempfile

import numpy as np

from core.assessment.answers import ANSWERS
from core.assessment.figures import FIGURES
from core.assessment.posterior import layers, precisions
from core.assessment.questions import TEST, collect, mixture
from core.assessment.restore import restored
from core.assessment.tables import comparison, rows_of
from core.training.design import n_test_draws
from misc.config import CLASSIFICATION
from misc.errors import UserError
from misc.folders import check_writable, folder_at, is_evaluation, unused_name
from misc.records import write_json, write_rows
from misc.summary import SummaryWriter

Evaluated = collections.namedtuple(
    "Evaluated", ["name", "root", "config", "data", "step", "warmth", "particles", "targets", "collected", "answers",
                  "layers"])
"""One run: its name, folder, Config and Data; the step of its checkpoint and the KL term's part that counted then;
number of weight draws; labels or targets of the rows it is judged on; draws (or None), Answers and posterior.layers."""

ENSEMBLE = "ensemble"
_STANDARDS = ("input_mean", "input_std", "target_mean", "target_std")


def assess(roots, overrides, asked, ensemble=False, out=None, device="auto"):
    """All that evaluate.py does: judges the runs, writes their files, compares several.

    Args:
      roots: folders of runs; overrides: config keys for all of them; asked: questions.Asked.
      ensemble: also all runs as one mixture.
      out: folder of a comparison; None: `evaluation` beside the first run.

    Returns:
      (Markdown tables, what was written where: lines). UserError before anything is written. What an earlier
      evaluation wrote moves to NAME.1, NAME.2, ...
    """
    roots = [pathlib.Path(root).resolve() for root in roots]
    out = pathlib.Path(out).resolve() if out else roots[0].parent / "evaluation"
    mixed = out.parent / f"{out.name}_{ENSEMBLE}"
    targets = [folder_at(root).evaluation for root in roots] + [out] * (len(roots) > 1) + [mixed] * ensemble
    for target in targets:
        check_ours(target, [other for other in targets + roots if other is not target])
    found = [evaluate_run(root, overrides, asked, device, ensemble) for root in roots]
    same = all(same_rows(found[0], other) for other in found[1:])
    by_name = distinct_names(found)
    named = {name: run.answers for name, run in by_name.items()}
    rows = {name: rows_of(run, asked) for name, run in by_name.items()}
    if ensemble:
        named[ENSEMBLE], rows[ENSEMBLE] = evaluate_ensemble(found, asked), rows_of(found[0], asked)
    earlier = {target: unused_name(target).name for target in targets if target.exists()}
    for run in found:
        write_run(run, asked)
    tables = comparison(named, rows, asked, same)
    if ensemble:
        write_ensemble(named[ENSEMBLE], found, asked, mixed)
    if len(found) > 1:
        write_comparison(named, tables, out)
    return tables, [f"{target}" + (f" (what was there is {earlier[target]} now)" if target in earlier else "")
                    for target in targets]


def check_ours(folder, others):
    """UserError if the folder could not be written anew, or holds what is not ours to move."""
    if folder.is_file():
        raise UserError(f"{folder} is a file: choose another --out")
    if any(folder == other or folder in other.parents for other in others):
        raise UserError(f"{folder} holds, or is, another folder of this evaluation: choose another --out")
    if folder == pathlib.Path.cwd() or folder in pathlib.Path.cwd().parents:
        raise UserError(f"{folder} is where you are, and would be moved: choose another --out")
    check_writable(folder_at(folder))
    if not folder.exists():
        return
    if any(folder.iterdir()) and not is_evaluation(folder):
        raise UserError(f"{folder} holds other files: choose another --out")


def evaluate_run(root, overrides, asked, device="auto", keep=False):
    """Evaluated of the run in a folder, with its draws if `keep`; UserError if it or what is asked does not fit."""
    with restored(root, overrides, device, asked.best) as run:
        collected = collect(run, asked)
        answers, noise = ANSWERS[run.config.mode](collected, run.data, asked), layers(run)
        if noise:
            answers.panels["noise"] = noise
        small = precisions(run)
        if small:
            answers.panels["precision"] = small
        warmth = float(run.session.run(run.model.evaluate.warmth))
        return Evaluated(run.config.name, pathlib.Path(root), run.config, run.data, run.step, warmth,
                         n_test_draws(run.config, run.design.layers), collected[TEST][0],
                         collected if keep else None, answers, noise)


def evaluate_ensemble(members, asked):
    """The runs as one mixture: Answers. UserError unless they were tested on the same rows."""
    first = members[0]
    for other in members[1:]:
        if not same_rows(first, other):
            raise UserError(f"--ensemble: {first.root} and {other.root} have other training and test rows: give the "
                            "runs one data set, and one split (key split)")
    answers = ANSWERS[first.config.mode](mixture([member.collected for member in members]), first.data, asked)
    answers.more.pop("monte_carlo")  # the runs' draws are not of one distribution
    return answers


def same_rows(first, other):
    """Whether two runs were judged on the same rows, in the same standardisation."""
    pairs = [(run.data.rows_hash, run.data.split_hash, run.config.evaluate_on, run.config.evaluate_on == "validation"
              and (run.config.validation_fraction, run.config.validation_fold)) for run in (first, other)]
    arrays = [(run.targets, *(getattr(run.data, name, 0.0) for name in _STANDARDS)) for run in (first, other)]
    return pairs[0] == pairs[1] and all(np.array_equal(*pair) for pair in zip(*arrays))


def write_run(found, asked):
    """Writes the run's evaluation/ anew, complete or not at all."""
    data = found.data
    numbers = {"run": found.name, "step": found.step, "warmth": found.warmth, "rows": rows_of(found, asked),
               "particles": found.particles, "dataset": found.config.dataset, "seed": found.config.seed,
               "optimizer": found.config.optimizer, "trained_on": data.source, "rows_hash": data.rows_hash,
               **({} if asked.data else {"protocol": data.split.protocol, "split": data.split.index,
                                         "split_hash": data.split_hash}),
               **_numbers(found.answers, asked), "layers": found.layers}
    _write(folder_at(found.root).evaluation, found.answers, numbers, found.config,
           {found.name: found.answers.panels}, found.step, getattr(found.data, "classes", None))


def write_ensemble(answers, members, asked, folder):
    """Writes the mixture's files into `folder`."""
    numbers = {"run": ENSEMBLE, "of": [str(member.root) for member in members],
               "step": [member.step for member in members], "rows": rows_of(members[0], asked),
               "particles": [member.particles for member in members], "dataset": members[0].config.dataset,
               **_numbers(answers, asked)}
    _write(folder, answers, numbers, members[0].config, {ENSEMBLE: answers.panels}, members[0].step,
           getattr(members[0].data, "classes", None))


def write_comparison(named, tables, folder):
    """comparison.md and the figures of all runs over each other, {name: Answers}."""
    with _whole(folder) as part:
        (part / "comparison.md").write_text(tables + "\n", encoding="utf-8")
        for figure, drawn in _drawn({name: answers.panels for name, answers in named.items()}):
            _save(drawn, part, figure)


def distinct_names(members):
    """{name: Evaluated}; runs of the same name are told apart by their folders."""
    names = [member.name for member in members]
    return {str(member.root) if names.count(member.name) > 1 or member.name == ENSEMBLE else member.name: member
            for member in members}


def _numbers(answers, asked):
    return {"metrics": {name: dict(found._asdict()) for name, found in answers.metrics.items()}, **answers.more,
            **({"ood_set": asked.ood} if asked.ood else {})}


def _write(folder, answers, numbers, config, runs, step, classes):
    with _whole(folder) as part:
        write_json(part / "metrics.json", numbers)
        if config.mode == CLASSIFICATION:
            with open(str(part / "predictions.npz"), "wb") as handle:
                np.savez_compressed(handle, classes=np.array(classes), **answers.predictions)
        else:
            columns = {name: [f"{value:.9g}" for value in values] for name, values in answers.predictions.items()}
            write_rows(part / "predictions.csv", list(columns), [dict(zip(columns, row))
                                                                 for row in zip(*columns.values())])
        writer = SummaryWriter(part / "summary")
        for figure, drawn in _drawn(runs):
            _save(drawn, part, figure)
            writer.figure(f"evaluation/{figure}", drawn, step)
        writer.scalars({f"evaluation/{name}": found.value for name, found in answers.metrics.items()}, step)
        writer.close()


def _save(figure, folder, name):
    figure.savefig(str(folder / f"{name}.png"), dpi=110, bbox_inches="tight")


def _drawn(runs):
    """(name, Figure) of every figure that any of the runs {name: panels} has data for."""
    for name, draw in FIGURES.items():
        having = {run: panels[name] for run, panels in runs.items() if name in panels}
        if having:
            yield name, draw(having)


@contextlib.contextmanager
def _whole(folder):
    """A folder to write into that takes the place of `folder` when all is written; what was there moves aside."""
    part = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = pathlib.Path(tempfile.mkdtemp(prefix=f"{folder.name}.part", dir=str(folder.parent)))
        yield part
        part.chmod(0o755)
        if folder.exists():
            folder.rename(unused_name(folder))
        part.rename(folder)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from None
    finally:
        if part is not None:
            shutil.rmtree(str(part), ignore_errors=True)
