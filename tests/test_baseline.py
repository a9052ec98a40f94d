"""Repeated runs: their files, and that they can be killed, distributed to workers, compared and tuned."""
import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import scipy.stats
import tensorflow.compat.v1 as tf

import regression_baseline
import train
from core.baseline import pool, report, results, tuning
from core.baseline.jobs import choose_seeds, parse_seeds
from core.baseline.pool import Workers
from core.baseline.running import run_all
from core.baseline.statistics import compare, summarise
from core.training import run
from data_loader import DATASETS
from misc.config import Config
from misc.errors import RunError, UserError
from misc.folders import folder_at, run_folder
from misc.records import read_json, read_rows
from tests.conftest import ROOT

pytestmark = pytest.mark.usefixtures("shared_graphs")  # most tests train the same few settings

SPACE = {"trials": 2, "folds": 2, "validation_fraction": 0.2, "during_search": {"epoch": 2},
         "space": {"kl": {"low": 0.1, "high": 1.0, "log": True}, "Teigen": {"low": 2, "high": 4},
                   "scale_init": {"choices": ["damped", "exact"]}}}


@pytest.fixture
def write(settings, tmp_path):
    """Function (name, **overrides) -> path of a JSON config for tiny.data whose exp_name is `name`.

    Its method is diag, whose graph is built fastest.
    """

    def make(name="base", **overrides):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(settings(exp_name=name, **dict({"optimizer": "diag"}, **overrides))))
        return str(path)

    return make


def baseline(*arguments, jobs=1):
    """Runs the command in this process; returns its exit code."""
    try:
        regression_baseline.main(["--jobs", str(jobs), "--config", *arguments])
    except SystemExit as stop:
        return stop.code
    return 0


def home(tmp_path, name="base"):
    return tmp_path / "experiments" / "tiny" / name


def numbers(root):
    """{seed: (rmse, log_likelihood)} of runs.csv as text, to the last digit."""
    return {row["seed"]: (row["rmse"], row["log_likelihood"]) for row in read_rows(root / "runs.csv")}


# Statistics.

def test_summary_against_numpy(rng):
    values = rng.randn(7)
    summary = summarise(values)
    assert summary["mean"] == pytest.approx(values.mean()) and summary["n"] == 7
    assert summary["se"] == pytest.approx(np.sqrt(((values - values.mean()) ** 2).sum() / 6 / 7))
    assert summary["median"] == sorted(values)[3]
    assert summary["lower_quartile"] < summary["median"] < summary["upper_quartile"]
    assert summarise([2.0])["se"] is None


def test_paired_comparison_against_scipy(rng):
    ours, theirs = rng.randn(9), rng.randn(9) + 0.3
    comparison = compare(ours, theirs)
    test = scipy.stats.ttest_rel(ours, theirs)
    assert comparison["mean"] / comparison["se"] == pytest.approx(test.statistic)
    level = scipy.stats.t.cdf((comparison["mean"] - comparison["ci_low"]) / comparison["se"], 8)
    assert level == pytest.approx(0.975) and comparison["ci_high"] - comparison["mean"] == pytest.approx(
        comparison["mean"] - comparison["ci_low"])
    assert comparison["wilcoxon_p"] == pytest.approx(scipy.stats.wilcoxon(ours, theirs).pvalue)
    same = compare([1.0, 2.0], [1.0, 2.0])
    assert (same["mean"], same["wilcoxon_p"]) == (0.0, 1.0)
    assert compare([1.0], [2.0])["ci_low"] is None


def test_seeds(config):
    assert parse_seeds("1-3,7") == [1, 2, 3, 7]
    assert choose_seeds(config(runs=4)) == [1, 2, 3, 4] and choose_seeds(config(), runs=2) == [1, 2]
    assert choose_seeds(config(), seeds="5") == [5] and len(choose_seeds(config())) == 10


# The files of a repeated run.

