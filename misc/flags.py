"""Command-line flags: errors in one line, and flags that do not go together."""
import argparse
import typing

from misc.errors import UserError


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that says in one line what is wrong, without the usage, and exits with code 2."""

    def error(self, message: str) -> typing.NoReturn:
        self.exit(2, f"{self.prog}: {message} (--help lists all flags)\n")


def check_training(args: argparse.Namespace) -> None:
    """Raises a UserError for flags of train.py that do not go together."""
    if args.target and not args.init:
        raise UserError("--target goes with --init; of a config, --set target=NAME sets the target")
    others = {"--with": args.overlays, "--set": args.set, "--seed": args.seed is not None, "--explain": args.explain,
              "--resume": args.resume, "--epochs": args.epochs is not None}
    unused = [flag for flag, is_given in others.items() if is_given] if args.init else []
    if unused:
        raise UserError(f"{unused[0]} has no effect with --init: use it with the config that --init prints")
    if args.epochs is not None and not args.resume:
        raise UserError("--epochs lengthens a run that is there: add --resume, or set the length of a new run by "
                        f"--set epoch={args.epochs}")
