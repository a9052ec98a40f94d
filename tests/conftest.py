"""Fixtures: a fresh graph per test, seeded numpy, a tiny data set on disk, settings for it."""
import json
import pathlib

import numpy as np
import pytest

from misc import backend

tf = backend.prepare()

from misc.config import Config  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
REAL_DATA = ROOT.parent / "shared" / "data" / "uci"


@pytest.fixture
def session():
    """A session on a fresh graph; feed it float64."""
    with tf.Graph().as_default() as graph, tf.Session(graph=graph) as sess:
        yield sess


@pytest.fixture
def rng():
    return np.random.RandomState(0)


@pytest.fixture
def tiny_data(tmp_path):
    """A folder with tiny.data: 43 rows of 3 inputs and a noisy non-linear target."""
    rng = np.random.RandomState(3)
    x = rng.randn(43, 3)
    y = np.sin(2 * x[:, 0]) + x[:, 1] - 0.5 * x[:, 2] + 0.1 * rng.randn(43)
    np.savetxt(str(tmp_path / "tiny.data"), np.column_stack([x, 5.0 + 3.0 * y]))
    return tmp_path


@pytest.fixture
def settings(tiny_data):
    """Function (**overrides) -> dict of settings for a seconds-long run on tiny.data."""

    def make(**overrides):
        values = dict(
            dataset="tiny", data_path=str(tiny_data), experiments_path=str(tiny_data / "experiments"),
            optimizer="ekfac", model_name="ffn", hidden=[4], epoch=4, batch_size=5, test_particles=7,
            train_particles=2, epoch_rate=2, save_interval=2, alpha=0.02, beta=0.1, omega=0.2,
            Teigen=3, re_init_iters=6,
        )
        values.update(overrides)
        if values["model_name"] != "ffn":
            values.pop("hidden")
        return values

    return make


@pytest.fixture
def config(settings):
    """Function (**overrides) -> Config for a seconds-long run on tiny.data."""
    return lambda **overrides: Config.from_dict(settings(**overrides))


@pytest.fixture
def real_data():
    """Folder of the real UCI files; skips where they are not."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real data in {REAL_DATA.relative_to(ROOT.parent)}")
    return REAL_DATA


@pytest.fixture
def config_file(settings, tmp_path):
    """Function (**overrides) -> path of a config file with `settings`."""

    def make(**overrides):
        path = tmp_path / "config.json"
        path.write_text(json.dumps(settings(**overrides)))
        return path

    return make
