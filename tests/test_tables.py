"""Tables of numbers as people and libraries write them: what is read, what is refused, and what is said of it."""
import json

import numpy as np
import pandas
import pytest
from numpy.testing import assert_allclose

import train
from data_loader import DATASETS
from data_loader.regression import load_regression
from data_loader.splits import hash_of_rows, rows_hash
from data_loader.table_file import read_table, refuse_missing
from misc.errors import UserError

COLUMNS = ["a", "b", "c", "y"]


@pytest.fixture
def rows(tiny_data):
    """The values of tiny.data."""
    return np.loadtxt(str(tiny_data / "tiny.data"))


@pytest.fixture
def load(config, tiny_data):
    """Function (text of tiny.data, **overrides) -> TableData."""

    def make(text, **overrides):
        (tiny_data / "tiny.data").write_text(text, encoding="utf-8")
        return load_regression(config(**overrides))

    return make


def raw(data):
    """The training rows in raw units, the target last."""
    return np.column_stack([data.input_mean + data.input_std * data.train.x,
                            data.target_mean + data.target_std * data.train.y])


def assert_same(data, clean):
    """Asserts that two tables are the same to the bit, splits and all."""
    assert (data.rows_hash, data.split_hash) == (clean.rows_hash, clean.split_hash)
    assert (data.train.x == clean.train.x).all() and (data.test.y == clean.test.y).all()


def csv(rows, columns=COLUMNS, **options):
    return pandas.DataFrame(rows, columns=columns).to_csv(**options)


def test_a_clean_table_gives_no_notices(load, rows, config):
    assert load_regression(config()).notices == ()
    assert load(csv(rows, index=False)).notices == ()


@pytest.mark.parametrize("index", [False, True])
def test_names_between_tabs_may_hold_spaces(load, rows, config, index):
    clean = load_regression(config())
    data = load(csv(rows, ["a in m", "b", "column 3", "y"], index=index, sep="\t"))
    assert data.names == ("a in m", "b", "column 3", "y")
    assert_same(data, clean)
    lines = csv(rows, ["a in m", "b", "column 3", "y"], sep="\t").splitlines()  # as R: no field for the index
    assert load("\n".join([lines[0].lstrip(), *lines[1:]])).names == data.names


def test_numbers_are_read_to_the_last_bit(load, rng):
    values = rng.standard_normal((200, 4)) * 10.0 ** rng.randint(-9, 9, (200, 1))
    data = load("\n".join(" ".join(f"{value:.25g}" for value in row) for row in values))
    assert data.rows_hash == rows_hash(values)


@pytest.mark.parametrize("separator", [",", " ", "\t"])
@pytest.mark.parametrize("header", [False, True])
def test_quoted_fields(load, rows, config, separator, header):
    clean = load_regression(config())
    data = load(csv(rows, ["a, in m", "b", "c", "y"], index=False, header=header, sep=separator, quoting=1))
    assert_same(data, clean)
    assert data.notices == ()


@pytest.mark.parametrize("text", ["NA,NA,NA,NA\n", "?,?,?,?\n", ",,,\n", ".,.,.,.\n", "--,--,--,--\n",
                                  "missing,*,-,.\n"])
def test_a_first_row_of_missing_values_is_no_header(load, rows, text):
    with pytest.raises(UserError, match="line 1 column 1: .*; remove the row or impute"):
        load(text + csv(rows, index=False, header=False))


@pytest.mark.parametrize("separator", [",", "\t", " "])
def test_an_index_column_that_pandas_wrote_is_left_out(load, rows, config, separator):
    clean = load_regression(config())
    data = load(csv(rows, sep=separator))
    assert_same(data, clean)
    assert len(data.notices) == 1 and (
        "column 1 has no name and holds a different whole number in every row, as an index does" in data.notices[0])
    shuffled = pandas.DataFrame(rows, columns=COLUMNS, index=np.random.RandomState(0).permutation(43) + 5)
    assert_same(load(shuffled.to_csv(sep=separator)), clean)


