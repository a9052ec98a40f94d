"""The methods that benchmarks.peers compares, and the choice of their hyper-parameters."""
import argparse
import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest
import scipy.optimize
import scipy.stats

pytest.importorskip("numba", reason="benchmarks/requirements.txt is not installed")

from benchmarks import correlations, peer_gp, peer_laplace, peer_methods, peer_training, peers
from benchmarks.peer_training import HIDDEN
from core.assessment.reference_draws import write_draws
from core.metrics.draws import Draws
from data_loader.regression import load_regression
from misc.config import Config
from misc.records import read_rows, write_rows


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.mark.skipif(any(importlib.util.find_spec(name) is None for name in ("torch", "laplace", "ivon")),
                    reason="torch, laplace-torch or ivon-opt is not installed")
def test_gradients_and_rules_are_those_of_torch_and_of_the_packages():
    subprocess.run([sys.executable, "-m", "tests.peer_references"], check=True)


def test_dropout_drops_units_at_its_rate_and_divides_the_others(rng):
    rate, n_rows = 0.2, 4000
    x, weights = np.ones((n_rows, 1), np.float32), np.zeros(2 * HIDDEN + 1, np.float32)
    weights[:HIDDEN] = 1.0
    gradient = np.zeros_like(weights)
    peer_training.add_gradient(weights, x, -np.ones(n_rows, np.float32), np.arange(n_rows), 1.0, rate, rng, gradient)
    kept = gradient[HIDDEN:-1] * (1.0 - rate)  # the share of rows in which each unit was kept
    assert gradient[-1] == pytest.approx(1.0, rel=1e-4)
    assert np.abs(kept - (1.0 - rate)).max() < 5.0 * (rate * (1.0 - rate) / n_rows)**0.5
    assert abs(kept.mean() - (1.0 - rate)) < 4.0 * (rate * (1.0 - rate) / n_rows / HIDDEN)**0.5


def test_held_out_rows_are_predicted_without_their_targets(rng):
    def nearest(x, y, seed):
        def predict(inputs):
            return y[None, np.argmin(((inputs[:, None] - x[None])**2).sum(axis=2), axis=1)]
        return peer_methods.Fit(predict, None)

    x, y = rng.standard_normal((30, 2)), rng.standard_normal(30)
    outputs = peer_methods.cross_validate(nearest, x, y, [0], {})
    assert outputs.shape == (1, 30) and np.abs(outputs[0] - y).min() > 1e-4


def test_the_search_follows_a_regularisation_that_depends_on_the_length_of_training(rng):
    y = rng.standard_normal(50)

    def fit(x, targets, seed, a, epochs):
        badness = 4.0 * (np.log10(a) - epochs + 4.0)**2 + 0.5 * (epochs - 3)**2
        return peer_methods.Fit(lambda inputs: badness + np.zeros((1, len(inputs))), None)

    method = peer_methods.Method(fit, {"a": [0.001, 0.01, 0.1, 1.0], "epochs": [1, 2, 3, 4]}, {"a": 1.0})
    tuning = peer_methods.Tuning(method, rng.standard_normal((50, 2)), y, [0])
    assert tuning.choose(np.inf)[0] == {"a": 0.1, "epochs": 3}
    assert tuning.choose(np.inf, longest=2)[0] == {"a": 0.01, "epochs": 2}
    assert tuning.choose(np.inf)[1] == pytest.approx(1.0 / np.mean(y**2), rel=0.2)


def test_the_command(settings, tmp_path, capsys, monkeypatch):
    assert list(peer_methods.METHODS) == peers.NAMES
    config = settings()
    arguments = ["--data", config["dataset"], "--data-path", config["data_path"], "--splits", "0", "--methods",
                 "laplace_kron", "ensemble", "--dof", "inf", "8", "--longest", "100", "--out", str(tmp_path / "p.csv")]
    monkeypatch.setattr("sys.argv", ["peers", *arguments])
    peers.main()
    printed, rows = capsys.readouterr().out, (tmp_path / "p.csv").read_text()
    assert rows.count("\n") == 5 and "epochs=" in rows and "| laplace_kron | 8" in printed
    peers.main()  # every row is there: nothing is trained
    assert (tmp_path / "p.csv").read_text() == rows


