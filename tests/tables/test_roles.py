"""Which columns are inputs, target and neither, and what is said of a target that needs no network."""
import re

import numpy as np
import pandas
import pytest

from data_loader.other_rows import match_columns
from data_loader.regression import load_regression
from data_loader.table_classes import load_class_table
from data_loader.table_memory import table_of_frame
from data_loader.table_parquet import read_parquet
from misc.errors import UserError
from tests.tables.conftest import csv_of

N_ROWS = 30
COLUMNS = {"id": lambda row: 1000 + 7 * row, "colour": lambda row: ["red", "blue"][row % 2],
           "floors": lambda row: row % 4 + 1, "area": lambda row: 50 + row * row % 31,
           "price": lambda row: 3.5 + (row * 17) % 23, "note": lambda row: f"no. {row}"}
TEXT = csv_of(COLUMNS, N_ROWS)
NAMES = list(COLUMNS)
INPUTS = ["colour", "floors", "area"]


def column(name):
    return [COLUMNS[name](row) for row in range(N_ROWS)]


@pytest.mark.parametrize("call", [lambda name: name, lambda name: NAMES.index(name) + 1])
def test_columns_are_called_by_name_or_number(split_table, call):
    loaded = split_table(TEXT, target=call("price"), inputs=[call("area"), call("floors")], row_id=call("id"),
                         categories=[call("floors")])
    assert [each.name for each in loaded.transform.columns] == ["floors", "area"]  # in the order of the table
    assert loaded.transform.names == ["floors=1", "floors=2", "floors=3", "floors=4", "area"]
    assert loaded.target.tolist() == column("price")
    assert loaded.inputs[:, -1].tolist() == column("area")
    assert loaded.ids.tolist() == [str(value) for value in column("id")]


@pytest.mark.parametrize("call", [lambda name: name, lambda name: NAMES.index(name) + 1])
def test_columns_that_are_dropped(split_table, call):
    loaded = split_table(TEXT, target=call("price"), drop=[call("id"), call("note")])
    assert [each.name for each in loaded.transform.columns] == INPUTS
    assert loaded.ids is None and loaded.roles.targets == (NAMES.index("price"),)


def test_the_target_is_the_last_column_that_has_no_other_role(split_table):
    loaded = split_table(TEXT, drop=["note"], row_id="id")
    assert loaded.transform.target == ("price", 5) and [each.name for each in loaded.transform.columns] == INPUTS


def test_long_identifiers_keep_every_digit(split_table):
    """As float64, the last digits of these would differ."""
    text = csv_of(dict(COLUMNS, id=lambda row: 12345678901234567890 + row), N_ROWS)
    assert split_table(text, target="price", drop=["note"], row_id="id").ids[3] == "12345678901234567893"


def test_a_missing_identifier_is_empty(split_table):
    text = csv_of(dict(COLUMNS, id=lambda row: row if row else ""), N_ROWS)
    assert split_table(text, target="price", drop=["note"], row_id="id").ids[:2].tolist() == ["", "1"]


@pytest.mark.parametrize("keys, message", [
    ({"target": "prices"}, "target 'prices': FILE has no such column; did you mean 'price'?; it has id, colour,"),
    ({"target": 7}, "target 7: FILE has the columns 1 to 6"),
    ({"inputs": ["area", "size"]}, "inputs 'size': FILE has no such column"),
    ({"drop": [0]}, "drop 0: FILE has the columns 1 to 6"),
    ({"row_id": "ID"}, "row_id 'ID': FILE has no such column"),
    ({"categories": ["floor"]}, "categories 'floor': FILE has no such column; did you mean 'floors'?"),
    ({"categories": [9]}, "categories 9: FILE has the columns 1 to 6"),
    ({"categories": ["note"], "drop": ["note"]}, "FILE: column 6 ('note') is listed in categories, but is no input"),
    ({"categories": ["price"], "target": "price"}, "FILE: column 5 ('price') is listed in categories, but is no input"),
    ({"target": "price", "drop": [5]}, "FILE: column 5 ('price') cannot be target and drop, too"),
    ({"target": "price", "row_id": "price"}, "FILE: column 5 ('price') cannot be target and row_id, too"),
    ({"target": "price", "inputs": ["price", "area"]}, "FILE: column 5 ('price') cannot be an input and target, too"),
    ({"row_id": "id", "inputs": ["id", "area"]}, "FILE: column 1 ('id') cannot be an input and row_id, too"),
    ({"drop": NAMES}, "FILE: no column is left for the target"),
    ({"drop": NAMES[:-1]}, "FILE: no column is left as an input beside the target"),
    ({"row_id": "id"}, "FILE: the target, column 6 ('note'), holds words such as 'no. 0': name another column"),
    ({"target": "price", "drop": ["id"]}, "FILE: column 6 ('note') holds 27 different words in 27 training rows, such "
     "as 'no. 0': make it the row_id, list it in drop"),
])
def test_refusals(refused, tmp_path, keys, message):
    assert message in refused(TEXT, **keys).replace(str(tmp_path / "houses.csv"), "FILE")


