"""The command: its files, its flags, an interruption, and what it refuses."""
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from core.acquisition.options import Options
from core.acquisition.planning import plan_active
from core.training import run
from core.training.devices import DEVICES, Choice
from misc.records import read_json
from tests.acquisition.conftest import SMALL, choose_rows, steps_of
from tests.conftest import ROOT
from tests.tables.conftest import csv_of


@pytest.fixture
def home(tmp_path):
    return tmp_path / "experiments" / "tiny" / "base" / "active_learning"


def test_files_of_the_command(write, home, capsys):
    assert choose_rows(write()) == 0
    rows, printed = steps_of(home), capsys.readouterr().out
    assert [(row["repeat"], row["strategy"], row["step"], row["labelled"]) for row in rows[:6]] == [
        ("1", "variance", "0", "8"), ("1", "variance", "1", "9"), ("1", "variance", "2", "10"),
        ("1", "random", "0", "8"), ("1", "random", "1", "9"), ("1", "random", "2", "10")]
    assert len(rows) == 12 and all(np.isfinite(float(row[name])) for row in rows for name in ("rmse", "log_likelihood"))
    assert rows[0]["rmse"] == rows[3]["rmse"] and rows[1]["rows"] != rows[4]["rows"]
    assert {path.name for path in home.iterdir()} == {"active_learning.json", "repeats", "steps.csv", "summary.csv",
                                                      "curves.png"}
    assert (home / "curves.png").read_bytes()[:4] == b"\x89PNG" and "Test RMSE" in printed and "minus random" in printed
    first = read_json(home / "repeats" / "1" / "variance.json")
    assert first["start"] == read_json(home / "repeats" / "1" / "random.json")["start"] and len(first["test"]) == 10


def test_methods_and_strategies_share_the_rows(write, tmp_path):
    divisions = []
    for name, keys in (("base", {}), ("other", {"optimizer": "sgd", "epoch": 1})):
        out = str(tmp_path / name)
        assert choose_rows(write(name, **keys), "--strategy", "random", "--out", out, "--steps", "1") == 0
        divisions.append([{key: read_json(tmp_path / name / "repeats" / repeat / "random.json")[key]
                           for key in ("start", "test")} for repeat in "12"])
    assert divisions[0] == divisions[1] and divisions[0][0] != divisions[0][1]


@pytest.mark.slow
def test_a_killed_command_continues_with_the_same_numbers(write, tmp_path, home):
    config = write(epoch=300)
    assert choose_rows(config, "--out", str(tmp_path / "whole"), "--steps", "3") == 0
    command = [sys.executable, "active_learning.py", "--config", config, *SMALL, "--steps", "3", "--jobs", "2"]
    process = subprocess.Popen(command, cwd=str(ROOT), stderr=subprocess.PIPE)
    deadline = time.time() + 300
    while process.poll() is None and time.time() < deadline and not all(
            (home / "repeats" / repeat / "variance.json").is_file() for repeat in "12"):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    time.sleep(2)  # until the workers have ended, too
    saved = [read_json(home / "repeats" / repeat / "variance.json")["steps"] for repeat in "12"]
    assert all(1 <= len(steps) < 4 for steps in saved), "killed too early or too late"
    assert choose_rows(config, "--steps", "3", "--resume") == 0
    assert steps_of(home) == steps_of(tmp_path / "whole")
    assert not list(home.glob("repeats/*/training"))
    again = [read_json(home / "repeats" / repeat / "variance.json")["steps"] for repeat in "12"]
    assert [steps[:len(before)] for steps, before in zip(again, saved)] == saved


def test_longer_and_wider_commands_continue(write, home, tmp_path, capsys):
    config = write()
    assert choose_rows(config, "--repeats", "1", "--steps", "1", "--strategy", "random") == 0
    written = (home / "repeats" / "1" / "random.json").read_bytes()
    capsys.readouterr()
    assert choose_rows(config) == 0
    assert "test over repeats; with 2 repeats, p cannot be below 0.5. Units: RMSE" in capsys.readouterr().out
    rows = steps_of(home)
    assert len(rows) == 12 and json.loads(written)["steps"] == read_json(
        home / "repeats" / "1" / "random.json")["steps"][:2]
    assert choose_rows(config, "--out", str(tmp_path / "whole")) == 0
    assert rows == steps_of(tmp_path / "whole")
    assert choose_rows(config, "--steps", "1", "--strategy", "random", "--repeats", "1", "--resume") == 0
    assert steps_of(home) == rows[3:5]


