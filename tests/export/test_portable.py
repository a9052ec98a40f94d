"""The portable posterior: the same predictions with numpy alone, and what its file holds."""
import json
import pathlib
import subprocess
import sys
import types

import numpy as np
import pandas
import pytest
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose

import export
from core.assessment.restore import data_without_rows, restored
from core.export import portable
from core.export.frozen import with_settings
from core.metrics.predictive import noise_cdf
from core.metrics.quantiles import mixture_quantiles
from data_loader.table_dates import DATE_PARTS, date_parts
from networks import NETWORKS
from networks.geometry import Geometry
from networks.layers import ACTIVATIONS, LayerBuilder, layer_specs
from networks.recording import operations
from tests.export.conftest import PREDICTOR
from tests.export.runs import IMAGES, NAMES_OF_IMAGES, NUMBERS, new_rows

SAME = dict(rtol=1e-5)
OF_EACH = ["mean", "std", "epistemic_std", "lower", "upper", "quantile_0.01", "quantile_0.6"]


@pytest.fixture
def loaded(exported, predictor):
    """Function (name) -> Predictor of the run of that name."""
    return lambda name: predictor.Predictor(exported(name, "--npz"))


def columns_of(frame):
    """The frame as a dict of lists, as a program without pandas has it."""
    return {name: [None if value != value else value for value in frame[name]] for name in frame.columns}


@pytest.mark.parametrize("name", [name for name in NUMBERS if name != "targets"])
def test_a_regression_is_predicted_as_by_predict(loaded, expected, name):
    with pytest.warns(UserWarning, match="zone: .'elsewhere'. did not occur in the training rows"):
        found = loaded(name).predict(new_rows(), quantiles=[0.01, 0.6])
    assert list(found) and set(found) == set(OF_EACH)
    for column in OF_EACH:
        assert_allclose(found[column], expected(name)[column], atol=1e-6, **SAME, err_msg=column)
    assert (found["epistemic_std"] > 0).all() == (name != "point")


@pytest.mark.filterwarnings("ignore:zone")
def test_several_targets_with_correlated_noise(loaded, expected):
    model = loaded("targets")
    found = model.predict(columns_of(new_rows()), quantiles=[0.01, 0.6])
    assert model.targets == ["value", "tax"]
    for column in OF_EACH:
        for number, target in enumerate(model.targets):
            assert_allclose(found[column][:, number], expected("targets")[f"{column}_{target}"], **SAME)
    roots = model.arrays["precision_roots"]
    covariances = np.linalg.inv(roots @ roots.transpose(0, 2, 1))
    assert_allclose(1.0 / model.arrays["precisions"], np.einsum("kjj->kj", covariances), rtol=1e-6)


@pytest.mark.filterwarnings("ignore:zone")
def test_classes_of_a_table(loaded, expected):
    model, wanted = loaded("classes"), expected("classes")
    found = model.predict(columns_of(new_rows().drop(columns="river")))
    assert model.classes == ["no", "yes"] and (found["predicted"] == wanted["predicted"]).all()
    for column in ("confidence", "entropy", "probabilities"):
        assert_allclose(found[column], wanted[column], **SAME)
    assert_allclose(found["mutual_information"], wanted["mutual_information"], rtol=1e-5, atol=1e-8)


def test_an_array_of_inputs(loaded, expected, run):
    """In the order of `inputs`; a number without an indicator of its own may be missing."""
    model = loaded("gaussian")
    with restored(run("gaussian"), {}, read_data=data_without_rows) as trained:
        values = np.random.RandomState(0).rand(5, len(model.inputs))
        assert model.inputs == trained.data.transform.names
        inputs = (values - trained.data.input_mean) / trained.data.input_std
        draws = trained.design.task.draws(trained.session, trained.model, np.where(trained.data.constant, 0.0, inputs),
                                          trained.data, trained.noise())
        mean = trained.data.target_mean + trained.data.target_std * draws.outputs.mean(axis=0)
    assert_allclose(model.predict(values)["mean"], mean, **SAME)
    rooms = model.inputs.index("rooms")
    filled = values.copy()
    values[2, rooms], filled[2, rooms] = np.nan, model.about["encoding"][model.columns.index("rooms")]["fill"]
    assert_allclose(model.predict(values)["mean"], model.predict(filled)["mean"])


