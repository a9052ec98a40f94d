"""Text of table files: compressed or not, in whatever encoding they are written."""
import bz2
import codecs
import gzip
import io
import lzma
import pathlib
import typing
import zipfile

from misc.errors import UserError

BLOCK = 1 << 20  # bytes that are looked at at a time
BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


class TableFormat(typing.NamedTuple):
    """How tables are written, by keys of the config; None: found from the file."""

    separator: typing.Optional[str] = None          # of the fields
    decimal: typing.Optional[str] = None            # "." or ","
    encoding: typing.Optional[str] = None           # as Python calls it
    header: typing.Optional[bool] = None            # whether the first line names the columns
    missing_marks: typing.Tuple[str, ...] = ()      # what stands for a missing value, besides the usual words


ANY_FORMAT = TableFormat()


SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods")


def open_bytes(path: pathlib.Path) -> typing.IO[bytes]:
    """Opens a file, decompressed if its name ends in .gz, .bz2, .xz or .zip (with one file in it)."""
    openers: typing.Dict[str, typing.Callable] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(str(path)) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/") and "__MACOSX" not in name]
            if len(names) != 1:
                raise UserError(f"{path} holds {len(names)} files: unpack the one that is the table")
            return io.BytesIO(archive.read(names[0]))
    return openers.get(path.suffix.lower(), open)(str(path), "rb")


def find_encoding(path: pathlib.Path) -> typing.Tuple[str, typing.List[str]]:
    """Returns (encoding, notices): UTF-8 or UTF-16 by its byte-order mark, UTF-8, or else Windows' cp1252.

    Raises a UserError if the file cannot be read or is not text.
    """
    if path.suffix.lower() in SPREADSHEETS:
        raise UserError(f"{path} is a spreadsheet: save the sheet that is the table as CSV")
    try:
        with open_bytes(path) as handle:
            first = handle.read(BLOCK)
            for mark, encoding in BYTE_ORDER_MARKS:
                if first.startswith(mark):
                    return encoding, []
            if b"\x00" in first:
                raise UserError(f"{path} is not a text file (it holds NUL characters): save the table as CSV, or set "
                                "encoding, for example to utf-16-le")
            decoder = codecs.getincrementaldecoder("utf-8")()
            while first:
                decoder.decode(first)
                first = handle.read(BLOCK)
            decoder.decode(b"", final=True)
        return "utf-8", []
    except UnicodeDecodeError:
        encoding = _single_byte_encoding(path)
        return encoding, [f"note: {path.name} is not written in UTF-8 and is read as {encoding} (key encoding)"]
    except (OSError, EOFError, zipfile.BadZipFile, lzma.LZMAError) as error:
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _single_byte_encoding(path: pathlib.Path) -> str:
    """Returns cp1252, or latin-1 if some bytes mean nothing in it."""
    with open_bytes(path) as handle:
        for block in iter(lambda: handle.read(BLOCK), b""):
            try:
                block.decode("cp1252")
            except UnicodeDecodeError:
                return "latin-1"
    return "cp1252"


def lines_of(path: pathlib.Path, encoding: str = "utf-8-sig") -> typing.Iterator[typing.Tuple[int, str]]:
    """Yields (line number from 1, line). Raises a UserError for a file that cannot be read or decoded."""
    try:
        with open_text(path, encoding) as handle:
            yield from enumerate(handle, start=1)
    except (UnicodeError, LookupError) as error:
        raise UserError(f"{path} is not a text file in {encoding}: give its encoding with the key encoding ({error})"
                        ) from None
    except (OSError, EOFError, zipfile.BadZipFile, lzma.LZMAError) as error:
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def open_text(path: pathlib.Path, encoding: str) -> typing.TextIO:
    """Opens a file as text, decompressed as by `open_bytes`; line ends are as in the file.

    A byte-order mark is no part of a text in UTF-8.
    """
    if codecs.lookup(encoding).name == "utf-8":
        encoding = "utf-8-sig"
    return io.TextIOWrapper(typing.cast(typing.BinaryIO, open_bytes(path)), encoding=encoding, newline="")


def open_rows(path: pathlib.Path, encoding: str, n_skipped: int) -> typing.TextIO:
    """Opens a file as text, after its first `n_skipped` lines."""
    handle = open_text(path, encoding)
    for _ in range(n_skipped):
        handle.readline()
    return handle
