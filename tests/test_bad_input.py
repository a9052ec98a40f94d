"""Mistakes of a user end in one line that names the mistake and the remedy, with exit code 2 and without files."""
import json
import os
import pickle
import platform

import numpy as np
import pytest

import train
from misc import backend
from misc.errors import Stopped, one_line_errors
from misc.folders import claim, run_folder


@pytest.fixture
def refuse(settings, tmp_path, capsys):
    """Function (message, *arguments, **overrides): checks that train.py refuses and that nothing changes on disk."""

    def files():
        return sorted(str(path) for path in tmp_path.rglob("*"))

    def check(message, *arguments, **overrides):
        path = tmp_path / "config.json"
        values = settings(**overrides)
        path.write_text(json.dumps({key: value for key, value in values.items() if value != "absent"}))
        before = files()
        with pytest.raises(SystemExit) as stop:
            train.main(["--config", str(path)] + list(arguments))
        error = capsys.readouterr().err
        assert stop.value.code == 2, error
        assert error.startswith("train.py: ") and error.count("\n") == 1, error
        assert message in error
        assert files() == before

    return check


@pytest.mark.parametrize("message, overrides", [
    ("unknown key 'epochs'; did you mean 'epoch'?", {"epochs": 3}),
    ("epoch: input should be a valid integer", {"epoch": "3"}),
    ("kl: input should be greater than 0, got -1", {"kl": -1}),
    ("key 'optimizer' is missing", {"optimizer": "absent"}),
    ("unknown dataset 'tinny'; did you mean", {"dataset": "tinny"}),
    ("unknown model_name 'fnn50'; did you mean 'ffn50'?", {"model_name": "fnn50"}),
    ("unknown optimizer 'ekfca'; did you mean 'ekfac'?", {"optimizer": "ekfca"}),
    ("layer dense0 needs factors of 4 and 4, max_factor_dim is 3", {"max_factor_dim": 3}),
    ("split: input should be less than 4294967296", {"split": 2**32}),
    ("epoch: input should be a valid integer, got [3]", {"epoch": [3]}),
    ("true_fisher: input should be a valid boolean, got 1 (VALUE is read as JSON: true,", {"true_fisher": 1}),
    ("evaluate_on validation needs validation rows: set validation_fraction", {"evaluate_on": "validation"}),
    ("curvature_device gpu: TensorFlow sees no GPU here", {"curvature_device": "gpu"}),
    ("split 20 does not exist", {"protocol": "standard", "split": 20}),
    ("unknown dataset for mode classification 'tiny'", {"mode": "classification"}),
    ("dataset concrete is for mode regression, but this config's mode is classification",
     {"mode": "classification", "dataset": "concrete"}),
    ("dataset digits is for mode classification, but this config's mode is regression", {"dataset": "digits"}),
])
def test_settings(refuse, message, overrides):
    if overrides.get("mode"):  # keys of regression would be refused first
        overrides = dict(overrides, **dict.fromkeys(("alpha", "beta", "omega", "Teigen", "re_init_iters"), "absent"))
    refuse(message, **overrides)


def test_missing_and_broken_json(tmp_path, capsys):
    broken = tmp_path / "broken.json"
    broken.write_text('{"epoch": 3,}')
    for path, message in ((tmp_path / "none.json", "does not exist"), (broken, "is not valid JSON"),
                          (tmp_path, "is a folder; give one of the JSON files in it")):
        with pytest.raises(SystemExit) as stop:
            train.main(["--config", str(path)])
        error = capsys.readouterr().err
        assert stop.value.code == 2 and message in error and error.count("\n") == 1


def test_missing_data_and_no_network(refuse, monkeypatch):
    import sklearn.datasets

    def no_network(**_):
        raise OSError("no route to host")

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", no_network)
    refuse("data set kin8nm: there is no file", dataset="kin8nm")


@pytest.mark.parametrize("text, message", [
    ("1 2 3\n4 5\n", "tiny.data line 2: 2 columns"), ("1 2 3\n4 x 6\n", "line 2 column 2: 'x' is not a number"),
    ("1 2 3\n4 nan 6\n", "line 2 column 2: nan is not finite"), ("1 2 3\n4 inf 6\n", "inf is not finite"),
    ("1 2 3\n4 5 6\n", "2 rows are too few"), ("", "is empty"),
])
def test_data_files(refuse, tiny_data, text, message):
    (tiny_data / "tiny.data").write_text(text)
    refuse(message)


