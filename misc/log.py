"""One logger per run: everything to log.txt, and to the screen above the progress bar."""
import contextlib
import logging
import logging.handlers
import sys

import tqdm


class Screen:
    """stderr, which may be a full disk or a closed pipe: what it does not take is not shown, and nothing stops."""

    def write(self, text):
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self):
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()

    def __getattr__(self, name):
        return getattr(sys.stderr, name)


SCREEN = Screen()  # the one: a line clears the bars that are written to the same file


class _TqdmHandler(logging.Handler):
    """Writes to stderr without tearing a progress bar apart."""

    def emit(self, record):
        if getattr(record, "screen", True):
            tqdm.tqdm.write(self.format(record), file=SCREEN)


class _PatientFileHandler(logging.handlers.WatchedFileHandler):
    """Writes what the disk takes; a full disk or a missing folder stops nothing."""

    def emit(self, record):
        with contextlib.suppress(OSError):
            super().emit(record)

    def handleError(self, record):
        pass


def run_logger(path, screen=True, name="run"):
    """A logger that appends to the file `path` and, if `screen`, prints; close it with `close_logger`.

    A record with extra={"screen": False} goes to the file only.
    """
    logger = logging.getLogger(f"{name}:{path}")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    to_file = _PatientFileHandler(str(path), encoding="utf-8")
    to_file.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    logger.addHandler(to_file)
    if screen:
        to_screen = _TqdmHandler()
        to_screen.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(to_screen)
    return logger


def close_logger(logger):
    """Flushes and closes the files of a `run_logger`."""
    for handler in list(logger.handlers):
        handler.close()
        logger.removeHandler(handler)
