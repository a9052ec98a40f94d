"""Files that are written as a whole: an earlier one stays until the new one is complete."""
import contextlib
import os
import pathlib
from typing import Iterator

from misc.errors import UserError


@contextlib.contextmanager
def replaced(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a name beside `path` to write to, which replaces it at the end. Raises UserError if that is impossible."""
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        os.replace(str(part), str(path))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    finally:
        if part.exists():
            part.unlink()
