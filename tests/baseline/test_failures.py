"""Repeated runs that fail, and arguments that do not fit."""
import json
import os
import socket
import sys

import numpy as np
import pytest

from core.baseline import pool, worker
from core.baseline.pool import Workers
from core.baseline.running import run_all
from core.training import run
from data_loader import DATASETS
from misc.errors import RunError, Stopped, UserError
from misc.folders import folder_at
from misc.records import read_json
from tests.baseline.commands import SPACE, baseline, home, numbers

pytestmark = pytest.mark.usefixtures("shared_graphs")  # most tests train the same few settings


def test_a_failing_run_is_reported_and_the_others_go_on(write, tmp_path, monkeypatch, capsys):
    honest = run.train

    def train_or_fail(plan, *args, **kwargs):
        if plan.config.seed in (2, 3):
            raise {2: RunError("training diverged"), 3: KeyError("a bug")}[plan.config.seed]
        return honest(plan, *args, **kwargs)

    monkeypatch.setattr(run, "train", train_or_fail)
    assert baseline(write(), "--runs", "4") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "2 of 4 runs failed: base seed 2: training diverged; base seed 3: KeyError: 'a bug' (see " in error
    assert list(numbers(home(tmp_path))) == ["1", "4"]
    assert "KeyError" in (home(tmp_path) / "seeds" / "3" / "traceback.txt").read_text()
    assert read_json(home(tmp_path) / "summary.json")["failed"]["2"] == "training diverged"


def test_a_run_that_kills_its_process_is_found(monkeypatch):
    class FakeTrack:
        def __init__(self, name):
            self.job, self.finished, self.done = type("Job", (), {"root": name})(), False, False

        def update(self):
            self.finished = self.done

    tracks = [FakeTrack(name) for name in "abcd"]
    calls = []

    def parallel_map(function, jobs, workers):
        calls.append([job.root for job in jobs])
        for track in tracks:
            if track.job in jobs and track.job.root == "c":
                raise RuntimeError("a worker process died")
            track.done = track.done or track.job in jobs
        return [None] * len(jobs)

    monkeypatch.setattr("core.baseline.running.parallel_map", parallel_map)
    failed = run_all(tracks, Workers(2))
    assert list(failed) == ["c"] and "its process died" in failed["c"]
    assert [track.finished for track in tracks] == [True, True, False, True]
    assert calls == [["a", "b", "c", "d"], ["c", "d"], ["c"], ["d"]]


def test_only_the_process_of_the_command_is_stopped(tmp_path, monkeypatch):
    def stop(job):
        raise Stopped("stopped by SIGTERM", 15)

    monkeypatch.setattr(worker, "_train", stop)
    monkeypatch.setattr(worker, "_prepare_process", lambda parent: None)
    with pytest.raises(Stopped):
        worker.work(worker.Job(str(tmp_path), {}, parent=os.getpid()))
    assert worker.work(worker.Job(str(tmp_path), {}, parent=os.getpid() + 1)) == "stopped by SIGTERM"


def test_a_run_without_a_result_is_a_failure(monkeypatch):
    track = type("Track", (), {"job": type("Job", (), {"root": "x"}), "finished": False, "update": lambda self: None})()
    monkeypatch.setattr("core.baseline.running.parallel_map", lambda function, jobs, *_: [None] * len(jobs))
    assert run_all([track], Workers(2)) == {"x": "it left no result in x"}


def test_a_run_with_a_damaged_checkpoint_is_archived_and_run_again(config, tmp_path):
    folder = folder_at(tmp_path / "run")
    folder.root.mkdir()
    run.finish(config(), folder)
    first = read_json(folder.result)["metrics"]
    folder.result.unlink()
    for path in folder.checkpoint.glob("*.data-*"):
        path.write_bytes(path.read_bytes()[:100])
    run.finish(config(), folder)
    assert read_json(folder.result)["metrics"] == first and (tmp_path / "run.1" / "config.json").is_file()


@pytest.mark.parametrize("device, reason", [("cpu", "as asked for"), ("auto", "are too few for a GPU")])
def test_logs_of_repeated_runs_tell_why_they_have_their_device(write, tmp_path, device, reason):
    assert baseline(write(optimizer="sgd"), "--runs", "1", "--device", device) == 0
    assert f"{reason}\n" in (home(tmp_path) / "seeds" / "1" / "log.txt").read_text()


