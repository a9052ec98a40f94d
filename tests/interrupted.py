"""Kills a run while it trains, and resumes it."""
import os
import signal
import subprocess
import time

from tests.conftest import ROOT


def kill_and_resume(command, folder, seconds):
    """Starts `command`, kills it once there is a checkpoint (or after `seconds`), and resumes it."""
    process = subprocess.Popen(command, cwd=str(ROOT), stderr=subprocess.PIPE)
    deadline = time.time() + seconds
    while not (folder.checkpoint / "checkpoint").exists() and process.poll() is None and time.time() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not folder.result.exists(), "killed too late to test anything"
    done = subprocess.run(command + ["--resume"], cwd=str(ROOT), stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    assert "resuming after epoch" in done.stderr
