"""evaluate.py: its reports of a run, their correctness, and the input that it refuses."""
import csv
import json
import shutil

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose
from scipy import stats

import evaluate
import train
from core.assessment import weight_noise
from core.assessment.evaluated import evaluate_ensemble, evaluate_run
from core.assessment.figures import FIGURES
from core.assessment.inputs import Collected, Options, band_inputs, collect, make_inputs, mixture
from core.assessment.restore import restored
from core.inference.posteriors import EigenMatrixNormal, FullyFactorized, MatrixNormal
from core.metrics.calibration import monte_carlo
from core.metrics.crps import mixture_crps
from core.metrics.predictive import ClassPrediction, classification_statistics, softmax, values_of
from core.training import evaluation
from core.training.evaluation import Draws
from data_loader.corruptions import CORRUPTIONS, STRENGTHS, corrupt
from data_loader.images import read_digits
from data_loader.ood import fit_to_shape, ood_images
from misc.config import Config
from misc.errors import UserError
from misc.folders import run_folder
from tests.conftest import ROOT

pytestmark = pytest.mark.usefixtures("shared_graphs")  # the same runs are evaluated again and again

NOTHING = Options()
DIGITS = dict(mode="classification", dataset="digits", optimizer="ekfac", model_name="ffn", hidden=[8], epoch=3,
              batch_size=128, learning_rate=0.01, kl_clip=0.01, clip_warmup=0, kl_warmup=0, train_particles=1,
              test_particles=4, TCov=3, TEigen=6, TScale=3, split=1)


def train_run(folder, **settings):
    """Trains and returns the run's folder."""
    values = dict(settings, data_path=str(folder), experiments_path=str(folder / "experiments"))
    path = folder / f"{values.get('exp_name', 'config')}.json"
    path.write_text(json.dumps(values))
    train.main(["--config", str(path)])
    return run_folder(Config.from_dict(values)).root


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Folders of two runs on digits with other seeds and one split."""
    folder = tmp_path_factory.mktemp("digits")
    return [train_run(folder, **DIGITS, exp_name=f"run{seed}", seed=seed) for seed in (1, 2)]


TOY = dict(dataset="toy1d", model_name="ffn", hidden=[12], epoch=600, batch_size=20, train_particles=6,
           test_particles=100, noise_prior_rate=0.1, epoch_rate=300, alpha=0.02, split=1)


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    """{method: folder of its run on toy1d}."""
    folder = tmp_path_factory.mktemp("toy")
    return {method: train_run(folder, **TOY, optimizer=method, exp_name=method, beta=0.05)
            for method in ("ekfac", "kfac", "diag", "bbb")}


@pytest.fixture
def no_figures(monkeypatch):
    """Evaluations without figures, and runs without the one of misclassified digits: drawing takes longest."""
    for name in list(FIGURES):
        monkeypatch.delitem(FIGURES, name)
    monkeypatch.setattr(evaluation, "misclassified_figure", lambda *_: None)


def numbers(folder):
    return json.loads((folder / "evaluation" / "metrics.json").read_text())


def figures(folder):
    return sorted(path.stem for path in folder.glob("*.png"))


def evaluated(root, options=NOTHING, **overrides):
    return evaluate_run(root, overrides, options)


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


def test_out_of_distribution_and_corrupted_images(digits, capsys):
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


def write_digits(folder, labels):
    """Writes images of scikit-learn's digits with these labels into folders named after the labels."""
    from PIL import Image

    data = read_digits()
    for label in labels:
        (folder / str(label)).mkdir(parents=True)
        for i in np.flatnonzero(data.labels == label)[:20]:
            Image.fromarray(data.images[i, ..., 0]).save(str(folder / str(label) / f"{i}.png"))


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


# Regression.

