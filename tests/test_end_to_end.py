"""Runs from config to files: the files of a run, and that it can be killed, resumed and repeated."""
import functools
import json
import platform
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import train
from core.inference.optimizer import METHODS
from core.training import run
from core.training.explain import explain
from misc.config import Config
from misc.folders import folder_at, run_folder
from tests.conftest import ROOT
from tests.interrupted import start_and_kill
from tests.written import events, rows, weights

pytestmark = pytest.mark.usefixtures("shared_graphs")  # many tests train the same settings
OPTIMIZER = "kfac"


@pytest.mark.parametrize("optimizer, network", [*((name, "linear") for name in sorted(METHODS)),
                                                ("kfac", "ffn50"), ("diag", "ffn100")])
def test_every_method_and_every_network(config, optimizer, network):
    """Every method trains ffn below, where its checkpoints are tested."""
    metrics = run.execute(run.plan(config(optimizer=optimizer, model_name=network, epoch=1)))["metrics"]
    assert all(np.isfinite(value) for value in metrics.values())


def test_files_of_a_run(config, config_file):
    train.main(["--config", str(config_file(optimizer="ekfac", validation_fraction=0.2, fisher_approx="kron"))])
    folder = run_folder(config(optimizer="ekfac"))
    assert "note: fisher_approx kron does not match optimizer ekfac" in folder.log.read_text()
    assert folder.root.parts[-2:] == ("tiny", "ekfac_tiny")
    written = json.loads(folder.config.read_text())
    assert written["config"]["Teigen"] == 3 and written["config"]["damping"] == 0.0  # defaults are recorded, too
    assert {"tensorflow", "numpy", "python"} <= set(written["versions"]) and written["seed"] == 1
    table = rows(folder.metrics)
    assert [row["epoch"] for row in table] == ["2", "4"] and [row["step"] for row in table] == ["14", "28"]
    result = json.loads(folder.result.read_text())
    assert result["metrics"]["test_rmse"] == float(table[-1]["test_rmse"])
    assert result["metrics"]["valid_rmse"] == float(table[-1]["valid_rmse"])
    assert (result["n_train"], result["n_valid"], result["n_test"], result["steps"]) == (31, 8, 4, 28)
    assert result["protocol"] == "published" and len(result["split_hash"]) == 16
    predictions = np.genfromtxt(str(folder.predictions), delimiter=",", names=True)
    error = predictions["target"] - predictions["mean"]
    assert np.sqrt(np.mean(error**2)) == pytest.approx(result["metrics"]["test_rmse"], rel=1e-6)
    assert (predictions["std"] > predictions["epistemic_std"]).all() and (predictions["epistemic_std"] > 0).all()
    assert "epoch 4: test_rmse" in folder.log.read_text() and "test RMSE" in folder.log.read_text()


def test_tensorboard_curves(config):
    run.execute(run.plan(config()))
    by_tag = events(run_folder(config()))
    assert "graph" in by_tag
    scalars = {"train/lower_bound", "train/expected_log_likelihood", "train/kl", "train/noise_precision", "kl/dense0",
               "kl/dense1", "kl/noise_precision", "test/rmse", "test/log_likelihood", "speed/steps_per_second"}
    scalars |= {f"dense{i}/{name}" for i in (0, 1) for name in
                ("trace_a", "trace_s", "damping_a", "damping_s", "condition_a", "condition_s")}
    assert scalars <= set(by_tag)
    assert [step for step, _ in by_tag["test/rmse"]] == [16, 32]  # the graph's own steps
    histogram = by_tag["dense0/weight_noise_std"][-1][1].histo
    assert histogram.num == 16 and histogram.min > 0