@pytest.mark.parametrize("arguments", [
    ["--set", "seed=2"], ["--set", "epoch=5"], ["--start", "9"], ["--test", "9"], ["--batch", "2"],
    ["--set", "test_particles=9"]])
def test_options_change_results(write, tmp_path, arguments):
    found = []
    for name, further in (("before", []), ("after", arguments)):
        out = tmp_path / name
        assert choose_rows(write(), "--steps", "1", "--repeats", "1", "--out", str(out), *further) == 0
        found.append([{key: row[key] for key in ("rmse", "rows", "labelled")} for row in steps_of(out)])
    assert found[0] != found[1]


def test_other_settings_begin_anew_unless_resume_asks_for_the_same(write, home, capsys):
    assert choose_rows(write(), "--repeats", "1", "--steps", "1") == 0
    before = steps_of(home)
    capsys.readouterr()
    assert choose_rows(write(), "--repeats", "1", "--resume", "--start", "9", "--set", "epoch=1") == 2
    error = capsys.readouterr().err
    assert "(then 4, now 1), start (then 8, now 9); restore them, or start without" in error and error.count("\n") == 1
    assert steps_of(home) == before
    assert choose_rows(write(), "--repeats", "1", "--steps", "1", "--set", "epoch=1") == 0
    moved = home.with_name("active_learning.1")
    assert f"earlier results with other settings have been moved to {moved}" in capsys.readouterr().err
    assert steps_of(home) != before and steps_of(moved) == before


@pytest.mark.parametrize("differ, arguments", [
    (True, {"overrides": ["seed=2"]}), (True, {"overrides": ["predictive=linearised"]}),
    (True, {"overrides": ["kl=0.5"]}), (True, {"start": 9}), (True, {"test": 9}), (True, {"batch": 2}),
    (False, {"repeats": 3}), (False, {"steps": 3}), (False, {"strategies": ["random"]}), (False, {"jobs": 3}),
    (False, {"overrides": ["test_batch_size=9", "exp_name=x"]})])
def test_steps_are_of_the_same_settings_or_not(write, arguments, differ):
    options = Options(write(), start=8, test=10, steps=2)
    assert (plan_active(options).identity != plan_active(options._replace(**arguments)).identity) == differ


def test_steps_on_another_device_are_not_mixed(write, home, capsys, monkeypatch):
    """Rounding differs between devices, and with it the rows that are chosen."""
    config = write()
    assert choose_rows(config, "--repeats", "1", "--steps", "1", "--device", "cpu") == 0
    before = steps_of(home)
    assert choose_rows(config, "--repeats", "1", "--steps", "1", "--resume") == 0  # auto, which takes the CPU
    about = read_json(home / "active_learning.json")
    capsys.readouterr()
    monkeypatch.setattr(run, "choose_device", lambda name, design: Choice(DEVICES["gpu"], "as asked for"))
    assert choose_rows(config, "--repeats", "1", "--device", "gpu", "--resume") == 2
    error = capsys.readouterr().err
    assert "other settings than those of" in error and "device (then 'cpu', now 'gpu')" in error
    assert error.count("\n") == 1 and steps_of(home) == before
    del about["identity"]["device"]  # as written by earlier versions
    (home / "active_learning.json").write_text(json.dumps(about))
    assert not plan_active(Options(config, start=8, test=10, steps=1, resume=True)).has_earlier


def test_classes_of_a_table(settings, tmp_path):
    words = {"a": lambda row: row % 7 - 3, "b": lambda row: (5 * row) % 11, "kind": lambda row: "xyz"[row * row % 3]}
    (tmp_path / "kinds.csv").write_text(csv_of(words, 60))
    path = tmp_path / "kinds.json"
    path.write_text(json.dumps(dict(
        mode="classification", dataset="kinds", data_file=str(tmp_path / "kinds.csv"), model_name="ffn", hidden=[3],
        experiments_path=str(tmp_path / "experiments"), optimizer="diag", epoch=3, kl_warmup=0, test_particles=5,
        protocol="random", stratified=True, exp_name="base")))
    assert choose_rows(str(path), "--repeats", "1", "--start", "4") == 0
    rows = steps_of(tmp_path / "experiments" / "kinds" / "base" / "active_learning")
    assert [row["strategy"] for row in rows] == 3 * ["bald"] + 3 * ["random"]
    assert all(0 <= float(row["accuracy"]) <= 1 for row in rows) and float(rows[1]["scores"]) > 0


