"""What the benchmarks do before they start: checks, so that a typo does not cost hours, and reading what is done."""
import csv
import importlib.util
import pathlib
import sys

from misc.errors import UserError


def check_out(path, flag="--out"):
    """Raises UserError if `path` is a folder, or the name of a file whose folder does not exist; None is fine."""
    if path and pathlib.Path(path).is_dir():
        raise UserError(f"{flag} {path}: it is a folder; give the name of a file")
    if path and not pathlib.Path(path).absolute().parent.is_dir():
        raise UserError(f"{flag} {path}: there is no such folder")


def check_packages(names):
    """Raises UserError if a package is not installed."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"{', '.join(missing)} not installed: pip install -r benchmarks/requirements.txt")


def read_out(path, texts, columns):
    """Returns the rows of an earlier call in the order of its file, or [] if there is none.

    Args:
      path: of the CSV file; None: none.
      texts: columns that hold text; `split` is a whole number, others are floats. Empty fields are left out.
      columns: of the benchmark.

    Raises UserError if the file has other columns, damaged rows, or something else where a number is due.
    """
    if not (path and pathlib.Path(path).is_file()):
        return []
    try:
        with open(str(path), newline="", encoding="utf-8") as handle:
            reader = csv.DictReader(handle)
            missing = [name for name in columns if name not in (reader.fieldnames or [])]
            if not missing:
                return [_read_row(row, texts) for row in reader]
        what = f"has no column {missing[0]}"
    except (ValueError, csv.Error) as error:
        what = f"cannot be read ({error})"
    raise UserError(f"--out {path} {what}: it was not written by this benchmark, or is damaged; name another file")


def _read_row(row, texts):
    """Returns a row of `read_out`. Raises ValueError if it is damaged."""
    is_nameless = "" in (row.get("data"), row.get("split"))
    if is_nameless or None in row or None in row.values():  # None: fields without a column, or columns without a field
        raise ValueError(f"a row is incomplete or too long: {', '.join(map(str, row.values()))}")
    return {name: value if name in texts else int(value) if name == "split" else float(value)
            for name, value in row.items() if value}


def is_done(rows, data, split, methods, settings, out):
    """Returns whether an earlier call has finished a split, whose methods are compared with each other.

    settings: what else the numbers depend on, as text. Raises UserError if that call had others, or other methods.
    """
    done = [row for row in rows if (row["data"], row["split"]) == (data, split)]
    if not done:
        return False
    for what, earlier, now in (("methods", " ".join(row["method"] for row in done), " ".join(methods)),
                               ("settings", done[0]["settings"], settings)):
        if earlier != now:
            raise UserError(f"--out {out} has {data}, split {split}, with the {what} {earlier} (now {now}): give the "
                            "same ones, or another file")
    return True


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
