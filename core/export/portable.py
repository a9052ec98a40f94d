"""The .npz file that portable/predictor.py reads: arrays, and a JSON text that says how to use them."""
import json
import pathlib
import sys
from typing import Any, Dict, Optional

import numpy as np

from core.assessment import calibration_file
from core.assessment.calibration_file import check_fits, read_calibration
from core.assessment.restore import Restored
from core.export.frozen import Arrays, Frozen, check_kinds
from core.export.writing import replaced
from data_loader import stored
from misc.errors import UserError
from networks.recording import Operation

VERSION = 1  # of the format
KINDS = ("dense", "conv2d", "batch_norm", "activate", "flatten", "max_pool", "average_pool", "global_pool", "add")


def write_portable(frozen: Frozen, run: Restored, path: pathlib.Path, factors: bool = False) -> None:
    """Writes the draws, and all that predictions with them need.

    Args:
      factors: whether to write the posterior's own parameters, too.

    Raises UserError if the network has a layer that the predictor does not know, or the file cannot be written.
    """
    check_kinds(frozen.operations, KINDS, "portable/predictor.py")
    arrays = _arrays(frozen)
    if factors:
        arrays.update(_factors(run))
    with replaced(path) as part, open(str(part), "wb") as handle:
        np.savez_compressed(handle, description=np.array(json.dumps(_description(frozen, run))), **arrays)


def _description(frozen: Frozen, run: Restored) -> Dict[str, Any]:
    transform = getattr(run.data, "transform", None)
    columns = [] if transform is None else transform.columns
    return {
        "version": VERSION, "run": run.config.name, "seed": run.config.seed, "step": run.step,
        "n_draws": frozen.n_draws, "precision": run.config.precision, "shape": list(run.design.spec.shape),
        "columns": [column.name or f"column {column.number}" for column in columns],
        "encoding": [dict(column._asdict()) for column in columns],
        "missing": None if transform is None else transform.missing,
        "inputs": [] if transform is None else transform.names,
        "classes": frozen.classes, "targets": frozen.targets,
        "log_variance_bound": frozen.noise and frozen.noise.bound,
        "operations": [described(operation, frozen) for operation in frozen.operations],
        "data": stored.describe(run.data), "calibration": _calibration(run)}


def _calibration(run: Restored) -> Optional[Dict[str, Any]]:
    """Returns what calibration.json says; None without one, or with a note if it does not fit these draws."""
    try:
        calibration = read_calibration(run.folder)
        if calibration is not None:
            check_fits(calibration, run)
        return calibration and calibration_file.described(calibration)
    except UserError as error:
        print(f"note: the calibration is not exported: {error}", file=sys.stderr)
        return None


def described(operation: Operation, frozen: Frozen) -> Dict[str, Any]:
    """Returns what the predictor runs: a function of it, the numbers of its inputs, settings, and names of arrays."""
    layer, settings = operation.spec and operation.spec.name, dict(operation.settings)
    names = [] if layer is None else ["weights"] + ["norm_mean", "norm_variance"] * (layer in frozen.moments)
    return {"kind": settings.pop("activation", operation.kind), "inputs": operation.inputs, "settings": settings,
            "arrays": {name: f"{name}/{layer}" for name in names}}


def _arrays(frozen: Frozen) -> Arrays:
    arrays = {f"weights/{name}": value for name, value in frozen.weights.items()}
    for name, (mean, variance) in frozen.moments.items():
        arrays.update({f"norm_mean/{name}": mean, f"norm_variance/{name}": variance})
    arrays.update({f"posterior_mean/{name}": value for name, value in frozen.means.items()})
    arrays.update({f"input_{name}": value for name, value in frozen.inputs._asdict().items()})
    if frozen.noise is not None:
        noise = frozen.noise
        arrays.update(precisions=noise.precisions, dof=noise.dof, target_mean=noise.location, target_std=noise.scale)
        if noise.roots is not None:
            arrays["precision_roots"] = noise.roots
    return arrays


def _factors(run: Restored) -> Arrays:
    """Returns the parameters of each layer's posterior, as core/inference/posteriors.py names them."""
    posteriors = run.session.run(run.model.evaluate.posteriors)
    return {f"posterior/{layer}/{name}": np.asarray(value) for layer, posterior in posteriors.items()
            for name, value in posterior._asdict().items()}
