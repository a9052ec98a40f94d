"""What is asked of export.py, and its checks. Imports no TensorFlow, which must wait for the mode of the run."""
import pathlib
from typing import Any, Dict, NamedTuple, Optional

from misc.errors import UserError

ENDINGS = {"npz": ".npz", "onnx": ".onnx"}  # flag -> how the name of its file ends


class Asked(NamedTuple):
    """The flags of export.py."""

    npz: Optional[pathlib.Path] = None
    onnx: Optional[pathlib.Path] = None
    saved_model: Optional[pathlib.Path] = None  # a folder
    particles: Optional[int] = None             # weight draws; None: as in the run's config
    factors: bool = False                       # whether the .npz file also has the posterior's own parameters
    best: bool = False                          # the checkpoint of the best validation log-likelihood, not the newest

    @property
    def places(self) -> Dict[str, pathlib.Path]:
        """What is to be written where: flag -> path."""
        return {flag: getattr(self, flag) for flag in ("npz", "onnx", "saved_model") if getattr(self, flag) is not None}

    @property
    def overrides(self) -> Dict[str, Any]:
        """The configuration keys that the flags stand for."""
        return {} if self.particles is None else {"test_particles": self.particles}


def check(asked: Asked) -> None:
    """Raises UserError if nothing is asked for, or it cannot be written where it is to go."""
    if not asked.places:
        raise UserError("give --npz FILE, --onnx FILE or --saved-model FOLDER: what to write, and where")
    if asked.particles is not None and asked.particles < 1:
        raise UserError(f"--particles must be at least 1, got {asked.particles}")
    if asked.factors and asked.npz is None:
        raise UserError("--factors is for --npz FILE")
    for flag, path in asked.places.items():
        name = f"--{flag.replace('_', '-')} {path}"
        if flag in ENDINGS and path.suffix.lower() != ENDINGS[flag]:
            raise UserError(f"{name}: the name must end in {ENDINGS[flag]}")
        if flag in ENDINGS and path.is_dir():
            raise UserError(f"{name}: this is a folder")
        if flag not in ENDINGS and path.exists():
            raise UserError(f"{name} exists already: remove it, or choose another name")
        if not path.resolve().parent.is_dir():
            raise UserError(f"{name}: its folder does not exist")
