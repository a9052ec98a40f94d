"""Fixtures: loaders of image sets."""
import pytest

from data_loader.classification import load_classification
from misc.config import Config
from misc.errors import UserError


@pytest.fixture
def settings(tmp_path):
    """Function (dataset, **overrides) -> Config of mode classification with tmp_path as data_path."""
    return lambda dataset, **overrides: Config.from_dict(dict(
        dict(mode="classification", dataset=dataset, data_path=str(tmp_path), optimizer="kfac", model_name="ffn50"),
        **overrides))


@pytest.fixture
def load(settings):
    """Function (dataset, **overrides) -> ImageData."""
    return lambda dataset, **overrides: load_classification(settings(dataset, **overrides))


@pytest.fixture
def refuse(load):
    """Function (message, dataset, **overrides): loading is refused with one line that matches."""

    def check(message, dataset, **overrides):
        with pytest.raises(UserError, match=message) as stop:
            load(dataset, **overrides)
        assert "\n" not in str(stop.value)

    return check
