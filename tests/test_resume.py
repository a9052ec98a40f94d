"""`--resume` with files that are damaged, old, missing or in unusual places."""
import io
import json
import shutil
import subprocess
import sys

import pytest
import tqdm

import evaluate
import train
from core.training import checkpoints
from misc.config import Config
from misc.errors import UserError
from misc.folders import changed_settings, claim, folder_at, read_config, run_folder
from misc.log import SCREEN
from misc.records import read_rows
from tests.conftest import ROOT
from tests.test_checkpoints import assert_same, steps
from tests.written import weights

pytestmark = pytest.mark.usefixtures("shared_graphs")  # most tests train the same few settings
OPTIMIZER = "kfac"


@pytest.fixture
def cut_short(finished_run):
    """Function (**settings) -> (path of its config, folder, weights) of a run that lacks only its result."""

    def run(**settings):
        path, folder = finished_run(**settings)
        folder.result.unlink()
        return path, folder, weights(folder)

    return run


def resume(path, code=None):
    if code is None:
        train.main(["--config", str(path), "--resume"])
        return
    with pytest.raises(SystemExit) as stop:
        train.main(["--config", str(path), "--resume"])
    assert stop.value.code == code


@pytest.mark.parametrize("key, value", [("step", 47), ("evaluated", False)])
def test_a_note_that_was_touched_does_not_count(cut_short, capsys, key, value):
    """A checksum covers the numbers of a note, since a flipped bit in them would change the run."""
    path, folder, expected = cut_short(epoch=6)
    note = folder.checkpoint / "model-48.json"
    note.write_text(json.dumps(dict(json.loads(note.read_text()), **{key: value})))
    resume(path)
    error = capsys.readouterr().err
    assert "model-48 is damaged or incomplete and is skipped" in error and "resuming after epoch 4" in error
    assert_same(weights(folder), expected)


def test_a_note_of_another_step_does_not_count(cut_short):
    _, folder, _ = cut_short(epoch=6)
    for path in folder.checkpoint.glob("model-48.*"):
        path.rename(path.with_name(path.name.replace("48", "64")))
    notes = checkpoints.progress_notes(folder.checkpoint)
    assert {prefix.name: note and note.step for prefix, note in notes.items()} == {
        "model-64": None, "model-32": 32, "model-16": 16}


def test_damaged_checkpoints_are_renamed(cut_short):
    """They no longer count among the newest, and remain available for inspection."""
    path, folder, _ = cut_short(epoch=6, max_to_keep=2)
    assert steps(folder) == [48, 32]
    (folder.checkpoint / "model-48.index").write_bytes(b"")
    resume(path)
    assert steps(folder) == [48, 32] and checkpoints.is_intact(folder.checkpoint / "model-48")
    assert {name.name.split(".")[0] for name in folder.checkpoint.glob("damaged-*")} == {"damaged-model-48"}


def test_while_a_checkpoint_is_rewritten_the_old_one_counts(cut_short, monkeypatch):
    """A signal between an evaluation and its checkpoint leaves one of the same step that lacks the evaluation."""
    path, folder, expected = cut_short(epoch=6)
    note = checkpoints.progress_notes(folder.checkpoint)[folder.checkpoint / "model-48"]

    class Full:
        def save(self, *_, **__):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError):
        checkpoints.save(None, Full(), folder.checkpoint, note, 5)
    assert steps(folder) == [48, 32, 16] and checkpoints.is_intact(folder.checkpoint / "model-48")

    class Saver:
        def save(self, _, prefix, **__):
            for suffix in (".index", ".data-00000-of-00001"):
                shutil.copy(str(folder.checkpoint / f"model-48{suffix}"), f"{prefix}{suffix}")

    checkpoints.save(None, Saver(), folder.checkpoint, note, 5)
    names = [prefix.name for prefix in checkpoints.progress_notes(folder.checkpoint)]
    assert names == ["model-48-again", "model-32", "model-16"]
    resume(path)
    assert_same(weights(folder), expected)


@pytest.mark.parametrize("place", ["a [1] b", "back\\slash[", "glob*?", "ünï", "x" * 200])
def test_folders_with_odd_names(config_file, tmp_path, config, place):
    settings = dict(experiments_path=str(tmp_path / place), optimizer="sgd", epoch=2)
    path, folder = config_file(**settings), run_folder(config(**settings))
    train.main(["--config", str(path)])
    folder.result.unlink()
    resume(path)
    assert folder.result.is_file()


@pytest.mark.parametrize("text", ["\0", '{"config": 3}'])
def test_a_damaged_config_file(cut_short, capsys, text):
    path, folder, _ = cut_short(epoch=6)
    folder.config.write_text(text)
    capsys.readouterr()
    resume(path, 2)
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "config.json (it is damaged)" in error


def test_a_config_file_that_is_gone(cut_short, capsys):
    path, folder, _ = cut_short(epoch=6)
    folder.config.unlink()
    capsys.readouterr()
    resume(path, 2)
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "config.json is missing: restore it, or start the run without --resume" in error


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_result_is_made_again(cut_short, text):
    path, folder, _ = cut_short(epoch=6)
    folder.result.write_text(text)
    resume(path)
    assert json.loads(folder.result.read_text())["metrics"]


