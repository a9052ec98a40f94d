"""The cost that --explain predicts: it counts the rows that a minibatch has, and agrees with what was measured."""
import re

import pytest

from benchmarks.explain_cost import CASES, config_of, make_rows
from core.inference.step_sizes import Refreshes
from core.training import run
from core.training.cost import CURVATURE_SHARE, REFRESHES, STATISTICS, about_shares, run_cost
from core.training.design import design_run
from core.training.explain import explain
from core.training.schedule import Schedule
from data_loader.parts import Spec
from tests.conftest import ROOT


def measured():
    """{name: (predicted, measured)} of the table in docs/speed.md, in milliseconds per step."""
    lines = (ROOT / "docs" / "speed.md").read_text().split("## Predicted and measured")[1].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {row[0]: (float(row[1]), float(row[2])) for row in cells[2:2 + len(CASES)]}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_prediction_is_within_a_factor_of_2(case):
    predicted, found = measured()[case.name]
    cost = run_cost(design_run(config_of(case, one_thread=True), make_rows(case).spec))
    assert cost.seconds * 1e3 == pytest.approx(predicted, rel=0.02)  # the table is of this version
    assert 0.5 <= predicted / found <= 2.0


def test_a_batch_holds_at_most_all_rows(config):
    """tiny.data has 39 training rows: a larger batch_size costs nothing more, and it is said how large a batch is."""
    costs = [run_cost(run.plan(config(batch_size=size)).design) for size in (39, 100000)]
    assert costs[0] == costs[1]
    text = "\n".join(explain(run.plan(config(batch_size=100000))))
    assert "batch 39 (batch_size 100000 is more than all rows)" in text


def test_time_counts_the_mean_batch_and_memory_the_largest(config):
    """39 rows by 20 are steps of 20 and 19 rows."""
    smaller, larger = (run_cost(run.plan(config(batch_size=size, hidden=[50])).design) for size in (20, 38))
    assert smaller.seconds == larger.seconds and smaller.peak_bytes < larger.peak_bytes


WIDE = dict(hidden=[300, 300], batch_size=20, threads=1)


@pytest.mark.parametrize("optimizer", ["ekfac", "kfac"])
def test_auto_refresh_keeps_curvature_below_a_quarter_of_a_step(config, optimizer):
    """The multiple is the least one: with one less, the share would be larger."""
    made = design_run(config(optimizer=optimizer, auto_refresh=True, **WIDE), Spec(1000, (5,), 1, None))
    plain = design_run(config(optimizer=optimizer, **WIDE), Spec(1000, (5,), 1, None))
    multiple = made.refresh_multiple
    assert multiple > 1 and plain.refresh_multiple == 1
    assert made.schedule.periods == {name: period * multiple for name, period in plain.schedule.periods.items()}

    def share(times):
        periods = {name: period * times for name, period in plain.schedule.periods.items()}
        cost = run_cost(made._replace(schedule=Schedule(periods)))
        return cost.share(STATISTICS) + cost.share(REFRESHES)

    assert share(multiple) <= CURVATURE_SHARE < share(multiple - 1)


def test_wide_layers_take_all_cores_unless_the_config_says_otherwise(config):
    """The choice does not depend on the machine; a machine with more cores gains more."""
    for values, n_threads in ((dict(hidden=[50]), 1), (dict(hidden=[800, 800], batch_size=200), 0),
                              (dict(hidden=[800, 800], batch_size=200, threads=3), 3), (dict(threads=0), 0)):
        assert design_run(config(**values), Spec(1000, (5,), 1, None)).n_threads == n_threads


def test_auto_refresh_leaves_narrow_layers_and_other_methods_alone(config):
    for values in (dict(optimizer="kfac", hidden=[150]), dict(WIDE, optimizer="adam"), dict(WIDE, optimizer="diag")):
        made = design_run(config(auto_refresh=True, **values), Spec(1000, (5,), 1, None))
        assert made.refresh_multiple == 1 and made.refreshes.rate(0.3) == 0.3


def test_moving_averages_cover_as_many_steps_with_longer_periods():
    assert Refreshes({}, 3).rate(0.2) == pytest.approx(1.0 - 0.8**3)


def test_the_parts_of_a_step_are_said_with_what_would_make_it_shorter(config):
    """K-FAC of a regression inverts at every step, which takes most of it for wide layers."""
    def lines(**values):
        settings = dict(WIDE, hidden=[1500, 1500])
        settings.update(values)
        return about_shares(design_run(config(**settings), Spec(1000, (5,), 1, None)))

    shares = [float(number) for number in re.findall(r"(\d+)%", lines(optimizer="kfac")[0])]
    assert len(shares) == 4 and sum(shares) == pytest.approx(100, abs=2) and shares[3] > 50
    assert lines(optimizer="kfac")[1:] == ["note: more than half of a step goes to refreshes: a larger TInv or "
                                           "auto_refresh would make it shorter"]
    assert lines(optimizer="kfac", auto_refresh=True, train_particles=2, batch_size=400)[1:] == []
    assert lines(optimizer="diag", train_particles=50)[1:] == [
        "note: more than half of a step goes to drawing weights: a smaller train_particles would make it shorter"]
    shares = [float(number) for number in re.findall(r"(\d+)%", lines(optimizer="diag", train_particles=1)[0])]
    assert shares[1] > 50 and lines(optimizer="diag", train_particles=1)[1:] == []  # there is no smaller number
    assert "statistics" not in lines(optimizer="adam")[0]


def test_auto_refresh_is_named_only_where_it_has_an_effect(config):
    """Layers of less than 200 units keep their periods under it."""
    narrow = design_run(config(optimizer="ekfac", hidden=[180, 180], batch_size=5), Spec(1000, (5,), 1, None))
    assert about_shares(narrow)[1:] == ["note: more than half of a step goes to refreshes: a larger TEigen would make "
                                        "it shorter"]