def test_regression_metrics_are_those_of_the_run(toys):
    evaluate.main([str(toys["ekfac"])])
    report, result = numbers(toys["ekfac"]), json.loads((toys["ekfac"] / "result.json").read_text())
    for name in ("rmse", "log_likelihood"):
        assert report["metrics"][name]["value"] == pytest.approx(result["metrics"]["test_" + name], rel=1e-5)
    with open(str(toys["ekfac"] / "evaluation" / "predictions.csv")) as handle:
        rows = list(csv.DictReader(handle))
    assert list(rows[0]) == ["target", "mean", "std", "epistemic_std", "crps", "cdf"] and len(rows) == 2
    assert np.mean([float(row["crps"]) for row in rows]) == pytest.approx(report["metrics"]["crps"]["value"], rel=1e-6)
    assert figures(toys["ekfac"] / "evaluation") == ["band", "coverage", "noise", "precision", "predictions",
                                                     "residuals"]


def test_student_s_t_is_evaluated_with_its_own_density(tmp_path):
    root = train_run(tmp_path, **dict(TOY, optimizer="ekfac", likelihood="student_t", noise_dof=3.0, exp_name="t",
                                     epoch=60, epoch_rate=60))
    results = evaluated(root).results
    metrics = json.loads((root / "result.json").read_text())["metrics"]
    for name in ("rmse", "log_likelihood"):
        assert results.metrics[name].value == pytest.approx(metrics[f"test_{name}"], rel=1e-6)
    gaussian = evaluated(root, likelihood="gaussian").results
    assert gaussian.metrics["log_likelihood"].value != pytest.approx(metrics["test_log_likelihood"], rel=1e-3)
    assert results.more["noise_std"] == pytest.approx(3.0**0.5 * gaussian.more["noise_std"])
    with restored(root, {}) as run:
        collected = collect(run, make_inputs(run.config, run.data, NOTHING))
        (y, draws), data = collected["test"][:2], run.data
    assert mixture([collected, collected])["test"][1].dof == draws.dof == 3.0
    means, scale = data.target_mean + data.target_std * draws.outputs, data.target_std / np.sqrt(draws.precisions)
    y = data.target_mean + data.target_std * y
    assert_allclose(results.predictions["cdf"], stats.t.cdf(y, 3.0, means, scale[:, None]).mean(axis=0), rtol=1e-6)
    assert_allclose(results.predictions["crps"], mixture_crps(means, scale**2, y, 3.0), rtol=1e-6)
    per_draw = stats.t.logpdf(y, 3.0, means, scale[:, None])
    assert results.more["monte_carlo"]["error"] == pytest.approx(monte_carlo(per_draw)["error"], rel=1e-6)
    band = results.panels["band"]
    assert (band.std**2 - band.epistemic_std**2).min() == pytest.approx(results.more["noise_std"]**2, rel=1e-5)


@pytest.mark.parametrize("method", ["ekfac", "kfac", "diag", "bbb"])
def test_the_band_widens_away_from_the_data(toys, method):
    band = evaluated(toys[method]).results.panels["band"]
    inside = (band.x > band.train_x.min()) & (band.x < band.train_x.max())
    assert band.x.min() < band.train_x.min() - 1 and band.x.max() > band.train_x.max() + 1
    middle = np.median(band.epistemic_std[inside])
    assert min(band.epistemic_std[0], band.epistemic_std[-1]) > 2 * middle
    assert (band.std > band.epistemic_std).all()