@pytest.mark.parametrize("fit, setting", [
    (peer_methods.fit_dropout, {"rate": 0.3, "weight_decay": 0.01, "epochs": 20}),
    (peer_methods.fit_laplace, {"epochs": 40})])
def test_joint_draws_have_the_same_margins(rng, monkeypatch, fit, setting):
    monkeypatch.setattr(peer_methods, "DRAWS", 4000)
    x = rng.standard_normal((60, 3))
    trained = peer_methods.train(fit, x, x[:, 0] + 0.1 * rng.standard_normal(60), [0], setting)
    inputs = np.concatenate([x[:5], x[:1] + 1e-6])
    single, joint = trained.predict(inputs), trained.predict_jointly(inputs)
    spread = single.std(axis=0)
    assert single.shape == joint.shape == (4000, 6)
    assert np.abs(single.mean(axis=0) - joint.mean(axis=0)).max() < 0.1 * spread.max()
    np.testing.assert_allclose(joint.std(axis=0), spread, rtol=0.1)
    assert np.corrcoef(joint.T)[0, 5] > 0.999 and abs(np.corrcoef(single.T)[0, 5]) < 0.1


def test_the_covariance_of_linearised_outputs_is_that_of_the_jacobian(rng):
    x = peer_methods.with_ones(rng.standard_normal((40, 3)))
    weights, found, logs = peer_laplace.train_laplace(x, np.float32(x[:, 0]), 40, np.random.default_rng(0))
    rows = x[:4]
    jacobian = np.empty((4, len(weights)))
    for j in range(len(weights)):
        step = np.zeros(len(weights))
        step[j] = 1e-4
        sides = [peer_training.outputs_of((np.float64(weights) + sign * step)[None], np.float64(rows))[0]
                 for sign in (1, -1)]
        jacobian[:, j] = (sides[0] - sides[1]) / 2e-4
    deltas, precision = np.exp(logs[:-1]), np.exp(-2.0 * logs[-1])
    parts = peer_laplace.blocks(np.arange(len(weights)))
    bases = [np.kron(found.of_inputs, found.of_back), found.of_back, found.of_hidden, np.eye(1)]
    values = [found.eigenvalues[0].T.ravel(), *found.eigenvalues[1:]]
    covariance = 0.0
    for part, basis, eigenvalues, delta in zip(parts, bases, values, deltas):
        turned = jacobian[:, part.ravel().astype(int)] @ basis
        covariance = covariance + (turned / (precision * eigenvalues + delta)) @ turned.T
    drawn = peer_laplace.output_deviations(weights, rows, found, logs, 40_000, np.random.default_rng(1))
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    np.testing.assert_allclose(np.diag(covariance), peer_laplace.output_variance(weights, rows, found, logs), rtol=1e-3)
    np.testing.assert_allclose(np.cov(drawn.T) / scale, covariance / scale, atol=0.03)


def test_the_command_that_compares_correlations(settings, tmp_path, capsys, monkeypatch, rng):
    x = rng.standard_normal((80, 3))
    np.savetxt(str(tmp_path / "made.data"), np.column_stack([x, x[:, 0] + 0.1 * rng.standard_normal(80)]))
    for method in correlations.OURS:
        base = settings(dataset="made", data_path=str(tmp_path), optimizer=method)
        (tmp_path / f"{method}_made.json").write_text(json.dumps(base))

    def run(*more):
        monkeypatch.setattr("sys.argv", [
            "correlations", "--data", "made", "--quick", "--particles", "20", "--config",
            str(tmp_path / "{method}_{data}.json"), "--out", str(tmp_path / "c.csv"), *more])
        correlations.main()
        return read_rows(tmp_path / "c.csv")

    rows = run()
    assert [row["method"] for row in rows] == [*correlations.OURS, *correlations.PEERS]
    assert sum(float(row["rank"]) for row in rows) == pytest.approx(21.0)
    assert "| made   | laplace_kron |" in capsys.readouterr().out
    data = load_regression(correlations.read_config("made", 0, "ekfac", argparse.Namespace(
        config=str(tmp_path / "{method}_{data}.json"), quick=True, set=[])))
    draws = Draws(rng.standard_normal((50, 8)), np.ones(50), np.inf)
    write_draws(tmp_path / "made_0.npz", draws, data.test.y, data)
    (tmp_path / "c.csv").unlink()
    few = run("--methods", "ekfac", "ensemble", "--draws", str(tmp_path))
    assert all(-1.0 < float(row["meta"]) < 1.0 for row in few) and few[0]["joint"] == rows[0]["joint"]
    (tmp_path / "c.csv").unlink()
    monkeypatch.setattr(correlations, "compare", None)  # bad input is found before the first training
    capsys.readouterr()
    for more, message in ((["--draws", str(tmp_path / "none")], "made_0.npz cannot be read"),
                          (["--splits", "a"], "--splits takes numbers"), (["--data", "made", "mad"], "ekfac_mad.json")):
        with pytest.raises(SystemExit) as stop:
            run(*more)
        error = capsys.readouterr().err
        assert stop.value.code == 2 and message in error and error.count("\n") == 1


