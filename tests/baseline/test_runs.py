"""Repeated runs: their statistics, seeds and files."""
import itertools

import numpy as np
import pytest
import scipy.stats
import tensorflow.compat.v1 as tf

import train
from core.baseline.jobs import choose_seeds, parse_seeds
from core.baseline.statistics import compare, summarise
from core.training import run
from misc.records import read_json, read_rows
from tests.baseline.commands import baseline, home, numbers

pytestmark = pytest.mark.usefixtures("shared_graphs")  # most tests train the same few settings


# Statistics.

def test_summary_against_numpy(rng):
    values = rng.randn(7)
    summary = summarise(values)
    assert summary["mean"] == pytest.approx(values.mean()) and summary["n"] == 7
    assert summary["se"] == pytest.approx(np.sqrt(((values - values.mean()) ** 2).sum() / 6 / 7))
    assert summary["median"] == sorted(values)[3]
    assert summary["lower_quartile"] < summary["median"] < summary["upper_quartile"]
    assert summarise([2.0])["se"] is None


def test_paired_comparison_against_scipy(rng):
    ours, theirs = rng.randn(9), rng.randn(9) + 0.3
    comparison = compare(ours, theirs)
    test = scipy.stats.ttest_rel(ours, theirs)
    assert comparison["mean"] / comparison["se"] == pytest.approx(test.statistic)
    level = scipy.stats.t.cdf((comparison["mean"] - comparison["ci_low"]) / comparison["se"], 8)
    assert level == pytest.approx(0.975) and comparison["ci_high"] - comparison["mean"] == pytest.approx(
        comparison["mean"] - comparison["ci_low"])
    assert comparison["wilcoxon_p"] == pytest.approx(scipy.stats.wilcoxon(ours, theirs).pvalue)
    same = compare([1.0, 2.0], [1.0, 2.0])
    assert (same["mean"], same["wilcoxon_p"]) == (0.0, 1.0)
    assert compare([1.0], [2.0])["ci_low"] is None


def by_enumeration(difference):
    """The two-sided p-value of the signed-rank test, by all choices of signs."""
    ranks = scipy.stats.rankdata(np.abs(difference[difference != 0]))
    signs = np.array(list(itertools.product([0, 1], repeat=len(ranks))))
    sums, found = signs @ ranks, ranks[difference[difference != 0] > 0].sum()
    return min(1.0, 2 * min(np.mean(sums >= found), np.mean(sums <= found)))


@pytest.mark.parametrize("n, span", [(1, 3), (2, 2), (6, 3), (9, 4), (12, 3), (12, 8)])
def test_the_signed_rank_test_is_exact_with_ties_and_zeros(rng, n, span):
    for _ in range(5):
        difference = rng.randint(-span + 1, span + 1, n).astype(float)
        assert compare(difference, np.zeros(n))["wilcoxon_p"] == pytest.approx(by_enumeration(difference), rel=1e-12)


@pytest.mark.parametrize("ours, theirs, expected", [
    ([81, 82, 80, 79, 85, 80, 81, 80, 83, 84], [80, 82, 79, 79, 83, 81, 80, 80, 81, 80], 0.078125),
    ([82, 79, 82, 76, 78, 80, 83, 84], [80, 83, 82, 78, 80, 84, 81, 80], 0.765625)])
def test_the_signed_rank_test_is_blind_to_rounding_errors(ours, theirs, expected):
    """0.82 - 0.80 and 0.80 - 0.78 differ in their last bits."""
    p_value = compare(np.array(ours) / 100, np.array(theirs) / 100)["wilcoxon_p"]
    assert p_value == by_enumeration(np.subtract(ours, theirs)) == expected


@pytest.mark.parametrize("n", [5, 20, 25, 80])
def test_the_signed_rank_test_without_ties_is_that_of_scipy(rng, n):
    ours, theirs = rng.randn(n) + 0.2, rng.randn(n)
    assert compare(ours, theirs)["wilcoxon_p"] == pytest.approx(scipy.stats.wilcoxon(ours, theirs).pvalue, rel=1e-9)


