"""`train.py --init TABLE --target COLUMN` prints a config that trains as it is."""
import json

import numpy as np
import pytest

import train
from misc.config import Config
from tests.tables.conftest import csv_of

N_ROWS = 60


def wave(row):
    return round(np.sin(row) + 0.1 * (row % 7), 6)


PLAIN = {"area": lambda row: 30.5 + row * row % 71, "rooms": lambda row: row % 5, "y": wave}
IDS = dict({"house_id": lambda row: 9000 + 3 * row % 997, "name": lambda row: f"house {row}", "one": lambda row: 1},
           **PLAIN)
FEW_MISSING = dict(PLAIN, area=lambda row: 30.5 + row * row % 71 if row != 3 else "")
MANY_MISSING = dict(PLAIN, rooms=lambda row: row % 5 if row % 4 else "NA")
DATES = dict({"sold": lambda row: f"{row % 28 + 1:02d}.{row % 12 + 1:02d}.2020"}, **PLAIN)
UNUSABLE = dict({"sold": lambda row: f"2020-01-{row % 28 + 1:02d}" if row % 9 else "",
                 "text": lambda row: f"t{row // 2}"}, **PLAIN)
WORDS = dict({"colour": lambda row: ["red", "blue", "a b"][row % 3]}, **PLAIN)


@pytest.fixture
def init(write, capsys):
    """Function (content, *arguments) -> (config, the sentences on the error stream)."""

    def call(content, *arguments, name="my houses.csv"):
        train.main(["--init", str(write(content, name)), *arguments])
        captured = capsys.readouterr()
        return json.loads(captured.out), captured.err.splitlines()

    return call


@pytest.fixture
def trains(tmp_path, capsys):
    """Function (config): trains it for two epochs; returns its result.

    Without `as_it_is`, it does so by the method whose graph is built fastest, since methods do not depend on the table.
    """

    def check(values, as_it_is=False):
        path = tmp_path / "mine.json"
        path.write_text(json.dumps(values))
        config = Config.from_file(path)
        short = ["--set", "auto_schedule=false", "--set", "epoch=2"] if config.auto_schedule else ["--set", "epoch=2"]
        short += [] if as_it_is else ["--set", "optimizer=diag"]
        train.main(["--config", str(path), "--set", f"experiments_path={tmp_path / 'e'}", *short])
        train.main(["--config", str(path), "--explain"])
        capsys.readouterr()
        return json.loads(next((tmp_path / "e").rglob("result.json")).read_text())

    return check


IRREGULAR = dict({"sold": lambda row: f"2020-{row // 28 + 1:02d}-{row % 28 + 1:02d}" if row != 4 else "31/01/2020"},
                 **PLAIN)