def test_comparisons_of_splits_go_on_where_they_were_ended(tmp_path, capsys, monkeypatch):
    computed = []

    def compare(data, split, args):
        if len(computed) == 2:
            raise KeyboardInterrupt
        computed.append((data, split))
        return [dict(data=data, split=split, method=method, joint=0.1 + split, marginal=1.0, xll=split / 3.0, rank=1.0)
                for method in args.methods]

    def run(out, *more):
        monkeypatch.setattr("sys.argv", ["correlations", "--data", "a", "b", "--splits", "0,1", "--methods", "ekfac",
                                         "diag", "--out", str(tmp_path / out), *more])
        correlations.main()
        return capsys.readouterr().out, (tmp_path / out).read_bytes()

    monkeypatch.setattr(correlations, "read_inputs", lambda data, split, args: None)
    monkeypatch.setattr(correlations, "compare", compare)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run("ended.csv")
    seen, computed[:] = list(computed), []
    assert seen == [("a", 0), ("a", 1)] and len(read_rows(tmp_path / "ended.csv")) == 4
    after = run("ended.csv")
    assert computed == [("b", 0), ("b", 1)]
    monkeypatch.setattr(correlations, "compare", lambda *a: compare(*a) if not computed.clear() else None)
    assert run("whole.csv") == after
    with pytest.raises(SystemExit):
        run("whole.csv", "--methods", "ekfac", "kfac")
    assert "has a, split 0, with the methods ekfac diag (now ekfac kfac)" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run("whole.csv", "--particles", "7")
    assert '"particles": 1000' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run("whole.csv", "--draws", str(tmp_path))
    assert "has splits without meta" in capsys.readouterr().err
    settings = json.dumps({"quick": False, "particles": 1000, "config": "config/regression/{method}_{data}.json",
                           "set": [], "draws": "elsewhere"})
    rows = [dict(row, meta=0.5, settings=settings) for row in read_rows(tmp_path / "whole.csv")]
    write_rows(tmp_path / "drawn.csv", correlations.COLUMNS, rows)
    with pytest.raises(SystemExit):
        run("drawn.csv", "--draws", str(tmp_path))  # draws of another reference
    assert '"draws": "elsewhere"' in capsys.readouterr().err
    (tmp_path / "other.csv").write_text("data,split,rmse\na,0,1.0\n")
    with pytest.raises(SystemExit):
        run("other.csv")
    assert "has no column method" in capsys.readouterr().err


def kernel_by_loops(name, a, b, constant, lengths):
    """Returns the covariances [n, m] of the noiseless function at rows a [n, d] and b [m, d], from the definition."""
    distances = np.array([[np.sqrt(sum(((p - q) / lengths)**2)) for q in b] for p in a])
    return constant * {"rbf": np.exp(-distances**2 / 2.0),
                       "matern_3_2": (1.0 + 3.0**0.5 * distances) * np.exp(-3.0**0.5 * distances)}[name]


