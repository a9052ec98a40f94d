"""A small share of `python -m tests.fuzz`."""
import pytest

from tests.fuzz import Place, fuzz_configs, fuzz_pictures, fuzz_tables


@pytest.mark.parametrize("fuzz", [fuzz_configs, fuzz_tables, fuzz_pictures])
def test_trains_or_is_refused_in_one_line(tmp_path, fuzz):
    place = Place(tmp_path)
    fuzz(place, 20, 7)
    assert place.counts["refused"] and sum(place.counts.values()) >= 10


def test_the_rules_can_be_broken(tmp_path, monkeypatch):
    place = Place(tmp_path)
    monkeypatch.setattr("misc.config.Config.from_file", lambda *_: {}["no such key"])
    with pytest.raises(KeyError):
        fuzz_configs(place, 3, 0)