def test_names_for_a_table_without_names(refused):
    text = TEXT.split("\n", 1)[1]
    assert "target 'price': " in refused(text, target="price", header=False)
    assert "does not name its columns: give a number from 1 to 6" in refused(text, target="price", header=False)


def test_roles_of_a_known_set_are_refused(config):
    with pytest.raises(UserError, match="target, drop: not for the known data set concrete"):
        load_regression(config(dataset="concrete", target=1, drop=[2]))


@pytest.mark.parametrize("keys, place", [
    ({}, "line 3 column 3: the field is empty; remove the row or impute the value (key missing: mean, median or"),
    ({"missing": "mean", "target": "area", "drop": ["price", "note", "id"]}, "line 3 column 3: the target is missing "
     "in 1 row: remove these rows")])
def test_missing_values(refused, keys, place):
    """The column is the second one of those that are used."""
    columns = dict(COLUMNS, area=lambda row: "" if row == 1 else row, floors=lambda row: row)
    values = dict(target="price", drop=["id", "note"])
    assert place.replace("column 3", "column 4") in refused(csv_of(columns, N_ROWS), **dict(values, **keys))


def test_a_column_without_values_is_refused(refused):
    text = csv_of(dict(COLUMNS, area=lambda row: ""), N_ROWS)
    assert "houses.csv: column 4 ('area') has no value in any training row: list it in drop" in refused(
        text, target="price", drop=["id", "note"], missing="mean")


# What is said of targets.

def notices(table_config, columns, load=load_regression, **keys):
    return list(load(table_config(csv_of(columns, 40), **keys)).notices)


def wave(row):
    return round(np.sin(row * row), 6)


def test_numbers_of_a_frame_that_are_listed_as_categories(table_config):
    """They are words there, too, without decimals; text files have them as words anyway."""
    frame = pandas.DataFrame({"zip": [7, 8, np.nan, 7.5] * 10, "a": np.arange(40) ** 2 % 11, "y": np.arange(40) % 7})
    config = table_config(csv_of(CODES, 40), target="y", categories=["zip"], missing="mean")
    data = load_regression(config, table_of_frame(frame, "a frame"))
    assert data.transform.names == ["zip=7", "zip=7.5", "zip=8", "a"]
    rows = match_columns(table_of_frame(frame.iloc[:5, :2], "rows"), data, needs_target=False)
    assert data.transform.encode(rows.frame)[0][:, :3].tolist() == [
        [1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 1, 0], [1, 0, 0]]


CODES = {"zip": lambda row: f"{row % 7 * 1000:05d}", "row": lambda row: row + 1, "a": lambda row: row * row % 11,
         "y": wave}
ZEROS = ("note: houses.csv: read as numbers in spite of leading zeros: column 1 ('zip'), such as 00000: list the "
         "column in categories if these are codes")
COUNT = ("note: houses.csv: column 2 ('row') counts the rows from 1 and is used as an input: list it in drop if it is "
         "an index")


@pytest.mark.parametrize("keys, said", [
    ({}, [COUNT, ZEROS]), ({"row_id": "row"}, [ZEROS]), ({"drop": ["row", "zip"]}, []),
    ({"inputs": ["a", "row"]}, [COUNT]), ({"categories": ["zip"]}, [COUNT]), ({"target": "row"}, [ZEROS])])
def test_only_inputs_are_named_as_counts_and_codes(table_config, keys, said):
    assert notices(table_config, CODES, **keys) == said


@pytest.mark.parametrize("make, said", [
    (lambda row: 10**17 + row % 3, "holds whole numbers beyond 9007199254740992, whose last digits are lost: list it "),
    (lambda row: 20200100 + row % 31 + 1, "holds numbers such as 20200101: write them as 2020-01-31 if they are dates"),
    (lambda row: ["red", "Blue", "Red", "blue"][row % 4], "holds 'red' and 'Red', which are two categories: write ")])
def test_numbers_and_words_that_may_be_something_else(table_config, make, said):
    columns = {"c": make, "a": lambda row: row * row % 11, "y": wave}
    assert [each for each in notices(table_config, columns) if said in each]
    assert not [each for each in notices(table_config, columns, drop=["c"]) if "note: houses.csv" in each]


@pytest.mark.parametrize("make", [
    lambda row: 2**53 - row % 3, lambda row: 20201300 + row % 31, lambda row: "aBc"[row % 3], lambda row: 20200101,
    lambda row: 20200100.5 + row % 31, lambda row: row % 9])
def test_other_numbers_and_words_are_not_named(table_config, make):
    columns = {"c": make, "a": lambda row: row * row % 11, "y": wave}
    assert not [each for each in notices(table_config, columns) if "note: houses.csv" in each]


