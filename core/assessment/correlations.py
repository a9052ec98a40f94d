"""evaluate.py --correlations: joint scores of batches of rows, and correlations beside those of a reference."""
import pathlib
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Union

import numpy as np

from core.assessment.evaluated import Evaluated, evaluate_run, same_rows
from core.assessment.inputs import TEST, Options, together
from core.assessment.reference_draws import DrawsFile, read_draws
from core.assessment.results import PerTarget, Results
from core.metrics.calibration import with_intervals
from core.metrics.correlations import (
    RowCovariance,
    correlated_batches,
    cross_normalised_log_prob,
    cross_normalised_table,
    gaussian_batch_log_prob,
    meta_correlations,
    mixture_joint_log_prob,
    output_correlations,
    random_batches,
    row_covariance,
    row_pairs,
)
from core.metrics.draws import Draws
from core.training.targets import target_names
from misc.errors import UserError
from misc.seeding import stream

N_BATCHES = 1000    # of rows
MOST_PAIRS = 50_000  # of rows
MAP_ROWS = 60       # that a figure shows
CLOUD_PAIRS = 3000  # that a figure shows


class Cloud(NamedTuple):
    """The data of a figure: correlations of some pairs of rows, [P] each."""

    reference: np.ndarray
    own: np.ndarray
    name: str     # of the reference
    value: float  # the meta-correlation of all pairs


class Subject(NamedTuple):
    """One target of a run, or of an ensemble, to be measured."""

    draws: Draws
    reference: Optional[Draws]
    y: np.ndarray              # standardised targets, [n]
    target_std: float          # of the raw training targets
    more: Dict[str, Any]       # where the numbers go
    panels: Dict[str, Any]     # where the data of the figures go
    name: str                  # of the target; "" of a single one


def read_reference(options: Options, overrides: Dict[str, Any], device: str) -> Union[Evaluated, DrawsFile, None]:
    """Returns the reference of --correlations: another run, evaluated like the runs, or draws from a file."""
    if not isinstance(options.correlations, str):
        return None
    path = pathlib.Path(options.correlations)
    if not path.is_dir():
        return read_draws(path)
    return evaluate_run(path.resolve(), overrides, Options(data=options.data, best=options.best, correlations=True),
                        device, keep=True)


def add_correlations(results: Dict[str, Results], runs: Sequence[Evaluated], options: Options,
                     reference: Union[Evaluated, DrawsFile, None]) -> None:
    """Adds to the Results of runs, and of their ensemble if it is there, what --correlations asks for.

    Args:
      results: by name: those of `runs`, in their order, and then that of the ensemble.
      runs: with their draws.
      reference: of `read_reference`.
    """
    draws = [run.collected[TEST].draws for run in runs if run.collected is not None]
    if len(results) > len(runs):
        draws.append(together(draws))
    owners = [*runs, *runs[:1]]  # an ensemble has the rows of any of its runs
    subjects = [_subjects(of_run, of_draws, owner, _reference_draws(reference, owner, options))
                for of_run, of_draws, owner in zip(results.values(), draws, owners)]
    for targets in subjects:
        for subject in targets:
            _measure(subject, options)
    if reference is None and all(same_rows(runs[0], other) for other in runs[1:]):
        for same_target in zip(*subjects):
            _compare(same_target, options)


def _reference_draws(reference: Union[Evaluated, DrawsFile, None], run: Evaluated,
                     options: Options) -> Optional[Draws]:
    """Returns the draws of the reference for the rows of a run. Raises UserError if they do not fit it."""
    if reference is None:
        return None
    if isinstance(reference, DrawsFile):
        return reference.draws(run.targets, run.data)
    if not same_rows(run, reference):
        raise UserError(f"--correlations {options.correlations}: this run and {run.root} do not have the same training "
                        "and test rows: a reference needs one data set and one split (key split)")
    return reference.collected[TEST].draws


def _subjects(results: Results, draws: Draws, run: Evaluated, reference: Optional[Draws]) -> List[Subject]:
    """Returns the Subjects of all targets of a run."""
    names, data = target_names(run.data), run.data
    if not names:
        return [Subject(draws, reference, run.targets, data.target_std, results.more, results.panels, "")]
    return [Subject(draws.of_target(number), None if reference is None else reference.of_target(number),
                    run.targets[:, number], data.target_std[number], results.more["targets"][name], results.panels,
                    name)
            for number, name in enumerate(names)]