def test_files_of_repeated_runs(write, config, tmp_path, capsys):
    rival = write("rival", optimizer="kfac")
    assert baseline(write(), rival, "--runs", "3", "--against", rival, "--report", str(tmp_path / "table.md")) == 0
    printed = capsys.readouterr().out
    rows = read_rows(home(tmp_path) / "runs.csv")
    assert [row["seed"] for row in rows] == ["1", "2", "3"] and [row["split"] for row in rows] == ["1", "2", "3"]
    single = run.execute(run.plan(config(seed=2, exp_name="single", optimizer="diag")))
    assert float(rows[1]["rmse"]) == single["metrics"]["test_rmse"]
    assert float(rows[1]["log_likelihood"]) == single["metrics"]["test_log_likelihood"]
    assert float(rows[1]["coverage_90"]) == single["metrics"]["test_coverage_90"]
    cdf = np.array([float(row["cdf"]) for row in read_rows(home(tmp_path) / "seeds" / "2" / "predictions.csv")])
    assert float(rows[1]["coverage_90"]) == np.mean(np.abs(cdf - 0.5) <= 0.45)
    assert "**Test coverage of 90 % intervals** (fraction of targets inside; ideal: 0.9)" in printed
    assert float(rows[1]["noise_precision"]) == single["metrics"]["train_noise_precision"]
    assert rows[1]["split_hash"] == single["split_hash"] and len({row["split_hash"] for row in rows}) == 3
    assert rows[0]["protocol"] == "published" and rows[0]["test_particles"] == "7" and "own units" in rows[0]["units"]

    curve = read_rows(home(tmp_path) / "seeds" / "2" / "metrics.csv")
    best = max(curve, key=lambda row: float(row["test_log_likelihood"]))
    assert rows[1]["best_epoch"] == best["epoch"] and rows[1]["best_epoch_rmse"] == best["test_rmse"]
    assert rows[1]["best_epoch_chosen_on"] == "test rows (optimistic)"

    summary = read_json(home(tmp_path) / "summary.json")
    scores = np.array([float(row["log_likelihood"]) for row in rows])
    assert summary["metrics"]["log_likelihood"]["mean"] == pytest.approx(scores.mean())
    assert summary["metrics"]["log_likelihood"]["se"] == pytest.approx(scores.std(ddof=1) / np.sqrt(3))
    assert {"protocol", "split_hashes", "rows_hash", "units", "ddof", "test_particles", "n"} <= set(summary)
    rivals = np.array([float(row["log_likelihood"]) for row in read_rows(home(tmp_path, "rival") / "runs.csv")])
    assert summary["against"]["exp_name"] == "rival"
    assert summary["against"]["metrics"]["log_likelihood"]["mean"] == pytest.approx((scores - rivals).mean())
    assert "against" not in read_json(home(tmp_path, "rival") / "summary.json")
    assert (home(tmp_path) / "curves.png").read_bytes()[:4] == b"\x89PNG"
    assert "base minus rival, split by split (settings that differ: optimizer):" in printed
    assert "(at least 0.25 with so few), 3 pairs of 3 runs" in printed and summary["settings"]["Teigen"] == 3

    assert (tmp_path / "table.md").read_text() in printed
    table = {(row["metric"], row["column"]): row for row in read_rows(tmp_path / "table.csv")}
    assert float(table["rmse", "diag"]["mean"]) == summary["metrics"]["rmse"]["mean"]
    assert {"ddof", "protocol", "rows_hash", "splits_hash", "units"} <= set(table["rmse", "kfac"])
    assert table["rmse", "diag"]["splits_hash"] == table["rmse", "kfac"]["splits_hash"] == summary["splits_hash"]
    assert r"\begin{tabular}" in (tmp_path / "table.tex").read_text()


def test_hyper_parameters_for_tensorboard(write, tmp_path):
    from tensorboard.plugins.hparams import plugin_data_pb2

    baseline(write(kl=0.5), "--runs", "1")
    values = []
    for path in (home(tmp_path) / "seeds" / "1" / "summary").glob("events.*"):
        for event in tf.train.summary_iterator(str(path)):
            values += [value for value in event.summary.value if value.metadata.plugin_data.plugin_name == "hparams"]
    data = plugin_data_pb2.HParamsPluginData.FromString(values[0].metadata.plugin_data.content)
    assert data.session_start_info.hparams["kl"].number_value == 0.5
    assert data.session_start_info.hparams["optimizer"].string_value == "diag"


