"""All config keys as a table: `--help-config`, and the one in README.md."""
import json
import typing

import tabulate
from typing_extensions import Literal

from misc.config import Config, key_mode
from misc.errors import UserError


def config_table(fmt="simple"):
    """All keys with type, range, default and meaning; `fmt` as in tabulate (simple, github, ...)."""
    if fmt not in tabulate.tabulate_formats:
        raise UserError(f"--help-config {fmt}: known formats are {', '.join(tabulate.tabulate_formats)}")
    rows = []
    for name, field in Config.model_fields.items():
        default = "required" if field.is_required() else json.dumps(field.default)
        meaning = field.description + (f" ({key_mode(name)} only)" if key_mode(name) else "")
        rows.append([name, _type_name(field.annotation), _range(field), default, meaning])
    return tabulate.tabulate(rows, ["key", "type", "range", "default", "meaning"], tablefmt=fmt, disable_numparse=True)


def _type_name(annotation):
    """'int', 'float', 'a/b/c' for choices; 'null or ...' is left out, the default says it."""
    if getattr(annotation, "__origin__", None) is typing.Union:
        annotation = annotation.__args__[0]
    if getattr(annotation, "__origin__", None) is Literal:
        return " / ".join(annotation.__args__)
    return "list of int" if "List" in str(annotation) else annotation.__name__


_SIGNS = (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))


def _range(field):
    limits = [f"{sign} {getattr(item, name)}" for item in field.metadata for name, sign in _SIGNS
              if getattr(item, name, None) is not None]
    return ", ".join(limits)