def test_the_lower_bound_is_likelihood_minus_tempered_kl(config):
    run.execute(run.plan(config(kl=0.5)))
    by_tag = events(run_folder(config()))
    last = {tag: values[-1][1].simple_value for tag, values in by_tag.items() if tag.split("/")[0] in ("train", "kl")}
    parts = [last[f"kl/{name}"] for name in ("dense0", "dense1", "noise_precision")]
    assert last["train/kl"] == pytest.approx(sum(parts), rel=1e-5)
    bound = last["train/expected_log_likelihood"] - 0.5 / 39 * last["train/kl"]
    assert last["train/lower_bound"] == pytest.approx(bound, rel=1e-5)


def test_the_same_seed_gives_the_same_result(config, shared_graphs):
    results = []
    for seed in (1, 1, 2):
        shared_graphs.clear()
        results.append(run.execute(run.plan(config(seed=seed, optimizer="kfac")))["metrics"])
    assert results[0] == results[1] != results[2]


def test_evaluation_batches_and_logging_keys_change_no_result(config):
    base = run.execute(run.plan(config()))["metrics"]
    keys = dict(test_batch_size=3, num_workers=0, save_interval=1, steps_per_run=1, exp_name="other", max_to_keep=1,
                fisher_approx="kron")
    assert run.execute(run.plan(config(**keys)))["metrics"] == pytest.approx(base, rel=1e-6)


@pytest.mark.parametrize("likelihood", ["gaussian", "student_t"])
def test_the_leave_one_out_level_is_that_of_predictions_alone(config, likelihood):
    """The weights, and therefore the means, equal those under the conjugate noise level."""
    runs = [config(noise_update=update, learning_rate=0.1, likelihood=likelihood, epoch=10, kl=0.3, exp_name=update,
                   epoch_rate=10, optimizer="diag") for update in ("conjugate", "leave_one_out")]
    conjugate, ours = (run.execute(run.plan(settings))["metrics"] for settings in runs)
    state, new_state = (weights(run_folder(settings)) for settings in runs)
    for name in state:
        assert np.array_equal(state[name], new_state[name]), name
    assert ours["test_rmse"] == conjugate["test_rmse"]
    assert ours["train_noise_precision"] == conjugate["train_noise_precision"]
    std, new_std = ([row["std"] for row in rows(run_folder(settings).predictions)] for settings in runs)
    assert not any(one == other for one, other in zip(std, new_std))
    assert ours["test_log_likelihood"] != conjugate["test_log_likelihood"]
    assert "train/predictive_noise_precision" in dict(events(run_folder(runs[1])))


def test_keys_of_evaluation_and_length(config):
    config = functools.partial(config, optimizer="diag")
    base = run.execute(run.plan(config()))
    more = run.execute(run.plan(config(test_particles=50)))
    assert more["metrics"]["test_rmse"] != base["metrics"]["test_rmse"]
    assert more["metrics"]["train_kl"] == base["metrics"]["train_kl"]
    assert run.execute(run.plan(config(epoch=6)))["steps"] == 48
    decays = [run.execute(run.plan(config(**keys)))["metrics"]["train_kl"]
              for keys in ({}, {"lr_decay_interval": 1}, {"lr_decay_ratio": 0.5}, {"lr_decay_interval": 2})]
    assert decays[0] == decays[3] and len(set(decays)) == 3  # default interval: half of the epochs
    folder = run_folder(config())
    run.execute(run.plan(config(epoch_rate=1, save_interval=1, max_to_keep=2)))
    assert len(rows(folder.metrics)) == 4
    assert len(list(folder.checkpoint.glob("*.index"))) == 2


def test_a_fresh_start_archives_the_earlier_run(config):
    folder = run_folder(config())
    for _ in range(3):
        run.execute(run.plan(config(epoch=1)))
    names = sorted(path.name for path in folder.root.parent.glob("[!.]*"))
    assert names == ["kfac_tiny", "kfac_tiny.1", "kfac_tiny.2"]
    assert (folder.root.with_name("kfac_tiny.1") / "result.json").is_file()


