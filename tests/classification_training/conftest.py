"""Fixture: settings for a few steps on digits."""
import pytest

from misc.config import Config


@pytest.fixture
def config(tmp_path):
    """Function (**overrides) -> Config for a few steps on digits."""
    values = dict(mode="classification", dataset="digits", data_path=str(tmp_path), experiments_path=str(tmp_path),
                  optimizer="ekfac", model_name="linear", epoch=3, batch_size=64, train_particles=1, test_particles=3,
                  TCov=3, TInv=6, TEigen=6, TScale=3)
    return lambda **overrides: Config.from_dict(dict(values, **overrides))
