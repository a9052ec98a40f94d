"""Batch normalisation: each draw's own moments in predictions, and minibatches that give a channel a single value."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose

from core.training.design import design_run
from core.training.evaluation import network_outputs
from core.training.tasks import TASKS
from data_loader.parts import Part, Pixels, Spec
from misc.config import Config
from misc.errors import UserError
from networks.normalisation import NORM_EPSILON
from tests.test_model import Run, flat

KEYS = dict(mode="classification", dataset="digits", optimizer="sgd", model_name="ffn", hidden=[5], batch_norm=True,
            epoch=9, batch_size=20, learning_rate=1e-9)  # the weights stand still


@pytest.fixture
def config(tmp_path):
    """Function (**overrides) -> Config of a batch-normed network on digits."""
    return lambda **keys: Config.from_dict(dict(KEYS, data_path=str(tmp_path), experiments_path=str(tmp_path), **keys))


def run_on(config, n_rows):
    """A Run whose training rows are the first `n_rows` of its own."""
    whole = TASKS[config.kind].load(config)
    return Run(config, whole._replace(train=Part(whole.train.x[:n_rows], whole.train.y[:n_rows]),
                                      spec=whole.spec._replace(n_rows=n_rows)))


def true_moments(run, state):
    """Mean and variance of what the batch normalisation is given, over all training rows."""
    x, pixels = run.data.train.x.reshape(run.data.spec.n_rows, -1), run.data.spec.pixels
    h = (x - pixels.mean) / pixels.std @ state["dense0"]["mean"][:-1]
    return h.mean(axis=0), h.var(axis=0)


@pytest.mark.parametrize("hidden", [[], [4]])
@pytest.mark.parametrize("optimizer, n_rows", [("ekfac", 60), ("ekfac", 61), ("sgd", 61)])
def test_predictions_normalise_each_draw_by_its_own_moments(config, optimizer, n_rows, hidden):
    """Whatever the size of the last minibatch: what is normalised has mean 0 and variance 1 over the training rows."""
    run = run_on(config(optimizer=optimizer, test_particles=3, hidden=[5, *hidden], learning_rate=0.1), n_rows)
    run.steps(4)
    x, pixels = (run.data.train.x.reshape(n_rows, -1), run.data.spec.pixels)
    outputs = network_outputs(run.session, run.model, run.data.train.x, run.data.train.x)
    with run.model.graph.as_default():
        drawn = run.session.run([var.read_value() for var in tf.local_variables() if "drawn_" in var.op.name])
    h = np.stack([(x - pixels.mean) / pixels.std] * len(outputs))
    for dense, norm in zip(drawn[0:-1:2], drawn[1::2]):
        h = h @ dense[:, :-1] + dense[:, -1:]
        h = (h - h.mean(axis=1, keepdims=True)) / np.sqrt(h.var(axis=1, keepdims=True) + NORM_EPSILON)
        h = np.maximum(h * norm[:, :1] + norm[:, 1:], 0.0)
    assert_allclose(outputs, h @ drawn[-1][:, :-1] + drawn[-1][:, -1:], rtol=2e-3, atol=2e-4)
    assert len(outputs) == (1 if optimizer == "sgd" else 3)


@pytest.mark.parametrize("n_rows", [61, 81])
def test_minibatches_weigh_by_their_values(config, n_rows):
    """The averages are those of all rows, although the last minibatch has one row."""
    run = run_on(config(), n_rows)
    state = run.steps(8 * run.model.design.steps_per_epoch)
    moving, true = state["batch_norm0"], true_moments(run, state)
    assert_allclose((moving["moving_variance"] / true[1]).mean(), 0.95, atol=0.03)  # 1 - 1 / 20: of 20 values each
    assert_allclose(moving["moving_mean"], true[0], atol=0.1 * np.sqrt(true[1]).max())


@pytest.mark.parametrize("optimizer", ["sgd", "ekfac"])
def test_a_single_value_is_normalised_by_the_averages(config, optimizer):
    """A last minibatch of one row leaves the averages as they are, and its row still trains the layers below."""
    run = run_on(config(optimizer=optimizer, learning_rate=0.1, momentum=0.0, TCov=3, TEigen=3, TScale=3), 41)
    before, after = run.steps(2), run.steps(1)
    for name in ("moving_mean", "moving_variance"):
        assert_allclose(after["batch_norm0"][name], before["batch_norm0"][name], rtol=1e-6)
    assert np.abs(after["dense0"]["mean"] - before["dense0"]["mean"]).max() > 1e-6
    assert all(np.isfinite(value).all() for value in flat(after).values())


@pytest.mark.parametrize("keys, n_rows, shape, refused", [
    (dict(batch_size=1), 40, (8, 8, 1), True),
    (dict(batch_size=20), 1, (8, 8, 1), True),
    (dict(batch_size=2), 40, (8, 8, 1), False),
    (dict(batch_size=1, batch_norm=False), 40, (8, 8, 1), False),
    (dict(batch_size=1, model_name="vgg11", hidden=None), 40, (16, 16, 1), True),  # the last convolution sees 1 pixel
    (dict(batch_size=1, model_name="vgg11", hidden=None), 40, (32, 32, 1), False),
    (dict(batch_size=1, model_name="resnet20", hidden=None), 40, (8, 8, 1), False)])
def test_minibatches_of_single_values_are_refused(config, keys, n_rows, shape, refused):
    made = config(**keys)
    spec = Spec(n_rows, shape, 10, Pixels(np.zeros(1), np.ones(1)))
    if not refused:
        assert design_run(made, spec).steps_per_epoch
        return
    with pytest.raises(UserError, match="batch_norm.* has one value per channel in every minibatch: "):
        design_run(made, spec)