def test_killed_and_resumed_equals_uninterrupted(finished_run, config_file):
    keys = dict(epoch=250, epoch_rate=5, save_interval=5)
    _, folder = finished_run(**keys)
    folder.root.rename(folder.root.with_name("straight"))
    straight = folder_at(folder.root.with_name("straight"))
    path = config_file(**keys)
    start_and_kill([sys.executable, "train.py", "--config", str(path), "--device", "cpu"], folder, 60)
    train.main(["--config", str(path), "--resume"])
    assert "resuming after epoch" in folder.log.read_text()
    assert_same_end(folder, straight, n_steps=2000)


@pytest.mark.parametrize("optimizer", sorted(METHODS))
def test_the_state_of_every_method_is_in_its_checkpoints(finished_run, optimizer):
    """A run without its last checkpoint and its result, as after a kill, ends in the same state."""
    path, folder = finished_run(optimizer=optimizer, epoch=6)
    straight = folder_at(folder.root.with_name("straight"))
    shutil.copytree(str(folder.root), str(straight.root))
    for lost in [folder.result, *folder.checkpoint.glob("model-48.*")]:
        lost.unlink()
    train.main(["--config", str(path), "--resume"])
    assert "resuming after epoch 4" in folder.log.read_text()
    assert_same_end(folder, straight, n_steps=48)


def assert_same_end(folder, other, n_steps):
    """Asserts that two folders hold the same weights, metrics and rows of metrics.csv."""
    one, two = weights(folder), weights(other)
    assert one.keys() == two.keys() and int(one["global_step"]) == n_steps
    for name in one:
        assert np.array_equal(one[name], two[name]), name
    results = [json.loads(place.result.read_text())["metrics"] for place in (folder, other)]
    assert results[0] == results[1]
    curves = [[(row["epoch"], row["test_rmse"]) for row in rows(place.metrics)] for place in (folder, other)]
    assert curves[0] == curves[1]


def test_resuming_after_the_last_epoch(config, capsys):
    """A run that was killed before it wrote its result evaluates again; a finished run is not changed."""
    folder, first = run_folder(config()), run.execute(run.plan(config()))
    folder.result.unlink()
    again = run.execute(run.plan(config()), resume=True)
    assert first["metrics"] == again["metrics"]
    before = {path: path.stat().st_mtime_ns for path in folder.root.rglob("[!.]*") if path.is_file()}
    assert run.execute(run.plan(config()), resume=True) == again
    assert "is already finished: nothing to do" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in folder.root.rglob("[!.]*") if path.is_file()} == before


def test_where_a_run_comes_from(config, capsys):
    """Versions, revision and host are in its files; a resumed run reports which of them changed."""
    folder, result = run_folder(config()), run.execute(run.plan(config()))
    written = json.loads(folder.config.read_text())
    assert result["host"] == written["host"] == platform.node() and result["device"] == "/device:CPU:0"
    assert result["versions"]["tensorflow"] == tf.__version__ and result["revision"] == written["revision"]
    folder.result.unlink()
    run.execute(run.plan(config()), resume=True)
    assert "note: resumed with" not in capsys.readouterr().err
    folder.result.unlink()
    folder.config.write_text(json.dumps(dict(written, versions=dict(written["versions"], numpy="1.0"), revision="x")))
    run.execute(run.plan(config()), resume=True)
    error = capsys.readouterr().err
    assert f"note: resumed with numpy {np.__version__}, begun with 1.0" in error
    assert f"note: resumed with revision {written['revision']}, begun with x" in error


def test_lines_instead_of_a_bar(config, capsys):
    """Without a terminal every evaluation prints a line."""
    run.execute(run.plan(config()))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines if line.startswith("epoch")] == ["epoch 2", "epoch 4"]


def test_a_closed_pipe_ends_without_an_error():
    command = f"{sys.executable} train.py --help-config | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=str(ROOT), capture_output=True)
    assert done.returncode in (0, 141) and done.stdout.startswith(b"key") and done.stderr == b""


