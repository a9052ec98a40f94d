"""Draws from the predictive distribution of a regression, and distributions that its noise precision is drawn from."""
from typing import Dict, NamedTuple

import numpy as np

from core.metrics.predictive import Values

SMALLEST_PRECISION = 1e-30  # draws of a Gamma distribution with a tiny shape underflow to 0


class Draws(NamedTuple):
    """Draws from the predictive distribution of a regression, standardised."""

    outputs: np.ndarray     # [K, n], or [1, n] without weight noise
    precisions: np.ndarray  # of the noise: [K], or [K, n] if it differs between the rows
    dof: Values             # degrees of freedom of the noise, of all draws or of each, [K]; infinite: Gaussian


class GammaLevel(NamedTuple):
    """The noise precision ~ Gamma(shape, rate), for standardised targets."""

    shape: float
    rate: float
    dof: float                # degrees of freedom of the noise; infinite: Gaussian
    report: Dict[str, float]  # numbers to watch: metrics.csv has them

    def draw(self, stream: np.random.RandomState, n_draws: int) -> np.ndarray:
        """Draws precisions [n_draws]."""
        return np.maximum(stream.gamma(self.shape, 1.0 / self.rate, n_draws), SMALLEST_PRECISION)


class FixedLevel(NamedTuple):
    """A known precision, 1: nothing has to be drawn beside the outputs of the network."""

    dof: float
    report: Dict[str, float]

    def draw(self, stream: np.random.RandomState, n_draws: int) -> np.ndarray:
        """Returns ones, [n_draws]."""
        return np.ones(n_draws)
