"""The files of a run that people and scripts read: CSV tables and JSON objects."""
import csv
import hashlib
import json
import os
import pathlib
import platform
import subprocess


def write_json(path, values):
    """Writes a dict so that the file is either the old one or the complete new one."""
    part = f"{path}.part"
    with open(part, "w", encoding="utf-8") as handle:
        json.dump(values, handle, indent=2, allow_nan=False)
        handle.write("\n")
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(part, str(path))


def read_json(path):
    """The dict in a JSON file."""
    with open(str(path), encoding="utf-8") as handle:
        return json.load(handle)


def write_rows(path, columns, rows):
    """Writes a CSV file, the old one or the complete new one: a header and one line per dict.

    A column that a row lacks stays empty.
    """
    part = f"{path}.part"
    with open(part, "w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, columns)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(part, str(path))


def append_row(path, columns, row):
    """Adds one line to a file of `write_rows`."""
    with open(str(path), "a", newline="", encoding="utf-8") as handle:
        csv.DictWriter(handle, columns).writerow(row)


class Table:
    """A CSV file and its rows in memory, so that nothing is lost while the file cannot be written."""

    def __init__(self, path, columns, rows=()):
        self.rows = list(rows)
        self._path, self._columns, self._n_written = path, columns, None

    def add(self, row):
        """Takes a row on; `write` brings it to the file."""
        self.rows.append(row)

    def write(self):
        """Brings the file up to date, as a whole if it is not as this left it. Raises OSError."""
        if self._n_written is None or not self._path.is_file():
            self._n_written = None
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_rows(self._path, self._columns, self.rows)
        else:
            start, self._n_written = self._n_written, None  # unknown, if an append fails half-way
            for row in self.rows[start:]:
                append_row(self._path, self._columns, row)
        self._n_written = len(self.rows)


def read_rows(path):
    """The lines of a CSV file as dicts of strings; a last line cut short by a crash is left out."""
    with open(str(path), newline="", encoding="utf-8") as handle:
        return [row for row in csv.DictReader(handle) if None not in row.values()]


def read_rows_until(path, step):
    """The rows of a file of `write_rows` up to `step`; without what is damaged, and none if there is no such file."""
    try:
        rows = read_rows(path)
    except (OSError, ValueError, csv.Error):
        return []
    return [row for row in rows if str(row.get("step")).isdigit() and int(row["step"]) <= step and None not in row]


def read_result(path):
    """The dict of a result.json, or None if it is not there or damaged: then the run is not finished."""
    try:
        found = read_json(path)
        return found if isinstance(found, dict) and found.get("metrics") else None
    except (OSError, ValueError):
        return None


def versions(modules):
    """{name: version} of Python and the given imported modules."""
    found = {module.__name__.split(".")[0]: module.__version__ for module in modules}
    return dict(found, python=platform.python_version())


def revision():
    """The git revision of this code, with -dirty and a hash of what differs if files do; None outside a checkout."""
    root = pathlib.Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        found = _git(root, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*").decode().strip()
        if found.endswith("-dirty"):
            found += "-" + hashlib.sha256(_git(root, "diff", "HEAD")).hexdigest()[:8]
        return found
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(root, *arguments):
    return subprocess.run(["git", *arguments], cwd=str(root), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          check=True).stdout
