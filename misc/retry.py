"""Writing to a disk that may be full or gone: it is said once, and tried again."""
import errno
import os
import time

from misc.errors import RunError

PAUSES = (0, 1, 2, 4, 8)  # seconds before each of the last tries


class Retry:
    """Tries to write, and remembers what could not be written.

    Args:
      log: a logger. errors: what writing may raise.
    """

    def __init__(self, log, errors=(OSError,)):
        self._log, self._errors, self.troubles = log, errors, set()

    def attempt(self, what, write):
        """Whether the function `write` succeeded; if not it is said, once until it does."""
        try:
            write()
        except self._errors as error:
            if what not in self.troubles:
                reason = getattr(error, "strerror", None) or _reason(str(error))
                self._log.warning("cannot write %s (%s): going on in memory, and trying again", what, reason)
            self.troubles.add(what)
            return False
        if what in self.troubles:
            self._log.info("%s could be written again", what)
        self.troubles.discard(what)
        return True

    def insist(self, writes, where):
        """Writes all of {what: function}, trying for some seconds. RunError if it cannot be."""
        due = dict(writes)
        for seconds in PAUSES:
            if seconds:
                self._log.warning("%s cannot be written yet: trying again in %d s", " and ".join(due), seconds)
            time.sleep(seconds)
            due = {what: write for what, write in due.items() if not self.attempt(what, write)}
            if not due:
                return
        raise RunError(f"could not write {' and '.join(sorted({*due, *self.troubles}))} in {where}: see to it that "
                       "there is room and nothing in the way, and start again; --resume goes on from the last "
                       "checkpoint that could be saved, if there is one")


def _reason(text):
    """The part of an error's message that says what is wrong: TensorFlow's begin with where."""
    if os.strerror(errno.ENOSPC) in text:
        return os.strerror(errno.ENOSPC)
    lines = [line.strip() for line in text.split("\n") if line.strip() and "Graph execution error" not in line]
    return (lines or [""])[0][:200]
