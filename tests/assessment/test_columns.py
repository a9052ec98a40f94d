"""evaluate.py on the columns of tables: rows of other tables told apart, drift, and permutation importance."""
import json

import numpy as np
import pandas
import pytest
from numpy.testing import assert_allclose

import evaluate
import predict
from core.assessment.figures import FIGURES
from core.assessment.importance import N_REPEATS
from data_loader.drift import shares_outside
from data_loader.stored import describe, restore
from data_loader.tables import load_split_table
from misc.seeding import stream
from tests.assessment.runs import evaluated, figures, numbers
from tests.predict.houses import read_csv, train_on, write_table

pytestmark = pytest.mark.usefixtures("shared_graphs")

N_ROWS = 160
SETTINGS = dict(target="y", row_id=None, missing=None, epoch=60, batch_size=16, epoch_rate=60, save_interval=60,
                noise_prior_shape=None, noise_prior_rate=None, noise_update="conjugate", test_fraction=0.3,
                protocol="random")


def made(n_rows=N_ROWS, seed=3):
    """Returns a table whose target follows from two columns; two others say nothing, and one of these is constant."""
    rng = np.random.RandomState(seed)
    frame = pandas.DataFrame({"strong": rng.randn(n_rows), "same": np.ones(n_rows), "noise": rng.rand(n_rows),
                              "kind": rng.choice(["a", "b", "c"], n_rows)})
    frame["y"] = 2.0 * frame.strong + 0.7 * (frame.kind == "a") + 0.1 * rng.randn(n_rows)
    frame["z"] = frame.strong - frame.y + 0.2 * rng.randn(n_rows)
    frame["label"] = np.where(frame.strong > 0, "high", "low")
    return frame


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("columns")
    write_table(folder, made(), "made.csv")
    return folder


@pytest.fixture(scope="session")
def run(place):
    return train_on(place / "made.csv", "one", drop=["z", "label"], **SETTINGS)


@pytest.fixture(scope="session")
def others(place):
    """Runs with another seed, on two targets, and on classes."""
    second = train_on(place / "made.csv", "second", drop=["z", "label"], seed=2, split=0, **SETTINGS)
    two = train_on(place / "made.csv", "two", **dict(SETTINGS, target=["y", "z"], drop=["label"]))
    regression = dict.fromkeys(["noise_prior_shape", "noise_prior_rate", "noise_update", "alpha", "beta", "omega"])
    classes = train_on(place / "made.csv", "classes", **dict(
        {**SETTINGS, **regression}, mode="classification", target="label", drop=["y", "z"], epoch=20, epoch_rate=20,
        save_interval=20, kl_warmup=0, clip_warmup=0, learning_rate=0.05))
    return {"second": second, "two": two, "classes": classes}


