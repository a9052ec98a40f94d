"""benchmarks.active_learning: methods on the same rows, and their paired tests."""
import importlib.util
import json

import numpy as np
import pytest
from scipy.stats import t

from benchmarks import active_learning, active_learning_methods
from benchmarks.active_learning_methods import LEARNERS, Hmc, learned, outputs_of
from core.acquisition import learning
from core.acquisition.job import Job
from core.acquisition.rows import Sizes, divide, read_table
from core.acquisition.trajectory import Step
from core.baseline.statistics import compare
from misc.records import read_json, read_rows


@pytest.fixture
def files(settings, tmp_path, graph_cache, monkeypatch):
    """Pattern of configs for tiny.data, of diag and of what the other methods take."""
    monkeypatch.setattr(learning, "build_model", graph_cache)
    for name in ("diag", "ekfac"):
        values = settings(exp_name=f"{name}_tiny", optimizer=name, epoch=2, model_name="ffn50")
        (tmp_path / f"{name}_tiny.json").write_text(json.dumps(values))
    return str(tmp_path / "{method}_{data}.json")


def benchmark(files, out, *arguments):
    try:
        active_learning.main(["--config", files, "--data", "tiny", "--start", "8", "--test", "10", "--jobs", "1",
                              "--out", str(out), *arguments])
    except SystemExit as stop:
        return stop.code
    return 0


def test_the_command(files, tmp_path, capsys):
    pytest.importorskip("numba")
    out = tmp_path / "out"
    arguments = ["--methods", "ekfac", "diag", "ensemble", "--quick", "--steps", "1"]
    assert benchmark(files, out, *arguments) == 0
    printed = capsys.readouterr().out
    assert printed.strip() == (out / "table.md").read_text(encoding="utf-8").strip()
    assert "tiny: test RMSE" in printed and "| ensemble variance | " in printed
    rows = read_rows(out / "steps.csv")
    assert len(rows) == 3 * 2 * 2 * 2
    divisions = [[read_json(out / "tiny" / method / "repeats" / repeat / f"{strategy}.json")[key]
                  for key in ("start", "test")] for repeat in "12" for method in ("ekfac", "diag", "ensemble")
                 for strategy in ("variance", "random")]
    assert all(each == divisions[0] for each in divisions[:6]) and all(each == divisions[6] for each in divisions[6:])
    of_random = {(row["method"], row["repeat"], row["step"]): row["rows"] for row in rows
                 if row["strategy"] == "random"}
    assert all(chosen == of_random["ekfac", repeat, step] for (_, repeat, step), chosen in of_random.items())
    written = {path: path.stat().st_mtime_ns for path in out.glob("tiny/*/repeats/*/*.json")}
    assert benchmark(files, out, *arguments) == 0  # every step is there
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    paired = read_rows(out / "paired.csv")
    assert len(paired) == 5 * 2 * 2 and {row["step"] for row in paired} == {"1", "mean"}
    value = {(row["repeat"], row["strategy"]): float(row["rmse"]) for row in rows
             if row["method"] == "ekfac" and row["step"] == "1"}
    ours = next(row for row in paired if row["theirs"] == "ekfac random" and (row["step"], row["metric"]) == (
        "1", "rmse"))
    assert float(ours["mean"]) == pytest.approx(np.mean(
        [value[repeat, "variance"] - value[repeat, "random"] for repeat in "12"]))


def test_pairs_are_of_the_same_repeats(rng):
    done = {("tiny", method): {(repeat, strategy): [
        Step(8 + step, [], dict(zip(active_learning.LABELS, rng.rand(2))), [], []) for step in range(3)]
        for repeat in range(1, 6) for strategy in ("variance", "random")} for method in ("ekfac", "diag")}
    del done["tiny", "diag"][2, "variance"]
    rows = {(row["theirs"], row["step"], row["metric"]): row for row in active_learning.paired(done, 2)}
    ours, theirs = ([done["tiny", method][repeat, "variance"][2].metrics["rmse"] for repeat in (1, 3, 4, 5)]
                    for method in ("ekfac", "diag"))
    found = rows["diag variance", 2, "rmse"]
    assert {name: found[name] for name in compare(ours, theirs)} == compare(ours, theirs)
    assert rows["ekfac random", "mean", "rmse"]["n"] == 5 and len(rows) == 12


