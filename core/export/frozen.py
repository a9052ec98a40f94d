"""A trained posterior as arrays: K draws of weights and noise, the network's operations, and how inputs are made."""
from typing import Any, Container, Dict, Iterable, List, NamedTuple, Optional, Tuple

import numpy as np

from core.assessment.restore import Restored
from core.training.evaluation import rows_of
from core.training.outputs import frozen_weights
from core.training.targets import target_names
from data_loader.table_transform import NUMBER
from misc.errors import UserError
from networks.normalisation import NORM_EPSILON
from networks.recording import Operation, operations

Arrays = Dict[str, np.ndarray]


class Inputs(NamedTuple):
    """How numbers become what the network sees: (number - mean) / std, and 0 where an input is constant.

    Of a table, all are [d], in the order of the network's inputs. Of images, they are [channels].
    """

    mean: np.ndarray
    std: np.ndarray
    constant: np.ndarray  # bool: constant over the training rows
    fill: np.ndarray      # what replaces a missing number; NaN: it is refused


class Noise(NamedTuple):
    """The noise of m standardised targets, for each of the K draws."""

    precisions: np.ndarray         # [K, m]; the factor of those that the network puts out, if it does
    dof: np.ndarray                # [m]; degrees of freedom of Student's t, infinite: Gaussian
    roots: Optional[np.ndarray]    # [K, m, m]: R with R R^T = the precision matrix; None: independent noise
    bound: Optional[float]         # b, if the second half of the outputs are r of log variances b tanh(r / b)
    location: np.ndarray           # [m], mean of the targets
    scale: np.ndarray              # [m], standard deviation of the targets


class Frozen(NamedTuple):
    """A run's predictions, as functions of inputs."""

    operations: List[Operation]                # their settings say all that is needed beside arrays
    weights: Arrays                            # {layer: [K, d_in + 1, d_out]}; K is 1 without weight noise
    moments: Dict[str, Tuple[np.ndarray, np.ndarray]]  # {batch normalisation: (mean, variance)}, [K, d_out] each
    means: Arrays                              # {layer: mean of the posterior, [d_in + 1, d_out]}
    inputs: Inputs
    noise: Optional[Noise]                     # None for classes
    classes: List[str]                         # empty for a regression
    targets: List[str]                         # names of several targets; empty for a single one, and for classes

    @property
    def n_draws(self) -> int:
        """Number of draws of the weights, K."""
        return len(next(iter(self.weights.values())))


def freeze(run: Restored) -> Frozen:
    """Returns the draws with which evaluate.py and predict.py predict."""
    design, data, rows = run.design, run.data, rows_of(run.data)
    names = [layer.spec.name for layer in design.layers]
    drawn = frozen_weights(run.session, run.model, rows)
    mean = frozen_weights(run.session, run.model, rows, mean=True)
    recorded = operations(design.network, design.spec.shape, design.likelihood.n_outputs)
    classes = [str(name) for name in getattr(data, "classes", None) or ()]
    moments = {name: tuple(each.reshape(len(each), -1) for each in pair) for name, pair in drawn.moments.items()}
    return Frozen([with_settings(operation, run.config.activation) for operation in recorded],
                  dict(zip(names, drawn.weights)), moments,
                  {name: value[0] for name, value in zip(names, mean.weights)}, _inputs(data),
                  None if classes else _noise(run), classes, [] if classes else list(target_names(data)))


def with_settings(operation: Operation, activation: str) -> Operation:
    """Returns the operation with the settings that the network leaves to its layers."""
    common = {"activate": {"activation": activation}, "batch_norm": {"epsilon": NORM_EPSILON}}
    settings = dict(operation.settings, **common.get(operation.kind, {}))
    if operation.spec is not None and operation.spec.geometry is not None:
        settings.update(operation.spec.geometry._asdict())
    return operation._replace(settings=settings)


def check_kinds(recorded: Iterable[Operation], known: Container[str], reader: str) -> None:
    """Raises UserError for an operation that is not known to the reader of an export."""
    for operation in recorded:
        if operation.kind not in known:
            raise UserError(f"the network's layer {operation.kind} cannot be exported: {reader} has none of that kind, "
                            "but a SavedModel could hold it (--saved-model)")


def _inputs(data: Any) -> Inputs:
    if data.spec.pixels is not None:
        mean, std = data.spec.pixels
        return Inputs(mean, std, np.zeros(len(mean), bool), np.full(len(mean), np.nan))
    fills = [fill for column in data.transform.columns for fill in _fills(column)]
    return Inputs(data.input_mean, data.input_std, data.constant, np.array(fills, float))


def _fills(column: Any) -> List[float]:
    """Returns what replaces a missing value of each input of a column, where that needs no other input."""
    fills = [np.nan] * len(column.inputs)
    if column.kind == NUMBER and not column.has_indicator and column.fill is not None:
        fills[0] = column.fill
    return fills


def _noise(run: Restored) -> Noise:
    """Returns the noise, as the likelihood makes it of outputs that are all 0."""
    likelihood, noise, data = run.design.likelihood, run.noise(), run.data
    n_targets = data.spec.n_outputs
    draws = likelihood.draws(np.zeros((1, 1, likelihood.n_outputs)), noise.precisions, noise.dof)
    return Noise(draws.precisions.reshape(-1, n_targets), np.broadcast_to(np.reshape(noise.dof, -1), n_targets),
                 draws.roots, likelihood.log_variance_bound, *(
                     np.reshape(value, -1).astype(float) for value in (data.target_mean, data.target_std)))
