import itertools
import json
import pathlib
import re
import runpy
import warnings

import pytest

from core.inference.optimizer import METHODS
from core.training.design import design_run, notices
from data_loader.parts import Spec
from misc.config import Config
from misc.config_keys import key_group, key_mode
from misc.config_table import config_page, config_table
from misc.errors import UserError
from tests.conftest import ROOT

GOOD = {"dataset": "wine", "optimizer": "ekfac", "model_name": "ffn50"}


@pytest.mark.parametrize("bad, message", [
    ({"kl_wieght": 1}, r"unknown key 'kl_wieght'; did you mean '\w+'\?"),
    ({"Teigne": 5}, "unknown key 'Teigne'; did you mean 'Teigen'?"),
    ({"epoch": "5"}, 'epoch: input should be a valid integer, got "5"'),
    ({"epoch": True}, "epoch: input should be a valid integer, got true"),
    ({"epoch": 0}, "epoch: input should be greater than or equal to 1, got 0"),
    ({"eta": 0}, "eta: input should be greater than 0, got 0"),
    ({"kl": float("inf")}, "kl: input should be a finite number"),
    ({"beta": 1.5}, "beta: input should be less than or equal to 1, got 1.5"),
    ({"scale_init": "exat"}, "scale_init: input should be 'damped' or 'exact'"),
    ({"exp_name": "../x"}, r"exp_name: a name has letters, digits, _ . \+ - only"),
    ({"hidden": [5]}, "hidden is required by model_name ffn and allowed with no other network"),
    ({"model_name": "ffn"}, "hidden is required by model_name ffn and allowed with no other network"),
    ({"model_name": "ffn", "hidden": [5, 0]}, "hidden.1: input should be greater than 0, got 0"),
    ({"kl_clip": 0.5, "mode": "regression"},
     "kl_clip belongs to mode classification, but this config has mode regression: remove it"),
    ({"kl_clip": 0.5, "clip_warmup": 5},
     "clip_warmup, kl_clip: for mode classification only, and mode is not set .default regression.: add"),
    ({"seed": -1}, "seed: input should be greater than or equal to 0"),
    ({"threads": 10**12}, "threads: input should be less than or equal to 1024"),
    ({"epoch": 10**7}, "epoch: input should be less than or equal to 1000000"),
    ({"experiments_path": "x\0y"}, "experiments_path: a path has at least one character and no NUL character"),
    ({"data_path": ""}, "data_path: a path has at least one character"),
    ({"noise_dof": 2.0}, "noise_dof"),
    ({"noise_update": "conjugate", "learning_rate": 2.0}, "learning_rate 2: with noise_update conjugate it is the "),
    ({"noise_update": "leave_one_out", "learning_rate": 2.0}, "leave_one_out it is the weight of a new value in"),
    ({"kl": 1e-40}, "kl: 1e-40 is out of range: give a value between 1e-30 and 1e"), ({"eta": 1e40}, "eta: 1e"),
    ({"alpha": 1e31}, "alpha: 1e"),
    ({"exp_name_suffix": "_x"}, "exp_name_suffix is for overlays .--with. only; set exp_name here"),
    ({"description": "x"}, "description is for overlays .--with. only$"),
])
def test_bad_values_say_what_would_be_right(bad, message):
    with pytest.raises(UserError, match=message.replace("?", r"\?") if "\\" not in message else message):
        Config.from_dict({**GOOD, **bad})


def test_a_missing_key_says_what_it_is():
    with pytest.raises(UserError, match="key 'dataset' is missing: Name of a known data set"):
        Config.from_dict({"optimizer": "kfac", "model_name": "ffn50"})


@pytest.mark.parametrize("text, message", [
    ("{", "is not valid JSON"), ("[1]", "must hold one JSON object"), ('{"kl": 1, "kl": 2}', "key 'kl' is given twice"),
])
def test_broken_files(tmp_path, text, message):
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        Config.from_file(path)
    with pytest.raises(UserError, match="does not exist"):
        Config.from_file(tmp_path / "none.json")