def test_an_index_column_that_was_read_and_written_again(load, rows, config):
    clean = load_regression(config())
    frame = pandas.DataFrame(rows, columns=COLUMNS)
    twice = pandas.concat([pandas.Series(range(43), name="Unnamed: 0"), frame], axis=1)
    assert_same(load(twice.to_csv(index=False)), clean)
    data = load(twice.to_csv())
    assert_same(data, clean)
    assert len(data.notices) == 2


def test_row_names_that_r_wrote_are_left_out(load, rows, config):
    """write.table names the columns only, so that its header is one word short."""
    clean = load_regression(config())
    lines = csv(rows, index=False, header=False, sep=" ").splitlines()
    data = load('"a" "b" "c" "y"\n' + "\n".join(f'"{n}" {line}' for n, line in enumerate(lines, start=1)))
    assert_same(data, clean)
    assert "column 1 has no name" in data.notices[0]


def test_a_nameless_column_that_is_no_index_is_refused(load, rows):
    with pytest.raises(UserError, match="column 1 has no name, and is not an index of the rows before the target"):
        load(csv(rows, ["", "b", "c", "y"], index=False))


@pytest.mark.parametrize("header, said", [(True, "column 1 ('id') counts the rows"), (False, "column 1 counts the")])
def test_a_count_of_the_rows_among_the_inputs_is_said(load, rows, header, said):
    data = load(csv(np.column_stack([np.arange(43), rows]), ["id", *COLUMNS], index=False, header=header))
    assert data.train.x.shape[1] == 4 and said in data.notices[0] and "list it in drop" in data.notices[0]


@pytest.mark.parametrize("options", [{"index": False}, {}])
def test_a_header_of_column_numbers(load, rows, config, options):
    clean = load_regression(config())
    data = load(csv(rows, range(4), **options))
    assert_same(data, clean)
    assert "the first line numbers the columns from 0 to 3 and is taken for a header" in data.notices[0]


@pytest.mark.parametrize("first", ["1,2,3,4", "2019,2020,2021,2022", "0.0,1.0,2.0,3.0", "3,1,0,2"])
def test_a_first_row_of_consecutive_numbers_is_said(load, rows, first):
    data = load(first + "\n" + csv(rows, index=False, header=False))
    assert len(data.split.train) + len(data.split.test) == len(rows) + 1
    assert "is taken for a row: remove it if it is a header" in data.notices[0]


@pytest.mark.parametrize("text", ["0 1\n1 3\n2 5\n", "0 1\n1 3.5\n2 5\n", "0,1,2\n\n3,4,5\n6.5,7,8\n"])
def test_a_first_line_that_may_be_a_row_or_a_header_is_refused(load, text):
    with pytest.raises(UserError, match="line 1: these numbers may be a row or pandas' names of the columns"):
        load(text)


def test_two_numbers_are_a_row(tiny_data):
    path = tiny_data / "line.data"
    path.write_text("0.0 1\n1 3\n2 5\n")
    assert read_table(path).values[0].tolist() == [0, 1]


@pytest.mark.parametrize("separator", [" ", ",", "\t"])
def test_a_header_that_lacks_a_word_is_refused(tiny_data, separator):
    """Inputs that are all different are no names of rows: nor are R's names of some rows of a table, in any order."""
    path, rows = tiny_data / "years.data", "1990 0.5 2\n1992 0.7 3\n1991 0.1 4\n"
    path.write_text(("two words\n" + rows).replace(" ", separator))
    with pytest.raises(UserError, match="line 1 names 2 columns, but the rows have 3"):
        read_table(path)
    path.write_text("a title of many words\n" + rows)
    table = read_table(path)
    assert table.names is None and table.values.shape == (3, 3) and "first line is skipped" in table.notices[0]


@pytest.mark.parametrize("text", ["a , b , y\n1 , 2 , 3\n4 , , 6\n", "a ,b ,y\n1 ,2 ,3\n4 , ,6\n"])
def test_an_empty_field_among_spaces_is_refused(tiny_data, text):
    path = tiny_data / "spaces.data"
    path.write_text(text)
    with pytest.raises(UserError, match="line 3 column 2: the field is empty; remove the row"):
        refuse_missing(read_table(path))