def test_finished_runs_are_reused_and_a_changed_config_is_run_again(write, tmp_path, capsys):
    results_of = lambda: {path: path.stat().st_mtime_ns for path in home(tmp_path).glob("seeds/*/result.json")}  # noqa: E731
    baseline(write(), "--runs", "2")
    first, table = results_of(), numbers(home(tmp_path))
    baseline(write(steps_per_run=3, runs=7), "--runs", "3")  # keys that change no result
    assert {path: results_of()[path] for path in first} == first and len(results_of()) == 3
    assert "2 of 3 runs are finished already" in capsys.readouterr().err
    baseline(write(kl=0.5), "--runs", "2")
    assert numbers(home(tmp_path)) != table
    assert "2 earlier runs with other settings will be archived, as " in capsys.readouterr().err
    assert (home(tmp_path) / "seeds" / "1.1" / "result.json").is_file()  # archived
    baseline(write(kl=0.5), "--seeds", "2", "--fresh")
    assert (home(tmp_path) / "seeds" / "2.2" / "result.json").is_file() and list(numbers(home(tmp_path))) == ["2"]
    assert {path.name for path in (home(tmp_path) / "seeds").glob("[!.]*")} == {"1", "1.1", "2", "2.1", "2.2", "3"}


def test_other_rows_are_noticed(write, tiny_data, tmp_path):
    baseline(write(), "--runs", "1")
    before = numbers(home(tmp_path))
    raw = np.loadtxt(str(tiny_data / "tiny.data"))
    np.savetxt(str(tiny_data / "tiny.data"), raw * 2)
    baseline(write(), "--runs", "1")
    assert numbers(home(tmp_path)) != before


def test_a_single_run_and_repeated_runs_share_a_folder(write, tmp_path):
    baseline(write(), "--runs", "1")
    for _ in range(2):
        train.main(["--config", write()])
    assert (home(tmp_path) / "seeds" / "1" / "result.json").is_file() and (home(tmp_path) / "runs.csv").is_file()
    assert (home(tmp_path, "base.1") / "result.json").is_file()


def test_protocols_have_their_own_folders_and_published_values(write, tmp_path, capsys):
    concrete = dict(dataset="concrete", epoch=1, optimizer="sgd")
    baseline(write(**concrete), "--seeds", "2", "--protocol", "standard")
    root = tmp_path / "experiments" / "concrete"
    row = read_rows(root / "base_standard" / "runs.csv")[0]
    assert (row["protocol"], row["split"]) == ("standard", "1")
    assert "published noisy K-FAC" not in capsys.readouterr().out
    baseline(write(**concrete), "--seeds", "2", "--protocol", "published")
    assert read_rows(root / "base" / "runs.csv")[0]["protocol"] == "published"
    assert "published noisy K-FAC" in capsys.readouterr().out


def test_validation_never_looks_at_the_test_rows(write, tiny_data, tmp_path, capsys):
    baseline(write(), "--runs", "2", "--validate")
    root = home(tmp_path, "base_validate")
    table, result = numbers(root), read_json(root / "seeds" / "1" / "result.json")
    assert result["evaluate_on"] == "validation" and result["n_valid"] == 4
    assert not [name for name in result["metrics"] if name.startswith("test_")]
    assert float(table["1"][0]) == result["metrics"]["valid_rmse"]
    assert "**Validation RMSE**" in capsys.readouterr().out
    raw = np.loadtxt(str(tiny_data / "tiny.data"))
    raw[np.random.RandomState(1).permutation(43)[39:]] += 1000  # the test rows of seed 1
    np.savetxt(str(tiny_data / "tiny.data"), raw)
    baseline(write(), "--seeds", "1", "--validate")
    assert numbers(root)["1"] == table["1"] and (root / "seeds" / "1.1").is_dir()  # run again


