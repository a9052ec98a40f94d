"""Reads a JSON file of settings; what is wrong with it becomes one line."""
import json
import os

from misc.errors import UserError


def read_settings(path):
    """The dict in a JSON file. UserError if there is none, or a key twice."""
    if os.path.isdir(str(path)):
        raise UserError(f"{path} is a folder; give one of the JSON files in it")
    if not os.path.isfile(str(path)):
        raise UserError(f"config file {path} does not exist; see config/ for examples")
    try:
        with open(str(path), encoding="utf-8") as handle:
            values = json.load(handle, object_pairs_hook=_no_repeats)
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if not isinstance(values, dict):
        raise UserError(f'{path} must hold one JSON object, {{"key": value, ...}}')
    return values


def _no_repeats(pairs):
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"key {twice[0]!r} is given twice")
    return values