def test_a_name_of_two_words_between_tabs_is_one_name(tiny_data):
    path = tiny_data / "tabs.data"
    path.write_text("my a\tb\tz\ty\n1\t2\t3\t4\t5\n2\t5\t6\t7\t8\n")  # as R, with names of rows
    assert read_table(path).names == ("my a", "b", "z", "y")


def test_a_first_row_of_other_numbers_is_a_row(load, rows):
    for first in ([0, 1, 2, 4], [3, 2, 2, 0]):
        data = load(",".join(map(str, first)) + "\n" + csv(rows, index=False, header=False))
        assert len(data.split.train) + len(data.split.test) == 44 and data.notices == ()


@pytest.mark.parametrize("header", ["# a b c y", "# written by a colleague", "#a b c y"])
def test_a_comment_before_the_rows(load, rows, config, header):
    clean = load_regression(config())
    assert_same(load(header + "\n" + csv(rows, index=False, header=False, sep=" ")), clean)


# Fields that are written otherwise than numbers usually are.

@pytest.mark.parametrize("header", ["", "a\tb\tc\ty\n"])
@pytest.mark.parametrize("gaps", [{3: 0}, {3: 1, 7: 2}, {n: n % 4 for n in range(43)}])
def test_empty_fields_between_tabs_are_refused(load, rows, header, gaps):
    """With one gap in every row the lines are as long as each other, so that values would slip into other columns."""
    words = [[repr(value) for value in row] for row in rows.tolist()]
    for row, column in gaps.items():
        words[row][column] = ""
    line, column = min(gaps.items())
    with pytest.raises(UserError, match=rf"line {line + 1 + bool(header)} column {column + 1}: .* tabs is empty"):
        load(header + "".join("\t".join(row) + "\n" for row in words))


def test_a_column_that_only_its_header_fills_is_refused(load, rows):
    text = "a\tb\tc\ty\n" + "".join("\t".join([repr(row[0]), "", *map(repr, row[2:])]) + "\n" for row in rows.tolist())
    with pytest.raises(UserError, match="line 2 column 2: the field between tabs is empty"):
        load(text)


@pytest.mark.parametrize("separator, end", [("\t\t", "\n"), ("\t", "\t\n"), (" \t ", "\r\n")])
def test_tabs_that_only_align_columns(load, rows, config, separator, end):
    clean = load_regression(config())
    assert_same(load("".join(separator.join(map(repr, row)) + end for row in rows.tolist())), clean)


def test_truth_values_in_the_first_row_are_no_header(tiny_data):
    path = tiny_data / "truth.data"
    path.write_text("True,False\nFALSE,true\nTrue,True\n")
    table = read_table(path)
    assert table.names is None and table.values.tolist() == [[1, 0], [0, 1], [1, 1]]
    path.write_text("True,1\n0.5,2\n")
    with pytest.raises(UserError, match="a column of true and false holds no other values"):
        read_table(path)


@pytest.mark.parametrize("word", ["1_0", "\uff11\uff10", "\u0661\u0660"])
def test_numbers_that_only_python_reads(load, rows, word):
    """float() accepts 1_0 and the digits of other scripts."""
    text = csv(rows, index=False, header=False)
    with pytest.raises(UserError, match="line 44 column 1: .* is not a number"):
        load(text + f"{word},2,3,4\n")
    names = [f"{word}{letter}" for letter in ("", "_1", "_2", "_3")] if word == "1_0" else None
    if names:
        assert load(",".join(names) + "\n" + text).names == tuple(names)


@pytest.mark.parametrize("names", [["a", "a", "c", "y"], ["y", "b", "c", "y"]])
def test_columns_of_one_name_are_refused(load, rows, config, names):
    """The target may stand among the inputs under its own name."""
    clean = load_regression(config())
    with pytest.raises(UserError, match=f"line 1 names 2 columns '{names[0]}': give every column a name of its own"):
        load(csv(rows, names, index=False))
    assert_same(load("# the runs of the\n" + csv(rows, index=False, header=False, sep=" ")), clean)