GAPS = dict(CODES, zip=lambda row: "" if row in (3, 30) else row % 7, row=lambda row: ["", "x", "z"][row % 3])


@pytest.mark.parametrize("missing", ["mean", "median", "indicator"])
def test_missing_values_that_are_filled_are_counted(table_config, missing):
    found = notices(table_config, GAPS, missing=missing)
    assert found == [f"note: 16 missing fields of 14 of 40 rows are filled (missing {missing}): column 1 ('zip') 2, "
                     "column 2 ('row') 14"]
    one = notices(table_config, dict(CODES, row=lambda row: row * row, zip=lambda row: "" if row == 3 else row % 7),
                  missing=missing)
    assert f"note: 1 missing field of 1 of 40 rows is filled (missing {missing}): column 1 ('zip') 1" in one


@pytest.mark.parametrize("copy", [
    wave, lambda row: 100.0 - 3.0 * wave(row), lambda row: wave(row) + 1e-7 * (row % 2)])
def test_an_input_that_copies_the_target_is_said(table_config, copy):
    found = notices(table_config, {"a": lambda row: row % 7, "b": copy, "y": wave})
    assert found == ["note: the target can be read from column 2 ('b'): list it in drop, unless it is known when "
                     "predictions are made"]


@pytest.mark.parametrize("other", [lambda row: wave(row) + 1e-4 * wave(row + 5), lambda row: 3.0, lambda row: row % 5])
def test_an_input_that_is_close_to_the_target_is_not(table_config, other):
    assert not [each for each in notices(table_config, {"a": lambda row: row % 7, "b": other, "y": wave})
                if "can be read" in each]


def test_a_category_that_copies_the_target(table_config):
    found = notices(table_config, {"a": wave, "b": lambda row: ["no", "yes"][row % 2], "y": lambda row: row % 2})
    assert "note: the target has two values, 0 and 1: mode classification predicts their probabilities" in found
    assert "can be read from column 2 ('b') as 'b=no', column 2 ('b') as 'b=yes'" in " ".join(found)


CLASSES = dict(load=load_class_table, mode="classification")


@pytest.mark.parametrize("name, copies", [
    ("b", lambda row: "xyz"[row % 3]), ("b", lambda row: 10 * (row % 3)), (None, lambda row: "xyz"[row % 2]),
    (None, lambda row: "xyz"[row % 3] if row > 9 else ""), (None, lambda row: "xyz"[row % 3 if row > 1 else 0])])
def test_a_copy_of_the_class_is_said(table_config, name, copies):
    found = notices(table_config, {"a": wave, "b": copies, "y": lambda row: "pqr"[row % 3]}, missing="indicator",
                    split=0, seed=1, **CLASSES)
    assert [notice for notice in found if "can be read" in notice] == (
        [f"note: the target can be read from column 2 ('{name}'): list it in drop, unless it is known when "
         "predictions are made"] if name else [])


def test_three_values_are_no_classes(table_config):
    assert notices(table_config, {"a": lambda row: wave(row), "y": lambda row: row % 3}) == []


# Parquet.

def test_parquet(monkeypatch, tmp_path):
    """Columns by their types; reading itself is the business of pandas."""
    frame = pandas.DataFrame({"n": pandas.Series([1, None], dtype="Int64"), "t": [True, False], "w": ["x", None],
                              "d": pandas.to_datetime(["2020-01-31", None]), "c": pandas.Categorical(["u", "v"])})
    monkeypatch.setattr(pandas, "read_parquet", lambda path: frame)
    table = read_parquet(tmp_path / "t.parquet")
    assert table.names == ("n", "t", "w", "d", "c")
    assert [table.is_number(position) for position in range(5)] == [True, True, False, False, False]
    assert table.frame.iloc[0].tolist() == [1, 1, "x", "2020-01-31", "u"]
    assert table.frame.iloc[1].isna().tolist() == [True, False, True, True, False]
    assert table.notices == ("note: t.parquet: true and false are read as 1 and 0: t",)


@pytest.mark.parametrize("frame, error, message", [
    (None, ImportError("pyarrow"), "Parquet needs a further package: pip install pyarrow, or save the table as CSV"),
    (None, OSError("not a file"), "cannot be read as Parquet: not a file"),
    (pandas.DataFrame({"a": []}), None, "has no rows"),
    (pandas.DataFrame([[1, 2]], columns=["a", "a"]), None, "has 2 columns 'a': give every column a name of its own")])
def test_parquet_is_refused(monkeypatch, tmp_path, frame, error, message):
    def read(path):
        if error is not None:
            raise error
        return frame

    monkeypatch.setattr(pandas, "read_parquet", read)
    with pytest.raises(UserError, match=re.escape(message)):
        read_parquet(tmp_path / "t.parquet")
