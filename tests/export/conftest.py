"""Fixtures: trained runs, and their exports beside what predict.py and evaluate.py say."""
import importlib.util

import numpy as np
import pytest

import evaluate
import export
import predict
from core.assessment.restore import restored
from tests.conftest import ROOT
from tests.export.runs import CLASSES, IMAGES, NUMBERS, new_rows, read, train_on

PREDICTOR = ROOT / "portable" / "predictor.py"


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """Function (name) -> folder of the run of that name, which is trained once."""
    roots = {}

    def make(name):
        if name not in roots:
            roots[name] = train_on(tmp_path_factory.mktemp(name), name)
        return roots[name]

    return make


@pytest.fixture(scope="session")
def exported(run, tmp_path_factory):
    """Function (name, flag) -> path of that export, which is written once."""
    paths = {}
    endings = {"--npz": "model.npz", "--onnx": "model.onnx", "--saved-model": "model"}

    def make(name, flag):
        if (name, flag) not in paths:
            paths[name, flag] = tmp_path_factory.mktemp("export") / endings[flag]
            export.main([str(run(name)), flag, str(paths[name, flag])])
        return paths[name, flag]

    return make


@pytest.fixture(scope="session")
def expected(run, tmp_path_factory):
    """Function (name) -> predictions of the rows of `new_rows`, or of the test images, as our own programs make them.

    Of a regression {column: array} as predict.py writes it, with two further quantiles; of classes also the array of
    probabilities.
    """
    made = {}

    def of_images(root):
        evaluate.main([str(root)])
        with np.load(str(root / "evaluation" / "predictions.npz")) as arrays:
            return {"probabilities": arrays["probabilities"], "classes": arrays["classes"]}

    def of_rows(name, root):
        folder = tmp_path_factory.mktemp("rows")
        new_rows().to_csv(str(folder / "new.csv"), index=False)
        flags = ["--quantiles", "0.01", "0.6"] if name in NUMBERS else []
        predict.main([str(root), str(folder / "new.csv"), "--out", str(folder / "p.csv"), *flags])
        columns = read(folder / "p.csv")
        if name in CLASSES:
            columns["probabilities"] = np.stack([columns[each] for each in columns if each.startswith("p_")], axis=1)
        return columns

    def make(name):
        if name not in made:
            made[name] = of_images(run(name)) if name in IMAGES else of_rows(name, run(name))
        return made[name]

    return make


@pytest.fixture(scope="session")
def predictor():
    """The module portable/predictor.py."""
    spec = importlib.util.spec_from_file_location("predictor", str(PREDICTOR))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def images_of(run):
    """Function (name) -> the test images of the run of that name."""
    def make(name):
        with restored(run(name), {}) as trained:
            return trained.data.test.x

    return make
