"""Repeated runs in other processes, killed and interrupted."""
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.baseline.commands import baseline, home, numbers
from tests.conftest import ROOT

pytestmark = pytest.mark.usefixtures("shared_graphs")  # most tests train the same few settings


def command(config_path, *arguments):
    return [sys.executable, "regression_baseline.py", "--config", config_path, *arguments]


@pytest.fixture(scope="module")
def sequential(tmp_path_factory):
    """Function (write, runs) -> numbers of the same runs made one after the other in this process."""

    def make(write, runs, **keys):
        root = tmp_path_factory.mktemp("sequential")
        assert baseline(write(**keys), "--runs", str(runs), "--set", f"experiments_path={root}") == 0
        return numbers(root / "tiny" / "base")

    return make


@pytest.mark.parametrize("backend, jobs", [("dask", 1), pytest.param("ray", 2, marks=pytest.mark.slow)])
def test_workers_give_the_same_numbers(write, sequential, tmp_path, backend, jobs):
    """Two workers of dask are tested at their cluster's address, and those of loky where they are killed."""
    pytest.importorskip({"dask": "distributed", "ray": "ray"}[backend])
    done = subprocess.run(command(write(), "--runs", "2", "--jobs", str(jobs), "--backend", backend), cwd=str(ROOT),
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert numbers(home(tmp_path)) == sequential(write, 2)


@pytest.mark.slow
def test_a_dask_cluster_by_its_address(write, sequential, tmp_path, capsys):
    distributed = pytest.importorskip("distributed")
    where = dict(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None)
    with distributed.LocalCluster(**where) as cluster:
        assert baseline(write(), "--runs", "2", "--backend", "dask", "--address", cluster.scheduler_address) == 0
    assert numbers(home(tmp_path)) == sequential(write, 2)


def start(write, tmp_path, runs, **keys):
    """Starts the command in the background; returns when some seeds are done and a later one has left a checkpoint."""
    process = subprocess.Popen(command(write(**keys), "--runs", str(runs), "--jobs", "2"), cwd=str(ROOT),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # as in a terminal
    seeds, deadline = home(tmp_path) / "seeds", time.time() + 120
    while time.time() < deadline and process.poll() is None:
        done = {path.parent for path in seeds.glob("*/result.json")}
        under_way = {path.parent.parent for path in seeds.glob("*/checkpoint/checkpoint")} - done
        if done and any(int(path.name) > 2 for path in under_way):
            return process, done
        time.sleep(0.02)
    raise AssertionError(process.communicate())


@pytest.mark.slow
def test_killed_and_started_again(write, sequential, tmp_path):
    keys = dict(epoch=400, epoch_rate=40, save_interval=20)
    process, _ = start(write, tmp_path, 3, **keys)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (home(tmp_path) / "runs.csv").exists()
    time.sleep(2)  # until the workers have ended, too
    before = {path: path.stat().st_mtime_ns for path in home(tmp_path).glob("seeds/*/result.json")}
    assert 1 <= len(before) < 3
    assert baseline(write(**keys), "--runs", "3") == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before  # not run again
    assert "resuming after epoch" in "".join(path.read_text() for path in home(tmp_path).glob("seeds/*/log.txt"))
    assert numbers(home(tmp_path)) == sequential(write, 3, **keys)


def test_interrupted(write, sequential, tmp_path):
    keys = dict(epoch=400, epoch_rate=40, save_interval=20)
    process, done = start(write, tmp_path, 3, **keys)
    process.send_signal(signal.SIGINT)
    began = time.time()
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and time.time() - began < 15
    assert error.splitlines()[-1] == "regression_baseline.py: interrupted; the same command continues from here"
    assert "Traceback" not in error
    assert {path.name for path in done} <= set(numbers(home(tmp_path)))  # what is finished is kept
    assert baseline(write(**keys), "--runs", "3") == 0
    assert "resuming after epoch" in "".join(path.read_text() for path in home(tmp_path).glob("seeds/*/log.txt"))
    assert numbers(home(tmp_path)) == sequential(write, 3, **keys)
