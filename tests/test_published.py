"""benchmarks.published: the schedules and the order of its runs, its tables, and what an interruption costs."""
import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks.published import __main__ as command
from benchmarks.published import check, report, runner, toy
from benchmarks.published.plan import METHODS, TABLES, Choice, pairs, plan_runs, plan_search, schedule
from misc.config import Config
from misc.errors import DIVERGED, UserError
from misc.records import read_json, read_rows, write_json
from tests.conftest import ROOT

QUICK = ["--quick", "--methods", "kfac", "sgd", "--epochs", "12", "--jobs", "1"]
SCHEDULE = ("epoch", "decay_every_itr", "clip_decay", "clip_warmup", "kl_warmup")


@pytest.fixture
def choice(tmp_path):
    return Choice("cifar10", None, None, (1, 2), 40, 0.5, str(tmp_path / "data"), tmp_path / "out")


def test_published_length_has_published_schedules():
    defaults = Config.from_dict(dict(mode="classification", dataset="cifar10", optimizer="ekfac", model_name="vgg16"))
    values = schedule(150)
    assert values.pop("epoch") == 150 and values.pop("kl_warmup") == defaults.warmup_epochs == 20
    assert values == {key: getattr(defaults, key) for key in values}


def test_events_of_a_shorter_run_come_at_the_same_share_of_it():
    full, short = schedule(150), schedule(60)
    assert short["decay_every_itr"] == 0.4 * full["decay_every_itr"] == 6400
    assert short["clip_warmup"] == 0.4 * full["clip_warmup"] and short["kl_warmup"] == 0.4 * full["kl_warmup"]
    assert short["clip_decay"] ** 60 == pytest.approx(full["clip_decay"] ** 150, rel=1e-9)


def test_events_come_at_the_same_share_of_runs_with_fewer_steps_per_epoch(choice):
    """Those of --tune have nine tenths of the images, and so of the steps; what counts epochs stays."""
    full, fewer = schedule(5), plan_search(choice)["plain", "sgd"][0.01].config
    assert fewer.epoch == 5 and fewer.validation_fraction == 0.1
    assert fewer.decay_every_itr == round(0.9 * 16000 / 30) and fewer.clip_warmup == round(0.9 * 10000 / 30)
    assert (fewer.clip_decay, fewer.kl_warmup) == (full["clip_decay"], full["kl_warmup"])


@pytest.mark.parametrize("table", list(TABLES))
def test_all_methods_of_a_table_have_one_schedule_and_one_prior(choice, table):
    variants = list(TABLES[table].configs)
    for variant in variants:
        runs = plan_runs(choice._replace(table=table, variants=[variant], methods=[
            name for name, method in METHODS.items() if method.config != "diag"]))
        same = {tuple(getattr(run.config, key) for key in (*SCHEDULE, "kl", "eta", "width", "epoch_rate", "data_aug",
                                                           "batch_norm", "model_name", "batch_size")) for run in runs}
        assert len(same) == 1 and {run.config.optimizer for run in runs} == set(METHODS) - {"diag"}
        assert all(run.config.optimizer == run.method for run in runs)
        assert len({run.folder.root for run in runs}) == len(runs)


def test_all_methods_of_a_seed_come_before_the_next_seed(choice):
    runs = plan_runs(choice)
    assert [(run.variant, run.method) for run in runs] == 2 * [
        *(("plain", name) for name in ("ekfac", "kfac", "sgd", "adam", "kfac_point")),
        *(("bn_aug", name) for name in ("ekfac", "kfac", "sgd"))]
    assert [run.seed for run in runs] == 8 * [1] + 8 * [2]


def test_search_is_short_and_on_validation_images(choice):
    search = plan_search(choice)
    assert set(search) == {("plain", "sgd"), ("plain", "adam"), ("bn_aug", "sgd")}
    for by_rate in search.values():
        for rate, run in by_rate.items():
            assert run.config.learning_rate == rate and run.config.epoch == 5 and not run.evaluated
            assert run.config.evaluate_on == "validation" and run.config.validation_fraction == 0.1
    by_name = {run.name: run for run in plan_runs(choice, {("plain", "sgd"): 0.03})}
    assert by_name["sgd_vgg16_plain_seed2"].config.learning_rate == 0.03
    assert by_name["sgd_vgg16_bn_aug_seed2"].config.learning_rate == 0.01


