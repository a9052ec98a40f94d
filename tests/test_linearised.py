"""Key `predictive` linearised: the Gaussian outputs against dense Jacobians, and the distributions made of them."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose
from scipy import integrate, stats

from core.assessment.weight_noise import precision
from core.inference.linearised import COORDINATES
from core.metrics.draws import Draws
from core.metrics.gaussian_outputs import (
    ProbitDraws,
    class_entropies,
    drawn_outputs,
    normal_cells,
    probit_logits,
    standard_noise,
    with_variance,
)
from core.metrics.predictive import moments, predict, softmax
from core.training.design import design_run
from core.training.graph import build_model
from core.training.linearised import gaussian_outputs
from core.training.outputs import outputs_of_weights
from data_loader.parts import Pixels, Spec
from misc.config import Config

pytestmark = pytest.mark.filterwarnings("ignore")

TABLE = Spec(39, (3,), 1, None)
IMAGES = Spec(39, (6, 6, 2), 3, Pixels(np.full(2, 100.0), np.full(2, 50.0)))
CLASSES = Spec(39, (3,), 3, None)
COMMON = dict(dataset="any", precision="float64", predictive="linearised", test_particles=4)
DENSE = dict(COMMON, model_name="ffn", hidden=[5, 4], activation="tanh")
IMAGE = dict(COMMON, mode="classification", model_name="lenet", width=0.3, activation="tanh")
CASES = {
    "dense": (DENSE, TABLE), "classes": (dict(DENSE, mode="classification"), CLASSES),
    "convolutions": (IMAGE, IMAGES), "batch norm": (dict(DENSE, mode="classification", batch_norm=True), CLASSES),
    "convolutions, batch norm": (dict(IMAGE, batch_norm=True), IMAGES),
    "shortcuts": (dict(IMAGE, model_name="resnet20", width=0.12), IMAGES),
    "last layer": (dict(DENSE, posterior_layers="last"), TABLE),
    "one of three": (dict(IMAGE, posterior_layers=["conv2d1"], batch_norm=True), IMAGES),
    "large layers": (dict(DENSE, max_factor_dim=5, large_layers="point"), TABLE),
}


class Network:
    """A network with random state, in a session, and rows for it."""

    def __init__(self, settings, spec, n_rows=4):
        rng = np.random.RandomState(1)
        self.design = design_run(Config.from_dict(settings), spec)
        self.model = build_model(self.design, training=False)
        self.session = tf.Session(graph=self.model.graph)
        self.session.run(self.model.init)
        for layer in self.design.layers:
            for name, variable in self.model.variables[layer.spec.name].items():
                variable.load(self._value(name, variable.shape.as_list(), layer, rng), self.session)
        shape = (30, *spec.shape)
        rows = rng.randint(0, 256, shape).astype(np.uint8) if spec.pixels else rng.randn(*shape)
        self.x, self.train_x = rows[:n_rows], rows[n_rows:]

    @staticmethod
    def _value(name, shape, layer, rng):
        """A random value of an entry of a layer's state."""
        if name in ("q_a", "q_s"):
            return np.linalg.qr(rng.randn(*shape))[0]
        if name in ("root_a", "root_s"):
            return np.tril(0.2 * rng.randn(*shape)) + np.eye(shape[0])
        if name == "mean":
            return rng.randn(*shape) / np.sqrt(shape[0]) + (0.0 if layer.spec.has_weights else 0.5)
        if name == "log_std":
            return -1.0 + 0.3 * rng.randn(*shape)
        return np.square(rng.randn(*shape)) + 0.1

    def means(self):
        """The mean weights of every layer, [d_in + 1, d_out]."""
        with self.model.graph.as_default():
            return self.session.run([layer.weights(self.model.variables[layer.spec.name])
                                     for layer in self.design.layers])

    def brute_force(self, step=1e-5):
        """Mean [n, C] and covariance [n, C, C] of the outputs, by central differences for every weight of its own.

        Batch normalisations keep the moments that the mean weights give them.
        """
        means, moments = self.means(), {}
        posteriors = self.session.run(self.model.evaluate.posteriors)
        predictions = self.model.evaluate.predictions
        self.session.run(predictions.draw_mean)
        if predictions.normalise is not None:
            self.session.run(predictions.normalise, {predictions.inputs: self.train_x})
            moments = {tensor: value for name, pair in predictions.moments.items()
                       for tensor, value in zip(pair, self.session.run(pair))}

        def outputs(weights):
            size = self.design.particles_at_once
            feeds = {tensor: np.repeat(weight[None], size, axis=0)
                     for tensor, weight in zip(predictions.weights, weights)}
            return self.session.run(predictions.outputs, {**moments, **feeds, predictions.inputs: self.x})[0]

        covariance = 0.0
        for number, layer in enumerate(self.design.layers):
            posterior = posteriors.get(layer.spec.name)
            if type(posterior) not in COORDINATES:
                continue
            columns = []
            for weight in np.ndindex(*layer.shape):
                pair = []
                for sign in (1.0, -1.0):
                    moved = [mean.copy() for mean in means]
                    moved[number][weight] += sign * step
                    pair.append(outputs(moved))
                columns.append((pair[0] - pair[1]) / (2.0 * step))
            jacobian = np.stack(columns, axis=-1)  # [n, C, d]
            covariance = covariance + jacobian @ np.linalg.inv(precision(posterior)) @ np.swapaxes(jacobian, 1, 2)
        return outputs(means), covariance


