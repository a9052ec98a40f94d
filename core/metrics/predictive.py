"""The predictive distribution of weight draws, and its metrics on rows with known targets."""
from typing import Any, Callable, Dict, NamedTuple, Sequence, Tuple

import numpy as np
from scipy import sparse, special

Values = Any  # a float or an array: functions of these work elementwise

WeightedMetric = Callable[[np.ndarray], np.ndarray]
"""A metric as a function of row weights, [B, n] -> [B]. A row of weight k counts like k equal rows.

Weights of 1 give the metric itself; each row of multinomial weights gives it for one bootstrap resample.
"""


class Prediction(NamedTuple):
    """A predictive distribution per row and where the row's target lies in it; all [n], in the data's own units."""

    mean: np.ndarray
    std: np.ndarray
    epistemic_std: np.ndarray    # the part of std that comes from the weights
    log_prob: np.ndarray         # log density of the target under the mixture over draws
    cdf: np.ndarray              # P(Y <= target) under the mixture over draws
    moment_log_prob: np.ndarray  # log density of the target under the Gaussian of the same mean and std


class ClassPrediction(NamedTuple):
    """Class probabilities per row, and their logs, which are finite where a probability underflows to 0."""

    probabilities: np.ndarray      # [n, C], averaged over the weight draws
    log_probabilities: np.ndarray  # [n, C], the logs of these averages


PREDICTION_COLUMNS = ("mean", "std", "epistemic_std", "log_prob", "cdf")
"""Columns of predictions.csv, from which `mix` works."""


# Regression.

def predict(outputs: np.ndarray, precisions: np.ndarray, targets: np.ndarray, target_mean: float, target_std: float,
            dof: Values = np.inf, within: Values = 0.0) -> Prediction:
    """Returns the predictive distribution p(y | x) = mean_k N(y; f_k, 1 / tau_k), or of Student's t of that scale.

    Args:
      outputs: network outputs f_k, standardised, [K, n], or [1, n] without weight noise.
      precisions: noise precisions tau_k of standardised targets, [K], or [K, n] if they differ between the rows.
      targets: standardised, [n].
      target_mean, target_std: of the raw training targets; they undo the standardisation.
      dof: degrees of freedom of the noise, of all draws or of each, [K]; infinite: Gaussian.
      within: the part of 1 / precisions that comes from the weights, [K or 1, n] (`Draws.within`).
    """
    outputs, precisions, targets = (np.asarray(array, np.float64) for array in (outputs, precisions, targets))
    mean, variance, epistemic = moments(outputs, precisions, dof, within)
    per_draw = noise_log_prob(targets, outputs, by_row(1.0 / precisions), over_rows(dof))
    return Prediction(
        mean=target_mean + target_std * mean,
        std=target_std * np.sqrt(variance),
        epistemic_std=target_std * np.sqrt(epistemic),
        log_prob=log_mean_exp(per_draw) - np.log(target_std),
        cdf=mixture_cdf(outputs, 1.0 / precisions, targets, dof),
        moment_log_prob=gaussian_log_prob(targets, mean, variance) - np.log(target_std),
    )