def _measure(subject: Subject, options: Options) -> None:
    """Adds the joint scores of one Subject, its meta-correlations if there is a reference, and the figures' data."""
    size, n_rows, y = options.joint, len(subject.y), np.asarray(subject.y, np.float64)
    if n_rows < size:
        raise UserError(f"--joint {size}: there are only {n_rows} rows to make batches of")
    own, rng = row_covariance(subject.draws), stream(0, "correlations", "batches")
    if subject.reference is None:
        batches, kind = random_batches(n_rows, size, N_BATCHES, rng), "random"
    else:
        reference = row_covariance(subject.reference)
        if not reference.has_correlations:
            raise UserError(f"--correlations {options.correlations}: its predictions do not differ between weight "
                            "draws: give a run with weight noise, or other draws")
        batches, kind = correlated_batches(reference, size, N_BATCHES, rng), "correlated"
    numbers = {"rows_per_batch": size, "batches": len(batches), "batches_of": kind}
    scores = {"joint_log_likelihood": mixture_joint_log_prob(subject.draws, y, batches),
              "marginal_log_likelihood": mixture_joint_log_prob(subject.draws, y, batches.reshape(-1, 1)),
              "moment_joint_log_likelihood": gaussian_batch_log_prob(own, y, batches)}
    if subject.reference is not None:
        scores["xll"] = cross_normalised_log_prob(own, reference, y, batches)
    unit = np.log(subject.target_std)
    numbers.update({name: float(values.mean() - unit) for name, values in scores.items()})
    if subject.reference is not None:
        numbers.update(_beside_reference(subject, own, reference, str(options.correlations)))
    subject.more["correlations"] = numbers
    if own.has_correlations:
        _add_panel(subject, "correlations", _map(own))


def _beside_reference(subject: Subject, own: RowCovariance, reference: RowCovariance, name: str) -> Dict[str, Any]:
    """Returns the meta-correlations, None without weight noise, and adds the data of their figure."""
    n_rows = len(own.mean)
    pairs = row_pairs(n_rows, MOST_PAIRS, stream(0, "correlations", "pairs"))
    found = [output_correlations(one, pairs) for one in (own, reference)]
    numbers = {"reference": name, "pairs": len(pairs)}
    for metric, interval in with_intervals(meta_correlations(*found, pairs), n_rows).items():
        numbers[metric] = None if np.isnan(interval.value) else dict(interval._asdict())
    if numbers["meta_correlation"] is not None:
        some = slice(None, None, -(-len(pairs) // CLOUD_PAIRS))
        _add_panel(subject, "meta_correlation", Cloud(found[1][some], found[0][some], pathlib.Path(name).name,
                                                      numbers["meta_correlation"]["value"]))
    return numbers


def _compare(subjects: Sequence[Subject], options: Options) -> None:
    """Adds the cross-normalised scores of several runs, each of which, an ensemble too, is the reference of all."""
    covariances = [row_covariance(subject.draws) for subject in subjects]
    if len(subjects) < 2 or not any(one.has_correlations for one in covariances):
        return
    scores = cross_normalised_table(covariances, np.asarray(subjects[0].y, np.float64), options.joint, N_BATCHES,
                                    lambda: stream(0, "correlations", "batches"))
    for subject, xll, rank in zip(subjects, scores["xll"], scores["xll_rank"]):
        subject.more["correlations"].update(xll=float(xll - np.log(subject.target_std)), xll_rank=float(rank))


def _map(covariance: RowCovariance) -> np.ndarray:
    """Returns the correlations of the outputs of up to MAP_ROWS rows in the order of their predictions, [r, r]."""
    n_rows = len(covariance.mean)
    order = np.argsort(covariance.mean, kind="stable")
    rows = order[np.linspace(0, n_rows - 1, min(n_rows, MAP_ROWS)).round().astype(int)]
    pairs = np.stack(np.meshgrid(rows, rows, indexing="ij"), axis=-1).reshape(-1, 2)
    return output_correlations(covariance, pairs).reshape(len(rows), len(rows))


def _add_panel(subject: Subject, figure: str, data: Any) -> None:
    """Adds the data of a figure; that of one of several targets under its name."""
    if subject.name:
        subject.panels.setdefault(figure, PerTarget())[subject.name] = data
    else:
        subject.panels[figure] = data
