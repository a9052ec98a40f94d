"""Errors that a user can act on: one line on the screen instead of a traceback."""
import contextlib
import os
import sys


class UserError(Exception):
    """Bad input. The message is one line: what is wrong and what would be right. Exit code 2."""

    exit_code = 2


class RunError(UserError):
    """A run that started well and could not go on (training diverged, say). Exit code 1."""

    exit_code = 1


class Stopped(UserError):
    """A run that was asked to stop by a signal, and saved. Exit code 128 + the signal's number."""

    def __init__(self, message, number):
        super().__init__(message)
        self.exit_code = 128 + number


@contextlib.contextmanager
def one_line_errors(program, hint):
    """Turns a UserError into `PROGRAM: message` on stderr and its exit code; Ctrl-C into 130 and the hint.

    A closed pipe (`| head`) ends the program without a word, with 141 as a shell would say.
    """
    try:
        yield
        sys.stdout.flush()
    except UserError as error:
        message = " ".join(str(error).split())
        print(f"{program}: {message}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # whoever read our output has enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the flush at exit has a place to go
        sys.exit(141)
    except KeyboardInterrupt:
        print(f"\n{program}: interrupted; {hint}", file=sys.stderr)
        sys.exit(130)
