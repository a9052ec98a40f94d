"""One logger per run: all messages go to log.txt, and to the screen above the progress bar."""
import contextlib
import logging
import logging.handlers
import pathlib
import sys
import typing

import tqdm


class Screen:
    """Writes to stderr. What stderr does not take (it may be a full disk or a closed pipe) is dropped silently."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()

    def __getattr__(self, name: str) -> typing.Any:
        return getattr(sys.stderr, name)


SCREEN = Screen()  # the only instance: tqdm clears a bar before a line only if both are written to the same object


class _TqdmHandler(logging.Handler):
    """Prints messages without breaking a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "screen", True):
            tqdm.tqdm.write(self.format(record), file=SCREEN)


class _TolerantFileHandler(logging.handlers.WatchedFileHandler):
    """Drops messages that cannot be written: a full disk or a missing folder must not stop a run."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        pass


def run_logger(path: pathlib.Path, screen: bool = True) -> logging.Logger:
    """Returns a logger that appends to the file `path` and, if `screen`, prints; close it with `close_logger`.

    A message with extra={"screen": False} goes to the file only.
    """
    logger = logging.getLogger(f"run:{path}")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    to_file = _TolerantFileHandler(str(path), encoding="utf-8")
    to_file.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    logger.addHandler(to_file)
    if screen:
        to_screen = _TqdmHandler()
        to_screen.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(to_screen)
    return logger


def close_logger(logger: logging.Logger) -> None:
    """Flushes and closes the files of a `run_logger`."""
    for handler in list(logger.handlers):
        handler.close()
        logger.removeHandler(handler)
