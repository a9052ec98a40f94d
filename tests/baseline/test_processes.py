"""Processes of repeated runs: none outlives the command, and signals end the command as a user expects."""
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from core.training.stepper import Stepper
from misc.parent import ancestors
from misc.signals import Terminated, sigterm_interrupts
from tests.baseline.commands import baseline, home, numbers
from tests.conftest import ROOT

TAG = "TESTED_COMMAND"  # an environment variable by which processes of a command are found


def marked(value):
    """Process ids, except zombies', of the processes whose environment has TAG=value, with their command lines."""
    found = {}
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            state = (path / "stat").read_text().rpartition(")")[2].split()[0]
            if state != "Z" and f"{TAG}={value}".encode() in (path / "environ").read_bytes().split(b"\0"):
                found[int(path.name)] = (path / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            continue
    return found


def wait_for(what, seconds):
    deadline = time.time() + seconds
    while not what() and time.time() < deadline:
        time.sleep(0.05)
    return what()


@pytest.fixture
def workers_at_work(tmp_path):
    """Function (delay) -> a command, two of whose three workers have a job that lasts, and a function that lists them.

    The workers are there since `delay` seconds: they are starting or at work.
    """
    value = f"{tmp_path.name}-{os.getpid()}"
    code = ("import time\nfrom core.baseline.pool import Workers, parallel_map\n"
            "from misc.errors import one_line_errors\n"
            "with one_line_errors('regression_baseline.py', 'the same command continues from here'):\n"
            "    parallel_map(time.sleep, [100, 100], Workers(3))")

    def make(delay):
        process = subprocess.Popen([sys.executable, "-c", code], cwd=str(ROOT), env=dict(os.environ, **{TAG: value}),
                                   stderr=subprocess.PIPE, text=True, start_new_session=True)
        assert wait_for(lambda: sum("popen_loky" in line for line in marked(value).values()) >= 2, 60)
        time.sleep(delay)
        return process, lambda: marked(value)

    yield make
    for pid in marked(value):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize("delay", [0.0, 1.0])
def test_no_process_outlives_a_killed_command(workers_at_work, delay):
    process, left = workers_at_work(delay)
    process.kill()
    process.wait()
    assert wait_for(lambda: not left(), 5), left()
    process.stderr.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_sigterm_ends_a_command_and_its_workers(workers_at_work):
    process, left = workers_at_work(1.0)
    os.killpg(process.pid, signal.SIGTERM)  # as `timeout` and batch systems do
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 143, error
    assert error.splitlines()[-1] == "regression_baseline.py: ended by SIGTERM; the same command continues from here"
    assert "Traceback" not in error and wait_for(lambda: not left(), 5), left()


def test_ancestors():
    assert ancestors()[0] == os.getppid()
    code = "from misc.parent import ancestors\nprint(*ancestors())"
    done = subprocess.run([sys.executable, "-c", code], cwd=str(ROOT), stdout=subprocess.PIPE, text=True, check=True)
    assert str(os.getpid()) in done.stdout.split()


def test_sigterm_as_an_exception():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), sigterm_interrupts():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
    assert signal.getsignal(signal.SIGTERM) == before


def runs_of(tmp_path):
    """Seeds of the finished runs, and of those that were stopped under way."""
    seeds = home(tmp_path) / "seeds"
    finished = {path.parent.name for path in seeds.glob("*/result.json")}
    return finished, {path.parent.parent.name for path in seeds.glob("*/checkpoint/checkpoint")} - finished


@pytest.mark.usefixtures("shared_graphs")
@pytest.mark.parametrize("number, code, says", [
    (signal.SIGTERM, 143, "ended by SIGTERM"), (signal.SIGINT, 130, "interrupted")])
def test_a_signal_ends_runs_in_the_same_process(write, tmp_path, capsys, monkeypatch, number, code, says):
    """With --jobs 1, in the second run: the first is in the tables, and the second can be continued, not failed."""
    advance, sent = Stepper.run, []

    def signalled(stepper, segment):
        advance(stepper, segment)
        if runs_of(tmp_path)[0] and not sent:
            sent.append(number)
            os.kill(os.getpid(), number)
            time.sleep(0.3)  # a thread reads the signal

    monkeypatch.setattr(Stepper, "run", signalled)
    assert baseline(write(), "--runs", "3") == code
    output, error = capsys.readouterr()
    assert error.splitlines()[-1] == f"regression_baseline.py: {says}; the same command continues from here"
    assert "Traceback" not in error and "FAILED" not in error and "INCOMPLETE" in output
    assert not list(home(tmp_path).glob("seeds/*/failure.txt"))
    assert runs_of(tmp_path) == ({"1"}, {"2"}) and set(numbers(home(tmp_path))) == {"1"}
