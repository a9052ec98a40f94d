"""The noise of a regression's predictions.

PREDICTIVE_NOISES has a row for each value of config's `predictive_noise`; to add one, write a function and add a row.
"""
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from core.inference.likelihood_base import Level
from core.metrics.draws import Draws, GammaLevel
from core.metrics.noise_fit import NoiseFit, fit_noise, leave_one_out
from core.metrics.predictive import Values
from core.training.outputs import WrapBatches, network_outputs
from misc.lookup import lookup
from misc.seeding import stream

FIT_ROWS, FIT_DRAWS = 5000, 100  # training rows and weight draws to which the noise of predictions is fitted
FITTED = ("leave_one_out_log_likelihood", "inverse_noise_dof", "mean_leverage")  # sum and means over targets


class Noise(NamedTuple):
    """The noise of a regression's predictions, for standardised targets."""

    precisions: np.ndarray    # [K], or [K, m] of m targets; draws
    dof: Values               # degrees of freedom, of all targets or of each, [1, m]; infinite: Gaussian
    report: Dict[str, float]  # numbers to watch: metrics.csv has them


class PredictiveNoise(NamedTuple):
    """A way to find the noise of predictions."""

    level: Callable[..., Level]     # function (session, model, data, wrap) at the present step
    restored: Callable[..., Level]  # the same without training rows: (session, model, row of metrics.csv at this step)
    columns: Callable[[int], Tuple[str, ...]]  # what it reports, by the number of targets


def trained_level(session: tf.Session, model: Any, data: Any, wrap: WrapBatches = iter) -> Level:
    """Returns the posterior that training has fitted, with the degrees of freedom of the likelihood."""
    return model.design.likelihood.level(session.run(model.evaluate.likelihood))


def fitted_level(session: tf.Session, model: Any, data: Any, wrap: WrapBatches = iter) -> Level:
    """Returns Gamma(alpha_0 + n / 2, beta_0 + n s^2 / 2), for n training rows and the s^2 and nu of `fit_noise`.

    The noise is fitted to FIT_DRAWS draws at the first FIT_ROWS training rows, which are in random order. Where the
    network puts out a precision for every row, s^2 is a common factor of the variances, without a prior, and a row's
    precision is the mean over the draws in its leverage. Each of several targets has a fit of its own, as if it were
    the only one; what is reported is the sum over targets of log-likelihoods, means, and what each has been given.
    """
    config, likelihood = model.design.config, model.design.likelihood
    state, kl_scale = session.run([model.evaluate.likelihood, model.evaluate.kl_scale])
    outputs = network_outputs(session, model, data.train.x[:FIT_ROWS], data.train.x, wrap=wrap)
    targets = data.train.y[:FIT_ROWS]
    draws = likelihood.draws(outputs[:FIT_DRAWS].astype(np.float64), np.array([likelihood.mean_precision(state)]),
                             likelihood.dof)
    kl_weight = config.kl * float(kl_scale)
    if draws.n_targets == 1:
        fits = [_fit(draws, targets, kl_weight)]
    else:
        fits = [_fit(draws.of_target(number), targets[:, number], kl_weight) for number in range(draws.n_targets)]
    fit = NoiseFit(*map(np.array, zip(*fits)))
    report = dict(zip(FITTED, (float(np.sum(fit.log_likelihood - np.log(data.target_std))),
                               float(np.mean(1.0 / fit.dof)), float(np.mean(fit.leverage)))))
    for (scale, inverse), one in zip(_columns_of_targets(draws.n_targets), fits):
        report.update({scale: float(one.squared_scale), inverse: 1.0 / float(one.dof)})
    return restored_level(session, model, report)


def restored_level(session: tf.Session, model: Any, row: Mapping[str, Any]) -> GammaLevel:
    """Returns the level that `fitted_level` has reported in this row of metrics.csv. Raises KeyError if it has not."""
    prior, half = model.design.likelihood.prior, 0.5 * model.design.spec.n_rows
    n_targets = model.design.spec.n_outputs
    report = {name: float(row[name]) for name in fitted_columns(n_targets)}
    scales, inverses = np.array([[report[name] for name in pair] for pair in _columns_of_targets(n_targets)]).T
    dofs = np.where(inverses > 0.0, 1.0 / np.where(inverses > 0.0, inverses, 1.0), np.inf)
    if n_targets == 1:
        return GammaLevel(prior.shape + half, prior.rate + half * scales[0], float(dofs[0]), report)
    return GammaLevel(prior.shape + half, prior.rate + half * scales, dofs[None], report)


def fitted_columns(n_targets: int) -> Tuple[str, ...]:
    """Returns what `fitted_level` reports."""
    return tuple(dict.fromkeys((*FITTED, *(name for pair in _columns_of_targets(n_targets) for name in pair))))


def _columns_of_targets(n_targets: int) -> List[Tuple[str, str]]:
    """Returns the columns of squared scale and inverse degrees of freedom, of each target."""
    ends = [""] if n_targets == 1 else [f"_{number}" for number in range(1, n_targets + 1)]
    return [(f"squared_noise_scale{end}", f"inverse_noise_dof{end}") for end in ends]


def _fit(draws: Draws, targets: np.ndarray, kl_weight: float) -> NoiseFit:
    """Returns the noise fitted to leave-one-out predictions of one target, [n].

    draws: at its rows, under the noise with which the weights train.
    """
    left_out = leave_one_out(draws.outputs, targets, draws.precisions.mean(axis=0), kl_weight, draws.dof)
    return fit_noise(left_out, targets, draws.precisions if draws.precisions.ndim == 2 else 1.0)


PREDICTIVE_NOISES: Dict[str, PredictiveNoise] = {
    "trained": PredictiveNoise(trained_level, trained_level, lambda n_targets: ()),
    "leave_one_out": PredictiveNoise(fitted_level, restored_level, fitted_columns),
}


def noise_columns(config: Any, n_targets: int) -> Tuple[str, ...]:
    """Returns what the noise of predictions reports, as further columns of metrics.csv."""
    return lookup(PREDICTIVE_NOISES, config.predictive_noise, "predictive_noise").columns(n_targets)


def regression_noise(session: tf.Session, model: Any, data: Any, wrap: WrapBatches = iter) -> Noise:
    """Returns the noise of predictions at the present step; precisions are drawn as functions of (seed, step)."""
    config = model.design.config
    level = lookup(PREDICTIVE_NOISES, config.predictive_noise, "predictive_noise").level(session, model, data, wrap)
    return drawn_noise(level, config, session.run(model.global_step))


def restored_noise(session: tf.Session, model: Any, row: Mapping[str, Any]) -> Noise:
    """Returns the noise of `regression_noise` without the training rows.

    row: of metrics.csv, of the evaluation at the present step. Raises KeyError if it lacks what is needed.
    """
    config = model.design.config
    level = lookup(PREDICTIVE_NOISES, config.predictive_noise, "predictive_noise").restored(session, model, row)
    return drawn_noise(level, config, session.run(model.global_step))


def drawn_noise(level: Level, config: Any, step: int) -> Noise:
    """Returns a draw of the noise precision for each weight draw of an evaluation at this step."""
    precisions = level.draw(stream(config.seed, "test_precision", step), config.test_particles)
    return Noise(precisions, level.dof, level.report)


def no_noise(session: tf.Session, model: Any, data: Any = None, wrap: WrapBatches = iter) -> None:
    """Returns None: a classification has no noise beside that of its class probabilities."""
