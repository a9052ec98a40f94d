"""A run's folder is all that predictions need: without the data, after these have changed, and when it is damaged."""
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose

import evaluate
import predict
from core.training import checkpoints
from core.training.checkpoints import Progress
from data_loader import stored
from data_loader.stored import VERSION
from misc.errors import UserError
from tests.conftest import ROOT
from tests.predict.conftest import refused
from tests.predict.houses import assert_equal, filled, houses, read_csv, train_on, write_table

pytestmark = pytest.mark.usefixtures("shared_graphs", "no_figures")


@pytest.fixture
def alone(folder, tmp_path, request):
    """Function (name of a fixture) -> copy of the folder of its run, alone in an empty folder, without its data."""

    def make(name):
        root = request.getfixturevalue(name)
        shutil.copytree(str(root), str(tmp_path / "far" / "model"))
        copy = tmp_path / "far" / "model"
        written = json.loads((copy / "config.json").read_text())
        written["config"]["data_file"] = str(tmp_path / "gone" / "houses.csv")
        (copy / "config.json").write_text(json.dumps(written))
        return copy

    return make


@pytest.fixture
def refuse_evaluation(capsys):
    def check(message, *arguments):
        line, = refused(capsys, evaluate.main, *arguments)
        assert message in line, line

    return check


def run_in(folder, program, *arguments):
    environment = dict(os.environ, OMP_NUM_THREADS="1", TF_CPP_MIN_LOG_LEVEL="3")
    return subprocess.run([sys.executable, str(ROOT / program), *map(str, arguments)], cwd=str(folder),
                          env=environment, capture_output=True, text=True)


def test_from_another_folder_by_another_process(alone, student, folder, of, monkeypatch):
    here, _ = of(student, folder / "houses.csv")
    place = alone("student").parent
    write_table(place, houses(), "new.csv")
    done = run_in(place, "predict.py", "model", "new.csv", "--out", "predictions.csv")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"{filled(11, 120)}120 rows: predictions.csv\n")
    there = read_csv(place / "predictions.csv")
    assert_equal(here, there)
    monkeypatch.chdir(place)
    evaluate.main(["model", "--data", "new.csv"])
    evaluated = read_csv(place / "model" / "evaluation" / "predictions.csv")
    assert_equal(there, {column: evaluated[column] for column in there})
    assert sorted(path.name for path in place.iterdir()) == ["model", "new.csv", "predictions.csv"]


def test_evaluate_needs_rows(alone, refuse_evaluation):
    root = alone("run")
    refuse_evaluation(f"evaluate.py: {root}: the run's data are missing or have changed (data_file ", root)
    refuse_evaluation("houses.csv: there is no such file): put them back, give their folder with --data-path, or "
                      "evaluate other rows with --data", root)


def test_data_that_have_moved(alone, folder):
    evaluate.main([str(alone("run")), "--data-path", str(folder)])


def test_data_that_have_grown(tmp_path, of, refuse_evaluation):
    """Rows that are added to the training file do not orphan the run."""
    path = write_table(tmp_path, houses())
    root = train_on(path, "grows")
    before, _ = of(root, path)
    write_table(tmp_path, houses(130))
    after, said = of(root, path)
    assert len(after["house"]) == 130 and said == filled(12, 130)
    assert_allclose(after["mean"][:120], before["mean"], rtol=1e-6)
    evaluate.main([str(root), "--data", str(path)])
    refuse_evaluation("houses.csv is not the data that the run was trained on (hash ", root)


def test_the_data_are_not_read(run, folder, of, monkeypatch):
    """Neither from a file nor from the network, where known data sets may come from."""
    from core.assessment import restore

    monkeypatch.setattr(restore, "TASKS", {})
    assert len(of(run, folder / "houses.csv")[0]["mean"]) == 120


def test_a_folder_of_an_earlier_version(run, alone, folder, refuse, of, tmp_path):
    """Without model.json, the data are needed."""
    old, whole = alone("run"), of(run, folder / "houses.csv")[0]
    (old / "model.json").unlink()
    refuse(f"{old} has no model.json (runs of earlier versions have none), so that the run's data are needed, and "
           "data_file ", old, folder / "houses.csv")
    refuse("houses.csv: there is no such file: put them back, or train the run again", old, folder / "houses.csv")
    (tmp_path / "gone").mkdir()
    shutil.copy(str(folder / "houses.csv"), str(tmp_path / "gone"))
    assert_equal(of(old, folder / "houses.csv")[0], whole)


