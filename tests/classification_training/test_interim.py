"""Evaluations before the last one take fewer weight draws where all would cost much beside the training."""
import csv

import numpy as np
import pytest
from numpy.testing import assert_allclose

from core.training import cost, evaluation, run
from core.training.cost import about_interim, draws_after, interim_draws
from core.training.design import design_run
from core.training.explain import explain
from core.training.outputs import network_outputs
from data_loader.parts import Spec
from misc.errors import UserError
from misc.folders import run_folder
from tests.test_model import Run

LENET = {"model_name": "lenet", "width": 0.3, "optimizer": "diag"}
FFN = {"model_name": "ffn", "hidden": [5], "optimizer": "kfac"}


def design(config, n_evaluated=500, **keys):
    """Returns the design of a linear network of 12 inputs and 4 classes on 600 rows."""
    return design_run(config(**keys), Spec(600, (12,), 4, None, n_evaluated))


def test_the_budget_is_a_tenth_of_the_training(config, monkeypatch):
    """A pass over 500 rows is 500 x 2 x 13 x 4 = 52,000 operations; sgd takes three times as many per training row."""
    keys = dict(optimizer="bbb", test_particles=50)
    monkeypatch.setattr(cost, "FREE_FLOPS", 0.0)
    per_epoch = 600 * 6 * 13 * 4
    assert cost.flops_per_layer(design(config, **keys)) * 10 == pytest.approx(per_epoch)
    for epochs, draws in ((1, 2), (5, 2), (9, 2), (10, 2), (15, 4), (40, 13), (1000, 50)):
        expected = max(2, min(50, int(0.1 * epochs * per_epoch / 52000) - 1))
        assert interim_draws(design(config, epoch_rate=epochs, epoch=2000, **keys)) == expected == draws
    assert interim_draws(design(config, optimizer="bbb", test_particles=1)) == 1


def test_cheap_evaluations_have_all_draws(config, monkeypatch):
    keys = dict(optimizer="bbb", test_particles=50)
    monkeypatch.setattr(cost, "FREE_FLOPS", 51 * 52000.0)
    assert interim_draws(design(config, **keys)) == 50 and about_interim(design(config, **keys)) == []
    monkeypatch.setattr(cost, "FREE_FLOPS", 51 * 52000.0 - 1.0)
    assert interim_draws(design(config, **keys)) == 49
    assert about_interim(design(config, **keys)) == [
        "note: evaluations before the last one take 49 of the 50 weight draws, so that they cost less beside the "
        "training (interim_particles)"]
    assert interim_draws(design(config, n_evaluated=0, **keys)) == 50


def test_what_always_has_all_draws(config, monkeypatch):
    """Without weight noise there is one; any evaluation may be the result with patience; linearised ones draw none."""
    monkeypatch.setattr(cost, "FREE_FLOPS", 0.0)
    assert interim_draws(design(config, test_particles=50)) == 2
    assert interim_draws(design(config, test_particles=50, patience=3, validation_fraction=0.2)) == 50
    assert interim_draws(design(config, test_particles=50, predictive="linearised")) == 50
    assert interim_draws(design(config, optimizer="sgd", test_particles=50)) == 1


def test_a_regression_always_has_all_draws(config, monkeypatch):
    monkeypatch.setattr(cost, "FREE_FLOPS", 0.0)
    made = type(config()).from_dict(dict(dataset="x", optimizer="bbb", model_name="linear", test_particles=50))
    assert interim_draws(design_run(made, Spec(600, (12,), 1, None, 500))) == 50


def test_the_key_is_followed(config):
    for asked, draws in ((1, 1), (7, 7), (80, 50)):
        assert interim_draws(design(config, test_particles=50, interim_particles=asked)) == draws
    made = design(config, test_particles=50, interim_particles=7, epoch=4)._replace(n_epochs=6)
    assert [draws_after(made, epoch) for epoch in range(1, 7)] == [7, 7, 7, None, None, None]
    assert about_interim(made) == [
        "note: evaluations before the last one take 7 of the 50 weight draws (interim_particles)"]
    with pytest.raises(UserError, match="interim_particles 7: with patience, any evaluation may be the result"):
        config(interim_particles=7, patience=2, validation_fraction=0.1)


@pytest.mark.parametrize("network", [LENET, dict(FFN, batch_norm=True)])
def test_fewer_draws_are_the_first_ones(config, network):
    """With draws one by one (convolutions) and all at once."""
    made = Run(config(interim_particles=2, **network))
    made.steps(3)
    arguments = made.session, made.model, made.data.test.x[:5], made.data.train.x
    every, two = network_outputs(*arguments), network_outputs(*arguments, n_draws=2)
    assert every.shape == (3, 5, 10) and two.shape == (2, 5, 10)
    n_batches = []
    network_outputs(*arguments, n_draws=2, wrap=lambda batches: n_batches.extend(batches) or batches)
    assert len(n_batches) == (1 if "hidden" in network else 2)
    assert_allclose(two, every[:2], rtol=1e-5, atol=1e-6)
    one, mean = (network_outputs(*arguments, mean=True, n_draws=n_draws) for n_draws in (2, None))
    assert one.shape == mean.shape == (1, 5, 10)
    assert_allclose(one, mean, rtol=1e-5, atol=1e-6)
    assert (made.model.evaluate.predictions.n_used is None) == ("hidden" not in network)


@pytest.mark.parametrize("network", [dict(LENET, width=0.1), FFN])
def test_the_result_is_that_of_a_run_with_all_draws(config, network, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "misclassified_figure", lambda *args: None)
    rows, results, asked = [], [], []
    original = evaluation.network_outputs

    def counted(*args, mean=False, n_draws=None, **keys):
        if not mean:
            asked.append(n_draws)
        return original(*args, mean=mean, n_draws=n_draws, **keys)

    monkeypatch.setattr(evaluation, "network_outputs", counted)
    for name, interim in (("all", None), ("fewer", 1)):
        made = config(exp_name=name, interim_particles=interim, batch_size=400, epoch=3, **network)
        results.append(run.execute(run.plan(made, "cpu"))["metrics"])
        with open(str(run_folder(made).metrics)) as handle:
            rows.append(list(csv.DictReader(handle)))
    assert asked == [None] * 3 + [1, 1, None]
    assert results[0] == results[1] and len(rows[0]) == len(rows[1]) == 3
    assert "test_log_likelihood" in results[0]
    for one, other in zip(*rows):
        one.pop("seconds"), other.pop("seconds")
    assert rows[0][-1] == rows[1][-1]
    for one, other in zip(rows[0][:-1], rows[1][:-1]):
        assert one["test_log_likelihood"] != other["test_log_likelihood"]
        assert all(one[name] == other[name] for name in one if name.startswith("train_"))
    files = [np.load(str(tmp_path / "digits" / name / "predictions.npz")) for name in ("all", "fewer")]
    assert np.array_equal(files[0]["log_probabilities"], files[1]["log_probabilities"])
    log = (tmp_path / "digits" / "fewer" / "log.txt").read_text()
    assert "evaluations before the last one take 1 of the 3 weight draws (interim_particles)" in log
    lines = explain(run.plan(config(interim_particles=1, **network), "cpu"))
    assert any("take 1 of the 3 weight draws" in line for line in lines)
    assert not any("interim_particles" in line for line in explain(run.plan(config(**network), "cpu")))
