"""What a file of predictions says of each row, from draws of its predictive distribution. SUMMARIES has a row per mode.
"""
from typing import Any, NamedTuple, Optional, Sequence

import numpy as np

from core.assessment.calibrated import calibrated_classes, calibrated_numbers
from core.assessment.calibration_file import Calibration, calibration_of
from core.assessment.inputs import together
from core.assessment.restore import Restored
from core.metrics.draws import Draws
from core.training.row_columns import INTERVAL, Columns, class_columns, regression_columns
from core.training.targets import of_target, target_names
from misc.config import CLASSIFICATION, REGRESSION, TABLE_CLASSIFICATION
from misc.errors import UserError
from misc.seeding import stream


class Asked(NamedTuple):
    """What is asked of a prediction: the flags of predict.py."""

    interval: Optional[float] = None        # probability of the central interval; None: that of the calibration, or 0.9
    quantiles: Sequence[float] = ()         # further quantiles, each in (0, 1)
    samples: int = 0                        # draws from the predictive distribution
    skip_bad: bool = False                  # whether bad rows are reported and left out, not an error
    best: bool = False                      # the checkpoint of the best validation log-likelihood, not the newest
    calibrated: bool = False                # also calibrated predictions, of a run that has been calibrated
    calibration: Optional[Calibration] = None  # of these; `with_calibration` puts it here

    @property
    def level(self) -> float:
        """Probability of all intervals and sets."""
        return self.interval or (INTERVAL if self.calibration is None else self.calibration.level)


def with_calibration(asked: Asked, run: Restored, calibration: Optional[Calibration]) -> Asked:
    """Returns what is asked with the run's calibration, which `read_calibration` has read, if it needs that.

    Raises UserError if there is none, it does not fit the run, or has too few rows for the level.
    """
    if not asked.calibrated:
        return asked
    asked = asked._replace(calibration=calibration_of(run, calibration))
    calibration_of(run, calibration).check_level(asked.level)
    return asked


def summarise_regression(draws: Sequence[Draws], data: Sequence[Any], asked: Asked, first: int, seed: int) -> Columns:
    """Returns mean, std, epistemic_std, lower, upper, further quantiles and samples, in the data's own units.

    Args:
      draws, data: of each run, for the same rows.
      first: number of the first of these rows, from 0, which keys the samples.
      seed: of the samples.
    """
    if len(target_names(data[0])) > 1:
        return _of_several(draws, data, asked, first, seed)
    mean, std = data[0].target_mean, data[0].target_std
    if any((other.target_mean, other.target_std) != (mean, std) for other in data[1:]):
        draws, mean, std = [_in_units(each, of) for each, of in zip(draws, data)], 0.0, 1.0
    mixed = _mixed(draws)
    columns = regression_columns(mixed, mean, std, asked.level, asked.quantiles)
    if asked.calibration is not None:
        columns.update(calibrated_numbers(columns, asked.calibration, asked.level))
    if asked.samples:
        samples = mean + std * _samples(mixed, asked.samples, first, seed)
        columns.update({f"sample_{number}": values for number, values in enumerate(samples, start=1)})
    return columns


def _of_several(draws: Sequence[Draws], data: Sequence[Any], asked: Asked, first: int, seed: int) -> Columns:
    """Returns the columns of each of several targets, with _NAME."""
    if asked.samples and any(each.roots is not None for each in draws):
        raise UserError("--samples: samples of several targets with noise_covariance full would lack their correlation")
    columns: Columns = {}
    for number, name in enumerate(target_names(data[0])):
        own = asked if asked.calibration is None else asked._replace(
            interval=asked.level, calibration=asked.calibration.of_target(number))
        of_one = summarise_regression([each.of_target(number) for each in draws],
                                      [of_target(each, number) for each in data], own, first, seed + number)
        columns.update({f"{column}_{name}": values for column, values in of_one.items()})
    return columns


def summarise_classes(draws: Sequence[Any], data: Sequence[Any], asked: Asked, first: int, seed: int) -> Columns:
    """Returns predicted class, confidence, entropy, mutual information (nats) and a probability per class.

    The arguments are those of `summarise_regression`; samples are classes.
    """
    mixed = together(list(draws))
    classes = np.array([str(name) for name in data[0].classes], object)
    columns = class_columns(mixed, classes)
    if asked.calibration is not None:
        columns.update(calibrated_classes(mixed, classes, asked.calibration, asked.level))
    if asked.samples:
        probabilities = np.stack([columns[f"p_{name}"] for name in classes], axis=1)
        uniform = stream(seed, "predicted_classes", first).random_sample((asked.samples, len(probabilities), 1))
        chosen = (uniform > np.cumsum(probabilities, axis=1)[None, :, :-1]).sum(axis=2)
        columns.update({f"sample_{number}": classes[row] for number, row in enumerate(chosen, start=1)})
    return columns


def _mixed(draws: Sequence[Draws]) -> Draws:
    """Returns the draws of all runs together, of degrees of freedom that are shared or those of each draw."""
    if len(draws) == 1:
        return draws[0]
    return together([each._replace(outputs=np.broadcast_to(each.outputs, (len(each.precisions),
                                                                          *each.outputs.shape[1:])))
                     for each in draws])


def _in_units(draws: Draws, data: Any) -> Draws:
    return Draws(data.target_mean + data.target_std * np.asarray(draws.outputs, np.float64),
                 draws.precisions / data.target_std**2, draws.dof, None, data.target_std**2 * draws.within)


def _samples(draws: Draws, n_samples: int, first: int, seed: int) -> np.ndarray:
    """Returns draws of standardised targets, [S, n]: a weight draw and noise for each."""
    rng = stream(seed, "predicted_targets", first)
    n_draws, n_rows = len(draws.precisions), draws.outputs.shape[1]
    chosen = rng.randint(n_draws, size=(n_samples, n_rows))
    outputs = np.broadcast_to(draws.outputs, (n_draws, n_rows))[chosen, np.arange(n_rows)]
    dof = np.broadcast_to(draws.dof, n_draws)[chosen]
    noise = rng.standard_normal((n_samples, n_rows))
    finite = np.where(np.isinf(dof), 1.0, dof)
    stretch = np.where(np.isinf(dof), 1.0, np.sqrt(finite / np.maximum(rng.chisquare(finite), 1e-300)))
    return outputs + noise * stretch / np.sqrt(draws.precisions_per_row()[chosen, np.arange(n_rows)])


SUMMARIES = {REGRESSION: summarise_regression, CLASSIFICATION: summarise_classes,
             TABLE_CLASSIFICATION: summarise_classes}
