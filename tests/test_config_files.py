"""Config files as editors of several systems write them, and hints about keys of other libraries."""
import json

import pytest

from core.baseline.tuning import read_space
from misc.config import Config
from misc.config_keys import Keys
from misc.config_overlays import read_overlay
from misc.errors import UserError
from misc.synonyms import EXPLANATIONS, SYNONYMS

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16"]  # the last two begin with a byte-order mark


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_files_with_a_byte_order_mark_are_read(tmp_path, settings, config, encoding):
    paths = {name: tmp_path / f"{name}.json" for name in ("config", "overlay", "space")}
    for name, values in (("config", settings()), ("overlay", {"kl": 0.5}), ("space", {"space": {"kl": 3}})):
        paths[name].write_text(json.dumps(values), encoding=encoding)
    assert Config.from_file(paths["config"]) == config()
    assert read_overlay(paths["overlay"]).values == {"kl": 0.5}
    with pytest.raises(UserError, match="space.kl"):  # read, and then refused for what it says
        read_space(paths["space"], config())


def test_a_file_that_is_not_text_is_one_line(tmp_path):
    (tmp_path / "c.json").write_bytes(b"\x80\x81\xff")
    with pytest.raises(UserError, match="c.json is not valid JSON") as error:
        Config.from_file(tmp_path / "c.json")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key, hint", [
    ("lr", "unknown key 'lr'; alpha is the step size in mode regression, learning_rate in mode classification"),
    ("label", "did you mean 'target'?"), ("sep", "did you mean 'separator'?"),
    ("dropout", "unknown key 'dropout'; there is no dropout: the noise of the weights takes its place"),
    ("n_epochs", "did you mean 'epoch'?"), ("random_state", "did you mean 'seed'?"),
    ("hidden-sizes", "did you mean 'hidden'?"), ("weight_decay", "eta"), ("batch_sise", "did you mean 'batch_size'?")])
def test_hints_know_synonyms(settings, tmp_path, key, hint):
    with pytest.raises(UserError) as error:
        Config.from_dict(settings(**{key: 1}))
    assert hint in str(error.value)
    (tmp_path / "o.json").write_text(json.dumps({key: 1}))
    with pytest.raises(UserError) as error:
        read_overlay(tmp_path / "o.json")
    assert hint in str(error.value)


def test_synonyms_are_no_keys_and_mean_keys():
    assert not (set(SYNONYMS) | set(EXPLANATIONS)) & set(Keys.model_fields)
    assert set(SYNONYMS.values()) <= set(Keys.model_fields) and not set(SYNONYMS) & set(EXPLANATIONS)
