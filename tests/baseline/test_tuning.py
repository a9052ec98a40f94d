"""Searches for hyper-parameters."""
import json

import numpy as np
import pytest

from core.baseline import tuning
from core.training import run
from misc.config import Config
from misc.errors import RunError, UserError
from misc.folders import folder_at
from misc.records import read_json, read_rows
from tests.baseline.commands import SPACE, baseline, home
from tests.conftest import ROOT

pytestmark = pytest.mark.usefixtures("shared_graphs")  # most tests train the same few settings


def space_file(tmp_path, **changes):
    path = tmp_path / "space.json"
    path.write_text(json.dumps(dict(SPACE, **changes)))
    return str(path)


def test_a_search_sees_only_training_rows_and_its_choice_is_used(write, tmp_path, monkeypatch):
    trained, honest = [], run.finish
    monkeypatch.setattr(run, "finish", lambda config, *rest: (trained.append(config), honest(config, *rest)))
    assert baseline(write(optimizer="sgd"), "--runs", "2", "--tune", space_file(tmp_path)) == 0
    root = home(tmp_path, "base_tuned")
    inner, final = trained[:4] + trained[5:9], [trained[4], trained[9]]
    assert len(trained) == 10 and {config.evaluate_on for config in inner} == {"validation"}
    assert {(config.validation_fold, config.epoch) for config in inner} == {(0, 2), (1, 2)}
    for config, seed in zip(final, (1, 2)):
        tuned = root / "seeds" / str(seed) / "tuning"
        chosen, trials = read_json(tuned / "chosen.json"), read_rows(tuned / "trials.csv")
        assert config.evaluate_on == "test" and config.epoch == 4 and config.seed == seed
        assert {name: getattr(config, name) for name in SPACE["space"]} == chosen["values"]
        best = max(trials, key=lambda row: float(row["log_likelihood"]))
        assert float(best["kl"]) == chosen["values"]["kl"] and isinstance(chosen["values"]["Teigen"], int)
        assert len(trials) == 2 and not list(tuned.glob("trial[0-9]*"))
    assert json.loads(read_rows(root / "runs.csv")[0]["tuned"])["kl"] == final[0].kl
    assert read_json(root / "summary.json")["search"]["trials"] == 2
    baseline(write(optimizer="sgd"), "--runs", "2", "--tune", space_file(tmp_path))
    assert len(trained) == 10  # no run was repeated
    baseline(write(optimizer="sgd"), "--runs", "1", "--tune", space_file(tmp_path, trials=1))
    assert len(trained) == 13 and (root / "seeds" / "1" / "tuning.1").is_dir()  # another search


def test_test_rows_do_not_change_what_is_chosen(write, tiny_data, tmp_path):
    chosen = []
    for shift in (0, 1000):
        raw = np.loadtxt(str(tiny_data / "tiny.data"))
        raw[np.random.RandomState(1).permutation(43)[39:]] += shift
        np.savetxt(str(tiny_data / "tiny.data"), raw)
        baseline(write(optimizer="sgd"), "--runs", "1", "--tune", space_file(tmp_path))
        chosen.append(read_json(home(tmp_path, "base_tuned") / "seeds" / "1" / "tuning" / "chosen.json"))
    assert chosen[0] == chosen[1]
    assert (home(tmp_path, "base_tuned") / "seeds" / "1" / "tuning.1").is_dir()  # searched again
    baseline(write(optimizer="sgd"), "--runs", "1", "--tune", space_file(tmp_path), "--fresh")
    assert (home(tmp_path, "base_tuned") / "seeds" / "1" / "tuning.2").is_dir()


def test_an_interrupted_search_ends_as_an_uninterrupted_one(config, tmp_path, monkeypatch):
    settings = config(optimizer="sgd", seed=2)
    space = tuning.read_space(space_file(tmp_path, trials=5), settings)
    monkeypatch.setattr(tuning, "STARTUP_TRIALS", 2)
    folders = [folder_at(tmp_path / name) for name in ("straight", "broken")]
    straight = tuning.tune(settings, space, folders[0])
    honest, calls = run.finish, []

    def killed_at_times(*args):
        calls.append(args)
        if len(calls) in (2, 5, 8):
            raise KeyboardInterrupt
        honest(*args)

    monkeypatch.setattr(run, "finish", killed_at_times)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            tuning.tune(settings, space, folders[1])
    assert tuning.tune(settings, space, folders[1]) == straight
    trials = [(folder.root / "tuning" / "trials.csv").read_text() for folder in folders]
    assert trials[0] == trials[1] and "behind the median after 1 of 2 folds" in trials[0]  # some are pruned


def test_a_diverging_trial_does_not_end_the_search(config, tmp_path, monkeypatch):
    honest = run.finish

    def diverge(config, *rest):
        if config.scale_init == "exact":
            raise RunError("training diverged")
        honest(config, *rest)

    monkeypatch.setattr(run, "finish", diverge)
    space = tuning.read_space(space_file(tmp_path, trials=6), config())
    assert tuning.tune(config(optimizer="sgd"), space, folder_at(tmp_path / "run")).scale_init == "damped"
    assert "training diverged" in (tmp_path / "run" / "tuning" / "trials.csv").read_text()
    space = tuning.read_space(space_file(tmp_path, space={"scale_init": {"choices": ["exact"]}}), config())
    with pytest.raises(RunError, match="no trial of the search ended well"):
        tuning.tune(config(optimizer="sgd"), space, folder_at(tmp_path / "other"))


@pytest.mark.parametrize("message, changes", [
    ("trials: ", {"trials": 0}), ("trails: ", {"trails": 3}), ("space: ", {"space": {}}),
    ("klx is not a config key; did you mean 'kl'", {"space": {"klx": {"low": 1, "high": 2}}}),
    ("seed cannot be searched over", {"space": {"seed": {"low": 1, "high": 2}}}),
    ("kl: low must be below high", {"space": {"kl": {"low": 2, "high": 1}}}),
    ("kl: 0.0 does not work", {"space": {"kl": {"low": 0, "high": 1}}}),
    ("scale_init: 'exat' does not work", {"space": {"scale_init": {"choices": ["exat"]}}}),
    ("validation_fold 4 does not exist: 39 rows give", {"folds": 5}),
    ("optimizer cannot be searched over", {"space": {"optimizer": {"choices": ["kfac"]}}}),
    ("6 folds of validation_fraction 0.2 are more than all training rows", {"folds": 6}),
    ("metric: ", {"metric": "loss"}),
])
def test_spaces_that_make_no_sense(config, tmp_path, message, changes):
    with pytest.raises(UserError, match=message):
        tuning.read_space(space_file(tmp_path, **changes), config())


def test_the_shipped_search_space():
    config = Config.from_file(ROOT / "config" / "regression" / "ekfac_concrete.json")
    space = tuning.read_space(ROOT / "config" / "search" / "regression.json", config)
    assert tuning.n_epochs(config, space) == 20 * 3 * 200 + 1000
