"""TASKS: everything in a run that depends on the mode, one row each for regression and classification.

A third row, for classes of the rows of a table, differs from that for images in the data alone.

The network, the posterior, the curvature, the graph and the trainer are the same for both. Tables in other layers have
a row per mode, too: MODE_DEFAULTS, defaults of keys (misc/config.py), ONEDNN, kernels (misc/backend.py), KINDS and
MIXINGS, tables and ensembles of repeated runs (core/baseline), and ASSESSMENTS and SUMMARIES, what evaluate.py and
predict.py compute and write (core/assessment).
"""
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

from core.inference.optimizer import averaged_steps, clipped_steps
from core.inference.step_sizes import StepSizes, classification_step_sizes, regression_step_sizes
from core.metrics.predictive import WeightedMetric
from core.training import evaluation, noise, schedule, targets, wording
from core.training.evaluation import Evaluation
from data_loader.classification import load_classification
from data_loader.ood import labelled_images, ood_part, ood_rows, other_class_table, other_table
from data_loader.parts import Part
from data_loader.regression import load_regression
from data_loader.table_classes import load_class_table
from misc.config import CLASSIFICATION, REGRESSION, TABLE_CLASSIFICATION, Config

METRIC_PREFIX = {"test": "test_", "validation": "valid_"}  # config's `evaluate_on` -> how names of metrics begin


class Task(NamedTuple):
    """Everything that depends on the mode."""

    # Data and likelihood
    load: Callable[..., Any]  # (config[, a table in memory]): reads, checks, splits and standardises the data set
    load_other: Callable[[str, Config, Any], Part]  # other rows, by name or path, as the run's own test rows
    load_ood: Callable[[str, Config, Any, int], Part]  # out-of-distribution rows, by name or path, or so many of noise
    has_images: bool                         # whether inputs are images, which can be corrupted
    likelihood: Callable[[Config, int], str]  # name of the likelihood of so many targets in LIKELIHOODS

    # Steps
    step_rule: Callable[..., List[Dict]]     # preconditions, clips and applies the steps of all layers
    step_sizes: Callable[..., StepSizes]     # step sizes and decays as functions of the step
    step_key: str                            # the config key that sets the step size of the mean
    periods: Callable[[Config, Sequence[str]], Dict[str, int]]           # steps between the updates of a method
    early_steps: Callable[[Config, Dict[str, int]], List[int]]           # further steps at which all are due

    # Evaluation
    metrics: Callable[[Any], Tuple[str, ...]]  # names for the data, in the order of metrics.csv
    extra_columns: Tuple[str, ...]           # further columns of metrics.csv
    headline: Dict[str, str]                 # the two metrics that people watch: {name: label}
    units: Callable[[Any], str]              # a sentence for result.json
    noise: Callable[..., Any]                # the noise of predictions at the present step
    restored_noise: Callable[..., Any]       # the same without training rows, from a row of metrics.csv
    noise_columns: Callable[[Config, int], Tuple[str, ...]]  # what it reports, as further columns of metrics.csv
    draws: Callable[..., Any]                # draws from the predictive distribution of inputs
    evaluate: Callable[..., Evaluation]      # predictions and metrics of a Part
    statistics: Callable[..., Dict[str, WeightedMetric]]  # metrics of row weights: (prediction, targets, data)
    write_predictions: Callable[[Any, Evaluation, Any], None]            # the file of predictions in the run's folder
    write_images: Callable[[Any, Evaluation, Any, Any, int], None]       # images for TensorBoard

    # Words of --explain
    about_data: Callable[[Any], str]
    about_noise: Callable[[Config, Any], str]  # of the config and the likelihood
    about_step: Callable[[Config], str]


_CLASS_METRICS = ("accuracy", "log_likelihood", "brier", "ece")

TASKS = {
    REGRESSION: Task(
        load=load_regression,
        load_other=other_table,
        load_ood=ood_rows,
        has_images=False,
        likelihood=targets.regression_likelihood,
        step_rule=averaged_steps,
        step_sizes=regression_step_sizes,
        step_key="alpha",
        periods=schedule.regression_periods,
        early_steps=schedule.no_early_steps,
        metrics=targets.regression_metrics,
        extra_columns=("train_noise_precision",),
        headline={"rmse": "RMSE", "log_likelihood": "log-likelihood"},
        units=targets.regression_units,
        noise=noise.regression_noise,
        restored_noise=noise.restored_noise,
        noise_columns=noise.noise_columns,
        draws=evaluation.regression_draws,
        evaluate=evaluation.evaluate_regression,
        statistics=evaluation.statistics_of_targets,
        write_predictions=evaluation.write_predictions,
        write_images=evaluation.write_no_images,
        about_data=wording.about_table,
        about_noise=wording.about_noise,
        about_step=wording.about_averaged_step,
    ),
    CLASSIFICATION: Task(
        load=load_classification,
        load_other=labelled_images,
        load_ood=ood_part,
        has_images=True,
        likelihood=lambda config, n_targets: "categorical",
        step_rule=clipped_steps,
        step_sizes=classification_step_sizes,
        step_key="learning_rate",
        periods=schedule.classification_periods,
        early_steps=schedule.early_classification_steps,
        metrics=lambda data: (*_CLASS_METRICS, *(f"mean_{name}" for name in _CLASS_METRICS)),
        extra_columns=(),
        headline={"accuracy": "accuracy", "log_likelihood": "log-likelihood"},
        units=lambda data: "accuracy, brier, ece (15 bins) as fractions; log_likelihood per row, in nats; mean_*: of "
                           "the mean weights",
        noise=noise.no_noise,
        restored_noise=noise.no_noise,
        noise_columns=lambda config, n_targets: (),
        draws=evaluation.class_draws,
        evaluate=evaluation.evaluate_classification,
        statistics=evaluation.statistics_of_classes,
        write_predictions=evaluation.write_class_predictions,
        write_images=evaluation.write_misclassified,
        about_data=wording.about_images,
        about_noise=wording.about_no_noise,
        about_step=wording.about_clipped_step,
    ),
}
TASKS[TABLE_CLASSIFICATION] = TASKS[CLASSIFICATION]._replace(
    load=load_class_table,
    load_other=other_class_table,
    load_ood=ood_rows,
    has_images=False,
    write_images=evaluation.write_no_images,
    about_data=wording.about_class_table,
)
