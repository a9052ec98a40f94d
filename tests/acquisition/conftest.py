"""Fixtures: the command on tiny.data, and graphs that its tests share."""
import json

import pytest

import active_learning
from core.acquisition import learning
from misc.records import read_rows

SMALL = ["--start", "8", "--test", "10", "--steps", "2", "--repeats", "2", "--jobs", "1"]


@pytest.fixture(scope="module", autouse=True)
def shared_models(graph_cache):
    """Graphs of the same settings are built once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "build_model", graph_cache)
        yield


@pytest.fixture
def write(settings, tmp_path):
    """Function (**overrides) -> path of a config for tiny.data, of the method whose graph is built fastest."""

    def make(name="base", **overrides):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(settings(exp_name=name, **dict({"optimizer": "diag"}, **overrides))))
        return str(path)

    return make


def choose_rows(config, *arguments):
    """Runs the command in this process; returns its exit code."""
    try:
        active_learning.main(["--config", config, *SMALL, *arguments])
    except SystemExit as stop:
        return stop.code
    return 0


def steps_of(folder):
    """Returns the rows of steps.csv, as text to the last digit."""
    return read_rows(folder / "steps.csv")
