"""Damaged checkpoints do not count, a signal saves the run, and a full disk or a missing folder loses nothing."""
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import train
from core.training import checkpoints
from core.training.checkpoints import Progress
from core.training.trainer import Trainer
from misc.folders import run_folder
from misc.log import close_logger, run_logger
from misc.records import Table, read_rows
from misc.retry import Retry
from misc.signals import Signals
from misc.summary import SummaryWriter
from tests.conftest import ROOT
from tests.written import weights

pytestmark = pytest.mark.usefixtures("shared_graphs")  # most tests train the same few settings
OPTIMIZER = "kfac"


def assert_same(one, other):
    assert one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def steps(folder):
    return [note.step for note in checkpoints.progress_notes(folder.checkpoint).values()]


@pytest.fixture
def finished(finished_run):
    """Function (**settings) -> (path of the config, folder, final weights) of a finished run."""

    def run(**settings):
        path, folder = finished_run(**settings)
        return path, folder, weights(folder)

    return run


DAMAGE = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "a flipped byte": lambda path: path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]),
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("suffix", [".json", ".index", ".data-00000-of-00001"])
@pytest.mark.parametrize("damage", sorted(DAMAGE))
def test_a_damaged_checkpoint_is_skipped(finished, capsys, suffix, damage):
    path, folder, expected = finished(epoch=6)
    assert steps(folder) == [48, 32, 16]
    folder.result.unlink()
    DAMAGE[damage](folder.checkpoint / f"model-48{suffix}")
    train.main(["--config", str(path), "--resume"])
    error = capsys.readouterr().err
    assert "resuming after epoch 4" in error
    assert "model-48 is damaged or incomplete and is skipped" in error
    assert_same(weights(folder), expected)
    assert [row["epoch"] for row in read_rows(folder.metrics)] == ["2", "4", "6"]


def test_what_is_kept(finished, tmp_path):
    """Keeps the newest, and the best by validation log-likelihood, which is never that of test rows."""
    _, folder, _ = finished(epoch=12, epoch_rate=1, max_to_keep=2, validation_fraction=0.3, alpha=0.1)
    notes = checkpoints.progress_notes(folder.checkpoint)
    rows = {int(row["step"]): float(row["valid_log_likelihood"]) for row in read_rows(folder.metrics)}
    best = max(rows, key=rows.get)
    last = max(rows)
    assert {note.step for note in notes.values()} == {last, last * 10 // 12, best}
    for note in notes.values():
        assert note.score == pytest.approx(rows[note.step])
    names = {path.name.split(".")[0] for path in folder.checkpoint.glob("model-*")}
    assert names == {f"model-{note.step}" for note in notes.values()}


def test_without_validation_rows_there_is_no_best(finished):
    _, folder, _ = finished(epoch=6)
    assert {note.score for note in checkpoints.progress_notes(folder.checkpoint).values()} == {None}


def test_which_are_kept_by_hand(tmp_path):
    notes = {tmp_path / f"model-{step}": Progress(step=step, evaluated=True, score=score, regular=regular)
             for step, score, regular in (
        (50, None, False), (40, -1.0, True), (30, -0.5, False), (20, -2.0, True), (10, -0.7, True))}
    assert [int(path.name[6:]) for path in checkpoints.to_keep(notes, 2)] == [50, 40, 30, 20]
    assert [int(path.name[6:]) for path in checkpoints.to_keep(notes, 1)] == [50, 40, 30]


# Signals.

def started(path):
    return subprocess.Popen([sys.executable, "train.py", "--config", str(path)], cwd=str(ROOT), stderr=subprocess.PIPE,
                            text=True)


def await_rows(folder, process):
    deadline = time.time() + 120
    while not (folder.metrics.is_file() and read_rows(folder.metrics)):
        assert process.poll() is None and time.time() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143),
                                          pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)])
def test_a_signal_saves_and_ends(finished, config, config_file, capsys, number, code):
    """The moment of the signal is random; the weights after --resume are those of an uninterrupted run."""
    settings = dict(epoch=400, epoch_rate=20, save_interval=150, lr_decay_interval=150)
    _, whole, straight = finished(**settings)
    shutil.move(str(whole.root), str(whole.root.with_name("whole")))
    path, folder = config_file(**settings), run_folder(config(**settings))
    process = started(path)
    await_rows(folder, process)
    process.send_signal(number)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == code, error
    assert "it is saved: --resume continues from there" in error.splitlines()[-1] and not folder.result.exists()
    at = steps(folder)[0]
    assert 0 < at < 3200
    train.main(["--config", str(path), "--resume"])
    assert "resuming after epoch" in capsys.readouterr().err
    assert_same(weights(folder), straight)
    rows, expected = (read_rows(place / "metrics.csv") for place in (folder.root, whole.root.with_name("whole")))
    assert [{key: row[key] for key in row if key != "seconds"} for row in rows] == [
        {key: row[key] for key in row if key != "seconds"} for row in expected]


