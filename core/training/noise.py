"""The noise of a regression's predictions.

PREDICTIVE_NOISES has a row for each value of config's `predictive_noise`; to add one, write a function and add a row.
"""
from typing import Any, Callable, Dict, NamedTuple, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from core.inference.likelihood_base import Level
from core.metrics.draws import GammaLevel
from core.metrics.noise_fit import fit_noise, leave_one_out
from core.training.outputs import WrapBatches, network_outputs
from misc.lookup import lookup
from misc.seeding import stream

FIT_ROWS, FIT_DRAWS = 5000, 100  # training rows and weight draws to which the noise of predictions is fitted


class Noise(NamedTuple):
    """The noise of a regression's predictions, for standardised targets."""

    precisions: np.ndarray    # [K], draws
    dof: float                # degrees of freedom; infinite: Gaussian
    report: Dict[str, float]  # numbers to watch: metrics.csv has them


class PredictiveNoise(NamedTuple):
    """A way to find the noise of predictions."""

    level: Callable[..., Level]  # function (session, model, data, wrap) at the present step
    columns: Tuple[str, ...]     # what it reports


def trained_level(session: tf.Session, model: Any, data: Any, wrap: WrapBatches = iter) -> Level:
    """Returns the posterior that training has fitted, with the degrees of freedom of the likelihood."""
    return model.design.likelihood.level(session.run(model.evaluate.likelihood))


def fitted_level(session: tf.Session, model: Any, data: Any, wrap: WrapBatches = iter) -> Level:
    """Returns Gamma(alpha_0 + n / 2, beta_0 + n s^2 / 2), for n training rows and the s^2 and nu of `fit_noise`.

    The noise is fitted to FIT_DRAWS draws at the first FIT_ROWS training rows, which are in random order. Where the
    network puts out a precision for every row, s^2 is a common factor of the variances, without a prior, and a row's
    precision is the mean over the draws in its leverage.
    """
    config, likelihood = model.design.config, model.design.likelihood
    state, kl_scale = session.run([model.evaluate.likelihood, model.evaluate.kl_scale])
    outputs = network_outputs(session, model, data.train.x[:FIT_ROWS], data.train.x, wrap=wrap)
    targets = data.train.y[:FIT_ROWS]
    draws = likelihood.draws(outputs[:FIT_DRAWS].astype(np.float64), np.array([likelihood.mean_precision(state)]),
                             likelihood.dof)
    left_out = leave_one_out(draws.outputs, targets, draws.precisions.mean(axis=0), config.kl * float(kl_scale),
                             likelihood.dof)
    own = draws.precisions if draws.precisions.ndim == 2 else 1.0
    fit, half = fit_noise(left_out, targets, own), 0.5 * model.design.spec.n_rows
    report = (fit.log_likelihood - float(np.log(data.target_std)), 1.0 / fit.dof, fit.leverage)
    return GammaLevel(likelihood.prior.shape + half, likelihood.prior.rate + half * fit.squared_scale, fit.dof,
                      dict(zip(PREDICTIVE_NOISES["leave_one_out"].columns, report)))


PREDICTIVE_NOISES: Dict[str, PredictiveNoise] = {
    "trained": PredictiveNoise(trained_level, ()),
    "leave_one_out": PredictiveNoise(fitted_level, ("leave_one_out_log_likelihood", "inverse_noise_dof",
                                                    "mean_leverage")),
}


def noise_columns(config: Any) -> Tuple[str, ...]:
    """Returns what the noise of predictions reports, as further columns of metrics.csv."""
    return lookup(PREDICTIVE_NOISES, config.predictive_noise, "predictive_noise").columns


def regression_noise(session: tf.Session, model: Any, data: Any, wrap: WrapBatches = iter) -> Noise:
    """Returns the noise of predictions at the present step; precisions are drawn as functions of (seed, step)."""
    config = model.design.config
    level = lookup(PREDICTIVE_NOISES, config.predictive_noise, "predictive_noise").level(session, model, data, wrap)
    return drawn_noise(level, config, session.run(model.global_step))


def drawn_noise(level: Level, config: Any, step: int) -> Noise:
    """Returns a draw of the noise precision for each weight draw of an evaluation at this step."""
    precisions = level.draw(stream(config.seed, "test_precision", step), config.test_particles)
    return Noise(precisions, level.dof, level.report)


def no_noise(session: tf.Session, model: Any, data: Any, wrap: WrapBatches = iter) -> None:
    """Returns None: a classification has no noise beside that of its class probabilities."""
