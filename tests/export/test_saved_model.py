"""The SavedModel: the same predictions from the run's seed, without our code, and other draws from other seeds."""
import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose

import export
from core.export import saved_model
from tests.export.runs import IMAGES, NAMES_OF_IMAGES, NUMBERS, new_rows
from tests.predict.conftest import refused

SAME = dict(rtol=1e-5)
SEEDS = {"student": 3}  # of runs whose config sets one

PROGRAM = """
import sys, numpy, tensorflow
for name, seed in {runs!r}:
    model = tensorflow.saved_model.load(name).signatures["predict"]
    inputs = tensorflow.constant(numpy.load(name + ".npy"))
    found = model(inputs=inputs, seed=tensorflow.constant(seed))
    numpy.savez(name + ".found.npz", **{{key: value.numpy() for key, value in found.items() if key != "predicted"}})
assert not set(sys.modules) & {{"core", "networks", "misc", "data_loader"}}
"""


@pytest.fixture
def inputs_of(exported, predictor, images_of):
    """Function (name) -> what the model of that run is given: numbers that are made of `new_rows`, or images."""
    def make(name):
        if name in IMAGES:
            return images_of(name)[:40]
        model = predictor.Predictor(exported(name, "--npz"))
        return model._rows(new_rows()) * model.arrays["input_std"] + model.arrays["input_mean"]

    return make


def predicted(path, inputs, seed):
    """{output: array} of the model in this process."""
    with tf.Graph().as_default() as graph, tf.Session(graph=graph) as session:
        meta = tf.saved_model.load(session, ["serve"], str(path))
        signature = meta.signature_def["predict"]
        feeds = {signature.inputs[name].name: value for name, value in (("inputs", inputs), ("seed", seed))}
        return session.run({name: info.name for name, info in signature.outputs.items()}, feeds)


def assert_same(found, wanted, name):
    if name in NUMBERS:
        columns = ["mean", "std", "epistemic_std", "lower", "upper"]
        assert set(found) - {"predicted"} == set(columns)
        for column in columns:
            values = wanted[column] if name != "targets" else np.stack(
                [wanted[f"{column}_{target}"] for target in ("value", "tax")], axis=1)
            assert_allclose(found[column], values, atol=1e-9, **SAME, err_msg=column)
    else:
        assert_allclose(found["probabilities"], wanted["probabilities"][:len(found["probabilities"])], **SAME)
        assert_allclose(found["confidence"], found["probabilities"].max(axis=1))
        for column in set(wanted) & {"entropy", "mutual_information"}:
            assert_allclose(found[column], wanted[column], rtol=1e-5, atol=1e-8)


@pytest.mark.filterwarnings("ignore:zone")
@pytest.mark.parametrize("name", [*NUMBERS, "classes", *NAMES_OF_IMAGES])
def test_the_seed_of_the_run_gives_its_predictions(exported, expected, inputs_of, name):
    found = predicted(exported(name, "--saved-model"), inputs_of(name), SEEDS.get(name, 1))
    assert_same(found, expected(name), name)
    if name == "classes":
        assert (found["predicted"] == expected(name)["predicted"].astype("S")).all()


@pytest.mark.filterwarnings("ignore:zone")
def test_another_seed_gives_other_draws(exported, inputs_of):
    path, x = exported("gaussian", "--saved-model"), inputs_of("gaussian")
    means = [predicted(path, x, seed)["mean"] for seed in (1, 2, 2, 3)]
    assert (means[1] == means[2]).all() and (means[0] != means[1]).all() and (means[1] != means[3]).all()
    many = np.array([predicted(path, x[:3], seed)["mean"] for seed in range(2, 30)])
    spread = predicted(path, x[:3], 1)["epistemic_std"] / np.sqrt(7)
    assert (np.abs(many.std(axis=0) / spread - 1.0) < 0.8).all()  # means of 7 draws


@pytest.mark.skipif(tf.__version__.startswith("1."), reason="programs of TensorFlow 2")
@pytest.mark.filterwarnings("ignore:zone")
def test_a_fresh_process_without_our_code(exported, expected, inputs_of, tmp_path):
    names = ["student", "classes", "lenet"]
    for name in names:
        (tmp_path / name).symlink_to(exported(name, "--saved-model"))
        np.save(str(tmp_path / f"{name}.npy"), inputs_of(name))
    program = PROGRAM.format(runs=[(name, SEEDS.get(name, 1)) for name in names])
    done = subprocess.run([sys.executable, "-I", "-c", program], cwd=str(tmp_path), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in names:
        with np.load(str(tmp_path / f"{name}.found.npz")) as found:
            assert_same(dict(found), expected(name), name)


def test_missing_numbers_are_filled(exported, inputs_of, predictor):
    model, x = predictor.Predictor(exported("gaussian", "--npz")), np.ones((3, 14))
    x = np.tile(model.arrays["input_mean"], (3, 1))
    x[1, model.inputs.index("rooms")] = np.nan
    assert_allclose(predicted(exported("gaussian", "--saved-model"), x, 1)["mean"], model.predict(x)["mean"], **SAME)


def test_its_description(exported):
    about = json.loads((exported("classes", "--saved-model") / "assets.extra" / "description.json").read_text())
    assert about["classes"] == ["no", "yes"] and about["inputs"][:2] == ["crime", "rooms"] and about["seed"] == 1


def test_a_folder_that_cannot_be_written(run, tmp_path, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    root = run("gaussian")
    monkeypatch.setattr(saved_model.os, "replace", full)
    line, = refused(capsys, export.main, root, "--saved-model", tmp_path / "model")
    assert line == f"export.py: cannot write {tmp_path / 'model'}: No space left on device"
    assert not list(tmp_path.iterdir())
