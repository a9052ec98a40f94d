"""Predictions of a model in a session, and their metrics: the functions that a Task refers to."""
from typing import Any, Callable, Dict, Iterable, NamedTuple, Union

import numpy as np
import tensorflow.compat.v1 as tf

from core.inference.noise_precision import predictive_noise
from core.metrics.noise_fit import NoiseFit, fit_noise, leave_one_out
from core.metrics.predictive import (
    PREDICTION_COLUMNS,
    ClassPrediction,
    Prediction,
    Values,
    classification_statistics,
    predict,
    predict_classes,
    regression_statistics,
    values_of,
)
from misc.image_figures import misclassified_figure
from misc.records import write_rows
from misc.seeding import stream

FIT_ROWS, FIT_DRAWS = 5000, 100  # training rows and weight draws to which the noise of predictions is fitted
NORM_ROWS = 1000  # training rows whose moments batch normalisations use in predictions
SMALLEST_PRECISION = 1e-30  # draws of a Gamma distribution with a tiny shape underflow to 0

WrapBatches = Callable[[Iterable], Iterable]  # wraps the batches of one group of draws, for a progress bar


class Evaluation(NamedTuple):
    """Predictions for the rows of one Part, and how good they are."""

    prediction: Union[Prediction, ClassPrediction]  # of a regression; of a classification
    metrics: Dict[str, float]
    targets: np.ndarray                             # [n], in the data's own units, or labels


class Noise(NamedTuple):
    """The noise of a regression's predictions, for standardised targets."""

    precisions: np.ndarray    # [K], draws
    dof: float                # degrees of freedom; infinite: Gaussian
    report: Dict[str, float]  # numbers to watch: metrics.csv has them


class Draws(NamedTuple):
    """Draws from the predictive distribution of a regression, standardised."""

    outputs: np.ndarray     # [K, n], or [1, n] without weight noise
    precisions: np.ndarray  # [K], of the noise
    dof: Values             # degrees of freedom of the noise, of all draws or of each, [K]; infinite: Gaussian


def network_outputs(session: tf.Session, model: Any, x: np.ndarray, train_x: np.ndarray, mean: bool = False,
                    wrap: WrapBatches = iter) -> np.ndarray:
    """Returns the outputs [K, n, n_outputs] for all weight draws, or [1, n, n_outputs] for the mean weights.

    Draws are functions of (seed, step): the same for all rows, however these are batched. Batch normalisations use each
    draw's moments for the first NORM_ROWS of the training rows `train_x`, which are in random order.
    """
    predictions, design = model.evaluate.predictions, model.design
    n_draws, batch_size = design.particles_at_once, design.config.test_batch_size
    n_groups = 1 if mean else design.n_test_particles // n_draws
    groups = []
    for group in range(n_groups):
        session.run(predictions.draw_mean if mean else predictions.draw, {predictions.group: group})
        if predictions.normalise is not None:
            session.run(predictions.normalise, {predictions.inputs: train_x[:NORM_ROWS]})
        batches = [session.run(predictions.outputs, {predictions.inputs: x[start:start + batch_size]})
                   for start in wrap(range(0, len(x), batch_size))]
        groups.append(np.concatenate(batches, axis=1)[:1 if mean else n_draws])
    return np.concatenate(groups, axis=0)


def regression_noise(session: tf.Session, model: Any, data: Any, wrap: WrapBatches = iter) -> Noise:
    """Returns the noise of predictions at the present step, by config's `predictive_noise`.

    Precisions are drawn as functions of (seed, step), from the posterior that training has fitted, or from
    Gamma(alpha_0 + n / 2, beta_0 + n s^2 / 2), with n training rows and the squared scale s^2 of `fit_noise`.
    """
    config = model.design.config
    step, likelihood, kl_scale = session.run([model.global_step, model.evaluate.likelihood, model.evaluate.kl_scale])
    (alpha, beta), dof, report = np.exp(predictive_noise(likelihood)), config.dof, {}
    if config.predictive_noise == "leave_one_out":
        fit = _leave_one_out_fit(session, model, data, likelihood["log_noise"], config.kl * float(kl_scale), wrap)
        half, dof = 0.5 * model.design.spec.n_rows, fit.dof
        alpha, beta = config.noise_prior_shape + half, config.noise_prior_rate + half * fit.squared_scale
        report = {"leave_one_out_log_likelihood": fit.log_likelihood - float(np.log(data.target_std)),
                  "inverse_noise_dof": 1.0 / fit.dof, "mean_leverage": fit.leverage}
    precisions = stream(config.seed, "test_precision", step).gamma(alpha, 1.0 / beta, config.test_particles)
    return Noise(np.maximum(precisions, SMALLEST_PRECISION), dof, report)


