"""The methods that benchmarks.peers compares, their grids, and the choice of hyper-parameters by cross-validation."""
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional

import numpy as np
import scipy.optimize

from benchmarks.hmc import evaluate
from benchmarks.peer_gp import GaussianMethod, fit_gp
from benchmarks.peer_laplace import output_deviations, output_variance, train_laplace
from benchmarks.peer_training import HIDDEN, descend, initial_weights, outputs_of, train_ivon, train_mean_field

DRAWS, FOLDS, MEMBERS = 200, 5, 5


class Fit(NamedTuple):
    """A trained method."""

    predict: Callable[[np.ndarray], np.ndarray]  # inputs [n, d], the last a 1 -> outputs [K, n]
    precision: Optional[float]                   # of the noise; None if the method does not learn it
    predict_jointly: Optional[Callable[[np.ndarray], np.ndarray]] = None  # likewise, where `predict` draws for each
    # row by itself: draws that rows share


class Method(NamedTuple):
    """How to train a method that predicts by draws, and the hyper-parameters to choose from by cross-validation."""

    fit: Callable[..., Fit]           # function (x, y, seed, **setting)
    grid: Dict[str, List[float]]      # in ascending order, `epochs` among them
    start: Dict[str, Any]             # where the search starts, without `epochs`
    draft: Dict[str, Any] = {}        # further arguments of `fit` in the search, to save time

    def compete(self, data, seed, dofs, longest):
        """Yields what the table says of the method on a split, for each of `dofs`; seed: a list of ints.

        Choices, of at most `longest` epochs, are made on training rows only.
        """
        x, y, fits = np.float64(data.train.x), np.float64(data.train.y), {}
        tuning = Tuning(self, x, y, seed)
        for dof in dofs:
            setting, precision = tuning.choose(dof, longest)
            chosen = " ".join(f"{key}={value}" for key, value in setting.items())
            if chosen not in fits:
                began = time.perf_counter()
                fits[chosen] = train(self.fit, x, y, seed, setting), time.perf_counter() - began
            trained, seconds = fits[chosen]
            outputs = trained.predict(np.float64(data.test.x))
            result = evaluate(outputs, np.full(len(outputs), precision), data, dof)[1]
            if trained.precision is not None and np.isinf(dof):
                own = evaluate(outputs, np.full(len(outputs), trained.precision), data, dof)[1]
                result["own_noise"] = own["log_likelihood"]
            yield dict(result, dof=dof, seconds=seconds, tuning=tuning.seconds, chosen=chosen)


def descended(x, y, seed, epochs, weight_decay, rate):
    """Returns the weights [P] of a network trained by Adam; seed: a list of ints."""
    rng = np.random.default_rng(seed)
    weights = initial_weights(x.shape[1], rng)
    decay = np.full(len(weights), weight_decay, np.float32)
    descend(weights, np.zeros((2, len(weights)), np.float32), x, y, (0, epochs, epochs), 1e-2, decay, rate, rng)
    return weights


def fit_ensemble(x, y, seed, epochs, weight_decay, members=MEMBERS):
    """Fits networks from different initial weights, and mixes them (Lakshminarayanan et al. 2017)."""
    weights = np.stack([descended(x, y, [*seed, member], epochs, weight_decay, 0.0) for member in range(members)])
    return Fit(lambda inputs: outputs_of(weights, inputs), None)


def fit_dropout(x, y, seed, rate, weight_decay, epochs):
    """Fits a network with dropout before the last layer, in prediction too (Gal and Ghahramani 2016)."""
    weights = descended(x, y, seed, epochs, weight_decay, rate)

    def predict(inputs):
        first, last = weights[:-HIDDEN - 1].reshape(-1, HIDDEN), weights[-HIDDEN - 1:]
        hidden, rng = np.maximum(inputs @ first, 0.0) / (1.0 - rate), np.random.default_rng(seed)
        return np.stack([(hidden * (rng.random(hidden.shape, np.float32) >= rate)) @ last[:-1] + last[-1]
                         for _ in range(DRAWS)])

    def predict_jointly(inputs):
        first, last = weights[:-HIDDEN - 1].reshape(-1, HIDDEN), weights[-HIDDEN - 1:]
        kept = np.random.default_rng(seed).random((DRAWS, HIDDEN)) >= rate
        return (kept * last[:-1] / (1.0 - rate)) @ np.maximum(inputs @ first, 0.0).T + last[-1]

    return Fit(predict, None, predict_jointly)