def test_rows_that_cannot_be_read_are_reported(cut_short, capsys):
    """Damage in metrics.csv changes no weights and stops no run."""
    path, folder, expected = cut_short(epoch=6)
    lines = folder.metrics.read_bytes().splitlines(keepends=True)
    folder.metrics.write_bytes(b"".join([lines[0], b"\xff\xfe,\n", *lines[2:]]))
    resume(path)
    assert "metrics.csv lacks the rows of 2 earlier evaluation(s)" in capsys.readouterr().err
    folder.result.unlink()
    folder.metrics.write_bytes(b"".join([lines[0], b"1,x\n", *lines[2:]]))
    resume(path)
    assert "metrics.csv lacks the rows of 1 earlier evaluation(s)" in capsys.readouterr().err
    assert [row["epoch"] for row in read_rows(folder.metrics)] == ["4", "6"]
    assert_same(weights(folder), expected)


@pytest.mark.parametrize("kept", [0, 1])
def test_a_result_is_that_of_the_last_evaluation(finished_run, kept):
    """The result does not depend on the rows of metrics.csv, since the checkpoint holds the last row, too."""
    path, folder = finished_run(epoch=6, validation_fraction=0.2)
    expected = json.loads(folder.result.read_text())["metrics"]
    folder.result.unlink()
    lines = folder.metrics.read_bytes().splitlines(keepends=True)
    folder.metrics.write_bytes(b"".join(lines[:1 + kept]))
    resume(path)
    assert json.loads(folder.result.read_text())["metrics"] == expected
    assert read_rows(folder.metrics)[-1]["epoch"] == "6" and len(read_rows(folder.metrics)) == kept + 1


def test_evaluate_names_what_it_skips(cut_short, capsys):
    path, folder, _ = cut_short(epoch=6)
    resume(path)
    (folder.checkpoint / "model-48.index").write_bytes(b"")
    evaluate.main([str(folder.root)])
    assert "checkpoint model-48 is damaged or incomplete and is skipped" in capsys.readouterr().err


def test_the_lock_outlives_the_folder(config):
    """Deleting the folder of a run that trains does not release its lock."""
    folder = run_folder(config())
    code = ("import sys; from misc.folders import claim, folder_at; import pathlib\n"
            "with claim(folder_at(pathlib.Path(sys.argv[1]))): print('claimed')")
    with claim(folder):
        shutil.rmtree(str(folder.root))
        second = subprocess.run([sys.executable, "-c", code, str(folder.root)], cwd=str(ROOT), capture_output=True,
                                text=True)
        assert second.returncode != 0 and "another process (pid" in second.stderr
    third = subprocess.run([sys.executable, "-c", code, str(folder.root)], cwd=str(ROOT), stdout=subprocess.PIPE)
    assert third.stdout == b"claimed\n"


def test_a_link_to_a_folder_is_that_folder(config, tmp_path):
    folder = run_folder(config())
    with claim(folder):
        (tmp_path / "link").symlink_to(folder.root)
        with pytest.raises(UserError, match="another process"), claim(folder_at(tmp_path / "link")):
            pass


def test_a_line_clears_the_bar(monkeypatch):
    """Both use one screen, since the line would be written into the bar otherwise."""
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    with tqdm.tqdm(total=2, file=SCREEN, ncols=40):
        tqdm.tqdm.write("a line", file=SCREEN)
    assert "\ra line\n" in screen.getvalue()


def test_a_screen_that_cannot_be_written(config_file):
    """With stderr on a full disk the run continues and succeeds."""
    path = config_file(optimizer="sgd", epoch=2)
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "train.py", "--config", str(path)], cwd=str(ROOT), stderr=full)
    assert done.returncode == 0


@pytest.mark.parametrize("mode, given", [("regression", {}), ("classification", {}), ("classification", {"TCov": 10})])
def test_periods_that_earlier_versions_stored(config, tmp_path, mode, given):
    """They stored 10 and 200 where null is the default now, also in regressions, where they had no effect."""
    before = {"mode": mode, "TCov": 10, "TInv": 200, "TEigen": 200, "TScale": 3}
    folder = folder_at(tmp_path / "run")
    folder.root.mkdir()
    keys = dict(dataset="tiny", optimizer="ekfac", model_name="ffn50", mode=mode)
    keys.update({"TScale": 3} if mode == "classification" else {}, **given)
    stored = dict(Config.from_dict(keys).model_dump(), **before)
    del stored["auto_refresh"]
    folder.config.write_text(json.dumps({"config": stored, "rows_hash": "x"}))
    assert changed_settings(folder, Config.from_dict(keys), "x", ()) == {}
    assert read_config(folder.root, {})[0].TScale == keys.get("TScale")
    assert set(changed_settings(folder, Config.from_dict(dict(keys, TCov=2)), "x", ())) == {"TCov"}
