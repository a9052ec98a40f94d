"""Which rows train and which test: each protocol as scikit-learn or its definition has it, or one line."""
import numpy as np
import pytest
from sklearn.model_selection import GroupShuffleSplit, KFold

import regression_baseline
from data_loader.regression import load_regression
from data_loader.splits import PROTOCOLS
from misc.config import Config
from misc.errors import UserError
from tests.tables.conftest import csv_of

N_ROWS = 47
COLUMNS = {"a": lambda row: row * row % 31, "who": lambda row: f"p{row * 7 % 9}",
           "part": lambda row: ["Train", "train ", "TEST", "training", "valid"][row % 5],
           "fold": lambda row: 10 * (row % 4), "y": lambda row: row * row % 13 + 0.25 * row}
TEXT = csv_of(COLUMNS, N_ROWS)
KEYS = {"published": {}, "standard": {}, "random": {}, "kfold": {}, "ordered": {}, "group": {"group": "who"},
        "column": {"split_column": "fold"}}


@pytest.fixture
def split(split_table):
    """Function (protocol, **overrides) -> Split of the table."""

    def make(protocol, **overrides):
        keys = dict(KEYS[protocol], protocol=protocol)
        keys.update(overrides)
        unused = [name for name in ("who", "part", "fold") if name not in keys.values()]
        return split_table(TEXT, drop=unused, **keys).split

    return make


@pytest.mark.parametrize("protocol", KEYS)
@pytest.mark.parametrize("seed", [1, 3])
def test_a_split_is_a_partition_that_can_be_repeated(split, protocol, seed):
    one, again = split(protocol, seed=seed), split(protocol, seed=seed)
    assert np.array_equal(one.train, again.train) and np.array_equal(one.test, again.test)
    assert sorted([*one.train, *one.test]) == list(range(N_ROWS)) and one.protocol == protocol
    other = split(protocol, seed=seed + 1)
    assert np.array_equal(one.test, other.test) == (protocol == "ordered")


@pytest.mark.parametrize("protocol", ["random", "kfold", "group", "column"])
def test_the_first_seed_has_the_first_split(split, protocol):
    assert np.array_equal(split(protocol, seed=1).train, split(protocol, split=0, seed=5).train)
    assert split(protocol, seed=3).index == 2


def test_random(split):
    order = np.random.RandomState(4).permutation(N_ROWS)
    one = split("random", split=4, test_fraction=0.3)
    assert one.train.tolist() == order[:33].tolist() and one.test.tolist() == order[33:].tolist()


