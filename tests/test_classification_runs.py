"""Classification from config to files: files of a run, resumption, repetition, and the published configs."""
import csv
import io
import json

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose
from PIL import Image

import train
from core.inference.optimizer import METHODS, check_layers
from core.training import evaluation, run
from core.training.design import design_run, notices
from data_loader.batches import epoch_order
from data_loader.parts import Pixels, Spec
from misc.config import Config
from misc.folders import run_folder
from misc.image_figures import image_grid, misclassified_figure
from tests.conftest import ROOT

SETTINGS = dict(mode="classification", dataset="digits", optimizer="ekfac", model_name="ffn", hidden=[8], epoch=2,
                batch_size=128, learning_rate=0.01, kl_clip=0.01, train_particles=1, test_particles=3, TCov=3, TInv=6,
                TEigen=6, TScale=3, split=1)
NAMES = ["accuracy", "log_likelihood", "brier", "ece"]
NAMES += ["mean_" + name for name in NAMES]


def settings(folder, **overrides):
    values = dict(SETTINGS, data_path=str(folder), experiments_path=str(folder / "experiments"), **overrides)
    return {name: value for name, value in values.items() if value is not None}


@pytest.fixture
def config(tmp_path):
    """Function (**overrides) -> Config of a seconds-long run on digits."""
    return lambda **overrides: Config.from_dict(settings(tmp_path, **overrides))


@pytest.fixture
def config_file(tmp_path):
    """Function (**overrides) -> path of a JSON file with the same settings."""

    def make(**overrides):
        path = tmp_path / "config.json"
        path.write_text(json.dumps(settings(tmp_path, **overrides)))
        return path

    return make


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


def rows(path):
    with open(str(path)) as handle:
        return list(csv.DictReader(handle))


def events(folder):
    """{tag: [(step, value)]}."""
    by_tag = {}
    for path in sorted(folder.summary.glob("events.*")):
        for event in tf.train.summary_iterator(str(path)):
            for value in event.summary.value:
                by_tag.setdefault(value.tag, []).append((event.step, value))
    return by_tag


def image_of(value):
    return np.asarray(Image.open(io.BytesIO(value.image.encoded_image_string)))


def weights(folder):
    """All variables of the newest checkpoint."""
    reader = tf.train.load_checkpoint(str(folder.checkpoint))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


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
    assert result["protocol"] == "random" and not finished.predictions.exists()
    assert "epoch 2: test_accuracy" in finished.log.read_text()


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
    assert int(straight["global_step"]) == 18 and any("moving_variance" in name for name in straight)
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


# Bad input.

@pytest.mark.parametrize("message, overrides", [
    ("unknown dataset for mode classification 'digit'; did you mean 'digits'?", {"dataset": "digit"}),
    ("alpha belongs to mode regression, but this config has mode classification: remove it", {"alpha": 0.1}),
    ("Teigen belongs to mode regression", {"Teigen": 5}),
    ("re_init belongs to mode regression", {"re_init": True}),
    ("cov_ema_decay: input should be less than 1, got 1.0", {"cov_ema_decay": 1.0}),
    ("TCov: input should be greater than or equal to 1, got 0", {"TCov": 0}),
    ("layer dense0 needs factors of 65 and 8, max_factor_dim is 64", {"max_factor_dim": 64}),
])
def test_settings_that_do_not_fit(config_file, tmp_path, capsys, message, overrides):
    refused(config_file(**overrides), tmp_path, capsys, message)


def test_a_network_for_images_on_a_table(tiny_data, capsys):
    path = tiny_data / "config.json"
    path.write_text(json.dumps(dict(dataset="tiny", data_path=str(tiny_data), optimizer="kfac", model_name="vgg16",
                                    experiments_path=str(tiny_data / "experiments"))))
    refused(path, tiny_data, capsys, "model_name vgg16 takes images, but tiny has rows of 3 numbers: take ffn50")


def refused(path, folder, capsys, message):
    before = sorted(folder.rglob("*"))
    with pytest.raises(SystemExit) as stop:
        train.main(["--config", str(path)])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and message in error, error
    assert error.startswith("train.py: ") and error.count("\n") == 1
    assert sorted(folder.rglob("*")) == before


# The published configs.