def test_images(tmp_path):
    from tests.classification_runs.short import settings as short

    path = tmp_path / "digits.json"
    path.write_text(json.dumps(short(tmp_path, optimizer="diag", exp_name="base", TInv=None, TEigen=None, TScale=None)))
    assert choose_rows(str(path), "--repeats", "1", "--steps", "1", "--start", "20") == 0
    rows = steps_of(tmp_path / "experiments" / "digits" / "base" / "active_learning")
    assert [row["labelled"] for row in rows] == ["20", "21", "20", "21"] and float(rows[1]["scores"]) > 0


@pytest.mark.parametrize("arguments, n_jobs", [({}, None), ({"jobs": 3}, 3), ({"overrides": ["threads=2"]}, 1),
                                               ({"overrides": ["threads=2"], "jobs": 3}, 3)])
def test_trainings_that_use_several_cores_are_done_one_at_a_time(write, arguments, n_jobs):
    plan = plan_active(Options(write(), start=8, test=10, steps=2, device="cpu", **arguments))
    assert plan.workers.n_jobs == n_jobs


def test_settings_that_do_harm_are_named(write, capsys):
    assert choose_rows(write(), "--repeats", "1", "--steps", "1", "--set", "kl_warmup=4") == 0
    assert "still grows when the training of 4 epochs ends, because kl_warmup is 4" in capsys.readouterr().err
    assert choose_rows(write(), "--repeats", "1", "--steps", "1", "--set", "kl_warmup=3") == 0
    assert "still grows" not in capsys.readouterr().err


def test_a_repeat_that_fails(write, home, capsys):
    assert choose_rows(write(alpha=1e30), "--repeats", "1") == 1
    error = capsys.readouterr().err
    assert "1 of 1 repeats failed: repeat 1: training diverged" in error and "Traceback" not in error


@pytest.mark.parametrize("message, arguments", [
    ("unknown --strategy 'variancee'; did you mean 'variance'?", ["--strategy", "variancee"]),
    ("--strategy bald is for mode classification, but this config has mode regression: give variance or random",
     ["--strategy", "bald"]),
    ("--strategy: one is given twice", ["--strategy", "random", "random"]),
    ("optimizer sgd has no weight noise: take an optimizer with weight noise", ["--set", "optimizer=sgd"]),
    ("but test_particles is 1: set test_particles", ["--set", "test_particles=1"]),
    ("43 rows are too few: 8 labelled rows, 10 test rows and 26 steps of 1 take 44;", ["--steps", "26"]),
    ("take 64; set a smaller --start, --test, --steps or --batch, e.g. --test 29", ["--test", "50", "--steps", "6"]),
    ("--start 1: give at least 2", ["--start", "1"]),
    ("--test 0: give at least 1", ["--test", "0"]),
    ("--steps 0: give at least 1", ["--steps", "0"]),
    ("--batch 0: give at least 1", ["--batch", "0"]),
    ("--repeats 0: give at least 1", ["--repeats", "0"]),
    ("--repeats 10001: give at most 10000", ["--repeats", "10001"]),
    ("--jobs 0: give at least 1", ["--jobs", "0"]),
    ("--resume: there is nothing to continue in", ["--resume"]),
    ("protocol ordered chooses the test rows by the order of the rows", ["--set", "protocol=ordered"]),
    ("init_from has no place in active learning", ["--set", "init_from=elsewhere"]),
    ("{tmp} is not empty, and what it holds is not of active_learning.py", ["--out", "{tmp}"]),
    ("unknown key 'epocj'", ["--set", "epocj=1"]),
    ("unknown dataset 'nowhere'", ["--set", "dataset=nowhere"]),
    ("unrecognized arguments: --fresh", ["--fresh"]),
])
def test_bad_arguments(write, tmp_path, capsys, message, arguments):
    config = write()
    before = sorted(tmp_path.rglob("*"))
    assert choose_rows(config, *[word.replace("{tmp}", str(tmp_path)) for word in arguments]) == 2
    error = capsys.readouterr().err
    assert message.replace("{tmp}", str(tmp_path)) in error and error.count("\n") == 1, error
    assert sorted(tmp_path.rglob("*")) == before
