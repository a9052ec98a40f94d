"""Splits by class of a table of classes: test rows, folds and validation rows with the same share of each class."""
import warnings

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

from data_loader.splits import hold_out, split_hash
from data_loader.stratified import hold_out_by_class, stratified_split
from data_loader.table_classes import load_class_table
from tests.tables.conftest import csv_of

N_ROWS = 90
NAMES = ["rare", "10", "9", "common"]
SIZES = {"rare": 3, "10": 12, "9": 25, "common": 50}
WORDS = [name for name in NAMES for _ in range(SIZES[name])]
WORDS = [WORDS[row] for row in np.random.RandomState(0).permutation(N_ROWS)]
COLUMNS = {"a": lambda row: row * row % 31 + 0.5, "part": lambda row: ["train", "test", "train"][row % 3],
           "own": lambda row: ["train", "test", "valid"][row % 3], "kind": lambda row: WORDS[row]}
TEXT = csv_of(COLUMNS, N_ROWS)
ORDER = ["9", "10", "common", "rare"]  # of the classes: numbers first
LABELS = np.array([ORDER.index(word) for word in WORDS])
OF_CLASS = np.bincount(LABELS)


@pytest.fixture
def load(table_config):
    """Function (**overrides) -> data of the table of classes."""

    def make(**overrides):
        keys = dict({"protocol": "random", "mode": "classification"}, **overrides)
        unused = [name for name in ("part", "own") if name != keys.get("split_column")]
        return load_class_table(table_config(TEXT, target="kind", drop=unused, **keys))

    return make


def counts(data, rows):
    assert data.classes == ORDER
    return np.bincount(LABELS[rows], minlength=len(ORDER))


@pytest.mark.parametrize("test_fraction", [0.1, 0.2, 0.35])
@pytest.mark.parametrize("split", [0, 3])
def test_random_test_rows_have_the_share_of_each_class(load, split, test_fraction):
    data = load(stratified=True, split=split, test_fraction=test_fraction)
    expected = stratified_split(LABELS, split, test_fraction)
    assert data.split.protocol == "stratified" and data.split.index == split
    assert data.split.train.tolist() == expected.train.tolist() and data.split.test.tolist() == expected.test.tolist()
    assert data.split_hash == split_hash([expected]) != load(split=split, test_fraction=test_fraction).split_hash
    assert (np.abs(counts(data, data.split.test) - test_fraction * OF_CLASS) < 1 + 1e-9).all()
    assert data.test.y.tolist() == LABELS[data.split.test].tolist()
    assert data.train.ids.tolist() == (data.split.train + 1).tolist()


@pytest.mark.parametrize("folds, index", [(5, 0), (5, 7), (10, 9), (50, 3)])
def test_kfold_is_that_of_scikit_learn(load, folds, index):
    data = load(stratified=True, protocol="kfold", folds=folds, split=index)
    chooser = StratifiedKFold(folds, shuffle=True, random_state=index // folds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes with fewer rows than folds
        parts = list(chooser.split(np.zeros(N_ROWS), WORDS))
    assert data.split.test.tolist() == parts[index % folds][1].tolist()
    assert sorted(data.split.train) == parts[index % folds][0].tolist()
    assert (data.split.protocol, data.split.index) == ("stratified_kfold", index)
    assert load(protocol="kfold", folds=folds, split=index).split.protocol == "kfold"


def test_the_seed_chooses_the_fold(load):
    assert load(stratified=True, protocol="kfold", folds=5, seed=3).split.index == 2
    tests = [row for index in range(5) for row in load(stratified=True, protocol="kfold", folds=5,
                                                       split=index).split.test]
    assert sorted(tests) == list(range(N_ROWS))


def test_no_warning_of_scikit_learn_is_heard(load, recwarn):
    load(stratified=True, protocol="kfold", folds=10)
    assert not list(recwarn)


@pytest.mark.parametrize("protocol", ["random", "kfold"])
@pytest.mark.parametrize("fold", [0, 1])
def test_validation_rows_have_the_share_of_each_class(load, protocol, fold):
    keys = dict(stratified=True, protocol=protocol, validation_fraction=0.2, validation_fold=fold)
    data = load(**keys)
    train, valid = hold_out_by_class(LABELS, data.split.train, 0.2, fold)
    assert (data.train.ids - 1).tolist() == train.tolist() and (data.valid.ids - 1).tolist() == valid.tolist()
    assert (np.abs(counts(data, valid) - 0.2 * counts(data, data.split.train)) <= 1).all()
    assert load(**dict(keys, evaluate_on="validation")).test is None


def test_a_split_column_keeps_its_test_rows(load):
    keys = dict(protocol="column", split_column="part", validation_fraction=0.25)
    plain, by_class = load(**keys), load(stratified=True, **keys)
    assert plain.split_hash == by_class.split_hash and by_class.split.protocol == "column"
    assert (plain.valid.ids - 1).tolist() == hold_out(plain.split.train, 0.25)[1].tolist()
    assert (by_class.valid.ids - 1).tolist() == hold_out_by_class(LABELS, plain.split.train, 0.25)[1].tolist()


def test_without_the_key_nothing_changes(load):
    """The hash is that of plain random rows, whatever the classes."""
    order = np.random.RandomState(4).permutation(N_ROWS)
    data = load(split=4, test_fraction=0.3, validation_fraction=0.1)
    assert data.split.train.tolist() == order[:63].tolist() and data.split.protocol == "random"
    assert (data.valid.ids - 1).tolist() == order[57:63].tolist()


@pytest.mark.parametrize("keys, message", [
    ({"protocol": "published"}, "protocol published chooses rows without regard to their classes: set protocol to "
                                "random or kfold, or remove stratified"),
    ({"protocol": "standard"}, "protocol standard chooses rows without regard"),
    ({"protocol": "ordered"}, "protocol ordered chooses rows without regard"),
    ({"protocol": "group", "group": "part"}, "protocol group chooses rows without regard"),
    ({"protocol": "column", "split_column": "part"}, "protocol column has test rows of its own and no validation rows "
                                                     "are chosen: set validation_fraction, or remove stratified"),
    ({"protocol": "column", "split_column": "own", "validation_fraction": 0.1}, "rows of its own: leave it out"),
    ({"protocol": "kfold", "folds": 51}, "folds 51: with stratified, some class must have a row for each of them, and "
                                         "none has more than 50 rows"),
    ({"mode": "regression"}, "stratified belongs to mode classification"),
])
def test_what_has_no_effect_is_refused(refused, keys, message):
    unused = [name for name in ("part", "own") if name not in keys.values()]
    assert message in refused(TEXT, class_target=True, **dict(
        {"mode": "classification", "target": "kind", "drop": unused, "stratified": True}, **keys))
