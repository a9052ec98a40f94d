"""Overlays: their changes, the names of their experiments, and that they replace the removed files."""
import json

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import train
from core.inference.step_sizes import Refreshes, classification_step_sizes
from core.training.design import design_run, notices
from core.training.schedule import Schedule, classification_periods, early_classification_steps
from data_loader.parts import Spec
from misc.config import Config
from misc.config_overlays import FOLDER, known_overlays, read_overlay
from misc.errors import UserError
from misc.folders import as_now, run_folder
from misc.records import read_json
from tests.baseline.commands import SPACE, baseline, home, numbers
from tests.conftest import ROOT

# Family of removed files -> the published method and the overlay that replace them.
REPLACEMENTS = {
    "ekfac_tuned": ("ekfac", "first_recipe"), "kfac_tuned": ("kfac", "first_recipe"),
    "diag_tuned": ("diag", "first_recipe"),
    "bbb": ("ekfac", "bbb"), "adam": ("ekfac", "adam"),
    "adam_vgg16": ("ekfac", "adam_classification"), "sgd_vgg16": ("ekfac", "sgd"),
}


def removed_files():
    """Returns [(family, path, contents)] of the configuration files that overlays replaced."""
    families = read_json(ROOT / "tests" / "removed_configs.json")
    return [(family, path, dict(group["in all files"], **values))
            for family, group in families.items() for path, values in group["in each file"].items()]


@pytest.fixture
def overlay(tmp_path):
    """Function (name, **values) -> path of an overlay file."""

    def make(name="overlay", **values):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(values))
        return str(path)

    return make


def test_all_removed_files_have_a_replacement():
    files = removed_files()
    assert {family for family, _, _ in files} == set(REPLACEMENTS)
    paths = {path for _, path, _ in files}
    assert len(paths) == 30 + 20 + 8 and not any((ROOT / path).exists() for path in paths)


@pytest.mark.parametrize("family, path, contents", removed_files(), ids=[path for _, path, _ in removed_files()])
def test_an_overlay_on_a_published_file_says_what_the_removed_file_said(family, path, contents):
    method, name = REPLACEMENTS[family]
    stem = (ROOT / path).stem.replace("_tuned", "").split("_", 1)[1]
    published = (ROOT / path).with_name(f"{method}_{stem}.json")
    config = Config.from_file(published, overlays=[FOLDER / f"{name}.json"])
    renamed = dict(contents, exp_name=contents["exp_name"].replace("_recipe", "_first_recipe"))
    assert as_now(config.model_dump()) == as_now(Config.from_dict(renamed).model_dump())


@pytest.mark.parametrize("overlay_name, space", [("first_recipe", "recipe"), ("recipe", "fast_recipe")])
def test_a_recipe_is_the_one_that_the_search_found(overlay_name, space):
    recipe = read_json(ROOT / "config" / "search" / f"{space}.json")["recipe"]
    later = {"auto_refresh": True} if overlay_name == "recipe" else {}  # the search had narrow layers only
    assert read_overlay(FOLDER / f"{overlay_name}.json").values == dict(recipe, **later)


def test_every_overlay_describes_itself():
    overlays = known_overlays()
    assert set(overlays) == {f"{name}.json" for _, name in REPLACEMENTS.values()} | {
        "as_published.json", "recipe.json", "kl_chosen.json"}
    assert all(overlays.values())


def test_the_published_algorithm_has_no_warm_ups():
    config = Config.from_file(ROOT / "config" / "classification" / "ekfac_vgg16_plain.json",
                              overlays=[FOLDER / "as_published.json"])
    sizes = classification_step_sizes(config, None, tf.constant(1.0), 390, Refreshes({"cov": 10}))
    with tf.Session() as session:
        assert sizes.kl_scale == 1.0 and session.run(sizes.clip) == np.float32(config.kl_clip)
    periods = classification_periods(config, ["cov", "basis", "scale"])
    schedule = Schedule(periods, early_classification_steps(config, periods))
    assert schedule.due(1) == set() and schedule.due(10) == {"cov", "scale"} and "basis" in schedule.due(200)


