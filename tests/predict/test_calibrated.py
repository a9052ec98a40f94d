"""Runs that are calibrated after their training, by validation rows: coverage, columns of predictions, refusals."""
import json
import pickle
import re
import shutil

import numpy as np
import pandas
import pytest
from numpy.testing import assert_allclose
from scipy.special import log_softmax, softmax

import evaluate
import predict
from core.api import load_run
from misc.errors import UserError
from misc.folders import folder_at
from tests.assessment.runs import DIGITS, numbers, train_run
from tests.predict.conftest import refused
from tests.predict.houses import assert_equal, predicted, read_csv, train_on, write_table

pytestmark = pytest.mark.usefixtures("shared_graphs", "no_figures")

SHORT = dict(row_id=None, missing=None, epoch=4, batch_size=100, epoch_rate=4, save_interval=4, protocol="random",
             test_fraction=0.5, validation_fraction=0.4)
OVERCONFIDENT = dict(SHORT, noise_prior_shape=1e6, noise_prior_rate=1e3)  # a noise precision that no row can change
OF_CLASSES = dict(SHORT, mode="classification", alpha=None, beta=None, omega=None, noise_prior_shape=None,
                  noise_prior_rate=None, learning_rate=0.01, kl_clip=0.01, clip_warmup=0, kl_warmup=0, TCov=3, TEigen=6,
                  TScale=3)
NEW = ["calibrated_std", "calibrated_lower", "calibrated_upper"]


def rows(n_rows=900):
    """Two inputs, two targets with noise that grows, and a noisy class."""
    rng = np.random.RandomState(5)
    x = rng.randn(n_rows, 2)
    noise = rng.standard_t(4, (n_rows, 2)) * (0.3 + np.abs(x[:, :1]))
    frame = pandas.DataFrame(x, columns=["a", "b"])
    frame["y"], frame["z"] = 5.0 + 2.0 * x[:, 0] + noise[:, 0], 100.0 * (x[:, 1] + 3.0 * noise[:, 1])
    frame["kind"] = np.array(["low", "mid", "high"])[np.digitize(x[:, 0] + noise[:, 0], [-0.7, 0.7])]
    return frame


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("calibrated"), rows(), "rows.csv")


@pytest.fixture(scope="module")
def trained(path):
    """{name: folder of a run}, none of which is calibrated."""
    return {"number": train_on(path, "number", **dict(OVERCONFIDENT, target="y", drop=["z", "kind"])),
            "several": train_on(path, "several", **dict(OVERCONFIDENT, target=["y", "z"], drop=["kind"])),
            "classes": train_on(path, "classes", **dict(OF_CLASSES, target="kind", drop=["y", "z"])),
            "no_validation": train_on(path, "no_validation", **dict(
                OVERCONFIDENT, target="y", drop=["z", "kind"], validation_fraction=None, epoch=1, epoch_rate=1))}


@pytest.fixture
def copy(trained, tmp_path):
    """Function (name) -> copy of the folder of this run."""

    def make(name):
        shutil.copytree(str(trained[name]), str(tmp_path / name))
        return tmp_path / name

    return make


def calibrate(root, *flags):
    """Returns calibration.json after evaluate.py --calibrate."""
    evaluate.main([str(root), "--calibrate", *map(str, flags)])
    return json.loads((root / "calibration.json").read_text())


def parts(root, path):
    """Returns the frames of the validation and the test rows."""
    from core.assessment.restore import restored

    with restored(root, {}) as run:
        valid, test = run.data.valid.ids - 1, run.data.test.ids - 1
    frame = pandas.read_csv(str(path), float_precision="round_trip")
    return frame.iloc[valid], frame.iloc[test]


def near(share, rank, n_calibration, n_rows):
    """Whether a coverage is that of this rank, as far as both numbers of rows allow."""
    expected = rank / (n_calibration + 1.0)
    variance = expected * (1 - expected) * (1.0 / n_rows + 1.0 / (n_calibration + 2))
    return abs(share - expected) < 3.5 * np.sqrt(variance)


