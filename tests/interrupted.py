"""Starts a run and kills it while it trains."""
import os
import signal
import subprocess
import time

from tests.conftest import ROOT


def start_and_kill(command, folder, timeout):
    """Starts `command` and kills it once there is a checkpoint in `folder`, or after `timeout` seconds."""
    process = subprocess.Popen(command, cwd=str(ROOT), stderr=subprocess.DEVNULL)
    deadline = time.time() + timeout
    while not (folder.checkpoint / "checkpoint").exists() and process.poll() is None and time.time() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (folder.checkpoint / "checkpoint").exists() and not folder.result.exists(), "killed too early or too late"