def damaged(text):
    """Yields damaged versions of a model.json."""
    values = json.loads(text)
    yield text[:len(text) // 2]
    yield ""
    yield "[1, 2]"
    yield "null"
    for key in values:
        if key not in ("source", "version", "names", "is_commented", "protocol", "split", "split_hash", "rows_hash",
                       "further_targets"):
            yield json.dumps({name: value for name, value in values.items() if name != key})
    yield json.dumps(dict(values, inputs=values["inputs"][1:]))
    yield json.dumps(dict(values, target_std="wide"))
    yield json.dumps(dict(values, shape=[3]))
    yield json.dumps(dict(values, further_targets=[{"name": "price", "number": 9}]))
    yield json.dumps(dict(values, target_std=0.0))
    yield json.dumps(dict(values, columns=[dict(column, kind="sound") for column in values["columns"]]))
    yield json.dumps(dict(values, inputs=[dict(column, std=0.0) for column in values["inputs"]]))
    yield json.dumps(dict(values, kind="sound"))


def test_a_damaged_description(alone, folder, refuse, refuse_evaluation):
    root = alone("run")
    path, text = root / "model.json", (root / "model.json").read_text()
    for broken in damaged(text):
        path.write_text(broken)
        refuse(f"{path} is missing or damaged: restore the file, or train the run again", root, folder / "houses.csv")
    refuse_evaluation(f"{path} is missing or damaged", root, "--data", folder / "houses.csv")
    path.write_text(json.dumps(dict(json.loads(text), version=VERSION + 1)))
    refuse(f"{path}: its format is version {VERSION + 1}, of a later release", root, folder / "houses.csv")
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())  # as some editors write it
    predict.main([str(root), str(folder / "houses.csv")])


def test_other_damages(alone, folder, refuse):
    root = alone("run")
    for file in root.glob("checkpoint/*.index"):
        file.unlink()
    refuse("checkpoint", root, folder / "houses.csv")
    shutil.rmtree(str(root / "checkpoint"))
    refuse("has no checkpoint (yet): there are no weights", root, folder / "houses.csv")
    (root / "config.json").unlink()
    refuse("holds no run (there is no config.json)", root, folder / "houses.csv")


def test_the_description_holds_no_rows(run, iris):
    """It names columns, categories and classes, and has statistics of the training rows; no id and no row is in it."""
    text, table = (run / "model.json").read_text(), houses()
    values = json.loads(text)
    assert not [name for name in table["house"] if f'"{name}"' in text]
    numbers = {column["fill"] for column in values["columns"] if column["fill"] is not None}
    numbers |= {column[key] for column in values["inputs"] for key in ("mean", "std")}
    assert len(numbers) <= 2 * len(values["inputs"]) + 3
    assert len(text) < 10000 and not (run / "reference.npz").exists()
    assert json.loads((iris / "model.json").read_text())["classes"] == ["7", "Iris setosa", "virginica, late"]


@pytest.mark.parametrize("name", ["run", "iris"])
def test_what_is_stored_comes_back(request, name):
    """To the last bit: what is described again is the same."""
    values = json.loads((request.getfixturevalue(name) / "model.json").read_text())
    restored = stored.restore(values)
    assert json.loads(json.dumps(stored.describe(restored))) == values
    assert restored.train is None and restored.test is None and np.isfinite(restored.input_mean).all()
    with pytest.raises(UserError, match="later release"):
        stored.restore(dict(values, version=VERSION + 1))


def forget_evaluations(folder):
    """Makes the checkpoints those that an interrupted run saves between two evaluations: without a row of metrics.csv.
    """
    for path in folder.glob("model-*.json"):
        written = json.loads(path.read_text())
        written.update(row=None, evaluated=False)
        progress = Progress(**{name: written[name] for name in Progress._fields})
        path.write_text(json.dumps(dict(written, note=checkpoints._progress_sum(progress, written["files"]))))


def test_noise_that_was_not_evaluated(alone, folder, refuse, of, student, tmp_path):
    """Where no evaluation has fitted the noise, that needs the training rows."""
    whole, root = of(student, folder / "houses.csv")[0], alone("student")
    forget_evaluations(root / "checkpoint")
    refuse("the noise of predictions was not fitted at step", root, folder / "houses.csv")
    refuse("continue the run with train.py --resume, or put its data back", root, folder / "houses.csv")
    (tmp_path / "gone").mkdir()
    shutil.copy(str(folder / "houses.csv"), str(tmp_path / "gone"))
    assert_equal(of(root, folder / "houses.csv")[0], whole)