def test_the_template_for_own_data_is_the_recipe():
    config = Config.from_file(ROOT / "config" / "own_data.json")
    assert (config.dataset, config.name, config.model_name) == ("mydata", "ekfac_mydata", "ffn50")
    recipe = Config.from_file(ROOT / "config" / "regression" / "ekfac_concrete.json",
                              ["dataset=mydata", "fisher_approx=null"], [FOLDER / "recipe.json"])
    differ = {name for name, value in recipe if value != getattr(config, name)}
    assert differ <= {"exp_name", "fisher_approx"}
    assert len({tuple(notices(design_run(each, Spec(100, (3,), 1, None)))) for each in (config, recipe)}) == 1


def test_the_template_for_own_images_is_that_of_the_digits():
    config = Config.from_file(ROOT / "config" / "own_images.json")
    digits = Config.from_file(ROOT / "config" / "classification" / "ekfac_digits.json")
    differ = {name for name, value in digits if value != getattr(config, name)}
    assert (config.dataset, config.name) == ("images", "ekfac_images") and differ == {"dataset", "exp_name"}


def test_later_overlays_win_and_set_comes_last(config_file, overlay):
    path = config_file(kl=0.9, eta=2.0, train_particles=3, exp_name="base")
    first = overlay("first", kl=0.5, eta=0.5, alpha=0.1, exp_name_suffix="_a")
    second = overlay("second", eta=None, alpha=0.2, exp_name_suffix="-b", description="two")
    config = Config.from_file(path, ["alpha=0.3"], [first, second])
    assert (config.kl, config.eta, config.alpha, config.train_particles) == (0.5, 1.0, 0.3, 3)
    assert config.name == config.exp_name == "base_a-b"
    assert Config.from_file(path, ["exp_name=mine"], [first, second]).name == "mine"
    assert "eta" not in config.model_fields_set  # the default, as without the file


@pytest.mark.parametrize("base, values, overrides, name", [
    ({}, {"exp_name_suffix": "_x"}, [], "ekfac_tiny_x"),
    ({}, {"exp_name_suffix": "_x", "optimizer": "bbb"}, ["dataset=wine"], "bbb_wine_x"),
    ({"exp_name": "ekfac_cold"}, {"optimizer": "bbb"}, [], "bbb_cold"),
    ({"exp_name": "ekfac_cold"}, {"optimizer": "bbb", "exp_name_suffix": "_x"}, [], "bbb_cold_x"),
    ({"exp_name": "ekfacs"}, {"optimizer": "bbb"}, [], "ekfacs"),
    ({"exp_name": "cold"}, {"optimizer": "bbb"}, [], "cold"),
    ({"exp_name": "ekfac_cold"}, {"optimizer": "bbb", "exp_name": "ekfac_y"}, [], "ekfac_y"),
    ({"exp_name": "ekfac_cold"}, {"exp_name": None, "optimizer": "bbb"}, [], "bbb_tiny"),
    ({"exp_name": "ekfac_cold"}, {}, ["optimizer=bbb"], "ekfac_cold"),
])
def test_names_of_experiments(config_file, overlay, base, values, overrides, name):
    config = Config.from_file(config_file(**base), overrides, [overlay(**values)])
    assert config.name == name


@pytest.mark.parametrize("values, message", [
    ({"kl_wieght": 1}, r"overlay.json: unknown key 'kl_wieght'; did you mean '\w+'\? \(--help-config lists all\)"),
    ({"exp_name_sufix": "_x"}, "overlay.json: unknown key 'exp_name_sufix'; did you mean 'exp_name_suffix'"),
    ({"exp_name_suffix": "/x"}, 'overlay.json: exp_name_suffix must be a text of letters, .*, got "/x"'),
    ({"exp_name_suffix": None}, "overlay.json: exp_name_suffix must be a text of letters, .*, got null"),
    ({"description": 3}, "overlay.json: description must be a text, got 3"),
    ({"kl": -1}, "config.json with .*overlay.json: kl: input should be greater than 0, got -1"),
    ({"dataset": None}, "config.json with .*overlay.json: key 'dataset' is missing"),
    ({"kl_clip": 0.5}, "overlay.json: kl_clip: for mode classification only|kl_clip belongs to mode classification"),
    ({"mode": "classification", "optimizer": "sgd"},
     "overlay.json is for mode classification, but .*config.json has mode regression"),
    ({"optimizer": 5}, "overlay.json: optimizer: input should be a valid string, got 5"),
])
def test_bad_overlays_are_refused(config_file, overlay, values, message):
    with pytest.raises(UserError, match=message):
        Config.from_file(config_file(), overlays=[overlay(**values)])