CONFIGS = sorted((ROOT / "config" / "classification").glob("*.json"))
SPECS = {"cifar10": Spec(50000, (32, 32, 3), 10, Pixels(np.zeros(3), np.ones(3))),
         "fashion_mnist": Spec(60000, (28, 28, 1), 10, Pixels(np.zeros(1), np.ones(1))),
         "digits": Spec(1438, (8, 8, 1), 10, Pixels(np.zeros(1), np.ones(1)))}


def baseline_of(path, overlay):
    """Returns the Config of a baseline: a published file under an overlay."""
    return Config.from_file(path, overlays=[ROOT / "config" / "overlays" / f"{overlay}.json"])


VGG16 = [Config.from_file(path) for path in CONFIGS if "_vgg16_" in path.stem]
VGG16 += [baseline_of(path, overlay) for path in CONFIGS if path.stem.startswith("ekfac_vgg16_")
          for overlay in ("adam_classification", "sgd")]
OTHERS = [Config.from_file(path) for path in CONFIGS if "_vgg16_" not in path.stem]


def test_config_files_are_named_after_their_experiments():
    assert len(CONFIGS) == 9 + 12
    for path in CONFIGS:
        assert Config.from_file(path).exp_name == path.stem


@pytest.mark.parametrize("made", VGG16 + OTHERS, ids=lambda made: made.exp_name)
def test_configs_are_runs(made):
    method, _, rest = made.exp_name.partition("_")
    assert made.mode == "classification" and made.optimizer == method and rest
    design = design_run(made, SPECS[made.dataset])
    check_layers(design.layers, made)
    assert notices(made) == []
    assert design.layers[-1].spec.d_out == 10 and design.likelihood.n_outputs == 10
    assert any(layer.spec.kind == "conv2d" for layer in design.layers)
    assert any(layer.spec.kind == "batch_norm" for layer in design.layers) == made.batch_norm


@pytest.mark.parametrize("made", VGG16, ids=lambda made: made.exp_name)
def test_vgg16_has_the_published_settings(made):
    """Zhang et al. (2018), Bae et al. (2018): CIFAR-10 with and without augmentation and batch normalisation."""
    method, _, kind = made.exp_name.split("_", 2)
    assert kind in ("plain", "aug", "bn", "bn_aug")
    assert (made.dataset, made.model_name, made.width) == ("cifar10", "vgg16", 1.0)
    assert (made.data_aug, made.batch_norm) == ("aug" in kind, "bn" in kind)
    assert made.kl == (0.1 if made.data_aug else 0.5) and made.eta == (1.0 if made.batch_norm else 0.1)
    assert (made.batch_size, made.momentum, made.decay_every_itr) == (128, 0.9, 16000)
    if method in ("ekfac", "kfac", "diag"):
        assert (made.damping, made.learning_rate, made.true_fisher) == (1e-3, 1e-2, True)
        assert made.kl_clip == (1e-4 if method == "diag" else 1e-2 if made.batch_norm else 1e-3)
        assert (made.cov_ema_decay, made.scale_ema_decay) == (0.995 if method == "diag" else 0.99, 0.99)
        assert (made.TCov, made.TInv, made.TEigen, made.TScale) == (10, 200, 200, 10)
        assert (made.train_particles, made.test_particles) == (1, 10)


def test_which_configs_there_are():
    assert {made.exp_name for made in VGG16} == {
        f"{method}_vgg16_{kind}" for method in ("ekfac", "kfac", "sgd", "adam")
        for kind in ("plain", "aug", "bn", "bn_aug")} | {"diag_vgg16_plain"}
    assert {made.exp_name for made in OTHERS} == {
        f"{method}_{rest}" for method in ("ekfac", "kfac", "diag", "sgd")
        for rest in ("digits", "lenet_fashion", "resnet20_cifar10")}


# Notices, explanations and figures.

