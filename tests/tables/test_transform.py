"""From columns to inputs: equal to scikit-learn's ColumnTransformer, fitted on the training rows."""
import numpy as np
import pandas
import pytest
from numpy.testing import assert_allclose
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from data_loader.regression import load_regression
from data_loader.table_classes import load_class_table
from data_loader.tables import load_split_table

N_ROWS = 120
NUMBERS, WORDS = ["area", "rent", "age"], ["colour", "town"]


@pytest.fixture
def frame(rng):
    """Houses with missing values in two columns of numbers and one of words, and a town that occurs once."""
    made = pandas.DataFrame({
        "area": 50.0 + 1e4 * rng.rand(N_ROWS), "colour": rng.choice(["red", "green", "blue"], N_ROWS).astype(object),
        "rent": rng.standard_normal(N_ROWS) * 1e-3, "town": rng.choice(["A", "B b", "Ü"], N_ROWS).astype(object),
        "age": rng.randint(0, 90, N_ROWS).astype(float), "price": rng.standard_normal(N_ROWS)})
    for column, share in (("area", 0.1), ("rent", 0.03), ("colour", 0.1)):
        made.loc[rng.rand(N_ROWS) < share, column] = np.nan
    return made


def expected(frame, train, missing):
    """The inputs by scikit-learn, column after column of the table."""
    strategy = "median" if missing == "median" else "mean"
    words = frame[WORDS].fillna("(none)").astype(object)
    steps = []
    for name in frame.columns[:-1]:
        if name in NUMBERS:
            steps.append((name, make_pipeline(SimpleImputer(strategy=strategy), StandardScaler()), [name]))
        else:
            levels = [sorted(frame[name].iloc[train].dropna().unique())]
            steps.append((name, OneHotEncoder(categories=levels, handle_unknown="ignore"), [name]))
        if missing == "indicator" and frame[name].iloc[train].isna().any():
            steps.append((f"{name} is missing", "passthrough", [f"{name} is missing"]))
    marks = frame.isna().astype(float).add_suffix(" is missing")
    columns = pandas.concat([frame[NUMBERS], words, marks], axis=1)
    return ColumnTransformer(steps, sparse_threshold=0.0).fit(columns.iloc[train]).transform(columns).astype(float)


def test_the_marks_of_missing_numbers_are_those_of_scikit_learn(table_config, frame):
    """SimpleImputer's add_indicator puts them after all numbers."""
    data = load_regression(table_config(frame[[*NUMBERS, "price"]].to_csv(index=False), missing="indicator"))
    imputer = SimpleImputer(add_indicator=True).fit(frame[NUMBERS].iloc[data.split.train])
    names = data.transform.names
    marks = [names.index(f"{name} is missing") for name in ("area", "rent")]
    assert len(names) == 5
    assert np.array_equal(data.test.x[:, marks], imputer.transform(frame[NUMBERS])[data.split.test][:, -2:])


@pytest.mark.parametrize("missing", ["mean", "median", "indicator"])
@pytest.mark.parametrize("mode", ["regression", "classification"])
def test_the_transform_equals_that_of_scikit_learn(table_config, frame, missing, mode):
    load = {"regression": load_regression, "classification": load_class_table}[mode]
    if mode == "classification":
        frame["price"] = np.where(frame["price"] > 0, "high", "low")
    keys = dict(mode=mode, missing=missing, protocol="random", split=0)
    once = load(table_config(frame.to_csv(index=False), **keys)).split
    frame.loc[once.test[0], "town"] = "elsewhere"  # no training row is there
    data = load(table_config(frame.to_csv(index=False), **keys))
    train = data.split.train
    whole = expected(frame, train, missing)
    assert np.array_equal(data.split.test, once.test) and data.train.x.shape[1] == whole.shape[1]
    for part, rows in ((data.train, train), (data.test, data.split.test)):
        assert_allclose(part.x, whole[rows], rtol=0, atol=1e-12)
    towns = [position for position, name in enumerate(data.transform.names) if name.startswith("town=")]
    assert len(towns) == 3 and (data.test.x[0, towns] == 0).all()
    assert any("column 4 ('town'): 'elsewhere' did not occur in the training rows: encoded as none of" in notice
               for notice in data.notices)


@pytest.mark.parametrize("missing", ["mean", "median"])
def test_numbers_alone_are_filled(table_config, frame, missing):
    data = load_regression(table_config(frame[[*NUMBERS, "price"]].to_csv(index=False), missing=missing))
    pipeline = make_pipeline(SimpleImputer(strategy=missing), StandardScaler())
    pipeline.fit(frame[NUMBERS].iloc[data.split.train])
    for part, rows in ((data.train, data.split.train), (data.test, data.split.test)):
        assert_allclose(part.x, pipeline.transform(frame[NUMBERS])[rows], rtol=0, atol=1e-12)


def test_numbers_as_categories(table_config):
    text = "floor,y\n" + "".join(f"{row % 3 * 10},{row * row % 17}\n" for row in range(30))
    loaded = load_split_table(table_config(text, categories=["floor"]))
    assert loaded.transform.names == ["floor=0", "floor=10", "floor=20"]
    assert np.array_equal(loaded.inputs, np.eye(3)[np.arange(30) % 3])
    assert not loaded.transform.scaled.any()


def test_other_rows_are_filled_with_the_training_rows_values(table_config, frame):
    """Also where a column had no missing value in training."""
    loaded = load_split_table(table_config(frame.to_csv(index=False), missing="median"))
    one = pandas.DataFrame({0: [np.nan], 1: ["red"], 2: [0.5], 3: [None], 4: [np.nan]})
    row = dict(zip(loaded.transform.names, loaded.transform.encode(one)[0][0]))
    train = frame.iloc[loaded.train_rows]
    assert row["area"] == train["area"].median() and row["age"] == train["age"].median()
    assert [row[f"town={name}"] for name in ("A", "B b", "Ü")] == [0, 0, 0] and row["colour=red"] == 1


@pytest.mark.parametrize("n_rows, n_words", [(40, 40), (4000, 1200)])
def test_too_many_categories(refused, n_rows, n_words):
    text = "a,word,y\n" + "".join(f"{row % 7},w{row % n_words},{row * row % 17}\n" for row in range(n_rows))
    message = refused(text, protocol="ordered", test_fraction=0.1)
    n_train = n_rows * 9 // 10
    assert (f"houses.csv: column 2 ('word') holds {min(n_train, n_words)} different words in {n_train} training "
            "rows, such as 'w0': make it the row_id, list it in drop, or in categories if it is one") in message


def test_the_hash_of_a_table_of_words_is_the_same_everywhere(table_config):
    """It was made with pandas 1.3 and 3.1, which mark missing words differently."""
    text = "colour,y\n" + "".join(f"{'red' if row % 3 else ''},{row * row % 17}\n" for row in range(30))
    assert load_split_table(table_config(text, missing="mean")).rows_hash == "45f43cd0ca7a8c35"
