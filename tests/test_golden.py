"""Short runs give the results recorded in tests/golden/: no change of the code changes a result.

Where the machine rounds as the recording one did (see golden_runs.probe), weights and metrics are compared to the last
bit, otherwise within the case's `tolerance`; a warning then says so.
"""
import json
import warnings

import pytest

from tests import golden_runs
from tests.golden_runs import CASES, GROUPS


@pytest.fixture(scope="module")
def recorded():
    path = golden_runs.golden_file()
    if not path.is_file():
        pytest.skip(f"there is no {path.name}: no results were recorded with this TensorFlow")
    return json.loads(path.read_text())


@pytest.mark.parametrize("group", [pytest.param(group, marks=[pytest.mark.slow] * (group == "slow"))
                                   for group in sorted(GROUPS)])
def test_results_are_those_recorded(recorded, group, record_property):
    """Every group runs in a process of its own, on one thread, whatever the settings of this process."""
    actual = golden_runs.measured(group)
    different = golden_runs.different_rounding(recorded["probe"], actual["probe"])
    record_property("comparison", "tolerance" if different else "bits")
    if different:
        warnings.warn(f"golden runs {group}: compared within a tolerance, not by bits, since this machine differs from "
                      f"the recording one in {', '.join(different)}", stacklevel=1)
    wrong = [line for name in actual["cases"] for line in golden_runs.differences(
        name, recorded["cases"][name], actual["cases"][name], exact=CASES[name].bits and not different)]
    assert not wrong, "\n".join([f"{len(wrong)} differences:", *wrong[:40]])


def test_every_case_is_recorded_with_its_settings(recorded):
    assert {name: case.settings for name, case in CASES.items()} == {
        name: case["settings"] for name, case in recorded["cases"].items()}


def test_a_run_in_parts_or_in_other_calls_is_the_same_run(recorded):
    for name, case in CASES.items():
        if case.same_as:
            for part in ("weights", "metrics"):
                assert recorded["cases"][name][part] == recorded["cases"][case.same_as][part], name