def test_curves_are_means_over_repeats(rng):
    values = rng.rand(2, 3, 2, 2)  # by repeat, step, strategy and metric
    done = {("tiny", "diag"): {(repeat, strategy): [
        Step(8 + step, [], dict(zip(active_learning.LABELS, values[repeat, step, number])), [], [])
        for step in range(3 - repeat)]  # one repeat has not reached the last step
        for repeat in range(2) for number, strategy in enumerate(active_learning.STRATEGIES)}}
    of_random = {curve.metric: curve for curve in active_learning.curves(done, 2) if curve.strategy == "random"}
    assert set(of_random) == {"RMSE", "log-likelihood"}
    found = of_random["log-likelihood"]
    assert list(found.labelled) == [8, 9, 10]
    np.testing.assert_allclose(found.mean, [*values[:, :2, 1, 1].mean(axis=0), values[0, 2, 1, 1]])
    np.testing.assert_allclose(found.error, [*values[:, :2, 1, 1].std(axis=0, ddof=1) / 2**0.5, np.nan])


def test_predictions_of_draws(config, rng):
    weights = [rng.randn(5, 4, 6), rng.randn(5, 7, 1)]
    x = rng.randn(9, 3)
    exact = [np.maximum(np.c_[x, np.ones(9)] @ a, 0.0) @ b[:-1, 0] + b[-1, 0] for a, b in zip(*weights)]
    np.testing.assert_allclose(outputs_of(weights, x), exact)

    made = config()
    table = read_table(made)
    rows, _ = divide(made, table, 1, Sizes(8, 10, 2, 1))
    data, pool = active_learning_methods.load(made, table, rows, 1)
    found = learned(lambda inputs: np.stack([inputs[:, 0], inputs[:, 1]]), lambda outputs: np.ones(2), data, pool)
    error = data.target_std * (data.test.x[:, :2].mean(axis=1) - data.test.y)
    assert found.metrics["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)))
    np.testing.assert_allclose(found.draws.outputs, pool[:, :2].T)
    of_student = learned(lambda inputs: inputs[:, :2].T, lambda outputs: np.array([1.0, 4.0]), data, pool, dof=3.0)
    densities = [t.pdf(data.test.y, 3.0, data.test.x[:, k], scale) for k, scale in ((0, 1.0), (1, 0.5))]
    assert of_student.metrics["log_likelihood"] == pytest.approx(
        np.mean(np.log(np.mean(densities, axis=0))) - np.log(data.target_std))
    assert of_student.draws.dof == 3.0


@pytest.mark.skipif(importlib.util.find_spec("numpyro") is None, reason="benchmarks/requirements.txt is not installed")
def test_hmc_samples_the_posterior_of_the_labelled_rows_alone(config):
    """Rows that pad the arrays do not count: more of them leave the posterior of a linear network what it is."""
    made = config(model_name="ffn", hidden=[2], optimizer="diag")
    table = read_table(made)
    rows, _ = divide(made, table, 1, Sizes(8, 10, 1, 1))
    means = []
    for steps in (1, 30):
        job = Job("", {}, 1, ["variance"], (8, 10, steps, 1))
        learn = Hmc(job, made, table, LEARNERS["hmc"].keywords["sampler"]._replace(warmup=300, samples=600))
        found = learn(0, rows, True)
        assert found.metrics["r_hat"] < 1.1 and found.draws.outputs.shape == (1200, 25)
        means.append(found.draws.outputs.mean(axis=0))
    assert np.abs(means[0] - means[1]).max() < 0.2


@pytest.mark.skipif(importlib.util.find_spec("numpyro") is None, reason="benchmarks/requirements.txt is not installed")
def test_repeats_that_share_a_compiled_sampler_do_not_share_data(config):
    made = config(model_name="ffn", hidden=[2], optimizer="diag")
    table = read_table(made)

    def draws_of(repeat):
        rows, _ = divide(made, table, repeat, Sizes(8, 10, 1, 1))
        job = Job("", {}, repeat, ["variance"], (8, 10, 1, 1))
        return Hmc(job, made, table, LEARNERS["quick_hmc"].keywords["sampler"])(0, rows, True).draws.outputs

    first, second, again = (draws_of(repeat) for repeat in (1, 2, 1))
    np.testing.assert_array_equal(first, again)
    active_learning_methods.make_chains.cache_clear()
    np.testing.assert_array_equal(second, draws_of(2))
    assert np.abs(first - second).max() > 0.1


def test_bad_input(files, tmp_path, capsys):
    out = tmp_path / "out"
    for message, arguments in (("43 rows are too few", ["--steps", "99", "--methods", "diag"]),
                               ("kl 0.5: the posterior that HMC samples has kl 1", [
                                   "--methods", "hmc", "--set", "kl=0.5", "--quick"])):
        if "hmc" in arguments and importlib.util.find_spec("numpyro") is None:
            message = "no method is left: pip install -r benchmarks/requirements.txt"
        assert benchmark(files, out, *arguments) == 2
        assert message in capsys.readouterr().err and not out.exists()