def test_many_differences_with_ties_have_the_normal_approximation_of_scipy(rng):
    difference = rng.randint(-3, 5, 200).astype(float)
    expected = scipy.stats.wilcoxon(difference, zero_method="wilcox", correction=False).pvalue
    assert compare(difference, np.zeros(200))["wilcoxon_p"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_signed_rank_test_of_what_is_not_finite():
    assert compare([np.inf, 2.0, 3.0], [0.0, 0.0, 0.0])["wilcoxon_p"] == 0.25
    assert np.isnan(compare([np.nan, 2.0], [0.0, 0.0])["wilcoxon_p"])
    assert compare([2.0, -2.0], [0.0, 0.0])["wilcoxon_p"] == compare([0.0], [0.0])["wilcoxon_p"] == 1.0


def test_seeds(config):
    assert parse_seeds("1-3,7") == [1, 2, 3, 7]
    assert choose_seeds(config(runs=4)) == [1, 2, 3, 4] and choose_seeds(config(), runs=2) == [1, 2]
    assert choose_seeds(config(), seeds="5") == [5] and len(choose_seeds(config())) == 10


# The files of a repeated run.

def test_files_of_repeated_runs(write, config, tmp_path, capsys):
    rival = write("rival", optimizer="kfac")
    assert baseline(write(), rival, "--runs", "3", "--against", rival, "--report", str(tmp_path / "table.md")) == 0
    printed = capsys.readouterr().out
    rows = read_rows(home(tmp_path) / "runs.csv")
    assert [row["seed"] for row in rows] == ["1", "2", "3"] and [row["split"] for row in rows] == ["1", "2", "3"]
    single = run.execute(run.plan(config(seed=2, exp_name="single", optimizer="diag")))
    assert float(rows[1]["rmse"]) == single["metrics"]["test_rmse"]
    assert float(rows[1]["log_likelihood"]) == single["metrics"]["test_log_likelihood"]
    assert float(rows[1]["coverage_90"]) == single["metrics"]["test_coverage_90"]
    cdf = np.array([float(row["cdf"]) for row in read_rows(home(tmp_path) / "seeds" / "2" / "predictions.csv")])
    assert float(rows[1]["coverage_90"]) == np.mean(np.abs(cdf - 0.5) <= 0.45)
    assert "**Test coverage of 90 % intervals** (fraction of targets inside; ideal: 0.9)" in printed
    assert float(rows[1]["noise_precision"]) == single["metrics"]["train_noise_precision"]
    assert rows[1]["split_hash"] == single["split_hash"] and len({row["split_hash"] for row in rows}) == 3
    assert rows[0]["protocol"] == "published" and rows[0]["test_particles"] == "7" and "own units" in rows[0]["units"]

    curve = read_rows(home(tmp_path) / "seeds" / "2" / "metrics.csv")
    best = max(curve, key=lambda row: float(row["test_log_likelihood"]))
    assert rows[1]["best_epoch"] == best["epoch"] and rows[1]["best_epoch_rmse"] == best["test_rmse"]
    assert rows[1]["best_epoch_chosen_on"] == "test rows (optimistic)"

    summary = read_json(home(tmp_path) / "summary.json")
    scores = np.array([float(row["log_likelihood"]) for row in rows])
    assert summary["metrics"]["log_likelihood"]["mean"] == pytest.approx(scores.mean())
    assert summary["metrics"]["log_likelihood"]["se"] == pytest.approx(scores.std(ddof=1) / np.sqrt(3))
    assert {"protocol", "split_hashes", "rows_hash", "units", "ddof", "test_particles", "n"} <= set(summary)
    rivals = np.array([float(row["log_likelihood"]) for row in read_rows(home(tmp_path, "rival") / "runs.csv")])
    assert summary["against"]["exp_name"] == "rival"
    assert summary["against"]["metrics"]["log_likelihood"]["mean"] == pytest.approx((scores - rivals).mean())
    assert "against" not in read_json(home(tmp_path, "rival") / "summary.json")
    assert (home(tmp_path) / "curves.png").read_bytes()[:4] == b"\x89PNG"
    assert "base minus rival, split by split (settings that differ: optimizer):" in printed
    assert "(at least 0.25 with so few), 3 pairs of 3 runs" in printed and summary["settings"]["Teigen"] == 3

    assert (tmp_path / "table.md").read_text() in printed
    table = {(row["metric"], row["column"]): row for row in read_rows(tmp_path / "table.csv")}
    assert float(table["rmse", "diag"]["mean"]) == summary["metrics"]["rmse"]["mean"]
    assert {"ddof", "protocol", "rows_hash", "splits_hash", "units"} <= set(table["rmse", "kfac"])
    assert table["rmse", "diag"]["splits_hash"] == table["rmse", "kfac"]["splits_hash"] == summary["splits_hash"]
    assert r"\begin{tabular}" in (tmp_path / "table.tex").read_text()


def test_hyper_parameters_for_tensorboard(write, tmp_path):
    from tensorboard.plugins.hparams import plugin_data_pb2

    baseline(write(kl=0.5), "--runs", "1")
    values = []
    for path in (home(tmp_path) / "seeds" / "1" / "summary").glob("events.*"):
        for event in tf.train.summary_iterator(str(path)):
            values += [value for value in event.summary.value if value.metadata.plugin_data.plugin_name == "hparams"]
    data = plugin_data_pb2.HParamsPluginData.FromString(values[0].metadata.plugin_data.content)
    assert data.session_start_info.hparams["kl"].number_value == 0.5
    assert data.session_start_info.hparams["optimizer"].string_value == "diag"


def test_finished_runs_are_reused_and_a_changed_config_is_run_again(write, tmp_path, capsys):
    results_of = lambda: {path: path.stat().st_mtime_ns for path in home(tmp_path).glob("seeds/*/result.json")}  # noqa: E731
    baseline(write(), "--runs", "2")
    first, table = results_of(), numbers(home(tmp_path))
    baseline(write(steps_per_run=3, runs=7), "--runs", "3")  # keys that change no result
    assert {path: results_of()[path] for path in first} == first and len(results_of()) == 3
    assert "2 of 3 runs are finished already" in capsys.readouterr().err
    baseline(write(kl=0.5), "--runs", "2")
    assert numbers(home(tmp_path)) != table
    assert "2 earlier runs with other settings will be archived, as " in capsys.readouterr().err
    assert (home(tmp_path) / "seeds" / "1.1" / "result.json").is_file()  # archived
    baseline(write(kl=0.5), "--seeds", "2", "--fresh")
    assert (home(tmp_path) / "seeds" / "2.2" / "result.json").is_file() and list(numbers(home(tmp_path))) == ["2"]
    assert {path.name for path in (home(tmp_path) / "seeds").glob("[!.]*")} == {"1", "1.1", "2", "2.1", "2.2", "3"}


def test_other_rows_are_noticed(write, tiny_data, tmp_path):
    baseline(write(), "--runs", "1")
    before = numbers(home(tmp_path))
    raw = np.loadtxt(str(tiny_data / "tiny.data"))
    np.savetxt(str(tiny_data / "tiny.data"), raw * 2)
    baseline(write(), "--runs", "1")
    assert numbers(home(tmp_path)) != before


def test_a_single_run_and_repeated_runs_share_a_folder(write, tmp_path):
    baseline(write(), "--runs", "1")
    for _ in range(2):
        train.main(["--config", write()])
    assert (home(tmp_path) / "seeds" / "1" / "result.json").is_file() and (home(tmp_path) / "runs.csv").is_file()
    assert (home(tmp_path, "base.1") / "result.json").is_file()


def test_protocols_have_their_own_folders_and_published_values(write, tmp_path, capsys):
    concrete = dict(dataset="concrete", epoch=1, optimizer="sgd")
    baseline(write(**concrete), "--seeds", "2", "--protocol", "standard")
    root = tmp_path / "experiments" / "concrete"
    row = read_rows(root / "base_standard" / "runs.csv")[0]
    assert (row["protocol"], row["split"]) == ("standard", "1")
    assert "published noisy K-FAC" not in capsys.readouterr().out
    baseline(write(**concrete), "--seeds", "2", "--protocol", "published")
    assert read_rows(root / "base" / "runs.csv")[0]["protocol"] == "published"
    assert "published noisy K-FAC" in capsys.readouterr().out


def test_validation_never_looks_at_the_test_rows(write, tiny_data, tmp_path, capsys):
    baseline(write(), "--runs", "2", "--validate")
    root = home(tmp_path, "base_validate")
    table, result = numbers(root), read_json(root / "seeds" / "1" / "result.json")
    assert result["evaluate_on"] == "validation" and result["n_valid"] == 4
    assert not [name for name in result["metrics"] if name.startswith("test_")]
    assert float(table["1"][0]) == result["metrics"]["valid_rmse"]
    assert "**Validation RMSE**" in capsys.readouterr().out
    raw = np.loadtxt(str(tiny_data / "tiny.data"))
    raw[np.random.RandomState(1).permutation(43)[39:]] += 1000  # the test rows of seed 1
    np.savetxt(str(tiny_data / "tiny.data"), raw)
    baseline(write(), "--seeds", "1", "--validate")
    assert numbers(root)["1"] == table["1"] and (root / "seeds" / "1.1").is_dir()  # run again
