"""Writing to a disk that may be full or missing: a failure is logged once, and the write is tried again later."""
import errno
import logging
import os
import time
import typing

from misc.errors import RunError

PAUSES = (0, 1, 2, 4, 8)  # seconds before each try of `Retry.write_all`


class Retry:
    """Tries to write, and remembers what could not be written.

    Args:
      log: where failures and recoveries are reported.
      errors: the types of errors that a write may raise; others pass.

    Attributes:
      pending: names of what could not be written so far.
    """

    def __init__(self, log: logging.Logger, errors: typing.Tuple[typing.Type[BaseException], ...] = (OSError,)):
        self._log, self._errors = log, errors
        self.pending: typing.Set[str] = set()

    def attempt(self, what: str, write: typing.Callable[[], object]) -> bool:
        """Calls `write` and tells whether it succeeded. The first failure and the next success are logged.

        Args:
          what: a name for what is written, used in messages and in `pending`.
        """
        try:
            write()
        except self._errors as error:
            if what not in self.pending:
                reason = getattr(error, "strerror", None) or _reason(str(error))
                self._log.warning("cannot write %s (%s): continuing in memory, and will try again", what, reason)
            self.pending.add(what)
            return False
        if what in self.pending:
            self._log.info("%s could be written again", what)
        self.pending.discard(what)
        return True

    def write_all(self, writes: typing.Mapping[str, typing.Callable[[], object]], where: object) -> None:
        """Writes all of {what: function}, trying for some seconds. Raises RunError if that fails.

        Args:
          where: the folder that the error names.
        """
        due = dict(writes)
        for seconds in PAUSES:
            if seconds:
                self._log.warning("%s cannot be written yet: trying again in %d s", " and ".join(due), seconds)
            time.sleep(seconds)
            due = {what: write for what, write in due.items() if not self.attempt(what, write)}
            if not due:
                return
        raise RunError(f"could not write {' and '.join(sorted({*due, *self.pending}))} in {where}: make room or remove "
                       "what is in the way, and start again; with --resume, the run continues from the last checkpoint "
                       "that could be saved, if there is one")


def _reason(text: str) -> str:
    """Returns the part of an error's message that says what is wrong; TensorFlow's messages begin with where."""
    if os.strerror(errno.ENOSPC) in text:
        return os.strerror(errno.ENOSPC)
    lines = [line.strip() for line in text.split("\n") if line.strip() and "Graph execution error" not in line]
    return (lines or [""])[0][:200]