def unused_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("message, arguments", [
    ("--runs 0: no runs asked for; give at least 1", ["--runs", "0"]),
    ("--seeds 5-3: no runs asked for", ["--seeds", "5-3"]),
    ("--seeds takes numbers and ranges such as 1-20", ["--seeds", "one"]),
    ("--seeds 1,1-2: a seed is given twice", ["--seeds", "1,1-2"]),
    ("give --runs or --seeds, not both", ["--seeds", "1", "--runs", "1"]),
    ("--set seed: the seeds of repeated runs are given by --runs N or --seeds", ["--set", "seed=3"]),
    ("unknown backend 'lokey'; did you mean 'loky'?", ["--backend", "lokey"]),
    ("--address goes with --backend dask or ray", ["--address", "127.0.0.1:1"]),
    ("--address 127.0.0.1:{port}: no dask cluster can be reached there", ["--backend", "dask", "--address", "{port}"]),
    ("--address 127.0.0.1:{port}: no ray cluster can be reached there", ["--backend", "ray", "--address", "{port}"]),
    ("--address nowhere: give HOST:PORT of the dask cluster", ["--backend", "dask", "--address", "nowhere"]),
    ("--jobs 0: give at least 1", ["--jobs", "0"]),
    ("split 20 does not exist: the standard protocol has 20 here", ["--protocol", "standard", "--runs", "21"]),
    ("unknown key 'epocj'", ["--set", "epocj=1"]),
    ("there are no runs in", ["--against", "{other}"]),
    ("--against {tmp}/nope: there is no such config file or folder", ["--against", "{tmp}/nope"]),
    ("--report {tmp}/dir.md: this is a folder", ["--report", "{tmp}/dir.md"]),
    ("--seeds takes numbers and ranges", ["--seeds", "²"]),
    ("--seeds 1-9999999999: 9999999999 runs are too many", ["--seeds", "1-9999999999"]),
    ("--report t.csv: give a name that ends in .md", ["--report", "t.csv"]),
    ("--report {tmp}/none/table.md: there is no such folder", ["--report", "{tmp}/none/table.md"]),
    ("--tune evaluates on validation rows by itself", ["--tune", "{space}", "--validate"]),
    ("--tune none.json: there is no such file", ["--tune", "none.json"]),
    ("--ensemble 0: give the number of members", ["--ensemble", "0"]),
    ("--ensemble and --tune exclude each other", ["--ensemble", "2", "--tune", "{space}"]),
])
def test_bad_arguments(write, tmp_path, capsys, message, arguments):
    port = unused_port()
    names = {"{port}": f"127.0.0.1:{port}", "{other}": write("other"), "{space}": str(tmp_path / "space.json")}
    (tmp_path / "space.json").write_text(json.dumps(SPACE))
    (tmp_path / "dir.md").mkdir()
    arguments = [names.get(word, word.replace("{tmp}", str(tmp_path))) for word in arguments]
    assert baseline(write(), *arguments) == 2
    error = capsys.readouterr().err
    assert message.format(port=port, tmp=tmp_path) in error and error.count("\n") == 1, error
    assert not (tmp_path / "experiments").exists()


def test_fresh_runs_cannot_be_resumed(write, tmp_path, capsys):
    """There is no --resume: the command always continues. With --fresh nothing is archived before this is said."""
    result = home(tmp_path) / "seeds" / "1" / "result.json"
    result.parent.mkdir(parents=True)
    result.write_text("{}")
    assert baseline(write(), "--runs", "1", "--fresh", "--resume") == 2
    assert "unrecognized arguments: --resume" in capsys.readouterr().err
    assert [path.name for path in result.parent.parent.iterdir()] == ["1"] and result.read_text() == "{}"


def test_configs_that_do_not_belong_together(write, tiny_data, tmp_path, capsys):
    assert baseline(write(), write("other", protocol="standard"), "--runs", "1") == 2
    assert "the configs differ in protocol (published, standard), and such numbers never" in capsys.readouterr().err
    assert baseline(write(), write(), "--runs", "1") == 2
    assert "two configs would write to" in capsys.readouterr().err
    np.savetxt(str(tiny_data / "concrete.data"), DATASETS["concrete"].fetch()[0][::-1])
    assert baseline(write("real", dataset="concrete", protocol="standard"), "--runs", "1") == 2
    assert "these are not the rows of concrete, in the order for which the standard" in capsys.readouterr().err
    assert not (tmp_path / "experiments").exists()
    kfac, concrete = write("kfac", optimizer="kfac"), write("real", dataset="concrete")
    assert baseline(kfac, concrete, "--runs", "1", "--against", kfac) == 2
    assert "--against kfac: its dataset is tiny, here it is concrete" in capsys.readouterr().err
    assert not (tmp_path / "experiments").exists()
    baseline(write(), "--seeds", "1")
    for name, keys, message in (("draws", {"test_particles": 9}, "test_particles is 7, here it is 9"),
                                ("protocol", {"protocol": "standard"}, "protocol is published, here it is standard")):
        capsys.readouterr()
        assert baseline(write(name, **keys), "--seeds", "1", "--against", str(home(tmp_path))) == 2
        assert message in capsys.readouterr().err


def test_something_else_at_the_address(write, tmp_path, monkeypatch, capsys):
    pytest.importorskip("distributed")
    monkeypatch.setattr(pool, "ANSWER_SECONDS", 5)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(5)
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert baseline(write(), "--backend", "dask", "--address", address) == 2
    error = capsys.readouterr().err
    assert "what listens there is not a dask cluster whose workers can run this project (no answer within 5" in error
    assert error.count("\n") == 1 and not (tmp_path / "experiments").exists()


def test_nothing_finished_leaves_no_old_tables(write, tmp_path, monkeypatch, capsys):
    assert baseline(write(), "--runs", "1") == 0
    assert baseline(write(alpha=1e30), "--runs", "1", "--against", str(home(tmp_path))) == 1
    assert "base seed 1 FAILED: training diverged" in capsys.readouterr().err
    assert not (home(tmp_path) / "runs.csv").exists() and (home(tmp_path) / "runs.csv.1").exists()
    wild = write("wild", alpha=1e30)
    assert baseline(wild, write(kl=0.5), "--runs", "1", "--against", wild) == 1
    error = capsys.readouterr().err.splitlines()
    assert "base is not compared: there are no runs in" in error[-2] and "1 of 2 runs failed: wild seed 1" in error[-1]
    assert list(numbers(home(tmp_path))) == ["1"]


def test_a_rival_whose_runs_are_not_of_its_config(write, tmp_path, capsys):
    baseline(write("rival"), "--runs", "1")
    assert baseline(write(), "--runs", "1", "--against", write("rival", kl=0.5)) == 2
    assert "were made with other settings (kl): run that config again, or give the folder" in capsys.readouterr().err
    assert baseline(write(), "--runs", "1", "--against", write("rival"), "--set", "exp_name=x", "--set", "kl=0.7") == 0
    assert "x minus rival, split by split (settings that differ: kl):" in capsys.readouterr().out


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match=r"--backend dask needs a package that is not installed: pip install 'dask"):
        pool.check_backend("dask")
