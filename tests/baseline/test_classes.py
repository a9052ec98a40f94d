"""Repeated runs of classifications: of the rows of tables, and of images."""
import json

import numpy as np
import pytest

import evaluate
import regression_baseline
from core.baseline import planning
from core.baseline.jobs import Experiment, make_jobs
from core.baseline.options import Options
from core.metrics.predictive import ClassPrediction, mix_classes, predict_classes
from core.training import run
from core.training.devices import Choice
from misc import backend
from misc.config import Config
from misc.folders import folder_at
from misc.records import read_json, read_rows
from tests.baseline.commands import SPACE, baseline
from tests.images.files import write_idx
from tests.tables.conftest import csv_of

pytestmark = pytest.mark.usefixtures("shared_graphs", "no_figures")

METRICS = ["accuracy", "log_likelihood", "brier", "ece"]
N_ROWS = 60
COLUMNS = {"a": lambda row: round(np.sin(row), 6), "b": lambda row: row * row % 17,
           "kind": lambda row: ["low", "high", "odd"][2 if row % 10 == 0 else int(np.sin(row) > 0)]}
SETTINGS = dict(mode="classification", optimizer="diag", model_name="ffn", hidden=[5], epoch=4, epoch_rate=2,
                batch_size=20, learning_rate=0.05, kl_clip=1.0, train_particles=1, test_particles=4, TCov=3, TInv=6,
                TEigen=6, TScale=3, kl_warmup=1, clip_warmup=0)
NUMBERS = dict(dict.fromkeys(("kl_clip", "TCov", "TInv", "TEigen", "TScale", "clip_warmup", "stratified")),
               mode="regression", target="b")  # changes that make it a regression
IMAGES = dict.fromkeys(("data_file", "target", "protocol", "folds"))  # changes with which the data are no table


@pytest.fixture
def write(tmp_path):
    """Function (name, **overrides) -> path of a JSON config for a table of three classes."""
    (tmp_path / "kinds.csv").write_text(csv_of(COLUMNS, N_ROWS))

    def make(name="base", **overrides):
        values = dict(SETTINGS, dataset="kinds", data_file=str(tmp_path / "kinds.csv"), target="kind", exp_name=name,
                      protocol="kfold", folds=5, stratified=True, experiments_path=str(tmp_path / "experiments"))
        values.update(overrides)
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))
        return str(path)

    return make


@pytest.fixture
def home(tmp_path):
    """Function (name, dataset) -> folder of an experiment."""
    return lambda name="base", dataset="kinds": tmp_path / "experiments" / dataset / name


def test_mean_and_standard_error_over_folds(write, home, tmp_path, capsys):
    assert baseline(write(runs=5), "--report", str(tmp_path / "t.md")) == 0
    rows, summary = read_rows(home() / "runs.csv"), read_json(home() / "summary.json")
    results = [read_json(home() / "seeds" / str(seed) / "result.json") for seed in range(1, 6)]
    assert [row["split"] for row in rows] == list("01234") and [row["mode"] for row in rows] == ["classification"] * 5
    assert sum(result["n_test"] for result in results) == N_ROWS and summary["protocol"] == "stratified_kfold"
    for name in METRICS:
        values = [result["metrics"][f"test_{name}"] for result in results]
        assert [float(row[name]) for row in rows] == values
        found = summary["metrics"][name]
        assert found["mean"] == pytest.approx(np.mean(values)) and found["n"] == 5
        assert found["se"] == pytest.approx(np.std(values, ddof=1) / np.sqrt(5))
    curve = read_rows(home() / "seeds" / "2" / "metrics.csv")
    best = max(curve, key=lambda row: float(row["test_log_likelihood"]))
    assert (rows[1]["best_epoch"], rows[1]["best_epoch_accuracy"]) == (best["epoch"], best["test_accuracy"])
    assert (home() / "curves.png").is_file() and list(summary["metrics"]) == METRICS
    written = (tmp_path / "t.md").read_text()
    for heading in ("Test accuracy** (higher is better)", "Test log-likelihood**", "Test Brier score** (lower",
                    "Test expected calibration error** (lower"):
        assert f"**{heading}" in written
    accuracy = summary["metrics"]["accuracy"]
    assert f"| kinds | {accuracy['mean']:.3f} ± {accuracy['se']:.3f} |" in written
    assert "protocol stratified_kfold, test rows; accuracy, Brier" in written
    assert "RMSE" not in written and "Noise" not in written and "overage" not in written
    assert {row["metric"] for row in read_rows(tmp_path / "t.csv")} == set(METRICS)
    assert "test accuracy " in capsys.readouterr().err