def test_overrides_are_typed_by_the_schema(tmp_path):
    path = tmp_path / "c.json"
    path.write_text(json.dumps(dict(GOOD, model_name="ffn", hidden=[3])))
    config = Config.from_file(path, ["epoch=7", "kl=0.5", "exp_name=12", "hidden=[4, 5]", "amor_eigen=false",
                                     "split=null", "activation=tanh"])
    assert (config.epoch, config.kl, config.name, config.hidden) == (7, 0.5, "12", [4, 5])
    assert (config.amor_eigen, config.split, config.activation) == (False, None, "tanh")
    for text, message in (("epoch", "--set takes KEY=VALUE"), ("epcoh=3", "did you mean 'epoch'"),
                          ("epoch=x", 'valid integer, got "x"')):
        with pytest.raises(UserError, match=message):
            Config.from_file(path, [text])


def test_defaults_that_depend_on_other_keys():
    config = Config.from_dict(dict(GOOD, epoch=11))
    assert (config.name, config.decay_interval, config.n_threads) == ("ekfac_wine", 6, 1)
    assert Config.from_dict(dict(GOOD, lr_decay_interval=3)).decay_interval == 3


def test_how_long_rows_are_held_out():
    for epoch, n_epochs in ((1, 1), (5, 3), (1000, 600)):
        assert Config.from_dict(dict(GOOD, epoch=epoch)).epochs_held_out == n_epochs
    assert Config.from_dict(dict(GOOD, held_out_epochs=7)).epochs_held_out == 7


def test_rows_are_held_out_for_a_noise_precision_only():
    pairs = (("held_out", "gaussian"), ("held_out", "heteroscedastic"), ("adam", "gaussian"))
    holds_out = [Config.from_dict(dict(GOOD, noise_update=update, likelihood=likelihood)).holds_out
                 for update, likelihood in pairs]
    assert holds_out == [True, False, False]


SAME_AS_CONJUGATE = ("note: with one weight draw per step, or without weight noise, noise_update leave_one_out is the "
                     "same as conjugate")


@pytest.mark.parametrize("settings, found", [
    (dict(held_out=0.2), ["note: held_out has no effect with noise_update adam"]),
    (dict(noise_update="held_out", learning_rate=0.1), [
        "note: learning_rate has no effect with noise_update held_out"]),
    (dict(noise_update="held_out", held_out=0.2), []),
    (dict(noise_update="leave_one_out", learning_rate=0.1), []),
    (dict(noise_update="leave_one_out", train_particles=1), [SAME_AS_CONJUGATE]),
    (dict(noise_update="leave_one_out", optimizer="kfac_point"), [SAME_AS_CONJUGATE]),
    (dict(noise_dof=4.0), ["note: noise_dof has no effect with likelihood gaussian"]),
    (dict(noise_dof=4.0, likelihood="student_t"), []),
    (dict(noise_update="held_out", held_out=0.2, learning_rate=0.1, likelihood="heteroscedastic"), [
        "note: held_out, learning_rate, noise_update have no effect with likelihood heteroscedastic"]),
    (dict(noise_update="held_out", held_out_epochs=9, epoch=9), [
        "note: the rows held out until epoch 9 of 9 never train"]),
])
def test_notices_of_the_noise_level(settings, found):
    config = Config.from_dict(dict(GOOD, **{"optimizer": "kfac", **settings}))
    assert notices(design_run(config, Spec(100, (3,), 1, None))) == found


CLASSES = {"mode": "classification", "dataset": "digits", "batch_size": 10, "clip_warmup": 10}


@pytest.mark.parametrize("settings, found", [
    (dict(epoch=9, kl_warmup=9), ["kl_warmup is 9"]), (dict(epoch=9, kl_warmup=8), []), (dict(epoch=1), []),
    (dict(CLASSES, epoch=20), ["kl_warmup is 20"]), (dict(CLASSES, epoch=21), []),  # 20: the default
    (dict(CLASSES, epoch=20, optimizer="adam"), []),
    (dict(CLASSES, epoch=20, optimizer="adam", kl_warmup=20), ["kl_warmup is 20"]),
    (dict(CLASSES, epoch=2, kl_warmup=1, clip_warmup=20), ["20 steps ends, because clip_warmup is 20"]),
    (dict(CLASSES, epoch=2, kl_warmup=1, clip_warmup=19), []),
    (dict(CLASSES, epoch=2, kl_warmup=0, clip_warmup=20, optimizer="adam"), []),
    (dict(epoch=2), [])])
def test_warmups_that_outlast_the_training_are_named(settings, found):
    config = Config.from_dict(dict(GOOD, **settings))
    said = [line for line in notices(design_run(config, Spec(100, (3,), 3, None))) if "warmup is" in line]
    assert len(said) == len(found) and all(what in line for what, line in zip(found, said))


