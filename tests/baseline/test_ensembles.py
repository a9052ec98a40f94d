"""Ensembles of repeated runs: their mixture by hand, and the files that regression_baseline.py writes."""
import shutil

import numpy as np
import pytest
from numpy.testing import assert_allclose

import evaluate
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


def test_runs_of_two_splits_are_not_mixed(write, tiny_data, tmp_path):
    """Large targets, which differ by less than the 9 digits of earlier files."""
    with_shifted_targets(tiny_data)
    assert baseline(write(epoch=1), "--seeds", "1,2") == 0
    with pytest.raises(RunError, match="not of the same rows"):
        mixture_row([home(tmp_path) / "seeds" / seed for seed in "12"])


def with_shifted_targets(tiny_data):
    """Adds 1.6e9 to the targets of tiny.data: 9 digits of them hold nothing but the shift."""
    path = str(tiny_data / "tiny.data")
    raw = np.loadtxt(path)
    raw[:, -1] += 1.6e9
    np.savetxt(path, raw)


@pytest.mark.usefixtures("no_figures")
def test_nothing_is_computed_from_rounded_files(write, tiny_data, tmp_path):
    """Targets of 1.6e9 + y: the mixture of the files is that of the checkpoints, and files hold every digit."""
    with_shifted_targets(tiny_data)
    assert baseline(write(), "--runs", "1", "--ensemble", "2") == 0
    first = home(tmp_path) / "seeds" / "1"
    roots = [first, first / "ensemble" / "2"]
    evaluate.main([*map(str, roots), "--ensemble", "--out", str(tmp_path / "out")])
    row = read_rows(home(tmp_path) / "ensemble.csv")[0]
    direct = read_json(tmp_path / "out_ensemble" / "metrics.json")["metrics"]
    for name in ("rmse", "log_likelihood", "moment_log_likelihood", "coverage_90"):
        assert float(row[name]) == pytest.approx(direct[name]["value"], rel=1e-6), name
    assert float(row["rmse"]) > 0.1
    for root in roots:
        result = read_json(root / "result.json")["metrics"]
        for folder in (root, root / "evaluation"):
            table = read_rows(folder / "predictions.csv")
            mean, target = (np.array([float(line[name]) for line in table]) for name in ("mean", "target"))
            assert np.sqrt(np.mean(np.square(mean - target))) == result["test_rmse"], folder
    curve = read_rows(first / "metrics.csv")[-1]
    assert float(curve["test_rmse"]) == float(read_rows(home(tmp_path) / "runs.csv")[0]["rmse"])


def test_predictions_that_were_rounded(write, tiny_data, tmp_path, capsys):
    """Earlier versions wrote 9 digits; where these do not give the run's own metrics, nothing is mixed."""
    with_shifted_targets(tiny_data)
    assert baseline(write(), "--runs", "1") == 0
    path = home(tmp_path) / "seeds" / "1" / "predictions.csv"
    lines = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("\n".join(",".join(cells) for cells in
                              [lines[0], *([f"{float(cell):.9g}" for cell in line] for line in lines[1:])]))
    capsys.readouterr()
    assert baseline(write(), "--runs", "1", "--ensemble", "2") == 1
    assert "base x2 seed 1 is not mixed: " in capsys.readouterr().err


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
    """They are named, with exit code 1. Without --ensemble, tables of other settings are archived."""
    root = home(tmp_path)
    assert baseline(write(), "--runs", "2", "--ensemble", "2") == 0
    (root / "seeds" / "1" / "predictions.csv").write_text("target,mean\n1,2\n")
    (root / "seeds" / "2" / "metrics.csv").unlink()
    capsys.readouterr()
    assert baseline(write(), "--runs", "2", "--ensemble", "2") == 1
    printed = capsys.readouterr()
    assert "regression_baseline.py: base x2 seed 1 is not mixed: " in printed.err
    assert "| diag | diag x2 |" in printed.out
    assert [row["seed"] for row in read_rows(root / "ensemble.csv")] == ["2"]
    assert [bool(row["best_epoch"]) for row in read_rows(root / "runs.csv")] == [True, False]
    assert baseline(write(), "--runs", "2") == 0 and (root / "ensemble.json").is_file()
    assert baseline(write(kl=0.5), "--runs", "1") == 0
    assert not (root / "ensemble.json").exists() and (root / "ensemble.json.1").is_file()


def test_members_are_archived_with_their_run(write, tmp_path, capsys):
    """Under a run of another config, or trained again, there are no members of the earlier one."""
    seeds = home(tmp_path) / "seeds"
    assert baseline(write(), "--runs", "1", "--ensemble", "2") == 0
    (seeds / "1" / "config.json").write_text("{")  # the members are intact
    assert baseline(write(), "--runs", "1") == 0 and (seeds / "1" / "ensemble" / "2" / "result.json").is_file()
    assert baseline(write(kl=0.5), "--runs", "1") == 0
    assert "1 earlier run with other settings will be archived" in capsys.readouterr().err
    assert not (seeds / "1" / "ensemble").exists() and (seeds / "1.2" / "ensemble" / "2" / "result.json").is_file()
    assert baseline(write(kl=0.5), "--runs", "1", "--ensemble", "3") == 0
    assert baseline(write(kl=0.5), "--runs", "1", "--ensemble", "2", "--fresh") == 0
    for member in "23":
        assert (seeds / "1.3" / "ensemble" / member / "result.json").is_file()
    assert [path.name for path in (seeds / "1" / "ensemble").glob("[0-9]*")] == ["2"]


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
