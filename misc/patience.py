"""Writing to a disk that may be full or gone: it is said once, and tried again."""
import time

from misc.errors import RunError

PAUSES = (0, 1, 2, 4, 8)  # seconds before each of the last tries


class Patient:
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
                reason = getattr(error, "strerror", None) or str(error).split("\n")[0][:200]
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
            time.sleep(seconds)
            due = {what: write for what, write in due.items() if not self.attempt(what, write)}
            if not due:
                return
        raise RunError(f"could not write {' and '.join(due)} in {where}: make room there and start again; --resume "
                       "goes on from the last checkpoint that could be saved, if there is one")
