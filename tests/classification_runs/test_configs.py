"""Configurations of classification: refusals, published files, notices and figures."""
import json

import numpy as np
import pytest

import train
from core.inference.optimizer import check_layers
from core.training.design import design_run, notices
from core.training.schedule import classification_periods
from data_loader.parts import Pixels, Spec
from misc.config import Config
from misc.image_figures import image_grid, misclassified_figure
from tests.conftest import ROOT

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
    assert notices(design) == []
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
        assert classification_periods(made, ["cov", "inverse", "basis", "scale"]) == {
            "cov": 10, "inverse": 200, "basis": 200, "scale": 10}
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
    made = config(**dict(dict(kl_clip=1e-3, kl_warmup=0), **keys))
    assert notices(design_run(made, SPECS["digits"])) == notes


@pytest.mark.parametrize("keys, named", [
    (dict(scale_init="exact"), "scale_init exact"),
    (dict(kfac_init_after_basis=False), "kfac_init_after_basis false"),
    (dict(scale_init="exact", kfac_init_after_basis=False), "scale_init exact, kfac_init_after_basis false"),
    (dict(scale_init="exact", optimizer="ekfac_point"), None),  # no weight noise
    (dict(scale_init="damped", kfac_init_after_basis=True), None)])
def test_a_measured_scale_is_warned_of(config, keys, named):
    design = design_run(config(kl_warmup=0, **keys), SPECS["digits"])
    found = [notice for notice in notices(design) if notice.startswith("warning")]
    assert len(found) == (named is not None)
    assert named is None or found[0].startswith(f"warning: with {named}, R rests on the gradients of few minibatches")


def test_measured_scales_are_not_warned_of_in_regression():
    values = dict(dataset="x", optimizer="ekfac", model_name="linear", scale_init="exact", kfac_init_after_basis=False)
    design = design_run(Config(mode="regression", **values), Spec(100, (3,), 1, None))
    assert not any("R rests on" in notice for notice in notices(design))


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