def test_another_config_is_compared_split_by_split(write, home, capsys):
    assert baseline(write(), "--runs", "3") == 0
    other = write("other", optimizer="sgd")
    assert baseline(other, "--runs", "3", "--against", write()) == 0
    rows, others = (read_rows(home(name) / "runs.csv") for name in ("other", "base"))
    against = read_json(home("other") / "summary.json")["against"]
    assert list(against["metrics"]) == METRICS and against["splits"] == [0, 1, 2]
    for name in METRICS:
        difference = np.mean([float(ours[name]) - float(theirs[name]) for ours, theirs in zip(rows, others)])
        assert against["metrics"][name]["mean"] == pytest.approx(difference)
    assert "- accuracy: " in capsys.readouterr().out
    assert baseline(write("plain", stratified=False), "--runs", "3", "--against", str(home())) == 2
    assert "its protocol is stratified_kfold, here it is kfold" in capsys.readouterr().err
    folder = home("plain").with_name("numbers")
    folder.mkdir()
    (folder / "runs.csv").write_text((home() / "runs.csv").read_text().replace(",classification", ",")
                                     .replace("accuracy", "rmse").replace("brier", "moment_log_likelihood"))
    assert baseline(write(), "--runs", "3", "--against", str(folder)) == 2
    assert "its mode is regression, here it is classification" in capsys.readouterr().err


@pytest.mark.parametrize("images", [False, True])
def test_the_mixture_of_the_files_is_that_of_the_checkpoints(write, home, tmp_path, rng, images, capsys):
    """Images with test images of their own have no splits: members differ in their seeds alone."""
    keys = {}
    if images:
        write_idx(tmp_path / "mnist", rng, sizes=(10, 8))
        keys = dict(IMAGES, dataset="mnist", data_path=str(tmp_path), stratified=None)
    assert baseline(write(**keys), "--runs", "2", "--ensemble", "2") == 0
    printed = capsys.readouterr().out
    folder = home(dataset="mnist" if images else "kinds")
    first = folder / "seeds" / "2"
    roots = [first, first / "ensemble" / "2"]
    results = [read_json(root / "result.json") for root in roots]
    assert len({result["split_hash"] for result in results}) == 1 and len({result["seed"] for result in results}) == 2
    evaluate.main([*map(str, roots), "--ensemble", "--out", str(tmp_path / "out")])
    row = read_rows(folder / "ensemble.csv")[1]
    direct = read_json(tmp_path / "out_ensemble" / "metrics.json")["metrics"]
    for name in METRICS:
        assert float(row[name]) == pytest.approx(direct[name]["value"], rel=1e-5), name
    assert float(row["log_likelihood"]) != float(read_rows(folder / "runs.csv")[1]["log_likelihood"])
    assert "| data set | diag | diag x2 |" in printed and row["members"] == "2"
    assert ("seeds, not all on a split of their own" in printed) == images


def test_the_mixture_of_classes_is_that_of_all_draws(rng):
    logits = rng.randn(6, 5, 3)
    whole, mixed = predict_classes(logits), mix_classes([predict_classes(logits[:3]), predict_classes(logits[3:])])
    for name in ClassPrediction._fields:
        np.testing.assert_allclose(getattr(mixed, name), getattr(whole, name), rtol=1e-12)


