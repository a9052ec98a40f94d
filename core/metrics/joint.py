"""The joint predictive distribution of several targets, and its metrics.

For a single target, see predictive.py. m is the number of targets; what is said of one of them alone is its marginal.
"""
from typing import Dict, NamedTuple, Sequence, Tuple

import numpy as np

from core.metrics.draws import Draws
from core.metrics.predictive import (
    Prediction,
    WeightedMetric,
    covered,
    log_mean_exp,
    mean_noise_variance,
    noise_log_prob,
    predict,
    weighted_mean,
)

METRICS_OF_EACH = ("rmse", "log_likelihood", "coverage_90")
"""Metrics of each target, whose names end in _NAME."""


class JointPrediction(NamedTuple):
    """The predictive distribution of m targets per row, in the data's own units."""

    of_targets: Tuple[Prediction, ...]  # the marginal distribution of each
    log_prob: np.ndarray                # [n], log density of a row's targets under the mixture over draws
    moment_log_prob: np.ndarray         # [n], the same under the Gaussian of the same mean and covariance


def predict_jointly(draws: Draws, targets: np.ndarray, target_mean: np.ndarray,
                    target_std: np.ndarray) -> JointPrediction:
    """Returns p(y | x) = mean_k p(y; f_k, noise_k), the mixture over draws.

    Args:
      draws: with m targets.
      targets: standardised, [n, m].
      target_mean, target_std: of the raw training targets, [m].
    """
    marginals = []
    for number in range(draws.n_targets):
        one = draws.of_target(number)
        marginals.append(predict(one.outputs, one.precisions, targets[:, number], target_mean[number],
                                 target_std[number], one.dof))
    log_units = np.sum(np.log(target_std))
    return JointPrediction(tuple(marginals), log_mean_exp(joint_log_prob(draws, targets)) - log_units,
                           _moment_log_prob(draws, targets) - log_units)


def joint_log_prob(draws: Draws, targets: np.ndarray) -> np.ndarray:
    """Returns log p(y; f_k, noise_k) of every draw and row, standardised, [K, n]; targets: [n, m]."""
    if draws.roots is not None:
        scaled = (targets - draws.outputs) @ draws.roots
        log_det = np.linalg.slogdet(draws.roots)[1]
        return log_det[:, None] - 0.5 * (targets.shape[1] * np.log(2.0 * np.pi) + np.square(scaled).sum(axis=-1))
    variance = 1.0 / draws.precisions_per_row()
    dof = draws.dof if np.ndim(draws.dof) == 0 else np.asarray(draws.dof)[:, None]
    return noise_log_prob(targets, draws.outputs.astype(np.float64), variance, dof).sum(axis=-1)


def _moment_log_prob(draws: Draws, targets: np.ndarray) -> np.ndarray:
    """Returns the log density, [n], of the Gaussian with the mean and covariance of the mixture, standardised."""
    return gaussian_joint_log_prob(targets - draws.outputs.mean(axis=0, dtype=np.float64), _covariance(draws))


def gaussian_joint_log_prob(residual: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Returns log N(residual; 0, covariance), [n]; residual: [n, m], covariance: [n, m, m]."""
    scaled = np.linalg.solve(covariance, residual[..., None])[..., 0]
    return -0.5 * (residual.shape[1] * np.log(2.0 * np.pi) + np.linalg.slogdet(covariance)[1]
                   + np.sum(residual * scaled, axis=1))


def _covariance(draws: Draws) -> np.ndarray:
    """Returns the covariance matrix of every row's targets, standardised, [n, m, m]."""
    deviation = draws.outputs.astype(np.float64)
    deviation = deviation - deviation.mean(axis=0)
    covariance = np.einsum("kni,knj->nij", deviation, deviation) / len(deviation)
    if draws.roots is not None:
        inverses = np.linalg.inv(draws.roots)
        return covariance + np.mean(np.swapaxes(inverses, 1, 2) @ inverses, axis=0)
    for number in range(draws.n_targets):
        one = draws.of_target(number)
        covariance[:, number, number] += mean_noise_variance(1.0 / one.precisions, one.dof)
    return covariance


def joint_statistics(prediction: JointPrediction, targets: np.ndarray, target_std: np.ndarray,
                     names: Sequence[str]) -> Dict[str, WeightedMetric]:
    """Returns the metrics of all targets together, and METRICS_OF_EACH.

    rmse: root of the mean over rows and targets of the squared errors of the predictive mean, each divided by its
    target's standard deviation over the training rows, because units may differ. log_likelihood: mean log density of a
    row's targets under the mixture over draws. moment_log_likelihood: that of the moment-matched Gaussian. coverage_90:
    mean over targets of the share in the central 90 % interval of the marginal distribution. rmse_NAME,
    log_likelihood_NAME, coverage_90_NAME: of the marginal distribution of a target, in its own unit.

    Args:
      targets: [n, m], in the data's own units; target_std: [m]; names: of the m targets.
    """
    errors = np.stack([one.mean for one in prediction.of_targets], axis=1) - targets
    inside = np.stack([covered(one.cdf, 0.9) for one in prediction.of_targets], axis=1)
    statistics = {
        "rmse": _root_mean(np.square(errors / target_std).mean(axis=1)),
        "log_likelihood": weighted_mean(prediction.log_prob),
        "moment_log_likelihood": weighted_mean(prediction.moment_log_prob),
        "coverage_90": weighted_mean(inside.mean(axis=1)),
    }
    for number, name in enumerate(names):
        statistics.update({f"rmse_{name}": _root_mean(np.square(errors[:, number])),
                           f"log_likelihood_{name}": weighted_mean(prediction.of_targets[number].log_prob),
                           f"coverage_90_{name}": weighted_mean(inside[:, number])})
    return statistics


def _root_mean(squares: np.ndarray) -> WeightedMetric:
    mean = weighted_mean(squares)
    return lambda weights: np.sqrt(mean(weights))
