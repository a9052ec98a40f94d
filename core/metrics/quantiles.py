"""Quantiles of the predictive distribution of a regression, a mixture over weight draws."""
from typing import Callable, NamedTuple, Sequence

import numpy as np
from scipy import special

from core.metrics.predictive import Values, shared, student_constant

ROWS_AT_ONCE = 512     # so that the arrays of an iteration stay in a core's cache
LAST_STEP = 1e-3       # of Halley's method, in noise scales: its third power is about the error that is left
LAST_BRACKET = 1e-8    # width of the bracket at which bisection ends, in noise scales
MOST_ITERATIONS = 100  # bisection alone needs about 60
FEW = 0.7              # share of the rows up to which those that are not found yet are copied
TABLE_REACH, TABLE_NODES = 16.0, 1 << 14  # of Student's distribution, in arsinh(t): t up to 4e6

Curve = Callable[[np.ndarray], np.ndarray]  # an elementwise function of t, [K, n]


def mixture_quantiles(outputs: np.ndarray, precisions: np.ndarray, levels: Sequence[float],
                      dof: Values = np.inf) -> np.ndarray:
    """Returns the quantiles [L, n] of mean_k N(f_k, 1 / tau_k) at every row, or of Student's t of these scales.

    A quantile of the mixture lies between the smallest and the largest of the draws' own quantiles. Halley's method
    starts from that of a single distribution with the mixture's variance, and a step that would leave the bracket is
    replaced by a bisection. The error is about 1e-8 of the smallest noise scale.

    Args:
      outputs: f, standardised, [K, n], or [1, n] without weight noise.
      precisions: tau, [K], or [K, n].
      levels: [L], each above 0 and below 1.
      dof: degrees of freedom of the noise, of all draws or of each, [K]; infinite: Gaussian.
    """
    outputs, precisions = np.asarray(outputs, np.float64), np.asarray(precisions, np.float64)
    scales = 1.0 / np.sqrt(precisions if precisions.ndim == 2 else precisions[:, None])
    n_draws, dof = max(len(outputs), len(scales)), shared(dof)
    noise = Noise(*(_per_draw(curve, dof) for curve in (_cdf, _density, _decline)))
    dofs = np.atleast_1d(dof)[:, None]
    found = np.empty((len(levels), outputs.shape[1]))
    for start in range(0, outputs.shape[1], ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        f = outputs[:, rows] if len(outputs) == n_draws else np.repeat(outputs[:, rows], n_draws, axis=0)
        mixture = _described(np.ascontiguousarray(f), scales if scales.shape[1] == 1 else scales[:, rows])
        for number, level in enumerate(levels):
            if level <= 0.5:
                found[number, rows] = _solve(mixture, level, dofs, noise)
            else:  # the mirror image: near 0, float64 resolves probabilities best
                found[number, rows] = -_solve(_mirrored(mixture), 1.0 - level, dofs, noise)
    return found


def noise_quantile(level: float, dof: Values) -> np.ndarray:
    """Returns the quantile of noise of scale 1, for each of the degrees of freedom."""
    dof = np.asarray(dof, np.float64)
    finite = np.where(np.isinf(dof), 1.0, dof)
    return np.where(np.isinf(dof), special.ndtri(level), special.stdtrit(finite, level))


class Noise(NamedTuple):
    """Functions of the noise of scale 1."""

    cdf: Curve
    density: Curve
    decline: Curve  # minus the derivative of the log density


class Mixture(NamedTuple):
    """Components of the distribution of some rows."""

    outputs: np.ndarray  # [K, n]
    scales: np.ndarray   # [K, 1] or [K, n]
    rates: np.ndarray    # 1 / scales
    mean: np.ndarray     # of the outputs over the draws, [n]
    low: np.ndarray      # the smallest output, [n]
    high: np.ndarray     # the largest output, [n]
    spread: np.ndarray   # root of the mean squared scale and the variance of the outputs, [n]


def _described(outputs: np.ndarray, scales: np.ndarray) -> Mixture:
    mean = outputs.mean(axis=0)
    spread = np.sqrt(np.square(scales).mean(axis=0) + np.square(outputs - mean).mean(axis=0))
    return Mixture(outputs, scales, 1.0 / scales, mean, outputs.min(axis=0), outputs.max(axis=0), spread)


def _mirrored(mixture: Mixture) -> Mixture:
    return mixture._replace(outputs=-mixture.outputs, mean=-mixture.mean, low=-mixture.high, high=-mixture.low)


def _solve(mixture: Mixture, level: float, dofs: np.ndarray, noise: Noise) -> np.ndarray:
    """Returns the quantile [n] of each row; dofs: degrees of freedom of the noise, [1, 1] or [K, 1]."""
    unit = noise_quantile(level, dofs)
    own = mixture.scales * unit
    low, high = mixture.low + own.min(axis=0), mixture.high + own.max(axis=0)
    smallest = np.broadcast_to(mixture.scales.min(axis=0), low.shape)
    x = np.clip(mixture.mean + np.mean(unit) * mixture.spread, low, high)
    is_open = np.ones(len(x), bool)
    for _ in range(MOST_ITERATIONS):
        # Rows that are found already stay as they are; computing them again is cheaper than copying the others.
        rows = np.arange(len(x)) if is_open.mean() > FEW else np.flatnonzero(is_open)
        f, r = (mixture.outputs, mixture.rates) if len(rows) == len(x) else (
            values if values.shape[1] == 1 else values.take(rows, axis=1)
            for values in (mixture.outputs, mixture.rates))
        at = x[rows]
        t = at - f
        t *= r
        excess = noise.cdf(t).mean(axis=0) - level
        high[rows], low[rows] = np.where(excess > 0, at, high[rows]), np.where(excess < 0, at, low[rows])
        with np.errstate(all="ignore"):
            each = noise.density(t)
            each *= r
            total = each.sum(axis=0)
            each *= noise.decline(t)
            each *= r
            newton, bend = excess * len(t) / total, -each.sum(axis=0) / total
            new = at - newton / np.clip(1.0 - 0.5 * newton * bend, 0.5, 2.0)  # at least half of Newton's step
        inside = (new >= low[rows]) & (new <= high[rows])
        width = high[rows] - low[rows]
        is_close = np.where(inside, np.abs(new - at) <= LAST_STEP * smallest[rows],
                            width <= LAST_BRACKET * smallest[rows])
        x[rows] = np.where(is_open[rows], np.where(inside, new, low[rows] + 0.5 * width), at)
        is_open[rows] &= ~is_close
        if not is_open.any():
            break
    return x


def _per_draw(curve: Callable[[float], Curve], dof: Values) -> Curve:
    """Returns the function for the degrees of freedom of all draws, or one that treats each draw by its own, [K]."""
    if not np.ndim(dof):
        return curve(float(dof))
    curves = {each: curve(float(each)) for each in np.unique(dof)}

    def treated(t: np.ndarray) -> np.ndarray:
        values = np.empty_like(t)
        for each, own in curves.items():
            values[dof == each] = own(t[dof == each])
        return values

    return treated


def _density(dof: float) -> Curve:
    """Returns the density of the noise of scale 1."""
    constant = 1.0 / np.sqrt(2.0 * np.pi) if np.isinf(dof) else np.exp(student_constant(dof))

    def gaussian(t: np.ndarray) -> np.ndarray:
        values = t * t
        values *= -0.5
        np.exp(values, out=values)
        values *= constant
        return values

    def student(t: np.ndarray) -> np.ndarray:
        values = t * t
        values /= dof
        np.log1p(values, out=values)
        values *= -0.5 * (dof + 1.0)
        np.exp(values, out=values)
        values *= constant
        return values

    return gaussian if np.isinf(dof) else student


def _decline(dof: float) -> Curve:
    """Returns minus the derivative of the log density of the noise of scale 1."""
    if np.isinf(dof):
        return lambda t: t
    return lambda t: (dof + 1.0) * t / (dof + t * t)


def _cdf(dof: float) -> Curve:
    """Returns the distribution function of the noise of scale 1.

    That of Student's t is read from a table in v = arsinh(t), by cubic Hermite interpolation, with an error below 1e-9:
    scipy's takes ten times as long.
    """
    if np.isinf(dof):
        return special.ndtr
    nodes = np.linspace(-TABLE_REACH, TABLE_REACH, TABLE_NODES)
    width, t = nodes[1] - nodes[0], np.sinh(nodes)
    values, slopes = special.stdtr(dof, t), width * _density(dof)(t) * np.cosh(nodes)
    rise = np.diff(values)
    cubic = np.stack([values[:-1], slopes[:-1], 3.0 * rise - 2.0 * slopes[:-1] - slopes[1:],
                      slopes[:-1] + slopes[1:] - 2.0 * rise])

    def interpolated(t: np.ndarray) -> np.ndarray:
        place = (np.arcsinh(t) + TABLE_REACH) / width
        place = np.clip(place, 0.0, TABLE_NODES - 1.000001)
        cell = place.astype(np.intp)
        part = place - cell
        a, b, c, d = (row[cell] for row in cubic)
        return a + part * (b + part * (c + part * d))

    return interpolated
