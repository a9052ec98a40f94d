"""Fits the noise of predictions to leave-one-out predictions of the training rows: its scale and its shape."""
from typing import NamedTuple, Tuple

import numpy as np
from scipy import optimize, special

from core.metrics.predictive import Values, student_constant

MAX_LEVERAGE = 0.8  # a true leverage is below 1; an estimate from draws of an approximate posterior need not be
MIN_DOF, MAX_DOF = 2.2, 100.0  # above 2, so that the noise has a variance; beyond 100 it is as good as Gaussian
TIE = 1e-4  # nats per row by which Student's t must be better than Gaussian noise
SMALLEST_SQUARE = 1e-12  # of the scale, for targets that are predicted exactly


class LeaveOneOut(NamedTuple):
    """Predictions of rows as if their own targets had not been used."""

    outputs: np.ndarray   # [K, n], standardised
    leverage: np.ndarray  # [n], at most MAX_LEVERAGE


class NoiseFit(NamedTuple):
    """Noise of scale squared_scale^(1/2) with `dof` degrees of freedom; infinitely many if it is Gaussian."""

    squared_scale: float   # of standardised targets
    dof: float
    log_likelihood: float  # mean log density of the leave-one-out predictions, in nats per row, standardised targets;
                           # before squared_scale is divided by 1 - leverage
    leverage: float        # mean over the rows, in [0, MAX_LEVERAGE]


def leave_one_out(outputs: np.ndarray, targets: np.ndarray, precision: Values, kl_weight: float,
                  dof: float) -> LeaveOneOut:
    """Approximates, to first order, the leave-one-out predictions, with a leverage for each row.

    At a row, the outputs are N(m, lambda v) over the draws. Let g be the gradient of the row's log p for the output, F
    its Fisher information there, and h = v F the row's leverage. Without the row, they would be
    N(m - v g / (1 - h), lambda v / (1 - h)); the draws are shifted and stretched to that mean and variance.

    This is exact for a linear model with Gaussian noise and the exact posterior. `leave_one_out_outputs` in
    core/inference/noise_precision.py uses one leverage for all rows, for the few draws of a training step; here the
    variance of every row comes from all K draws of an evaluation. Rows that pull the prediction most have the largest
    errors, and the tails of the noise are made of them, so that they need a leverage of their own.

    Args:
      outputs, targets: [K, n] and [n], standardised.
      precision: E[tau] of the noise under which the weights were trained, of all rows or of each, [n].
      kl_weight: lambda, by which the variance of the draws is divided.
      dof: degrees of freedom of that noise; infinite: Gaussian.

    Returns:
      LeaveOneOut, with the outputs as they are if K = 1.
    """
    mean = outputs.mean(axis=0)
    deviation, residual = outputs - mean, targets - mean
    variance = np.square(deviation).sum(axis=0) / (max(len(outputs) - 1, 1) * kl_weight)
    leverage = np.minimum(precision * student_information(dof) * variance, MAX_LEVERAGE)
    return LeaveOneOut(without_own_target(mean, deviation, newton_step(residual, precision, dof), leverage), leverage)


def student_weight(scaled: Values, dof: float) -> Values:
    """Returns a row's weight E[u | y] = (nu + 1) / (nu + tau (y - f)^2), elementwise, for arrays and tensors.

    Args:
      scaled: tau (y - f)^2, of any shape.
    """
    return (dof + 1.0) / (dof + scaled)


def student_information(dof: float) -> float:
    """Returns the Fisher information of an output under noise of precision 1: (nu + 1) / (nu + 3); Gaussian: 1."""
    return 1.0 if np.isinf(dof) else (dof + 1.0) / (dof + 3.0)


def newton_step(residual: Values, precision: Values, dof: float) -> Values:
    """Returns g / F for residuals y - m: the gradient of a row's log p for its output by the Fisher information there.

    This is the residual itself for Gaussian noise. Arrays and tensors of any shape.
    """
    if np.isinf(dof):
        return residual
    return residual * (student_weight(precision * residual**2, dof) / student_information(dof))


def without_own_target(mean: Values, deviation: Values, newton: Values, leverage: Values) -> Values:
    """Shifts and stretches draws to the mean and the variance that they would have without each row's own target.

    = m - h / (1 - h) g / F + (f - m) / sqrt(1 - h), elementwise, for arrays and tensors

    Args:
      mean, deviation: m and f - m, standardised.
      newton: g / F, of `newton_step`.
      leverage: h, below 1, of every row or of all rows.
    """
    return mean - leverage / (1.0 - leverage) * newton + deviation / (1.0 - leverage)**0.5


