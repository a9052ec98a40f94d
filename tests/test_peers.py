"""The methods that benchmarks.peers compares, and the choice of their hyper-parameters."""
import importlib.util
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("numba", reason="benchmarks/requirements.txt is not installed")

from benchmarks import peer_methods, peer_training, peers
from benchmarks.peer_training import HIDDEN


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