def test_mixtures_give_every_run_one_weight(toys):
    with restored(toys["ekfac"], {}) as one, restored(toys["bbb"], {}) as other:
        collected = [collect(run, make_inputs(run.config, run.data, NOTHING)) for run in (one, other)]
        assert len(band_inputs(one.data)) == 241
    both = mixture(collected)["test"][1]
    assert both.outputs.shape == (200, 2) and both.precisions.shape == (200,)
    assert_allclose(both.outputs.mean(axis=0), np.mean([each["test"][1].outputs.mean(axis=0) for each in collected],
                                                       axis=0), atol=1e-6)
    labels, sure, unsure = np.zeros(2, int), np.eye(3)[np.array([[0, 0]])], np.full((50, 2, 3), 1 / 3)
    classes = mixture([{"test": Collected(labels, sure)}, {"test": Collected(labels, unsure)}])["test"][1]
    assert_allclose(classes.mean(axis=0), [[2 / 3, 1 / 6, 1 / 6]] * 2)
    other = Draws(*both[:2], 5.0)
    with pytest.raises(UserError, match="noise of different shapes"):
        mixture([{"test": Collected(labels, both)}, {"test": Collected(labels, other)}])
    with pytest.raises(UserError, match="the runs have 7 and 50 draws"):
        mixture([{"test": Collected(labels, unsure[:7])}, {"test": Collected(labels, unsure)}])


def test_few_rows_and_different_rows_are_reported(toys, tmp_path, capsys, no_figures):
    """toy1d has two test rows, too few for intervals."""
    evaluate.main([str(toys["ekfac"])])
    out = capsys.readouterr().out
    assert "Fewer than 20 rows (ekfac): no intervals" in out and "[" not in out
    assert numbers(toys["ekfac"])["metrics"]["rmse"]["low"] is None
    other = train_run(tmp_path, **dict(TOY, split=2, epoch=2), optimizer="ekfac", exp_name="other")
    evaluate.main([str(toys["ekfac"]), str(other), "--out", str(tmp_path / "two")])
    assert "not evaluated on the same rows" in (tmp_path / "two" / "comparison.md").read_text()


def test_a_known_set_s_rows_by_its_name(toys, tmp_path):
    """The set is read from NAME.data in data_path, or fetched, as for training."""
    config = json.loads((toys["ekfac"] / "config.json").read_text())["config"]
    np.savetxt(str(tmp_path / "else.data"), [[-2.0, -8.0], [0.5, 0.0]])
    results = evaluated(toys["ekfac"], Options("else", None, False, None), data_path=str(tmp_path)).results
    assert results.predictions["target"] == pytest.approx([-8.0, 0.0], abs=1e-5)
    with pytest.raises(UserError, match="did you mean 'toy1d'"):
        evaluated(toys["ekfac"], Options("toy1b", None, False, None), data_path=config["data_path"])


def test_other_validation_rows_are_other_rows(tmp_path, no_figures):
    roots = [train_run(tmp_path, **dict(DIGITS, epoch=1), exp_name=f"fold{fold}", validation_fraction=0.2,
                       validation_fold=fold, evaluate_on="validation") for fold in (0, 1)]
    evaluate.main([*map(str, roots), "--out", str(tmp_path / "two")])
    assert "not evaluated on the same rows" in (tmp_path / "two" / "comparison.md").read_text()


def test_shared_axes_include_the_rows_of_every_run(rng):
    """The limits of axes that several runs share include the rows of all of them."""
    cold, hot = ({"right": 10.0**rng.uniform(-4, top, (2, 30)), "wrong": np.zeros((2, 0))} for top in (-2, 0))
    for axis in FIGURES["uncertainty"]({"cold": cold, "hot": hot}).axes:
        assert axis.get_xlim()[1] > hot["right"][0].max() and axis.get_ylim()[1] > hot["right"][1].max()


def test_rows_of_a_file_in_the_data_s_own_units(toys, tmp_path):
    np.savetxt(str(tmp_path / "rows.data"), [[-2.0, -8.0], [0.5, 0.0], [1.0, 1.0]])
    predictions = evaluated(toys["ekfac"], Options(str(tmp_path / "rows.data"), None, False, None)).results.predictions
    assert_allclose(predictions["target"], [-8.0, 0.0, 1.0], atol=1e-5)
    assert abs(predictions["mean"][0] + 8.0) < 8.0


# A linear-Gaussian problem, whose exact posterior is known.