def test_a_run_that_diverges_says_so(config, config_file, capsys):
    with pytest.raises(SystemExit) as stop:
        train.main(["--config", str(config_file(optimizer="sgd", alpha=1e30, epoch=2))])
    assert stop.value.code == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "training diverged" in error and "smaller alpha" in error


@pytest.mark.parametrize("keys, use", [
    ({}, "step, and initialisation of R"), ({"scale_init": "exact"}, "step only"), ({"optimizer": "kfac"}, "step only"),
    ({"kfac_init_after_basis": False, "re_init": False}, "step, and initialisation of R")])
def test_explain_tells_what_is_damped(config, keys, use):
    text = "\n".join(explain(run.plan(config(**dict({"optimizer": "ekfac", "damping": 0.5}, **keys)))))
    assert f"gamma_ex = 0.5 ({use})" in text


def test_explain_builds_and_writes_nothing(config, config_file, capsys):
    path = config_file(optimizer="ekfac", validation_fraction=0.2, damping=0.1, fisher_approx="kron")
    nodes = len(tf.get_default_graph().get_operations())
    train.main(["--config", str(path), "--explain"])
    text = capsys.readouterr().out
    for part in ("31 training, 8 validation and 4 test rows of 3 inputs", "protocol published, split 1", "std 1;",
                 "gamma_in = kl / (N eta) = 0.03226", "gamma_ex = 0.1", "dense0: 4 x 4 weights, posterior structured",
                 "factors A 5 x 5 and S 1 x 1", "4 epochs of 7 steps = 28", "every 3 steps: 9 times", "ms per step",
                 "step size 0.02 (alpha)", " seconds in all",
                 "fisher_approx kron does not match optimizer ekfac and is ignored"):
        assert part in text, part
    assert len(tf.get_default_graph().get_operations()) == nodes
    assert not run_folder(config(optimizer="ekfac")).root.exists()
    train.main(["--config", str(path), "--explain", "--set", "noise_update=held_out", "--set", "held_out_epochs=2"])
    assert "noise level from 5 held-out training rows until epoch 2; then it stays" in capsys.readouterr().out
    train.main(["--config", str(path), "--explain", "--set", "likelihood=student_t"])
    assert "Student's t (8 degrees of freedom) noise" in capsys.readouterr().out
    train.main(["--config", str(path), "--explain", "--set", "max_factor_dim=4"])
    assert "posterior refused: a factor of 5 exceeds max_factor_dim 4" in capsys.readouterr().out
    train.main(["--config", str(path), "--explain", "--set", "max_factor_dim=4", "--set", "large_layers=diagonal"])
    assert "dense1: 5 x 1 weights, posterior diagonal" in capsys.readouterr().out


def test_list_and_help(capsys):
    train.main(["--list"])
    text = capsys.readouterr().out
    assert all(name in text for name in list(METHODS) + ["ffn50", "linear", "concrete", "naval_compressor"])
    assert re.search("^overlay .*^  recipe.json +the recipe .regression.: lengths and rates by", text, re.M | re.S)
    train.main(["--help-config"])
    assert "re_init_iters" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        train.main(["--help"])
    assert stop.value.code == 0 and "examples:" in capsys.readouterr().out


@pytest.mark.parametrize("optimizer", ["ekfac", "kfac"])
def test_concrete_learns(real_data, tmp_path, optimizer):
    """Thirty of the thousand epochs on real data already beat a linear model (RMSE 10)."""
    path = ROOT / "config" / "regression" / f"{optimizer}_concrete.json"
    config = Config.from_file(path, [f"data_path={real_data}", f"experiments_path={tmp_path}", "epoch=30"])
    metrics = run.execute(run.plan(config))["metrics"]
    assert metrics["test_rmse"] < 8.0 and metrics["test_log_likelihood"] > -3.6