@pytest.mark.parametrize("name", NAMES_OF_IMAGES)
def test_images(loaded, expected, images_of, name):
    found, wanted = loaded(name).predict(images_of(name)), expected(name)
    assert_allclose(found["probabilities"], wanted["probabilities"], **SAME)
    assert (found["predicted"] == wanted["classes"][wanted["probabilities"].argmax(axis=1)]).all()
    assert (found["mutual_information"] >= 0).all() and (found["entropy"] > found["mutual_information"]).all()


@pytest.mark.parametrize("name", ["student", *NAMES_OF_IMAGES])
def test_numpy_alone(exported, expected, images_of, tmp_path, name):
    """In a Python whose path has nothing but the standard library, numpy and a copy of the predictor."""
    (tmp_path / "predictor.py").write_text(PREDICTOR.read_text())
    for folder in pathlib.Path(np.__file__).parent.parent.glob("numpy*"):
        if not folder.name.endswith("-info"):
            (tmp_path / folder.name).symlink_to(folder)
    if name in IMAGES:
        np.save(str(tmp_path / "rows.npy"), images_of(name)[:20])
        rows, column = "np.load('rows.npy')", "probabilities"
    else:
        (tmp_path / "rows.json").write_text(json.dumps(columns_of(new_rows())))
        rows, column = "json.load(open('rows.json'))", "upper"
    program = (f"import sys, json; sys.path.insert(0, {str(tmp_path)!r}); import numpy as np; "
               f"from predictor import Predictor; found = Predictor({str(exported(name, '--npz'))!r}).predict({rows}); "
               f"np.save('found.npy', found[{column!r}]); json.dump(sorted(sys.modules), open('modules.json', 'w'))")
    done = subprocess.run([sys.executable, "-I", "-S", "-W", "ignore", "-c", program], cwd=str(tmp_path),
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not {"pandas", "scipy", "tensorflow"} & set(json.loads((tmp_path / "modules.json").read_text()))
    found = np.load(str(tmp_path / "found.npy"))
    assert_allclose(found, expected(name)[column][:len(found)], **SAME)


def test_the_predictor_is_short():
    assert len(PREDICTOR.read_text().splitlines()) <= 200


# What the file holds.

def test_the_posterior_itself_is_there_on_request(run, exported, tmp_path):
    export.main([str(run("gaussian")), "--npz", str(tmp_path / "all.npz"), "--factors", "--particles", "3"])
    with np.load(str(tmp_path / "all.npz")) as file, np.load(str(exported("gaussian", "--npz"))) as default:
        assert file["weights/dense0"].shape[0] == 3 and default["weights/dense0"].shape[0] == 7
        q_a, mean, q_s = (file[f"posterior/dense1/{name}"] for name in ("q_a", "mean", "q_s"))
        assert_allclose(q_a @ mean @ q_s.T, file["posterior_mean/dense1"], rtol=1e-4, atol=1e-5)
        assert (file["posterior_mean/dense0"] == default["posterior_mean/dense0"]).all()
        assert not [name for name in default.files if name.startswith("posterior/")]


def test_draws_have_the_posterior_they_are_drawn_from(run, tmp_path):
    export.main([str(run("targets")), "--npz", str(tmp_path / "many.npz"), "--factors", "--particles", "2000"])
    with np.load(str(tmp_path / "many.npz")) as file:
        mean, variance = (file[f"posterior/dense0/{name}"] for name in ("mean", "variance"))
        error = (file["weights/dense0"].mean(axis=0) - mean) / np.sqrt(variance / 2000)
        assert 0.5 < np.square(error).mean() < 1.5
        assert_allclose(file["weights/dense0"].var(axis=0), variance, rtol=0.25)


# The predictor's own arithmetic.

@pytest.mark.parametrize("dof", [2.5, 30.0, 1e6, np.inf])
def test_quantiles_of_mixtures(predictor, rng, dof):
    """Against scipy, for draws far apart, scales of many sizes, and levels in the tails."""
    f, levels = 3.0 * rng.randn(6, 40), [1e-5, 0.05, 0.5, 0.95, 0.9999]
    f[:, ::3] *= 1e-3
    for scales in (0.1 + rng.rand(6, 1), np.exp(2.0 * rng.randn(6, 40))):
        found = predictor.mixture_quantiles(f, scales, levels, dof)
        wanted = mixture_quantiles(f, np.broadcast_to(scales, f.shape)**-2.0, levels, dof)
        assert_allclose(found, wanted, rtol=1e-6, atol=1e-6 * scales.min())
        cdf = noise_cdf((found[:, None] - f) / scales, dof).mean(axis=1)
        assert_allclose(cdf, np.broadcast_to(np.array(levels)[:, None], cdf.shape), rtol=1e-6)


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_network_runs_as_in_tensorflow(predictor, session, rng, name, batch_norm):
    """With images whose sides are odd, in float64."""
    settings = types.SimpleNamespace(hidden=[5, 4], width=0.1, batch_norm=batch_norm, activation="tanh")
    network, x = NETWORKS[name].make(settings), rng.randn(3, 9, 7, 2)
    recorded = operations(network, x.shape[1:], 4)
    specs = layer_specs(network, x.shape[1:], 4)
    assert [operation.spec for operation in recorded if operation.spec] == specs
    assert [recorded[-1].shape, recorded[0].inputs] == [(4,), (0,)]
    weights = {spec.name: rng.randn(2, spec.d_in + 1, spec.d_out) / np.sqrt(spec.d_in) for spec in specs}
    moments = {spec.name: (rng.randn(2, spec.d_out), 0.5 + rng.rand(2, spec.d_out))
               for spec in specs if not spec.has_weights}
    dims = {spec.name: [2] + [1] * (3 if before.kind == "conv2d" else 1) + [spec.d_out]
            for before, spec in zip(specs, specs[1:])}
    layers = LayerBuilder(specs, [tf.constant(weights[spec.name]) for spec in specs], tf.tanh,
                          {name: tuple(tf.constant(each.reshape(dims[name])) for each in pair)
                           for name, pair in moments.items()})
    wanted = session.run(network(tf.constant(x[None]), layers, 4))
    run = predictor.Predictor.__new__(predictor.Predictor)
    frozen = types.SimpleNamespace(moments=moments)
    run.about = {"operations": [portable.described(with_settings(operation, "tanh"), frozen) for operation in recorded]}
    run.arrays = {f"weights/{name}": value for name, value in weights.items()}
    for name, (mean, variance) in moments.items():
        run.arrays.update({f"norm_mean/{name}": mean, f"norm_variance/{name}": variance})
    assert_allclose([run._output(x, draw) for draw in range(2)], wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("kind", ["max_pool", "average_pool"])
def test_pooling(predictor, session, rng, kind, size):
    x = rng.randn(3, 7, 5, 2)
    wanted = session.run(getattr(LayerBuilder([], [], tf.tanh), kind)(tf.constant(x[None]), size))[0]
    assert_allclose(predictor.LAYERS[kind](x, size=size), wanted, rtol=1e-12)


@pytest.mark.parametrize("kernel, strides, padding", [((3, 2), (2, 1), "SAME"), ((2, 3), (1, 2), "VALID"),
                                                      ((1, 1), (2, 3), "SAME")])
def test_convolutions(predictor, session, rng, kernel, strides, padding):
    x, weights = rng.randn(3, 7, 5, 2), rng.randn(kernel[0] * kernel[1] * 2 + 1, 4)
    wanted = session.run(Geometry(kernel, strides, padding).convolve(tf.constant(x[None]), tf.constant(weights[None])))
    found = predictor.LAYERS["conv2d"](x, weights=weights, kernel=kernel, strides=strides, padding=padding)
    assert_allclose(found, wanted[0], rtol=1e-9)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_activations(predictor, session, activation):
    s = np.array([-800.0, -1.5, -1e-9, 0.0, 2.0])
    assert_allclose(predictor.LAYERS[activation](s), session.run(ACTIVATIONS[activation](tf.constant(s))), rtol=1e-7)


def test_dates(predictor):
    words = pandas.Series(["1968-02-29", "2019-12-31", "2020-01-01 23:59", "2024-06-30T07:08"])
    parts, column = date_parts(words, "sold", False), {"name": "sold", "parts": list(DATE_PARTS)}
    for values in (list(words), np.array(list(words), "datetime64[s]"), list(map(pandas.Timestamp, words))):
        found = predictor.date(column, values, "refuse")
        np.testing.assert_array_equal(found, np.stack([parts[name] for name in DATE_PARTS], axis=1))


# What is refused.

def test_rows_that_cannot_be_predicted(loaded):
    model, rows = loaded("gaussian"), columns_of(new_rows().replace("elsewhere", "z1"))
    with pytest.raises(ValueError, match="no column 'age': the columns are crime, river, rooms, zone, age, sold"):
        model.predict({name: value for name, value in rows.items() if name != "age"})
    with pytest.raises(ValueError, match="row 3: 'sold year' is missing: fill it in, or leave the row out"):
        model.predict(dict(rows, sold=[*rows["sold"][:2], None, *rows["sold"][3:]]))
    with pytest.raises(ValueError, match="row 1: 'rooms' is too far from the training rows: correct it, or leave"):
        model.predict(dict(rows, rooms=[1e300] * len(rows["rooms"])))
    for shape in ([2, 3], [len(model.inputs)], [0], []):
        with pytest.raises(ValueError) as error:
            model.predict(np.zeros(shape))
        assert str(error.value) == f"an array must be [n, {len(model.inputs)}], as in `inputs`, got {shape}"
    with pytest.raises(ValueError, match="interval and quantiles must be above 0 and below 1"):
        model.predict(rows, quantiles=[1.0])
    assert not len(model.predict({name: [] for name in rows})["mean"])


@pytest.mark.parametrize("change, message", [
    (dict(rooms="many"), "column 'rooms' must hold numbers: could not convert string to float: 'many'"),
    (dict(rooms={}), "column 'rooms' must hold numbers: "),
    (dict(sold="31/01/2020"), "column 'sold' must hold dates, written as 2020-01-31: "),
    (dict(sold=2020), "column 'sold' holds numbers: write dates as 2020-01-31"),
    (dict(age=None), "row 1: 'age' is missing: fill it in, or leave the row out"),
    (dict(age=float("nan")), "row 1: 'age' is missing: fill it in, or leave the row out"),
    (dict(age=float("inf")), "row 1: 'age' is too far from the training rows: correct it, or leave the row out")])
def test_odd_values_are_one_line(loaded, change, message):
    model = loaded("gaussian")
    rows = {name: values[:1] for name, values in columns_of(new_rows().replace("elsewhere", "z1").dropna()).items()}
    assert np.isfinite(model.predict(rows)["mean"]).all()
    model.about["encoding"][model.columns.index("age")]["fill"] = None  # as of a run that refuses missing values
    with pytest.raises(ValueError) as error:
        model.predict(dict(rows, **{name: [value] for name, value in change.items()}))
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_columns_of_other_shapes(loaded):
    model = loaded("gaussian")
    rows = columns_of(new_rows().replace("elsewhere", "z1").dropna())
    for change in ({"rooms": 6.5}, {"rooms": rows["rooms"][:2]}, {"zone": "z1"}, {"rooms": np.ones((3, 1))}):
        with pytest.raises(ValueError, match="columns must be lists of one length; of a single row, {'a': .1.0., 'b'"):
            model.predict(dict(rows, **change))
    with pytest.raises(ValueError, match=r"an array must hold numbers \(give columns of words in a dict\): could not"):
        model.predict(np.array([["z1"] * len(model.inputs)]))


def test_a_code_that_pandas_has_made_a_float_is_that_code(predictor):
    column = {"name": "zip", "levels": ("3", "7.5"), "has_indicator": False}
    block = predictor.category(column, [3.0, None, 7.5, np.float64(3)], "mean")
    assert block.tolist() == [[1, 0], [0, 0], [0, 1], [1, 0]]


def test_images_that_cannot_be_predicted(loaded):
    for x in (np.zeros((2, 8, 8, 1)), np.zeros((2, 8, 8), np.uint8), np.zeros((2, 7, 8, 1), np.uint8)):
        with pytest.raises(ValueError, match=r"images must be uint8, n times \[8, 8, 1\], got"):
            loaded("lenet").predict(x)


def test_a_file_of_a_later_release(exported, predictor, tmp_path):
    with np.load(str(exported("gaussian", "--npz"))) as file:
        arrays = dict(file)
    arrays["description"] = np.array(json.dumps(dict(json.loads(str(arrays["description"])), version=2)))
    np.savez(str(tmp_path / "later.npz"), **arrays)
    with pytest.raises(ValueError, match="later.npz: its format is version 2, this file reads 1"):
        predictor.Predictor(tmp_path / "later.npz")
