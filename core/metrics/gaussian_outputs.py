"""Predictive distributions of outputs of a network that are Gaussian at every row (config's `predictive` linearised).

In a regression, each draw of the noise precision adds its noise to the Gaussian output. Class probabilities come from a
Gaussian of logits by the probit approximation.
"""
from typing import Any, NamedTuple, Tuple

import numpy as np
from scipy import special

from core.metrics.calibration import entropies, entropy
from core.metrics.draws import Draws
from core.metrics.predictive import noise_variance, softmax

FEWEST_CELLS = 200  # of a Gaussian output that meets noise of Student's t


class ProbitDraws(NamedTuple):
    """Classes whose logits are Gaussian at every row."""

    logits: np.ndarray  # [1, n, C], whose probabilities are those of the probit approximation
    draws: np.ndarray   # [K, n, C], drawn from the Gaussian: of expected entropy and mutual information alone


def with_variance(draws: Draws, variance: np.ndarray) -> Draws:
    """Returns the predictive distribution of an output that is not fixed, but has a variance.

    Gaussian noise: N(f, variance + 1 / tau_k) for each draw of the noise precision. Student's t: a mixture over
    `normal_cells` of the output, each with one draw of the noise precision; every draw has as many cells. The output's
    variance within a cell widens the noise there, so that the mixture has the right variance and is smooth. (For
    Gaussian outputs of up to three times the width of the noise, its density is off by about 0.1 nats at most, up to
    three standard deviations.)

    Args:
      draws: of the noise alone: of a single target, with outputs [1, n] and precisions [K], in random order.
      variance: of the outputs, standardised, [n].
    """
    if np.isinf(draws.dof):
        total = variance + 1.0 / draws.precisions[:, None]
        return draws._replace(precisions=1.0 / total, within=variance[None])
    n_draws, squares = len(draws.precisions), 1.0 / draws.precisions
    copies = 1 if n_draws >= FEWEST_CELLS else 2 * -(-FEWEST_CELLS // (2 * n_draws))
    means, variances = normal_cells(copies * n_draws)
    # Every other copy is in the reverse order, so that each draw meets the output in cells that are symmetric.
    squares = np.concatenate([squares[::-1] if copy % 2 else squares for copy in range(copies)])
    within = variances[:, None] * variance / noise_variance(1.0, draws.dof)
    return draws._replace(outputs=draws.outputs + means[:, None] * np.sqrt(variance),
                          precisions=1.0 / (squares[:, None] + within), within=within)


def normal_cells(n_cells: int) -> Tuple[np.ndarray, np.ndarray]:
    """Returns (means, variances), [n_cells] each, of a standard normal variable in cells of equal probability."""
    edges = special.ndtri(np.arange(1, n_cells) / n_cells)
    density = np.exp(-0.5 * np.square(edges)) / np.sqrt(2.0 * np.pi)
    means, squares = (-n_cells * np.diff(values, prepend=0.0, append=0.0) for values in (density, edges * density))
    return means, 1.0 + squares - np.square(means)


def drawn_outputs(mean: np.ndarray, covariance: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Returns draws of Gaussian outputs, [K, n, C]: mean + covariance^(1/2) noise_k.

    Args:
      mean: [n, C]; covariance: [n, C, C]; noise: of `standard_noise`, which all rows share, [K, C].
    """
    values, vectors = np.linalg.eigh(covariance)
    scaled = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
    roots = scaled @ np.swapaxes(vectors, 1, 2)
    return mean + np.transpose(roots @ noise.T, (2, 0, 1))


def standard_noise(n_draws: int, n_outputs: int, rng: np.random.RandomState) -> np.ndarray:
    """Returns standard normal draws, [n_draws, n_outputs].

    If there are enough of them, they are shifted and mapped so that their mean is 0 and their covariance I: the draws
    of outputs then have exactly the mean and the covariance of their Gaussian.
    """
    noise = rng.standard_normal((n_draws, n_outputs))
    if n_draws <= n_outputs:
        return noise
    noise = noise - noise.mean(axis=0)
    return np.linalg.solve(np.linalg.cholesky(noise.T @ noise / n_draws), noise.T).T


def probit_logits(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Returns mean / sqrt(1 + pi / 8 variance), elementwise: the logits of the extended probit approximation.

    Reference: MacKay (1992), The evidence framework applied to classification networks; Gibbs (1997), Sec. 6.2
    """
    return mean / np.sqrt(1.0 + np.pi / 8.0 * variance)


def logits_of(draws: Any) -> np.ndarray:
    """Returns the logits [K, n, C] whose mean probabilities predict; draws: logits of weight draws, or ProbitDraws."""
    return draws.logits if isinstance(draws, ProbitDraws) else draws


def class_entropies(draws: Any) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns (total, expected, mutual), each [n], as `calibration.entropies`; draws: as for `logits_of`.

    Of ProbitDraws, total is the entropy of the probabilities that predict; the other two are those of the draws.
    """
    if not isinstance(draws, ProbitDraws):
        return entropies(softmax(draws))
    _, expected, mutual = entropies(softmax(draws.draws))
    return entropy(softmax(draws.logits).mean(axis=0)), expected, mutual


def has_draws(draws: Any) -> bool:
    """Tells whether there is more than one draw, without which there is no mutual information."""
    return len(draws.draws if isinstance(draws, ProbitDraws) else draws) > 1
