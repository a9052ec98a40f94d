"""Ctrl-C and SIGTERM as requests to stop: training finishes its step, saves and ends."""
import contextlib
import os
import signal
import sys
import threading
import typing

from misc.parent import left_to_parent

NAMES: typing.Dict[int, str] = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class Terminated(KeyboardInterrupt):
    """Is SIGTERM where Ctrl-C is a KeyboardInterrupt."""


class Signals:
    """A context manager in which the first signal is only recorded; a second one ends the process at once.

    A thread reads the signals, so that even a second signal does not wait for a long call into TensorFlow. Outside
    the main thread, which alone may set signal handlers, the context manager does nothing, nor in a process that leaves
    Ctrl-C to its parent (misc/parent.py).

    Attributes:
      received: number of the first signal, or None.
    """

    def __init__(self) -> None:
        self.received: typing.Optional[int] = None

    def __enter__(self) -> "Signals":
        self._active = (threading.current_thread() is threading.main_thread()
                        and signal.getsignal(signal.SIGINT) is not left_to_parent)
        if self._active:
            self._reading, self._writing = os.pipe()
            os.set_blocking(self._writing, False)
            self._handlers = {number: signal.signal(number, _ignore) for number in NAMES}
            self._wakeup_before = signal.set_wakeup_fd(self._writing)
            threading.Thread(target=self._listen, name="signals", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._active:
            signal.set_wakeup_fd(self._wakeup_before)
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            os.close(self._writing)  # ends the thread

    def _listen(self) -> None:
        while True:
            content = os.read(self._reading, 1)
            if not content:
                os.close(self._reading)
                return
            number = content[0]
            if number in NAMES and self.received is not None:
                os._exit(128 + number)
            if number in NAMES:
                self.received = number
                with contextlib.suppress(OSError):
                    print(f"\n{NAMES[number]}: saving, then stopping (repeat it to stop at once)", file=sys.stderr)


@contextlib.contextmanager
def sigterm_interrupts() -> typing.Iterator[None]:
    """While the context lasts, SIGTERM raises Terminated, as Ctrl-C raises KeyboardInterrupt; in the main thread only.

    Handlers that others have set, and a SIGTERM that is ignored, stay.
    """
    active = (threading.current_thread() is threading.main_thread()
              and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
    if active:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        if active:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def interruption(number: int) -> KeyboardInterrupt:
    """Returns the exception that the signal of this number stands for."""
    return Terminated() if number == signal.SIGTERM else KeyboardInterrupt()


def _terminate(*_: object) -> None:
    raise Terminated


def _ignore(*_: object) -> None:
    """Handles a signal by doing nothing; its number is written to the pipe all the same."""
