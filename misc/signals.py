"""Ctrl-C and SIGTERM as a wish that training can fulfil: finish what runs, save, end."""
import contextlib
import os
import signal
import sys
import threading

NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class Signals:
    """While it holds, the first signal sets `asked` (its number), and a second ends the process at once.

    A thread reads the signals, so that neither waits for a long call into TensorFlow. Outside the main
    thread it does nothing.
    """

    def __init__(self):
        self.asked = None

    def __enter__(self):
        self._active = threading.current_thread() is threading.main_thread()
        if self._active:
            self._reading, self._writing = os.pipe()
            os.set_blocking(self._writing, False)
            self._handlers = {number: signal.signal(number, _nothing) for number in NAMES}
            self._before = signal.set_wakeup_fd(self._writing)
            threading.Thread(target=self._listen, name="interrupts", daemon=True).start()
        return self

    def __exit__(self, *_):
        if self._active:
            signal.set_wakeup_fd(self._before)
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            os.close(self._writing)  # ends the thread

    def _listen(self):
        while True:
            received = os.read(self._reading, 1)
            if not received:
                os.close(self._reading)
                return
            number = received[0]
            if number in NAMES and self.asked is not None:
                os._exit(128 + number)
            if number in NAMES:
                self.asked = number
                with contextlib.suppress(OSError):
                    print(f"\n{NAMES[number]}: saving, then stopping (once more: at once)", file=sys.stderr)


def _nothing(*_):
    """A handler, so that the signal is written to the pipe and nothing else happens."""
