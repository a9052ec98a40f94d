"""Predictions of a model in a session, and their metrics: the functions that a Task refers to."""
from typing import Any, Dict, NamedTuple, Optional, Union

import numpy as np
import tensorflow.compat.v1 as tf

from core.metrics.draws import Draws
from core.metrics.gaussian_outputs import ProbitDraws, logits_of
from core.metrics.joint import JointPrediction, joint_statistics, predict_jointly
from core.metrics.predictive import (
    ClassPrediction,
    Prediction,
    WeightedMetric,
    classification_statistics,
    predict,
    predict_classes,
    regression_statistics,
    values_of,
)
from core.training.linearised import linearised_classes, linearised_draws, rows_at_once
from core.training.noise import Noise
from core.training.outputs import WrapBatches, network_outputs
from core.training.row_columns import evaluated_class_columns, with_ids
from core.training.targets import prediction_columns, target_names
from misc.image_figures import misclassified_figure
from misc.records import write_columns


class Evaluation(NamedTuple):
    """Predictions for the rows of one Part, and how good they are."""

    prediction: Union[Prediction, JointPrediction, ClassPrediction]  # of a regression; of several targets; of classes
    metrics: Dict[str, float]
    targets: np.ndarray  # [n] or [n, m], in the data's own units, or labels
    draws: Any = None    # Draws, or logits [K, n, C] or ProbitDraws, of which the prediction is made


def regression_draws(session: tf.Session, model: Any, x: np.ndarray, data: Any, noise: Noise,
                     wrap: WrapBatches = iter) -> Draws:
    """Returns the predictive distribution of the inputs [n, d] as Draws, which are functions of (seed, step).

    noise: of `regression_noise`.
    """
    if model.evaluate.linearised is not None:
        return linearised_draws(session, model, x, rows_of(data), noise, wrap)
    outputs = network_outputs(session, model, x, rows_of(data), wrap=wrap)
    return model.design.likelihood.draws(outputs, noise.precisions, noise.dof)


def class_draws(session: tf.Session, model: Any, x: np.ndarray, data: Any, noise: None = None,
                wrap: WrapBatches = iter, n_draws: Optional[int] = None) -> Union[np.ndarray, ProbitDraws]:
    """Returns the logits of p(class | x, w) for weight draws at the present step, [K, n, C], or ProbitDraws.

    n_draws: as in `network_outputs`.
    """
    if model.evaluate.linearised is not None:
        return linearised_classes(session, model, x, rows_of(data), wrap)
    return network_outputs(session, model, x, rows_of(data), wrap=wrap, n_draws=n_draws)


def n_batches(model: Any, n_rows: int) -> int:
    """Returns in how many batches `regression_draws` and `class_draws` compute so many rows."""
    design = model.design
    if model.evaluate.linearised is not None:
        return -(-n_rows // rows_at_once(design))
    n_groups = design.n_test_particles // design.particles_at_once
    return n_groups * -(-n_rows // design.config.test_batch_size)


def rows_of(data: Any) -> Optional[np.ndarray]:
    """Returns the training inputs; None if they are not at hand, which only batch normalisations need."""
    return None if data.train is None else data.train.x


def evaluate_regression(session: tf.Session, model: Any, part: Any, data: Any, noise: Noise,
                        wrap: WrapBatches = iter, n_draws: Optional[int] = None) -> Evaluation:
    """Evaluates one Part at the present step; noise: of `regression_noise`.

    n_draws: not used: all evaluations of a regression have all draws.
    """
    draws = regression_draws(session, model, part.x, data, noise, wrap)
    targets = data.target_mean + data.target_std * part.y
    prediction = (predict_jointly(draws, part.y, data.target_mean, data.target_std) if draws.n_targets > 1 else
                  predict(draws.outputs, draws.precisions, part.y, data.target_mean, data.target_std, draws.dof,
                          draws.within))
    statistics = statistics_of_targets(prediction, targets, data)
    return Evaluation(prediction, values_of(statistics, len(targets)), targets, draws)


def statistics_of_targets(prediction: Union[Prediction, JointPrediction], targets: np.ndarray,
                          data: Any) -> Dict[str, WeightedMetric]:
    """Returns the metrics of a regression of one target, or of several, as functions of row weights."""
    if isinstance(prediction, JointPrediction):
        return joint_statistics(prediction, targets, data.target_std, target_names(data))
    return regression_statistics(prediction, targets)


def statistics_of_classes(prediction: ClassPrediction, labels: np.ndarray, data: Any) -> Dict[str, WeightedMetric]:
    """Returns the metrics of a classification as functions of row weights."""
    return classification_statistics(prediction, labels)


def evaluate_classification(session: tf.Session, model: Any, part: Any, data: Any, noise: None = None,
                            wrap: WrapBatches = iter, n_draws: Optional[int] = None) -> Evaluation:
    """Evaluates one Part at the present step: probabilities averaged over the draws, and those of the mean weights.

    n_draws: as in `network_outputs`.
    """
    draws = class_draws(session, model, part.x, data, wrap=wrap, n_draws=n_draws)
    prediction = predict_classes(logits_of(draws))
    metrics = values_of(classification_statistics(prediction, part.y), len(part.y))
    of_mean = predict_classes(network_outputs(session, model, part.x, data.train.x, mean=True, wrap=wrap,
                                              n_draws=n_draws))
    metrics.update({f"mean_{name}": value for name, value in values_of(
        classification_statistics(of_mean, part.y), len(part.y)).items()})
    return Evaluation(prediction, metrics, part.y, draws)


def write_predictions(folder: Any, evaluation: Evaluation, data: Any) -> None:
    """Writes predictions.csv, a line per test row in the data's own units.

    Behind the column that identifies the row stand those of `prediction_columns`, with every digit, since mixtures are
    made from them.
    """
    columns = prediction_columns(evaluation.prediction, evaluation.targets, evaluation.draws, data)
    write_columns(folder.predictions, with_ids(evaluated_part(data), columns))


def write_probabilities(folder: Any, evaluation: Evaluation, data: Any) -> None:
    """Writes predictions.npz: probabilities [n, C] and their logs, labels [n], class names; in the test set's order."""
    arrays = {name: values.astype(np.float32) for name, values in evaluation.prediction._asdict().items()}
    with open(str(folder.probabilities), "wb") as handle:
        np.savez_compressed(handle, labels=evaluation.targets, classes=np.array(data.classes), **arrays)


def write_class_predictions(folder: Any, evaluation: Evaluation, data: Any) -> None:
    """Writes predictions.npz, as `write_probabilities`, and predictions.csv, a line per test row or image.

    Columns: what identifies the row, its class, the predicted class, its probability, entropy and mutual information
    (nats), and the probability of every class, unless there are very many.
    """
    write_probabilities(folder, evaluation, data)
    columns = evaluated_class_columns(evaluation.draws, evaluation.targets, data.classes)
    write_columns(folder.predictions, with_ids(evaluated_part(data), columns))


def evaluated_part(data: Any) -> Any:
    """Returns the Part that a run is evaluated on: the test rows, or else the validation rows."""
    return data.valid if data.test is None else data.test


def write_no_images(writer: Any, evaluation: Evaluation, part: Any, data: Any, step: int) -> None:
    """Writes nothing: there are no images in a regression."""


def write_misclassified(writer: Any, evaluation: Evaluation, part: Any, data: Any, step: int) -> None:
    """Writes the most confident misclassified images and their probabilities to TensorBoard."""
    figure = misclassified_figure(part.x, evaluation.prediction.probabilities, evaluation.targets, data.classes)
    if figure is not None:
        writer.figure("misclassified/most_confident", figure, step)
