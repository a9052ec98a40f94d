import collections

import pytest

from core.training.schedule import Schedule, Segment, classification_periods, regression_periods
from data_loader.batches import epoch_order, steps_per_epoch


def test_updates_run_as_often_as_asked():
    schedule = Schedule({"scale": 1, "basis": 5})
    runs = collections.Counter(name for step in range(1, 94) for name in schedule.due(step))
    assert runs == {"scale": 93, "basis": 18}


@pytest.mark.parametrize("periods, first, last, expected", [
    ({"scale": 1, "basis": 5}, 1, 93, [Segment(18, 4, "bs"), Segment(1, 3, None)]),
    ({"scale": 1, "basis": 5}, 94, 100, [Segment(1, 1, "bs"), Segment(1, 4, "bs")]),
    ({"inverse": 1}, 1, 93, [Segment(1, 93, None)]),
    ({}, 94, 186, [Segment(1, 93, None)]),
    ({"basis": 2, "reinit": 6}, 1, 6, [Segment(2, 1, "b"), Segment(1, 1, "br")]),
    ({"basis": 2}, 2, 4, [Segment(1, 0, "b"), Segment(1, 1, "b")]),
])
def test_segments(periods, first, last, expected):
    initials = [segment._replace(due=segment.due and "".join(sorted(name[0] for name in segment.due)))
                for segment in Schedule(periods).segments(first, last)]
    assert initials == expected


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 5, 7, 50])
def test_segments_run_every_step_with_its_updates_whatever_the_limit(limit):
    schedule = Schedule({"scale": 1, "cov": 3, "basis": 4, "reinit": 6})
    replay = []
    for segment in schedule.segments(5, 64, limit):
        steps = segment.n_rounds * (segment.n_base_steps + (segment.due is not None))
        assert 0 < steps <= (limit or 60)
        one_round = [schedule.base] * segment.n_base_steps + ([segment.due] if segment.due is not None else [])
        replay += one_round * segment.n_rounds
    assert replay == [schedule.due(step) for step in range(5, 65)]


def test_due_sets_are_those_that_occur():
    schedule = Schedule({"scale": 1, "basis": 2, "reinit": 3})
    assert set(schedule.due_sets(100)) == {frozenset(names) for names in (
        ["scale", "basis"], ["scale", "reinit"], ["scale", "basis", "reinit"])}
    assert set(schedule.due_sets(2)) == {frozenset(["scale", "basis"])}


@pytest.mark.parametrize("cov, inverse", [(5, 10), (3, 7), (1, 4), (10, 10), (4, 20)])
@pytest.mark.parametrize("n_steps", [4, 11, 100])
def test_due_sets_are_those_of_every_step_one_by_one(cov, inverse, n_steps):
    """Early steps, at which all updates are due, may hide a set in the first cycle of the periods."""
    early = [1] + [cov * 2**k for k in range(10) if cov * 2**k < inverse]
    schedule = Schedule({"cov": cov, "inverse": inverse}, early)
    walked = {schedule.due(step) for step in range(1, n_steps + 1)} - {schedule.base}
    assert set(schedule.due_sets(n_steps)) == walked


def test_due_sets_of_huge_and_of_long_runs():
    """Periods beyond the run are never due; a long run is not enumerated step by step."""
    assert Schedule({"scale": 1, "basis": 10**12}).due_sets(10**9) == []
    assert len(Schedule({"scale": 1, "basis": 2, "reinit": 3}).due_sets(10**15)) == 3


def test_periods_and_steps_count_from_one():
    with pytest.raises(ValueError, match="period of 'basis' must be >= 1"):
        Schedule({"basis": 0})
    with pytest.raises(ValueError, match="steps count from 1"):
        Schedule({"basis": 2}).due(0)


def test_periods_of_regression(config):
    names = ["cov", "basis", "reinit", "scale"]
    assert regression_periods(config(Teigen=7, re_init_iters=9), names) == {
        "cov": 7, "basis": 7, "reinit": 9, "scale": 1}
    assert "reinit" not in regression_periods(config(Teigen=7, re_init_iters=9, re_init=False), names)
    assert regression_periods(config(amor_eigen=False), names) == {"cov": 1, "basis": 1, "scale": 1}
    assert regression_periods(config(Teigen=7, optimizer="kfac"), ["cov", "inverse"]) == {"cov": 1, "inverse": 1}


def test_periods_that_are_given_replace_the_published_ones(config):
    names = ["cov", "basis", "reinit", "scale"]
    given = config(Teigen=7, TCov=2, TEigen=4, TScale=3, re_init_iters=12)
    assert regression_periods(given, names) == {"cov": 2, "basis": 4, "scale": 3}  # every basis re-initialises R, too
    assert regression_periods(config(Teigen=7, TCov=2), ["cov", "basis"]) == {"cov": 2, "basis": 7}
    assert regression_periods(config(TInv=6, optimizer="kfac"), ["cov", "inverse"]) == {"cov": 1, "inverse": 6}


def test_a_reinit_that_every_basis_update_covers_is_skipped(config):
    names = ["basis", "reinit"]
    assert regression_periods(config(Teigen=5, re_init_iters=50), names) == {"basis": 5}
    assert regression_periods(config(Teigen=5, re_init_iters=52), names) == {"basis": 5, "reinit": 52}
    carried = config(Teigen=5, re_init_iters=50, kfac_init_after_basis=False)
    assert regression_periods(carried, names) == {"basis": 5, "reinit": 50}


def test_minibatch_order_is_a_permutation_keyed_by_seed_and_epoch():
    assert steps_per_epoch(927, 10) == 93 and steps_per_epoch(930, 10) == 93
    first = epoch_order(50, 1, 1)
    assert sorted(first) == list(range(50))
    assert (first == epoch_order(50, 1, 1)).all()
    assert (first != epoch_order(50, 1, 2)).any() and (first != epoch_order(50, 2, 1)).any()


@pytest.mark.parametrize("periods", [regression_periods, classification_periods])
def test_an_unknown_update_is_an_error(config, periods):
    """Otherwise it would never be due, without a word."""
    assert set(periods(config(), ["cov", "scale"])) == {"cov", "scale"}
    with pytest.raises(ValueError, match="unknown update 'sketch': take one of cov, inverse"):
        periods(config(), ["cov", "sketch"])
