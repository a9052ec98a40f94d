"""What a run is evaluated on, and draws from its predictive distribution there.

Inputs have names: "test", "ood" (out-of-distribution), "band" (a line of inputs), "KIND STRENGTH" of a corruption, or
"without COLUMN N", the test rows with one column permuted.
"""
import functools
from typing import Any, Callable, Dict, Iterable, Iterator, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import tqdm

from core.assessment.importance import mean_log_prob, names_of_inputs, permuted
from core.assessment.restore import Restored
from core.metrics.draws import Draws
from core.metrics.gaussian_outputs import ProbitDraws, logits_of
from core.metrics.predictive import Values, predict_classes, shared
from core.training.evaluation import evaluated_part, n_batches
from core.training.tasks import TASKS
from data_loader.classification import n_equal_images
from data_loader.corruptions import CORRUPTIONS, STRENGTHS, corrupt
from data_loader.drift import shares_outside
from data_loader.parts import ROW, Part
from misc.config import REGRESSION, Config
from misc.errors import UserError

TEST, OOD, BAND = "test", "ood", "band"


class Options(NamedTuple):
    """What runs are evaluated on beside their test rows: the flags of evaluate.py."""

    data: Optional[str] = None  # other rows instead of the test rows: a data set, a file or a folder
    ood: Optional[str] = None   # out-of-distribution images, or rows of another table
    corrupt: bool = False       # also corrupted images
    rows: Optional[int] = None  # only the first rows of these
    best: bool = False          # the checkpoint of the best validation log-likelihood, not the newest
    importance: bool = False    # also the importance of the columns of a table
    calibrated: bool = False    # also calibrated predictions, in the files
    level: Optional[float] = None  # probability of calibrated intervals or sets; None: that of the calibration, or 0.9
    sets: str = "lac"           # how a calibration makes sets of classes: a row of SETS
    correlations: Union[bool, str, None] = None  # also correlations between rows; a text: beside that reference
    joint: int = 5              # rows per batch of these


def all_draws(draws: Any, part: Part) -> Any:
    """Returns the draws, with an output for every draw of the noise."""
    if not isinstance(draws, Draws):
        return draws
    return draws._replace(outputs=np.broadcast_to(draws.outputs, (len(draws.precisions), *draws.outputs.shape[1:])))


def mean_classes(draws: Any, part: Part) -> np.ndarray:
    """Returns the logs of the mean probabilities, as the logits of a single draw, [1, n, C]."""
    return predict_classes(logits_of(draws)).log_probabilities[None]


class Input(NamedTuple):
    """Rows that are loaded or computed lazily, so that memory holds one corrupted or permuted set at a time."""

    n_rows: int
    make: Callable[[], Part]
    n_in_train: Optional[int] = None  # how many of these rows the run was trained on; None: not looked for
    notices: Tuple[str, ...] = ()     # of other rows: sentences about what was assumed
    keep: Callable[[Any, Part], Any] = all_draws  # what is kept of the draws
    drift: Optional[Dict[str, float]] = None  # of the columns of a table: shares of rows outside the training rows


class Collected(NamedTuple):
    """Draws from the predictive distribution of a run."""

    rows: Optional[np.ndarray]       # targets [n] or [n, m], or labels [n]; inputs of a band [n, 1]; None of OOD rows
    draws: Union[Draws, ProbitDraws, np.ndarray]  # of classes logits, [K, n, C]; of permuted rows log p(y | x), [K, n]
    ids: Optional[np.ndarray] = None  # what predictions call the rows, [n]; None: they are numbered from 1
    id_name: str = ROW                # what predictions call the column of the ids


def make_inputs(config: Config, data: Any, options: Options) -> Dict[str, Input]:
    """Returns all inputs of a run, the test rows first. Raises UserError for options that do not fit the run."""
    task = TASKS[config.kind]
    if not task.has_images and options.corrupt:
        raise UserError(f"--corrupt is for images, {config.dataset} is a table")
    if task.has_images and options.importance:
        raise UserError(f"--importance is for the columns of tables, {config.dataset} has images")
    if options.correlations and config.mode != REGRESSION:
        raise UserError(f"--correlations is for regressions, {config.dataset} has classes")
    if options.correlations and config.predictive == "linearised":
        raise UserError("--correlations needs weight draws, and the linearised network is predicted without: give "
                        "--predictive sampled")
    parts = {TEST: task.load_other(options.data, config, data) if options.data else _own_rows(data)}
    n_test = len(parts[TEST].x)
    if options.ood:
        parts[OOD] = task.load_ood(options.ood, config, data, n_test)
    if data.spec.shape == (1,) and config.mode == REGRESSION and data.train is not None:
        parts[BAND] = Part(band_inputs(data), None)
    inputs = {name: Input(len(part.x), functools.partial(Part, *part),
                          rows_in_train(part, data, task.has_images), part.notices,
                          drift=None if task.has_images or name == BAND else shares_outside(data, part.x))
              for name, part in parts.items()}
    if options.corrupt:
        few = Part(parts[TEST].x[:options.rows], parts[TEST].y[:options.rows])
        inputs.update({f"{name} {strength}": Input(len(few.x), functools.partial(_corrupted, few, name, strength),
                                                   keep=mean_classes)
                       for name in CORRUPTIONS for strength in STRENGTHS})
    if options.importance and n_test < 2:
        raise UserError("--importance needs two rows or more, to exchange values among them")
    if options.importance:
        inputs.update({name: Input(n_test, functools.partial(permuted, parts[TEST], data, column, repeat),
                                   keep=mean_log_prob) for name, column, repeat in names_of_inputs(data)})
    return inputs