@pytest.mark.parametrize("folds, index", [(10, 0), (10, 9), (5, 7), (47, 3), (2, 5)])
def test_kfold_is_that_of_scikit_learn(split, folds, index):
    one = split("kfold", folds=folds, split=index)
    parts = list(KFold(folds, shuffle=True, random_state=index // folds).split(np.zeros(N_ROWS)))
    assert one.test.tolist() == parts[index % folds][1].tolist()
    assert sorted(one.train) == parts[index % folds][0].tolist()


def test_every_row_is_tested_once_in_a_round_of_folds(split):
    rounds = [sorted(row for index in range(first, first + 4) for row in split("kfold", folds=4, split=index).test)
              for first in (0, 4)]
    assert rounds == [list(range(N_ROWS))] * 2
    assert split("kfold", folds=4, split=0).test.tolist() != split("kfold", folds=4, split=4).test.tolist()


def test_ordered(split):
    one = split("ordered", test_fraction=0.25)
    assert one.train.tolist() == list(range(35)) and one.test.tolist() == list(range(35, 47))


@pytest.mark.parametrize("fold, valid", [(0, range(28, 35)), (1, range(21, 28))])
def test_validation_rows_of_ordered_are_the_last_before_the_test_rows(split_table, fold, valid):
    loaded = split_table(TEXT, drop=["who", "part", "fold"], protocol="ordered", test_fraction=0.25,
                         validation_fraction=0.2, validation_fold=fold)
    assert loaded.valid_rows.tolist() == list(valid)
    assert sorted([*loaded.train_rows, *valid]) == list(range(35))
    assert loaded.train_rows.tolist() != sorted(loaded.train_rows)  # in minibatches they are mixed


@pytest.mark.parametrize("index", range(5))
def test_groups_are_never_on_both_sides(split, index):
    one = split("group", split=index, test_fraction=0.3)
    groups = np.array([COLUMNS["who"](row) for row in range(N_ROWS)])
    assert not set(groups[one.train]) & set(groups[one.test])
    chooser = GroupShuffleSplit(1, test_size=0.3, random_state=index)
    train, test = next(chooser.split(np.zeros(N_ROWS), groups=groups))
    assert one.test.tolist() == test.tolist() and sorted(one.train) == train.tolist()


def test_a_group_may_be_the_row_id(split_table):
    loaded = split_table(TEXT, protocol="group", group="who", row_id="who", drop=["part", "fold"])
    assert not set(loaded.ids[loaded.split.train]) & set(loaded.ids[loaded.split.test])


def test_a_column_of_words(split_table):
    loaded = split_table(TEXT, protocol="column", split_column="part", drop=["who", "fold"])
    kinds = np.arange(N_ROWS) % 5
    assert sorted(loaded.train_rows) == np.flatnonzero(np.isin(kinds, [0, 1, 3])).tolist()
    assert loaded.split.test.tolist() == np.flatnonzero(kinds == 2).tolist()
    assert loaded.valid_rows.tolist() == np.flatnonzero(kinds == 4).tolist()
    assert [column.name for column in loaded.transform.columns] == ["a"]


@pytest.mark.parametrize("index", range(4))
def test_a_column_of_folds(split, index):
    one = split("column", split=index)
    assert one.test.tolist() == list(range(index, N_ROWS, 4)) and one.index == index


def test_validation_rows_of_a_column_are_evaluated(table_config):
    data = load_regression(table_config(TEXT, protocol="column", split_column="part", drop=["who", "fold"],
                                        evaluate_on="validation"))
    assert data.test is None and data.valid.ids.tolist() == list(range(5, N_ROWS + 1, 5))


# Test rows from a file.

def test_a_file_of_test_rows(split_table, write):
    lines = TEXT.splitlines()
    columns = ["y", "part", "who", "a", "more"]  # in another order, without a column that is not used
    other = csv_of({name: COLUMNS.get(name, lambda row: "x") for name in columns}, 11)
    path = write(other, "test.csv")
    loaded = split_table("\n".join(lines[:31]), protocol="file", test_file=str(path), drop=["fold", "part"],
                         categories=["who"])
    assert loaded.split.test.tolist() == list(range(30, 41)) and sorted(loaded.split.train) == list(range(30))
    assert np.array_equal(loaded.inputs[30:], loaded.inputs[:11])
    assert loaded.target.iloc[30:].tolist() == loaded.target.iloc[:11].tolist()


@pytest.mark.parametrize("other, keys, message", [
    ("a,who\n1,x\n", {}, "TEST has no column 'y', which FILE has"),
    ("1,x,2\n", {}, "FILE and TEST: only one of the two names its columns"),
    ("a,who,y\nx,p,2\n", {}, "column 1 ('a') holds numbers in FILE and words in the other file"),
    ("a,y\n1,2\n", {"row_id": "who"}, "TEST has no column 'who', which FILE has"),
    ("a,who,y\n1,p,\n", {}, "TEST line 2 column 3: the target is missing in 1 row: remove"),
    ("a,who,y\n,p,1\n", {}, "TEST line 2 column 1: the field is empty; remove the row"),
    ("", {}, "TEST is empty"), (None, {}, "test_file TEST: there is no such file")])
def test_files_of_test_rows_that_are_refused(refused, write, tmp_path, other, keys, message):
    path = tmp_path / "test.csv"
    if other is not None:
        write(other, "test.csv")
    found = refused(TEXT, protocol="file", test_file=str(path), drop=["part", "fold"], **keys)
    assert message in found.replace(str(path), "TEST").replace(str(tmp_path / "houses.csv"), "FILE")


# Refusals.

@pytest.mark.parametrize("keys, message", [
    (dict(protocol="ordered", split=1), "split 1 does not exist: protocol ordered has one split, number 0"),
    (dict(protocol="standard", split=20), "split 20 does not exist: the standard protocol has 20 here"),
    (dict(protocol="random", seed=0), "protocol random with seed 0 has no default split: set split"),
    (dict(protocol="kfold", folds=48), "folds 48: there are 47 rows only"),
    (dict(protocol="column", split_column="fold", split=4), "split 4 does not exist: split_column holds 4 folds"),
    (dict(protocol="column", split_column="part", split=1), "split 1 does not exist: split_column holds no folds"),
    (dict(protocol="column", split_column="part", validation_fraction=0.1), "the split column has validation rows of"),
    (dict(protocol="column", split_column="who"), "split_column holds 'p0', 'p1', 'p2', 'p3', 'p4', 'p5': it must"),
    (dict(protocol="column", split_column="fold", evaluate_on="validation"), "leaves no row to evaluate on: set a"),
    (dict(protocol="group", group="whom"), "group 'whom': "),
    (dict(protocol="column", split_column=9), "split_column 9"),
    (dict(protocol="ordered", test_fraction=0.001), "the split leaves 47 rows to train and 0 to test"),
    (dict(protocol="random", test_fraction=0.999), "the split leaves 0 rows to train and 47 to test"),
])
def test_refusals(refused, keys, message):
    unused = [name for name in ("who", "part", "fold") if name not in keys.values()]
    assert message in refused(TEXT, drop=unused, **keys)


@pytest.mark.parametrize("column, make, message", [
    ("who", lambda row: "x", "protocol group needs at least two groups"),
    ("who", lambda row: "x" if row else "", "houses.csv line 2 column 2: the field is empty, but column 2 ('who')"),
])
def test_groups_that_are_refused(refused, column, make, message):
    text = csv_of(dict(COLUMNS, **{column: make}), N_ROWS)
    assert message in refused(text, protocol="group", group="who", drop=["part", "fold"])


@pytest.mark.parametrize("make, message", [
    (lambda row: "train", "the split leaves 47 rows to train and 0 to test"), (lambda row: 3, "holds 1 fold,"),
    (lambda row: "" if row == 5 else "train", "houses.csv line 7 column 3: the field is empty, but column 3 ('part')")])
def test_split_columns_that_are_refused(refused, make, message):
    text = csv_of(dict(COLUMNS, part=make), N_ROWS)
    assert message in refused(text, protocol="column", split_column="part", drop=["who", "fold"])


@pytest.mark.parametrize("keys, message", [
    (dict(protocol="group"), "protocol group and the key group need each other"),
    (dict(group="who"), "protocol group and the key group need each other"),
    (dict(protocol="column"), "protocol column and the key split_column need each other"),
    (dict(protocol="file"), "protocol file and the key test_file need each other"),
    (dict(protocol="kfold", folds=1), "folds: input should be greater than or equal to 2")])
def test_keys_that_need_each_other(keys, message):
    with pytest.raises(UserError, match=message):
        Config.from_dict(dict(keys, dataset="houses", optimizer="sgd", model_name="linear"))


def test_repeated_runs_offer_every_protocol_that_needs_no_key():
    offered = []
    for protocol in PROTOCOLS:
        try:
            args = regression_baseline.parse_args(["--config", "x.json", "--protocol", protocol])
            offered.append(args.protocol)
        except SystemExit:
            if protocol == "all":  # it leaves no row to test on
                continue
            with pytest.raises(UserError, match="need each other"):
                Config.from_dict(dict(dataset="houses", optimizer="sgd", model_name="linear", protocol=protocol))
    assert offered == ["published", "standard", "random", "kfold", "ordered"]
