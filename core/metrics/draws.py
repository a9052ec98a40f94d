"""Draws from the predictive distribution of a regression, and distributions that its noise precision is drawn from."""
from typing import Dict, NamedTuple, Optional

import numpy as np

from core.metrics.predictive import Values

SMALLEST_PRECISION = 1e-30  # draws of a Gamma distribution with a tiny shape underflow to 0


class Draws(NamedTuple):
    """Draws from the predictive distribution of a regression, standardised.

    With m targets, all arrays have a last axis of length m.
    """

    outputs: np.ndarray     # [K, n], or [1, n] without weight noise
    precisions: np.ndarray  # of the noise, and of `within`: [K], or [K, n] if it differs between the rows
    dof: Values             # degrees of freedom of the noise, of all draws or of each, [K]; infinite: Gaussian
    roots: Optional[np.ndarray] = None  # [K, m, m]: R with R R^T = the noise precision matrix; None: independent noise
    within: Values = 0.0    # the part of 1 / precisions that comes from the weights, [K or 1, n]; 0: none

    @property
    def n_targets(self) -> int:
        """Number of targets, m."""
        return 1 if self.outputs.ndim == 2 else self.outputs.shape[2]

    def of_target(self, number: int) -> "Draws":
        """Returns the draws of one of several targets, counted from 0."""
        dof = self.dof[..., number] if np.ndim(self.dof) else self.dof
        return Draws(self.outputs[..., number], self.precisions[..., number], dof)

    def precisions_per_row(self) -> np.ndarray:
        """Returns the precisions of every draw and row, in the shape of the outputs."""
        if self.precisions.ndim == self.outputs.ndim:
            return self.precisions
        return np.broadcast_to(self.precisions[:, None], (len(self.precisions), *self.outputs.shape[1:]))


def draws_of_roots(outputs: np.ndarray, roots: np.ndarray) -> Draws:
    """Returns the Draws of correlated Gaussian noise of m targets.

    Args:
      outputs: [K or 1, n, m].
      roots: R with R R^T = the noise precision matrix of each draw, [K, m, m].
    """
    return Draws(outputs, 1.0 / np.square(np.linalg.inv(roots)).sum(axis=1), np.inf, roots)


class GammaLevel(NamedTuple):
    """The noise precision ~ Gamma(shape, rate), for standardised targets; of each of m targets."""

    shape: Values             # a number, or [m]
    rate: Values              # likewise
    dof: Values               # degrees of freedom of the noise, of all targets or of each, [1, m]; infinite: Gaussian
    report: Dict[str, float]  # numbers to watch: metrics.csv has them

    def draw(self, stream: np.random.RandomState, n_draws: int) -> np.ndarray:
        """Draws precisions [n_draws] or [n_draws, m]."""
        drawn = stream.gamma(self.shape, 1.0 / self.rate, (n_draws, *np.shape(self.rate)))
        return np.maximum(drawn, SMALLEST_PRECISION)


class WishartLevel(NamedTuple):
    """The noise precision matrix ~ W(nu, B) with B = basis diag(rates) basis^T, as in core/inference/wishart.py."""

    nu: float
    rates: np.ndarray         # [m]
    basis: np.ndarray         # [m, m]
    report: Dict[str, float]
    dof: float = np.inf       # of the noise, which is Gaussian

    def draw(self, stream: np.random.RandomState, n_draws: int) -> np.ndarray:
        """Draws roots R of precision matrices R R^T, [n_draws, m, m], by the Bartlett decomposition."""
        m = len(self.rates)
        triangle = np.tril(stream.standard_normal((n_draws, m, m)), -1)
        squares = stream.chisquare(self.nu - np.arange(m), (n_draws, m))
        triangle[:, np.arange(m), np.arange(m)] = np.sqrt(np.maximum(squares, SMALLEST_PRECISION))
        return self.basis / np.sqrt(self.rates) @ triangle


class FixedLevel(NamedTuple):
    """A known precision, 1: nothing has to be drawn beside the outputs of the network."""

    dof: float
    report: Dict[str, float]

    def draw(self, stream: np.random.RandomState, n_draws: int) -> np.ndarray:
        """Returns ones, [n_draws]."""
        return np.ones(n_draws)
