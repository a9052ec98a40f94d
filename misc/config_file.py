"""Reads settings as text: JSON files, and `KEY=VALUE` strings. Reports errors in one line."""
import json
import os
import pathlib
import typing

from misc.config_keys import Keys
from misc.errors import UserError

PathLike = typing.Union[str, pathlib.Path]


def read_settings(path: PathLike, what: str = "config file", examples: str = "config/") -> typing.Dict[str, typing.Any]:
    """Returns the dict in a JSON file.

    Args:
      path: of the file.
      what: name of this kind of file, for messages.
      examples: folder that has such files, for messages.

    Raises UserError if the file cannot be read, holds no JSON object, or has a key twice.
    """
    if os.path.isdir(str(path)):
        raise UserError(f"{path} is a folder; give one of the JSON files in it")
    if not os.path.isfile(str(path)):
        raise UserError(f"{what} {path} does not exist; see {examples} for examples")
    try:
        text = pathlib.Path(path).read_bytes()  # json finds the encoding: UTF-8 or UTF-16, with or without its mark
        values = json.loads(text, object_pairs_hook=_refuse_repeated_keys)
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if not isinstance(values, dict):
        raise UserError(f'{path} must hold one JSON object, {{"key": value, ...}}')
    return values


def parse_override(text: str) -> typing.Tuple[str, typing.Any]:
    """Splits 'KEY=VALUE' into key and value. VALUE is read as JSON; where the key holds text, it needs no quotes."""
    name, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--set takes KEY=VALUE, got {text!r}")
    field = Keys.model_fields.get(name)
    holds_text = field is not None and field.annotation in (str, typing.Optional[str])
    if holds_text and not (len(value) > 1 and value[0] == value[-1] == '"'):
        return name, value
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _refuse_repeated_keys(pairs):
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"key {twice[0]!r} is given twice")
    return values