def _leave_one_out_fit(session: tf.Session, model: Any, data: Any, log_noise: np.ndarray, kl_weight: float,
                       wrap: WrapBatches) -> NoiseFit:
    """Returns the NoiseFit to FIT_DRAWS draws at the first FIT_ROWS training rows, which are in random order."""
    rows = data.train.x[:FIT_ROWS]
    outputs = network_outputs(session, model, rows, data.train.x, wrap=wrap)[:FIT_DRAWS, :, 0].astype(np.float64)
    targets = data.train.y[:FIT_ROWS]
    precision = float(np.exp(log_noise[0] - log_noise[1]))
    return fit_noise(leave_one_out(outputs, targets, precision, kl_weight, model.design.config.dof), targets)


def no_noise(session: tf.Session, model: Any, data: Any, wrap: WrapBatches = iter) -> None:
    """Returns None: a classification has no noise beside that of its class probabilities."""


def regression_draws(session: tf.Session, model: Any, x: np.ndarray, data: Any, noise: Noise,
                     wrap: WrapBatches = iter) -> Draws:
    """Draws outputs for the inputs [n, d], as functions of (seed, step); noise: of `regression_noise`."""
    return Draws(network_outputs(session, model, x, data.train.x, wrap=wrap)[..., 0], noise.precisions, noise.dof)


def class_draws(session: tf.Session, model: Any, x: np.ndarray, data: Any, noise: None = None,
                wrap: WrapBatches = iter) -> np.ndarray:
    """Returns the logits of p(class | x, w) for all weight draws at the present step, [K, n, C]."""
    return network_outputs(session, model, x, data.train.x, wrap=wrap)


def evaluate_regression(session: tf.Session, model: Any, part: Any, data: Any, noise: Noise,
                        wrap: WrapBatches = iter) -> Evaluation:
    """Evaluates one Part at the present step; noise: of `regression_noise`."""
    draws = regression_draws(session, model, part.x, data, noise, wrap)
    prediction = predict(draws.outputs, draws.precisions, part.y, data.target_mean, data.target_std, draws.dof)
    targets = data.target_mean + data.target_std * part.y
    return Evaluation(prediction, values_of(regression_statistics(prediction, targets), len(targets)), targets)


def evaluate_classification(session: tf.Session, model: Any, part: Any, data: Any, noise: None = None,
                            wrap: WrapBatches = iter) -> Evaluation:
    """Evaluates one Part at the present step: probabilities averaged over the draws, and those of the mean weights."""
    prediction = predict_classes(class_draws(session, model, part.x, data, wrap=wrap))
    metrics = values_of(classification_statistics(prediction, part.y), len(part.y))
    of_mean = predict_classes(network_outputs(session, model, part.x, data.train.x, mean=True, wrap=wrap))
    metrics.update({f"mean_{name}": value for name, value in values_of(
        classification_statistics(of_mean, part.y), len(part.y)).items()})
    return Evaluation(prediction, metrics, part.y)


def write_predictions(folder: Any, evaluation: Evaluation, data: Any) -> None:
    """Writes predictions.csv, a line per test row in the data's own units.

    Columns: target, mean, std, epistemic_std, log density of the target, predictive cdf at the target; with every
    digit, since mixtures are made from them.
    """
    columns = ["target", *PREDICTION_COLUMNS]
    table = zip(evaluation.targets, *(getattr(evaluation.prediction, name) for name in PREDICTION_COLUMNS))
    write_rows(folder.predictions, columns, [dict(zip(columns, map(float, row))) for row in table])


def write_probabilities(folder: Any, evaluation: Evaluation, data: Any) -> None:
    """Writes predictions.npz: probabilities [n, C] and their logs, labels [n], class names; in the test set's order."""
    arrays = {name: values.astype(np.float32) for name, values in evaluation.prediction._asdict().items()}
    with open(str(folder.probabilities), "wb") as handle:
        np.savez_compressed(handle, labels=evaluation.targets, classes=np.array(data.classes), **arrays)


def write_no_images(writer: Any, evaluation: Evaluation, part: Any, data: Any, step: int) -> None:
    """Writes nothing: there are no images in a regression."""


def write_misclassified(writer: Any, evaluation: Evaluation, part: Any, data: Any, step: int) -> None:
    """Writes the most confident misclassified images and their probabilities to TensorBoard."""
    figure = misclassified_figure(part.x, evaluation.prediction.probabilities, evaluation.targets, data.classes)
    if figure is not None:
        writer.figure("misclassified/most_confident", figure, step)