def moments(outputs: np.ndarray, precisions: np.ndarray, dof: Values = np.inf,
            within: Values = 0.0) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns mean, variance, and the part of the variance that comes from the weights: standardised, [n] each.

    The arguments are those of `predict`.
    """
    outputs, precisions = np.asarray(outputs, np.float64), np.asarray(precisions, np.float64)
    between = outputs.var(axis=0)
    return (outputs.mean(axis=0), between + mean_noise_variance(1.0 / precisions, dof),
            between + mean_noise_variance(np.atleast_2d(within), dof))


def mix(predictions: Sequence[Prediction], targets: np.ndarray) -> Prediction:
    """Returns the mixture, with equal weights, of several Predictions for the same rows.

    All members have equal weight, whatever their number of draws. The variance between their means is epistemic.

    Args:
      targets: [n], in the data's own units.
    """
    means, stds, epistemic, log_probs, cdfs = (np.array([getattr(each, name) for each in predictions], np.float64)
                                               for name in PREDICTION_COLUMNS)
    between = means.var(axis=0)
    variance = np.square(stds).mean(axis=0) + between
    mean = means.mean(axis=0)
    return Prediction(mean, np.sqrt(variance), np.sqrt(np.square(epistemic).mean(axis=0) + between),
                      log_mean_exp(log_probs), cdfs.mean(axis=0), gaussian_log_prob(targets, mean, variance))


def regression_statistics(prediction: Prediction, targets: np.ndarray) -> Dict[str, WeightedMetric]:
    """Returns the metrics of a regression.

    rmse: of the predictive mean. log_likelihood: mean log density of the mixture over draws.
    moment_log_likelihood: that of the moment-matched Gaussian. coverage_90: share of targets in the central 90 %
    interval.

    Args:
      targets: [n], in the data's own units.
    """
    mean_square = weighted_mean(np.square(prediction.mean - targets))
    return {
        "rmse": lambda weights: np.sqrt(mean_square(weights)),
        "log_likelihood": weighted_mean(prediction.log_prob),
        "moment_log_likelihood": weighted_mean(prediction.moment_log_prob),
        "coverage_90": weighted_mean(covered(prediction.cdf, 0.9)),
    }


def mixture_cdf(means: np.ndarray, squared_scales: np.ndarray, targets: np.ndarray,
                dof: Values = np.inf) -> np.ndarray:
    """Returns P(Y <= target) under the mixture over draws, [n].

    Args:
      means: [K, n]; squared_scales: [K] or [K, n], of the noise; targets: [n]; all in one unit.
      dof: as in `predict`.
    """
    scaled = (targets - means) / by_row(np.sqrt(squared_scales))
    return np.mean(noise_cdf(scaled, over_rows(dof)), axis=0)


def covered(cdf: np.ndarray, levels: Values) -> np.ndarray:
    """Tells whether each target is in the central interval of its level; `cdf` and `levels` broadcast."""
    return np.abs(2.0 * cdf - 1.0) <= levels


# Classification.

def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns the class probabilities exp(l_c) / sum_c' exp(l_c') over the last axis, in float64."""
    logits = np.asarray(logits, np.float64)
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Returns the logs of the class probabilities over the last axis, in float64; finite for all finite logits."""
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def predict_classes(logits: np.ndarray) -> ClassPrediction:
    """Returns the class probabilities averaged over the weight draws; logits: [K, n, C]."""
    return ClassPrediction(softmax(logits).mean(axis=0), log_mean_exp(log_softmax(logits)))


def mix_classes(members: Sequence[ClassPrediction]) -> ClassPrediction:
    """Returns the mixture, with equal weights, of the predictions of all members for the same rows."""
    probabilities, logs = (np.array(arrays, np.float64) for arrays in zip(*members))
    return ClassPrediction(probabilities.mean(axis=0), log_mean_exp(logs))


def classification_statistics(prediction: ClassPrediction, labels: np.ndarray,
                              n_bins: int = 15) -> Dict[str, WeightedMetric]:
    """Returns the metrics of a classification.

    accuracy: share of rows whose most probable class is right. log_likelihood: mean log probability of the
    right class, nats. brier: mean of sum_c (p_c - [c is right])^2. ece: expected calibration error, sum over
    bins of confidence of share * |accuracy - mean confidence| (Naeini et al. 2015).

    Args:
      labels: [n] ints.
      n_bins: number of bins of equal width for the calibration error.
    """
    probabilities = np.asarray(prediction.probabilities, np.float64)
    confidence, right = confidence_and_hits(probabilities, labels)
    of_label, log_of_label = (values[np.arange(len(labels)), labels]
                              for values in (probabilities, prediction.log_probabilities))
    return {
        "accuracy": weighted_mean(right),
        "log_likelihood": weighted_mean(log_of_label),
        "brier": weighted_mean(np.square(probabilities).sum(axis=1) - 2.0 * of_label + 1.0),
        "ece": calibration_error(gap_matrix(confidence, right, equal_bins(confidence, n_bins), n_bins)),
    }


def confidence_and_hits(probabilities: np.ndarray, labels: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Returns (largest probability, 1.0 where its class is right and 0.0 elsewhere), each [n]."""
    return probabilities.max(axis=1), (probabilities.argmax(axis=1) == labels).astype(np.float64)


def equal_bins(confidence: np.ndarray, n_bins: int) -> np.ndarray:
    """Returns the number of each row's bin, of bins of equal width; the last one includes 1, and the first one NaN."""
    return np.minimum((np.nan_to_num(confidence) * n_bins).astype(int), n_bins - 1)


def gap_matrix(confidence: np.ndarray, right: np.ndarray, bins: np.ndarray, n_bins: int) -> sparse.csr_matrix:
    """Returns a sparse matrix [n, n_bins] with right - confidence in the column of each row's bin."""
    rows = np.arange(len(confidence))
    return sparse.csr_matrix((right - confidence, (rows, bins)), shape=(len(rows), n_bins))


# Weighted metrics.

def weighted_mean(values: np.ndarray) -> WeightedMetric:
    """Returns the mean of `values` [n] as a metric."""
    values = np.asarray(values, np.float64)
    return lambda weights: weights @ values / weights.sum(axis=1)