def exact_std(root, noise_std):
    """Mean epistemic std over the test rows under (tau X^T X + I / eta)^-1, in the target's units."""
    with restored(root, {}) as run:
        data = run.data
    x, rows = (np.column_stack([part.x, np.ones(len(part.x))]) for part in (data.train, data.test))
    covariance = np.linalg.inv((data.target_std / noise_std) ** 2 * x.T @ x + np.eye(x.shape[1]))
    return data.target_std * np.mean(np.sqrt(np.sum(rows @ covariance * rows, axis=1)))


@pytest.mark.parametrize("method", ["ekfac", "kfac"])
def test_coverage_and_epistemic_std_of_a_linear_gaussian_problem(tmp_path, method):
    """Intervals have their nominal coverage, and the epistemic std falls as 1 / sqrt(N)."""
    rng, stds = np.random.RandomState(5), {}
    for n in (300, 2700):
        x = rng.randn(n, 3)
        y = x @ [1.0, -2.0, 0.5] + rng.randn(n)
        np.savetxt(str(tmp_path / f"line{n}.data"), np.column_stack([x, y]))
        root = train_run(tmp_path, dataset=f"line{n}", optimizer=method, model_name="linear", epoch=60,
                         batch_size=n // 9, exp_name=f"line{n}", train_particles=4, test_particles=200, beta=0.05,
                         omega=0.05, alpha=0.02, learning_rate=0.02, lr_decay_interval=30, noise_prior_shape=1.0,
                         noise_prior_rate=1.0)
        results = evaluated(root).results
        stds[n] = np.mean(results.predictions["epistemic_std"])
        assert stds[n] == pytest.approx(exact_std(root, results.more["noise_std"]), rel=0.15)
        n_test = len(results.predictions["target"])
    coverage = results.metrics["coverage_90"].value
    assert abs(coverage - 0.9) < 3 * np.sqrt(0.9 * 0.1 / n_test)
    assert results.metrics["calibration_area"].value < 0.05
    assert stds[300] / stds[2700] == pytest.approx(3.0, rel=0.25)


# The posterior.

def test_precisions_against_the_sampled_covariance(rng):
    """Each precision is the inverse of the covariance of many draws, and its diagonal agrees with the closed form."""
    root_a, root_s = np.tril(rng.rand(3, 3)) + np.eye(3), np.tril(rng.rand(2, 2)) + np.eye(2)
    q_a, q_s = np.linalg.qr(rng.randn(3, 3))[0], np.linalg.qr(rng.randn(2, 2))[0]
    variance = 0.5 + rng.rand(3, 2)
    for family in (MatrixNormal(np.zeros((3, 2)), root_a, root_s, np.float64(0.3)),
                   EigenMatrixNormal(np.zeros((3, 2)), q_a, q_s, variance),
                   FullyFactorized(np.zeros((3, 2)), variance)):
        with tf.Graph().as_default(), tf.Session() as session:
            tensors = type(family)(*map(tf.constant, family))
            draws = session.run(tensors.sample(200000, tf.constant([3, 4]))).reshape(200000, 6)
            std = session.run(tensors.std())
        precision = weight_noise.precision(family)
        assert_allclose(np.linalg.inv(precision), np.cov(draws.T), atol=0.02)
        assert_allclose(np.sqrt(np.diag(np.linalg.inv(precision))), std.ravel(), rtol=1e-9)
        normalised = weight_noise.normalised(precision)
        assert_allclose(np.diag(normalised), 1.0)
        assert (normalised <= 1 + 1e-12).all() and normalised.min() >= 0


def test_effective_parameters_are_the_sum_over_the_eigenvalues(toys):
    with restored(toys["ekfac"], {}) as run:
        layers, variables = weight_noise.layers(run), run.session.run(run.model.variables)
        damping = run.design.prior.damping
        for name, layer in layers.items():
            scale = variables[name]["scale"].astype(np.float64)
            assert layer["effective_parameters"] == pytest.approx(np.sum(scale / (scale + damping)), rel=1e-4)
            assert 0 < layer["effective_parameters"] < layer["weights"] == scale.size
        assert set(weight_noise.precisions(run)) == {"dense0", "dense1", "all noisy layers"}