def test_an_overconfident_run_covers_new_rows(copy, path, rows_file, capsys):
    root = copy("number")
    plain = predicted(capsys, root, path)[0]
    fitted = calibrate(root)
    printed = capsys.readouterr().out
    assert printed.count("as trained") == 2 and "| 180 validation rows |" in printed and "450 test rows" in printed
    valid, test = parts(root, path)
    of_valid = predicted(capsys, root, rows_file(valid))[0]
    scores = np.sort(np.abs(valid["y"].to_numpy() - of_valid["mean"]) / of_valid["std"])
    assert (fitted["n_rows"], fitted["level"], fitted["particles"], fitted["step"]) == (180, 0.9, 7, 12)
    assert_allclose(fitted["targets"][0]["scores"], scores, rtol=1e-5)
    assert fitted["targets"][0]["std_factor"] == pytest.approx(np.sqrt(np.mean(scores**2)), rel=1e-5)

    evaluate.main([str(root), "--calibrated"])
    told, written = numbers(root)["calibrated"], read_csv(root / "evaluation" / "predictions.csv")
    before, after = (told[state]["coverage"]["value"] for state in ("before", "after"))
    assert before < 0.3 and near(after, 163, 180, 450)  # ceil(181 * 0.9) = 163
    inside = (written["calibrated_lower"] <= test["y"]) & (test["y"] <= written["calibrated_upper"])
    assert inside.mean() == pytest.approx(after)
    width = (written["calibrated_upper"] - written["calibrated_lower"]).mean()
    assert told["after"]["mean_width"]["value"] == pytest.approx(width)
    better = [told[state]["moment_log_likelihood"]["value"] for state in ("before", "after")]
    assert better[1] > better[0] + 1.0

    got = predicted(capsys, root, rows_file(test), "--calibrated")[0]
    assert list(got) == [*plain, *NEW]
    for name in NEW:
        assert_allclose(got[name], written[name], rtol=1e-6)
    assert_allclose(got["calibrated_upper"] - got["mean"], scores[162] * got["std"], rtol=1e-5)
    half = predicted(capsys, root, rows_file(test), "--calibrated", "--interval", "0.5")[0]
    assert_allclose(half["calibrated_upper"] - half["mean"], scores[90] * half["std"], rtol=1e-5)
    share = ((half["calibrated_lower"] <= test["y"]) & (test["y"] <= half["calibrated_upper"])).mean()
    assert near(share, 91, 180, 450)
    assert_equal(predicted(capsys, root, path)[0], plain)  # nothing else has changed
    run = load_run(root)
    assert_equal(run.predict(test, calibrated=True), {name: got[name] for name in got if name != "row"})
    assert list(run.predict(test)) == [name for name in plain if name != "row"]
    capsys.readouterr()
    for particles, expected in ((None, fitted), (3, None)):
        run.export(npz=root / "posterior.npz", particles=particles)
        with np.load(str(root / "posterior.npz")) as arrays:
            assert json.loads(str(arrays["description"]))["calibration"] == expected
    assert "note: the calibration is not exported: " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["number", "classes"])
def test_a_calibration_is_of_sampled_or_of_linearised_predictions(copy, path, capsys, name):
    root = copy(name)
    both = [calibrate(root, "--predictive", predictive) for predictive in ("sampled", "linearised")]
    scores = [fitted["classes" if name == "classes" else "targets"][0]["scores"] for fitted in both]
    assert [fitted["predictive"] for fitted in both] == ["sampled", "linearised"] and scores[0] != scores[1]
    capsys.readouterr()
    expected = (r"calibration.json is of linearised predictions, but these are sampled: calibrate again with "
                r"evaluate.py --calibrate --predictive sampled, or predict with --predictive linearised")
    frame = pandas.read_csv(str(path))[:5]
    with pytest.raises(UserError, match=expected):
        load_run(root).predict(frame, calibrated=True)
    assert len(load_run(root, predictive="linearised").predict(frame, calibrated=True)["mean" if name == "number"
                                                                                      else "set"]) == 5
    load_run(root).export(npz=root / "posterior.npz")
    assert re.search(f"note: the calibration is not exported: .*{expected}", capsys.readouterr().err)
    evaluate.main([str(root)])
    assert re.search(expected, numbers(root)["calibration_notice"])


def test_a_calibration_without_weight_noise_is_of_the_only_predictions(path, capsys):
    """The flag then changes nothing."""
    root = train_on(path, "point", **dict(OVERCONFIDENT, target="y", drop=["z", "kind"], optimizer="adam"))
    fitted = calibrate(root, "--predictive", "linearised")
    assert fitted["predictive"] == "sampled" and fitted == calibrate(root)


def test_without_the_flag_files_stay_as_they_are(copy, capsys):
    root = copy("number")
    evaluate.main([str(root)])
    before, told = (root / "evaluation" / "predictions.csv").read_text(), numbers(root)
    calibrate(root, "--level", "0.8")
    evaluate.main([str(root)])
    assert (root / "evaluation" / "predictions.csv").read_text() == before
    after = numbers(root)
    assert after.pop("calibrated")["level"] == 0.8 and after == told
    assert "| 0.8     | calibrated |" in capsys.readouterr().out


