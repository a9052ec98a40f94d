"""Checks that the benchmarks make before they start, so that a typo does not cost hours."""
import importlib.util
import pathlib

from misc.errors import UserError


def check_out(path):
    """Raises UserError if `path` is the name of a file whose folder does not exist; None is fine."""
    if path and not pathlib.Path(path).absolute().parent.is_dir():
        raise UserError(f"--out {path}: there is no such folder")


def check_packages(names):
    """Raises UserError if a package is not installed."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"{', '.join(missing)} not installed: pip install -r benchmarks/requirements.txt")