def calibration_error(gaps: sparse.spmatrix, factor: float = 1.0) -> WeightedMetric:
    """Returns factor times the sum over columns of |weighted column sum of a `gap_matrix`| / n as a metric."""
    return lambda weights: factor * np.abs(gaps.T @ weights.T).sum(axis=0) / weights.sum(axis=1)


def values_of(statistics: Dict[str, WeightedMetric], n_rows: int) -> Dict[str, float]:
    """Returns the values of metrics with every row counted once."""
    once = np.ones((1, n_rows))
    return {name: float(statistic(once)[0]) for name, statistic in statistics.items()}


# The noise, elementwise: y = mean + scale * t, where t is Student's t with `dof` degrees of freedom, infinitely many if
# it is standard normal. `dof` is one number, or an array that broadcasts with the others.

def gaussian_log_prob(y: Values, mean: Values, variance: Values) -> Values:
    """Returns log N(y; mean, variance)."""
    return -0.5 * (np.log(2.0 * np.pi * variance) + np.square(y - mean) / variance)


def noise_log_prob(y: Values, mean: Values, squared_scale: Values, dof: Values) -> Values:
    """Returns the log density of y."""
    if np.ndim(dof):
        student = _student_log_prob(y, mean, squared_scale, _finite(dof))
        return np.where(np.isinf(dof), gaussian_log_prob(y, mean, squared_scale), student)
    if np.isinf(dof):
        return gaussian_log_prob(y, mean, squared_scale)
    return _student_log_prob(y, mean, squared_scale, dof)


def _student_log_prob(y: Values, mean: Values, squared_scale: Values, dof: Values) -> Values:
    """Returns the log density of y for finite `dof`."""
    return student_constant(dof) - 0.5 * (
        np.log(squared_scale) + (dof + 1.0) * np.log1p(np.square(y - mean) / (dof * squared_scale)))


def student_constant(dof: Values) -> Values:
    """Returns the log density of Student's t at 0; accurate for any `dof` (a difference of log Gammas cancels)."""
    return -special.betaln(0.5, 0.5 * dof) - 0.5 * np.log(dof)


def noise_cdf(t: Values, dof: Values) -> Values:
    """Returns the probability that the noise of scale 1 is below t."""
    if np.ndim(dof):
        return np.where(np.isinf(dof), special.ndtr(t), special.stdtr(_finite(dof), t))
    return special.ndtr(t) if np.isinf(dof) else special.stdtr(dof, t)


def noise_variance(squared_scale: Values, dof: Values) -> Values:
    """Returns the variance of y."""
    if np.ndim(dof):
        return squared_scale / (1.0 - 2.0 / np.asarray(dof))
    return squared_scale if np.isinf(dof) else squared_scale * dof / (dof - 2.0)


def mean_noise_variance(squared_scales: np.ndarray, dof: Values) -> Values:
    """Returns the mean over draws of the variance of y; squared_scales: [K] or [K, n], of the mean then [n].

    dof: as in `predict`.
    """
    if squared_scales.ndim == 2:
        return np.mean(noise_variance(squared_scales, over_rows(dof)), axis=0)
    dof = shared(dof)
    squares = squared_scales if np.ndim(dof) else np.mean(squared_scales)
    return np.mean(noise_variance(squares, dof))


def shared(dof: Values) -> Values:
    """Returns the degrees of freedom that all draws share as one number, or else those of each draw, [K]."""
    dofs = np.asarray(dof, np.float64)
    return float(dofs.flat[0]) if (dofs == dofs.flat[0]).all() else dofs


def over_rows(dof: Values) -> Values:
    """Returns `shared` degrees of freedom, with an axis for rows if draws differ: [K, 1]."""
    dof = shared(dof)
    return dof[:, None] if np.ndim(dof) else dof


def by_row(values: np.ndarray) -> np.ndarray:
    """Returns values of each draw with an axis for rows, [K, 1]; values of each draw and row, [K, n], as they are."""
    return values[:, None] if values.ndim == 1 else values


def _finite(dof: Values) -> Values:
    """Returns `dof` with any finite number where it is infinite, for formulas whose value there is not used."""
    return np.where(np.isinf(dof), 1.0, dof)


def noise_name(dof: float) -> str:
    return "Gaussian" if np.isinf(dof) else f"Student's t ({dof:g} degrees of freedom)"


def log_mean_exp(values: np.ndarray) -> np.ndarray:
    """Returns the log of the mean of exp over axis 0, safe for large values: [K, ...] -> [...]."""
    peak = values.max(axis=0)
    return peak + np.log(np.mean(np.exp(values - peak), axis=0))
