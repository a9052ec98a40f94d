"""Exact Gaussian-process regression with a lengthscale per input, for benchmarks.peers.

The covariance of standardised targets is c k(r^2) + (noise + c JITTER) I, where r^2 = sum_j (x_j - x'_j)^2 / l_j^2 and
k is the RBF or the Matern-3/2 kernel; the mean is zero. The kernel and the hyper-parameters log (c, l_1, ..., l_d,
noise), [d + 2], maximise the marginal likelihood (Rasmussen and Williams 2006, Sec. 5.4.1), so that no cross-validation
is needed.

An evaluation of the marginal likelihood costs n^3 operations. L-BFGS therefore starts from several points on at most
`DRAFT_ROWS` random training rows, and goes on from the best of them on at most `FIT_ROWS`: on all rows of the UCI sets
but power_plant, whose hyper-parameters come from this subset alone. Predictions use all training rows in any case.
"""
import time
from typing import Callable, NamedTuple, Tuple

import numpy as np
import scipy.linalg
import scipy.optimize

STARTS, DRAFT_ROWS, FIT_ROWS = 4, 400, 1500
MOST_STEPS = 200                # of L-BFGS
CONSTANTS = (1e-3, 1e4)         # bounds of c
LENGTHSCALES = (1e-2, 1e4)      # in standard deviations of the input
NOISES = (1e-6, 10.0)           # variances
JITTER = 1e-8                   # of c, beside the noise: rounding makes k(r^2) indefinite where distances are small


class GaussianFit(NamedTuple):
    """A trained method whose predictive distribution of a standardised target is Gaussian."""

    predict: Callable[[np.ndarray], Tuple[np.ndarray, np.ndarray]]  # inputs [m, d] -> mean [m], variance with noise [m]
    chosen: str                                                     # what training has chosen, for the table


class GaussianMethod(NamedTuple):
    """How to train a method that predicts means and variances, and that chooses its hyper-parameters itself."""

    fit: Callable[..., GaussianFit]  # function (x [n, d], y [n], seed: list of ints), of standardised rows

    def compete(self, data, seed, dofs, longest):
        """Yields what the table says of the method on a split; seed: a list of ints.

        Its noise is Gaussian: a finite number among `dofs` gives a printed notice instead of a result. `longest` has no
        effect, because there are no epochs.
        """
        for dof in dofs:
            if np.isfinite(dof):
                print(f"no row for --dof {dof:g}: this method has Gaussian noise only", flush=True)
        if np.inf not in dofs:
            return
        began = time.perf_counter()
        trained = self.fit(np.float64(data.train.x), np.float64(data.train.y), seed)
        seconds = time.perf_counter() - began
        metrics = gaussian_metrics(*trained.predict(np.float64(data.test.x)), data)
        yield dict(metrics, dof=np.inf, seconds=seconds, tuning=0.0, chosen=trained.chosen)


def gaussian_metrics(mean, variance, data):
    """Returns {rmse, log_likelihood} for the test rows in the data's own units, from standardised predictions [m]."""
    from core.metrics.predictive import gaussian_log_prob

    targets, scale = np.float64(data.test.y), data.target_std
    log_probs = gaussian_log_prob(targets, mean, variance) - np.log(scale)
    return {"rmse": float(scale * np.sqrt(np.mean((targets - mean)**2))), "log_likelihood": float(np.mean(log_probs))}


def rbf(squares):
    """Returns the kernel k(r^2) = exp(-r^2 / 2) and its derivative by r^2, both with the shape of `squares`."""
    values = np.exp(-0.5 * squares)
    return values, -0.5 * values


def matern_3_2(squares):
    """Returns k(r^2) = (1 + sqrt(3) r) exp(-sqrt(3) r) and its derivative by r^2, both with the shape of `squares`."""
    roots = np.sqrt(3.0 * squares)
    decays = np.exp(-roots)
    return (1.0 + roots) * decays, -1.5 * decays


KERNELS = {"rbf": rbf, "matern_3_2": matern_3_2}


def squared_distances(a, b):
    """Returns the squared distances [n, m] between the rows of a [n, d] and of b [m, d]."""
    squares = -2.0 * a @ b.T
    squares += (a**2).sum(axis=1)[:, None]
    squares += (b**2).sum(axis=1)
    return np.maximum(squares, 0.0, out=squares)