def row(method, seed, accuracy, log_likelihood):
    values = dict.fromkeys(report.COLUMNS, 0.5)
    return dict(values, variant="plain", method=method, seed=seed, epochs=40, accuracy=accuracy, width=0.5,
                log_likelihood=log_likelihood, ood_mutual_information=None, skipped=0, recovered=0)


def test_table_has_means_differences_and_published_numbers(choice):
    rows = [row("sgd", 1, 0.7, -1.0), row("ekfac", 1, 0.8, -0.6), row("sgd", 2, 0.8, -0.9), row("ekfac", 2, 0.84, -0.6),
            row("kfac", 1, 0.75, -0.7), row("ekfac", 3, 0.1, -9.0)]
    text = report.describe(choice, rows, 24)
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    means = [dict(zip(lines[0], line)) for line in lines[1:4]]
    assert means[0]["method"] == "sgd" and means[0]["accuracy"] == "0.7500 ± 0.0500"
    assert means[0]["epochs"] == "40 of 150" and means[0]["published accuracy"] == "~0.8179"
    assert means[2]["method"] == "kfac" and means[2]["accuracy"] == "0.7500" and means[2]["published ECE"] == "~.089"
    assert means[0]["AUROC, mutual information"] == ""
    differences = text[text.index("Differences"):].splitlines()
    ekfac = [cell.strip() for cell in next(line for line in differences if line.startswith("| ekfac")).split("|")]
    assert ekfac[2:5] == ["2", "+0.0700 ± 0.0300", "+0.3500 ± 0.0500"]  # seed 3 has no partner
    assert "6 of 24 runs" in text and "noisy EK-FAC" in text and "40 of 150 epochs" in text


def test_a_length_that_is_not_known_is_left_out(choice):
    """The numbers beside ResNet-20 are of other sources than those beside VGG16; nobody has published VGG16 by Adam."""
    rows = [dict(row("sgd", 1, 0.7, -1.0), variant="bn_aug")]
    text = report.describe(choice._replace(table="resnet20"), rows, 6)
    assert "# resnet20: resnet20, width 0.5, 40 epochs" in text and "150" not in text and "edward2" in text
    lines = report.describe(choice, [row("adam", 1, 0.7, -1.0)], 24).splitlines()
    assert next(line for line in lines if line.startswith("| adam")).split("|")[3].strip() == "40"
    published = [line.split("|") for line in lines if "1811.12565" in line]
    assert published and all(line[-3].strip() == "150" for line in published)


def test_published_numbers_name_their_source():
    rows = report.published_numbers()
    assert all(row["source"] and row["accuracy"] and row["approximate"] in ("yes", "no") for row in rows)
    assert all(0.0 < float(row["accuracy"]) < 1.0 and float(row["log_likelihood"] or -1.0) < 0.0 for row in rows)
    assert {row["variant"] for row in rows if row["network"] == "vgg16"} == set(TABLES["cifar10"].configs)


@pytest.mark.parametrize("flags, message", [
    (["--variants", "plane"], "--variants plane: table cifar10 has plain, aug, bn, bn_aug"),
    (["--table", "resnet20", "--variants", "plain"], "--variants plain: table resnet20 has bn_aug"),
    (["--variants", "bn", "--methods", "diag"], "--methods diag: there is no diag_vgg16_bn.json"),
    (["--seeds", "1", "1"], "a seed is given twice"), (["--epochs", "0"], "--epochs 0: give a number above 0"),
    (["--width", "-1"], "--width -1.0: give a number above 0"), (["--jobs", "0"], "--jobs 0: give a number above 0"),
])
def test_bad_flags(flags, message, tmp_path):
    args = command.parse_args([*flags, "--out", str(tmp_path / "out")])
    with pytest.raises(UserError) as error:
        pairs(command.choice_of(args))
    assert message in str(error.value) and not list(tmp_path.iterdir())