def test_files_that_cannot_be_mixed(write, home, capsys):
    assert baseline(write(), "--runs", "2", "--ensemble", "2") == 0
    path = folder_at(home() / "seeds" / "1").probabilities
    with np.load(str(path)) as arrays:
        changed = dict(arrays, log_probabilities=arrays["log_probabilities"] - 0.1)
    with open(str(path), "wb") as handle:
        np.savez(handle, **changed)
    folder_at(home() / "seeds" / "2").probabilities.write_bytes(b"PK")
    capsys.readouterr()
    assert baseline(write(), "--runs", "2", "--ensemble", "2") == 1
    said = capsys.readouterr().err
    assert f"base x2 seed 1 is not mixed: {path} gives log_likelihood" in said
    assert "seed 2 is not mixed: " in said and "is damaged or of an earlier version: run again with --fresh" in said


@pytest.mark.parametrize("metric", ["accuracy", "log_likelihood"])
def test_a_search(write, home, tmp_path, metric):
    space = dict(SPACE, metric=metric, space={"learning_rate": {"low": 0.001, "high": 0.1, "log": True}})
    (tmp_path / "space.json").write_text(json.dumps(space))
    assert baseline(write(protocol="random"), "--runs", "1", "--tune", str(tmp_path / "space.json")) == 0
    tuned = home("base_tuned") / "seeds" / "1" / "tuning"
    trials, chosen = read_rows(tuned / "trials.csv"), read_json(tuned / "chosen.json")
    assert chosen[metric] == max(float(row[metric]) for row in trials)
    assert read_json(home("base_tuned") / "seeds" / "1" / "result.json")["protocol"] == "stratified"


@pytest.mark.parametrize("metric, mode", [("rmse", "classification"), ("accuracy", "regression")])
def test_a_search_by_a_metric_of_the_other_mode_is_refused(write, tmp_path, capsys, metric, mode):
    (tmp_path / "space.json").write_text(json.dumps(dict(SPACE, metric=metric, space={"kl": [0.5, 1.0]})))
    path = write(**(NUMBERS if mode == "regression" else {}))
    assert baseline(path, "--runs", "1", "--tune", str(tmp_path / "space.json")) == 2
    assert f"metric {metric} is none of mode {mode}: give log_likelihood or " in capsys.readouterr().err


def test_what_stands_in_one_table(write, tmp_path, capsys):
    assert baseline(write(), write("numbers", **NUMBERS)) == 2
    assert "the configs differ in mode (classification, regression)" in capsys.readouterr().err
    assert baseline(write(), write("plain", stratified=None)) == 2
    assert "the configs differ in splits (kfold, stratified_kfold)" in capsys.readouterr().err
    assert baseline(write(), "--protocol", "standard") == 2
    assert "protocol standard chooses rows without regard to their classes" in capsys.readouterr().err
    assert baseline(write("digits", dataset="digits", **IMAGES), "--protocol", "kfold") == 2
    assert "protocol: for tables only" in capsys.readouterr().err
    assert not (tmp_path / "experiments").exists()


@pytest.mark.parametrize("mode", ["classification", "regression"])
def test_tensorflow_is_prepared_for_the_mode(write, monkeypatch, mode):
    """Kernels, and so the last digits, are then those of train.py."""
    prepared = []
    path = write(**(NUMBERS if mode == "regression" else {}))
    monkeypatch.setattr(backend, "prepare", lambda *modes: prepared.append(modes))
    regression_baseline.main(["--config", path, "--seeds", "3", "--jobs", "1"])
    assert prepared == [(mode,)] * 2


@pytest.mark.parametrize("jobs, dataset, n_jobs", [(None, "digits", 1), (3, "digits", 3), (None, "kinds", None)])
def test_images_are_trained_one_run_at_a_time(write, tmp_path, jobs, dataset, n_jobs):
    """Their operations use all cores."""
    path = write(dataset=dataset, **(IMAGES if dataset == "digits" else {}))
    options = Options(configs=[path], runs=2, jobs=jobs, device="cpu")
    assert planning.plan_repeat(options).workers.n_jobs == n_jobs


def test_members_have_the_split_of_their_seed(write):
    choice = Choice("/device:CPU:0", "")
    for has_splits, splits in ((True, {2}), (False, {None})):
        config = Config.from_file(write())
        jobs = make_jobs(Experiment(config, run.run_folder(config).root, [3], 3, has_splits), choice, None, 1)
        assert {job.settings.get("split") for job in jobs[1:]} == splits and len({job.settings["seed"]
                                                                                for job in jobs}) == 3
