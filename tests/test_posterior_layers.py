"""Key `posterior_layers`: which layers have weight noise; the weights of the others are point estimates."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import train
from core.api.trained_run import load_run
from core.training import run
from core.training.design import design_run
from core.training.graph import build_model
from data_loader.parts import Spec
from misc.errors import UserError
from misc.folders import run_folder
from tests.test_model import Run, assert_identical

THREE = {"hidden": [4, 3]}
SPEC = Spec(39, (3,), 1, None)


@pytest.mark.parametrize("value, noisy", [
    ("all", [True, True, True]), ("last", [False, False, True]), (["dense1"], [False, True, False]),
    (["dense2", "dense0"], [True, False, True])])
@pytest.mark.parametrize("optimizer", ["ekfac", "kfac", "diag", "bbb"])
def test_the_layers_with_noise(config, optimizer, value, noisy):
    """Draws of the other layers are their means, by the same family."""
    design = design_run(config(optimizer=optimizer, posterior_layers=value, **THREE), SPEC)
    assert [layer.noisy for layer in design.layers] == noisy
    assert len({type(layer.family) for layer in design.layers}) == 1
    assert [layer.kind == "point" for layer in design.layers] == [not each for each in noisy]
    model = build_model(design, training=False)
    with tf.Session(graph=model.graph) as session:
        session.run(model.init)
        predictions = model.evaluate.predictions
        session.run(predictions.draw, {predictions.group: 0})
        drawn = session.run(predictions.weights)
        assert [bool(np.ptp(values, axis=0).any()) for values in drawn] == noisy
        assert sorted(session.run(model.evaluate.weight_std)) == [
            f"dense{number}" for number, each in enumerate(noisy) if each]


@pytest.mark.parametrize("optimizer", ["ekfac", "kfac", "diag", "bbb"])
def test_naming_all_layers_is_the_default(config, optimizer):
    states = [Run(config(optimizer=optimizer, posterior_layers=value)).steps(12)
              for value in ("all", ["dense1", "dense0"])]
    assert_identical(*states)


@pytest.mark.parametrize("value, words", [
    ("dense0", "there is no layer 'dense0': give all, last or a list of dense0, dense1"),
    (["dense0", "dense7"], "there is no layer 'dense7': give all, last or a list of dense0, dense1"),
    ([], "the list is empty: give all, last or a list of dense0, dense1")])
def test_unknown_layers_are_refused(config, config_file, capsys, value, words):
    made = config(posterior_layers=value)
    with pytest.raises(UserError, match="^posterior_layers: "):
        run.plan(made)
    with pytest.raises(SystemExit) as stop:
        train.main(["--config", str(config_file(posterior_layers=value))])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1 and f"posterior_layers: {words}" in error
    assert not run_folder(made).root.exists()


def test_a_method_without_noise_says_that_the_key_has_no_effect(config_file, capsys):
    train.main(["--config", str(config_file(posterior_layers="last", optimizer="adam")), "--explain"])
    assert "note: posterior_layers has no effect with optimizer adam" in capsys.readouterr().out


def test_a_run_from_start_to_predictions(finished_run, capsys):
    path, folder = finished_run(posterior_layers="last")
    train.main(["--config", str(path), "--explain"])
    text = capsys.readouterr().out
    assert "dense0: 4 x 4 weights, posterior point" in text and "dense1: 5 x 1 weights, posterior structured" in text
    trained = load_run(folder.root)
    assert [trained.posterior(layer).kind for layer in trained.layers] == ["PointMass", "EigenMatrixNormal"]
    assert (trained.predict(np.zeros((2, 3)))["epistemic_std"] > 0.0).all()
    trained.close()