def test_other_settings_in_the_folder_are_an_error(tmp_path, capsys):
    args = argparse.Namespace(**vars(command.parse_args([*QUICK, "--out", str(tmp_path)])))
    run = plan_runs(command.choice_of(args))[0]
    run.folder.root.mkdir(parents=True)
    run.folder.config.write_text('{"config": {"kl_candidates": null}}')
    with pytest.raises(SystemExit) as stop:
        command.main([*QUICK, "--out", str(tmp_path)])
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "holds a run of other settings" in message and "give another --out" in message


def test_a_report_says_nothing_of_runs_of_other_settings(tmp_path, capsys):
    run = plan_runs(command.choice_of(command.parse_args(["--epochs", "40", "--out", str(tmp_path)])))[0]
    run.folder.root.mkdir(parents=True)
    write_json(run.folder.config, {"config": run.config.model_dump(), "rows_hash": "x"})
    command.main(["--epochs", "40", "--report", "--out", str(tmp_path)])
    assert "0 of 24 runs are finished" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        command.main(["--epochs", "50", "--report", "--out", str(tmp_path)])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1 and "epoch (then 40, now 50)" in error


def test_the_length_of_an_epoch_is_that_of_a_run_on_all_images(tmp_path, monkeypatch):
    first = []

    def check_runs(runs, device):
        first.append(runs[0].config)
        raise UserError("seen")

    monkeypatch.setattr(check, "check_runs", check_runs)
    with pytest.raises(SystemExit):
        command.main(["--tune", "--out", str(tmp_path)])
    assert first[0].validation_fraction == 0


@pytest.mark.parametrize("failing, why, goes_on", [
    (1, f"worker: {DIVERGED}: mean of dense0 is not finite (exit code 1, see x)", True),
    (4, f"worker: {DIVERGED}: mean of dense0 is not finite (exit code 1, see x)", False),
    (1, "MemoryError (exit code 1, see x)", False)])
def test_a_step_size_with_which_the_search_diverges_is_not_chosen(tmp_path, monkeypatch, failing, why, goes_on):
    made = []

    def make_runs(runs, making, finished):
        made.append(runs)
        if len(made) > 1:
            return {}
        for run in runs[:len(runs) - failing]:
            run.folder.root.mkdir(parents=True)
            write_json(run.folder.result, {"metrics": {"valid_log_likelihood": run.config.learning_rate}})
        return {run.name: why for run in runs[len(runs) - failing:]}

    monkeypatch.setattr(check, "read_result", lambda path: read_json(path) if path.is_file() else None)
    monkeypatch.setattr(check, "check_runs", lambda runs, device: argparse.Namespace(
        design=argparse.Namespace(steps_per_epoch=4), data=argparse.Namespace(rows_hash="x")))
    monkeypatch.setattr(runner, "make_runs", make_runs)
    monkeypatch.setattr(report, "write", lambda choice, runs: "")
    arguments = ["--quick", "--tune", "--methods", "sgd", "--out", str(tmp_path)]
    if goes_on:
        command.main(arguments)
        assert [run.config.learning_rate for run in made[1]] == [0.03]
    else:
        with pytest.raises(SystemExit) as stop:
            command.main(arguments)
        assert stop.value.code == 1 and len(made) == 1


def numbers(out):
    return [{name: value for name, value in row.items() if name not in ("hours", "revision")}
            for row in read_rows(out / "table.csv")]


