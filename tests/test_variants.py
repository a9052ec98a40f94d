"""The log of how a recipe was found: its rows, their reuse, and that no test row has a part in them."""
import json

import numpy as np
import pytest

from benchmarks import variants
from data_loader.splits import standard_split
from misc.records import read_rows


@pytest.fixture
def screen(settings, tmp_path):
    """Function (*arguments): runs the command on tiny.data; the rows of its log."""
    space = {"first": {}, "second": {"kl": 0.1}}
    (tmp_path / "space.json").write_text(json.dumps(space))
    (tmp_path / "base_tiny.json").write_text(json.dumps(settings()))

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
    assert len({row["rmse"] for row in rows}) == 4 and json.loads(rows[2]["settings"]) == {"kl": 0.1}
    printed = capsys.readouterr().out
    gain = np.mean([float(rows[i + 2]["log_likelihood"]) - float(rows[i]["log_likelihood"]) for i in range(2)])
    assert f"{gain:+.3f} ±" in printed and "+0.000 ± 0.000" in printed
    assert screen() == rows  # to the last digit of the seconds: nothing was trained again


def test_no_test_row_has_a_part_in_it(screen, tiny_data):
    before = screen()
    raw = np.loadtxt(str(tiny_data / "tiny.data"))
    raw[standard_split(43, 0, 20).test] += 1000.0
    np.savetxt(str(tiny_data / "tiny.data"), raw)
    after = screen(out="other.csv")
    assert [(row["rmse"], row["log_likelihood"]) for row in after] == [
        (row["rmse"], row["log_likelihood"]) for row in before]


def test_a_variant_that_is_not_there(screen, capsys):
    with pytest.raises(SystemExit) as stop:
        screen("--variants", "third")
    assert stop.value.code == 2 and "--variants third" in capsys.readouterr().err
