"""STRATEGIES: by what a row of the pool is chosen. A strategy is a function that scores rows, and a row of the table.

A score is computed from the predictive distribution of the rows at the present step; rows with the highest scores are
labelled next. To add a strategy, write such a function and add a row.
"""
from typing import Any, Callable, Dict, NamedTuple, Tuple

import numpy as np

from core.metrics.gaussian_outputs import class_entropies
from core.metrics.predictive import moments
from misc.config import CLASSIFICATION, REGRESSION
from misc.errors import RunError

Score = Callable[[Any, int, np.random.RandomState], np.ndarray]
"""Function (predictive distribution of n rows, n, generator of random numbers) -> scores [n]."""

RANDOM = "random"


class Strategy(NamedTuple):
    """A way to choose rows."""

    score: Score
    modes: Tuple[str, ...]   # config's `mode`: of the models whose predictions it can score
    needs_draws: bool        # whether it looks at the predictions, and at how far weight draws differ in them
    meaning: str             # a line for --help


def epistemic_variance(draws: Any, n_rows: int, rng: np.random.RandomState) -> np.ndarray:
    """Returns the part of the predictive variance that comes from the weights, of standardised targets: [n].

    Noise that is the same in every row adds a constant to the predictive variance and changes no choice. Noise that
    differs between the rows (likelihood heteroscedastic) would lead to rows that are noisy, of which a label says
    least, so it does not count. Variances of several targets are added.

    Reference: MacKay (1992), Information-based objective functions for active data selection

    draws: core.metrics.draws.Draws.
    """
    of_targets = [draws] if draws.n_targets == 1 else map(draws.of_target, range(draws.n_targets))
    return np.sum([moments(one.outputs, one.precisions, one.dof, one.within)[2] for one in of_targets], axis=0)


def mutual_information(draws: Any, n_rows: int, rng: np.random.RandomState) -> np.ndarray:
    """Returns the mutual information of a row's class and the weights (BALD), [n] in nats.

    It is the entropy of the mean class probabilities minus the mean entropy of those of each weight draw.

    Reference: Houlsby et al. (2011), Bayesian active learning for classification and preference learning,
    https://arxiv.org/abs/1112.5745

    draws: logits [K, n, C], or ProbitDraws.
    """
    return class_entropies(draws)[2]


def random_scores(draws: Any, n_rows: int, rng: np.random.RandomState) -> np.ndarray:
    """Returns random numbers, [n]: every row is chosen with the same probability."""
    return rng.random_sample(n_rows)


STRATEGIES: Dict[str, Strategy] = {
    "variance": Strategy(epistemic_variance, (REGRESSION,), True, "predictive variance that comes from the weights"),
    "bald": Strategy(mutual_information, (CLASSIFICATION,), True, "mutual information of class and weights"),
    RANDOM: Strategy(random_scores, (REGRESSION, CLASSIFICATION), False, "every row with the same probability"),
}


def choose(scores: np.ndarray, pool: np.ndarray, n_chosen: int) -> np.ndarray:
    """Returns the positions in the pool of the rows with the highest scores, in their order; at most `n_chosen`.

    Of equal scores, the row with the lower number comes first, so that a choice does not depend on the pool's order.

    Args:
      scores: [n]; pool: the rows' numbers, int [n].

    Raises RunError for scores that are not finite.
    """
    if not np.isfinite(scores).all():
        raise RunError("the predictions of the pool are not finite: training has diverged; try a smaller step size or "
                       "more damping")
    return np.lexsort((pool, -scores))[:n_chosen]
