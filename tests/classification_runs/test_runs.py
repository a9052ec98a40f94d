"""Classification from config to files: files of a run, repetition and resumption."""
import io
import json

import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image

import train
from core.inference.optimizer import METHODS
from core.training import evaluation, run
from data_loader.batches import epoch_order
from misc.config import Config
from misc.folders import run_folder
from misc.image_figures import image_grid
from tests.classification_runs.short import settings
from tests.written import events, rows, weights

NAMES = ["accuracy", "log_likelihood", "brier", "ece"]
NAMES += ["mean_" + name for name in NAMES]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder of a run with validation rows, trained by train.py."""
    path = tmp_path_factory.mktemp("finished")
    (path / "config.json").write_text(json.dumps(settings(path, validation_fraction=0.1)))
    train.main(["--config", str(path / "config.json")])
    return run_folder(Config.from_dict(settings(path)))


@pytest.fixture
def no_figure(monkeypatch):
    """Runs without the figure of misclassified rows: drawing it takes longer than training."""
    monkeypatch.setattr(evaluation, "misclassified_figure", lambda *_: None)


def image_of(value):
    return np.asarray(Image.open(io.BytesIO(value.image.encoded_image_string)))


# The files.

def test_metrics_of_every_epoch(finished):
    table = rows(finished.metrics)
    assert list(table[0]) == ["epoch", "step", "seconds"] + [f"{part}_{name}" for part in ("test", "valid")
                                                             for name in NAMES] + [
        "train_lower_bound", "train_expected_log_likelihood", "train_kl"]
    assert [(row["epoch"], row["step"]) for row in table] == [("1", "11"), ("2", "22")]
    values = [{name: float(value) for name, value in row.items()} for row in table]
    assert all(np.isfinite(value) for row in values for value in row.values())
    assert values[1]["train_expected_log_likelihood"] > values[0]["train_expected_log_likelihood"]
    for row in values:
        assert row["test_log_likelihood"] != row["test_mean_log_likelihood"]
        assert all(0 <= row[f"{part}_{name}"] <= 1 for part in ("test", "valid") for name in ("accuracy", "mean_ece"))


def test_predictions_and_the_result_agree(finished):
    with np.load(str(finished.probabilities)) as arrays:
        probabilities, labels, classes = (arrays[name] for name in ("probabilities", "labels", "classes"))
    assert probabilities.shape == (359, 10) and list(classes) == list("0123456789")
    assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-5)
    result, last = json.loads(finished.result.read_text()), rows(finished.metrics)[-1]
    metrics = result["metrics"]
    assert metrics["test_accuracy"] == pytest.approx(np.mean(probabilities.argmax(axis=1) == labels), abs=1e-12)
    of_label = probabilities[np.arange(359), labels].astype(float)
    assert metrics["test_log_likelihood"] == pytest.approx(np.mean(np.log(of_label)), rel=1e-5)
    error = probabilities - np.eye(10)[labels]
    assert metrics["test_brier"] == pytest.approx(np.mean(np.sum(error**2, axis=1)), rel=1e-5)
    assert all(metrics[name] == float(last[name]) for name in last if name not in ("epoch", "step", "seconds"))
    assert (result["n_train"], result["n_valid"], result["n_test"], result["steps"]) == (1294, 144, 359, 22)
    assert result["protocol"] == "random" and "epoch 2: test_accuracy" in finished.log.read_text()


def test_a_line_per_image(finished):
    """Digits are no files: a line names the image by its number in the set, from 1."""
    with np.load(str(finished.probabilities)) as arrays:
        probabilities, labels = arrays["probabilities"], arrays["labels"]
    table = rows(finished.predictions)
    assert list(table[0]) == ["row", "target", "predicted", "confidence", "entropy", "mutual_information",
                              *(f"p_{name}" for name in range(10))]
    order = np.random.RandomState(1).permutation(1797)
    assert [int(row["row"]) for row in table] == (order[1438:] + 1).tolist()
    assert [int(row["target"]) for row in table] == labels.tolist()
    assert [int(row["predicted"]) for row in table] == probabilities.argmax(axis=1).tolist()
    found = np.array([[float(row[f"p_{name}"]) for name in range(10)] for row in table])
    assert (found.astype(np.float32) == probabilities).all()
    assert_allclose([float(row["confidence"]) for row in table], found.max(axis=1), rtol=1e-15)
    assert_allclose([float(row["entropy"]) for row in table], -(found * np.log(found)).sum(axis=1), rtol=1e-9)
    assert all(0 < float(row["mutual_information"]) < float(row["entropy"]) for row in table)


def test_curves(finished):
    by_tag = events(finished)
    assert {f"{part}/{name}" for part in ("test", "valid") for name in NAMES} <= set(by_tag)
    assert {"train/lower_bound", "train/kl", "kl/dense0", "kl/dense1", "speed/steps_per_second",
            "dense0/condition_a", "dense1/weight_noise_std"} <= set(by_tag)
    assert [step for step, _ in by_tag["test/accuracy"]] == [11, 22]
    bound, fit, kl = (by_tag["train/" + name][-1][1].simple_value for name in (
        "lower_bound", "expected_log_likelihood", "kl"))
    assert bound == pytest.approx(fit - 22 / 220 / 1294 * kl, rel=1e-5)  # kl_warmup is 20 epochs


def test_images_in_tensorboard(finished):
    by_tag = events(finished)
    step, value = by_tag["inputs/training"][0]
    image = image_of(value)
    assert step == 0 and image.shape == (53, 53) == (value.image.height, value.image.width)  # 6 x 6 digits of 8 x 8
    with np.load(str(finished.probabilities)) as made:
        n_wrong = np.sum(made["probabilities"].argmax(axis=1) != made["labels"])
    assert ("misclassified/most_confident" in by_tag) == (n_wrong > 0)
    if n_wrong:
        step, value = by_tag["misclassified/most_confident"][0]
        assert step == 22 and image_of(value).shape[:2] == (value.image.height, value.image.width)


def test_the_preview_is_what_the_network_sees(config, no_figure):
    made = run.plan(config(epoch=1, optimizer="sgd"), "cpu")
    run.execute(made)
    _, value = events(run_folder(made.config))["inputs/training"][0]
    first = made.data.train.x[epoch_order(1438, 1, 1)[:36]]
    assert (image_of(value) == image_grid(first)[..., 0]).all()


# Repeated and resumed runs.

def test_the_same_seed_gives_the_same_result(config, no_figure):
    keys = dict(batch_norm=True, data_aug=True, optimizer="diag", epoch=1, batch_size=256, TCov=1)
    first, again, other = (run.execute(run.plan(config(seed=seed, **keys)))["metrics"] for seed in (1, 1, 2))
    assert first == again != other


def test_resumed_equals_uninterrupted(config, config_file, capsys, shared_graphs, no_figure):
    """A run without its last checkpoint and its result, as after a kill, ends in the same state."""
    keys = dict(optimizer="diag", model_name="lenet", hidden=None, width=0.3, batch_norm=True, data_aug=True, epoch=3,
                save_interval=1, batch_size=256, TCov=1)
    path, folder = config_file(**keys), run_folder(config(**keys))
    train.main(["--config", str(path)])
    straight, result = weights(folder), json.loads(folder.result.read_text())
    assert int(straight["global_step"]) == 18 and any("batch_norm" in name for name in straight)
    for lost in [folder.result, *folder.checkpoint.glob("model-18.*")]:
        lost.unlink()
    train.main(["--config", str(path), "--resume"])
    assert "resuming after epoch 2" in capsys.readouterr().err
    resumed = weights(folder)
    assert resumed.keys() == straight.keys()
    for name in straight:
        assert np.array_equal(resumed[name], straight[name]), name
    assert json.loads(folder.result.read_text())["metrics"] == result["metrics"]


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("optimizer", sorted(METHODS))
def test_every_method(config, optimizer, batch_norm, no_figure):
    made = config(optimizer=optimizer, batch_norm=batch_norm, epoch=1, batch_size=256, hidden=[4], test_particles=2,
                  TCov=1, TInv=1, TEigen=1, TScale=1)
    metrics = run.execute(run.plan(made))["metrics"]
    assert len(metrics) == 11 and all(np.isfinite(value) for value in metrics.values())
