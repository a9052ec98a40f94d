"""The noise of a regression's predictions.

PREDICTIVE_NOISES has a row for each value of config's `predictive_noise`; to add one, write a function and add a row.
"""
from typing import Any, Callable, Dict, Mapping, NamedTuple, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from core.inference.noise_precision import predictive_noise
from core.metrics.noise_fit import fit_noise, leave_one_out
from core.training.outputs import WrapBatches, network_outputs
from misc.lookup import lookup
from misc.seeding import stream

FIT_ROWS, FIT_DRAWS = 5000, 100  # training rows and weight draws to which the noise of predictions is fitted
FITTED = ("leave_one_out_log_likelihood", "inverse_noise_dof", "mean_leverage", "squared_noise_scale")
SMALLEST_PRECISION = 1e-30  # draws of a Gamma distribution with a tiny shape underflow to 0


class Level(NamedTuple):
    """The distribution Gamma(shape, rate) of the noise precision, for standardised targets."""

    shape: float
    rate: float
    dof: float                # degrees of freedom of the noise; infinite: Gaussian
    report: Dict[str, float]  # numbers to watch: metrics.csv has them


class Noise(NamedTuple):
    """The noise of a regression's predictions, for standardised targets."""

    precisions: np.ndarray    # [K], draws
    dof: float                # degrees of freedom; infinite: Gaussian
    report: Dict[str, float]  # numbers to watch: metrics.csv has them


class PredictiveNoise(NamedTuple):
    """A way to find the noise of predictions."""

    level: Callable[..., Level]     # function (session, model, data, wrap) at the present step
    restored: Callable[..., Level]  # the same without training rows: (session, model, row of metrics.csv at this step)
    columns: Tuple[str, ...]        # what it reports


def trained_level(session: tf.Session, model: Any, data: Any, wrap: WrapBatches = iter) -> Level:
    """Returns the posterior that training has fitted, with the degrees of freedom of the config."""
    shape, rate = np.exp(session.run(predictive_noise(model.evaluate.likelihood)))
    return Level(shape, rate, model.design.config.dof, {})


def fitted_level(session: tf.Session, model: Any, data: Any, wrap: WrapBatches = iter) -> Level:
    """Returns Gamma(alpha_0 + n / 2, beta_0 + n s^2 / 2), for n training rows and the s^2 and nu of `fit_noise`.

    The noise is fitted to FIT_DRAWS draws at the first FIT_ROWS training rows, which are in random order.
    """
    config = model.design.config
    log_noise, kl_scale = session.run([model.evaluate.likelihood["log_noise"], model.evaluate.kl_scale])
    outputs = network_outputs(session, model, data.train.x[:FIT_ROWS], data.train.x, wrap=wrap)
    targets = data.train.y[:FIT_ROWS]
    left_out = leave_one_out(outputs[:FIT_DRAWS, :, 0].astype(np.float64), targets,
                             float(np.exp(log_noise[0] - log_noise[1])), config.kl * float(kl_scale), config.dof)
    fit = fit_noise(left_out, targets)
    report = (fit.log_likelihood - float(np.log(data.target_std)), 1.0 / fit.dof, fit.leverage, fit.squared_scale)
    return restored_level(session, model, dict(zip(FITTED, report)))


def restored_level(session: tf.Session, model: Any, row: Mapping[str, Any]) -> Level:
    """Returns the level that `fitted_level` has reported in this row of metrics.csv."""
    config, half = model.design.config, 0.5 * model.design.spec.n_rows
    report = {name: float(row[name]) for name in FITTED}
    inverse = report["inverse_noise_dof"]
    return Level(config.noise_prior_shape + half, config.noise_prior_rate + half * report["squared_noise_scale"],
                 1.0 / inverse if inverse else np.inf, report)


PREDICTIVE_NOISES: Dict[str, PredictiveNoise] = {
    "trained": PredictiveNoise(trained_level, trained_level, ()),
    "leave_one_out": PredictiveNoise(fitted_level, restored_level, FITTED),
}


def noise_columns(config: Any) -> Tuple[str, ...]:
    """Returns what the noise of predictions reports, as further columns of metrics.csv."""
    return lookup(PREDICTIVE_NOISES, config.predictive_noise, "predictive_noise").columns


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
    precisions = stream(config.seed, "test_precision", step).gamma(level.shape, 1.0 / level.rate, config.test_particles)
    return Noise(np.maximum(precisions, SMALLEST_PRECISION), level.dof, level.report)


def no_noise(session: tf.Session, model: Any, data: Any = None, wrap: WrapBatches = iter) -> None:
    """Returns None: a classification has no noise beside that of its class probabilities."""
