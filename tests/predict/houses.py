"""A table as people have it, runs that are trained on it, and predictions of these."""
import io
import json

import numpy as np
import pandas

import predict
import train
from misc.config import Config
from misc.folders import run_folder
from tests.conftest import REAL_DATA

NUMBERS = ["crime", "rooms", "age"]
COLUMNS = ["house", "crime", "river", "value", "rooms", "zone", "age"]  # the target in the middle
SETTINGS = dict(target="value", row_id="house", missing="median", optimizer="kfac", model_name="ffn", hidden=[6],
                epoch=6, batch_size=20, epoch_rate=3, save_interval=3, train_particles=2, test_particles=7, alpha=0.02,
                beta=0.1, omega=0.2, noise_prior_shape=30.0, noise_prior_rate=10.0)


def houses(n_rows=120):
    """Returns a table of houses: housing's first rows where there is such a file, or else random ones."""
    path = REAL_DATA / "housing.data"
    if path.is_file():
        values = np.loadtxt(str(path))[:n_rows]
        crime, rooms, age, zone, value = values[:, [0, 5, 6, 8, 13]].T
    else:
        rng = np.random.RandomState(4)
        crime, rooms, age = rng.gamma(1.0, 1.0, n_rows), 6 + rng.randn(n_rows), 100 * rng.rand(n_rows)
        zone, value = 1.0 + rng.randint(4, size=n_rows), 10 * rooms - 30 - crime + rng.randn(n_rows)
    frame = pandas.DataFrame({"crime": crime, "rooms": rooms, "age": age, "value": value})
    frame["house"] = [f"{number:03d}" for number in range(7, 7 + n_rows)]  # 007 is no number
    frame["river"] = np.where(np.arange(n_rows) % 7 == 0, "yes", "no")
    frame["zone"] = [f"z{min(int(number), 4)}" for number in zone]
    frame.loc[frame.index % 11 == 3, "age"] = np.nan
    return frame[COLUMNS]


def write_table(folder, frame, name="houses.csv", **options):
    path = folder / name
    frame.to_csv(str(path), **dict({"index": False}, **options))
    return path


def train_on(path, name, **settings):
    """Trains on a table and returns the run's folder."""
    values = dict(SETTINGS, dataset=path.name.split(".")[0], data_file=str(path), exp_name=name,
                  experiments_path=str(path.parent / "experiments"))
    values.update(settings)
    values = {key: value for key, value in values.items() if value is not None}
    config = path.parent / f"{name}.json"
    config.write_text(json.dumps(values))
    train.main(["--config", str(config)])
    return run_folder(Config.from_dict(values)).root


def read_csv(path):
    """Returns {column: array}, floats to the last bit; the column that identifies the rows is text."""
    text = path if hasattr(path, "read") else str(path)
    frame = pandas.read_csv(text, dtype={"house": str, "row": int}, float_precision="round_trip")
    return {name: frame[name].to_numpy() for name in frame.columns}


def predicted(capsys, run, rows, *flags):
    """Returns ({column: array}, stderr) of predict.py for a file of rows, read from standard output."""
    capsys.readouterr()
    predict.main([str(run), str(rows), *map(str, flags)])
    done = capsys.readouterr()
    return read_csv(io.StringIO(done.out)), done.err


def assert_equal(one, other):
    """Asserts that two files of predictions are the same to the last bit."""
    assert list(one) == list(other)
    for name in one:
        assert (one[name] == other[name]).all(), name


def filled(n_fields, n_rows):
    """Returns the note of predict.py about ages that are missing."""
    return (f"note: {n_fields} missing fields of {n_fields} of {n_rows} rows are filled (missing median): "
            f"column 7 ('age') {n_fields}\n")
