"""The files of a run that people and scripts read: CSV tables and JSON objects."""
import csv
import hashlib
import json
import os
import pathlib
import platform
import subprocess
import types
import typing

Row = typing.Mapping[str, object]  # column -> value
AnyPath = typing.Union[str, pathlib.Path]


def write_json(path: AnyPath, values: typing.Mapping[str, object]) -> None:
    """Writes a dict so that the file is either the old one or the complete new one, even after a crash."""
    part = f"{path}.part"
    with open(part, "w", encoding="utf-8") as handle:
        json.dump(values, handle, indent=2, allow_nan=False)
        handle.write("\n")
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(part, str(path))


def read_json(path: AnyPath) -> typing.Any:
    """Returns what a JSON file holds, in UTF-8 or UTF-16, with or without a byte-order mark."""
    return json.loads(pathlib.Path(path).read_bytes())


def write_rows(path: AnyPath, columns: typing.Sequence[str], rows: typing.Iterable[Row]) -> None:
    """Writes a CSV file, so that it is either the old one or the complete new one: a header and one line per row.

    A column that a row lacks is empty in the file.
    """
    part = f"{path}.part"
    with open(part, "w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, columns)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(part, str(path))


def write_columns(path: AnyPath, columns: typing.Mapping[str, typing.Any]) -> None:
    """Writes a CSV file as `write_rows` does, from an array per column; floats have every digit."""
    values = [column.tolist() for column in columns.values()]
    write_rows(path, list(columns), [dict(zip(columns, row)) for row in zip(*values)])


def read_rows(path: AnyPath) -> typing.List[typing.Dict[str, str]]:
    """Returns the rows of a CSV file as text, without a last line that a crash has cut short."""
    with open(str(path), newline="", encoding="utf-8") as handle:
        return [row for row in csv.DictReader(handle) if None not in row.values()]


def read_rows_until(path: AnyPath, step: int) -> typing.List[typing.Dict[str, str]]:
    """Returns the rows with `step` at most this; damaged rows are left out, and a missing file has none."""
    try:
        rows = read_rows(path)
    except (OSError, ValueError, csv.Error):
        return []
    return [row for row in rows if str(row.get("step")).isdigit() and int(row["step"]) <= step and None not in row]


class Table:
    """A CSV file whose rows are also kept in memory, so that none is lost while the file cannot be written.

    Attributes:
      rows: all rows.
    """

    def __init__(self, path: pathlib.Path, columns: typing.Sequence[str], rows: typing.Iterable[Row] = ()):
        self.rows = list(rows)
        self._path, self._columns = path, columns
        self._n_written: typing.Optional[int] = None  # rows that are in the file; None: unknown, so rewrite it

    def add(self, row: Row) -> None:
        """Adds a row in memory; `write` brings it to the file."""
        self.rows.append(row)

    def write(self) -> None:
        """Appends the new rows to the file, or rewrites it if it is missing or damaged. Raises OSError."""
        if self._n_written is None or not self._path.is_file():
            self._n_written = None
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_rows(self._path, self._columns, self.rows)
        else:
            start, self._n_written = self._n_written, None  # an append that fails may leave half a line
            for row in self.rows[start:]:
                self._append(row)
        self._n_written = len(self.rows)

    def _append(self, row: Row) -> None:
        with open(str(self._path), "a", newline="", encoding="utf-8") as handle:
            csv.DictWriter(handle, self._columns).writerow(row)


def read_result(path: AnyPath) -> typing.Optional[typing.Dict[str, typing.Any]]:
    """Returns the dict in a result.json, or None if the file is missing or damaged: the run is not finished then."""
    try:
        result = read_json(path)
        return result if isinstance(result, dict) and result.get("metrics") else None
    except (OSError, ValueError):
        return None


def versions(modules: typing.Iterable[types.ModuleType]) -> typing.Dict[str, str]:
    """Returns {name: version} of the given modules and of Python."""
    by_name = {module.__name__.split(".")[0]: module.__version__ for module in modules}
    return dict(by_name, python=platform.python_version())


def revision() -> typing.Optional[str]:
    """Returns the git revision of this code, or None outside a checkout.

    If files differ from it, -dirty and a hash of the differences are appended.
    """
    root = pathlib.Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        name = _git(root, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*").decode().strip()
        if name.endswith("-dirty"):
            name += "-" + hashlib.sha256(_git(root, "diff", "HEAD")).hexdigest()[:8]
        return name
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(root: pathlib.Path, *arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=str(root), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          check=True).stdout
