"""Quantiles of the predictive distribution of a regression, a mixture over weight draws."""
from typing import Callable, Sequence

import numpy as np
from scipy import special

from core.metrics.predictive import Values, shared, student_constant

ROWS_AT_ONCE = 256     # so that the arrays of an iteration stay in a core's cache
LAST_STEP = 1e-3       # of Halley's method, in noise scales: its third power is about the error that is left
LAST_BRACKET = 1e-8    # width of the bracket at which bisection ends, in noise scales
MOST_ITERATIONS = 100  # bisection alone needs about 60
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
    cdf, density, slope = (_per_draw(curve, dof) for curve in (_cdf, _density, _log_slope))
    units = np.atleast_1d(dof)[:, None]
    found = np.empty((len(levels), outputs.shape[1]))
    for start in range(0, outputs.shape[1], ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        of_rows = scales if scales.shape[1] == 1 else scales[:, rows]
        f = outputs[:, rows] if len(outputs) == n_draws else np.repeat(outputs[:, rows], n_draws, axis=0)
        for number, level in enumerate(levels):
            # The upper tail is that of the mirrored mixture: near 0, float64 resolves probabilities best.
            sign, below = (-1.0, 1.0 - level) if level > 0.5 else (1.0, level)
            found[number, rows] = sign * _solve(sign * f, of_rows, below, noise_quantile(below, units), cdf, density,
                                                slope)
    return found


def noise_quantile(level: float, dof: Values) -> np.ndarray:
    """Returns the quantile of noise of scale 1, for each of the degrees of freedom."""
    dof = np.asarray(dof, np.float64)
    finite = np.where(np.isinf(dof), 1.0, dof)
    return np.where(np.isinf(dof), special.ndtri(level), special.stdtrit(finite, level))


def _solve(outputs: np.ndarray, scales: np.ndarray, level: float, unit: np.ndarray, cdf: Curve, density: Curve,
           slope: Curve) -> np.ndarray:
    """Returns the quantile [n] of each row; outputs [K, n], scales [K, 1] or [K, n], unit: of `noise_quantile`."""
    own, rates = outputs + scales * unit, 1.0 / scales
    low, high = own.min(axis=0), own.max(axis=0)
    smallest = np.broadcast_to(scales.min(axis=0), low.shape)
    spread = np.sqrt(np.mean(np.square(scales), axis=0) + outputs.var(axis=0))
    x = np.clip(outputs.mean(axis=0) + np.mean(unit) * spread, low, high)
    rows = np.arange(len(x))  # that are not found yet
    for _ in range(MOST_ITERATIONS):
        f, r = (outputs, rates) if len(rows) == len(x) else (
            outputs.take(rows, axis=1), rates if rates.shape[1] == 1 else rates.take(rows, axis=1))
        at = x[rows]
        t = (at - f) * r
        excess = cdf(t).mean(axis=0) - level
        high[rows], low[rows] = np.where(excess > 0, at, high[rows]), np.where(excess < 0, at, low[rows])
        with np.errstate(all="ignore"):
            each = density(t) * r
            total = each.sum(axis=0)
            each *= slope(t)
            each *= r
            newton, bend = excess * len(t) / total, each.sum(axis=0) / total
            new = at - newton / np.clip(1.0 - 0.5 * newton * bend, 0.5, 2.0)  # at least half of Newton's step
        inside = (new >= low[rows]) & (new <= high[rows])
        width = high[rows] - low[rows]
        x[rows] = np.where(inside, new, low[rows] + 0.5 * width)
        is_close = np.where(inside, np.abs(new - at) <= LAST_STEP * smallest[rows],
                            width <= LAST_BRACKET * smallest[rows])
        rows = rows[~is_close]
        if not len(rows):
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
    if np.isinf(dof):
        return lambda t: np.exp(-0.5 * np.square(t)) / np.sqrt(2.0 * np.pi)
    constant = np.exp(student_constant(dof))
    return lambda t: constant * np.exp(-0.5 * (dof + 1.0) * np.log1p(np.square(t) / dof))


def _log_slope(dof: float) -> Curve:
    """Returns the derivative of the log density of the noise of scale 1."""
    if np.isinf(dof):
        return np.negative
    return lambda t: -(dof + 1.0) * t / (dof + np.square(t))


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
