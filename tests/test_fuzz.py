"""Runs a small part of `python -m tests.fuzz`."""
import pytest

from tests.fuzz import Place, fuzz_configs, fuzz_images, fuzz_tables


@pytest.mark.usefixtures("shared_graphs")
@pytest.mark.parametrize("fuzz, n", [(fuzz_configs, 6), (fuzz_tables, 10), (fuzz_images, 6)])
def test_trains_or_is_refused_in_one_line(tmp_path, fuzz, n):
    place = Place(tmp_path)
    fuzz(place, n, 8)
    assert place.counts["refused"] and sum(place.counts.values()) >= n // 2


def test_the_rules_can_be_broken(tmp_path, monkeypatch):
    place = Place(tmp_path)
    monkeypatch.setattr("misc.config.Config.from_file", lambda *_: {}["no such key"])
    with pytest.raises(KeyError):
        fuzz_configs(place, 3, 0)
