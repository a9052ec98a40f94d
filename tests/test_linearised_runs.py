"""Runs, evaluations and predictions with key `predictive` linearised."""
import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

import evaluate
import predict
import train
from core.api import NoisyClassifier
from core.api.trained_run import load_run
from core.assessment.arguments import PREDICTIVES
from core.assessment.inputs import together
from core.metrics.draws import Draws
from core.metrics.gaussian_outputs import ProbitDraws, with_variance
from core.metrics.predictive import predict as predict_rows
from core.metrics.predictive import softmax
from core.training import run
from core.training.linearised import gaussian_outputs
from misc.config import Config
from misc.config_keys import Keys
from misc.errors import UserError
from misc.folders import run_folder
from tests.classification_runs.short import settings as digits
from tests.golden_runs import interrupted
from tests.predict.houses import read_csv
from tests.test_checkpoints import assert_same
from tests.written import weights

pytestmark = pytest.mark.usefixtures("shared_graphs", "no_figures")
OPTIMIZER = "kfac"
LINEARISED = {"predictive": "linearised"}


def outputs_of(trained, x):
    """Mean and covariance of the standardised outputs of a TrainedRun."""
    restored = trained._restored()
    return gaussian_outputs(restored.session, restored.model, trained._inputs(x), None)


def test_the_values_of_the_flags():
    assert Keys.model_fields["predictive"].annotation.__args__ == PREDICTIVES


@pytest.mark.parametrize("optimizer", ["ekfac", "kfac"])
def test_training_does_not_depend_on_it(finished_run, optimizer):
    (_, sampled), (_, linearised) = finished_run(optimizer=optimizer), finished_run(
        optimizer=optimizer, exp_name="linearised", **LINEARISED)
    assert_same(weights(sampled), weights(linearised))
    metrics = [json.loads(folder.result.read_text())["metrics"] for folder in (sampled, linearised)]
    assert metrics[0]["test_log_likelihood"] != metrics[1]["test_log_likelihood"]
    assert metrics[0]["train_kl"] == metrics[1]["train_kl"]


def test_a_resumed_run_may_change_it(config, config_file, finished_run):
    _, whole = finished_run(steps_per_run=1, exp_name="whole", **LINEARISED)
    path, folder = config_file(steps_per_run=1), run_folder(config(steps_per_run=1))
    with interrupted(20), pytest.raises(SystemExit):
        train.main(["--config", str(path)])
    made = config(steps_per_run=1, **LINEARISED)
    assert not run.is_resumable(folder, made, run.plan(made).data.rows_hash)  # repeated runs begin anew
    train.main(["--config", str(config_file(steps_per_run=1, **LINEARISED)), "--resume"])
    assert_same(weights(folder), weights(whole))
    one, other = (json.loads(place.result.read_text())["metrics"] for place in (folder, whole))
    assert one == other


