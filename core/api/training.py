"""From a config to a trained run: what train.py does, in Python."""
import pathlib
from typing import Any, Dict, Optional, Union

from core.api.trained_run import TrainedRun
from core.training import run
from data_loader.table_memory import table_of_rows
from misc.config import Config
from misc.folders import run_folder


def train(config: Union[Config, Dict[str, Any], str, pathlib.Path], data: Optional[Any] = None, device: str = "auto",
          resume: bool = False, epochs: Optional[int] = None) -> TrainedRun:
    """Trains in the run's own folder, experiments/DATASET/EXP_NAME, with a progress bar.

    An earlier run of the same name is archived, or continued if `resume`.

    Args:
      config: its keys, or the path of a JSON file.
      data: a DataFrame or an array [n, columns] in place of the config's file; None: the config says where the data
        are. The config's keys (target, inputs, protocol, ...) choose columns and rows as in a file.
      device: auto, cpu or gpu.
      resume: whether to continue from the newest checkpoint.
      epochs: with `resume`, lengthens the run to so many epochs.

    Raises UserError for whatever would not work, and RunError if the training diverges.
    """
    if isinstance(config, (str, pathlib.Path)):
        config = Config.from_file(config)
    elif not isinstance(config, Config):
        config = Config.from_dict(dict(config))
    plan = run.plan(config, device, None if data is None else table_of_rows(data, "the data"))
    run.execute(plan, resume, epochs)
    return TrainedRun(run_folder(plan.config).root, device=device)