def test_every_key_is_read_somewhere():
    source = "\n".join(path.read_text() for folder in ("core", "data_loader", "networks", "misc")
                       for path in (ROOT / folder).rglob("*.py") if path.name != "config.py")
    source += (ROOT / "misc" / "config.py").read_text().split("@classmethod", 1)[1]
    unread = [name for name in Config.model_fields
              if not re.search(rf"(config|self|cls)\.{name}\b|_or_default\(\"{name}\"\)", source)]
    later = {name for name in Config.model_fields if key_mode(name) == "classification"}
    assert set(unread) - later - {"num_workers"} == set()


def test_the_tables_list_every_key():
    table, page = config_table("github"), config_page()
    for name in Config.model_fields:
        assert re.search(rf"^\| {name} ", table, re.M), name
        assert len(re.findall(rf"^\| `{name}` \|", page, re.M)) == 1, name
    assert "| `kl` | float | > 0 | `1.0` | both | Weight lambda" in page
    assert "| `dataset` | str |  | required | both |" in page
    assert "| `protocol` | published / standard / random / kfold / " in page
    assert not re.search(r"^\|.*( {3}|-{4})", page, re.M)  # no cell is padded


def test_keys_of_one_purpose_stand_together():
    """The keys have the same order in misc/config_keys.py and on the page."""
    groups = [key_group(name) for name in Config.model_fields]
    assert [title for title, _ in itertools.groupby(groups)] == list(dict.fromkeys(groups))
    assert re.findall("^## (.*)", config_page(), re.M) == list(dict.fromkeys(groups))


def test_the_page_of_the_documentation_is_current(capsys):
    """The command that updates it is: python -m misc.config_table > docs/configuration.md."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the module has been imported before
        runpy.run_module("misc.config_table", run_name="__main__")
    assert capsys.readouterr().out == (ROOT / "docs" / "configuration.md").read_text()


CONFIGS = sorted((ROOT / "config" / "regression").glob("*.json"))


def test_one_file_per_data_set_and_method():
    names = {path.stem for path in CONFIGS}
    sets = ("concrete", "energy", "housing", "wine", "yacht", "power_plant", "kin8nm", "naval", "protein", "year")
    published = {f"{method}_{name}" for method in ("ekfac", "kfac", "diag") for name in sets}
    assert names == published | {f"{method}_toy1d" for method in ("ekfac", "kfac", "diag", "bbb")}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_files(path):
    config = Config.from_file(path)
    assert config.name == path.stem and config.optimizer == path.stem.split("_")[0]
    assert config.fisher_approx == METHODS[config.optimizer].fisher_approx
    large = config.dataset in ("protein", "year_prediction")
    assert config.model_name == ("ffn100" if large else "ffn50")
    n_test = 200 if config.dataset == "toy1d" else 100
    assert (config.kl, config.eta, config.damping, config.train_particles, config.test_particles) == (
        1, 1, 0, 10, n_test)


@pytest.mark.parametrize("optimizer", ["ekfac", "kfac"])
def test_files_of_the_published_code_are_read_unmodified(optimizer):
    """All keys of its regression files, with the kfac files' contradicting fisher_approx."""
    published = {
        "mode": "regression", "exp_name": f"{optimizer}_concrete", "dataset": "concrete",
        "data_path": "regression/data", "optimizer": optimizer, "fisher_approx": "eigen", "true_fisher": True,
        "model_name": "ffn50", "epoch": 1000,
        "batch_size": 10, "re_init": optimizer == "ekfac", "re_init_iters": 50, "test_batch_size": 1000,
        "max_to_keep": 3, "num_workers": 2, "learning_rate": 0.001, "alpha": 1e-2, "beta": 1e-3, "omega": 1e-2,
        "damping": 0, "kfac_init_after_basis": optimizer == "ekfac", "amor_eigen": optimizer == "ekfac", "Teigen": 5,
        "kl": 1, "eta": 1, "train_particles": 10, "test_particles": 100,
        "epoch_rate": 10, "save_interval": 1000, "lr_decay_interval": 500, "lr_decay_ratio": 0.1,
    }
    config = Config.from_dict(published)
    ours = Config.from_file(pathlib.Path(ROOT) / "config" / "regression" / f"{optimizer}_concrete.json")
    for name in ("alpha", "beta", "learning_rate", "kl", "eta", "damping", "batch_size", "epoch", "decay_interval"):
        assert getattr(config, name) == getattr(ours, name), name
