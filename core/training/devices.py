"""Which device a run uses, and why."""
from typing import NamedTuple

from core.training.cost import flops_per_layer
from core.training.design import Design
from misc import backend, gpu
from misc.config import Config
from misc.errors import UserError
from misc.lookup import lookup

DEVICES = {"cpu": "/device:CPU:0", "gpu": "/device:GPU:0"}
NAMES = {device: name for name, device in DEVICES.items()}
UNUSED = "this machine has a GPU that TensorFlow does not use"

# A step launches about 50 kernels per layer, which takes a GPU about 0.5 ms, whatever they compute. One CPU core does
# this many operations meanwhile.
LAUNCH_BOUND = 4e7


class Choice(NamedTuple):
    """A device, and why it is this one."""

    device: str  # TensorFlow's name
    reason: str  # for the log


def choose_device(name: str, design: Design) -> Choice:
    """Returns the device for auto, cpu or gpu. Raises UserError for a GPU that is not there.

    auto takes the CPU if a GPU would spend the step on launching kernels: if a step has fewer than LAUNCH_BOUND
    operations per layer.
    """
    lookup(dict(DEVICES, auto=None), name, "device")
    if name == "gpu":
        _require_gpu("--device gpu", "use --device cpu or auto")
    if name != "auto":
        return Choice(DEVICES[name], "as asked for")
    mega = flops_per_layer(design) / 1e6
    if mega * 1e6 < LAUNCH_BOUND:
        return Choice(DEVICES["cpu"], f"{mega:.2g} MFLOP per layer and step are too few for a GPU")
    if backend.has_gpu():
        return Choice(DEVICES["gpu"], "the first GPU that TensorFlow sees")
    why = gpu.why_unseen()
    return Choice(DEVICES["cpu"], f"{UNUSED}: {why}" if why else "no GPU")


def check_curvature_device(config: Config) -> None:
    """Raises UserError if factors are to be decomposed on a GPU that is not there."""
    if config.curvature_device == "gpu":
        _require_gpu("curvature_device gpu", "use cpu or auto")


def uses_gpu(config: Config, device: str) -> bool:
    """Tells whether a session for this run has to open a GPU."""
    return "GPU" in device or config.curvature_device == "gpu"


def _require_gpu(what: str, remedy: str) -> None:
    if not backend.has_gpu():
        why = gpu.why_unseen()
        raise UserError(f"{what}: TensorFlow sees no GPU here" + (f" ({why})" if why else "")
                        + f"; {remedy} (GPU builds: requirements-gpu.txt)")