@pytest.mark.parametrize("likelihood", ["gaussian", "student_t"])
def test_a_regression(finished_run, tmp_path, capsys, likelihood):
    """Mean and std of all ways to predict are those of the Gaussian output and the noise, the metrics those of them."""
    _, folder = finished_run(likelihood=likelihood, exp_name="source")
    trained = load_run(folder.root, predictive="linearised")
    _, data = trained._restored().folder, trained.data
    rows = np.loadtxt(str(folder.root.parents[2] / "tiny.data"))[:9]
    mean, covariance = outputs_of(trained, rows[:, :3])
    columns = trained.predict(rows[:, :3], quantiles=(0.5,), samples=3)
    assert_allclose(columns["mean"], data.target_mean + data.target_std * mean[:, 0], rtol=1e-6)
    assert_allclose(columns["epistemic_std"], data.target_std * np.sqrt(covariance[:, 0, 0]), rtol=1e-6)
    assert_allclose(columns["quantile_0.5"], columns["mean"], rtol=1e-4)
    precisions = trained._noise.precisions
    factor = 1.0 if likelihood == "gaussian" else 8.0 / 6.0
    assert_allclose(columns["std"]**2, columns["epistemic_std"]**2
                    + data.target_std**2 * factor * np.mean(1.0 / precisions), rtol=1e-6)
    table, out = tmp_path / "rows.csv", tmp_path / "out.csv"
    np.savetxt(str(table), rows, delimiter=",", header="a,b,c,y", comments="")
    predict.main([str(folder.root), str(table), "--out", str(out), "--predictive", "linearised"])
    for name in ("mean", "std", "epistemic_std", "lower", "upper"):
        assert_allclose(read_csv(out)[name], columns[name], rtol=1e-6)
    evaluate.main([str(folder.root), "--predictive", "linearised", "--importance", "--ood", str(table)])
    numbers = json.loads((folder.evaluation / "metrics.json").read_text())
    written = read_csv(folder.evaluation / "predictions.csv")
    assert numbers["predictive"] == "linearised"
    assert_allclose(numbers["mean_epistemic_std"], written["epistemic_std"].mean(), rtol=1e-6)
    assert_allclose(numbers["noise_std"], data.target_std * np.sqrt(factor * np.mean(1.0 / precisions)), rtol=1e-6)
    inside = (written["lower"] <= written["target"]) & (written["target"] <= written["upper"])
    assert numbers["metrics"]["coverage_90"]["value"] == inside.mean()
    trained.close()
    evaluate.main([str(folder.root)])
    sampled = json.loads((folder.evaluation / "metrics.json").read_text())
    assert sampled["predictive"] == "sampled" and sampled["metrics"] != numbers["metrics"]


@pytest.mark.parametrize("more", [
    {"likelihood": "heteroscedastic"}, {"target": [3, 4]}, {"target": [3, 4], "likelihood": "heteroscedastic"},
    {"target": [3, 4], "noise_covariance": "full", "noise_update": "conjugate"}])
def test_several_outputs_are_drawn(finished_run, more):
    """The draws have exactly the mean and the covariance of the Gaussian outputs."""
    _, folder = finished_run(epoch=2, exp_name="linearised", **LINEARISED, **more)
    trained = load_run(folder.root)
    n_targets = len(more.get("target", [0]))
    x = np.zeros((2, 4 - n_targets))
    mean, covariance = outputs_of(trained, x)
    outputs = trained.draws(x).outputs.reshape(7, 2, n_targets)
    assert_allclose(outputs.mean(axis=0), mean[:, :n_targets], rtol=1e-5, atol=1e-7)
    gap = outputs - outputs.mean(axis=0)
    assert_allclose(np.einsum("kni,knj->nij", gap, gap) / 7, covariance[:, :n_targets, :n_targets], rtol=1e-4,
                    atol=1e-9)
    names = [name for name in trained.predict(x) if name.startswith("epistemic_std")]
    spread = np.stack([trained.predict(x)[name] for name in names], axis=1)
    variances = np.diagonal(covariance, axis1=1, axis2=2)[:, :n_targets]
    assert_allclose(spread, trained.data.target_std * np.sqrt(variances), rtol=1e-4)
    trained.close()


def test_classes(tmp_path):
    made = Config.from_dict(digits(tmp_path, optimizer="kfac", kl_warmup=0, posterior_layers="last", **LINEARISED))
    result = run.execute(run.plan(made))
    folder = run_folder(made)
    trained = load_run(folder.root)
    x = np.random.RandomState(0).randint(0, 17, (5, *trained.data.spec.shape)).astype(np.uint8)
    mean, covariance = outputs_of(trained, x)
    columns, draws = trained.predict(x), trained.draws(x)
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    p = softmax(mean / np.sqrt(1.0 + np.pi / 8.0 * variance))
    assert_allclose(np.stack([columns[f"p_{name}"] for name in trained.data.classes], axis=1), p, rtol=1e-6)
    assert_allclose(columns["entropy"], -np.sum(p * np.log(p), axis=1), rtol=1e-6)
    of_draws = softmax(draws.draws)
    whole, each = of_draws.mean(axis=0), -np.sum(of_draws * np.log(of_draws), axis=2).mean(axis=0)
    assert_allclose(columns["mutual_information"], -np.sum(whole * np.log(whole), axis=1) - each, rtol=1e-6)
    assert (columns["mutual_information"] > 0.0).all()
    trained.close()
    evaluate.main([str(folder.root), "--ood", "noise"])
    numbers = json.loads((folder.evaluation / "metrics.json").read_text())
    for name in ("accuracy", "log_likelihood", "ece"):
        assert_allclose(numbers["metrics"][name]["value"], result["metrics"][f"test_{name}"], rtol=1e-6)
    assert "auroc_mutual_information" in numbers["ood"] and numbers["monte_carlo"] is None
    assert numbers["mean_mutual_information"] > 0.0


