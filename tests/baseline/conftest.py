"""Fixtures: configs of repeated runs."""
import json

import pytest


@pytest.fixture
def write(settings, tmp_path):
    """Function (name, **overrides) -> path of a JSON config for tiny.data whose exp_name is `name`.

    Its method is diag, whose graph is built fastest.
    """

    def make(name="base", **overrides):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(settings(exp_name=name, **dict({"optimizer": "diag"}, **overrides))))
        return str(path)

    return make
