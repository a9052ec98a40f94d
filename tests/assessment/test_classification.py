"""evaluate.py for classification: its metrics, mixtures, corrupted and out-of-distribution images."""
import json

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose

import evaluate
from core.assessment.evaluated import evaluate_ensemble, evaluate_run
from core.assessment.figures import FIGURES
from core.assessment.inputs import Options
from core.metrics.predictive import ClassPrediction, classification_statistics, softmax, values_of
from data_loader.corruptions import CORRUPTIONS, STRENGTHS, corrupt
from data_loader.ood import fit_to_shape, ood_images
from misc.errors import UserError
from tests.assessment.runs import DIGITS, evaluated, figures, numbers, train_run, write_digits

pytestmark = pytest.mark.usefixtures("shared_graphs")  # the same runs are evaluated again and again


# Classification.

def test_metrics_are_those_of_the_run(digits):
    evaluate.main([str(digits[0])])
    report, result = numbers(digits[0]), json.loads((digits[0] / "result.json").read_text())
    for name in ("accuracy", "log_likelihood", "brier", "ece"):
        assert report["metrics"][name]["value"] == pytest.approx(result["metrics"]["test_" + name], abs=1e-6)
        assert report["metrics"][name]["low"] <= report["metrics"][name]["value"] <= report["metrics"][name]["high"]
    assert (report["step"], report["particles"]) == (36, 4)
    saved, before = np.load(str(digits[0] / "evaluation" / "predictions.npz")), np.load(str(
        digits[0] / "predictions.npz"))
    assert_allclose(saved["probabilities"], before["probabilities"], atol=1e-6)
    assert_allclose(saved["entropy"], saved["expected_entropy"] + saved["mutual_information"], atol=1e-9)
    assert (saved["mutual_information"] >= 0).all() and saved["mutual_information"].max() > 0
    assert figures(digits[0] / "evaluation") == ["noise", "precision", "rejection", "reliability", "uncertainty"]


def test_more_draws_and_smaller_batches(digits):
    four, again, forty = (evaluated(digits[0], **keys).results for keys in (
        {}, {"test_batch_size": 7}, {"test_particles": 40}))
    assert_allclose(again.predictions["probabilities"], four.predictions["probabilities"], atol=1e-5)
    assert np.abs(forty.predictions["probabilities"] - four.predictions["probabilities"]).max() > 1e-3
    assert forty.more["mean_mutual_information"] > four.more["mean_mutual_information"]  # biased low by few draws


def test_out_of_distribution_and_corrupted_images(digits, capsys, monkeypatch):
    for name in set(FIGURES) - {"reliability", "ood", "corruptions"}:
        monkeypatch.delitem(FIGURES, name)
    evaluate.main([str(digits[0]), "--ood", "noise", "--corrupt", "--rows", "100"])
    report = numbers(digits[0])
    assert set(report["ood"]) == {f"{name}_{by}" for name in ("auroc", "fpr95")
                                  for by in ("entropy", "mutual_information")}
    assert 0.6 < report["ood"]["auroc_mutual_information"]["value"] <= 1 and report["ood_set"] == "noise"
    assert 0 < report["monte_carlo"]["error"] < 0.5 and report["monte_carlo"]["bias"] < 0
    assert (report["ood_rows"], report["corrupted_rows"]) == (359, 100)
    _, ood_table, corruption_table = capsys.readouterr().out.strip().split("\n\n")
    assert f"| {report['ood']['auroc_entropy']['value']:.4g} [" in ood_table and "noise (OOD) told from" in ood_table
    blur = np.mean([report["corruptions"]["blur"][str(strength)]["accuracy"] for strength in STRENGTHS])
    columns, _, accuracy = (line.split("|") for line in corruption_table.splitlines()[:3])
    assert accuracy[columns.index(next(name for name in columns if "blur" in name))].strip() == f"{blur:.4g}"
    assert set(report["corruptions"]) == set(CORRUPTIONS)
    for by in report["corruptions"].values():
        assert list(by) == ["0", "1", "2", "3", "4", "5"]
    noise = report["corruptions"]["noise"]
    assert noise["5"]["accuracy"] < noise["0"]["accuracy"] and noise["5"]["log_likelihood"] < noise["0"][
        "log_likelihood"]
    assert {"ood", "corruptions"} <= set(figures(digits[0] / "evaluation"))
    events = list((digits[0] / "evaluation" / "summary").glob("events.*"))
    tags = {value.tag for event in tf.train.summary_iterator(str(events[0])) for value in event.summary.value}
    assert {"evaluation/reliability", "evaluation/ood", "evaluation/corruptions", "evaluation/accuracy"} <= tags


