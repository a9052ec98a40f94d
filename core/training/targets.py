"""The targets of a regression: their names, and what is written of one or of several."""
from typing import Any, Dict, List, Tuple

import numpy as np

from core.metrics.draws import Draws
from core.metrics.joint import METRICS_OF_EACH, JointPrediction
from core.metrics.predictive import PREDICTION_COLUMNS
from core.training.row_columns import Columns, regression_columns
from misc.config import Config

METRICS = ("rmse", "log_likelihood", "moment_log_likelihood", "coverage_90")


FULL_COVARIANCE = {"gaussian": "gaussian_full"}  # likelihood -> row of LIKELIHOODS with noise_covariance full


def regression_likelihood(config: Config, n_targets: int) -> str:
    """Returns the name in LIKELIHOODS; the covariance of a single target's noise is a number, whatever it is called."""
    if config.noise_covariance == "full" and n_targets > 1:
        return FULL_COVARIANCE[config.likelihood]
    return config.likelihood


def target_names(data: Any) -> Tuple[str, ...]:
    """Returns the names of several targets: those of the last columns, or numbers from 1; () for a single target."""
    n_targets = data.spec.n_outputs
    if n_targets == 1:
        return ()
    if data.names is None or data.is_commented:
        return tuple(str(number) for number in range(1, n_targets + 1))
    return tuple(data.names[-n_targets:])


def about_targets(data: Any) -> Dict[str, List[str]]:
    """Returns what result.json says of several targets of a regression: their names; {} for any other data."""
    names = list(target_names(data)) if getattr(data, "target_mean", None) is not None else []
    return {"targets": names} if names else {}


def of_target(data: Any, number: int) -> Any:
    """Returns the data of one of several targets, counted from 0, as if it were the only one."""
    parts = {name: part._replace(y=part.y[:, number]) for name, part in
             (("train", data.train), ("valid", data.valid), ("test", data.test)) if part is not None}
    return data._replace(target_mean=float(data.target_mean[number]), target_std=float(data.target_std[number]),
                         spec=data.spec._replace(n_outputs=1), **parts)


def regression_metrics(data: Any) -> Tuple[str, ...]:
    """Returns the names of a regression's metrics, in the order of metrics.csv."""
    return (*METRICS, *(f"{metric}_{name}" for name in target_names(data) for metric in METRICS_OF_EACH))


def regression_units(data: Any) -> str:
    """Returns a sentence about the units of a regression's metrics, for result.json."""
    if data.spec.n_outputs == 1:
        return ("rmse and log_likelihood in the data's own units; coverage_90 as a fraction; train_* per example, "
                "standardised targets")
    return ("rmse over rows and targets, of errors divided by their target's standard deviation over the training "
            "rows; log_likelihood of a row's targets together, and all metrics of a target (metric_NAME), in the "
            "data's own units; coverage_90 as a fraction, its mean over targets; train_* per example, standardised "
            "targets")


def prediction_columns(prediction: Any, targets: np.ndarray, draws: Draws, data: Any) -> Columns:
    """Returns the columns of predictions.csv behind the one that identifies the rows.

    Of a target: itself, mean, std, epistemic_std, the ends of the central 90 % interval, log density, predictive cdf at
    the target. Several targets have such columns each, with _NAME, and the joint log density of a row's targets as the
    last column, log_prob.
    """
    if not isinstance(prediction, JointPrediction):
        return {"target": targets, **regression_columns(draws, data.target_mean, data.target_std),
                **{name: getattr(prediction, name) for name in PREDICTION_COLUMNS}}
    columns: Columns = {}
    for number, (name, one) in enumerate(zip(target_names(data), prediction.of_targets)):
        of_one = prediction_columns(one, targets[:, number], draws.of_target(number), of_target(data, number))
        columns.update({f"{column}_{name}": values for column, values in of_one.items()})
    return dict(columns, log_prob=prediction.log_prob)