OPTIMIZERS = ("ekfac", "kfac", "diag", "bbb")

# The rest with the slow tests: how a posterior is linearised does not depend on the network.
QUICK = [*(("dense", optimizer) for optimizer in OPTIMIZERS), ("classes", "ekfac"), ("classes", "bbb"),
         ("batch norm", "kfac"), ("last layer", "ekfac"), ("last layer", "diag"), ("large layers", "ekfac"),
         ("large layers", "kfac")]


@pytest.mark.parametrize("case, optimizer", [
    pytest.param(case, optimizer, marks=[pytest.mark.slow] * ((case, optimizer) not in QUICK))
    for case in ("dense", "classes", "batch norm", "last layer", "large layers") for optimizer in OPTIMIZERS])
def test_against_dense_jacobians(case, optimizer):
    settings, spec = CASES[case]
    check_against_dense_jacobians(dict(settings, optimizer=optimizer), spec)


@pytest.mark.parametrize("case, optimizer", [
    ("convolutions", "ekfac"), ("convolutions", "kfac"), ("convolutions", "diag"),
    ("convolutions, batch norm", "kfac"), ("one of three", "ekfac"),
    pytest.param("shortcuts", "diag", marks=pytest.mark.slow)])
def test_convolutions_against_dense_jacobians(case, optimizer):
    settings, spec = CASES[case]
    check_against_dense_jacobians(dict(settings, optimizer=optimizer), spec)


def check_against_dense_jacobians(settings, spec):
    network = Network(settings, spec)
    mean, covariance = gaussian_outputs(network.session, network.model, network.x, network.train_x)
    expected = network.brute_force()
    assert_allclose(mean, expected[0], rtol=1e-9, atol=1e-12)
    assert_allclose(covariance, expected[1], rtol=1e-6, atol=1e-8 * np.abs(expected[1]).max())
    assert np.linalg.eigvalsh(covariance).min() > -1e-9


def test_rows_that_are_computed_together_do_not_matter(monkeypatch):
    settings, spec = CASES["convolutions"]
    network = Network(dict(settings, optimizer="kfac"), spec)
    whole = gaussian_outputs(network.session, network.model, network.x, network.train_x)
    monkeypatch.setattr("core.training.linearised.MOST_NUMBERS", 1)
    single = gaussian_outputs(network.session, network.model, network.x, network.train_x)
    for one, other in zip(whole, single):
        assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("optimizer", ["ekfac", "kfac", "diag"])
def test_a_linear_model_is_what_draws_of_its_weights_say(optimizer):
    """Without a hidden layer the linearisation is exact."""
    network = Network(dict(COMMON, model_name="linear", optimizer=optimizer), TABLE)
    mean, covariance = gaussian_outputs(network.session, network.model, network.x, None)
    with network.model.graph.as_default():
        design = network.design
        seed, state = tf.constant([5, 0]), network.model.variables["dense0"]
        weights = network.session.run(design.layers[0].posterior(state, design.prior.temperature()).sample(40000, seed))
    outputs = outputs_of_weights(network.session, network.model, [weights], network.x, None)[..., 0]
    assert_allclose(outputs.mean(axis=0), mean[:, 0], atol=5.0 * np.sqrt(covariance.max() / 40000))
    assert_allclose(outputs.var(axis=0), covariance[:, 0, 0], rtol=5.0 * np.sqrt(2.0 / 40000))


# Distributions of Gaussian outputs.

MEAN, VARIANCE = np.array([0.3, -1.0, 2.0]), np.array([0.0, 0.4, 2.5])
PRECISIONS, TARGETS = np.array([3.0, 1.0, 8.0, 2.0]), np.array([0.1, -0.2, -1.5])


def test_gaussian_noise_in_closed_form():
    draws = with_variance(Draws(MEAN[None], PRECISIONS, np.inf), VARIANCE)
    total = VARIANCE + 1.0 / PRECISIONS[:, None]
    prediction = predict(*draws[:2], TARGETS, 10.0, 2.0, draws.dof, draws.within)
    assert_allclose(prediction.mean, 10.0 + 2.0 * MEAN)
    assert_allclose(prediction.std, 2.0 * np.sqrt(total.mean(axis=0)))
    assert_allclose(prediction.epistemic_std, 2.0 * np.sqrt(VARIANCE), atol=1e-12)
    density = stats.norm.pdf(TARGETS, MEAN, np.sqrt(total)).mean(axis=0) / 2.0
    assert_allclose(prediction.log_prob, np.log(density))
    assert_allclose(prediction.cdf, stats.norm.cdf(TARGETS, MEAN, np.sqrt(total)).mean(axis=0))


