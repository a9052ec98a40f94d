"""Columns of a table in --explain."""
import json

import train
from data_loader.table_explain import about_columns
from tests.tables.conftest import csv_of

COLUMNS = {"id": lambda row: f"h{row}", "colour": lambda row: ["red", "blue", "", "a b"][row % 4],
           "area": lambda row: 40.5 + row if row % 5 else "", "when": lambda row: f"2020-01-{row % 28 + 1:02d}",
           "who": lambda row: row % 7, "note": lambda row: "x", "price": lambda row: row * row % 13}
TEXT = csv_of(COLUMNS, 40)
KEYS = dict(row_id="id", drop=["note"], group="who", protocol="group", dates="expand", missing="mean")


def test_every_column_is_listed(split_table):
    assert list(about_columns(split_table(TEXT, **KEYS))) == [
        "column 1 ('id'): row_id", "column 2 ('colour'): input, category, 3 categories (a b, blue, red), 25.0% missing",
        "column 3 ('area'): input, number, 41.5 to 79.5, 20.0% missing",
        "column 4 ('when'): input, date, day, weekday", "column 5 ('who'): group", "column 6 ('note'): not used",
        "column 7 ('price'): the target, number, 0 to 12"]


def test_many_categories_and_odd_ones(split_table):
    text = csv_of({"w": lambda row: f'"x\n{row % 10}"', "y": lambda row: row * row % 13}, 40)
    line = next(about_columns(split_table(text)))
    assert line.endswith("10 categories (" + ", ".join(f"'x\\n{digit}'" for digit in range(8)) + " and 2 more)")


def test_a_target_of_classes_and_columns_without_names(split_table):
    text = "".join(f"{row * row % 7}.5,{'yes' if row % 3 else 'no'}\n" for row in range(30))
    loaded = split_table(text, class_target=True, mode="classification")
    assert list(about_columns(loaded)) == ["column 1: input, number, 0.5 to 4.5",
                                           "column 2: the target, category, 2 categories (no, yes)"]


def test_explain_lists_them_beside_what_it_said_before(table_config, tmp_path, capsys):
    config = table_config(TEXT, **KEYS)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config.model_dump(exclude_unset=True)))
    train.main(["--config", str(path), "--explain"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("data       houses from ") and lines[1].startswith("split      protocol group, split 0")
    assert "           column 7 ('price'): the target, number, 0 to 12" in lines
    assert {"method", "prior", "KL", "network", "steps", "evaluate", "cost", "device"} <= {
        line.split(" ")[0] for line in lines}
    assert not (tmp_path / "experiments").exists()
