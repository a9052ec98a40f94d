"""Rows as they come: columns in any order, with and without the target, bad lines, categories, missing values."""
import io
import json
import sys

import numpy as np
import pytest

from data_loader import row_stream
from misc.records import read_json
from tests.predict.houses import SETTINGS, assert_equal, train_on, write_table

pytestmark = pytest.mark.usefixtures("shared_graphs")


@pytest.fixture
def rows(table):
    """Rows without missing values."""
    return table.dropna().head(20).reset_index(drop=True)


@pytest.fixture
def clean(run, rows, rows_file, of):
    """Predictions of these rows."""
    return of(run, rows_file(rows, "clean.csv"))[0]


def test_the_target_is_not_needed_and_not_looked_at(run, rows, rows_file, of, clean):
    without, said = of(run, rows_file(rows.drop(columns="value")))
    assert_equal(without, clean)
    assert said == ""
    for value in (np.nan, "unknown", 1e30):
        assert_equal(of(run, rows_file(rows.astype({"value": object}).assign(value=value)))[0], clean)


def test_columns_in_another_order_and_further_ones(run, rows, rows_file, of, clean):
    mixed = rows[["age", "zone", "value", "rooms", "house", "river", "crime"]]
    got, said = of(run, rows_file(mixed))
    assert_equal(got, clean)
    assert said.count("note: columns are matched by their names: their order is not that of the run's table") == 1
    more = mixed.assign(colour=["red", "7", "", "1_0"] * 5, weight=np.arange(20.0))
    got, said = of(run, rows_file(more))
    assert_equal(got, clean)
    assert said.count("columns that the run does not know are not used: 'colour', 'weight'") == 1


@pytest.mark.parametrize("options, name", [
    (dict(sep=";"), "n.csv"), (dict(sep="\t"), "n.tsv"), (dict(sep="|"), "n.txt"), (dict(quoting=1), "n.csv"),
    (dict(sep=";", decimal=","), "n.csv"), (dict(lineterminator="\r\n"), "n.csv"), (dict(encoding="utf-16"), "n.csv"),
    (dict(encoding="utf-8-sig"), "n.csv"), ({}, "n.csv.gz"), ({}, "n.csv.bz2"), ({}, "n.csv.xz"), ({}, "n.csv.zip")])
def test_ways_to_write_a_table(run, rows, rows_file, of, clean, options, name):
    if "lineterminator" in options:
        path = rows_file(rows)
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    else:
        path = rows_file(rows, name, **options)
    assert_equal(of(run, path)[0], clean)


def test_names_with_accents_in_an_old_encoding(run, rows, rows_file, of, clean):
    got, said = of(run, rows_file(rows.assign(**{"stra\u00dfe": "M\u00fcller"}), encoding="cp1252"))
    assert_equal(got, clean)
    assert "stra\u00dfe" in said


def test_standard_input(run, rows, rows_file, of, clean, monkeypatch):
    class Input:
        buffer = io.BytesIO(rows_file(rows).read_bytes())

    monkeypatch.setattr(sys, "stdin", Input())
    assert_equal(of(run, "-")[0], clean)


def test_an_index_that_pandas_wrote_is_not_used(run, rows, rows_file, of, clean):
    assert_equal(of(run, rows_file(rows, index=True))[0], clean)


def test_without_the_column_of_the_ids_rows_are_numbered(run, rows, rows_file, of, clean):
    got, _ = of(run, rows_file(rows.drop(columns="house")))
    assert next(iter(got)) == "row" and got["row"].tolist() == list(range(1, 21))
    assert (got["mean"] == clean["mean"]).all()


def test_without_a_header_the_order_counts(run, rows, rows_file, of, clean):
    for given in (rows, rows.drop(columns="value")):
        got, said = of(run, rows_file(given, header=False))
        assert "columns are matched by their order, because" in said and "does not name them" in said
        assert_equal(got, clean)