def test_each_target_by_itself(copy, path, rows_file, capsys):
    root = copy("several")
    fitted = calibrate(root, "--level", "0.8")
    valid, test = parts(root, path)
    of_valid = predicted(capsys, root, rows_file(valid))[0]
    got = predicted(capsys, root, rows_file(test), "--calibrated")[0]
    for number, name in enumerate("yz"):
        scores = np.sort(np.abs(valid[name].to_numpy() - of_valid[f"mean_{name}"]) / of_valid[f"std_{name}"])
        assert_allclose(fitted["targets"][number]["scores"], scores, rtol=1e-5)
        lower, upper = got[f"calibrated_lower_{name}"], got[f"calibrated_upper_{name}"]
        assert_allclose(upper - lower, 2.0 * scores[144] * got[f"std_{name}"], rtol=1e-5)  # ceil(181 * 0.8) = 145
        assert near(((lower <= test[name]) & (test[name] <= upper)).mean(), 145, 180, 450)
    evaluate.main([str(root), "--calibrated"])
    written = read_csv(root / "evaluation" / "predictions.csv")
    assert_allclose(written["calibrated_upper_z"], got["calibrated_upper_z"], rtol=1e-6)
    assert {"coverage_y", "mean_width_z"} < set(numbers(root)["calibrated"]["after"])


@pytest.mark.parametrize("sets", ["lac", "aps"])
def test_classes_of_a_table(copy, path, rows_file, capsys, sets):
    root = copy("classes")
    plain = predicted(capsys, root, path)[0]
    fitted = calibrate(root, "--sets", sets)
    fit, names = fitted["classes"][0], ["high", "low", "mid"]
    assert fit["sets"] == sets
    valid, test = parts(root, path)
    of_test = predicted(capsys, root, rows_file(test))[0]
    got = predicted(capsys, root, rows_file(test), "--calibrated")[0]
    assert list(got) == [*plain, "set"] and (got["predicted"] == of_test["predicted"]).all()
    p = np.stack([of_test[f"p_{name}"] for name in names], axis=1)
    assert_allclose(np.stack([got[f"p_{name}"] for name in names], axis=1),
                    softmax(np.log(p) / fit["temperature"], axis=1), rtol=1e-6)
    assert_allclose(got["confidence"], np.max([got[f"p_{name}"] for name in names], axis=0))
    bound = fit["scores"][162]
    scores = 1.0 - p if sets == "lac" else np.array([[row[row > each].sum() for each in row] for row in p])
    inside = np.array([[name in str(text).split("|") for name in names] for text in got["set"]])
    clear = np.abs(scores - bound) > 1e-9  # not where rounding decides
    assert (inside == (scores <= bound))[clear].all()
    covered = inside[np.arange(450), [names.index(kind) for kind in test["kind"]]].mean()
    assert near(covered, 163, 180, 450) or (sets == "aps" and covered > 0.9)

    evaluate.main([str(root), "--calibrated"])
    told = numbers(root)["calibrated"]["after"]
    assert told["coverage"]["value"] == pytest.approx(covered)
    assert told["mean_size"]["value"] == pytest.approx(inside.sum(axis=1).mean())
    of_valid = predicted(capsys, root, rows_file(valid))[0]
    logs = np.log(np.stack([of_valid[f"p_{name}"] for name in names], axis=1))
    labels = [names.index(kind) for kind in valid["kind"]]
    at = [log_softmax(logs / (fit["temperature"] * factor), axis=1)[np.arange(180), labels].mean()
          for factor in (0.9, 1.0, 1.1)]
    assert max(at) == at[1]

    run = pickle.loads(pickle.dumps(load_run(root).pack()))
    assert (run.predict(test, calibrated=True)["set"].tolist()
            == ["" if text != text else text for text in got["set"]])


def test_images(tmp_path_factory, capsys):
    root = train_run(tmp_path_factory.mktemp("digits"), **dict(DIGITS, validation_fraction=0.3))
    fitted = calibrate(root)
    n_rows = fitted["n_rows"]
    evaluate.main([str(root), "--calibrated"])
    told = numbers(root)["calibrated"]
    with np.load(str(root / "evaluation" / "predictions.npz")) as arrays:
        expected = softmax(np.log(arrays["probabilities"]) / fitted["classes"][0]["temperature"], axis=1)
        assert_allclose(arrays["calibrated_probabilities"], expected, rtol=1e-4)
        labels, sets = arrays["labels"], arrays["sets"]
    covered = sets[np.arange(len(labels)), labels].mean()
    assert told["after"]["coverage"]["value"] == pytest.approx(covered)
    assert near(covered, np.ceil((n_rows + 1) * 0.9), n_rows, len(labels))
    assert told["after"]["log_likelihood"]["value"] > told["before"]["log_likelihood"]["value"]
    assert told["after"]["accuracy"] == told["before"]["accuracy"]