@pytest.mark.parametrize("name", list(peer_gp.KERNELS))
def test_the_marginal_likelihood_and_its_gradient(rng, name):
    x, y, logs = rng.standard_normal((12, 3)), rng.standard_normal(12), 0.5 * rng.standard_normal(5)
    constant, lengths, noise = np.exp(logs[0]), np.exp(logs[1:-1]), np.exp(logs[-1])
    covariance = kernel_by_loops(name, x, x, constant, lengths) + (noise + peer_gp.JITTER * constant) * np.eye(12)
    loss, gradient = peer_gp.negative_log_evidence(logs, peer_gp.KERNELS[name], x, y)
    assert loss == pytest.approx(-scipy.stats.multivariate_normal.logpdf(y, np.zeros(12), covariance), rel=1e-9)
    numeric = scipy.optimize.approx_fprime(
        logs, lambda other: peer_gp.negative_log_evidence(other, peer_gp.KERNELS[name], x, y)[0], 1e-6)
    assert gradient == pytest.approx(numeric, abs=1e-4)


def test_repeated_inputs_and_little_noise_leave_a_marginal_likelihood(rng):
    """Rounding of the distances makes the kernel matrix indefinite by more than the least noise."""
    logs = np.log([peer_gp.CONSTANTS[1], 0.01, 0.01, 0.01, 9.5, 22.0, 1e4, 1e4, 1e4, peer_gp.NOISES[0]])
    for _ in range(6):
        shapes = rng.standard_normal((12, 5))
        x = np.column_stack([shapes[rng.integers(12, size=400)], rng.choice([-1.7, -0.6, 0.4, 1.3], (400, 3))])
        loss, gradient = peer_gp.negative_log_evidence(logs, peer_gp.matern_3_2, x, x[:, 0])
        assert np.isfinite(loss) and np.isfinite(gradient).all()


@pytest.mark.parametrize("most", [1500, 20])  # rows for the hyper-parameters; there are 54 training rows
def test_the_gaussian_process_of_a_table_in_units_of_its_own(rng, tmp_path, monkeypatch, capsys, most):
    x = rng.uniform(-3.0, 3.0, (60, 2))
    y = 50.0 + 7.0 * np.sin(x[:, 0]) + 0.5 * rng.standard_normal(60)
    np.savetxt(tmp_path / "sine.data", np.column_stack([10.0 * x, y]))
    monkeypatch.setattr(peer_gp, "FIT_ROWS", most)
    result, = peers.compete("sine", 0, "gp", str(tmp_path), [8.0, np.inf], np.inf)
    assert capsys.readouterr().out == "no row for --dof 8: this method has Gaussian noise only\n"
    data = load_regression(Config.from_dict(dict(
        dataset="sine", optimizer="sgd", model_name="ffn50", split=0, protocol="standard", data_path=str(tmp_path))))
    train, test = data.train, data.test
    name, logs = peer_gp.search(train.x, train.y, [0])
    constant, lengths, noise = np.exp(logs[0]), np.exp(logs[1:-1]), np.exp(logs[-1])
    inverse = np.linalg.inv(kernel_by_loops(name, train.x, train.x, constant, lengths) + noise * np.eye(len(train.y)))
    cross = kernel_by_loops(name, test.x, train.x, constant, lengths)
    mean = data.target_mean + data.target_std * cross @ inverse @ train.y
    std = data.target_std * np.sqrt(constant + noise - np.diag(cross @ inverse @ cross.T))
    targets = data.target_mean + data.target_std * test.y
    assert result["rmse"] == pytest.approx(np.sqrt(np.mean((targets - mean)**2)), rel=1e-6)
    assert result["log_likelihood"] == pytest.approx(scipy.stats.norm.logpdf(targets, mean, std).mean(), rel=1e-6)
    assert (result["dof"], result["tuning"], result["chosen"]) == (np.inf, 0.0, f"kernel={name}")
    assert lengths[1] > 3.0 * lengths[0]  # the second input is irrelevant
    if most > 54:
        assert noise**0.5 * data.target_std == pytest.approx(0.5, rel=0.3) and result["rmse"] < 1.0


def test_both_kernels_can_be_chosen(rng):
    x = np.linspace(-4.0, 4.0, 60)[:, None]
    smooth = np.sin(2.0 * x[:, 0])
    walk = np.cumsum(rng.standard_normal(60))
    names = [peer_gp.search(x, (y - y.mean()) / y.std() + 0.01 * rng.standard_normal(60), [0])[0]
             for y in (smooth, walk)]
    assert names == ["rbf", "matern_3_2"]