def test_a_second_signal_ends_at_once():
    code = ("import signal, time, threading, os\nfrom misc.signals import Signals\nwith Signals():\n"
            "    print('ready', flush=True)\n    time.sleep(60)\n")
    process = subprocess.Popen([sys.executable, "-c", code], cwd=str(ROOT), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert "Ctrl-C: saving, then stopping" in process.stderr.readline() + process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 130
    process.stdout.close(), process.stderr.close()


def test_handlers_are_given_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Signals() as signals:
        assert signals.received is None
        os.kill(os.getpid(), signal.SIGTERM)
        deadline = time.time() + 10
        while signals.received is None and time.time() < deadline:
            time.sleep(0.01)
        assert signals.received == signal.SIGTERM
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    thread = threading.Thread(target=lambda: Signals().__enter__())
    thread.start()
    thread.join()  # signals are the main thread's: nothing happens


# Disks.

def test_a_folder_that_vanishes_comes_back(config, config_file, monkeypatch, capsys):
    settings = dict(epoch=8)
    folder, epoch = run_folder(config(**settings)), Trainer._epoch

    def vanishing(self, progress):
        if progress.step == 3 * self._per_epoch:
            shutil.rmtree(str(folder.root))
        return epoch(self, progress)

    monkeypatch.setattr(Trainer, "_epoch", vanishing)
    path = config_file(**settings)
    train.main(["--config", str(path)])
    assert [row["epoch"] for row in read_rows(folder.metrics)] == ["2", "4", "6", "8"]
    assert json.loads(folder.config.read_text())["config"]["epoch"] == 8 and folder.result.is_file()
    assert steps(folder)[0] == 64 and checkpoints.is_intact(folder.checkpoint / "model-64")


def test_a_disk_that_is_full_for_a_while(finished, config_file, monkeypatch, capsys):
    _, folder, expected = finished(epoch=8)
    capsys.readouterr()
    failures, save, write = [], checkpoints.save, Table.write

    def full(*arguments):
        failures.append(1)
        raise OSError(28, "No space left on device")

    def save_sometimes(*arguments):
        (full if len(failures) < 4 else save)(*arguments)

    def write_sometimes(table):
        (full if len(failures) < 4 else write)(table)

    monkeypatch.setattr(checkpoints, "save", save_sometimes)
    monkeypatch.setattr(Table, "write", write_sometimes)
    train.main(["--config", str(config_file(epoch=8))])
    error = capsys.readouterr().err
    assert error.count("cannot write") == 2 and "No space left on device" in error and "could be written again" in error
    assert_same(weights(folder), expected)
    assert [row["epoch"] for row in read_rows(folder.metrics)] == ["2", "4", "6", "8"]


def test_a_disk_that_stays_full_ends_in_an_error(config, config_file, monkeypatch, capsys):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save", full)
    monkeypatch.setattr("misc.retry.PAUSES", (0, 0))
    with pytest.raises(SystemExit) as stop:
        train.main(["--config", str(config_file(epoch=2))])
    error = capsys.readouterr().err
    assert stop.value.code == 1 and "could not write the checkpoint" in error.splitlines()[-1]
    assert not run_folder(config(epoch=2)).result.exists()


def test_the_log_waits_for_its_folder(tmp_path):
    place = tmp_path / "run"
    place.mkdir()
    log = run_logger(place / "log.txt", screen=False)
    log.info("one")
    shutil.rmtree(str(place))
    log.info("two")  # it cannot be written, which raises no error
    place.mkdir()
    log.info("three")
    close_logger(log)
    assert "three" in (place / "log.txt").read_text()


def test_a_failed_write_is_logged_once(tmp_path):
    log = run_logger(tmp_path / "log.txt", screen=False)
    disk, fails = Retry(log), [True, True, False]

    def write():
        if fails.pop(0):
            raise OSError(28, "No space left on device")

    written = [disk.attempt("x", write) for _ in range(3)]
    close_logger(log)
    assert written == [False, False, True] and not disk.pending
    assert (tmp_path / "log.txt").read_text().count("cannot write x (No space left on device)") == 1


def test_a_table_is_whole_after_a_failed_append(tmp_path):
    table = Table(tmp_path / "t.csv", ["a"])
    for value in ("1", "2"):
        table.add({"a": value})
        table.write()
    (tmp_path / "t.csv").unlink()
    table.add({"a": "3"})
    table.write()
    assert [row["a"] for row in read_rows(tmp_path / "t.csv")] == ["1", "2", "3"]


def test_events_that_could_not_be_written_come_later(tmp_path):
    place = tmp_path / "summary"
    place.write_text("in the way")
    writer = SummaryWriter(place)
    writer.scalars({"loss": 1.0}, 1)
    with pytest.raises(OSError):
        writer.flush()
    place.unlink()
    writer.scalars({"loss": 2.0}, 2)
    writer.close()
    events = [(event.step, value.simple_value) for path in place.glob("events.*")
              for event in tf.train.summary_iterator(str(path)) for value in event.summary.value]
    assert events == [(1, 1.0), (2, 2.0)]