def test_wrong_column_count_of_a_known_set(refuse, tiny_data):
    np.savetxt(str(tiny_data / "concrete.data"), np.random.rand(1030, 8))
    refuse("concrete has 1030 rows of 8 inputs and the target, but this table has 1030 rows of 8 columns",
           dataset="concrete")


def test_experiments_folder_not_writable(refuse, tiny_data, monkeypatch):
    (tiny_data / "file").write_text("")
    refuse("cannot write to", experiments_path=str(tiny_data / "file"))
    refuse("cannot write to", experiments_path=str(tiny_data / "file" / "below"))
    refuse("cannot create aaa", experiments_path="a" * 300)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    refuse("cannot write to")


def test_resume_without_a_checkpoint(refuse):
    refuse("--resume: there is no checkpoint in", "--resume")


def test_resume_with_a_changed_config(refuse, settings, tmp_path, capsys):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(settings(optimizer="sgd")))
    train.main(["--config", str(path)])
    capsys.readouterr()
    refuse("the config has changed since this run began: kl (then 1.0, now 0.5), seed (then 1, now 4)",
           "--resume", "--seed", "4", kl=0.5, optimizer="sgd")


def test_resume_with_changed_rows(refuse, settings, tmp_path, tiny_data, capsys):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(settings(optimizer="sgd")))
    train.main(["--config", str(path)])
    capsys.readouterr()
    table = tiny_data / "tiny.data"
    table.write_text("\n".join(table.read_text().splitlines()[1:]) + "\n")
    refuse("--resume: the data have changed since this run began: rows_hash (then ", "--resume", optimizer="sgd")


def test_a_gpu_that_is_not_there(refuse, monkeypatch):
    monkeypatch.setattr(backend, "has_gpu", lambda: False)
    refuse("--device gpu: TensorFlow sees no GPU here; use --device cpu or auto", "--device", "gpu")


def test_an_unknown_table_format(capsys):
    with pytest.raises(SystemExit) as stop:
        train.main(["--help-config", "foo"])
    assert stop.value.code == 2 and "--help-config foo: known formats are" in capsys.readouterr().err


def test_a_folder_in_use(settings, config, tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps(settings()))
    with claim(run_folder(config())), pytest.raises(SystemExit) as stop:
        train.main(["--config", str(tmp_path / "config.json")])
    owner = f"another process (pid {os.getpid()} on {platform.node()}) is training in"
    assert stop.value.code == 2 and owner in capsys.readouterr().err


@pytest.mark.parametrize("is_finished", [True, False])
@pytest.mark.parametrize("flags", [[], ["--epochs", "9"], ["--explain"]])
def test_resuming_without_an_intact_checkpoint(config_file, config, capsys, is_finished, flags):
    """It is refused before anything is written: a longer run does not remove the result of the shorter one."""
    path, folder = config_file(optimizer="sgd"), run_folder(config(optimizer="sgd"))
    train.main(["--config", str(path)])
    if not is_finished:
        folder.result.unlink()  # the state after a kill while the run wrote its predictions
    for damaged in folder.checkpoint.glob("*.data-*"):
        damaged.write_bytes(damaged.read_bytes()[:100])
    before = {file: file.read_bytes() for file in folder.root.rglob("*") if file.is_file()}
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        train.main(["--config", str(path), "--resume", *flags])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1
    assert "is intact (files are damaged or missing): restore them, or start the run without --resume" in error
    assert before == {file: file.read_bytes() for file in folder.root.rglob("*") if file.is_file()}


def test_overrides(refuse):
    refuse("--set takes KEY=VALUE, got 'epoch'", "--set", "epoch")
    refuse("unknown key 'epocj'; did you mean 'epoch'?", "--set", "epocj=3")
    refuse("seed: input should be greater than or equal to 0", "--seed", "-1")


def test_memory_that_runs_out_is_one_line(capsys):
    with pytest.raises(SystemExit) as stop, one_line_errors("train.py", "a hint"):
        raise MemoryError
    assert stop.value.code == 1
    assert capsys.readouterr().err == (
        "train.py: out of memory: try fewer particles, a smaller batch_size, or fewer rows\n")


def test_a_stopped_run_travels_between_processes():
    stopped = pickle.loads(pickle.dumps(Stopped("stopped by SIGTERM", 15)))
    assert (str(stopped), stopped.number, stopped.exit_code) == ("stopped by SIGTERM", 15, 143)