def wait_until(condition, timeout=120):
    deadline = time.time() + timeout
    while not condition():
        assert time.time() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_quick_form_makes_and_tabulates_its_runs(tmp_path, capsys):
    command.main([*QUICK, "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "2 of 2 runs are finished" in printed and "published accuracy" in printed
    assert {"table.md", "table.csv", "curves.png", "corruptions.png"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.slow
def test_killed_in_each_run_it_goes_on_to_the_same_numbers(tmp_path, capsys):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    command.main([*QUICK, "--out", str(whole)])
    capsys.readouterr()
    kfac, sgd = (killed / "runs" / "cifar10" / f"{name}_vgg11_plain_seed1" for name in ("kfac", "sgd"))
    for run, number in ((kfac, signal.SIGKILL), (sgd, signal.SIGTERM)):
        process = subprocess.Popen([sys.executable, "-m", "benchmarks.published", *QUICK, "--out", str(killed)],
                                   cwd=str(ROOT), stderr=subprocess.DEVNULL)
        wait_until(lambda run=run: list((run / "checkpoint").glob("model-*.json")))
        os.kill(process.pid, number)
        process.wait()
        assert process.returncode != 0 and not (run / "result.json").exists()
    finished = (kfac / "result.json").stat().st_mtime_ns
    command.main([*QUICK, "--out", str(killed)])
    captured = capsys.readouterr()
    assert "1 of 2 runs are finished already" in captured.err and "2 of 2 runs are finished" in captured.out
    assert numbers(killed) == numbers(whole)
    assert (kfac / "result.json").stat().st_mtime_ns == finished
    assert not [path for path in kfac.parent.iterdir() if path.name.endswith(".1")]
    for name in ("kfac", "sgd"):
        probabilities = [np.load(str(out / "runs" / "cifar10" / f"{name}_vgg11_plain_seed1" / "predictions.npz"))
                         for out in (whole, killed)]
        assert all(np.array_equal(probabilities[0][key], probabilities[1][key]) for key in probabilities[0].files)


def test_toy_images_are_the_same_every_time(tmp_path):
    for name in ("a", "b"):
        toy.write_images(tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "a" / "cifar-10-batches-py").iterdir())
    assert len(files) == 7
    for name in files:
        first, second = (pathlib.Path(tmp_path / part / "cifar-10-batches-py" / name).read_bytes() for part in "ab")
        assert first == second


def test_report_alone_needs_no_images(tmp_path, capsys):
    command.main(["--report", "--out", str(tmp_path)])
    assert "0 of 24 runs are finished" in capsys.readouterr().out and not list(tmp_path.iterdir())


def test_a_step_size_that_diverged_is_not_chosen(choice):
    search = plan_search(choice)
    scores = {0.003: float("nan"), 0.01: -1.9, 0.03: -1.8, 0.1: float("inf")}
    for rate, run in search["plain", "sgd"].items():
        run.folder.root.mkdir(parents=True)
        run.folder.result.write_text(json.dumps({"metrics": {"valid_log_likelihood": scores[rate]}}))
    assert check.chosen_rates(search) == {("plain", "sgd"): 0.03}


def test_tuned_step_sizes_are_used_and_reported(tmp_path, capsys, monkeypatch):
    flags = [*QUICK, "--methods", "sgd", "--epochs", "2", "--out", str(tmp_path)]
    search = plan_search(command.choice_of(command.parse_args([*flags, "--tune"])))
    scores = {0.003: -2.0, 0.01: -1.9, 0.03: -1.8, 0.1: -2.1}
    for rate, run in search["plain", "sgd"].items():
        run.folder.root.mkdir(parents=True)
        write_json(run.folder.result, {"metrics": {"valid_log_likelihood": scores[rate]}})
    command.main([*flags, "--tune"])
    printed = capsys.readouterr().out
    assert "| plain     | sgd      | 1      | 0.03 " in printed
    assert "1 of 1 runs are finished" in printed and "published accuracy" in printed
    assert {"table.md", "table.csv", "curves.png", "corruptions.png"} <= {path.name for path in tmp_path.iterdir()}
    with pytest.raises(SystemExit) as stop:
        command.main(flags)
    assert stop.value.code == 2 and "learning_rate (then 0.03, now 0.01)" in capsys.readouterr().err

    last = search["plain", "sgd"][0.1].folder.result
    last.unlink()
    monkeypatch.setattr(runner, "make_runs", lambda runs, making, finished: last.write_text(
        '{"metrics": {"valid_log_likelihood": -1.0}}') and {})
    with pytest.raises(SystemExit) as stop:
        command.main([*flags, "--tune"])
    assert stop.value.code == 2 and "learning_rate (then 0.03, now 0.1)" in capsys.readouterr().err