# Failures.

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


# Processes.

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


@pytest.mark.parametrize("backend, jobs", [("loky", 2), ("dask", 1), ("ray", 2)])
def test_workers_give_the_same_numbers(write, sequential, tmp_path, backend, jobs):
    """Two workers of dask are tested at their cluster's address."""
    if backend != "loky":
        pytest.importorskip({"dask": "distributed", "ray": "ray"}[backend])
    done = subprocess.run(command(write(), "--runs", "2", "--jobs", str(jobs), "--backend", backend), cwd=str(ROOT),
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert numbers(home(tmp_path)) == sequential(write, 2)


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


def test_interrupted(write, tmp_path):
    process, done = start(write, tmp_path, 4, epoch=400, epoch_rate=40, save_interval=20)
    process.send_signal(signal.SIGINT)
    began = time.time()
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and time.time() - began < 15
    assert error.splitlines()[-1] == "regression_baseline.py: interrupted; the same command continues from here"
    assert "Traceback" not in error
    assert {path.name for path in done} <= set(numbers(home(tmp_path)))  # what is finished is kept


# Searches.

def space_file(tmp_path, **changes):
    path = tmp_path / "space.json"
    path.write_text(json.dumps(dict(SPACE, **changes)))
    return str(path)


def test_a_search_sees_only_training_rows_and_its_choice_is_used(write, tmp_path, monkeypatch):
    trained, honest = [], run.finish
    monkeypatch.setattr(run, "finish", lambda config, *rest: (trained.append(config), honest(config, *rest)))
    assert baseline(write(optimizer="sgd"), "--runs", "2", "--tune", space_file(tmp_path)) == 0
    root = home(tmp_path, "base_tuned")
    inner, final = trained[:4] + trained[5:9], [trained[4], trained[9]]
    assert len(trained) == 10 and {config.evaluate_on for config in inner} == {"validation"}
    assert {(config.validation_fold, config.epoch) for config in inner} == {(0, 2), (1, 2)}
    for config, seed in zip(final, (1, 2)):
        tuned = root / "seeds" / str(seed) / "tuning"
        chosen, trials = read_json(tuned / "chosen.json"), read_rows(tuned / "trials.csv")
        assert config.evaluate_on == "test" and config.epoch == 4 and config.seed == seed
        assert {name: getattr(config, name) for name in SPACE["space"]} == chosen["values"]
        best = max(trials, key=lambda row: float(row["log_likelihood"]))
        assert float(best["kl"]) == chosen["values"]["kl"] and isinstance(chosen["values"]["Teigen"], int)
        assert len(trials) == 2 and not list(tuned.glob("trial[0-9]*"))
    assert json.loads(read_rows(root / "runs.csv")[0]["tuned"])["kl"] == final[0].kl
    assert read_json(root / "summary.json")["search"]["trials"] == 2
    baseline(write(optimizer="sgd"), "--runs", "2", "--tune", space_file(tmp_path))
    assert len(trained) == 10  # no run was repeated
    baseline(write(optimizer="sgd"), "--runs", "1", "--tune", space_file(tmp_path, trials=1))
    assert len(trained) == 13 and (root / "seeds" / "1" / "tuning.1").is_dir()  # another search


def test_test_rows_do_not_change_what_is_chosen(write, tiny_data, tmp_path):
    chosen = []
    for shift in (0, 1000):
        raw = np.loadtxt(str(tiny_data / "tiny.data"))
        raw[np.random.RandomState(1).permutation(43)[39:]] += shift
        np.savetxt(str(tiny_data / "tiny.data"), raw)
        baseline(write(optimizer="sgd"), "--runs", "1", "--tune", space_file(tmp_path))
        chosen.append(read_json(home(tmp_path, "base_tuned") / "seeds" / "1" / "tuning" / "chosen.json"))
    assert chosen[0] == chosen[1]
    assert (home(tmp_path, "base_tuned") / "seeds" / "1" / "tuning.1").is_dir()  # searched again
    baseline(write(optimizer="sgd"), "--runs", "1", "--tune", space_file(tmp_path), "--fresh")
    assert (home(tmp_path, "base_tuned") / "seeds" / "1" / "tuning.2").is_dir()


def test_an_interrupted_search_ends_as_an_uninterrupted_one(config, tmp_path, monkeypatch):
    settings = config(optimizer="sgd", seed=2)
    space = tuning.read_space(space_file(tmp_path, trials=5), settings)
    monkeypatch.setattr(tuning, "STARTUP_TRIALS", 2)
    folders = [folder_at(tmp_path / name) for name in ("straight", "broken")]
    straight = tuning.tune(settings, space, folders[0])
    honest, calls = run.finish, []

    def killed_at_times(*args):
        calls.append(args)
        if len(calls) in (2, 5, 8):
            raise KeyboardInterrupt
        honest(*args)

    monkeypatch.setattr(run, "finish", killed_at_times)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            tuning.tune(settings, space, folders[1])
    assert tuning.tune(settings, space, folders[1]) == straight
    trials = [(folder.root / "tuning" / "trials.csv").read_text() for folder in folders]
    assert trials[0] == trials[1] and "behind the median after 1 of 2 folds" in trials[0]  # some are pruned


def test_a_diverging_trial_does_not_end_the_search(config, tmp_path, monkeypatch):
    honest = run.finish

    def diverge(config, *rest):
        if config.scale_init == "exact":
            raise RunError("training diverged")
        honest(config, *rest)

    monkeypatch.setattr(run, "finish", diverge)
    space = tuning.read_space(space_file(tmp_path, trials=6), config())
    assert tuning.tune(config(optimizer="sgd"), space, folder_at(tmp_path / "run")).scale_init == "damped"
    assert "training diverged" in (tmp_path / "run" / "tuning" / "trials.csv").read_text()
    space = tuning.read_space(space_file(tmp_path, space={"scale_init": {"choices": ["exact"]}}), config())
    with pytest.raises(RunError, match="no trial of the search ended well"):
        tuning.tune(config(optimizer="sgd"), space, folder_at(tmp_path / "other"))


def test_lists_are_choices(config, tmp_path):
    """A search over `hidden`, cut short after its trials: the choices are read back from optuna's journal as lists."""
    spaces = [tuning.read_space(space_file(tmp_path, space={"hidden": written}), config())
              for written in ({"choices": [[4], [3, 2]]}, [[4], [3, 2]])]
    assert spaces[0] == spaces[1]
    space = spaces[0]
    folder = folder_at(tmp_path / "run")
    chosen = tuning.tune(config(optimizer="sgd"), space, folder)
    tuned = folder.root / "tuning"
    best = max(read_rows(tuned / "trials.csv"), key=lambda row: float(row["log_likelihood"]))
    assert chosen.hidden in ([4], [3, 2]) and best["hidden"] == json.dumps(chosen.hidden)
    (tuned / "chosen.json").unlink()
    assert tuning.tune(config(optimizer="sgd"), space, folder).hidden == chosen.hidden
    assert read_json(tuned / "chosen.json")["values"] == {"hidden": chosen.hidden}


@pytest.mark.parametrize("message, changes", [
    (r"hidden: 20 does not work: config: hidden: input should be a valid list", {"space": {"hidden": [20, 50]}}),
    (r"hidden: 10.0 does not work: .*valid list", {"space": {"hidden": {"low": 10, "high": 50}}}),
    (r"space.hidden.choices: ", {"space": {"hidden": {"choices": 3}}}),
    (r"space.kl.low: ", {"space": {"kl": {"high": 50}}}),
    (r"space.kl: ", {"space": {"kl": 3}}),
    ("trials: ", {"trials": 0}), ("trails: ", {"trails": 3}), ("space: ", {"space": {}}),
    ("klx is not a config key; did you mean 'kl'", {"space": {"klx": {"low": 1, "high": 2}}}),
    ("seed cannot be searched over", {"space": {"seed": {"low": 1, "high": 2}}}),
    ("kl: low must be below high", {"space": {"kl": {"low": 2, "high": 1}}}),
    ("kl: 0.0 does not work", {"space": {"kl": {"low": 0, "high": 1}}}),
    ("scale_init: 'exat' does not work", {"space": {"scale_init": {"choices": ["exat"]}}}),
    ("validation_fold 4 does not exist: 39 rows give", {"folds": 5}),
    ("optimizer cannot be searched over", {"space": {"optimizer": {"choices": ["kfac"]}}}),
    ("6 folds of validation_fraction 0.2 are more than all training rows", {"folds": 6}),
    ("metric: ", {"metric": "loss"}),
])
def test_spaces_that_make_no_sense(config, tmp_path, message, changes):
    with pytest.raises(UserError, match=message):
        tuning.read_space(space_file(tmp_path, **changes), config())


def test_the_shipped_search_space():
    config = Config.from_file(ROOT / "config" / "regression" / "ekfac_concrete.json")
    space = tuning.read_space(ROOT / "config" / "search" / "regression.json", config)
    assert tuning.n_epochs(config, space) == 20 * 3 * 200 + 1000


# Tables.

def summary_of(dataset, optimizer, mean, se=0.1, **changes):
    value = {"mean": mean, "se": se, "n": 5}
    return dict({"dataset": dataset, "optimizer": optimizer, "exp_name": f"{optimizer}_{dataset}", "n": 5,
                 "n_asked": 5, "seeds": [1, 2, 3, 4, 5], "splits": [1, 2, 3, 4, 5], "settings": {"epoch": 1000},
                 "protocol": "published", "evaluate_on": "test", "test_particles": 100, "rows_hash": "x",
                 "splits_hash": "y",
                 "metrics": {"rmse": value, "log_likelihood": value}}, **changes)


def test_bold_is_the_best_and_all_within_its_standard_error():
    tables = [summary_of("concrete", "ekfac", 1.0), summary_of("concrete", "kfac", 1.09),
              summary_of("concrete", "diag", 1.11), summary_of("wine", "ekfac", 3.0)]
    text = report.markdown(tables)
    lower, higher = text.split("**Test log-likelihood**")
    assert "**1.000 ± 0.100** | **1.090 ± 0.100** | 1.110 ± 0.100" in lower
    assert "1.000 ± 0.100 | **1.090 ± 0.100** | **1.110 ± 0.100**" in higher
    assert "| wine | 3.000 ± 0.100 |  |  |" in lower
    assert "5 runs, 1000 epochs, 100 draws; protocol published, test rows" in text and "INCOMPLETE" not in text
    assert "over seeds, not all on a split" in report.markdown([summary_of("wine", "ekfac", 1.0, splits=[1] * 5)])
    assert "INCOMPLETE: ekfac_wine has 5 of 6 runs." in report.markdown([summary_of("wine", "ekfac", 1.0, n_asked=6)])
    assert "Bold" not in report.markdown([summary_of("wine", "ekfac", 1.0)])
    assert "ekfac (tuned)" in report.markdown([summary_of("wine", "ekfac", 1.0, search=SPACE)])
    assert "~5.019 ± 0.127" in lower and "4.827 ± 0.161 MC dropout (Mukhoti et al. 2018)" in lower
    assert r"$\mathbf{1.000 \pm 0.100}$" in report.latex(tables) and r"$\sim 5.019 \pm 0.127$" in report.latex(tables)


def test_coverage_is_best_near_to_90_percent():
    tables = [summary_of("concrete", method, 1.0) for method in ("ekfac", "kfac", "diag")]
    assert "**Test coverage" not in report.markdown(tables)  # of runs that do not record it
    for table, mean in zip(tables, (0.94, 0.89, 0.85)):
        table["metrics"]["coverage_90"] = {"mean": mean, "se": 0.035, "n": 5}
    text = report.markdown(tables).split("**Test coverage of 90 % intervals**")[1]
    assert "| **0.940 ± 0.035** | **0.890 ± 0.035** | 0.850 ± 0.035 |\n" in text and "No coverage" not in text
    del tables[2]["metrics"]["coverage_90"]
    assert "No coverage: diag_concrete (runs of" in report.markdown(tables)
    single = [summary_of("wine", method, 1.0, se=None) for method in ("ekfac", "kfac")]
    for table, mean in zip(single, (0.86, 0.94)):
        table["metrics"]["coverage_90"] = {"mean": mean, "se": None, "n": 1}
    assert "| **0.860** | **0.940** |" in report.markdown(single)


def test_published_values_are_explained_wherever_they_stand():
    text = report.markdown([summary_of("naval", "ekfac", 1.0, protocol="standard")])
    assert "~7.231 noisy EK-FAC" in text and "averages over other splits" in text


def test_a_run_without_a_checkpoint_starts_from_the_beginning(write, tmp_path, capsys):
    assert baseline(write(), "--runs", "2") == 0
    folder = folder_at(home(tmp_path) / "seeds" / "2")
    folder.result.unlink()
    for path in folder.checkpoint.iterdir():
        path.unlink()
    capsys.readouterr()
    assert baseline(write(), "--runs", "2") == 0
    assert "1 of 2 runs are finished already, 0 can resume from a checkpoint" in capsys.readouterr().err


def test_runs_of_a_version_without_coverage(write, tmp_path, capsys):
    assert baseline(write(), "--runs", "2") == 0
    for seed in "12":
        path = home(tmp_path) / "seeds" / seed / "result.json"
        result = read_json(path)
        del result["metrics"]["test_coverage_90"]
        path.write_text(json.dumps(result))
        path.with_name("predictions.csv").write_text("\n".join(
            line.rsplit(",", 1)[0] for line in path.with_name("predictions.csv").read_text().splitlines()))
    capsys.readouterr()
    assert baseline(write(), "--runs", "2", "--ensemble", "2") == 0  # the second members are of this version
    printed = capsys.readouterr().out
    assert "**Test log-likelihood**" in printed and "No coverage: base, base x2 (runs of an earlier" in printed
    for name in ("summary.json", "ensemble.json"):
        assert set(read_json(home(tmp_path) / name)["metrics"]) == set(results.COMPARED)
    other = write("other")
    assert baseline(other, "--runs", "2", "--against", str(home(tmp_path))) == 0


def test_two_experiments_of_one_method_get_their_names():
    tables = [summary_of("wine", "ekfac", 1.0), summary_of("wine", "ekfac", 2.0, exp_name="cold")]
    assert report.column_names(tables) == ["ekfac_wine", "cold"]
    assert "noisy K-FAC" not in report.markdown([summary_of("wine", "ekfac", 1.0, evaluate_on="validation")])
    assert "noisy K-FAC" not in report.markdown([summary_of("mine", "ekfac", 1.0)])


def test_the_tables_say_which_noise_the_runs_have():
    tables = [summary_of("wine", "ekfac", 1.0), summary_of("wine", "kfac", 2.0)]
    assert "Noise: Gaussian, noise_update adam.\n" in report.markdown(tables)
    tables[0]["settings"] = {"epoch": 1000, "likelihood": "student_t", "noise_dof": 5.0, "noise_update": "held_out"}
    said = ("Noise: ekfac_wine Student's t (5 degrees of freedom), noise_update held_out; "
            "kfac_wine Gaussian, noise_update adam.")
    assert said in report.markdown(tables) and said in report.latex(tables)


def test_published_values_are_numbers_with_a_source():
    facts = report.read_published()
    assert len({dataset for dataset, _, _ in facts}) == 10 and {dataset for dataset, _, _ in facts} <= set(DATASETS)
    for row in facts.values():
        float(row["mean"])
        assert row["source"] and row["recalled"] in ("yes", "no") and row["metric"] in results.METRICS
    assert float(facts["concrete", "NNG-MVG", "log_likelihood"]["mean"]) == -3.039


def test_folders_of_runs(config):
    assert run_folder(config()).root.name == "ekfac_tiny"
