"""All configuration keys as tables: `--help-config` for the screen, and docs/configuration.md.

    python -m misc.config_table > docs/configuration.md
"""
import json
import typing

import tabulate
from typing_extensions import Literal

from misc.config_keys import Keys, key_group, key_mode
from misc.errors import UserError

REQUIRED = "required"  # in place of a default

PAGE = """# Configuration

<!-- Written by `python -m misc.config_table > docs/configuration.md` from misc/config_keys.py; do not edit. -->

A configuration is one flat JSON object. Settings are read in this order, and later ones replace earlier ones:

1. `--config FILE`. Only `dataset`, `optimizer` and `model_name` must be given; all other keys have defaults.
2. `--with OVERLAY.json`, repeatable: a file with the keys to change. In an overlay, `null` resets a key to its
   default. `exp_name_suffix` is appended to the experiment's name, and `description` is what `--list` prints. An
   overlay that sets another `optimizer` replaces the optimizer's name at the beginning of `exp_name`, too:
   `bbb.json` over `ekfac_concrete.json` trains the experiment `bbb_concrete`.
3. `--set KEY=VALUE`, repeatable: VALUE is written as in JSON (`true`, `0.1`, `[20, 20]`). `--set exp_name=NAME` sets
   the whole name; suffixes are then not appended.

Unknown keys, wrong types, values out of range and keys of the other mode are errors. `null` as a default means that
the default depends on other keys, as described.
"""


def config_table(fmt: str = "simple") -> str:
    """Returns all keys with type, range, default and meaning. `fmt` as in tabulate: simple, github, ..."""
    if fmt not in tabulate.tabulate_formats:
        raise UserError(f"--help-config {fmt}: known formats are {', '.join(tabulate.tabulate_formats)}")
    rows = [[name, _type_name(field.annotation), _range(field), _default(field),
             field.description + (f" ({key_mode(name)} only)" if key_mode(name) else "")]
            for name, field in Keys.model_fields.items()]
    return tabulate.tabulate(rows, ["key", "type", "range", "default", "meaning"], tablefmt=fmt, disable_numparse=True)


def config_page() -> str:
    """Returns docs/configuration.md: a table for each group of keys, without padding."""
    groups = {}
    for name, field in Keys.model_fields.items():
        groups.setdefault(key_group(name), []).append(
            [f"`{name}`", _type_name(field.annotation), _range(field), _code(_default(field)),
             key_mode(name) or "both", field.description])
    return PAGE + "".join(_section(title, rows) for title, rows in groups.items())


def _section(title, rows):
    header = ["key", "type", "range", "default", "mode", "meaning"]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
             for row in [header, ["---"] * len(header), *rows]]
    return f"\n## {title}\n\n" + "\n".join(lines) + "\n"


def _code(default):
    return default if default == REQUIRED else f"`{default}`"


def _default(field):
    return REQUIRED if field.is_required() else json.dumps(field.default)


def _type_name(annotation):
    """'int', 'float', 'a / b / c' for choices; that a key may be null is left to its default."""
    if getattr(annotation, "__origin__", None) is typing.Union:
        kinds = tuple(kind for kind in annotation.__args__ if kind is not type(None))
        annotation = kinds[0] if len(kinds) == 1 else typing.Union[kinds]
    if getattr(annotation, "__origin__", None) is Literal:
        return " / ".join(annotation.__args__)
    names = [name for name in ("float", "int", "str") if name in str(annotation).lower()]
    if getattr(annotation, "__origin__", None) is typing.Union:  # of a column: its number or its name
        return " / ".join(names + ["list"] * ("List" in str(annotation)))
    if "List" not in str(annotation):
        return annotation.__name__
    return "list of " + " / ".join(names[:1] if "float" in names else names)


_SIGNS = (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))


def _range(field):
    limits = [f"{sign} {getattr(item, name)}" for item in field.metadata for name, sign in _SIGNS
              if getattr(item, name, None) is not None]
    return ", ".join(limits)


if __name__ == "__main__":
    print(config_page(), end="")