def fit_laplace(x, y, seed, epochs):
    """Fits a Kronecker-factored Laplace approximation; prior and noise by marginal likelihood (Immer et al. 2021)."""
    weights, found, logs = train_laplace(x, y, epochs, np.random.default_rng(seed))

    def predict(inputs):
        deviation = np.sqrt(output_variance(weights, inputs, found, logs))
        normals = np.random.default_rng(seed).standard_normal((DRAWS, len(inputs)))
        return outputs_of(weights[None], inputs) + normals * deviation

    def predict_jointly(inputs):
        drawn = output_deviations(weights, inputs, found, logs, DRAWS, np.random.default_rng(seed))
        return outputs_of(weights[None], inputs) + drawn

    return Fit(predict, float(np.exp(-2.0 * logs[-1])), predict_jointly)


def gaussian_draws(mean, deviation, seed):
    """Returns weights [DRAWS, P]."""
    normals = np.random.default_rng(seed).standard_normal((DRAWS, len(mean)), np.float32)
    return mean + deviation * normals


def fit_ivon(x, y, seed, lr, hess_init, prior_precision, epochs):
    """Fits the improved variational online Newton method (Shen et al. 2024), and the noise beside the weights."""
    rng = np.random.default_rng(seed)
    weights = initial_weights(x.shape[1], rng)
    hessian, delta = np.full_like(weights, hess_init), prior_precision / len(x)
    log_precision = train_ivon(weights, hessian, x, y, epochs, lr, (float(len(x)), float(hess_init), delta), rng)
    draws = gaussian_draws(weights, (len(x) * (hessian + delta))**-0.5, seed)
    return Fit(lambda inputs: outputs_of(draws, inputs), float(np.exp(log_precision)))


def fit_mean_field(x, y, seed, prior_variance, epochs):
    """Fits mean-field variational inference (Blundell et al. 2015), and the noise beside the weights."""
    rng = np.random.default_rng(seed)
    start = initial_weights(x.shape[1], rng)
    posterior = np.concatenate([start, np.full(len(start), -4.0), [0.0]]).astype(np.float32)
    train_mean_field(posterior, x, y, epochs, 1e-2, float(prior_variance), rng)
    draws = gaussian_draws(posterior[:len(start)], np.exp(posterior[len(start):-1]), seed)
    return Fit(lambda inputs: outputs_of(draws, inputs), float(np.exp(posterior[-1])))


EPOCHS = [100, 400, 1000, 4000]
METHODS = {
    "laplace_kron": Method(fit_laplace, {"epochs": EPOCHS}, {}),
    "ivon": Method(fit_ivon, {"lr": [0.003, 0.01, 0.03, 0.1, 0.3, 1.0], "hess_init": [0.1, 1.0, 10.0, 100.0],
                              "prior_precision": [0.001, 0.01, 0.1, 1.0, 10.0], "epochs": EPOCHS},
                   {"lr": 0.1, "hess_init": 1.0, "prior_precision": 1.0}),
    "mc_dropout": Method(fit_dropout, {"rate": [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4],
                                       "weight_decay": [0.0001, 0.001, 0.01, 0.1, 1.0, 10.0], "epochs": EPOCHS},
                         {"rate": 0.01, "weight_decay": 0.01}),
    "ensemble": Method(fit_ensemble, {"weight_decay": [0.0001, 0.001, 0.01, 0.1, 1.0, 10.0, 100.0], "epochs": EPOCHS},
                       {"weight_decay": 0.1}, {"members": 2}),
    "mean_field": Method(fit_mean_field, {"prior_variance": [0.01, 0.1, 1.0, 10.0, 100.0], "epochs": EPOCHS},
                         {"prior_variance": 0.1}),
    "gp": GaussianMethod(fit_gp),
}


def with_ones(x):
    """Returns inputs [n, d] with a last column of ones, float32."""
    return np.float32(np.column_stack([x, np.ones(len(x))]))


def train(fit, x, y, seed, setting):
    """Trains on standardised rows; returns the Fit, whose `predict` takes inputs without a column of ones."""
    trained = fit(with_ones(x), np.float32(y), seed, **setting)
    jointly = trained.predict_jointly
    return Fit(lambda inputs: trained.predict(with_ones(inputs)), trained.precision,
               None if jointly is None else lambda inputs: jointly(with_ones(inputs)))


