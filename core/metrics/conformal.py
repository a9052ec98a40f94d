"""Calibration after training, by rows that were not trained on: temperature, conformal intervals, conformal sets.

Split conformal prediction (Vovk, Gammerman and Shafer 2005, chapter 4; Angelopoulos and Bates 2021, section 1) turns
any score of how badly a target fits its prediction into a region that covers new targets: those whose score is at most
the ceil((n + 1) level)-th smallest score of n calibration rows. If calibration rows and new rows are exchangeable, a
new target is covered with a probability of at least `level`, and at most level + 1 / (n + 1) if no scores are equal,
whatever the network and the noise are like. The probability is over the calibration rows, too: given them, the
coverage is Beta-distributed with a standard deviation of about sqrt(level (1 - level) / (n + 2)).

Temperature scaling (Guo et al. 2017) is applied to the logs of the mean probabilities, p_c ~ mean_c^(1/T), not to the
logits of every draw. The log-likelihood is then concave in 1/T, the predicted class stays as it was, and probabilities
become as sharp as the rows ask for. With a temperature for every draw, draws that disagree would limit that: the mean
of their sharpened probabilities is a share of votes. (Rahaman and Thiery 2021 compare both for ensembles, and also
recommend to average first.)
"""
from typing import Callable, Dict, NamedTuple

import numpy as np
from scipy import optimize

from core.metrics.predictive import ClassPrediction, log_softmax, softmax

LOWEST, HIGHEST = 0.01, 100.0  # temperatures
ROUNDING = 1e-9  # of (n + 1) level, which would be an integer with exact arithmetic


# Conformal prediction, of any scores.

def conformal_rank(n_rows: int, level: float) -> int:
    """Returns ceil((n + 1) level), the rank, from 1, of the score that bounds the region. Above n: it has no bound."""
    return int(np.ceil((n_rows + 1) * level - ROUNDING))


def conformal_quantile(scores: np.ndarray, level: float) -> float:
    """Returns the score up to which targets belong to the region of this level; infinite with too few rows.

    scores: of the calibration rows, sorted, [n].
    """
    rank = conformal_rank(len(scores), level)
    return float(scores[rank - 1]) if rank <= len(scores) else np.inf


def least_rows(level: float) -> int:
    """Returns the number of calibration rows from which regions of this level have a bound: level / (1 - level)."""
    return int(np.ceil(level / (1.0 - level) - ROUNDING))


# Regression. Scores are |y - mean| / std, normalised by the predictive standard deviation (Lei et al. 2018, section
# 5.2), so that intervals stay wide where the predictive distribution is, and one set of scores serves every level.
# Conformalised quantiles (Romano, Patterson and Candes 2019) have scores of their own for each level.

def normalised_residuals(targets: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Returns |targets - mean| / std; all [n]."""
    return np.abs(targets - mean) / std


def std_factor(scores: np.ndarray) -> float:
    """Returns the factor of std that maximises the Gaussian log-likelihood of the targets; scores: normalised, [n]."""
    return float(np.sqrt(np.mean(np.square(scores))))


# Classification: probabilities [n, C], averaged over the weight draws, before any temperature.

def least_ambiguous_scores(probabilities: np.ndarray) -> np.ndarray:
    """Returns 1 - p of every class, [n, C]; sets are the smallest, and may be empty (Sadinle et al. 2019)."""
    return 1.0 - probabilities


def adaptive_scores(probabilities: np.ndarray) -> np.ndarray:
    """Returns the mass of the classes that are more probable, of every class, [n, C] (Romano, Sesia and Candes 2020).

    The most probable class has score 0, so that no set is empty. There is no randomisation: sets are those of the paper
    with u = 0, and cover more than `level` where the most probable class alone does.
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")
    ordered = np.take_along_axis(probabilities, order, axis=1)
    scores = np.empty_like(ordered)
    np.put_along_axis(scores, order, np.cumsum(ordered, axis=1) - ordered, axis=1)
    return np.maximum(scores, 0.0)


SETS: Dict[str, Callable[[np.ndarray], np.ndarray]] = {"lac": least_ambiguous_scores, "aps": adaptive_scores}


class Temperature(NamedTuple):
    """A temperature and what is to be said of it."""

    value: float
    notice: str  # empty if the likelihood has its maximum there


def fit_temperature(log_probabilities: np.ndarray, labels: np.ndarray) -> Temperature:
    """Returns the temperature T that maximises sum_n log softmax(log_probabilities_n / T)_label.

    There is no maximum if every row is predicted right: T is then 1. Otherwise it is between LOWEST and HIGHEST.

    Args:
      log_probabilities: [n, C], of the mean over the weight draws.
      labels: [n] ints.
    """
    own = log_probabilities[np.arange(len(labels)), labels]
    if (own == log_probabilities.max(axis=1)).all():
        return Temperature(1.0, f"all {len(labels)} rows are predicted right, so that no temperature is the best: it "
                                "stays 1")

    def slope(log_sharpness: float) -> float:
        """Returns the derivative of the log-likelihood by 1/T, which falls with 1/T."""
        expected = (softmax(np.exp(log_sharpness) * log_probabilities) * log_probabilities).sum(axis=1)
        return float(np.sum(own - expected))

    low, high = -np.log(HIGHEST), -np.log(LOWEST)
    if slope(low) <= 0.0:
        return Temperature(HIGHEST, "equal probabilities would be likelier than the predicted ones: the temperature is "
                                    f"the highest, {HIGHEST:g}")
    if slope(high) >= 0.0:
        return Temperature(LOWEST, f"the temperature is the lowest, {LOWEST:g}")
    return Temperature(float(np.exp(-optimize.brentq(slope, low, high, xtol=1e-12))), "")


def tempered(prediction: ClassPrediction, temperature: float) -> ClassPrediction:
    """Returns the prediction at a temperature."""
    logs = log_softmax(prediction.log_probabilities / temperature)
    return ClassPrediction(np.exp(logs), logs)
