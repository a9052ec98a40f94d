"""The ONNX model: the same predictions in onnxruntime."""
import json
import sys
import types

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose

import export
from core.export import onnx_graph
from core.export.frozen import Frozen, Inputs, with_settings
from networks import NETWORKS
from networks.layers import LayerBuilder, layer_specs
from networks.recording import operations
from tests.export.runs import NAMES_OF_IMAGES, NUMBERS, new_rows
from tests.predict.conftest import refused

SAME = dict(rtol=1e-5)


@pytest.fixture
def answers():
    """Function (path, inputs) -> {output: array} of onnxruntime."""
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")

    def run(path, inputs):
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, {"inputs": inputs})))

    return run


@pytest.fixture
def inputs_of(exported, predictor):
    """Function (name) -> the numbers that are made of `new_rows`, [n, d]."""
    def make(name):
        model = predictor.Predictor(exported(name, "--npz"))
        x = model._rows(new_rows())
        return x * model.arrays["input_std"] + model.arrays["input_mean"]

    return make


@pytest.mark.filterwarnings("ignore:zone")
@pytest.mark.parametrize("name", NUMBERS)
def test_regressions(answers, exported, expected, inputs_of, name):
    found = answers(exported(name, "--onnx"), inputs_of(name))
    assert list(found) == ["mean", "std", "epistemic_std", "lower", "upper"]
    for column, values in found.items():
        wanted = expected(name)
        wanted = wanted[column] if name != "targets" else np.stack([wanted[f"{column}_{target}"]
                                                                    for target in ("value", "tax")], axis=1)
        assert_allclose(values, wanted, atol=1e-9, **SAME, err_msg=column)


@pytest.mark.filterwarnings("ignore:zone")
def test_classes(answers, exported, expected, inputs_of):
    found, wanted = answers(exported("classes", "--onnx"), inputs_of("classes")), expected("classes")
    assert (np.array(["no", "yes"])[found["predicted"]] == wanted["predicted"]).all()
    for column in ("confidence", "entropy", "probabilities"):
        assert_allclose(found[column], wanted[column], **SAME)
    assert_allclose(found["mutual_information"], wanted["mutual_information"], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", NAMES_OF_IMAGES)
def test_images(answers, exported, expected, images_of, name):
    found = answers(exported(name, "--onnx"), images_of(name))
    assert_allclose(found["probabilities"], expected(name)["probabilities"], **SAME)
    assert (found["mutual_information"] >= 0).all() and (found["entropy"] > found["mutual_information"]).all()


def test_missing_numbers_are_filled(answers, exported, inputs_of, predictor):
    x = inputs_of("gaussian")[:3]
    model = predictor.Predictor(exported("gaussian", "--npz"))
    x[1, model.inputs.index("rooms")] = np.nan
    found = answers(exported("gaussian", "--onnx"), x)
    assert_allclose(found["mean"], model.predict(x)["mean"], **SAME)


def test_names_are_in_the_model(exported):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(exported("classes", "--onnx")))
    properties = {each.key: json.loads(each.value) for each in model.metadata_props}
    assert properties["classes"] == ["no", "yes"] and properties["inputs"][:2] == ["crime", "rooms"]


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_network_runs_as_in_tensorflow(answers, session, rng, tmp_path, name, batch_norm):
    """With images whose sides are odd."""
    settings = types.SimpleNamespace(hidden=[5, 4], width=0.1, batch_norm=batch_norm, activation="tanh")
    network, shape, x = NETWORKS[name].make(settings), (9, 7, 2), rng.randint(256, size=(3, 9, 7, 2)).astype(np.uint8)
    specs = layer_specs(network, shape, 4)
    weights = {spec.name: (rng.randn(2, spec.d_in + 1, spec.d_out) / np.sqrt(spec.d_in)).astype(np.float32)
               for spec in specs}
    moments = {spec.name: (rng.randn(2, spec.d_out), 0.5 + rng.rand(2, spec.d_out))
               for spec in specs if not spec.has_weights}
    inputs = Inputs(np.array([99.0, 120.0]), np.array([50.0, 60.0]), np.zeros(2, bool), np.full(2, np.nan))
    recorded = [with_settings(operation, "tanh") for operation in operations(network, shape, 4)]
    frozen = Frozen(recorded, weights, moments, {}, inputs, None, list("abcd"), [])
    spec = types.SimpleNamespace(pixels=True, shape=shape)
    run = types.SimpleNamespace(config=types.SimpleNamespace(precision="float32"),
                                data=types.SimpleNamespace(spec=spec), design=types.SimpleNamespace(spec=spec))
    onnx_graph.write_onnx(frozen, run, tmp_path / "a.onnx")
    dims = {spec.name: [2] + [1] * (3 if before.kind == "conv2d" else 1) + [spec.d_out]
            for before, spec in zip(specs, specs[1:])}
    layers = LayerBuilder(specs, [tf.constant(weights[spec.name], tf.float64) for spec in specs], tf.tanh,
                          {key: tuple(tf.constant(each.reshape(dims[key])) for each in pair)
                           for key, pair in moments.items()})
    logits = network(tf.constant(((x - inputs.mean) / inputs.std)[None]), layers, 4)
    wanted = session.run(tf.reduce_mean(tf.nn.softmax(logits), axis=0))
    assert_allclose(answers(tmp_path / "a.onnx", x)["probabilities"], wanted, **SAME)


def test_draws_that_the_format_cannot_hold(run, tmp_path, capsys, monkeypatch):
    pytest.importorskip("onnx")
    monkeypatch.setattr(onnx_graph, "MOST_BYTES", 100)
    line, = refused(capsys, export.main, run("gaussian"), "--onnx", tmp_path / "a.onnx")
    assert line.startswith("export.py: ") and "give fewer --particles" in line and not list(tmp_path.iterdir())


def test_without_the_package(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    line, = refused(capsys, export.main, run("gaussian"), "--onnx", tmp_path / "a.onnx")
    assert line == "export.py: --onnx needs a further package: pip install onnx, or write --npz FILE"