def test_an_estimator_takes_it_as_a_setting(rng):
    x = rng.randn(60, 2)
    estimator = NoisyClassifier(hidden=(4,), epochs=2, settings=LINEARISED, random_state=1)
    estimator.fit(x, (x[:, 0] > 0).astype(int))
    assert_allclose(estimator.predict_proba(x).sum(axis=1), 1.0)
    assert isinstance(estimator.run_.draws(x), ProbitDraws)


def test_without_weight_noise_nothing_changes(finished_run, config_file, capsys):
    _, folder = finished_run(optimizer="adam", exp_name="linearised", **LINEARISED)
    _, sampled = finished_run(optimizer="adam")
    assert folder.predictions.read_text() == sampled.predictions.read_text()
    capsys.readouterr()
    train.main(["--config", str(config_file(optimizer="adam", **LINEARISED)), "--explain"])
    assert "note: predictive has no effect with optimizer adam" in capsys.readouterr().out


def test_explain(config_file, capsys):
    train.main(["--config", str(config_file(**LINEARISED)), "--explain"])
    assert "with the linearised network and 7 draws of noise precision" in capsys.readouterr().out


def test_another_value_is_refused(finished_run):
    _, folder = finished_run()
    with pytest.raises(UserError, match="predictive: .*'sampled' or 'linearised'"):
        load_run(folder.root, predictive="laplace")


def test_an_export_says_that_it_samples(finished_run, tmp_path, capsys):
    _, folder = finished_run(exp_name="linearised", **LINEARISED)
    trained = load_run(folder.root)
    trained.export(npz=tmp_path / "run.npz")
    assert "note: exports predict by weight draws, not by the linearised network" in capsys.readouterr().err
    trained.close()


# Ensembles of both kinds.

def test_regressions_of_both_kinds_are_mixed(rng):
    """The mixture's moments and density are those of its members, with equal weights."""
    targets, precisions = rng.randn(6), np.array([2.0, 3.0, 5.0])
    sampled = Draws(rng.randn(3, 6), precisions, np.inf)
    linearised = with_variance(Draws(rng.randn(1, 6), precisions, np.inf), np.arange(6.0))
    mixed = together([sampled, linearised._replace(outputs=np.broadcast_to(linearised.outputs, (3, 6)))])
    each = [predict_rows(one.outputs, one.precisions, targets, 0.0, 1.0, one.dof, one.within)
            for one in (sampled, linearised, mixed)]
    means, variances = ([getattr(one, name)**power for one in each[:2]] for name, power in (("mean", 1),
                                                                                            ("epistemic_std", 2)))
    assert_allclose(each[2].mean, np.mean(means, axis=0))
    assert_allclose(each[2].epistemic_std**2, np.mean(variances, axis=0) + np.var(means, axis=0))
    assert_allclose(np.exp(each[2].log_prob), np.mean([np.exp(one.log_prob) for one in each[:2]], axis=0))


def test_classifiers_of_both_kinds_are_mixed(rng):
    sampled, probit = rng.randn(4, 6, 3), ProbitDraws(rng.randn(1, 6, 3), rng.randn(4, 6, 3))
    mixed = together([sampled, probit])
    expected = 0.5 * (softmax(sampled).mean(axis=0) + softmax(probit.logits[0]))
    assert_allclose(softmax(mixed.logits).mean(axis=0), expected)
    assert mixed.draws.shape == (8, 6, 3)


def test_an_ensemble(finished_run, capsys):
    folders = [finished_run(exp_name=name, seed=seed, split=1)[1] for name, seed in (("one", 1), ("two", 2))]
    evaluate.main([*(str(folder.root) for folder in folders), "--ensemble", "--predictive", "linearised"])
    assert "ensemble" in capsys.readouterr().out
