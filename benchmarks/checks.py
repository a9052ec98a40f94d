"""Checks that the benchmarks make before they start, so that a typo does not cost hours."""
import importlib.util
import pathlib
import sys

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


def available(packages, quick):
    """Returns the methods, the keys of {method: packages that it needs}; with `quick`, those whose packages are there.

    Raises UserError if a package is missing; with `quick`, if no method is left.
    """
    if not quick:
        check_packages(list(dict.fromkeys(name for needed in packages.values() for name in needed)))
        return list(packages)
    missing = {method for method, needed in packages.items()
               if any(importlib.util.find_spec(name) is None for name in needed)}
    if missing:
        print(f"left out, for packages that are not installed: {', '.join(sorted(missing))}", file=sys.stderr)
    if missing == set(packages):
        raise UserError("no method is left: pip install -r benchmarks/requirements.txt")
    return [method for method in packages if method not in missing]
