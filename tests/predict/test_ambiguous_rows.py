"""Rows that could be read in two ways are refused, or what was assumed is said."""
import json

import numpy as np
import pandas
import pytest

import evaluate
import train
from tests.predict.houses import predicted, train_on, write_table

pytestmark = pytest.mark.usefixtures("shared_graphs")

SETTINGS = dict(target="y", row_id=None, missing=None, epoch=2, batch_size=20, epoch_rate=2)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("ambiguous")


def table(n=40):
    rng = np.random.RandomState(0)
    frame = pandas.DataFrame({"id": np.arange(100, 100 + n), "a": 5 * rng.randn(n), "y": 0.0, "b": rng.randn(n)})
    return frame.assign(y=frame.a - frame.b)


@pytest.fixture(scope="module")
def run(place):
    return train_on(write_table(place, table(), "t.csv"), "t", **dict(SETTINGS, row_id="id"))


@pytest.fixture(scope="module")
def dated(place):
    frame = table().assign(d=pandas.date_range("2020-01-01", periods=40).strftime("%Y-%m-%d"))
    return train_on(write_table(place, frame, "d.csv"), "d", **dict(SETTINGS, drop=["id"], dates="expand"))


@pytest.mark.parametrize("date", ["03/04/2020", "03.04.2020", "3-4-20"])
def test_day_and_month_of_unknown_order_are_refused(dated, place, refuse, date):
    rows = table().head(1).assign(d=date)
    path = write_table(place, rows, "new.csv")
    refuse(f"new.csv line 2: column 5 ('d'): the order of day and month in '{date}' cannot be told", dated, path)


@pytest.mark.parametrize("date", ["12:30", "2020-01", "5", "January"])
def test_what_pandas_would_make_a_date_of_today_is_refused(dated, place, refuse, date):
    path = write_table(place, table().head(1).assign(d=date), "new.csv")
    refuse(f"new.csv line 2: column 5 ('d'): '{date}' is not a date: write it as 2020-01-31", dated, path)


def test_without_names_the_target_stands_where_it_did(run, place, capsys):
    named, nameless = (write_table(place, table()[["a", "y", "b"]].head(12) + 1e-6, f"{header}.csv", header=header)
                       for header in (True, False))
    found = []
    for path in (named, nameless):
        evaluate.main([str(run), "--data", str(path)])
        found.append(json.loads((run / "evaluation" / "metrics.json").read_text())["metrics"]["rmse"]["value"])
    assert found[0] == pytest.approx(found[1])
    _, said = predicted(capsys, run, write_table(place, table()[["id", "a", "b"]], "iab.csv", header=False))
    assert "has no names: its columns are taken for id, a, b of the run's table" in said


def test_rows_with_one_field_more_than_the_header_are_refused(run, place, refuse):
    path = place / "shifted.csv"
    for rows in ("123,9,5\n", "123,9,5\n77,8,2\n", "12.5,9,5\n13.5,8,2\n"):
        path.write_text("a,b\n" + rows)
        refuse("line 1 names 2 columns, but the rows have 3", run, path)


def test_true_is_no_number(run, place, refuse):
    path = place / "truth.csv"
    path.write_text("a,b\n1.5,TRUE\n")
    refuse("truth.csv line 2 column 2: 'TRUE' is not a number", run, path)


def test_another_description_is_refused(run, place, refuse, tmp_path):
    import shutil

    moved = tmp_path / "moved"
    shutil.copytree(str(run), str(moved))
    stored = json.loads((moved / "model.json").read_text())
    stored["inputs"][0]["std"] = 9.0
    (moved / "model.json").write_text(json.dumps(stored))
    refuse("model.json: it is not what train.py wrote for the run", moved, place / "t.csv")
    shutil.copyfile(str(run / "model.json"), str(moved / "model.json"))
    config = json.loads((moved / "config.json").read_text())
    config["config"]["hidden"] = [9]
    (moved / "config.json").write_text(json.dumps(config))
    refuse("checkpoint does not fit the network that", moved, place / "t.csv")


def test_a_warm_start_says_that_columns_differ(run, place, capsys):
    capsys.readouterr()
    same = train_on(place / "t.csv", "same", **dict(SETTINGS, row_id="id", init_from=str(run)))
    assert "has other inputs" not in (same / "log.txt").read_text()
    other = train_on(place / "t.csv", "other", **dict(SETTINGS, row_id="id", target="a", init_from=str(run)))
    said = (other / "log.txt").read_text()
    assert f"init_from {run} has other inputs, whose weights are taken over for those of this run: a, b" in said
    assert f"init_from {run} has another target: y" in said


@pytest.mark.parametrize("name, message", [("t.xlsx", "is a spreadsheet: save the sheet"), ("folder", "is a folder")])
def test_files_that_are_no_tables(run, place, refuse, name, message):
    (place / "t.xlsx").write_bytes(b"PK\x03\x04 x")
    (place / "folder").mkdir(exist_ok=True)
    refuse(message, run, place / name)


@pytest.mark.parametrize("argv, message", [
    (["--config", "t.json", "--target", "a"], "--target goes with --init"),
    (["--init", "t.csv", "--set", "epoch=3"], "--set epoch: --init takes the keys separator, decimal"),
    (["--init", "t.csv", "--explain"], "--explain has no effect with --init")])
def test_flags_without_effect_are_refused(place, monkeypatch, capsys, argv, message):
    monkeypatch.chdir(place)
    with pytest.raises(SystemExit) as stop:
        train.main(argv)
    assert stop.value.code == 2 and message in capsys.readouterr().err