def test_effective_parameters_of_a_learned_variance_are_as_they_are(tmp_path, no_figures):
    """The variance of Bayes by backprop does not have the temperature as a factor, also during the warm-up."""
    with restored(train_run(tmp_path, **dict(DIGITS, optimizer="bbb", kl_warmup=6)), {}) as run:
        stds = run.session.run(run.model.evaluate.weight_std)
        for name, layer in weight_noise.layers(run).items():
            expected = np.sum(1.0 - np.square(stds[name].astype(np.float64)) / run.config.eta)
            assert layer["effective_parameters"] == pytest.approx(expected, rel=1e-6)


def test_effective_parameters_do_not_depend_on_the_warm_up(tmp_path, no_figures):
    """Half-way through kl_warmup the weight noise is smaller; the count is that of the full prior."""
    root = train_run(tmp_path, **dict(DIGITS, kl_warmup=6))
    with restored(root, {}) as run:
        assert run.session.run(run.model.evaluate.kl_scale) == 0.5
        for name, layer in weight_noise.layers(run).items():
            scale = run.session.run(run.model.variables[name]["scale"]).astype(np.float64)
            assert layer["effective_parameters"] == pytest.approx(
                np.sum(scale / (scale + run.design.prior.damping)), rel=1e-3)


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


# Refusals: one line on stderr, exit code 2, and no file written.

@pytest.fixture
def refuse(capsys):
    def check(message, *arguments):
        with pytest.raises(SystemExit) as stop:
            evaluate.main([str(argument) for argument in arguments])
        error = capsys.readouterr().err
        assert stop.value.code == 2 and error.count("\n") == 1 and error.startswith("evaluate.py: "), error
        assert message in error

    return check


def test_flags_that_make_no_sense(refuse, digits, toys):
    refuse("--particles must be at least 1, got 0", digits[0], "--particles", "0")
    refuse("--batch must be at least 1, got -3", digits[0], "--batch", "-3")
    refuse("--ensemble takes at least two runs", digits[0], "--ensemble")
    refuse("a run is named twice", digits[0], digits[0])
    refuse("runs of regression and of classification cannot be compared", digits[0], toys["ekfac"])
    refuse("--ood is for images, toy1d is a table", toys["ekfac"], "--ood", "noise")
    refuse("a flag has an empty value", digits[0], "--ood", "")
    refuse("has a validation log-likelihood: set validation_fraction when you train", digits[0], "--best")
    refuse("is not a set of images", digits[0], "--ood", "x" * 300)
    refuse("--rows is for --corrupt", digits[0], "--rows", "5")
    refuse("--out is for a comparison", digits[0], "--out", "somewhere")
    refuse("--data digits is what the run was trained on", digits[0], "--data", "digits")
    refuse("'noise' is not a set of images", digits[0], "--data", "noise")
    refuse("'fashion_mnits' is not a set of images; did you mean 'fashion_mnist'?", digits[0], "--ood", "fashion_mnits")
    refuse("unknown dataset 'nowhere'", toys["ekfac"], "--data", "nowhere")
    refuse("the run was trained on these rows", toys["ekfac"], "--data", "toy1d")
    refuse("--ood digits is the run's own data set", digits[0], "--ood", "digits")
    refuse("images stands for your own images: give the path of their folder", digits[0], "--ood", "images")
    refuse("holds no run (there is no config.json): give the folder that train.py wrote to; there are "
           f"{toys['bbb']}, {toys['diag']}, ", toys["bbb"].parent)


