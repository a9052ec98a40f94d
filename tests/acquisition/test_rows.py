"""Divisions into labelled rows, pool and test rows, and what the training sees of them."""
import numpy as np
import pytest

from core.acquisition.rows import Rows, Sizes, divide, read_table, separated, starting_rows
from core.training import run
from data_loader.splits import Request
from misc.errors import UserError
from tests.tables.conftest import csv_of

SIZES = Sizes(start=8, test=10, steps=2, batch=1)


def test_rows_are_divided_by_their_number_the_seed_and_the_repeat(config):
    one = config()
    rows, _ = divide(one, read_table(one), 1, SIZES)
    assert [len(part) for part in rows] == [8, 25, 10]
    assert sorted(np.concatenate(rows)) == list(range(43)) and (np.diff(rows.pool) > 0).all()
    other = config(optimizer="kfac", hidden=[3], epoch=1, protocol="standard", kl=0.5)
    same, _ = divide(other, read_table(other), 1, SIZES)
    assert all((a == b).all() for a, b in zip(rows, same))
    fewer = starting_rows(Request(43, 0), 1, 1, SIZES._replace(start=3))
    assert (fewer.test == rows.test).all() and (fewer.labelled == rows.labelled[:3]).all()
    for seed, repeat in ((1, 2), (2, 1)):
        assert set(starting_rows(Request(43, 0), seed, repeat, SIZES).test) != set(rows.test)


def test_chosen_rows_move_from_the_pool():
    rows = Rows(np.array([4, 1]), np.array([0, 3, 5]), np.array([2])).with_labels(np.array([5, 0]))
    assert rows.labelled.tolist() == [4, 1, 5, 0] and rows.pool.tolist() == [3] and rows.test.tolist() == [2]
    with pytest.raises(AssertionError):
        rows.with_labels(np.array([2]))


def test_the_labelled_rows_alone_standardise(config, tiny_data):
    values, one = np.loadtxt(str(tiny_data / "tiny.data")), config(optimizer="sgd")
    rows, _ = divide(one, read_table(one), 1, SIZES)
    rows = rows.with_labels(rows.pool[3:5])
    data, pool = separated(run.plan(one, given=read_table(one), splitter=lambda request: rows.split(1)).data, 10)
    known = values[rows.labelled]
    np.testing.assert_allclose(data.train.x, (known - known.mean(axis=0))[:, :-1] / known.std(axis=0)[:-1])
    np.testing.assert_allclose(pool, (values[rows.pool] - known.mean(axis=0))[:, :-1] / known.std(axis=0)[:-1])
    assert data.target_mean == pytest.approx(known[:, -1].mean()) and len(data.train.y) == 10
    np.testing.assert_allclose(data.target_mean + data.target_std * data.test.y, values[rows.test, -1])
    assert data.test.ids.tolist() == (rows.test + 1).tolist() and len(data.test.x) == 10


def test_the_first_rows_include_every_class(rng):
    labels = np.repeat([0, 1, 2], [55, 3, 2])
    for repeat in range(20):
        request = Request(60, 0, labels=labels)
        rows = starting_rows(request, 1, repeat, Sizes(4, 5, 2, 1))
        assert set(labels[np.setdiff1d(np.arange(60), rows.test)]) == set(labels[rows.labelled])
        assert sorted(np.concatenate(rows)) == list(range(60))
    with pytest.raises(UserError, match=r"--start 2: there are 3 classes, .* give at least 3"):
        starting_rows(Request(60, 0, labels=labels), 1, 3, Sizes(2, 5, 2, 1))


def test_given_test_rows(config, tmp_path):
    columns = {"a": lambda row: row % 7, "b": lambda row: (3 * row) % 11, "y": lambda row: row % 5 + 0.1 * row}
    for name, n_rows in (("train.csv", 20), ("test.csv", 12)):
        (tmp_path / name).write_text(csv_of(columns, n_rows))
    made = config(data_file=str(tmp_path / "train.csv"), test_file=str(tmp_path / "test.csv"), protocol="file")
    rows, _ = divide(made, read_table(made), 1, SIZES)
    assert len(rows.test) == 10 and rows.test.min() >= 20
    assert sorted(np.concatenate([rows.labelled, rows.pool])) == list(range(20))
    with pytest.raises(UserError, match="--test 13: the data have 12 test rows of their own"):
        divide(made, read_table(made), 1, SIZES._replace(test=13))
    with pytest.raises(UserError, match="^20 training rows are too few: 8 labelled rows and 13 steps of 1 take 21;"):
        divide(made, read_table(made), 1, SIZES._replace(steps=13))


def test_too_few_rows():
    starting_rows(Request(20, 0), 1, 1, SIZES)
    with pytest.raises(UserError, match="^19 rows are too few: 8 labelled rows, 10 test rows and 2 steps of 1 take 20"):
        starting_rows(Request(19, 0), 1, 1, SIZES)
