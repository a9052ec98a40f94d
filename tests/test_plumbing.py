"""The direction of imports, and the small foundations."""
import ast
import importlib
import json
import re
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from benchmarks import step_time
from core.inference.optimizer import METHODS
from core.training.variables import assign, make_variables, read, repeat
from misc import backend
from misc.errors import UserError
from misc.lookup import lookup
from misc.seeding import stream, stream_seed
from networks import NETWORKS
from networks.layers import ACTIVATIONS, LayerBuilder, layer_specs
from tests.conftest import ROOT

# Packages import those of the rows above them, and themselves. Packages in one row do not import each other.
RANKS = [("misc",), ("data_loader", "networks"), ("core.metrics",), ("core.inference",), ("core.training",),
         ("core.baseline", "core.assessment", "core.zhusuan_bridge"), ("core.export", "core.acquisition"),
         ("core.api",), ("train", "evaluate", "predict", "export", "regression_baseline", "active_learning")]


def rank(module):
    """(row, package) in RANKS of a module of the project; None for other modules."""
    for row, packages in enumerate(RANKS):
        for package in packages:
            if module == package or module.startswith(package + "."):
                return row, package
    return None


def imported(path):
    """Modules that a Python file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_packages_import_downwards_only():
    paths = [path for folder in ("misc", "data_loader", "networks", "core") for path in (ROOT / folder).rglob("*.py")]
    paths += [ROOT / f"{name}.py" for name in RANKS[-1]]
    for path in paths:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).replace(".__init__", "")
        if module == "core":
            continue
        row, package = rank(module)
        for target in filter(rank, imported(path)):
            target_row, target_package = rank(target)
            assert target_row < row or target_package == package, f"{module} imports {target}"


def test_no_file_is_two_ideas():
    for folder in ("misc", "data_loader", "networks", "core"):
        for path in (ROOT / folder).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 300, path
    for name in ("train.py", "evaluate.py", "predict.py", "export.py", "regression_baseline.py", "active_learning.py"):
        assert len((ROOT / name).read_text().splitlines()) <= 80


def test_lookup_names_the_way_out():
    message = "unknown model_name 'fnn50'; did you mean 'ffn50'.*known: ffn, ffn50, linear$"
    with pytest.raises(UserError, match=message):
        lookup(dict.fromkeys(["linear", "ffn50", "ffn"]), "fnn50", "model_name")


def test_without_zhusuan_its_bridge_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "zhusuan", None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, "core.zhusuan_bridge.library", raising=False)
    with pytest.raises(UserError, match=r"^ZhuSuan .*: pip install git\+https://github.com/thu-ml/zhusuan$"):
        importlib.import_module("core.zhusuan_bridge.library")


def test_threads_of_a_session():
    for threads in (0, 1, 3):
        with backend.session(tf.Graph(), threads) as session:
            assert session._config.intra_op_parallelism_threads == threads
            assert session._config.inter_op_parallelism_threads == (-1 if threads == 1 else threads)


def test_numbers_too_small_for_full_precision_are_zero_in_large_graphs():
    """They would make every step of a network with dead units several times slower."""
    with tf.Graph().as_default() as graph:
        variable = tf.get_variable("v", [backend.SMALL + 1], initializer=tf.zeros_initializer())
        with backend.session(graph, 1) as session:
            session.run(variable.initializer)
            given = tf.placeholder(tf.float32, [4])
            np.testing.assert_array_equal(session.run(given * 0.5 + variable[:4], {given: [1e-39] * 4}), 0.0)
            assert [pool.num_threads for pool in session._config.session_inter_op_thread_pool] == [1]


def test_streams_differ_by_purpose_and_never_by_process():
    assert stream_seed(1, "noise", "dense0") == 1168892971
    assert len({stream_seed(seed, name) for seed in (1, 2) for name in ("noise", "fisher", "order")}) == 6
    assert stream(1, "order", 3).randint(100) == stream(1, "order", 3).randint(100)


def test_repeat_sees_what_the_iteration_before_wrote(session):
    variables = make_variables({"scope": {"x": tf.constant(1.0), "untouched": tf.constant(3.0)}})

    def double(step):
        value = read(variables)["scope"]["x"]
        written = assign(variables, {"scope": {"x": 2.0 * value}})
        with tf.control_dependencies([written]):
            return step + 1

    count = tf.placeholder(tf.int32, [])
    end = repeat(double, count, tf.constant(10))
    session.run(tf.global_variables_initializer())
    assert session.run(end, {count: 5}) == 15
    assert session.run(variables["scope"]) == {"x": 32.0, "untouched": 3.0}
    assert session.run(end, {count: 0}) == 10


@pytest.mark.parametrize("name, widths", [
    ("linear", [1]), ("ffn50", [50, 1]), ("ffn100", [100, 1]), ("ffn", [4, 6, 1])])
def test_networks_on_shapes_and_on_tensors_have_the_same_layers(session, config, rng, name, widths):
    network = NETWORKS[name].make(config(model_name=name, hidden=[4, 6]))
    specs = layer_specs(network, (8,), 1)
    assert [(spec.name, spec.d_out) for spec in specs] == [(f"dense{i}", width) for i, width in enumerate(widths)]
    weights = [rng.randn(3, spec.d_in + 1, spec.d_out) for spec in specs]
    layers = LayerBuilder(specs, [tf.constant(w) for w in weights], ACTIVATIONS["tanh"])
    x = rng.randn(1, 5, 8)
    out = session.run(network(tf.constant(x), layers, 1))
    h = x
    for i, w in enumerate(weights):
        h = np.concatenate([h, np.ones_like(h[..., :1])], axis=-1) @ w
        h = np.tanh(h) if i < len(weights) - 1 else h
    np.testing.assert_allclose(out, h, rtol=1e-9)
    assert [record.spec for record in layers.records] == specs
    assert layers.records[0].inputs.shape.as_list() == [1, 5, 9]  # shared by all particles


def test_the_benchmark_prints_a_line_per_method(settings, tmp_path, monkeypatch, capsys):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(settings(model_name="linear", Teigen=1)))
    monkeypatch.setattr(sys, "argv", ["step_time", "--config", str(path), "--rounds", "1"])
    step_time.main()
    printed = capsys.readouterr().out
    for method in METHODS:
        assert re.search(rf"^{method} +\d+\.\d{{3}} ms/step  \d+\.\d x adam$", printed, re.M), printed
