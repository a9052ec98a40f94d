"""Fixtures: settings of short classifications."""
import json

import pytest

from misc.config import Config
from tests.classification_runs.short import settings


@pytest.fixture
def config(tmp_path):
    """Function (**overrides) -> Config of a seconds-long run on digits."""
    return lambda **overrides: Config.from_dict(settings(tmp_path, **overrides))


@pytest.fixture
def config_file(tmp_path):
    """Function (**overrides) -> path of a JSON file with the same settings."""

    def make(**overrides):
        path = tmp_path / "config.json"
        path.write_text(json.dumps(settings(tmp_path, **overrides)))
        return path

    return make
