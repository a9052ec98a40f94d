"""Fixtures: a fresh graph per test, a seeded generator, a tiny data set on disk and settings for it."""
import collections
import gc
import json
import pathlib
import shutil

import numpy as np
import pytest

from misc import backend

tf = backend.prepare()

import train  # noqa: E402
from core.assessment import restore  # noqa: E402
from core.assessment.figures import FIGURES  # noqa: E402
from core.training import evaluation, run  # noqa: E402
from core.training.graph import build_model  # noqa: E402
from misc.config import Config  # noqa: E402
from misc.folders import run_folder  # noqa: E402

gc.set_threshold(200_000, 20, 50)  # graphs are many small objects that live long: looking through them takes time

ROOT = pathlib.Path(__file__).resolve().parent.parent
REAL_DATA = ROOT.parent / "shared" / "data" / "uci"


# Files and folders that take longest, which start first: otherwise one worker waits for the other at the end.
LONGEST = ("test_golden.py", "baseline", "assessment", "classification_training", "test_model.py")


def pytest_collection_modifyitems(items):
    """Puts the tests of LONGEST first."""

    def rank(item):
        name = item.path.relative_to(ROOT / "tests").parts[0]
        return LONGEST.index(name) if name in LONGEST else len(LONGEST)

    items.sort(key=rank)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Gives each file to one worker, so that what its fixtures train is trained once.

    All files of tests/assessment go to one worker, because they evaluate the same runs; golden runs share nothing.
    """
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            if "test_golden" in nodeid:
                return nodeid
            return "tests/assessment" if "tests/assessment" in nodeid else super()._split_scope(nodeid)

    config.option.loadscopereorder = False  # keep the order of the files
    return Scheduling(config, log)


class GraphCache:
    """Builds the graph of a run, or returns the one that was built for the same settings before.

    Building the graph takes most of the time of a short run. The graph is a function of the settings and the shapes
    of the data, and all values live in the session, so that runs can share it.
    """

    SIZE = 12

    def __init__(self):
        self._models = collections.OrderedDict()

    def __call__(self, design, *args, **kwargs):
        settings = design.config.model_dump(exclude={"exp_name", "data_path", "experiments_path", "steps_per_run"})
        key = json.dumps([settings, design.spec, design.n_epochs, sorted(design.anew), args, kwargs], sort_keys=True,
                         default=np.ndarray.tolist)
        model = self._models.pop(key, None) or build_model(design, *args, **kwargs)
        self._models[key] = model
        if len(self._models) > self.SIZE:
            self._models.popitem(last=False)
        return model._replace(design=design)

    def clear(self):
        """Forgets all graphs: the next run builds its own."""
        self._models.clear()


@pytest.fixture(scope="session")
def graph_cache():
    """GraphCache of this process."""
    return GraphCache()


@pytest.fixture(scope="module")
def shared_graphs(graph_cache):
    """GraphCache of this process, which runs and evaluations of the module use, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "build_model", graph_cache)
        patch.setattr(restore, "build_model", graph_cache)
        yield graph_cache


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
def settings(tiny_data, request):
    """Function (**overrides) -> dict of settings for a seconds-long run on tiny.data.

    A module whose tests depend on no method has OPTIMIZER = "kfac": its graph takes a third of the time of ekfac.
    """
    optimizer = getattr(request.module, "OPTIMIZER", "ekfac")

    def make(**overrides):
        values = dict(
            dataset="tiny", data_path=str(tiny_data), experiments_path=str(tiny_data / "experiments"),
            optimizer=optimizer, model_name="ffn", hidden=[4], epoch=4, batch_size=5, test_particles=7,
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


@pytest.fixture(scope="session")
def copies():
    """{settings: copy of the folder of a finished run}, of this process."""
    return {}


@pytest.fixture
def finished_run(config, config_file, copies, tmp_path_factory):
    """Function (**overrides) -> (path of its config file, its Folder) of a finished run.

    Runs with equal settings are trained once in a process; every test has a folder of its own.
    """

    def make(**overrides):
        made = config(**overrides)
        path, folder = config_file(**overrides), run_folder(made)
        key = json.dumps(made.model_dump(exclude={"data_path", "experiments_path"}), sort_keys=True)
        if key in copies:
            shutil.copytree(str(copies[key]), str(folder.root))
        else:
            train.main(["--config", str(path)])
            copies[key] = tmp_path_factory.mktemp("finished") / "run"
            shutil.copytree(str(folder.root), str(copies[key]))
        return path, folder

    return make


@pytest.fixture
def no_figures(monkeypatch):
    """Evaluations without figures, and runs without the one of misclassified digits: drawing takes longest."""
    for name in list(FIGURES):
        monkeypatch.delitem(FIGURES, name)
    monkeypatch.setattr(evaluation, "misclassified_figure", lambda *_: None)
