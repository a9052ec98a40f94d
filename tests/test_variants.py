"""The log of the search for a recipe: its rows, their reuse, and that it does not depend on test rows."""
import json

import numpy as np
import pytest

from benchmarks import variants
from data_loader.splits import standard_split
from misc.records import read_rows

pytestmark = pytest.mark.usefixtures("shared_graphs")  # the same variants are trained again
OPTIMIZER = "kfac"


@pytest.fixture
def screen(settings, tmp_path):
    """Function (*arguments): runs the command on tiny.data; the rows of its log."""
    space = {"first": {}, "second": {"kl": 0.1}}
    (tmp_path / "space.json").write_text(json.dumps(space))
    (tmp_path / "base_tiny.json").write_text(json.dumps(settings(optimizer="diag")))

    def run(*arguments, out="log.csv"):
        places = ["--space", str(tmp_path / "space.json"), "--config", str(tmp_path / "base_{data}.json"), "--out",
                  str(tmp_path / out)]
        variants.main([*places, "--data", "tiny", "--splits", "0", "--folds", "0-1", "--jobs", "1", *arguments])
        return read_rows(tmp_path / out)

    return run


def test_the_log_and_its_table(screen, capsys):
    rows = screen()
    assert [(row["variant"], row["fold"]) for row in rows] == [
        ("first", "0"), ("first", "1"), ("second", "0"), ("second", "1")]
    assert len({row["rmse"] for row in rows}) == 4 and json.loads(rows[2]["settings"])["kl"] == 0.1
    printed = capsys.readouterr().out
    gain = np.mean([float(rows[i + 2]["log_likelihood"]) - float(rows[i]["log_likelihood"]) for i in range(2)])
    assert f"{gain:+.3f} ±" in printed and "+0.000 ± 0.000" in printed
    assert screen() == rows  # to the last digit of the seconds: nothing was trained again
    other = screen("--folds", "0", "--set", "kl=0.5")  # for all variants that do not set it themselves
    assert other[1:] == rows[1:] and other[0]["rmse"] != rows[0]["rmse"]


def test_a_variant_that_diverges(screen, tmp_path, capsys):
    """The other variants are in the log, and the failed one is run again."""
    space = {"first": {}, "wild": {"optimizer": "sgd", "alpha": 1e30}, "last": {"kl": 0.1}}
    (tmp_path / "space.json").write_text(json.dumps(space))
    with pytest.raises(SystemExit) as stop:
        screen("--folds", "0")
    printed = capsys.readouterr()
    assert stop.value.code == 1 and "1 of 3 runs failed: tiny wild 0 0: training diverged" in printed.err
    assert "| tiny   | last " in printed.out
    rows = read_rows(tmp_path / "log.csv")
    assert [bool(row["failed"]) for row in rows] == [False, True, False]


def test_the_log_does_not_depend_on_test_rows(screen, tiny_data):
    before = screen("--folds", "0", "--variants", "first")
    raw = np.loadtxt(str(tiny_data / "tiny.data"))
    raw[standard_split(43, 0, 20).test] += 1000.0
    np.savetxt(str(tiny_data / "tiny.data"), raw)
    after = screen("--folds", "0", "--variants", "first", out="other.csv")
    assert [(row["rmse"], row["log_likelihood"]) for row in after] == [
        (row["rmse"], row["log_likelihood"]) for row in before]


@pytest.mark.parametrize("message, arguments", [
    ("--variants third", ["--variants", "third"]),
    ("--out none/x.csv: there is no such folder", ["--out", "none/x.csv"]),
    ("must hold one JSON object of objects", ["--space", "LIST"])])
def test_bad_arguments(screen, tmp_path, capsys, message, arguments):
    (tmp_path / "list.json").write_text('{"a": 1}')
    arguments = [word.replace("LIST", str(tmp_path / "list.json")) for word in arguments]
    with pytest.raises(SystemExit) as stop:
        screen(*arguments)
    assert stop.value.code == 2 and message in capsys.readouterr().err
