"""What can be learnt about NVIDIA GPUs without opening one: whether there are any, why TensorFlow sees none, versions.

Call `backend.prepare()` first.
"""
import functools
import os
import re
import subprocess
import sys
import typing

from misc import backend

DRIVER_FILES = ("/proc/driver/nvidia", "/dev/nvidia0")  # where a Linux machine has an NVIDIA GPU and its driver
PROBE = "import tensorflow.compat.v1 as tf; tf.config.experimental.list_physical_devices('GPU')"
PROBE_SECONDS = 120
N_QUOTED = 3  # messages of TensorFlow in one line
MESSAGE = re.compile(  # "DATE TIME: E cuda.cc:52] TEXT" or "E0000 TIME THREAD cuda.cc:52] TEXT"
    r"(?:^|[ :])([IWEF])(?:\d{4} \S+ +\d+)? \S+:\d+\] (.*)$")
ABOUT_GPUS = re.compile("cuda|cudnn|cublas|libcu|cuinit|nvidia|gpu|driver", re.IGNORECASE)
USUAL = re.compile("Unable to register|already been registered|TF-TRT|TensorRT|NUMA|may see slightly", re.IGNORECASE)


class Card(typing.NamedTuple):
    """An NVIDIA GPU, as the driver describes it."""

    name: str
    driver: str
    bytes: int  # of memory


def why_unseen() -> typing.Optional[str]:
    """Returns why TensorFlow sees no GPU, or None if this machine has no NVIDIA GPU."""
    if not any(os.path.exists(path) for path in DRIVER_FILES):
        return None
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "the environment variable CUDA_VISIBLE_DEVICES hides it"
    import tensorflow.compat.v1 as tf

    if not tf.test.is_built_with_cuda():
        return f"this TensorFlow ({tf.__version__}) is built without CUDA: install requirements-gpu.txt"
    return _tensorflows_words()


@functools.lru_cache(maxsize=None)
def _tensorflows_words() -> str:
    """Lets a new process look for GPUs, aloud, and returns what TensorFlow's own code says there."""
    environment = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="0", TF_CPP_MAX_VLOG_LEVEL="0")
    try:
        done = subprocess.run([sys.executable, "-c", PROBE], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                              env=environment, timeout=PROBE_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"it could not be asked why ({type(error).__name__})"
    quotes = quoted(done.stderr.decode(errors="replace"))
    return "TensorFlow says: " + "; ".join(f'"{text}"' for text in quotes) if quotes else "TensorFlow does not say why"


def quoted(stderr: str) -> typing.List[str]:
    """Returns the messages about GPUs in what TensorFlow has printed, errors first, then warnings, at most N_QUOTED."""
    found: typing.Dict[str, str] = {}  # message -> its severity
    for line in stderr.splitlines():
        match = MESSAGE.search(line)
        if match and ABOUT_GPUS.search(match.group(2)) and not USUAL.search(match.group(2)):
            found.setdefault(" ".join(match.group(2).split())[:300], match.group(1))
    return sorted(found, key=lambda text: "FEWI".index(found[text]))[:N_QUOTED]


def cards() -> typing.List[Card]:
    """Returns the GPUs that the driver knows, in its order; none if its tool is missing or fails."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=PROBE_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [[entry.strip() for entry in line.split(",")] for line in done.stdout.decode(errors="replace").splitlines()]
    return [Card(row[0], row[1], int(row[2]) * 2**20) for row in rows if len(row) == 3 and row[2].isdigit()]


def chosen_card() -> typing.Optional[Card]:
    """Returns the GPU that runs use, the first that CUDA shows; None if the driver does not tell which that is."""
    known, first = cards(), os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    if len(set(known)) == 1:  # all alike
        return known[0]
    in_order = os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID" and first.isdigit() and int(first) < len(known)
    return known[int(first)] if in_order else None


def versions() -> typing.Dict[str, str]:
    """Returns the GPU's name and the versions of its driver, CUDA and cuDNN, as far as they can be found out."""
    import tensorflow.compat.v1 as tf

    known: typing.Dict[str, typing.Optional[str]] = {}
    card = chosen_card()
    if card:
        known.update(gpu=card.name, driver=card.driver)
    if hasattr(tf.config.experimental, "get_device_details"):  # TensorFlow 2.x
        seen = backend.gpus()
        known["gpu"] = tf.config.experimental.get_device_details(seen[0]).get("device_name") if seen else None
    known.update(_built_with())
    return {name: str(value) for name, value in known.items() if value}


def _built_with() -> typing.Dict[str, typing.Optional[str]]:
    """Returns the versions of CUDA and cuDNN that TensorFlow was built with."""
    import tensorflow.compat.v1 as tf

    if hasattr(tf.sysconfig, "get_build_info"):  # TensorFlow 2.x
        info = tf.sysconfig.get_build_info()
        return {"cuda": info.get("cuda_version"), "cudnn": info.get("cudnn_version")}
    from tensorflow.python.platform import build_info

    return {"cuda": getattr(build_info, "cuda_version_number", None),
            "cudnn": getattr(build_info, "cudnn_version_number", None)}