@pytest.mark.parametrize("mark", [-999, -9999, -99999])
def test_marks_of_missing_values_are_said(load, rows, mark):
    marked = rows.copy()
    marked[[3, 8], 1] = mark
    note, = load(csv(marked, index=False)).notices
    assert f"column 2 ('b') holds {mark} in 2 of 43 rows and is {np.delete(rows[:, 1], [3, 8]).min():g} or more" in note
    marked[5, 1] = mark * 0.9  # such values occur
    assert load(csv(marked, index=False)).notices == ()


def test_a_header_of_another_length_is_refused(load, rows):
    with pytest.raises(UserError, match="line 1 names 3 columns, but the rows have 4"):
        load("a,b,y\n" + csv(rows, index=False, header=False))
    with pytest.raises(UserError, match="line 1 names 5 columns, but the rows have 4"):
        load("a,b,c,d,y\n" + csv(rows, index=False, header=False))


@pytest.mark.parametrize("name", ["target", "y", "label"])
def test_a_target_that_does_not_stand_last_is_said(load, rows, name):
    data = load(csv(rows, [name, "b", "c", "last"], index=False))
    assert f"the last column ('last') is the target, although column 1 is called '{name}'" in data.notices[0]


# Known sets.

def concrete():
    return DATASETS["concrete"].fetch()[0]


def target_first(values, columns=None):
    frame = pandas.DataFrame(np.roll(values, 1, axis=1), columns=columns)
    return frame.to_csv(index=False, header=columns is not None)


def test_the_named_target_of_a_known_set_is_found(config, tiny_data):
    clean = load_regression(config(dataset="concrete"))
    columns = ["Concrete compressive strength(MPa, megapascals) ", *"abcdefgh"]
    (tiny_data / "concrete.data").write_text(target_first(concrete(), columns))
    data = load_regression(config(dataset="concrete"))
    assert_same(data, clean)
    assert "column 1 ('Concrete compressive strength(MPa, megapascals)') is the target" in data.notices[0]


def test_a_known_set_with_its_target_first_is_refused(config, tiny_data):
    (tiny_data / "concrete.data").write_text(target_first(concrete()))
    with pytest.raises(UserError, match="the last column goes from 1 to 365, but the target of concrete, compressive "
                                        "strength, from 2.33 to 82.6: put the target last"):
        load_regression(config(dataset="concrete"))


@pytest.mark.parametrize("name, span, other", [
    # The target's range and that of another column: the last one if the target stands first, or a second target.
    ("protein", (0.0, 20.999), (15.228, 55.3009)), ("year_prediction", (1922, 2011), (-500.0, 600.0)),
    ("kin8nm", (0.040165, 1.458521), (-1.5707, 1.5707)), ("naval", (0.975, 1.0), (0.95, 1.0)),
    ("naval_compressor", (0.95, 1.0), (0.975, 1.0)), ("energy", (6.01, 43.1), (10.9, 48.03))])
def test_targets_are_told_from_other_columns_by_their_range(name, span, other):
    low, high = DATASETS[name].target_range
    slack = 0.1 * (high - low)
    assert abs(low - span[0]) < slack and abs(high - span[1]) < slack
    assert abs(low - other[0]) > slack or abs(high - other[1]) > slack


@pytest.mark.parametrize("name", ["concrete", "energy", "housing", "wine", "yacht_hydrodynamics", "power_plant"])
def test_real_files_with_the_target_first_are_refused(config, real_data, tiny_data, name):
    values = read_table(real_data / f"{name}.data").values
    (tiny_data / f"{name}.data").write_text(target_first(values))
    with pytest.raises(UserError, match=f"the last column goes from .*, but the target of {name}"):
        load_regression(config(dataset=name))


# Columns that are constant.

def write(tiny_data, rows, header=""):
    np.savetxt(str(tiny_data / "tiny.data"), rows, fmt="%.17g", header=header, comments="")


def test_spread_below_rounding_is_constant(config, tiny_data, rows):
    test = load_regression(config()).split.test
    rows[:, 1] = np.where(np.arange(43) % 2, 0.3, 0.1 + 0.2)
    rows[test[0], 1] = 0.31
    write(tiny_data, rows)
    data = load_regression(config())
    assert (data.train.x[:, 1] == 0).all() and (data.test.x[:, 1] == 0).all()


