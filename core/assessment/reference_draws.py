"""Draws from the predictive distribution of another program, such as an HMC sampler, for the rows of a run."""
import pathlib
import zipfile
import zlib
from typing import Any, NamedTuple

import numpy as np

from core.metrics.draws import Draws
from misc.errors import UserError

CONTENTS = "outputs [draws, rows], noise_std [draws] or [draws, rows], and targets [rows]"
_SAME = 1e-4  # standardised; targets that differ less are the same


class DrawsFile(NamedTuple):
    """The arrays of an npz file of draws for n rows, in the data's own units.

    With m targets, outputs, targets and noise_std have a further axis of length m.
    """

    path: str
    outputs: np.ndarray    # of the network, without noise, [K, n]
    noise_std: np.ndarray  # scale of the noise, [K] or [K, n]
    targets: np.ndarray    # [n], by which the rows are recognised
    dof: float             # degrees of freedom of the noise; infinite: Gaussian

    def draws(self, y: np.ndarray, data: Any) -> Draws:
        """Returns the Draws, standardised as `data` is. Raises UserError unless the rows are those of the targets y.

        y: standardised, [n] or [n, m].
        """
        targets = (self.targets - data.target_mean) / data.target_std
        if targets.shape != y.shape:
            raise UserError(f"{self.path}: targets {list(self.targets.shape)}, but the run is evaluated on rows with "
                            f"targets {list(y.shape)}: give draws for these rows")
        if np.abs(targets - y).max() > _SAME:
            row = int(np.argmax(np.abs(targets - y).reshape(len(y), -1).max(axis=1)))
            raise UserError(f"{self.path}: the target of row {row + 1} is {self.targets[row]}, but that of the run is "
                            f"{data.target_mean + data.target_std * y[row]}: give draws for the rows of the run, in "
                            "their order and in the data's own units")
        return Draws((self.outputs - data.target_mean) / data.target_std,
                     np.square(data.target_std / self.noise_std), self.dof)


def read_draws(path: pathlib.Path) -> DrawsFile:
    """Reads a file of draws. Raises UserError if it cannot be read or its arrays do not fit together."""
    try:
        with np.load(str(path)) as arrays:
            found = {name: np.asarray(arrays[name], np.float64) for name in ("outputs", "noise_std", "targets")}
            dof = float(arrays["dof"]) if "dof" in arrays.files else np.inf
    except KeyError as error:
        name = str(error.args[0]).split()[0]
        raise UserError(f"{path}: {name} is missing: give an npz file with {CONTENTS}") from None
    except (OSError, ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error):
        raise UserError(f"{path} cannot be read: give the folder of a run, or an npz file with {CONTENTS}") from None
    outputs, noise_std, targets = found["outputs"], found["noise_std"], found["targets"]
    if (outputs.ndim not in (2, 3) or targets.shape != outputs.shape[1:]
            or noise_std.shape not in (outputs.shape, outputs.shape[:1] + outputs.shape[2:])):
        raise UserError(f"{path}: outputs {list(outputs.shape)}, noise_std {list(noise_std.shape)} and targets "
                        f"{list(targets.shape)} do not fit together: give {CONTENTS}")
    if not all(np.isfinite(values).all() for values in found.values()) or not (noise_std > 0).all() or not dof > 2:
        raise UserError(f"{path}: all values must be finite, noise_std above 0, and dof above 2")
    return DrawsFile(str(path), outputs, noise_std, targets, dof)


def write_draws(path: pathlib.Path, draws: Draws, y: np.ndarray, data: Any) -> None:
    """Writes a file that `read_draws` reads; draws and targets y: standardised as `data` is."""
    np.savez_compressed(str(path), outputs=(data.target_mean + data.target_std * draws.outputs).astype(np.float32),
                        noise_std=data.target_std / np.sqrt(draws.precisions), dof=draws.dof,
                        targets=data.target_mean + data.target_std * np.asarray(y, np.float64))
