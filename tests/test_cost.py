"""The cost that --explain predicts: it counts the rows that a minibatch has, and agrees with what was measured."""
import pytest

from benchmarks.explain_cost import CASES, config_of, make_rows
from core.training import run
from core.training.cost import run_cost
from core.training.design import design_run
from core.training.explain import explain
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
