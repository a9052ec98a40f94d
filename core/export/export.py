"""Writes what is asked of a run: all that export.py does."""
import pathlib
import sys
from typing import Callable, Dict, List

from core.assessment.restore import Restored, data_without_rows, restored
from core.export.arguments import Asked
from core.export.frozen import Frozen, freeze
from core.export.onnx_graph import write_onnx
from core.export.portable import write_portable
from core.export.saved_model import write_saved_model
from misc.config_keys import LINEARISED, SAMPLED
from misc.folders import read_config

WRITERS: Dict[str, Callable[[Frozen, Restored, pathlib.Path, Asked], None]] = {
    "npz": lambda frozen, run, path, asked: write_portable(frozen, run, path, asked.factors),
    "onnx": lambda frozen, run, path, asked: write_onnx(frozen, run, path),
    "saved_model": lambda frozen, run, path, asked: write_saved_model(frozen, run, path),
}
"""What is asked for -> function that writes it."""


def export(root: pathlib.Path, asked: Asked) -> List[pathlib.Path]:
    """Writes every export of the run in the folder `root` that is asked for; returns where.

    Raises UserError if the run cannot be read back, has a layer that cannot be exported, or a file cannot be written.
    """
    if read_config(root, {})[0].predictive == LINEARISED:
        print("note: exports predict by weight draws, not by the linearised network as the run does", file=sys.stderr)
    overrides = dict(asked.overrides, predictive=SAMPLED)
    with restored(root, overrides, best=asked.best, read_data=data_without_rows) as run:
        frozen = freeze(run)
        for flag, path in asked.places.items():
            WRITERS[flag](frozen, run, path, asked)
    return list(asked.places.values())
