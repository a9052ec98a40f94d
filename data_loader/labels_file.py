"""Reads the classes of image files from a CSV (config key labels_file): two columns, file name and class."""
import os
import pathlib
import typing

from data_loader.image_files import all_files, count, is_named_like_an_image, named
from misc.errors import UserError


class Labels(typing.NamedTuple):
    """The classes of some image files."""

    paths: typing.List[pathlib.Path]  # in the order of the lines, each once
    classes: typing.List[str]         # of the files
    notes: typing.List[str]           # sentences about what was assumed or left out


def read_labels(path: pathlib.Path, folder: pathlib.Path) -> Labels:
    """Reads the CSV at `path`, with or without a header; its file names are relative to `folder`.

    The first line is a header if its first field is neither a file nor named like an image. Raises a UserError that
    names the line of what is wrong.
    """
    rows = _read_rows(path)
    found: typing.Dict[str, typing.Tuple[str, int]] = {}  # file: class, line
    notes, n_twice = [], 0
    for line, (name, label) in enumerate(rows, 1):
        file = folder / name
        if line == 1 and not os.path.isfile(str(file)) and not is_named_like_an_image(file):
            notes.append(f"note: line 1 of {path} ({name}, {label}) is taken for a header")
            continue
        if not name or not label:
            raise UserError(f"{path}: line {line} has no {'class' if name else 'file name'}: {name},{label}")
        if not os.path.isfile(str(file)):
            raise UserError(f"{path}: line {line}: there is no file {file}{_similar(file)}")
        earlier_label, earlier_line = found.setdefault(os.path.normpath(str(file)), (label, line))
        if earlier_label != label:
            raise UserError(f"{path}: line {line} says that {name} is {label}, but line {earlier_line} that it is "
                            f"{earlier_label}: keep one of them")
        n_twice += earlier_line != line
    if not found:
        raise UserError(f"{path} lists no file")
    if n_twice:
        notes.append(f"note: {count(n_twice, 'line', 'lines')} of {path} "
                     f"{'repeats' if n_twice == 1 else 'repeat'} an earlier one")
    notes += _unlisted_note(path, folder, set(found))
    return Labels([pathlib.Path(file) for file in found], [label for label, _ in found.values()], notes)


def _read_rows(path: pathlib.Path) -> typing.List[typing.Tuple[str, str]]:
    """Returns the two fields of every line, those of blank lines at the end left out."""
    import pandas

    if not os.path.isfile(str(path)):  # also for a name that is too long, at which Path.is_file raises an error
        raise UserError(f"labels_file {path}: there is no such file")
    what = "it must have two columns, file name and class, separated by a comma"
    try:
        frame = pandas.read_csv(str(path), header=None, dtype=str, na_filter=False, skip_blank_lines=False,
                                skipinitialspace=True, encoding="utf-8-sig")
    except (pandas.errors.ParserError, pandas.errors.EmptyDataError, UnicodeDecodeError, OSError) as error:
        reason = " ".join(str(error).split()).replace("Error tokenizing data. C error: ", "")
        raise UserError(f"labels_file {path} cannot be read ({reason}): {what}") from None
    if frame.shape[1] != 2:
        raise UserError(f"labels_file {path}: line 1 has {count(frame.shape[1], 'column', 'columns')}: {what}")
    rows = [(name.strip(), label.strip()) for name, label in frame.itertuples(index=False)]
    while rows and rows[-1] == ("", ""):
        rows.pop()
    return rows


def _similar(file: pathlib.Path) -> str:
    """Returns a hint at a file whose name differs in its suffix alone, or nothing."""
    if not file.name or not file.parent.is_dir():
        return ""
    others = sorted(other.name for other in file.parent.iterdir() if file.name in (other.name, other.stem))
    return f" (but {others[0]}: list names with their suffixes)" if others else ""


def _unlisted_note(path: pathlib.Path, folder: pathlib.Path, listed: typing.Set[str]) -> typing.List[str]:
    """Returns a sentence about the files in the folder, and below it, that the CSV does not list."""
    others = [file for file in all_files(folder) if os.path.normpath(str(file)) not in listed
              and not (file.exists() and file.samefile(path)) and not file.name.startswith(".")]
    images = [file for file in others if is_named_like_an_image(file)]
    counts = []
    if images:
        counts.append(count(len(images), "image that", "images that") + f" {path} does not list")
    if len(others) > len(images):
        counts.append(count(len(others) - len(images), "file that is no image", "files that are no images"))
    if not counts:
        return []
    return [f"note: left out: {' and '.join(counts)} ({named([str(file.relative_to(folder)) for file in others])})"]
