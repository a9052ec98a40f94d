"""From the arguments of an estimator to the config of its run."""
import numbers
import re
from typing import Any, Dict, List

import numpy as np

from core.training.suggested import settings_for_classes, settings_for_numbers
from misc.config import Config
from misc.errors import UserError

AUTO = "auto"  # an argument that is left to the recipe
IN_MEMORY = "memory"  # stands for the file of the table
KEYS = {"method": "optimizer", "activation": "activation", "epochs": "epoch", "batch_size": "batch_size", "kl": "kl",
        "prior_variance": "eta", "likelihood": "likelihood", "missing": "missing", "patience": "patience",
        "validation_fraction": "validation_fraction", "n_draws": "test_particles"}
"""Argument of an estimator -> key of the config."""
SOURCE = "settings"  # what errors of the config begin with
LENGTH = ("epochs", "batch_size")  # arguments with which a classification's periods must keep pace


def regression_config(arguments: Dict[str, Any], targets: List[int], n_rows: int, seed: int) -> Config:
    """Returns the config of a regression: the recipe, under what the arguments set.

    Args:
      arguments: of the estimator; those that are "auto" or None are left to the recipe.
      targets: numbers of the columns, from 1.
      n_rows: number of the rows to train on.
      seed: of the run.

    Raises UserError for values out of range.
    """
    return _config(settings_for_numbers(), arguments, targets if len(targets) > 1 else targets[0], seed)


def class_config(arguments: Dict[str, Any], target: int, n_rows: int, seed: int) -> Config:
    """Returns the config of a classification; the arguments are those of `regression_config`."""
    settings = settings_for_classes(n_rows)
    if any(_is_given(arguments.get(name)) for name in LENGTH):
        settings = {name: value for name, value in settings.items() if name not in (
            "epoch", "kl_warmup", "decay_every_itr", "epoch_rate", "save_interval")}
        epochs = arguments["epochs"] if _is_given(arguments.get("epochs")) else settings_for_classes(n_rows)["epoch"]
        warmup = epochs // 4 if isinstance(epochs, numbers.Integral) else None  # anything else is refused below
        settings.update(epoch=epochs, kl_warmup=warmup, epoch_rate=epochs, save_interval=epochs)
    return _config(settings, arguments, target, seed)


def _config(settings: Dict[str, Any], arguments: Dict[str, Any], target: Any, seed: int) -> Config:
    values = dict(settings, dataset="fit", data_file=IN_MEMORY, target=target, protocol="all", seed=seed,
                  hidden=np.atleast_1d(np.asarray(arguments["hidden"])).tolist())
    values.update((key, arguments[name]) for name, key in KEYS.items() if _is_given(arguments.get(name)))
    further = arguments.get("settings") or {}
    if not isinstance(further, dict):
        raise UserError(f"settings must be a dict of keys, got {type(further).__name__}")
    taken = sorted({*KEYS.values(), "hidden", "seed", "dataset", "data_file", "target", "protocol"} & set(further))
    if taken:
        raise UserError(f"settings: {taken[0]} is set by an argument of the estimator")
    values.update(further)
    values.setdefault("categories", arguments.get("categories"))
    if values.get("validation_fraction"):
        values.setdefault("evaluate_on", "validation")
    try:
        return Config.from_dict({name: _plain(value) for name, value in values.items() if value is not None}, SOURCE)
    except UserError as error:
        raise UserError(_by_argument(str(error), further)) from None


def _by_argument(message: str, further: Dict[str, Any]) -> str:
    """Returns a message about a key that an argument sets, with the argument's name in place of the key's."""
    arguments = {key: name for name, key in KEYS.items()}
    found = re.match(rf"{SOURCE}: (\w+)(?=[.:])", message)
    if found is None or found.group(1) in further or found.group(1) not in {*arguments, "hidden"}:
        return message
    return arguments.get(found.group(1), found.group(1)) + message[found.end():]


def _is_given(value: Any) -> bool:
    return value is not None and not (isinstance(value, str) and value == AUTO)


def _plain(value: Any) -> Any:
    """Returns numpy's numbers and arrays, which searches over arguments give, as Python's; other values as they are."""
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value
