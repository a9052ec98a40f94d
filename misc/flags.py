"""Command-line flags: errors in one line, and flags that do not go together."""
import argparse
import contextlib
import re
import typing

from misc.config import Config
from misc.config_file import parse_override
from misc.errors import UserError

FORMAT_KEYS = ("separator", "decimal", "encoding", "header", "missing_marks")  # of the config: how a table is written
ANY_TABLE = {"dataset": "table", "data_file": "table", "optimizer": "sgd", "model_name": "linear"}  # to check keys with
LISTS = ("missing_marks", "categories", "drop")  # keys whose values are lists


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that says in one line what is wrong, without the usage, and exits with code 2."""

    def error(self, message: str) -> typing.NoReturn:
        self.exit(2, f"{self.prog}: {message} (--help lists all flags)\n")


def check_training(args: argparse.Namespace) -> None:
    """Raises a UserError for flags of train.py that do not go together."""
    if args.target and not args.init:
        raise UserError("--target goes with --init; of a config, --set target=NAME sets the target")
    others = {"--with": args.overlays, "--seed": args.seed is not None, "--explain": args.explain,
              "--resume": args.resume, "--epochs": args.epochs is not None}
    unused = [flag for flag, is_given in others.items() if is_given] if args.init else []
    if unused:
        raise UserError(f"{unused[0]} has no effect with --init: use it with the config that --init prints")
    if args.epochs is not None and not args.resume:
        raise UserError("--epochs lengthens a run that is there: add --resume, or set the length of a new run by "
                        f"--set epoch={args.epochs}")


def settings_of(overrides: typing.Sequence[str], keys: typing.Sequence[str],
                where: str) -> typing.Dict[str, typing.Any]:
    """Returns the settings KEY=VALUE of --set. Raises a UserError for keys that are not among `keys`, and bad values.

    where: the command or flag that takes only these.
    """
    values = {}
    for text in overrides:
        key, value = parse_override(text)
        if key not in keys:
            raise UserError(f"--set {key}: {where} takes the keys {', '.join(keys)} only")
        values[key] = None if value == "null" else value
    Config.from_dict(dict(ANY_TABLE, **values), "--set")
    return values


@contextlib.contextmanager
def naming_flag(keys: typing.Sequence[str]) -> typing.Iterator[None]:
    """Adds to a UserError whose remedy is one of these keys how --set sets it."""
    try:
        yield
    except UserError as error:
        named = [key for key in keys if re.search(rf"\b(set|in|key|the) {key}\b", str(error))]
        if error.exit_code != UserError.exit_code or not named or "--set" in str(error):
            raise
        flags = [f"--set '{key}=[...]'" if key in LISTS else f"--set {key}=VALUE" for key in named]
        raise UserError(f"{error} ({' or '.join(flags)})") from None