def test_nothing_of_others_is_overwritten(refuse, toys, tmp_path, capsys, monkeypatch, no_figures):
    (tmp_path / "thesis.txt").write_text("years")
    (tmp_path / "metrics.json").write_text("{}")  # a name that others use, too
    both = [toys["ekfac"], toys["kfac"]]
    refuse("holds other files: choose another --out", *both, "--out", tmp_path)
    refuse("holds other files: choose another --out", *both, "--out", toys["diag"])
    refuse("is or contains a folder that this evaluation reads or writes", *both, "--out", toys["kfac"] / "evaluation")
    monkeypatch.chdir(tmp_path)
    refuse("is or contains the current folder", *both, "--out", ".")
    refuse("is a file: choose another --out", *both, "--out", tmp_path / "thesis.txt")
    assert (tmp_path / "thesis.txt").read_text() == "years" and (toys["diag"] / "config.json").is_file()
    for _ in range(2):  # archives its own earlier files; folders that it wrote are not runs
        written = [root for root in [tmp_path / "out"] if root.exists()]
        evaluate.main([*map(str, both + written), "--out", str(tmp_path / "out")])
    assert (tmp_path / "out" / "comparison.md").is_file() and (tmp_path / "out.1" / "comparison.md").is_file()
    assert "(the earlier one is now out.1)" in capsys.readouterr().err
    first, second = (json.loads((folder / "metrics.json").read_text()) for folder in (
        toys["kfac"] / "evaluation.1", toys["kfac"] / "evaluation"))
    assert first == second


def test_data_that_do_not_fit(refuse, digits, toys, tmp_path):
    (tmp_path / "far.data").write_text("1e300 1.0\n")
    refuse("standard deviations of the training rows away", toys["ekfac"], "--data", tmp_path / "far.data")
    (tmp_path / "letters" / "x").mkdir(parents=True)
    write_digits(tmp_path / "letters", (1,))
    shutil.copy(str(next((tmp_path / "letters" / "1").iterdir())), str(tmp_path / "letters" / "x" / "1.png"))
    refuse("has the class x, which the run does not have (0, 1, 2,", digits[0], "--data", tmp_path / "letters")
    (tmp_path / "wide.data").write_text("1 2 3\n" * 3)
    refuse("has 3 columns, but the network takes 1 inputs and", toys["ekfac"], "--data", tmp_path / "wide.data")
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.new("L", (9, 9)).save(str(tmp_path / "images" / name / "1.png"))
    refuse("has images of 9 x 9 pixels with 1 channel, but the network takes 8 x 8 pixels with 1 channel", digits[0],
           "--data", tmp_path / "images")


def test_folders_without_a_run_or_with_a_damaged_one(refuse, toys, tmp_path):
    refuse("holds no run (there is no config.json)", tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(str(toys["ekfac"]), str(copy))
    before = sorted(copy.rglob("*"))
    for data in (copy / "checkpoint").glob("*.data-*"):
        data.write_bytes(data.read_bytes()[:50])
    refuse("is intact and belongs to this network", copy)
    assert sorted(copy.rglob("*")) == before
    shutil.rmtree(str(copy / "checkpoint"))
    refuse("has no checkpoint (yet)", copy)
    (copy / "config.json").write_text('{"config": []}')
    refuse("is damaged: it is not what train.py wrote", copy)
    (copy / "config.json").write_text("{")
    refuse("is damaged: it is not what train.py wrote", copy)


def test_a_mixture_of_other_splits(refuse, toys, tmp_path, capsys):
    other = train_run(tmp_path, **dict(TOY, split=2, epoch=2), optimizer="ekfac", exp_name="other")
    capsys.readouterr()
    refuse("do not have the same training and test rows: an ensemble needs one data set", toys["ekfac"], other,
           "--ensemble")


@pytest.mark.parametrize("path", sorted(ROOT.glob("config/regression/*_toy1d.json")), ids=lambda path: path.stem)
def test_toy_configs(path):
    made = Config.from_file(path)
    assert (made.dataset, made.optimizer) == ("toy1d", path.stem.split("_")[0]) and made.exp_name == path.stem