def test_spread_above_rounding_is_not_constant(config, tiny_data, rows):
    """Times in seconds, and a column of tiny numbers."""
    rows[:, 0], rows[:, 1] = 1.6e9 + 0.01 * rows[:, 0], 1e-140 * rows[:, 1]
    write(tiny_data, rows)
    data = load_regression(config())
    assert_allclose(data.train.x.std(axis=0), 1.0)


def test_a_target_that_is_constant_up_to_rounding_is_refused(config, tiny_data, rows):
    rows[:, -1] = np.where(np.arange(43) % 2, 0.3, 0.1 + 0.2)
    write(tiny_data, rows)
    with pytest.raises(UserError, match="the target varies by .* only, as rounding does"):
        load_regression(config())


def test_a_column_constant_in_training_is_zero_everywhere(config, tiny_data, rows):
    keys = dict(validation_fraction=0.2)
    split = load_regression(config(**keys)).split
    rows[:, 1] = 200.0
    rows[[split.test[0], split.train[-1]], 1] = 5000.0  # a test row and a validation row
    write(tiny_data, rows, "a temperature c y")
    data = load_regression(config(**keys))
    for part in (data.train, data.valid, data.test):
        assert (part.x[:, 1] == 0).all()
    assert data.notices == ("note: constant over the training rows, so 0 in every row: column 2 ('temperature') "
                            "(other values in 2 rows are not used)",)


def test_constant_columns_are_said_by_number_in_the_explanation_and_the_log(tiny_data, rows, config_file, capsys):
    rows[:, [0, 2]] = 7.0
    write(tiny_data, rows)
    said = "note: constant over the training rows, so 0 in every row: column 1, column 3"
    path = config_file(optimizer="sgd")
    train.main(["--config", str(path), "--explain"])
    assert said in capsys.readouterr().out
    train.main(["--config", str(path)])
    assert said in next(tiny_data.glob("experiments/tiny/*/log.txt")).read_text()


def test_the_words_of_a_comment_move_no_target(config, real_data, tmp_path):
    text = (real_data / "wine.data").read_text()
    (tmp_path / "wine.data").write_text("# wine quality data set of the repository red from Cortez et al\n" + text)
    moved, clean = (load_regression(config(dataset="wine", data_path=str(path))) for path in (tmp_path, real_data))
    assert_same(moved, clean)


# Test rows that also train.

def test_test_rows_that_also_train_are_counted(config, tiny_data, rows, config_file, capsys):
    split = load_regression(config()).split
    assert load_regression(config()).n_test_in_train == 0
    rows[split.test[:2]] = rows[split.train[:2]]
    rows[split.test[2], :-1] = rows[split.train[2], :-1]  # with another target
    write(tiny_data, rows)
    assert load_regression(config()).n_test_in_train == 2
    path = config_file(optimizer="sgd")
    train.main(["--config", str(path), "--explain"])
    assert "2 of the 4 test rows also stand among the training rows" in capsys.readouterr().out
    train.main(["--config", str(path)])
    assert json.loads(next(tiny_data.glob("experiments/tiny/*/result.json")).read_text())["n_test_in_train"] == 2


def test_zeros_of_both_signs_are_one_value():
    assert len(set(hash_of_rows(np.array([[0.0, 1.0], [-0.0, 1.0], [1.0, 0.0]])))) == 2


def test_validation_rows_are_counted_where_they_are_evaluated(config, tiny_data, rows):
    keys = dict(validation_fraction=0.25, evaluate_on="validation")
    split = load_regression(config(**keys)).split
    rows[split.train[-1]] = rows[split.train[0]]
    write(tiny_data, rows)
    data = load_regression(config(**keys))
    assert (data.n_valid_in_train, data.n_test_in_train) == (1, None)


def test_doubled_rows_of_wine(config, real_data):
    """Counts that a comparison of the rows themselves, value by value, gave."""
    counts = [load_regression(config(dataset="wine", data_path=str(real_data), seed=seed)).n_test_in_train
              for seed in (1, 2, 3, 4)]
    assert counts == [51, 38, 37, 46]