@pytest.mark.parametrize("n_draws", [1, 7, 100])
def test_student_noise_by_quadrature(n_draws):
    """Against integrals over the Gaussian output, for a known noise level."""
    dof, tau = 4.0, 3.0
    draws = with_variance(Draws(MEAN[None], np.full(n_draws, tau), dof), VARIANCE)
    assert len(draws.outputs) == len(draws.precisions) >= 200
    mean, variance, epistemic = moments(draws.outputs, draws.precisions, dof, draws.within)
    assert_allclose(mean, MEAN, rtol=1e-9)
    assert_allclose(epistemic, VARIANCE, rtol=1e-9, atol=1e-12)
    assert_allclose(variance, VARIANCE + dof / (dof - 2.0) / tau, rtol=1e-9)
    prediction = predict(draws.outputs, draws.precisions, TARGETS, 0.0, 1.0, dof, draws.within)
    for row in (1, 2):
        spread = np.sqrt(VARIANCE[row])

        def averaged(of_noise, row=row, spread=spread):
            return integrate.quad(lambda f: stats.norm.pdf(f, MEAN[row], spread) * of_noise(TARGETS[row], dof, f,
                                                                                            tau**-0.5),
                                  MEAN[row] - 9.0 * spread, MEAN[row] + 9.0 * spread, limit=200)[0]

        assert_allclose(np.exp(prediction.log_prob[row]), averaged(stats.t.pdf), rtol=0.005)
        assert_allclose(prediction.cdf[row], averaged(stats.t.cdf), atol=2e-4)


def test_every_noise_level_meets_the_whole_output():
    """Each draw of the noise precision is combined with nodes from all over the Gaussian."""
    draws = with_variance(Draws(np.zeros((1, 1)), PRECISIONS, 5.0), np.ones(1))
    for tau in PRECISIONS:
        own = draws.outputs[np.isclose(1.0 / draws.precisions - draws.within, 1.0 / tau)[:, 0], 0]
        assert len(own) == 50 and abs(own.mean()) < 1e-9 and abs(own.std() - 1.0) < 0.1


def test_cells_of_a_normal_variable():
    """Against integrals over each cell; together they have mean 0 and variance 1."""
    for n_cells in (1, 2, 7):
        means, variances = normal_cells(n_cells)
        assert_allclose([means.mean(), np.mean(np.square(means) + variances)], [0.0, 1.0], atol=1e-12)
        edges = stats.norm.ppf(np.arange(n_cells + 1) / n_cells)
        for cell, (low, high) in enumerate(zip(edges[:-1], edges[1:])):
            inside = stats.truncnorm(low, high)
            assert_allclose([means[cell], variances[cell]], [inside.mean(), inside.var()], rtol=1e-6, atol=1e-9)


def test_draws_have_the_moments_of_their_gaussian(rng):
    root = rng.randn(5, 3, 3)
    root[0, :, 0] = root[0, :, 1]  # of rank 2
    covariance, mean = root @ np.swapaxes(root, 1, 2), rng.randn(5, 3)
    outputs = drawn_outputs(mean, covariance, standard_noise(20, 3, rng))
    assert outputs.shape == (20, 5, 3)
    assert_allclose(outputs.mean(axis=0), mean, atol=1e-9)
    gap = outputs - mean
    assert_allclose(np.einsum("kni,knj->nij", gap, gap) / 20, covariance, atol=1e-9)
    assert standard_noise(3, 3, rng).shape == (3, 3)


def test_the_probit_approximation(rng):
    """Close to the mean of the softmax over a Gaussian of logits; exact without variance."""
    mean, variance = np.array([[1.0, -0.5, 0.0]]), np.array([[2.0, 0.5, 1.0]])
    assert_allclose(probit_logits(mean, variance)[0, 0], 1.0 / np.sqrt(1.0 + np.pi / 4.0))
    assert_allclose(probit_logits(mean, 0.0 * variance), mean)
    exact = softmax(mean + np.sqrt(variance) * rng.randn(200000, 1, 3)).mean(axis=0)
    assert np.abs(softmax(probit_logits(mean, variance)) - exact).max() < 0.05


def test_entropies_of_probit_draws():
    logits, drawn = np.zeros((1, 1, 2)), np.array([[[30.0, 0.0]], [[0.0, 30.0]]])
    total, expected, mutual = class_entropies(ProbitDraws(logits, drawn))
    assert_allclose([total[0], expected[0], mutual[0]], [np.log(2.0), 0.0, np.log(2.0)], atol=1e-9)
    assert_allclose(class_entropies(drawn)[2], np.log(2.0))
    assert_allclose(class_entropies(ProbitDraws(np.array([[[30.0, 0.0]]]), drawn))[0], 0.0, atol=1e-9)
