"""Calibrates trained runs on rows that they were not trained on: all that evaluate.py --calibrate does."""
import pathlib
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple, Union

import numpy as np

from core.assessment.calibrated import Compared, compare, target_scores
from core.assessment.calibration_file import (
    Calibration,
    ClassFit,
    TargetFit,
    hash_of_part,
    predictive_of,
    write_calibration,
)
from core.assessment.inputs import TEST, Collected, Input, Options, collect, rows_in_train
from core.assessment.restore import Restored, data_if_there, own_data, restored
from core.assessment.tables import calibration_table
from core.metrics.conformal import SETS, fit_temperature, std_factor
from core.metrics.draws import Draws
from core.metrics.gaussian_outputs import logits_of
from core.metrics.predictive import predict_classes
from core.training.evaluation import evaluated_part
from core.training.row_columns import INTERVAL
from core.training.targets import target_names
from core.training.tasks import TASKS
from data_loader.parts import Part
from misc.errors import UserError
from misc.folders import Folder

CALIBRATION = "calibration"  # the input of these rows


class Calibrated(NamedTuple):
    """A run and what its calibration gave."""

    name: str
    folder: Folder
    calibration: Calibration
    compared: Dict[str, Compared]  # by what rows, in a few words


def calibrate_runs(roots: Sequence[pathlib.Path], overrides: Dict[str, Any], options: Options,
                   device: str = "auto") -> Tuple[str, List[str]]:
    """Calibrates runs, each by itself, and writes calibration.json into their folders.

    Args:
      roots: folders of runs.
      overrides: values of config keys that do not touch the training.
      options: `data`, `best`, `level` and `sets`.

    Returns the tables of metrics before and after, in Markdown, and the paths that were written. Raises UserError
    before anything is written.
    """
    made = [_calibrate(root, overrides, options, device) for root in roots]
    for run in made:
        write_calibration(run.calibration, run.folder)
    table = calibration_table([(run.name, rows, compared) for run in made
                               for rows, compared in run.compared.items()])
    notices = dict.fromkeys(f"{run.name}: {notice}." for run in made for notice in run.calibration.notices)
    return "\n\n".join([table, *notices]), [str(run.folder.calibration) for run in made]


def _calibrate(root: pathlib.Path, overrides: Dict[str, Any], options: Options, device: str) -> Calibrated:
    with restored(root, overrides, device, options.best, own_data if options.data is None else data_if_there) as run:
        part, rows = _rows(run, options)
        inputs = {CALIBRATION: Input(len(part.x), lambda: part)}
        test = evaluated_part(run.data) if options.data else run.data.test
        if test is not None:
            inputs[TEST] = Input(len(test.x), lambda: test)
        collected = collect(run, inputs)
        level = options.level or INTERVAL
        calibration = Calibration(
            level, run.step, run.design.n_test_particles, predictive_of(run), rows, len(part.x), hash_of_part(part),
            tuple(_about_rows(run, part, options)), ())
        calibration.check_level(level)
        calibration = fitted(calibration, collected[CALIBRATION], run.data, options.sets)
        compared = {rows: compare(calibration, collected[CALIBRATION], run.data)}
        if test is not None:
            compared[f"{len(test.x)} {run.config.evaluate_on} rows"] = compare(
                calibration, collected[TEST], run.data)
        return Calibrated(run.config.name, run.folder, calibration, compared)


def _rows(run: Restored, options: Options) -> Tuple[Part, str]:
    """Returns the rows to calibrate on, and a few words about them. Raises UserError if there are none."""
    if options.data:
        part = TASKS[run.config.kind].load_other(options.data, run.config, run.data)
        return part, f"{len(part.x)} rows of {options.data}"
    if run.data.valid is None:
        raise UserError(f"{run.folder.root} has no validation rows to calibrate on: give other rows with --data, or "
                        "set validation_fraction when you train, e.g. to 0.1")
    return run.data.valid, f"{len(run.data.valid.x)} validation rows"


def _about_rows(run: Restored, part: Part, options: Options) -> List[str]:
    """Returns sentences about what limits the calibration. Raises UserError if the run was trained on all the rows."""
    if options.data is None:
        n_in_train = run.data.n_valid_in_train
        chosen = [key for key, is_set in (("patience", run.config.patience), ("--best", options.best),
                                          ("kl_candidates", run.config.kl_candidates)) if is_set]
    else:
        n_in_train, chosen = rows_in_train(part, run.data, TASKS[run.config.kind].has_images), []
    if n_in_train == len(part.x):
        raise UserError("--calibrate: the run was trained on all of these rows: give others")
    about = [f"{n_in_train} of the {len(part.x)} rows are rows that the run was trained on"] if n_in_train else []
    if chosen:
        about.append(f"the validation rows also chose the weights ({', '.join(chosen)}), which makes the coverage of "
                     "new rows lower than the level, as a rule by little")
    return [*(notice.rstrip(".") for notice in part.notices), *about]


def fitted(calibration: Calibration, collected: Collected, data: Any, sets: str) -> Calibration:
    """Returns the calibration with all that is fitted to the rows.

    Args:
      calibration: what is known of the rows.
      collected: their targets and draws.
      data: the run's.
      sets: row of SETS, for classes.

    Raises UserError if a predictive standard deviation is not finite.
    """
    fits: List[Union[TargetFit, ClassFit]] = []
    notices = list(calibration.notices)
    assert collected.rows is not None, "the targets are known"
    if isinstance(collected.draws, Draws):
        for number in range(collected.draws.n_targets):
            scores = (target_scores(collected.draws.of_target(number), collected.rows[:, number])
                      if target_names(data) else target_scores(collected.draws, collected.rows))
            if not np.isfinite(scores).all():
                raise UserError("--calibrate: the predictive standard deviation of some rows is not finite")
            fits.append(TargetFit(np.sort(scores), std_factor(scores)))
    else:
        prediction, labels = predict_classes(logits_of(collected.draws)), collected.rows
        scores = SETS[sets](prediction.probabilities)[np.arange(len(labels)), labels]
        temperature = fit_temperature(prediction.log_probabilities, labels)
        notices += [temperature.notice] * bool(temperature.notice)
        fits.append(ClassFit(np.sort(scores), sets, temperature.value))
    return calibration._replace(fits=tuple(fits), notices=tuple(notices))