def test_broken_overlay_files(config_file, tmp_path, capsys):
    (tmp_path / "broken.json").write_text('{"kl": 1,}')
    for path, message in ((tmp_path / "none.json", "overlay .*none.json does not exist; see config/overlays/"),
                          (tmp_path / "broken.json", "broken.json is not valid JSON"), (tmp_path, "is a folder")):
        with pytest.raises(UserError, match=message):
            Config.from_file(config_file(), overlays=[path])
    with pytest.raises(SystemExit) as stop:
        train.main(["--config", str(config_file()), "--with", str(tmp_path / "none.json")])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.startswith("train.py: overlay ") and error.count("\n") == 1


def test_a_run_under_overlays_is_explained_recorded_and_resumed(config_file, overlay, capsys):
    path = str(config_file(optimizer="diag"))
    files = [overlay("cold", kl=0.5, exp_name_suffix="_cold"), overlay("short", epoch=2)]
    command = ["--config", path, "--with", files[0], "--with", files[1]]
    train.main([*command, "--explain"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"overlay    {files[0]}: kl=0.5, exp_name_suffix=_cold", f"overlay    {files[1]}: epoch=2"]
    train.main(command)
    folder = run_folder(Config.from_file(path, overlays=files))
    written = read_json(folder.config)["config"]
    assert folder.root.name == "diag_tiny_cold"
    assert (written["kl"], written["epoch"], written["exp_name"]) == (0.5, 2, "diag_tiny_cold")
    assert "exp_name_suffix" not in written and "description" not in written
    capsys.readouterr()
    train.main([*command, "--resume"])
    assert "is already finished" in capsys.readouterr().err
    folder.result.unlink()
    train.main([*command, "--resume"])
    assert folder.result.is_file()
    with pytest.raises(SystemExit):
        train.main([*command[:4], "--resume"])
    assert "the config has changed since this run began: epoch (then 2, now 4)" in capsys.readouterr().err


def test_repeated_runs_under_overlays(write, overlay, tmp_path, capsys):
    plain, cold = write(epoch=2), overlay("cold", kl=0.5, exp_name_suffix="_cold")
    assert baseline(plain, "--runs", "1") == 0
    assert baseline(plain, "--runs", "1", "--with", cold, "--against", plain) == 0  # the file as it stands
    assert "base_cold minus base, split by split (settings that differ: kl):" in capsys.readouterr().out
    other = write("other", optimizer="kfac", epoch=2)
    assert baseline(other, "--runs", "1", "--with", cold, "--against", plain) == 0  # the file under the overlay
    assert "other_cold minus base_cold, split by split (settings that differ: optimizer):" in capsys.readouterr().out
    assert read_json(home(tmp_path, "base_cold") / "seeds" / "1" / "config.json")["config"]["kl"] == 0.5
    assert numbers(home(tmp_path, "base_cold")) != numbers(home(tmp_path))


def test_a_search_under_an_overlay(write, overlay, tmp_path):
    (tmp_path / "space.json").write_text(json.dumps(dict(SPACE, trials=1)))
    arguments = ["--runs", "1", "--tune", str(tmp_path / "space.json"), "--protocol", "standard"]
    assert baseline(write(optimizer="adam"), *arguments, "--with", overlay(eta=2.0, exp_name_suffix="_wide")) == 0
    root = home(tmp_path, "base_wide_standard_tuned")
    request = read_json(root / "seeds" / "1" / "tuning" / "request.json")
    assert request["config"]["eta"] == 2.0
    assert read_json(root / "seeds" / "1" / "config.json")["config"]["eta"] == 2.0
