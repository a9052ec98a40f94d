"""Overlays: JSON files of a few keys that are laid over a configuration (`--with`).

An overlay holds configuration keys; a null value resets a key to its default. Two keys are special: `description`
says what the overlay does (for `--list`), and `exp_name_suffix` is appended to the experiment's name.
"""
import json
import pathlib
import re
import typing

from misc.config_file import PathLike, read_settings
from misc.config_keys import Keys
from misc.errors import UserError
from misc.synonyms import key_hint

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "config" / "overlays"
SUFFIX = r"[A-Za-z0-9_.+-]*"
OVERLAY_KEYS = ("description", "exp_name_suffix")


class Overlay(typing.NamedTuple):
    """The contents of an overlay file."""

    description: str  # what the overlay does, a line of text
    suffix: str  # appended to the experiment's name
    values: typing.Dict[str, typing.Any]  # configuration keys; None resets a key to its default

    def laid_over(self, values: typing.Dict[str, typing.Any]) -> typing.Dict[str, typing.Any]:
        """Returns the settings with the overlay's values in place of theirs.

        If the overlay sets another optimizer, an experiment's name that begins with the old one begins with the new
        one afterwards: optimizer bbb turns ekfac_concrete into bbb_concrete.
        """
        old, new, name = values.get("optimizer"), self.values.get("optimizer"), values.get("exp_name")
        merged = {key: value for key, value in dict(values, **self.values).items()
                  if value is not None or key not in self.values}
        if new and "exp_name" not in self.values and str(name).startswith(f"{old}_"):
            merged["exp_name"] = f"{new}{name[len(old):]}"
        return merged


def read_overlay(path: PathLike) -> Overlay:
    """Reads an overlay. Raises UserError, which names the file, for unknown keys and bad special values."""
    values = read_settings(path, what="overlay", examples="config/overlays/")
    unknown = [name for name in values if name not in Keys.model_fields and name not in OVERLAY_KEYS]
    if unknown:
        known = [*Keys.model_fields, *OVERLAY_KEYS]
        raise UserError(f"{path}: " + "; ".join(f"unknown key {name!r}{key_hint(name, known)}" for name in unknown)
                        + " (--help-config lists all)")
    description, suffix = (values.pop(name, "") for name in OVERLAY_KEYS)
    if not isinstance(description, str):
        raise UserError(f"{path}: description must be a text, got {json.dumps(description)}")
    if not isinstance(suffix, str) or not re.fullmatch(SUFFIX, suffix):
        raise UserError(f"{path}: exp_name_suffix must be a text of letters, digits and _ . + - only, "
                        f"got {json.dumps(suffix)}")
    return Overlay(description, suffix, values)


def known_overlays() -> typing.Dict[str, str]:
    """Returns {file name: description} of the overlays in config/overlays."""
    return {path.name: read_overlay(path).description for path in sorted(FOLDER.glob("*.json"))}


def describe_overlay(path: PathLike) -> str:
    """Returns a line with the file and the keys that it sets, as in `KEY=VALUE`."""
    overlay = read_overlay(path)
    changes = [f"{name}={value if isinstance(value, str) else json.dumps(value)}"
               for name, value in overlay.values.items()]
    return f"{path}: " + ", ".join(changes + ([f"exp_name_suffix={overlay.suffix}"] if overlay.suffix else []))
