"""The log-likelihood of a classification where probabilities underflow to 0: from logits to files."""
import types

import numpy as np
import pytest
from numpy.testing import assert_allclose

from core.assessment.inputs import Collected, Options, mixture
from core.assessment.results import classification_results, write_classification
from core.metrics.predictive import classification_statistics, log_softmax, predict_classes, softmax, values_of
from core.training import evaluation
from data_loader.corruptions import STRENGTHS
from data_loader.parts import Part

LOGITS = np.array([[[800.0, 0.0], [0.0, 2.0]], [[900.0, 0.0], [0.0, 1.0]]])  # [K, n, C]
LABELS = np.array([1, 1])
EXPECTED = np.array([-800.0 + np.log(0.5), np.log((1 / (1 + np.exp(-2.0)) + 1 / (1 + np.exp(-1.0))) / 2)])
DATA = types.SimpleNamespace(classes=["a", "b"], train=Part(np.zeros(2), LABELS))
MODEL = types.SimpleNamespace(evaluate=types.SimpleNamespace(linearised=None))  # predicts by weight draws


def test_probabilities_that_underflow_have_logs():
    assert_allclose(predict_classes(LOGITS[:1]).log_probabilities[:, 1], [-800.0, np.log(softmax([0.0, 2.0])[1])])
    found = predict_classes(LOGITS)
    assert_allclose(found.log_probabilities[[0, 1], LABELS], EXPECTED)
    assert_allclose(np.exp(found.log_probabilities), found.probabilities)
    assert values_of(classification_statistics(found, LABELS), 2)["log_likelihood"] == pytest.approx(EXPECTED.mean())


def test_brier_score_and_calibration_are_those_of_the_probabilities(rng):
    logits, labels = rng.randn(3, 50, 4).astype(np.float32), rng.randint(0, 4, 50)
    found, p = predict_classes(logits), softmax(logits).mean(axis=0)
    assert np.array_equal(found.probabilities, p)
    values = values_of(classification_statistics(found, labels), 50)
    assert values["brier"] == pytest.approx(np.square(p - np.eye(4)[labels]).sum(axis=1).mean())
    assert values["log_likelihood"] == pytest.approx(np.log(p[np.arange(50), labels]).mean(), rel=1e-12)


def test_evaluation_of_a_training_run(monkeypatch, tmp_path):
    """Of all draws, of the mean weights, and in predictions.npz."""
    monkeypatch.setattr(evaluation, "network_outputs", lambda *args, mean=False, **_: LOGITS[:1] if mean else LOGITS)
    found = evaluation.evaluate_classification(None, MODEL, Part(np.zeros(2), LABELS), DATA)
    assert found.metrics["log_likelihood"] == pytest.approx(EXPECTED.mean())
    assert found.metrics["mean_log_likelihood"] == pytest.approx(np.mean([-800.0, np.log(softmax([0.0, 2.0])[1])]))
    evaluation.write_probabilities(types.SimpleNamespace(probabilities=tmp_path / "predictions.npz"), found, DATA)
    check_file(tmp_path / "predictions.npz")


def test_evaluation_of_ensembles_and_corrupted_images(tmp_path):
    members = [{"test": Collected(LABELS, logits[None])} for logits in LOGITS]
    for member in members:
        member.update({f"noise {strength}": Collected(LABELS, log_softmax(member["test"].draws))
                       for strength in STRENGTHS})
    found = classification_results(mixture(members), DATA, Options())
    assert found.metrics["log_likelihood"].value == pytest.approx(EXPECTED.mean())
    assert found.more["corruptions"]["noise"]["0"]["log_likelihood"] == pytest.approx(EXPECTED.mean())
    assert found.more["corruptions"]["noise"]["5"]["log_likelihood"] == pytest.approx(EXPECTED.mean())
    write_classification(found, DATA, tmp_path)
    check_file(tmp_path / "predictions.npz")


def check_file(path):
    with np.load(str(path)) as arrays:
        assert arrays["log_probabilities"].dtype == np.float32
        assert_allclose(arrays["log_probabilities"][[0, 1], arrays["labels"]], EXPECTED, rtol=1e-6)
        assert_allclose(arrays["probabilities"], np.exp(arrays["log_probabilities"]), rtol=1e-5)
