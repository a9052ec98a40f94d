"""Ensembles of repeated runs: their mixture by hand, and the files that regression_baseline.py writes."""
import shutil

import numpy as np
import pytest
from numpy.testing import assert_allclose

from core.baseline.ensembles import mixture_row
from core.metrics.predictive import mix, predict
from misc.errors import RunError
from misc.records import read_json, read_rows
from tests.baseline.commands import baseline, home

pytestmark = pytest.mark.usefixtures("shared_graphs")  # most tests train the same few settings


def test_a_mixture_of_mixtures(rng):
    """The mixture of members of 3 draws each is the mixture of all draws."""
    outputs, precisions, targets = rng.randn(4, 3, 6), rng.gamma(3.0, 1.0, (4, 3)), rng.randn(6)
    members = [predict(output, precision, targets, 2.0, 3.0) for output, precision in zip(outputs, precisions)]
    whole = predict(outputs.reshape(12, 6), precisions.reshape(12), targets, 2.0, 3.0)
    mixed = mix(members, 2.0 + 3.0 * targets)
    for name in whole._fields:
        assert_allclose(getattr(mixed, name), getattr(whole, name), rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("text", ["", "target,mean,std,epistemic_std,log_prob,cdf\n1,1,1,1,-1,.5\n"])
def test_predictions_of_other_rows(write, tmp_path, text):
    assert baseline(write(epoch=1), "--runs", "1") == 0
    roots = [home(tmp_path) / "seeds" / "1", tmp_path / "copy"]
    shutil.copytree(str(roots[0]), str(roots[1]))
    mixture_row(roots)
    (roots[1] / "predictions.csv").write_text(text)
    with pytest.raises(RunError, match="not of the same rows"):
        mixture_row(roots)


def test_an_ensemble_beside_its_runs(write, tmp_path, capsys):
    assert baseline(write(), "--runs", "2", "--ensemble", "3", "--report", str(tmp_path / "t.md")) == 0
    printed = capsys.readouterr().out
    root = home(tmp_path)
    rows, mixtures = read_rows(root / "runs.csv"), read_rows(root / "ensemble.csv")
    assert [row["seed"] for row in rows] == [row["seed"] for row in mixtures] == ["1", "2"]
    folders = [root / "seeds" / "2", *(root / "seeds" / "2" / "ensemble" / str(member) for member in (2, 3))]
    results = [read_json(folder / "result.json") for folder in folders]
    assert len({result["split_hash"] for result in results}) == 1 and len({result["seed"] for result in results}) == 3
    tables = [read_rows(folder / "predictions.csv") for folder in folders]
    means, logs, targets, cdfs = (np.array([[float(row[name]) for row in table] for table in tables])
                                  for name in ("mean", "log_prob", "target", "cdf"))
    assert float(mixtures[1]["rmse"]) == pytest.approx(np.sqrt(np.square(means.mean(0) - targets[0]).mean()))
    assert float(mixtures[1]["log_likelihood"]) == pytest.approx(np.log(np.exp(logs).mean(0)).mean(), rel=1e-6)
    assert float(mixtures[1]["coverage_90"]) == np.mean(np.abs(cdfs.mean(0) - 0.5) <= 0.45)
    assert float(mixtures[1]["train_time_s"]) == pytest.approx(sum(result["train_time_s"] for result in results))
    summary = read_json(root / "ensemble.json")
    gain = np.mean([float(ours["rmse"]) - float(single["rmse"]) for ours, single in zip(mixtures, rows)])
    assert summary["against"]["metrics"]["rmse"]["mean"] == pytest.approx(gain) and summary["members"] == 3
    assert "| diag | diag x3 |" in printed and "base x3 minus base, split by split" in printed
    assert {row["column"] for row in read_rows(tmp_path / "t.csv")} == {"diag", "diag x3"}

    assert baseline(write(), "--runs", "2", "--ensemble", "2") == 0  # its runs exist already
    assert "4 of 4 runs are finished already" in capsys.readouterr().err
    assert [row["members"] for row in read_rows(root / "ensemble.csv")] == ["2", "2"]


def test_predictions_that_cannot_be_mixed(write, tmp_path, capsys):
    """They are reported; all other results are written. Without --ensemble, tables of other settings are archived."""
    root = home(tmp_path)
    assert baseline(write(), "--runs", "2", "--ensemble", "2") == 0
    (root / "seeds" / "1" / "predictions.csv").write_text("target,mean\n1,2\n")
    (root / "seeds" / "2" / "metrics.csv").unlink()
    capsys.readouterr()
    assert baseline(write(), "--runs", "2", "--ensemble", "2") == 0
    printed = capsys.readouterr()
    assert "base x2 seed 1 is not mixed: " in printed.err and "| diag | diag x2 |" in printed.out
    assert [row["seed"] for row in read_rows(root / "ensemble.csv")] == ["2"]
    assert [bool(row["best_epoch"]) for row in read_rows(root / "runs.csv")] == [True, False]
    assert baseline(write(), "--runs", "2") == 0 and (root / "ensemble.json").is_file()
    assert baseline(write(kl=0.5), "--runs", "1") == 0
    assert not (root / "ensemble.json").exists() and (root / "ensemble.json.1").is_file()


def test_an_ensemble_that_lacks_a_member(write, tmp_path, monkeypatch):
    from core.training import run

    honest = run.train

    def train_or_fail(plan, folder, *args, **kwargs):
        if folder.root.name == "2" and folder.root.parent.name == "ensemble" and plan.config.split == 1:
            raise RunError("training diverged")
        return honest(plan, folder, *args, **kwargs)

    monkeypatch.setattr(run, "train", train_or_fail)
    assert baseline(write(), "--runs", "2", "--ensemble", "2") == 1
    assert [row["seed"] for row in read_rows(home(tmp_path) / "ensemble.csv")] == ["2"]
    assert read_json(home(tmp_path) / "ensemble.json")["failed"] == {"1": "training diverged"}
    assert read_json(home(tmp_path) / "summary.json")["failed"] == {}
