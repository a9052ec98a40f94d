"""Refresh periods under `auto_refresh` stay those with which a run began, even if another version estimates others."""
import json

import pytest

import train
from core.training import design
from tests.test_checkpoints import assert_same, steps
from tests.written import weights


@pytest.fixture
def estimate(monkeypatch):
    """Function (multiple): makes it what the estimate of this version comes to."""
    return lambda multiple: monkeypatch.setattr(design, "refresh_multiple", lambda design: multiple)


@pytest.fixture
def cut(estimate, finished_run):
    """Function (**settings) -> (path of its config, folder, weights) of a run with twice the periods.

    The weights are the final ones, but the folder is that of a run that was stopped in the middle.
    """

    def make(**settings):
        estimate(2)
        path, folder = finished_run(**dict({"auto_refresh": True}, **settings))
        expected = weights(folder)
        folder.result.unlink()
        for file in folder.checkpoint.glob("model-32*"):
            file.unlink()
        assert steps(folder) == [16]
        return path, folder, expected

    return make


def about(folder):
    return json.loads(folder.config.read_text())


@pytest.mark.parametrize("values", [{}, {"kl_candidates": [2.0, 0.01]}], ids=["kl", "kl_candidates"])
def test_a_resumed_run_keeps_its_periods(cut, estimate, values):
    path, folder, expected = cut(**values)
    before = about(folder)
    estimate(5)
    train.main(["--config", str(path), "--resume"])
    assert_same(weights(folder), expected)
    assert about(folder) == before and json.loads(folder.result.read_text())["refresh_multiple"] == 2


def test_a_lengthened_run_keeps_its_periods(cut, finished_run, estimate):
    path, folder, _ = cut()
    estimate(5)
    train.main(["--config", str(path), "--resume", "--epochs", "6"])
    estimate(2)
    path, expected = finished_run(auto_refresh=True, exp_name="same")
    train.main(["--config", str(path), "--resume", "--epochs", "6"])
    assert_same(weights(folder), weights(expected))


def test_the_explanation_has_the_periods_of_the_run(cut, estimate, capsys):
    path, _, _ = cut()
    estimate(5)
    train.main(["--config", str(path), "--resume", "--explain"])
    assert "these periods are 2 times the given ones (auto_refresh)" in capsys.readouterr().out


def test_a_run_without_the_record_has_the_periods_of_this_version(cut, finished_run):
    """Earlier versions wrote none; a run without auto_refresh has none either."""
    path, folder, expected = cut()
    written = about(folder)
    assert written.pop("refresh_multiple") == 2
    folder.config.write_text(json.dumps(written))
    train.main(["--config", str(path), "--resume"])
    assert_same(weights(folder), expected)
    assert "refresh_multiple" not in about(finished_run(exp_name="plain")[1])


@pytest.mark.parametrize("value", [0, "2", 1.5])
def test_a_damaged_record_is_refused(cut, capsys, value):
    path, folder, _ = cut()
    folder.config.write_text(json.dumps(dict(about(folder), refresh_multiple=value)))
    with pytest.raises(SystemExit) as stop:
        train.main(["--config", str(path), "--resume"])
    assert stop.value.code == 2 and "config.json (it is damaged)" in capsys.readouterr().err