def rows_in_train(part: Part, data: Any, has_images: bool) -> Optional[int]:
    """Returns how many of the rows the run was trained on; None if that cannot be known."""
    if not has_images:
        return part.n_in_train
    return None if data.train is None else n_equal_images(part.x, data.train.x)


def _corrupted(part: Part, name: str, strength: int) -> Part:
    return part._replace(x=corrupt(part.x, name, strength))


def _own_rows(data: Any) -> Part:
    if evaluated_part(data) is None:
        raise UserError("all rows were trained on (protocol all) and none is left to evaluate on: give others with "
                        "--data")
    n_in_train = data.n_valid_in_train if data.test is None else data.n_test_in_train
    return evaluated_part(data)._replace(n_in_train=n_in_train)


def band_inputs(data: Any, n: int = 241, margin: float = 0.5) -> np.ndarray:
    """Returns inputs [n, 1], standardised, over the range of the training rows and `margin` times it on both sides."""
    low, high = data.train.x.min(), data.train.x.max()
    more = margin * (high - low)
    return np.linspace(low - more, high + more, n)[:, None]


def collect(run: Restored, inputs: Dict[str, Input], bar: bool = True) -> Dict[str, Collected]:
    """Returns what is kept of the draws of a run for all its inputs.

    inputs: of `make_inputs`. bar: show a progress bar, on a terminal.
    """
    design = run.design
    total = sum(n_batches(run.model, rows.n_rows) for rows in inputs.values())
    collected = {}
    with tqdm.tqdm(total=total, unit="batch", dynamic_ncols=True, leave=False, disable=None if bar else True,
                   desc=run.config.name) as display:
        noise = run.noise()
        for name, rows in inputs.items():
            part = rows.make()
            draws = design.task.draws(run.session, run.model, part.x, run.data, noise,
                                      functools.partial(_counted, display))
            collected[name] = Collected(part.x if name == BAND else part.y, rows.keep(draws, part), part.ids,
                                        part.id_name)
    return collected


def _counted(display: tqdm.tqdm, batches: Iterable) -> Iterator:
    for batch in batches:
        yield batch
        display.update()


def mixture(collected: Sequence[Dict[str, Collected]]) -> Dict[str, Collected]:
    """Returns the draws of several runs for the same inputs, put together: an ensemble with equal weights.

    The degrees of freedom of the noise become an array with those of each draw, [K], unless the runs share them.
    Raises UserError if the runs have different numbers of draws (a single draw, without weight noise, is repeated).
    """
    return {name: first._replace(draws=together([run[name].draws for run in collected]))
            for name, first in collected[0].items()}


def _roots_together(draws: Sequence[Draws]) -> Optional[np.ndarray]:
    """Returns the roots of all draws if some have any, [K, m, m]; otherwise None."""
    if all(each.roots is None for each in draws):
        return None
    for each in draws:
        if each.roots is None and (each.precisions.ndim != 2 or np.ndim(each.dof) or np.isfinite(each.dof)):
            raise UserError("--ensemble: a run with noise_covariance full can be mixed with likelihood gaussian only")
    return together([np.sqrt(each.precisions)[:, :, None] * np.eye(each.n_targets) if each.roots is None
                      else each.roots for each in draws])


def _within_together(draws: Sequence[Draws]) -> Values:
    """Returns the part of 1 / precisions that comes from the weights, [K, n], or 0 if none does in any run."""
    if not any(np.any(each.within) for each in draws):
        return 0.0
    return together([np.broadcast_to(each.within, each.precisions_per_row().shape) for each in draws])


def together(draws: Sequence[Any]) -> Any:
    """Returns the draws of several runs as one; see `mixture`."""
    if isinstance(draws[0], Draws):
        dofs = [np.broadcast_to(each.dof, (len(each.precisions), *each.outputs.shape[2:])) for each in draws]
        precisions = [each.precisions for each in draws]
        if len({values.ndim for values in precisions}) > 1:  # only some of the runs have one per row
            precisions = [each.precisions_per_row() for each in draws]
        return Draws(together([each.outputs for each in draws]), together(precisions), shared(together(dofs)),
                     _roots_together(draws), _within_together(draws))
    if any(isinstance(each, ProbitDraws) for each in draws):
        pairs = [each if isinstance(each, ProbitDraws) else ProbitDraws(each, each) for each in draws]
        return ProbitDraws(*(together(arrays) for arrays in zip(*pairs)))
    n_draws = {len(each) for each in draws} - {1}
    if len(n_draws) > 1:
        raise UserError(f"--ensemble: the runs have {' and '.join(map(str, sorted(n_draws)))} draws, which would "
                        "weight them unequally: give all the same number with --particles")
    length = max(n_draws, default=1)
    return np.concatenate([np.broadcast_to(each, (length, *each.shape[1:])) for each in draws])
