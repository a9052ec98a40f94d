"""Means at every step and differences from random choice."""
import numpy as np
import pytest
import scipy.stats

from core.acquisition.summary import MEAN, markdown, step_rows, summary, summary_columns, summary_row
from core.acquisition.trajectory import Step

LABELS = {"rmse": "RMSE", "log_likelihood": "log-likelihood"}


@pytest.fixture
def steps(rng):
    """Three steps of two strategies in six repeats."""
    return {(repeat, name): [Step(8 + step, [step] if step else [], dict(zip(LABELS, rng.rand(2))), [step + 1], [0.5])
                             for step in range(3)]
            for repeat in range(1, 7) for name in ("variance", "random")}


def entry(entries, strategy, step):
    return next(each for each in entries if (each.strategy, each.step) == (strategy, step))


def test_means_and_paired_differences_against_numpy(steps):
    entries = summary(steps, ["variance", "random"], 2, list(LABELS))
    values = {name: np.array([[step.metrics["rmse"] for step in steps[repeat, name]] for repeat in range(1, 7)])
              for name in ("variance", "random")}
    last, mean = entry(entries, "variance", 2), entry(entries, "variance", MEAN)
    assert last.labelled == 10 and last.metrics["rmse"]["mean"] == pytest.approx(values["variance"][:, 2].mean())
    assert last.metrics["rmse"]["se"] == pytest.approx(values["variance"][:, 2].std(ddof=1) / 6**0.5)
    difference = values["variance"][:, 2] - values["random"][:, 2]
    assert last.against["rmse"]["mean"] == pytest.approx(difference.mean())
    assert last.against["rmse"]["se"] == pytest.approx(difference.std(ddof=1) / 6**0.5)
    assert last.against["rmse"]["wilcoxon_p"] == pytest.approx(scipy.stats.wilcoxon(difference).pvalue)
    assert mean.metrics["rmse"]["mean"] == pytest.approx(values["variance"][:, 1:].mean())
    assert mean.against["rmse"]["mean"] == pytest.approx((values["variance"] - values["random"])[:, 1:].mean())
    assert entry(entries, "random", 2).against == {}
    row = summary_row(last)
    assert set(row) == set(summary_columns(list(LABELS))) and row["repeats"] == 6
    assert row["rmse_minus_random_se"] == last.against["rmse"]["se"]


def test_repeats_that_are_not_finished(steps):
    steps[2, "random"] = steps[2, "random"][:2]
    del steps[3, "variance"]
    entries = summary(steps, ["variance", "random"], 2, list(LABELS))
    numbers = {(each.strategy, each.step): each.metrics["rmse"]["n"] for each in entries}
    assert numbers == {("variance", 0): 5, ("variance", 1): 5, ("variance", 2): 5, ("variance", MEAN): 5,
                       ("random", 0): 6, ("random", 1): 6, ("random", 2): 5, ("random", MEAN): 5}
    assert [entry(entries, "variance", step).against["rmse"]["n"] for step in (1, 2, MEAN)] == [5, 4, 4]
    assert summary({}, ["random"], 2, list(LABELS)) == []
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in markdown(entries, LABELS).splitlines()[2:8]]
    assert [line[:2] for line in lines] == [["labelled rows", "repeats"], lines[1][:2], ["8", "5 to 6"],
                                            ["9", "5 to 6"], ["10", "5"], ["mean", "5"]]


def test_rows_of_a_step_stand_beside_their_scores(steps):
    rows = [row for row in step_rows(steps, list(LABELS)) if (row["repeat"], row["strategy"]) == (1, "variance")]
    assert [(row["step"], row["labelled"], row["rows"], row["scores"]) for row in rows] == [
        (0, 8, "", ""), (1, 9, "2", "0.5"), (2, 10, "3", "0.5")]


def test_tables(steps):
    text = markdown(summary(steps, ["variance", "random"], 2, list(LABELS)), LABELS)
    assert text.count("| variance minus random") == 2 and text.count("\n| mean ") == 2 and "±" in text
    alone = markdown(summary(steps, ["variance"], 1, list(LABELS)), LABELS)
    assert "variance minus random" in alone  # whose random choice was made before


def test_a_single_repeat_has_no_p_value(steps):
    single = {key: of_one for key, of_one in steps.items() if key[0] == 1}
    tables = [markdown(summary(of, ["variance", "random"], 2, list(LABELS)), LABELS) for of in (single, steps)]
    assert "p =" not in tables[0] and "±" not in tables[0] and tables[1].count("(p = ") == 8