def test_several_runs_and_their_mixture(digits, tmp_path, capsys, monkeypatch):
    for name in set(FIGURES) - {"reliability", "rejection", "noise"}:
        monkeypatch.delitem(FIGURES, name)
    evaluate.main([*map(str, digits), "--ensemble", "--out", str(tmp_path / "both")])
    table = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in table[2:]] == ["run1", "run2", "ensemble"]
    assert (tmp_path / "both" / "comparison.md").read_text().strip() == "\n".join(table)
    assert {"reliability", "rejection", "noise"} <= set(figures(tmp_path / "both"))
    each = [np.load(str(folder / "evaluation" / "predictions.npz"))["probabilities"] for folder in digits]
    together = np.load(str(tmp_path / "both_ensemble" / "predictions.npz"))["probabilities"]
    assert_allclose(together, (each[0] + each[1]) / 2, atol=1e-9)


def test_corrupted_images_of_a_mixture_are_evaluated_by_all_runs(digits):
    options = Options(None, None, True, 60)
    runs = [evaluate_run(root, {}, options, keep=True) for root in digits]
    labels, first = runs[0].collected["noise 5"][:2]
    both = (softmax(first[0]) + softmax(runs[1].collected["noise 5"][1][0])) / 2
    assert np.abs(both - softmax(first[0])).max() > 1e-3
    expected = values_of(classification_statistics(ClassPrediction(both, np.log(both)), labels), 60)
    assert evaluate_ensemble(runs, options).more["corruptions"]["noise"]["5"] == pytest.approx(expected, rel=1e-9)


def test_other_images_in_place_of_the_test_rows(digits, tmp_path):
    """Their classes are found by name: folders 3 and 7 are not classes 0 and 1."""
    write_digits(tmp_path / "some", (3, 7))
    results = evaluated(digits[0], Options(str(tmp_path / "some"), None, False, None)).results
    assert results.predictions["labels"].tolist() == [3] * 20 + [7] * 20
    assert results.metrics["accuracy"].value > 0.5


def test_a_run_in_training_is_evaluated_at_its_checkpoint(tmp_path, no_figures):
    root = train_run(tmp_path, **dict(DIGITS, epoch=2, save_interval=1))
    (root / "result.json").unlink()
    (root / "checkpoint" / "model-24.json").unlink()  # written last: without it, step 24 is incomplete
    assert evaluated(root).step == 12


# Corrupted images and out-of-distribution images.

@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
@pytest.mark.parametrize("shape", [(8, 8, 1), (15, 10, 3)])
def test_corruptions_grow(rng, name, shape):
    images = rng.randint(0, 200, (20, *shape)).astype(np.uint8)
    change = [np.abs(corrupt(images, name, s).astype(float) - images).mean() for s in STRENGTHS]
    assert change[0] > 0 and all(late > early for early, late in zip(change, change[1:])), change
    assert corrupt(images, name, 3).dtype == np.uint8 and corrupt(images, name, 3).shape == images.shape
    assert (corrupt(images, name, 3) == corrupt(images, name, 3)).all()


def test_images_are_fitted_to_the_network(rng):
    images = rng.randint(0, 256, (3, 28, 28, 1)).astype(np.uint8)
    assert fit_to_shape(images, (32, 32, 3)).shape == (3, 32, 32, 3)
    assert (fit_to_shape(images, (28, 28, 3))[..., 1] == images[..., 0]).all()
    grey = fit_to_shape(np.repeat(images, 3, axis=3), (28, 28, 1))
    assert (grey == images).all()
    assert ood_images("noise", None, (4, 4, 1), 7).shape == (7, 4, 4, 1)


def test_a_folder_of_ood_images_needs_no_classes(rng, tmp_path):
    from PIL import Image

    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no image"):
        ood_images(str(tmp_path / "empty"), None, (8, 8, 1))
    images = rng.randint(0, 256, (3, 8, 8)).astype(np.uint8)
    (tmp_path / "flat").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(str(tmp_path / "flat" / f"{i}.png"))
    assert (ood_images(str(tmp_path / "flat"), None, (8, 8, 1))[..., 0] == images).all()
    for folder in (".cache", "deeper"):
        (tmp_path / "flat" / folder).mkdir()
        Image.new("L", (9, 5)).save(str(tmp_path / "flat" / folder / "z.png"))
    assert ood_images(str(tmp_path / "flat"), None, (8, 8, 1)).shape == (4, 8, 8, 1)
