"""What the table of configuration keys (misc/config_keys.py) is written in: the declaration of a key, and its types."""
import typing

import pydantic
from typing_extensions import Annotated

Column = typing.Union[pydantic.StrictInt, pydantic.StrictStr]  # of a table: its number from 1, or its name
ImageSide = Annotated[int, pydantic.Field(ge=1, le=4096)]  # pixels

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$"  # a file or folder name, never a path
PATH = r"^[^\x00]+$"

PATTERNS = {
    NAME: "a name has letters, digits, _ . + - only and begins with a letter or digit",
    PATH: "a path has at least one character and no NUL character",
}


def key(group: str, default: typing.Any, meaning: str, mode: typing.Optional[str] = None, **limits) -> typing.Any:
    """Declares a configuration key.

    Args:
      group: its purpose, one of the groups in misc/config_keys.py.
      default: `...` if the key must be given.
      meaning: a sentence for `--help-config` and the documentation.
      mode: the only mode that accepts the key, or None for both.
      limits: its range, as keyword arguments of `pydantic.Field`.
    """
    return pydantic.Field(default, description=meaning, json_schema_extra={"mode": mode, "group": group}, **limits)