def far(n_rows=40):
    """Returns rows without targets that lie far away from the training rows in one column, half of them in another."""
    frame = made(n_rows, seed=8).drop(columns=["y", "z", "label"])
    frame["strong"] += 30.0
    frame.loc[: n_rows // 2 - 1, "kind"] = "unheard"
    return frame


def test_rows_of_another_table_are_told_by_their_std(run, place, capsys):
    path = write_table(place, far(), "far.csv")
    evaluate.main([str(run), "--ood", str(path)])
    report, printed = numbers(run), capsys.readouterr().out
    assert report["ood_rows"] == 40 and report["ood_set"] == str(path)
    assert report["ood"]["auroc_epistemic_std"]["value"] > 0.95
    assert "far.csv (OOD) told from the test rows by" in printed and "epistemic std" in printed
    predict.main([str(run), str(path), "--out", str(place / "out.csv")])
    own, ood = read_csv(run / "evaluation" / "predictions.csv"), read_csv(place / "out.csv")
    for name in ("std", "epistemic_std"):
        above = np.mean(ood[name][:, None] > own[name][None]) + 0.5 * np.mean(ood[name][:, None] == own[name][None])
        assert report["ood"][f"auroc_{name}"]["value"] == pytest.approx(above, abs=1e-12)
    assert {"ood", "drift"} <= set(figures(run / "evaluation"))


def test_drift_counts_the_rows_outside_the_training_rows(run, place, capsys):
    path = write_table(place, far(), "far.csv")
    evaluate.main([str(run), "--ood", str(path)])
    printed, drift = capsys.readouterr().out, numbers(run)["drift"]
    split = load_split_table(evaluated(run).config)
    train, test = (split.whole.frame.iloc[rows] for rows in (split.train_rows, split.split.test))
    names = list(split.whole.names)
    for column in ("strong", "noise"):
        known, new = train.iloc[:, names.index(column)], test.iloc[:, names.index(column)]
        assert drift["test"][column] == np.mean((new < known.min()) | (new > known.max()))
    assert drift["ood"]["strong"] == 1.0 and drift["ood"]["kind"] == 0.5
    assert "same" not in drift["ood"]  # constant: the network does not see it
    assert "| one   |" in printed and "| kind" in printed and "| 50 %" in printed


def test_predictions_say_when_many_rows_lie_outside(run, place, capsys):
    path = write_table(place, far(), "far.csv")
    predict.main([str(run), str(path)])
    said = capsys.readouterr().err
    assert "note: outside the range of the training rows, of 40 rows: 'strong' in 40, 'kind' in 20" in said
    predict.main([str(run), str(write_table(place, made().head(30), "near.csv"))])
    assert "outside" not in capsys.readouterr().err


def test_ranges_outlive_the_data_and_older_descriptions_have_none(run):
    data = evaluated(run).data
    stored = json.loads(json.dumps(describe(data)))
    x = data.test.x.copy()
    x[:5, 0] = 100.0
    assert shares_outside(restore(stored), x) == shares_outside(data, x)
    assert shares_outside(data, x)["strong"] >= 5 / len(x)
    for column in stored["inputs"]:
        del column["low"], column["high"]
    assert shares_outside(restore(stored), x) == {}


def test_importance_is_the_log_likelihood_lost(run, place, capsys, monkeypatch):
    evaluate.main([str(run), "--importance"])
    report, printed = numbers(run), capsys.readouterr().out
    found = report["importance"]
    assert list(found) == ["strong", "kind", "noise"]  # the most important first; not the constant column
    assert found["strong"]["low"] > 0.5 and found["kind"]["low"] > 0.0
    assert abs(found["noise"]["value"]) < 0.1 * found["strong"]["value"]
    assert "log-likelihood lost" in printed and "importance" in figures(run / "evaluation")

    for name in list(FIGURES):
        monkeypatch.delitem(FIGURES, name)
    split = load_split_table(evaluated(run).config)  # by hand: files in which the column is permuted
    test = split.whole.frame.iloc[split.split.test].set_axis(split.whole.names, axis=1)
    lost = []
    for repeat in range(N_REPEATS):
        order = stream(0, "importance", repeat, "kind").permutation(len(test))
        path = write_table(place, test.assign(kind=test["kind"].to_numpy()[order]), "permuted.csv")
        evaluate.main([str(run), "--data", str(path)])
        lost.append(report["metrics"]["log_likelihood"]["value"]
                    - numbers(run)["metrics"]["log_likelihood"]["value"])
    assert_allclose(found["kind"]["value"], np.mean(lost), rtol=1e-5)


def test_ensembles_several_targets_and_classes_have_importances(run, others, place, no_figures):
    evaluate.main([str(run), str(others["second"]), "--ensemble", "--importance", "--ood",
                   str(write_table(place, far(), "far.csv"))])
    folder = run.parent / "evaluation_ensemble"
    report = json.loads((folder / "metrics.json").read_text())
    assert report["importance"]["strong"]["low"] > 0.5 and report["drift"]["ood"]["strong"] == 1.0
    assert report["ood"]["auroc_epistemic_std"]["value"] > 0.9
    evaluate.main([str(others["two"]), "--importance", "--ood", str(place / "far.csv")])
    report = numbers(others["two"])
    assert report["importance"]["strong"]["low"] > 0.5 and report["ood_rows"] == 40
    assert report["targets"]["z"]["ood"]["auroc_epistemic_std"]["value"] > 0.9
    evaluate.main([str(others["classes"]), "--importance", "--ood", str(place / "far.csv")])
    report = numbers(others["classes"])
    assert next(iter(report["importance"])) == "strong" and set(report["ood"]) >= {"auroc_entropy"}