def unpack(logs):
    """Returns c, the lengthscales [d] and the noise variance from their logs [d + 2]."""
    values = np.exp(logs)
    return values[0], values[1:-1], values[-1]


def negative_log_evidence(logs, kernel, x, y):
    """Returns minus the log marginal likelihood of targets y [n] at inputs x [n, d], and its gradient [d + 2]."""
    constant, lengths, noise = unpack(logs)
    scaled = x / lengths
    values, slopes = kernel(squared_distances(scaled, scaled))
    values *= constant
    covariance = values + (noise + JITTER * constant) * np.eye(len(y))
    factor = scipy.linalg.cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)
    solved = scipy.linalg.cho_solve((factor, True), y, check_finite=False)
    loss = 0.5 * y @ solved + np.log(np.diag(factor)).sum() + 0.5 * len(y) * np.log(2.0 * np.pi)
    inverse = scipy.linalg.lapack.dpotri(factor, lower=True)[0]  # its lower triangle; the upper one of `factor` is zero
    weights = inverse + np.tril(inverse, -1).T
    weights -= np.outer(solved, solved)  # d loss = sum(weights * d covariance) / 2
    slopes *= weights
    slopes *= constant
    of_lengths = 2.0 * ((slopes @ scaled) * scaled).sum(axis=0) - 2.0 * slopes.sum(axis=0) @ scaled**2
    trace = np.trace(weights)
    of_constant = 0.5 * (np.vdot(weights, values) + JITTER * constant * trace)
    return loss, np.concatenate([[of_constant], of_lengths, [0.5 * noise * trace]])


def optimise(logs, kernel, x, y):
    """Returns scipy's result of L-BFGS from logs [d + 2]: `x`, the hyper-parameters, and `fun`, the loss at them."""
    bounds = np.log([CONSTANTS, *[LENGTHSCALES] * x.shape[1], NOISES])
    return scipy.optimize.minimize(negative_log_evidence, logs, (kernel, x, y), "L-BFGS-B", jac=True, bounds=bounds,
                                   options={"maxiter": MOST_STEPS})


def starting_points(n_inputs, rng):
    """Returns hyper-parameters [STARTS, d + 2]: the first is a usual guess, the others are drawn around it."""
    usual = np.log([1.0, *[n_inputs**0.5] * n_inputs, 0.1])
    return usual + np.concatenate([np.zeros((1, len(usual))), rng.standard_normal((STARTS - 1, len(usual)))])


def search(x, y, seed):
    """Returns the name of the kernel and the hyper-parameters [d + 2] of the highest marginal likelihood found."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(x))
    starts = starting_points(x.shape[1], rng)
    found = {}
    for name, kernel in KERNELS.items():
        drafts = [optimise(start, kernel, x[rows[:DRAFT_ROWS]], y[rows[:DRAFT_ROWS]]) for start in starts]
        best = min(drafts, key=lambda draft: draft.fun)
        found[name] = optimise(best.x, kernel, x[rows[:FIT_ROWS]], y[rows[:FIT_ROWS]])
    name = min(found, key=lambda each: found[each].fun)
    return name, found[name].x


def condition(kernel, logs, x, y):
    """Returns a function from inputs [m, d] to the predictive mean [m] and variance [m], which includes the noise."""
    constant, lengths, noise = unpack(logs)
    scaled = x / lengths
    covariance = kernel(squared_distances(scaled, scaled))[0]
    covariance *= constant
    covariance[np.diag_indices(len(x))] += noise + JITTER * constant
    factor = scipy.linalg.cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)
    solved = scipy.linalg.cho_solve((factor, True), y, check_finite=False)

    def predict(inputs):
        cross = constant * kernel(squared_distances(scaled, inputs / lengths))[0]
        explained = scipy.linalg.solve_triangular(factor, cross, lower=True, check_finite=False)
        return cross.T @ solved, constant + noise - (explained**2).sum(axis=0)

    return predict


def fit_gp(x, y, seed):
    """Fits a Gaussian process to standardised rows x [n, d], y [n]; `seed` draws the starts and subsets of rows."""
    name, logs = search(x, y, seed)
    return GaussianFit(condition(KERNELS[name], logs, x, y), f"kernel={name}")