TIMES = dict({"at": lambda row: f"{row // 60:02d}:{row % 60:02d}"}, **PLAIN)
MONTHS = dict({"month": lambda row: f"{2015 + row // 12}-{row % 12 + 1:02d}"}, **PLAIN)
AMERICAN = dict({"at": lambda row: f"01/{row % 28 + 1:02d}/2020 {row // 28 + 1}:00 PM"}, **PLAIN)
TYPO = dict({"stars": lambda row: row % 5 if row != 30 else "thre"}, **PLAIN)
OTHER = "which look like dates or times, of a kind that is not read: write them as 2020-01-31 or 2020-01-31 12:30"
DRIVES = dict({"drv": lambda row: "4fr"[row * row % 3]}, **PLAIN)
TICKETS = dict({"ticket": lambda row: f"PC {row // 2}" if row % 4 else 7 * row // 8}, **PLAIN)
TICKET_IDS = dict({"ticket": lambda row: f"PC {row}" if row % 4 else 7 * row}, **PLAIN)


@pytest.mark.parametrize("columns, keys, reasons", [
    (PLAIN, {"inputs": ["area", "rooms"]}, ["target: 'y'", "mode regression: the target holds"]),
    (IDS, {"inputs": ["area", "rooms"], "row_id": "house_id"},
     ["row_id: 'house_id' names or numbers the rows", "not among the inputs: 'name', which name or number the rows",
      "not among the inputs: 'one', which are constant"]),
    (FEW_MISSING, {"missing": "median"}, ["missing values in 1 columns: missing median"]),
    (MANY_MISSING, {"missing": "indicator"}, ["missing values in 1 columns: missing indicator"]),
    (DATES, {"dates": "expand", "inputs": ["sold", "area", "rooms"]},
     ["dates become year, month, day, weekday and time of day"]),
    (UNUSABLE, {"inputs": ["area", "rooms"]},
     ["not among the inputs: 'sold', which are dates and sometimes missing",
      "not among the inputs: 'text', which hold too many different words"]),
    (WORDS, {"inputs": ["colour", "area", "rooms"]}, []),
    (IRREGULAR, {"inputs": ["area", "rooms"]},
     ["not among the inputs: 'sold', which holds dates in two formats, such as '2020-01-01' (line 2) and '31/01/2020' "
      "(line 6): write all of them as 2020-01-31"]),
    (DRIVES, {"inputs": ["drv", "area", "rooms"], "categories": ["drv"]},
     ["categories: 'drv' holds words such as 'f' among numbers, and 2 different values in all"]),
    (TYPO, {"categories": ["stars"]}, ["6 different values in all; list a word in missing_marks if it stands for a "]),
    (TICKETS, {"inputs": ["area", "rooms"], "drop": ["ticket"]},
     ["not among the inputs: 'ticket', which hold too many different words"]),
    (TICKET_IDS, {"inputs": ["area", "rooms"], "row_id": "ticket"}, ["row_id: 'ticket' names or numbers the rows"]),
])
def test_a_suggested_regression_trains(init, trains, columns, keys, reasons):
    values, said = init(csv_of(columns, N_ROWS), "--target", "y")
    assert values["mode"] == "regression" and values["target"] == "y" and values["dataset"] == "my_houses"
    assert "stratified" not in values
    assert {key: values[key] for key in keys} == keys
    for reason in reasons:
        assert any(reason in sentence for sentence in said), said
    assert "row_id" in keys or "row_id" not in values
    assert np.isfinite(trains(values, as_it_is=columns is PLAIN)["metrics"]["test_rmse"])


@pytest.mark.parametrize("columns", [TIMES, MONTHS, AMERICAN])
def test_other_dates_are_no_names_of_rows(init, columns):
    values, said = init(csv_of(columns, N_ROWS), "--target", "y")
    assert "row_id" not in values and values["inputs"] == ["area", "rooms"] and any(OTHER in each for each in said)
    short, _ = init(csv_of(dict(columns, at=lambda row: f"1{row % 4}:30"), N_ROWS), "--target", "y")
    assert "at" in short["inputs"]  # few different ones are categories


@pytest.mark.parametrize("target", [lambda row: "xyz"[row * row % 3], lambda row: row * row % 3 % 2,
                                    lambda row: [-1, 1][row % 2], lambda row: ["True", "false"][row % 2]])
def test_a_suggested_classification_trains(init, trains, target):
    values, said = init(csv_of(dict(PLAIN, y=target), N_ROWS), "--target", "y")
    assert values["mode"] == "classification" and values["stratified"] is True
    assert any("mode classification: the target holds" in sentence for sentence in said)
    assert any("the same share of each class" in sentence for sentence in said)
    assert values["kl_candidates"] == [1.0, 0.3, 0.1] and "kl" not in values
    chosen = dict(values, kl_candidates=None, kl=0.3)  # the choice is tested in test_selection.py
    result = trains(chosen, as_it_is=target(0) == "x")
    assert 0 <= result["metrics"]["test_accuracy"] <= 1 and result["protocol"] == "stratified"


TWO = dict({"name": lambda row: f"house {row}"}, **PLAIN, **{"z": lambda row: round(np.cos(row), 6)})
COMMAS = {"area, m2": PLAIN["area"], "rooms": PLAIN["rooms"], "price, EUR": wave, "rent,7": lambda row: 2.5 * wave(row)}


@pytest.mark.parametrize("arguments", [["y", "z"], ["y,z"], ["y, z"], ["4", "z"], ["4,5"], ["y,5"]])
def test_several_targets(init, trains, arguments):
    values, said = init(csv_of(TWO, N_ROWS), "--target", *arguments)
    assert (values["mode"], values["target"], values["row_id"]) == ("regression", ["y", "z"], "name")
    assert values["inputs"] == ["area", "rooms"] and values["predictive_noise"] == "leave_one_out"
    assert "target: 'y', 'z'" in said and "mode regression: the 2 targets hold numbers" in said
    if arguments == ["y", "z"]:
        result = trains(values, as_it_is=True)
        assert result["targets"] == ["y", "z"] and np.isfinite(result["metrics"]["test_rmse_z"])


@pytest.mark.parametrize("arguments, targets", [
    (["price, EUR"], "price, EUR"), (["rent,7"], "rent,7"), (["price, EUR", "rent,7"], ["price, EUR", "rent,7"]),
    (["rent,7", "rooms"], ["rent,7", "rooms"]), (["3,4"], ["price, EUR", "rent,7"]),
])
def test_names_may_hold_commas(init, arguments, targets):
    values, _ = init(csv_of(COMMAS, N_ROWS, ";"), "--target", *arguments)
    assert values["target"] == targets and values["inputs"][0] == "area, m2"


def test_columns_without_names_are_several_targets(init):
    text = "".join(f"{30.5 + row * row % 71},{wave(row)},{row % 5}\n" for row in range(N_ROWS))
    values, said = init(text, "--target", "1,2")
    assert (values["target"], values["inputs"]) == ([1, 2], [3]) and "target: column 1, column 2" in said


def test_columns_without_names_are_numbered(init, trains):
    text = "".join(f"{row},{30.5 + row * row % 71},{wave(row)},{row % 5}\n" for row in range(N_ROWS))
    values, said = init(text, "--target", "3")
    assert (values["target"], values["inputs"], values["row_id"]) == (3, [2, 4], 1)
    assert "target: column 3" in said
    trains(values)
    values, said = init(text)
    assert values["target"] == 4 and "target: column 4, the last column" in said


def test_what_was_assumed_of_the_file_is_said(init, trains):
    values, said = init(csv_of(PLAIN, N_ROWS, ";").replace(".", ","), "--target", "y")
    assert any("fields are separated by semicolons" in sentence for sentence in said)
    assert any("the comma is the decimal mark" in sentence for sentence in said)
    trains(values)


ODD = dict({"drv": lambda row: "4fr"[row * row % 3], "zip": lambda row: f"{row % 9:05d}",
            "area": lambda row: 30.5 + row * row % 71 if row != 7 else "many", "note": lambda row: f"{row} kg"},
           y=wave)


def test_keys_that_say_how_a_table_is_read(init, trains):
    """Every remedy of a refusal can be followed with --set; what is set stays in the config."""
    flags = ["--set", 'missing_marks=["many"]', "--set", 'categories=["zip"]', "--set", 'drop=["note"]']
    values, said = init(csv_of(ODD, N_ROWS), "--target", "y", *flags)
    assert values["categories"] == ["zip", "drv"] and values["drop"] == ["note"] and values["missing"] == "median"
    assert values["inputs"] == ["drv", "zip", "area"] and values["missing_marks"] == ["many"]
    assert not any("leading zeros" in sentence for sentence in said)
    trains(values)
    values, said = init(csv_of(ODD, N_ROWS), "--target", "y", *flags[:2], *flags[4:], "--set", "row_id=zip", "--set",
                        "missing=mean")
    assert values["row_id"] == "zip" and values["inputs"] == ["drv", "area"] and values["missing"] == "mean"
    values, said = init("a;b;y\n" + "".join(f"{row % 7},125;{row};{row * row % 13}\n" for row in range(30)), "--set",
                        "decimal=,")
    assert values["decimal"] == "," and values["row_id"] == "b"


def test_codes_with_leading_zeros_are_said(init):
    _, said = init(csv_of(dict({"zip": lambda row: f"{row % 9:05d}"}, **PLAIN), N_ROWS))
    assert any("leading zeros: column 1 ('zip'), such as 00000: list the column in categories" in each for each in said)


def test_what_training_says_of_the_table_is_said(init):
    _, said = init(csv_of(dict({"copy": lambda row: 2.0 * wave(row)}, **FEW_MISSING), N_ROWS))
    assert any("the target can be read from column 1 ('copy')" in sentence for sentence in said)
    assert any("1 missing field of 1 of 60 rows is filled (missing median): column 2 ('area')" in each for each in said)


def test_only_inputs_are_said_to_count_the_rows(init):
    values, said = init(csv_of(dict({"house_id": lambda row: row + 1}, **PLAIN), N_ROWS))
    assert values["row_id"] == "house_id" and not any("counts the rows" in sentence for sentence in said)


def test_classes_of_numbers_and_words(init, trains):
    values, _ = init(csv_of(dict(PLAIN, y=lambda row: "4fr"[row * row % 3]), N_ROWS))
    assert values["mode"] == "classification"
    trains(dict(values, kl_candidates=None))


@pytest.mark.parametrize("content, arguments, message", [
    (csv_of(PLAIN, N_ROWS), ["--target", "z"], "--target 'z': "),
    (csv_of(PLAIN, N_ROWS), ["--target", "9"], "--target 9: "),
    (csv_of(PLAIN, N_ROWS), ["--target", "area", "z"], "--target 'z': "),
    (csv_of(PLAIN, N_ROWS), ["--target", "y,9"], "--target 9: "),
    (csv_of(PLAIN, N_ROWS), ["--target", "y,"], "--target '': "),
    (csv_of(COMMAS, N_ROWS, ";"), ["--target", "price,EUR"], "--target 'price,EUR': "),
    (csv_of(PLAIN, N_ROWS), ["--target", "y", "3"], "--target: 'y' is given twice"),
    (csv_of(WORDS, N_ROWS), ["--target", "y,colour"], "--target: 'colour' holds words such as 'red', and several "
     "targets are numbers: leave it out, or give it alone to predict classes"),
    (csv_of(DATES, N_ROWS), ["--target", "sold", "y"], "--target: 'sold' holds words such as '01.01.2020'"),
    (csv_of(dict(PLAIN, z=lambda row: 3), N_ROWS), ["--target", "y", "z"], "('z') is constant over the training rows"),
    (csv_of(PLAIN, N_ROWS), ["--target", "area,rooms,y"], "no column is left as an input beside the target"),
    ("", [], " is empty"), ("a,y\n1,2\n3\n", [], "line 3: 1 columns where"), ("a,b\n1,x\n2,3\n", [], "line 2 column 2"),
    (csv_of(dict(PLAIN, area=lambda row: 0.5 * row if row != 7 else "many"), N_ROWS), [], "line 9 column 1 ('area'): "
     "'many' is not a number, as other fields of this column are: correct it, or list it in missing_marks if it stands "
     "for a missing value, or the column in categories (--set 'missing_marks=[...]' or --set 'categories=[...]')"),
    (csv_of(dict(PLAIN, area=lambda row: f"{row} kg"), N_ROWS), [], "(--set 'categories=[...]')"),
    (csv_of(dict(PLAIN, y=lambda row: f"2020-01-{row % 9 + 10}"), N_ROWS), [], "--target: 'y' holds dates, such as "
     "'2020-01-10', which are neither numbers nor classes: name another column"),
    (csv_of(PLAIN, N_ROWS), ["--set", "epoch=3"], "--set epoch: --init takes the keys separator, decimal, encoding, "),
    (csv_of(PLAIN, N_ROWS), ["--set", "drop=area"], "--set: drop: "),
    (csv_of(PLAIN, N_ROWS), ["--set", 'drop=["arae"]'], "--set drop 'arae': "),
    ("a;b\n1,234;2\n", [], "may be a number with decimals or with thousands"),
    (csv_of({"y": wave}, N_ROWS), [], "no column is left as an input beside the target"),
    (csv_of({"one": lambda row: 1, "y": wave}, N_ROWS), [], "no column is left as an input beside the target"),
    (None, [], "cannot be read: "),
    (csv_of(dict(PLAIN, y=lambda row: wave(row) if row else ""), N_ROWS), [], "the target is missing in 1 row"),
    (csv_of(dict(PLAIN, y=lambda row: 3), N_ROWS), [], "the training rows are all of one class"),
    (csv_of(dict(PLAIN, y=lambda row: f"w{row}"), N_ROWS), [], "too many for classes"),
    (csv_of(dict({"d": lambda row: f"01/0{row % 9 + 1}/2020"}, **PLAIN), N_ROWS), [], "line 2: column 1 ('d'): the"),
    (csv_of(PLAIN, 5), [], "5 rows are too few"),
])
def test_bad_tables_end_in_one_line(write, tmp_path, capsys, content, arguments, message):
    path = tmp_path / "houses.csv" if content is None else write(content)
    with pytest.raises(SystemExit) as stop:
        train.main(["--init", str(path), *arguments])
    captured = capsys.readouterr()
    assert stop.value.code == 2 and captured.err.count("\n") == 1 and message in captured.err, captured.err
    assert captured.out == ""
