"""Predictions and metrics of a model in a session. TASKS: mode -> what its outputs mean and how they are judged."""
import collections

import numpy as np

from core.inference.noise_precision import predictive_noise
from core.metrics.predictive import (
    KEPT,
    classification_statistics,
    draw_probabilities,
    predict,
    regression_statistics,
    values_of,
)
from core.training.design import n_test_draws
from misc.config import CLASSIFICATION, REGRESSION
from misc.image_figures import misclassified_figure
from misc.records import write_rows
from misc.seeding import stream

TINIEST_PRECISION = 1e-30  # draws of a Gamma with a tiny shape underflow to 0

Evaluation = collections.namedtuple("Evaluation", ["prediction", "metrics", "targets"])
"""prediction: metrics.Prediction, or probabilities [n, C]; targets: in the data's own units, or labels."""

Draws = collections.namedtuple("Draws", ["outputs", "precisions", "dof"])
"""Of a regression: outputs [K, n] and noise precisions [K], standardised; the noise's degrees of freedom,
infinite if it is Gaussian."""

Task = collections.namedtuple("Task", ["metrics", "extra", "draws", "evaluate", "headline", "units", "write", "show"])
"""metrics: names, in order; extra: further columns of metrics.csv; draws, evaluate: see below; headline: the
two metrics that people watch, {name: format}; units: a sentence for result.json; write: (folder,
Evaluation, data) -> the predictions' file; show: (writer, Evaluation, Part, data, step) -> pictures
in TensorBoard."""


def network_outputs(session, model, x, config, mean=False, ticks=iter):
    """Outputs [K, n, n_outputs] for all draws, or [1, n, n_outputs] for the mean weights.

    Draws are functions of (seed, step): the same for all rows, however they are batched. ticks: wraps the
    batches of a group of draws, for a progress bar.
    """
    evaluate, n_draws = model.evaluate, model.design.draws_at_once
    n_groups = 1 if mean else n_test_draws(config, model.design.layers) // n_draws
    groups = []
    for group in range(n_groups):
        session.run(evaluate.draw_mean if mean else evaluate.draw, {evaluate.group: group})
        batches = [session.run(evaluate.outputs, {evaluate.inputs: x[start:start + config.test_batch_size]})
                   for start in ticks(range(0, len(x), config.test_batch_size))]
        groups.append(np.concatenate(batches, axis=1)[:1 if mean else n_draws])
    return np.concatenate(groups, axis=0)


def regression_draws(session, model, x, config, ticks=iter):
    """Draws for inputs [n, d] at the current step; noise precisions are functions of (seed, step), too."""
    step, likelihood = session.run([model.global_step, model.evaluate.likelihood])
    alpha, beta = np.exp(predictive_noise(likelihood))
    precisions = stream(config.seed, "test_precision", step).gamma(alpha, 1.0 / beta, config.test_particles)
    outputs = network_outputs(session, model, x, config, ticks=ticks)[..., 0]
    return Draws(outputs, np.maximum(precisions, TINIEST_PRECISION), config.dof)


def class_draws(session, model, x, config, ticks=iter):
    """p(class | x, w) for all draws at the current step, [K, n, C]."""
    return draw_probabilities(network_outputs(session, model, x, config, ticks=ticks))


def evaluate_regression(session, model, part, data, config, ticks=iter):
    """Evaluation of one Part at the current step."""
    draws = regression_draws(session, model, part.x, config, ticks)
    prediction = predict(draws.outputs, draws.precisions, part.y, data.target_mean, data.target_std, draws.dof)
    targets = data.target_mean + data.target_std * part.y
    return Evaluation(prediction, values_of(regression_statistics(prediction, targets), len(targets)), targets)


def evaluate_classification(session, model, part, data, config, ticks=iter):
    """Evaluation of one Part at the current step: mean probabilities over the draws; the same of the mean weights."""
    probabilities = np.mean(class_draws(session, model, part.x, config, ticks), axis=0)
    metrics = values_of(classification_statistics(probabilities, part.y), len(part.y))
    of_mean = draw_probabilities(network_outputs(session, model, part.x, config, mean=True, ticks=ticks))[0]
    metrics.update({f"mean_{name}": value for name, value in values_of(
        classification_statistics(of_mean, part.y), len(part.y)).items()})
    return Evaluation(probabilities, metrics, part.y)


def write_predictions(folder, evaluation, data):
    """predictions.csv: target, mean, std, epistemic std, log density, cdf of every test row; the data's own units."""
    columns = ["target", *KEPT]
    table = zip(evaluation.targets, *(getattr(evaluation.prediction, name) for name in KEPT))
    write_rows(folder.predictions, columns, [dict(zip(columns, (f"{value:.9g}" for value in row))) for row in table])


def write_probabilities(folder, evaluation, data):
    """predictions.npz: probabilities [n, C], labels [n] and the names of the classes, rows in the test set's order."""
    with open(str(folder.probabilities), "wb") as handle:
        np.savez_compressed(handle, probabilities=evaluation.prediction.astype(np.float32), labels=evaluation.targets,
                            classes=np.array(data.classes))


def show_misclassified(writer, evaluation, part, data, step):
    """The most confident mistakes as pictures, with their probabilities."""
    figure = misclassified_figure(part.x, evaluation.prediction, evaluation.targets, data.classes)
    if figure is not None:
        writer.figure("mistakes/most_confident", figure, step)


_OF_CLASSES = ("accuracy", "log_likelihood", "brier", "ece")

TASKS = {
    REGRESSION: Task(
        ("rmse", "log_likelihood", "moment_log_likelihood", "coverage_90"), ["train_noise_precision"],
        regression_draws, evaluate_regression,
        {"rmse": "RMSE", "log_likelihood": "log-likelihood"},
        "rmse and log_likelihood in the data's own units; coverage_90 a share; train_* per example, standardised "
        "targets",
        write_predictions, lambda *_: None),
    CLASSIFICATION: Task(
        _OF_CLASSES + tuple(f"mean_{name}" for name in _OF_CLASSES), [], class_draws, evaluate_classification,
        {"accuracy": "accuracy", "log_likelihood": "log-likelihood"},
        "accuracy, brier, ece (15 bins) as shares; log_likelihood per row, in nats; mean_*: of the mean weights",
        write_probabilities, show_misclassified),
}