def test_tables_without_names(folder, table, rows_file, of):
    """Of a run whose table has no header; a category that looks like a number; the target is not the last column."""
    numbered = table.dropna().assign(zone=lambda frame: frame["zone"].str[1:])[["house", "value", "zone", "rooms"]]
    path = write_table(folder, numbered, "nameless.csv", header=False)
    root = train_on(path, "nameless", **dict(SETTINGS, target=2, row_id=1, categories=[3], missing=None, header=False))
    rows = numbered.head(15)
    whole, _ = of(root, rows_file(rows, header=False))
    assert next(iter(whole)) == "column 1" and whole["column 1"].tolist() == [int(name) for name in rows["house"]]
    without, said = of(root, rows_file(rows.drop(columns="value"), header=False))
    assert_equal(without, whole)
    assert "has no names: its columns are taken for column 1, column 3, column 4 of the run's table" in said
    two_zones = of(root, rows_file(rows.assign(zone="99"), header=False))[1]
    assert "column 3: '99' did not occur in the training rows" in two_zones


def with_separators(path, marks, mark, header=True):
    """Ends the lines of a table with these separators, those of the header only if asked for."""
    lines = path.read_text().splitlines()
    path.write_text("".join(line + (marks * mark if header or number else "") + "\n"
                            for number, line in enumerate(lines)))
    return path


@pytest.mark.parametrize("flags", [(), ("--skip-bad",)])
@pytest.mark.parametrize("mark", [",", ";"])
@pytest.mark.parametrize("marks, header", [(1, True), (1, False), (2, True), (2, False)])
def test_separators_at_the_ends_of_lines(run, rows, rows_file, of, clean, marks, mark, header, flags):
    """They are read as when a whole table is: the columns behind them are no columns, and not an index before them."""
    path = with_separators(rows_file(rows.drop(columns="value"), sep=mark), marks, mark, header)
    got, said = of(run, path, *flags)
    assert_equal(got, clean)
    assert said.count("column 7, at the end, without name" if marks == 1 else "column 7, column 8, at the end") == 1
    assert "not used" not in said and "left out:" not in said.replace("value: left out", "")


def test_separators_at_the_ends_of_lines_without_a_header(run, rows, rows_file, of, clean):
    got, said = of(run, with_separators(rows_file(rows, header=False), 1, ","))
    assert_equal(got, clean)
    assert said.count("column 8, at the end, without name and values: left out") == 1


def test_a_value_behind_the_last_separator_is_refused(run, rows, rows_file, of, clean, refuse, monkeypatch):
    monkeypatch.setattr(row_stream, "SAMPLE", 10)
    path = with_separators(rows_file(rows.drop(columns="value")), 1, ",", header=False)
    lines = path.read_text().splitlines()
    lines[15] += "7.5"
    path.write_text("\n".join(lines) + "\n")
    refuse(f"{path} line 16 column 7: '7.5' stands in a column without a name, which is empty in the first rows: name "
           "it, or remove it", run, path)
    got, said = of(run, path, "--skip-bad")
    assert got["house"].tolist() == np.delete(clean["house"], 14).tolist()
    np.testing.assert_allclose(got["mean"], np.delete(clean["mean"], 14), rtol=1e-5)  # in smaller batches
    assert said.count("left out: ") == 1
    lines[15] = lines[15][:-len(",7.5")]
    path.write_text("\n".join(lines) + "\n")
    refuse(f"{path} line 16: 6 columns where the others have 7", run, path)


def test_a_named_column_without_values_stays(run, rows, rows_file, of, clean):
    got, said = of(run, rows_file(rows.assign(value=np.nan)))
    assert_equal(got, clean)
    assert said == ""


def test_missing_values_at_the_ends_of_lines_without_a_header(folder, table, rows_file, of):
    """A run on a table without names: as many columns as it expects are all meant."""
    numbered = table.assign(zone=0.5)[["house", "value", "rooms", "crime"]]
    keys = dict(SETTINGS, target=2, row_id=1, categories=None, missing="median", header=False)
    root = train_on(write_table(folder, numbered, "gaps.csv", header=False), "gaps", **keys)
    gone = of(root, rows_file(numbered.head(3).assign(crime=np.nan), header=False))[0]
    fill = read_json(root / "model.json")["columns"][1]["fill"]
    whole = of(root, rows_file(numbered.head(3).assign(crime=fill), header=False))[0]
    assert_equal(gone, whole)


def test_missing_columns(run, rows, rows_file, refuse):
    path = rows_file(rows.drop(columns=["rooms", "zone"]).rename(columns={"river": "River"}))
    refuse(f"{path} misses 'river', 'rooms', 'zone' and has the further 'River': its columns must be those of the "
           "run's table", run, path)
    refuse("has 4 columns, but the network takes 5 inputs and a target", run,
           rows_file(rows[["crime", "river", "value", "rooms"]], header=False))


