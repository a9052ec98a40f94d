"""KINDS: what repeated runs are summarised by, a row per mode."""
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

from core.inference.likelihoods import LIKELIHOODS
from core.training.tasks import TASKS
from misc.config import CLASSIFICATION, REGRESSION

Settings = Dict[str, Any]  # {key of the config: its value}


class Kind(NamedTuple):
    """What depends on the mode in tables of repeated runs."""

    compared: Tuple[str, ...]  # metrics that all runs have, and of which differences are tested
    further: Tuple[str, ...]   # metrics that runs of earlier versions lack; they have no better and worse
    units: str                 # a sentence about the metrics
    headline: Dict[str, str]   # the two metrics whose curves are drawn: {name: label}
    headline_units: str        # a sentence about these two alone
    others: Dict[str, str]     # further columns of runs.csv: {column: its name among the metrics of a run}
    objectives: Dict[str, Tuple[str, str]]  # of searches: {metric: (its name in result.json, direction)}
    about_noise: Optional[Callable[[Settings], str]]  # words for the noise of a run; None: there is none

    @property
    def metrics(self) -> Tuple[str, ...]:
        """All metrics that are averaged."""
        return (*self.compared, *self.further)


def noise_of_regression(settings: Settings) -> str:
    """Returns the noise's shape and how its level is learned."""
    kind = LIKELIHOODS[settings.get("likelihood", "gaussian")]
    words = kind.noise_name(settings)
    if kind.has_precision:
        words += f", noise_update {settings.get('noise_update', 'adam')}"
    if settings.get("predictive_noise", "trained") != "trained":
        words += f", predictive_noise {settings['predictive_noise']}"
    return words


KINDS = {
    REGRESSION: Kind(
        compared=("rmse", "log_likelihood", "moment_log_likelihood"), further=("coverage_90",),
        units="the data's own units; log-likelihood per row, in nats; coverage as a fraction",
        headline=TASKS[REGRESSION].headline,
        headline_units="RMSE in the data's own units; log-likelihood per row, in nats",
        others={"noise_precision": "train_noise_precision"},
        objectives={"log_likelihood": ("valid_log_likelihood", "maximize"), "rmse": ("valid_rmse", "minimize")},
        about_noise=noise_of_regression),
    CLASSIFICATION: Kind(
        compared=("accuracy", "log_likelihood", "brier", "ece"), further=(),
        units="accuracy, Brier score and calibration error as fractions; log-likelihood per row, in nats",
        headline=TASKS[CLASSIFICATION].headline,
        headline_units="accuracy as a fraction; log-likelihood per row, in nats", others={},
        objectives={"log_likelihood": ("valid_log_likelihood", "maximize"),
                    "accuracy": ("valid_accuracy", "maximize")},
        about_noise=None),
}


def kind_of(summary: Dict[str, Any]) -> Kind:
    """Returns the Kind of a summary, or of a row of runs.csv; those of earlier versions name no mode."""
    return KINDS[summary.get("mode") or REGRESSION]