@pytest.mark.parametrize("keys, notes", [
    (dict(optimizer="sgd", kl_clip=0.1), [
        "note: TCov, TEigen, TInv, TScale, kl_clip have no effect with optimizer sgd"]),
    (dict(optimizer="kfac", basis_tolerance=0.1),
     ["note: TEigen, TScale, basis_tolerance have no effect with optimizer kfac"]),
    (dict(optimizer="sgd", batch_norm=True, TInv=200, TCov=10, TEigen=200, TScale=10, width=2.0),
     ["note: width has no effect with model_name ffn"]),
    (dict(model_name="linear", hidden=None, batch_norm=True, TInv=200), [
        "note: batch_norm has no effect with model_name linear"]),
    (dict(model_name="lenet", hidden=None, width=0.5, TInv=200, batch_norm=True), []),
])
def test_settings_without_effect_are_named(config, keys, notes):
    assert notices(config(**dict(dict(kl_clip=1e-3), **keys))) == notes


@pytest.mark.parametrize("keys, named", [
    (dict(scale_init="exact"), "scale_init exact"),
    (dict(kfac_init_after_basis=False), "kfac_init_after_basis false"),
    (dict(scale_init="exact", kfac_init_after_basis=False), "scale_init exact, kfac_init_after_basis false"),
    (dict(scale_init="exact", optimizer="ekfac_point"), None),  # no weight noise
    (dict(scale_init="damped", kfac_init_after_basis=True), None)])
def test_a_measured_scale_is_warned_of(config, keys, named):
    found = [notice for notice in notices(config(**keys)) if notice.startswith("warning")]
    assert len(found) == (named is not None)
    assert named is None or found[0].startswith(f"warning: with {named}, R rests on the gradients of few minibatches")


def test_measured_scales_are_not_warned_of_in_regression():
    values = dict(dataset="x", optimizer="ekfac", model_name="linear", scale_init="exact", kfac_init_after_basis=False)
    assert not any("R rests on" in notice for notice in notices(Config(mode="regression", **values)))


def test_explain_counts_the_early_refreshes(config_file, capsys):
    train.main(["--config", str(config_file()), "--explain", "--set", "TEigen=200"])
    text = capsys.readouterr().out
    assert "2 epochs of 12 steps = 24" in text and "eigenbasis (with R, A, S) every 200 steps: 5 times" in text
    assert "all of these also at steps 1, 3, 6, 12, 24\n" in text
    assert "step size 0.01, x 0.1 every 16000 steps; KL divergence of a single step at most 0.01 (kl_clip), " \
           "which grows from 0 over 10000 steps, x 0.95 after every epoch" in text


def test_image_grid_by_hand():
    images = np.array([[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]], [[13, 14, 15], [16, 17, 18]]], np.uint8)
    grid = image_grid(images[..., None])
    assert grid.dtype == np.uint8 and grid.shape == (5, 7, 1)
    assert grid[..., 0].tolist() == [[1, 2, 3, 255, 7, 8, 9],
                                     [4, 5, 6, 255, 10, 11, 12],
                                     [255] * 7,
                                     [13, 14, 15] + [255] * 4,
                                     [16, 17, 18] + [255] * 4]
    colours = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    assert (image_grid(colours) == np.concatenate([colours[0], np.full((2, 1, 3), 255), colours[1]], axis=1)).all()


def test_misclassified_images_come_in_order_of_confidence(rng):
    images = rng.randint(0, 256, (6, 4, 4, 1)).astype(np.uint8)
    probabilities = np.array([[0.6, 0.4], [0.1, 0.9], [0.3, 0.7], [0.55, 0.45], [0.95, 0.05], [0.2, 0.8]])
    labels = np.array([1, 0, 1, 1, 0, 0])  # rows 0, 1, 3 and 5 are wrong, with 0.6, 0.9, 0.55 and 0.8
    figure = misclassified_figure(images, probabilities, labels, ["cat", "dog"])
    titles = ["dog 0.90\nis cat 0.10", "dog 0.80\nis cat 0.20", "cat 0.60\nis dog 0.40", "cat 0.55\nis dog 0.45"]
    assert [axis.get_title() for axis in figure.axes] == titles
    assert (figure.axes[0].images[0].get_array() == images[1, ..., 0]).all()
    fewer = misclassified_figure(images, probabilities, labels, ["cat", "dog"], n_most=1)
    assert [axis.get_title() for axis in fewer.axes if axis.images] == titles[:1]


def test_no_figure_where_no_image_is_misclassified(rng):
    probabilities = np.array([[0.6, 0.4], [0.1, 0.9]])
    assert misclassified_figure(np.zeros((2, 4, 4, 3), np.uint8), probabilities, np.array([0, 1]), ["a", "b"]) is None
