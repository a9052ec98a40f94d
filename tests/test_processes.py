"""Processes of repeated runs: none outlives the command, and signals end the command as a user expects."""
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from misc.parent import ancestors
from misc.signals import Terminated, sigterm_interrupts
from tests.conftest import ROOT
from tests.test_baseline import command, home, numbers, write  # noqa: F401

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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize("delay", [0.0, 2.0])
def test_no_process_outlives_a_killed_command(tmp_path, delay):
    """Two of three workers have a job, which lasts; they are starting, or at work, when their parent is killed."""
    value = f"{tmp_path.name}-{os.getpid()}"
    code = ("import time\nfrom core.baseline.pool import Workers, parallel_map\n"
            "parallel_map(time.sleep, [100, 100], Workers(3))")
    process = subprocess.Popen([sys.executable, "-c", code], cwd=str(ROOT), env=dict(os.environ, **{TAG: value}),
                               stderr=subprocess.DEVNULL)
    try:
        assert wait_for(lambda: sum("popen_loky" in line for line in marked(value).values()) >= 2, 60)
        time.sleep(delay)
        process.kill()
        process.wait()
        assert wait_for(lambda: not marked(value), 10), marked(value)
    finally:
        for pid in marked(value):
            os.kill(pid, signal.SIGKILL)


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


@pytest.mark.parametrize("number, jobs, code, says", [
    (signal.SIGTERM, 2, 143, "ended by SIGTERM"), (signal.SIGINT, 1, 130, "interrupted"),
    (signal.SIGTERM, 1, 143, "ended by SIGTERM")])
def test_a_signal_ends_repeated_runs(write, tmp_path, number, jobs, code, says):  # noqa: F811
    """What is finished is in the tables, nothing counts as failed, and the run under way can be continued."""
    path = write(epoch=600, epoch_rate=60, save_interval=30)
    process = subprocess.Popen(command(path, "--runs", "4", "--jobs", str(jobs)), cwd=str(ROOT), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, start_new_session=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # as in a terminal
    seeds = home(tmp_path) / "seeds"

    def under_way():
        return {path.parent.parent.name for path in seeds.glob("*/checkpoint/checkpoint")} - {
            path.parent.name for path in seeds.glob("*/result.json")}

    assert wait_for(lambda: (list(seeds.glob("*/result.json")) and under_way()) or process.poll() is not None, 120)
    os.killpg(process.pid, number)  # as a terminal does, and `timeout` and batch systems
    output, error = process.communicate(timeout=60)
    assert process.returncode == code, error
    assert error.splitlines()[-1] == f"regression_baseline.py: {says}; the same command continues from here"
    assert "Traceback" not in error and "FAILED" not in error and "INCOMPLETE" in output
    assert not list(seeds.glob("*/failure.txt")) and set(numbers(home(tmp_path))) == {
        path.parent.name for path in seeds.glob("*/result.json")}
    assert under_way()
