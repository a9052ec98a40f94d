"""The continuous ranked probability score of a mixture over draws."""
from typing import Callable, Tuple

import numpy as np
from scipy import interpolate, special

from core.metrics.predictive import Values, by_row, gaussian_log_prob, noise_cdf, noise_log_prob, shared

MAX_PAIRED_DRAWS = 500  # in E|Y - Y'|, whose time grows with the square of their number
FEWEST_POINTS, MOST_POINTS = 40, 1000  # that stand for the noise of a draw whose degrees of freedom are its own
POINTS_OF_ALL = 25_000  # for all draws together, between these bounds
GOLDEN_RATIO = 0.5 * (5.0**0.5 - 1.0)  # its multiples are spread evenly over [0, 1), modulo 1

Distance = Callable[[np.ndarray, np.ndarray, Values], np.ndarray]
"""A function (mean, square, other) -> E|mean + square^(1/2) t + other^(1/2) t'|, elementwise; t, t' are independent,
standard normal or Student's t."""


def mixture_crps(means: np.ndarray, squared_scales: np.ndarray, targets: np.ndarray, dof: Values = np.inf,
                 numbers_at_once: int = 4_000_000) -> np.ndarray:
    """Returns the continuous ranked probability score of each row, [n], in the targets' unit; lower is better.

    It is E|Y - target| - E|Y - Y'| / 2. The first is a mean over components of the mixture, the second over pairs of
    them. Both are exact for Gaussian noise, and accurate to about 1e-5 of the scale for Student's t. If there are more
    than MAX_PAIRED_DRAWS components, E|Y - Y'| is taken over every 2nd (3rd, ...) of them. If their degrees of freedom
    differ, it is taken over all of them by `_mixed_crps`.

    Args:
      means: [K, n]; squared_scales: [K] or [K, n], of the noise; targets: [n]; all in one unit.
      dof: degrees of freedom of the noise, of all components or of each, [K]; infinite: Gaussian.
      numbers_at_once: bound on the size of the intermediate arrays, for memory.

    Reference: Grimit et al. (2006), eq. 5
    """
    dof, squared_scales = shared(dof), by_row(squared_scales)
    if np.ndim(dof):
        return _mixed_crps(means, np.sqrt(squared_scales), targets, dof[:, None], numbers_at_once)
    distance = _gaussian_distance if np.isinf(dof) else _student_distance(dof)
    to_target = np.mean(distance(targets - means, squared_scales, 0.0), axis=0)
    every = -(-len(squared_scales) // MAX_PAIRED_DRAWS)
    means, squares = means[::every], squared_scales[::every]
    size = max(1, numbers_at_once // len(squares) ** 2)
    spread = [np.mean(distance(part[:, None] - part[None, :], of_part[:, None], of_part[None, :]), axis=(0, 1))
              for part, of_part in ((_rows(means, start, size), _rows(squares, start, size))
                                    for start in range(0, means.shape[1], size))]
    return to_target - 0.5 * np.concatenate(spread)


def _rows(values: np.ndarray, start: int, size: int) -> np.ndarray:
    """Returns `size` rows of values [K, n], from `start`; values [K, 1] that all rows share, as they are."""
    return values if values.shape[1] == 1 else values[:, start:start + size]


def _gaussian_distance(mean: np.ndarray, square: np.ndarray, other: Values) -> np.ndarray:
    """Returns E|X| for X ~ N(mean, square + other)."""
    std = np.sqrt(square + other)
    density = np.exp(gaussian_log_prob(mean, 0.0, square + other)) * std  # of the standard normal at mean / std
    return 2.0 * std * density + mean * (2.0 * special.ndtr(mean / std) - 1.0)


def _student_distance(dof: float) -> Distance:
    """Returns the Distance for Student's t, interpolated by a spline.

    Let the unit be the root of the sum of the squared scales, z the mean and q the smaller scale in this unit. The
    distance is then a smooth function g(z, q), with
      g(z, 0) = z (2 F(z) - 1) + 2 f(z) (nu + z^2) / (nu - 1) and
      g(z, q) = E_T[(1 - q^2)^(1/2) g((z - q T) / (1 - q^2)^(1/2), 0)].
    The expectation is computed by quadrature at the nodes of a spline of g - |z| in arsinh |z| and q.
    """
    def alone(z: np.ndarray) -> np.ndarray:
        density = np.exp(noise_log_prob(z, 0.0, 1.0, dof))
        return z * (2.0 * special.stdtr(dof, z) - 1.0) + 2.0 * density * (dof + np.square(z)) / (dof - 1.0)

    grid, step = np.linspace(-16.0, 16.0, 801, retstep=True)
    t, weights = np.sinh(grid), step * np.cosh(grid) * np.exp(noise_log_prob(np.sinh(grid), 0.0, 1.0, dof))
    places, shares = np.linspace(0.0, 12.0, 161), np.linspace(0.0, 0.5**0.5, 17)
    table = np.array([[np.sum(weights * (1.0 - q * q)**0.5 * alone((z - q * t) / (1.0 - q * q)**0.5)) - z
                       for q in shares] for z in np.sinh(places)])
    spline = interpolate.RectBivariateSpline(places, shares, table)

    def distance(mean: np.ndarray, square: np.ndarray, other: Values) -> np.ndarray:
        scale = np.sqrt(square + other)
        z = np.abs(mean / scale)
        if np.ndim(other) == 0 and other == 0.0:
            return scale * alone(z)
        q = np.broadcast_to(np.sqrt(np.minimum(square, other)) / scale, z.shape)
        return scale * (z + spline.ev(np.minimum(np.arcsinh(z), places[-1]), q))

    return distance


def _mixed_crps(means: np.ndarray, scales: np.ndarray, targets: np.ndarray, dofs: np.ndarray,
                numbers_at_once: int) -> np.ndarray:
    """Returns the score, [n], of components whose degrees of freedom differ; accurate to about 3e-5 of the scale.

    The noise of every component is replaced by the points of `_points` in E|Y - Y'|. This is 2 int F (1 - F), with the
    step function F(y) = P(Y <= y), a sum over all points in ascending order. Sorting them takes less time than pairs
    of components.

    Args:
      means: [K, n]; scales: [K, 1] or [K, n]; dofs: [K, 1]; targets: [n].
    """
    z = (targets - means) / scales
    to_target = np.mean(scales * (z * (2.0 * noise_cdf(z, dofs) - 1.0) + 2.0 * _upper_mean(z, dofs)), axis=0)
    points, masses = _points(dofs)
    masses = masses.ravel() / len(dofs)
    spread, size = [], max(1, numbers_at_once // points.size)
    for start in range(0, len(targets), size):
        spread_out = _rows(scales, start, size).T[..., None] * points
        values = (means[:, start:start + size].T[..., None] + spread_out).reshape(-1, points.size)
        order = np.argsort(values, axis=1, kind="stable")  # uses that the points of a component are in order
        below = np.cumsum(masses[order], axis=1)[:, :-1]
        gaps = np.diff(np.take_along_axis(values, order, axis=1), axis=1)
        spread.append(2.0 * np.sum(gaps * below * (1.0 - below), axis=1))
    return to_target - 0.5 * np.concatenate(spread)


def _points(dofs: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Returns (points, their masses), each [K, 2 (Q + 1)], that stand for the noise of scale 1 of each component.

    The noise is divided into cells of widths of about f^(-2/3), for its density f: the error of E|t - t'| by a cell is
    proportional to (f width)^2 width, and the sum over Q cells is smallest for these widths. f^(2/3) is the density of
    a scaled Student's t with (2 dof - 1) / 3 degrees of freedom, under which the cells have equal probabilities.

    Two points share the probability of a cell. They are as far from the mean of the noise in the cell as the standard
    deviation of a uniform distribution over it or, where f falls within it as in the outermost cells, as the mean
    distance of an exponential distribution. The cells of each component are shifted by another fraction of a cell, so
    that the errors of pairs of components have either sign.

    dofs: [K, 1].
    """
    n_cells = int(np.clip(POINTS_OF_ALL // len(dofs), FEWEST_POINTS, MOST_POINTS)) // 2
    shifts = np.mod((np.arange(len(dofs)) + 0.5) * GOLDEN_RATIO, 1.0)[:, None]
    levels = (np.arange(n_cells) + shifts) / n_cells
    finite = np.where(np.isinf(dofs), 1.0, dofs)
    wide = (2.0 * finite - 1.0) / 3.0
    edges = np.where(np.isinf(dofs), 1.5**0.5 * special.ndtri(levels),
                     np.sqrt(finite / wide) * special.stdtrit(wide, levels))
    nothing = np.zeros_like(shifts)
    masses = np.diff(noise_cdf(edges, dofs), prepend=nothing, append=nothing + 1.0)
    means = -np.diff(_upper_mean(edges, dofs), prepend=nothing, append=nothing) / masses
    edges = np.concatenate([nothing - np.inf, edges, nothing + np.inf], axis=1)
    to_edge = np.minimum(means - edges[:, :-1], edges[:, 1:] - means)
    apart = np.minimum(np.diff(edges) / 12.0**0.5, 2.0 / np.e * to_edge)
    points = np.stack([means - apart, means + apart], axis=2)
    return points.reshape(len(dofs), -1), np.repeat(0.5 * masses, 2, axis=1)


def _upper_mean(z: np.ndarray, dofs: np.ndarray) -> np.ndarray:
    """Returns the integral of t f(t) from z to infinity, for the density f of the noise of scale 1, elementwise."""
    return np.exp(noise_log_prob(z, 0.0, 1.0, dofs)) * (1.0 + np.square(z) / dofs) / (1.0 - 1.0 / dofs)
