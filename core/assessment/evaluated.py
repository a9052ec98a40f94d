"""One run, or an ensemble of runs, evaluated."""
import pathlib
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from core.assessment.calibrated import add_calibrated
from core.assessment.inputs import OOD, TEST, Collected, Input, Options, collect, make_inputs, mixture
from core.assessment.restore import data_if_there, own_data, restored
from core.assessment.results import ASSESSMENTS, Results
from core.assessment.weight_noise import layers, precisions
from misc.config import Config
from misc.errors import UserError

ENSEMBLE = "ensemble"
IN_TRAIN = {TEST: "n_in_train", OOD: "n_ood_in_train"}  # keys of metrics.json
ABOUT_ROWS = (*IN_TRAIN.values(), "notices", "drift")
_STANDARDS = ("input_mean", "input_std", "target_mean", "target_std")


class Evaluated(NamedTuple):
    """One run and what its evaluation gave."""

    name: str
    root: pathlib.Path
    config: Config
    data: Any
    step: int                                   # of its checkpoint
    kl_scale: float                             # fraction of the KL weight at that step, in (0, 1]
    particles: int                              # number of weight draws
    targets: np.ndarray                         # targets or labels of the rows it is evaluated on
    collected: Optional[Dict[str, Collected]]   # its draws, if they were kept
    results: Results
    layers: Dict[str, Dict[str, Any]]           # of weight_noise.layers


def evaluate_run(root: pathlib.Path, overrides: Dict[str, Any], options: Options, device: str = "auto",
                 keep: bool = False) -> Evaluated:
    """Evaluates the run in a folder; keeps its draws if `keep`. Raises UserError if the run or the options do not fit.

    overrides: values of config keys that do not touch the training.
    """
    read_data = own_data if options.data is None else data_if_there
    with restored(root, overrides, device, options.best, read_data) as run:
        inputs = make_inputs(run.config, run.data, options)
        collected = collect(run, inputs)
        results, noise = ASSESSMENTS[run.config.kind].results(collected, run.data, options), layers(run)
        _add_about_rows(results, _about_rows(inputs))
        results = add_calibrated(results, collected[TEST], inputs[TEST].make(), run, options)
        if noise:
            results.panels["noise"] = noise
        matrices = precisions(run)
        if matrices:
            results.panels["precision"] = matrices
        return Evaluated(
            name=run.config.name, root=pathlib.Path(root), config=run.config, data=run.data, step=run.step,
            kl_scale=float(run.session.run(run.model.evaluate.kl_scale)),
            particles=run.design.n_test_particles, targets=collected[TEST].rows,
            collected=collected if keep else None, results=results, layers=noise)


def evaluate_ensemble(members: Sequence[Evaluated], options: Options) -> Results:
    """Evaluates the runs, whose draws were kept, as one mixture. Raises UserError unless they share their rows."""
    first = members[0]
    for other in members[1:]:
        if not same_rows(first, other):
            raise UserError(f"--ensemble: {first.root} and {other.root} do not have the same training and test rows: "
                            "an ensemble needs one data set and one split (key split)")
    collected = mixture([member.collected for member in members])
    results = ASSESSMENTS[first.config.kind].results(collected, first.data, options)
    _add_about_rows(results, {key: value for key, value in first.results.more.items() if key in ABOUT_ROWS})
    results.more.pop("monte_carlo")  # the runs' draws are not of one distribution
    return results


def _about_rows(inputs: Dict[str, Input]) -> Dict[str, Any]:
    """Returns what metrics.json says of the rows themselves: under the keys ABOUT_ROWS."""
    about: Dict[str, Any] = {key: inputs[name].n_in_train for name, key in IN_TRAIN.items()
                             if name in inputs and inputs[name].n_in_train is not None}
    notices = [notice for name in IN_TRAIN if name in inputs for notice in inputs[name].notices]
    drift = {name: inputs[name].drift for name in IN_TRAIN if name in inputs and inputs[name].drift}
    return dict(about, **({"notices": notices} if notices else {}), **({"drift": drift} if drift else {}))


def _add_about_rows(results: Results, about: Dict[str, Any]) -> None:
    results.more.update(about)
    if any(share for shares in about.get("drift", {}).values() for share in shares.values()):
        results.panels["drift"] = about["drift"]


def same_rows(first: Evaluated, other: Evaluated) -> bool:
    """Tells whether two runs were evaluated on the same rows, in the same standardisation."""
    if _identity(first) != _identity(other):
        return False
    arrays = [(run.targets, *(getattr(run.data, name, 0.0) for name in _STANDARDS)) for run in (first, other)]
    return all(np.array_equal(*pair) for pair in zip(*arrays))


def _identity(run: Evaluated) -> tuple:
    config = run.config
    fold = (config.validation_fraction, config.validation_fold) if config.evaluate_on == "validation" else None
    return run.data.rows_hash, run.data.split_hash, config.evaluate_on, fold


def distinct_names(runs: List[Evaluated]) -> Dict[str, Evaluated]:
    """Returns the runs by their names; those of equal names, or called like the ensemble, by their folders."""
    names = [run.name for run in runs]
    return {str(run.root) if names.count(run.name) > 1 or run.name == ENSEMBLE else run.name: run for run in runs}