def cross_validate(fit, x, y, seed, setting):
    """Returns outputs [K, n], each row's of networks that were trained on the other folds, standardised by these."""
    folds = np.array_split(np.random.default_rng(seed).permutation(len(x)), FOLDS)
    outputs = None
    for number, rows in enumerate(folds):
        rest = np.setdiff1d(np.arange(len(x)), rows)
        centre, scale = x[rest].mean(axis=0), x[rest].std(axis=0)
        scale[scale < 1e-6] = 1.0
        mean, std = y[rest].mean(), y[rest].std()
        trained = train(fit, (x[rest] - centre) / scale, (y[rest] - mean) / std, [*seed, 1 + number], setting)
        of_rows = mean + std * trained.predict((x[rows] - centre) / scale)
        outputs = np.empty((len(of_rows), len(x))) if outputs is None else outputs
        outputs[:, rows] = of_rows
    return outputs


def log_likelihood(outputs, precision, targets, dof):
    """Returns the mean log density under the mixture over draws, of standardised targets."""
    from core.metrics.predictive import predict

    return predict(outputs, np.full(len(outputs), precision), targets, 0.0, 1.0, dof).log_prob.mean()


def best_precision(outputs, targets, dof):
    """Returns (the highest log-likelihood, the noise precision that has it); -inf where training has diverged."""
    if not np.isfinite(outputs).all():
        return -np.inf, 1.0

    def loss(log_precision):
        return -log_likelihood(outputs, np.exp(log_precision), targets, dof)

    found = scipy.optimize.minimize_scalar(loss, bounds=(-3.0, 12.0), method="bounded", options={"xatol": 1e-3})
    return -float(found.fun), float(np.exp(found.x))


class Tuning:
    """Chooses hyper-parameters and noise of a method by cross-validation within the training rows x, y.

    Attributes:
      seconds: that training has taken.
    """

    def __init__(self, method, x, y, seed):
        self.seconds = 0.0
        self._method, self._x, self._y, self._seed = method, x, y, seed
        self._outputs, self._scores = {}, {}

    def score(self, setting, dof):
        """Returns (log-likelihood of the held-out rows, noise precision)."""
        key = (dof, *sorted(setting.items()))
        if key not in self._scores:
            if key[1:] not in self._outputs:
                started = time.perf_counter()
                self._outputs[key[1:]] = cross_validate(self._method.fit, self._x, self._y, self._seed, setting)
                self.seconds += time.perf_counter() - started
            self._scores[key] = best_precision(self._outputs[key[1:]], self._y, dof)
        return self._scores[key]

    def choose(self, dof, longest=np.inf):
        """Returns (the best setting of at most `longest` epochs, its noise precision).

        For each length of training, from the shortest, the search starts at the setting that was best for the length
        before it. (Moving along `epochs` instead can end early: longer training needs more regularisation.)
        """
        setting, found = self._method.start, []
        for epochs in self._method.grid["epochs"]:
            if epochs <= longest:
                setting = self._search(dict(setting, epochs=epochs), dof)
                found.append(setting)
        best = max(found, key=lambda each: self._of_draft(each, dof))
        return best, self.score(best, dof)[1]

    def _search(self, setting, dof):
        """Moves along one axis of the grid at a time, but not along `epochs`, until no neighbour is better."""
        before = None
        while setting != before:
            before = setting
            for name in self._method.grid:
                for direction in (-1, 1) if name != "epochs" else ():
                    setting = self._walk(setting, name, direction, dof)
        return setting

    def _walk(self, setting, name, direction, dof):
        """Returns the setting along one axis of the grid after which the log-likelihood stops rising."""
        values = self._method.grid[name]
        while True:
            index = values.index(setting[name]) + direction
            if not 0 <= index < len(values):
                return setting
            neighbour = dict(setting, **{name: values[index]})
            if self._of_draft(neighbour, dof) <= self._of_draft(setting, dof):
                return setting
            setting = neighbour

    def _of_draft(self, setting, dof):
        """Returns the log-likelihood by which settings are compared."""
        return self.score(dict(setting, **self._method.draft), dof)[0]