def fit_noise(left_out: LeaveOneOut, targets: np.ndarray, precisions: Values = 1.0) -> NoiseFit:
    """Returns the noise that maximises the likelihood of the targets under the mixture over draws.

    (s^2, nu) maximises mean_i log mean_k t_nu(y_i; f_ik, s^2 / tau_ik), by L-BFGS with exact gradients from two
    starts, where nu is between MIN_DOF and MAX_DOF, or infinite (Gaussian) if that is worse by at most TIE. The squared
    scale is then s^2 / (1 - h) with the mean leverage h. This factor is empirical. For a linear model with the exact
    posterior, s^2 itself is unbiased; but in a network a row also shapes the features, so that its true influence is
    larger than its leverage. On validation rows of six data sets s^2 covers too little, the more so the larger h is.

    Args:
      left_out: of the rows, with outputs [K, n].
      targets: [n], standardised.
      precisions: tau_ik, [K, n], of a noise that differs between the rows, up to the common factor s^2; otherwise 1.
    """
    squares = precisions * np.square(left_out.outputs - np.asarray(targets, np.float64))
    shift = 0.5 * np.log(precisions)
    start = np.log(max(np.median(squares), SMALLEST_SQUARE))
    log_square = (np.log(SMALLEST_SQUARE), None)
    student = [optimize.minimize(_student_loss, [start, np.log(dof)], (squares, shift), "L-BFGS-B", jac=True,
                                 bounds=[log_square, (np.log(MIN_DOF), np.log(MAX_DOF))]) for dof in (3.0, 12.0)]
    normal = optimize.minimize(_gaussian_loss, [start], (squares, shift), "L-BFGS-B", jac=True, bounds=[log_square])
    best = min(student, key=lambda found: found.fun)
    dof = np.inf if normal.fun <= best.fun + TIE else float(np.exp(best.x[1]))
    found = normal if np.isinf(dof) else best
    leverage = float(left_out.leverage.mean())
    return NoiseFit(float(np.exp(found.x[0])) / (1.0 - leverage), dof, -float(found.fun), leverage)


def _student_loss(at: np.ndarray, squares: np.ndarray, shift: Values = 0.0) -> Tuple[float, np.ndarray]:
    """Returns minus the mean log-likelihood and its gradient at (log s^2, log nu).

    Args:
      squares: tau (y - f)^2, [K, n].
      shift: 1/2 log tau, as squares, or 0.
    """
    square, dof = np.exp(at)
    scaled = squares / square
    logs, ratio = np.log1p(scaled / dof), (dof + 1.0) * scaled / (dof + scaled)
    kernel = -0.5 * (dof + 1.0) * logs
    weights, log_mean = _responsibilities(kernel + shift)
    by_square = 0.5 * np.sum(weights * ratio, axis=0).mean() - 0.5
    by_dof = 0.5 * (special.digamma(0.5 * (dof + 1.0)) - special.digamma(0.5 * dof)
                    + (np.sum(weights * (ratio / dof - logs), axis=0).mean() - 1.0 / dof))
    value = log_mean.mean() + student_constant(dof) - 0.5 * at[0]
    return -value, -np.array([by_square, dof * by_dof])


def _gaussian_loss(at: np.ndarray, squares: np.ndarray, shift: Values = 0.0) -> Tuple[float, np.ndarray]:
    """Returns minus the mean log-likelihood of Gaussian noise and its gradient at (log s^2,), as `_student_loss`."""
    scaled = squares / np.exp(at[0])
    weights, log_mean = _responsibilities(-0.5 * scaled + shift)
    value = log_mean.mean() - 0.5 * (np.log(2.0 * np.pi) + at[0])
    return -value, -np.array([0.5 * np.sum(weights * scaled, axis=0).mean() - 0.5])


def _responsibilities(log_density: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Returns (each draw's share of a row's density, [K, n]; the log of the mean density, [n])."""
    density = np.exp(log_density - log_density.max(axis=0))
    total = density.sum(axis=0)
    return density / total, log_density.max(axis=0) + np.log(total / len(density))
