"""Fixtures: small tables and runs."""
import numpy as np
import pandas
import pytest

from core.api import TrainedRun
from tests.predict.houses import train_on, write_table

SETTINGS = dict(target="y", row_id=None, missing=None, epoch=6, batch_size=16, epoch_rate=3, save_interval=3,
                protocol="random", test_fraction=0.3)


@pytest.fixture(scope="session")
def rows():
    """(X [90, 3], y [90]) of a linear function with noise."""
    rng = np.random.RandomState(2)
    X = rng.randn(90, 3) * [1.0, 10.0, 0.1] + [0.0, 5.0, 2.0]
    return X, 3.0 * X[:, 0] + 0.2 * X[:, 1] + 0.1 * rng.randn(90)


@pytest.fixture(scope="session")
def frame(rows):
    """The same rows as a DataFrame with a column of words and missing values."""
    X, y = rows
    frame = pandas.DataFrame(X.copy(), columns=["a", "b", "c"])
    frame["kind"] = np.where(y > 1, "high", "low")
    frame.loc[frame.index % 13 == 4, "c"] = np.nan
    return frame


@pytest.fixture(scope="session")
def folder(tmp_path_factory, frame, rows):
    """A folder with rows.csv, and runs on it."""
    place = tmp_path_factory.mktemp("api")
    write_table(place, frame.assign(y=rows[1]), "rows.csv")
    return place


@pytest.fixture(scope="session")
def roots(folder):
    """{method: folder of its run}."""
    return {method: train_on(folder / "rows.csv", method, optimizer=method, missing="mean",
                             **{name: value for name, value in SETTINGS.items() if name != "missing"})
            for method in ("ekfac", "kfac", "diag")}


@pytest.fixture
def run(roots):
    """A TrainedRun of noisy EK-FAC."""
    with_run = TrainedRun(roots["ekfac"])
    yield with_run
    with_run.close()
