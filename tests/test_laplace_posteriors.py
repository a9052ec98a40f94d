"""The comparison of last-layer and linearised posteriors with those of laplace-torch, at toy size."""
import importlib.util

import numpy as np
import pytest

from benchmarks import laplace_posteriors
from misc.records import read_rows

needs_laplace = pytest.mark.skipif(any(importlib.util.find_spec(name) is None for name in ("torch", "laplace")),
                                   reason="torch or laplace-torch is not installed: nothing of it is compared")


def row(split, method, layers, log_likelihood, predictive="linearised"):
    return {"data": "yacht", "split": split, "method": method, "layers": layers, "predictive": predictive,
            "rmse": 1.0, "log_likelihood": log_likelihood, "seconds": 2.0}


def test_differences_are_paired_by_split():
    rows = [row(0, "ekfac", "all", 3.0), row(1, "ekfac", "all", 5.0), row(2, "ekfac", "all", 90.0),
            row(1, "laplace", "all kron, map", 4.5), row(0, "laplace", "all kron, map", 2.0)]
    means, differences = laplace_posteriors.tables(rows).split("\n\n")
    of_ours = next(line for line in means.splitlines() if "ekfac" in line)
    assert [cell.strip() for cell in of_ours.strip("|").split("|")][:5] == ["yacht", "ekfac", "all", "linearised", "3"]
    cells = [cell.strip() for cell in differences.splitlines()[-1].strip("|").split("|")]
    assert cells == ["yacht", "ekfac", "all", "linearised", "", "", "0.750 ± 0.250", "", "", ""]


def test_predictions_of_the_package_have_our_metrics():
    rng = np.random.default_rng(2)

    class Data:
        class test:
            y = rng.standard_normal(5)
        target_mean, target_std = 3.0, 2.0

    mean, variance = rng.standard_normal(5), rng.uniform(0.5, 2.0, 5)
    found = laplace_posteriors.metrics_of({"mean": mean, "variance": variance}, Data)
    squares = (2.0 * (Data.test.y - mean))**2
    assert found["rmse"] == pytest.approx(np.sqrt(squares.mean()))
    assert found["log_likelihood"] == pytest.approx(np.mean(
        -0.5 * np.log(2.0 * np.pi * 4.0 * variance) - 0.5 * squares / (4.0 * variance)))
    Data.test.y = np.array([0, 1, 1])
    found = laplace_posteriors.metrics_of({"probabilities": np.array([[0.8, 0.2], [0.6, 0.4], [1.0, 0.0]])}, Data)
    assert found["accuracy"] == pytest.approx(1.0 / 3.0)
    assert found["log_likelihood"] == pytest.approx(np.mean([np.log(0.8), np.log(0.4), np.log(np.finfo(float).tiny)]))


@needs_laplace
@pytest.mark.parametrize("name, settings", [("yacht", ["epoch=3", "dataset=made"]), ("digits", ["epoch=1"])])
def test_the_command(name, settings, tmp_path, capsys, monkeypatch):
    rng = np.random.RandomState(1)
    x = rng.randn(308, 6)
    np.savetxt(str(tmp_path / "made.data"), np.column_stack([x, x[:, 0] + 0.1 * rng.randn(308)]))
    out = tmp_path / "rows.csv"
    monkeypatch.setattr("sys.argv", ["laplace_posteriors", "--data", name, "--splits", "0", "--data-path",
                                     str(tmp_path), "--out", str(out), "--set", "test_particles=4",
                                     *(word for setting in settings for word in ("--set", setting))])
    laplace_posteriors.main()
    rows = read_rows(out)
    n_ours = len(laplace_posteriors.SETS[name].variants)
    assert len(rows) == 4 * n_ours + len(laplace_posteriors.FITS)
    values = [float(each["log_likelihood"]) for each in rows]
    assert np.isfinite(values).all() and len(set(values)) == len(values)  # no two are the same posterior
    assert all(bool(each["rmse"]) != bool(each["accuracy"]) for each in rows)
    assert "minus last full, map" in capsys.readouterr().out
    before = out.read_text()
    laplace_posteriors.main()  # every row is there: nothing is trained
    assert out.read_text() == before
