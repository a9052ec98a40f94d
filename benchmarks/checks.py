"""What the benchmarks ask before they begin, so that no work is lost to a slip."""
import importlib.util
import pathlib

from misc.errors import UserError


def check_out(path):
    """UserError unless the folder of the file `path` (or None) is there."""
    if path and not pathlib.Path(path).absolute().parent.is_dir():
        raise UserError(f"--out {path}: there is no such folder")


def check_packages(names):
    """UserError if a package is not installed."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"{', '.join(missing)} not installed: pip install -r benchmarks/requirements.txt")
