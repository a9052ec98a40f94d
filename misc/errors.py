"""Errors that a user can act on: one line on the screen instead of a traceback."""
import contextlib
import os
import sys
import typing

from misc.signals import Terminated, sigterm_interrupts

OUT_OF_MEMORY = "out of memory: try fewer particles, a smaller batch_size, or fewer rows"


class UserError(Exception):
    """Reports bad input. The message is one line: what is wrong, where, and what would be right. Exit code 2."""

    exit_code = 2


class RunError(UserError):
    """Reports a run that started well and could not go on, because training diverged, say. Exit code 1."""

    exit_code = 1


DIVERGED = "training diverged"


class Diverged(RunError):
    """Reports a training whose values are no longer finite. Its message begins with DIVERGED."""


class Stopped(UserError):
    """Reports a run that a signal has stopped, after it was saved. Exit code 128 + the signal's number.

    Attributes:
      number: the signal's.
    """

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.number = number
        self.exit_code = 128 + number

    def __reduce__(self) -> typing.Tuple[typing.Any, ...]:  # else pickle would leave out the number
        return type(self), (str(self), self.number)


@contextlib.contextmanager
def one_line_errors(program: str, hint: str) -> typing.Iterator[None]:
    """Turns a UserError into `PROGRAM: message` on stderr and its exit code.

    Memory that runs out is one line, too, with code 1. Ctrl-C ends the program with code 130, SIGTERM with code 143,
    and both print `hint`. A closed pipe (`| head`) ends
    it silently with 141, the code that a shell would report.
    """
    try:
        with sigterm_interrupts():
            yield
            sys.stdout.flush()
    except UserError as error:
        message = " ".join(str(error).split())
        print(f"{program}: {message}", file=sys.stderr)
        sys.exit(error.exit_code)
    except MemoryError:
        print(f"{program}: {OUT_OF_MEMORY}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:  # whoever reads the output wants no more of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the flush at exit would fail once more
        sys.exit(141)
    except KeyboardInterrupt as interrupt:
        what, code = ("ended by SIGTERM", 143) if isinstance(interrupt, Terminated) else ("interrupted", 130)
        print(f"\n{program}: {what}; {hint}", file=sys.stderr)
        sys.exit(code)