def test_words_among_numbers(run, rows, rows_file, refuse, tmp_path):
    broken = rows.astype({"rooms": object})
    broken.loc[12, "rooms"] = "six"
    path = rows_file(broken)
    refuse(f"{path} line 14 column 5: 'six' is not a number", run, path)
    refuse("six rooms' here", run, rows_file(rows.head(3).assign(rooms="six rooms")))
    refuse("column 5 ('rooms') holds numbers in the run's table, but words such as 'many' here: write numbers", run,
           rows_file(rows.assign(rooms="many")))
    path = rows_file(rows.assign(rooms=[6.0] * 19 + [np.inf]))
    refuse(f"{path} line 21 column 5: inf is not finite", run, path)
    path = rows_file(rows.assign(rooms=[6.0] * 19 + [1e300]))
    refuse(f"{path} line 21 column 5: column 5 ('rooms') is more than 1e+12 standard deviations", run, path)
    lines = rows_file(rows).read_text().splitlines()
    (tmp_path / "wide.csv").write_text("\n".join([*lines[:6], lines[6] + ",1", *lines[7:]]))
    refuse(f"{tmp_path / 'wide.csv'} line 7: 8 columns where the others have 7", run, tmp_path / "wide.csv")


def test_an_empty_file(run, rows, refuse, tmp_path):
    (tmp_path / "empty.csv").write_text("")
    refuse("empty.csv is empty", run, tmp_path / "empty.csv")
    (tmp_path / "header.csv").write_text(",".join(rows.columns) + "\n")
    refuse("header.csv has no rows", run, tmp_path / "header.csv")
    refuse("nowhere.csv: there is no such file", run, tmp_path / "nowhere.csv")
    (tmp_path / "binary.csv").write_bytes(b"a,b\n\x00\x01")
    refuse("is not a text file", run, tmp_path / "binary.csv")
    (tmp_path / "cut.csv.gz").write_bytes(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x01\x02")
    refuse("cut.csv.gz cannot be read", run, tmp_path / "cut.csv.gz")


def test_unknown_categories_are_said_once(run, rows, rows_file, of, clean, monkeypatch):
    monkeypatch.setattr(row_stream, "BLOCK_ROWS", 4)
    got, said = of(run, rows_file(rows.assign(zone=[f"new{number // 2}" for number in range(20)])))
    assert said.count("did not occur in the training rows: encoded as none of their categories") == 1
    assert "column 6 ('zone'): 'new0', 'new1' did not occur" in said
    assert (got["mean"] != clean["mean"]).all()


def test_missing_values_are_replaced_as_in_training(run, table, rows, rows_file, of, clean):
    columns = json.loads((run / "model.json").read_text())["columns"]
    median = next(column["fill"] for column in columns if column["name"] == "age")
    assert table["age"].min() < median < table["age"].max()
    gone = of(run, rows_file(rows.assign(age=np.nan)))[0]
    for words in ("", "NA", "?"):
        assert_equal(of(run, rows_file(rows.assign(age=words)))[0], gone)
    assert_equal(of(run, rows_file(rows.assign(age=median)))[0], gone)
    assert (gone["mean"] != clean["mean"]).any()
    none = of(run, rows_file(rows.assign(zone="")))
    assert_equal(none[0], of(run, rows_file(rows.assign(zone="elsewhere")))[0])
    assert none[1] == ("note: 20 missing fields of 20 of 20 rows are filled (missing median): column 6 ('zone') 20\n"
                       "note: outside the range of the training rows, of 20 rows: 'zone' in 20: the network "
                       "extrapolates there\n")


@pytest.mark.parametrize("block", [10000, 3])
def test_missing_values_that_are_filled_are_counted(run, rows, rows_file, of, monkeypatch, block):
    """Over all blocks, and without the rows that are left out."""
    monkeypatch.setattr(row_stream, "BLOCK_ROWS", block)
    rows = rows.astype({"rooms": object})
    rows.loc[[0, 7, 8, 19], "age"] = np.nan
    rows.loc[[7, 11], "zone"] = None
    rows.loc[8, "rooms"] = "many"
    said = of(run, rows_file(rows), "--skip-bad")[1]
    assert said.count("missing field") == 1
    assert ("note: 5 missing fields of 4 of 19 rows are filled (missing median): column 6 ('zone') 2, column 7 ('age') "
            "3\n") in said


def test_how_the_table_is_written_can_be_said(run, rows, rows_file, of, clean, refuse):
    """A remedy that names a key says the flag that sets it; a config that the run does not have is not advised."""
    ambiguous = rows.drop(columns="value").assign(crime=rows.crime.round(3) + 1, rooms=5, age=7)
    path = rows_file(ambiguous.assign(crime=[f"{value:.3f}" for value in ambiguous.crime]), sep=";")
    path.write_text(path.read_text().replace(".", ","))
    refuse("set decimal to \",\" or write thousands without a comma (--set decimal=VALUE)", run, path)
    dotted = rows_file(ambiguous, "dotted.csv")
    assert_equal(of(run, path, "--set", "decimal=,")[0], of(run, dotted)[0])
    odd = rows_file(rows.astype({"age": object}).assign(age=["gone", *rows.age[1:]]), "odd.csv")
    refuse("'gone' is not a number, as other fields of this column are: correct it, or list it in missing_marks if it "
           "stands for a missing value (--set 'missing_marks=[...]')", run, odd)
    assert "1 missing field of 1 of 20 rows is filled" in of(run, odd, "--set", 'missing_marks=["gone"]')[1]
    for text, message in (("epoch=3", "--set epoch: predict.py takes the keys separator, decimal, encoding, header, "),
                          ("encoding=utf-7x", "unknown encoding: utf-7x: set encoding as Python calls it"),
                          ("header=7", "--set: header: "), ("decimal", "--set takes KEY=VALUE, got 'decimal'")):
        refuse(message, run, odd, "--set", text)


def test_missing_values_that_the_training_refused(folder, table, rows, rows_file, refuse, of):
    path = write_table(folder, table.dropna(), "whole.csv")
    root = train_on(path, "whole", **dict(SETTINGS, missing=None))
    rows.loc[7, "age"] = np.nan
    path = rows_file(rows)
    refuse(f"{path} line 9 column 7: the field is empty; remove the row or impute the value (the run has no "
           "replacement for it)", root, path)
    got, said = of(root, path, "--skip-bad")
    assert got["house"].tolist() == rows["house"].drop(7).tolist()
    assert said.count("left out: ") == 1 and "line 9 column 7: the field is empty" in said


@pytest.mark.parametrize("block", [10000, 6, 1])
def test_bad_lines_are_left_out(run, rows, rows_file, of, clean, monkeypatch, tmp_path, block):
    """Their lines are named, and the others keep their names, or their numbers in the table."""
    monkeypatch.setattr(row_stream, "BLOCK_ROWS", block)
    for given, key in ((rows, "house"), (rows.drop(columns="house"), "row")):
        lines = rows_file(given).read_text().splitlines()
        bad = {1: lines[1] + ",5", 5: lines[5].replace("z", ",z", 1), 12: "what is this?",
               13: lines[13].replace(f"{rows['rooms'][12]}", "six"),
               20: lines[20].replace(f"{rows['rooms'][19]}", "inf")}
        (tmp_path / "bad.csv").write_text("\n".join(bad.get(number, line) for number, line in enumerate(lines)))
        got, said = of(run, tmp_path / "bad.csv", "--skip-bad")
        kept = [number for number in range(20) if number + 1 not in bad]
        names = rows["house"][kept].tolist() if key == "house" else [number + 1 for number in kept]
        assert got[key].tolist() == names
        np.testing.assert_allclose(got["mean"], clean["mean"][kept], rtol=1e-5)
        assert [line.split(" line ")[1].split()[0].rstrip(":") for line in said.splitlines()
                if line.startswith("left out: ")] == ["2", "6", "13", "14", "21"]


def test_nothing_but_bad_lines(run, rows, rows_file, refuse):
    refuse("there is no row to predict (20 were left out)", run, rows_file(rows.assign(rooms="many")), "--skip-bad")


def test_quoted_fields_over_several_lines(run, rows, rows_file, of, clean, monkeypatch):
    monkeypatch.setattr(row_stream, "BLOCK_ROWS", 3)
    got, _ = of(run, rows_file(rows.assign(remark="first line,\nsecond \"line\"")))
    np.testing.assert_allclose(got["mean"], clean["mean"], rtol=1e-5)
    assert got["house"].tolist() == clean["house"].tolist()