def test_other_rows(copy, path, rows_file, capsys):
    """--data gives the rows, whether the run's own are there or not; those it was trained on are refused or counted."""
    root = copy("number")
    other = rows(1000).iloc[900:]
    fitted = calibrate(root, "--data", rows_file(other, "other.csv"))
    assert fitted["rows"].startswith("100 rows of ") and fitted["n_rows"] == 100
    assert "450 test rows" in capsys.readouterr().out
    evaluate.main([str(root), "--data", str(rows_file(other, "other.csv"))])
    assert "these are the rows that it was calibrated on" in capsys.readouterr().out
    frame = pandas.read_csv(str(path), float_precision="round_trip")
    mixed = calibrate(root, "--data", rows_file(pandas.concat([frame.iloc[:300], other]), "mixed.csv"))
    assert " of the 400 rows are rows that the run was trained on" in mixed["notices"][-1]


@pytest.fixture
def refuse_evaluation(capsys):
    def check(message, *arguments):
        lines = refused(capsys, evaluate.main, *arguments)
        assert lines[-1].startswith("evaluate.py: ") and message in lines[-1], lines
        assert not [line for line in lines[:-1] if not line.startswith("note: ")], lines

    return check


def test_what_cannot_be_calibrated(trained, refuse_evaluation, rows_file, path):
    root = trained["number"]
    refuse_evaluation("no_validation has no validation rows to calibrate on: give other rows with --data, or set "
                      "validation_fraction when you train", trained["no_validation"], "--calibrate")
    refuse_evaluation("level 0.999 needs at least 999 calibration rows, and there are 180 validation rows: ask for a "
                      "lower level", root, "--calibrate", "--level", "0.999")
    few = rows_file(rows(905).iloc[900:])
    refuse_evaluation("level 0.9 needs at least 9 calibration rows, and there are 5 rows of", root, "--calibrate",
                      "--data", few)
    refuse_evaluation("--level must be above 0 and below 1, got 1", root, "--calibrate", "--level", "1")
    refuse_evaluation("--sets is for --calibrate", root, "--sets", "aps")
    refuse_evaluation("--calibrate fits and does not evaluate: leave out --ood", root, "--calibrate", "--ood", "x.csv")
    refuse_evaluation("--calibrated is for single runs", root, trained["no_validation"], "--calibrated", "--ensemble")
    refuse_evaluation("number has not been calibrated: use evaluate.py --calibrate first", root, "--calibrated")
    refuse_evaluation("number has not been calibrated", root, "--level", "0.8")
    frame = pandas.read_csv(str(path), float_precision="round_trip")
    from core.assessment.restore import restored

    with restored(root, {}) as run:
        known = frame.iloc[run.data.train.ids[:50] - 1]
    refuse_evaluation("the run was trained on all of these rows: give others", root, "--calibrate", "--data",
                      rows_file(known))
    assert not (root / "calibration.json").exists() and folder_at(root).calibration in folder_at(root).files


def test_calibrations_that_do_not_fit(copy, refuse, path, capsys):
    root = copy("number")
    refuse("number has not been calibrated: use evaluate.py --calibrate first", root, path, "--calibrated")
    fitted = calibrate(root)
    file = root / "calibration.json"
    refuse("--calibrated is for single runs", root, path, "--calibrated", "--ensemble", copy("several"))
    refuse("level 0.999 needs at least 999 calibration rows", root, path, "--calibrated", "--interval", 0.999)
    refuse("calibration.json is of 7 weight draws, but there are 3 now", root, path, "--calibrated", "--particles", 3)
    with pytest.raises(UserError, match="of 7 weight draws"):
        load_run(root, particles=3).predict(rows(), calibrated=True)
    file.write_text(json.dumps(dict(fitted, step=5)))
    refuse("calibration.json is of step 5, but the checkpoint is of step 12: calibrate again", root, path,
           "--calibrated")
    evaluate.main([str(root)])  # says so
    assert "is of step 5, but the checkpoint is of step 12" in capsys.readouterr().out
    assert "calibrated" not in numbers(root) and "is of step 5" in numbers(root)["calibration_notice"]
    predict.main([str(root), str(path)])  # does not need it
    file.write_text(json.dumps(dict(fitted, version=2)))
    refuse("its format is version 2, of a later release", root, path, "--calibrated")
    target = fitted["targets"][0]
    broken = [dict(target, scores=target["scores"][::-1]), dict(target, scores=target["scores"][1:]),
              dict(target, std_factor=None), dict(target, std_factor=-1.0), dict(target, scores="many")]
    texts = [json.dumps(dict(fitted, targets=[each])) for each in broken] + ["{", "[]", "null"]
    texts += [json.dumps({name: value for name, value in fitted.items() if name != key}) for key in fitted]
    for text in texts:
        file.write_text(text)
        refuse("calibration.json is damaged: calibrate again with evaluate.py --calibrate, or delete it", root, path,
               "--calibrated")
    file.write_text(json.dumps(dict(fitted, targets=[target, target])))
    refuse("calibration.json is of another run", root, path, "--calibrated")
