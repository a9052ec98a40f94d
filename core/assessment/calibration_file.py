"""What a run was calibrated by after its training, and the file of its folder that holds it, calibration.json."""
import hashlib
from typing import Any, Dict, NamedTuple, Optional, Tuple, Union

import numpy as np

from core.assessment.restore import Restored
from core.metrics.conformal import SETS, conformal_quantile, least_rows
from data_loader.parts import Part
from misc.config import REGRESSION
from misc.config_keys import LINEARISED, SAMPLED
from misc.errors import UserError
from misc.folders import Folder
from misc.records import read_json, write_json

VERSION = 1  # of the format
AGAIN = "calibrate again with evaluate.py --calibrate"


class TargetFit(NamedTuple):
    """What was fitted for one target of a regression."""

    scores: np.ndarray  # |target - mean| / std of the rows, sorted, [n]
    std_factor: float   # of the predictive standard deviation: the root of the mean squared score


class ClassFit(NamedTuple):
    """What was fitted for classes."""

    scores: np.ndarray  # of the rows' own classes, sorted, [n]
    sets: str           # row of SETS that gives the scores
    temperature: float  # of the mean probabilities; it does not enter the scores


class Calibration(NamedTuple):
    """What was fitted, and the rows that it rests on."""

    level: float               # probability of the intervals or sets, unless another one is asked for
    step: int                  # of the checkpoint
    particles: int             # number of weight draws
    predictive: str            # sampled or linearised: how predictions treat the weights
    rows: str                  # what rows, in a few words
    n_rows: int
    rows_hash: str             # of their standardised inputs, or images, and targets
    notices: Tuple[str, ...]   # sentences about what limits it
    fits: Tuple[Union[TargetFit, ClassFit], ...]  # of each target; a single one of classes

    def bound(self, level: float, number: int = 0) -> float:
        """Returns the score that bounds regions of this level; number: of the target. Raises UserError if none does."""
        self.check_level(level)
        return conformal_quantile(self.fits[number].scores, level)

    def check_level(self, level: float) -> None:
        """Raises UserError if the rows are too few for this level."""
        if self.n_rows < least_rows(level):
            raise UserError(f"level {level:.15g} needs at least {least_rows(level)} calibration rows, and there are "
                            f"{self.rows}: ask for a lower level, or calibrate on more rows")

    def of_target(self, number: int) -> "Calibration":
        """Returns the calibration of one of several targets, counted from 0."""
        return self._replace(fits=(self.fits[number],))


def hash_of_part(part: Part) -> str:
    """Returns the first 16 hex digits of the SHA-256 of the inputs and the targets."""
    digest = hashlib.sha256()
    for values in (part.x, part.y):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()[:16]


def described(calibration: Calibration) -> Dict[str, Any]:
    """Returns the calibration as a JSON object."""
    values = dict(calibration._asdict(), version=VERSION, notices=list(calibration.notices))
    values.pop("fits")
    fits = [dict(fit._asdict(), scores=fit.scores.tolist()) for fit in calibration.fits]
    return {**values, "classes" if isinstance(calibration.fits[0], ClassFit) else "targets": fits}


def write_calibration(calibration: Calibration, folder: Folder) -> None:
    """Writes calibration.json, which replaces an earlier one. Raises UserError if the folder cannot be written."""
    try:
        write_json(folder.calibration, described(calibration))
    except OSError as error:
        raise UserError(f"cannot write {folder.calibration}: {error.strerror}") from None


def read_calibration(folder: Folder) -> Optional[Calibration]:
    """Returns the calibration of a run; None if it has none. Raises UserError if the file is damaged."""
    if not folder.calibration.is_file():
        return None
    try:
        values = read_json(folder.calibration)
        if values["version"] > VERSION:
            raise UserError(f"{folder.calibration}: its format is version {values['version']}, of a later release: "
                            f"{AGAIN}")
        return _restored(values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{folder.calibration} is damaged: {AGAIN}, or delete it") from None


def _restored(values: Dict[str, Any]) -> Calibration:
    """Returns the Calibration. Raises KeyError, TypeError or ValueError for what is none."""
    kind = ClassFit if "classes" in values else TargetFit
    fits = tuple(kind(**dict(fit, scores=np.array(fit["scores"], np.float64)))
                 for fit in values["classes" if kind is ClassFit else "targets"])
    calibration = Calibration(
        level=float(values["level"]), step=int(values["step"]), particles=int(values["particles"]),
        predictive=str(values["predictive"]), rows=str(values["rows"]), n_rows=int(values["n_rows"]),
        rows_hash=str(values["rows_hash"]), notices=tuple(map(str, values["notices"])), fits=fits)
    for fit in fits:
        factor = fit.temperature if isinstance(fit, ClassFit) else fit.std_factor
        is_sorted = np.isfinite(fit.scores).all() and (np.diff(fit.scores) >= 0).all()
        if fit.scores.shape != (calibration.n_rows,) or not is_sorted or not 0 <= factor < np.inf:
            raise ValueError
        if isinstance(fit, ClassFit) and (fit.sets not in SETS or factor == 0):
            raise ValueError
    if not fits or not calibration.n_rows or not 0 < calibration.level < 1:
        raise ValueError
    return calibration


def check_fits(calibration: Calibration, run: Restored) -> None:
    """Raises UserError unless the calibration is one of the run's predictions, as they are made now."""
    path, draws, predictive = run.folder.calibration, run.design.n_test_particles, predictive_of(run)
    is_regression = run.config.kind == REGRESSION
    n_fits = run.data.spec.n_outputs if is_regression else 1
    kind = TargetFit if is_regression else ClassFit
    if len(calibration.fits) != n_fits or not isinstance(calibration.fits[0], kind):
        raise UserError(f"{path} is of another run: {AGAIN}")
    if calibration.step != run.step:
        raise UserError(f"{path} is of step {calibration.step}, but the checkpoint is of step {run.step}: {AGAIN}")
    if calibration.particles != draws:
        raise UserError(f"{path} is of {calibration.particles} weight draws, but there are {draws} now: {AGAIN}, or "
                        f"use --particles {calibration.particles}")
    if calibration.predictive != predictive:
        raise UserError(f"{path} is of {calibration.predictive} predictions, but these are {predictive}: {AGAIN} "
                        f"--predictive {predictive}, or predict with --predictive {calibration.predictive}")


def predictive_of(run: Restored) -> str:
    """Returns how the run's predictions treat the weights: key `predictive`, or sampled without weight noise."""
    return LINEARISED if run.design.linearised else SAMPLED


def calibration_of(run: Restored, calibration: Optional[Calibration]) -> Calibration:
    """Returns the calibration, which `read_calibration` has read. Raises UserError if there is none or it does not fit.
    """
    if calibration is None:
        raise UserError(f"{run.folder.root} has not been calibrated: use evaluate.py --calibrate first")
    check_fits(calibration, run)
    return calibration
