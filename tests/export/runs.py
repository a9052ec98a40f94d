"""Runs to export: on a table with everything that is encoded, and on digits."""
import json

import numpy as np
import pandas
import pytest

import train
from misc.config import Config
from misc.folders import run_folder
from tests.predict.houses import SETTINGS as HOUSES
from tests.predict.houses import houses

TABLE = dict(HOUSES, dates="expand", missing="indicator", drop=["tax"], epoch=2, epoch_rate=2, save_interval=2)
NUMBERS = {
    "gaussian": dict(optimizer="ekfac", model_name="ffn50", hidden=None),
    "student": dict(model_name="ffn50", hidden=None, likelihood="student_t", noise_update="conjugate",
                    predictive_noise="leave_one_out", learning_rate=0.1, seed=3),
    "heteroscedastic": dict(likelihood="heteroscedastic", noise_prior_shape=None, noise_prior_rate=None,
                            optimizer="kfac", activation="elu"),
    "point": dict(optimizer="adam", activation="tanh"),
    "targets": dict(target=["value", "tax"], drop=None, noise_covariance="full", noise_update="conjugate",
                    learning_rate=0.1, noise_prior_shape=None, noise_prior_rate=None, optimizer="bbb"),
}
CLASSES = {
    "classes": dict(mode="classification", target="river", drop=["value", "tax"], model_name="ffn50", hidden=None,
                    batch_norm=True, alpha=None, beta=None, omega=None, noise_prior_shape=None, noise_prior_rate=None,
                    learning_rate=0.01, kl_clip=0.01, TCov=3, TEigen=6, TScale=3),
}
IMAGES = {
    "resnet20": dict(model_name="resnet20", width=0.15, batch_norm=True),
    "vgg11": dict(model_name="vgg11", width=0.1, batch_norm=True),
    "lenet": dict(model_name="lenet", width=0.2, batch_norm=True),
}
NAMES_OF_IMAGES = [pytest.param("resnet20", marks=pytest.mark.slow), pytest.param("vgg11", marks=pytest.mark.slow),
                   "lenet"]  # graphs of the others take up to a minute
DIGITS = dict(mode="classification", dataset="digits", optimizer="diag", epoch=1, batch_size=200, learning_rate=0.01,
              kl_clip=0.01, train_particles=1, test_particles=3, TCov=3, split=1)


def table(n_rows=120):
    """Numbers, words and dates, some of them missing."""
    frame = houses(n_rows)
    frame.loc[frame.index % 13 == 5, "zone"] = None
    frame["sold"] = [str(np.datetime64("2019-11-28") + 5 * number) for number in range(n_rows)]
    frame["tax"] = 0.1 * frame["value"] + frame["rooms"]
    return frame


def new_rows():
    """Rows of which no run has seen all values, without the targets."""
    frame = table().iloc[20:60].drop(columns=["value", "tax"]).assign(river="no", age=lambda rows: rows.age * 1.1)
    frame.loc[frame.index[::9], "river"] = "yes"
    frame.loc[frame.index[3], "zone"] = "elsewhere"
    return frame


def train_on(folder, name):
    """Trains the run of this name in the folder; returns its own folder."""
    if name in IMAGES:
        values = dict(DIGITS, **IMAGES[name], data_path=str(folder))
    else:
        path = folder / "homes.csv"
        table().to_csv(str(path), index=False)
        values = dict(TABLE, dataset="homes", data_file=str(path))
        values.update({**NUMBERS, **CLASSES}[name])
    values = {key: value for key, value in values.items() if value is not None}
    values.update(exp_name=name, experiments_path=str(folder / "experiments"))
    (folder / f"{name}.json").write_text(json.dumps(values))
    train.main(["--config", str(folder / f"{name}.json")])
    return run_folder(Config.from_dict(values)).root


def read(path):
    """The file of predictions as {column: array}."""
    frame = pandas.read_csv(str(path), float_precision="round_trip")
    return {name: frame[name].to_numpy() for name in frame.columns}
