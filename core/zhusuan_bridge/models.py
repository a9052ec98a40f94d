"""Networks as models of ZhuSuan, and posteriors as variational families and as starts of chains.

The nodes of a model are named after what they are: the layers ("dense0", ...) with weights [K, d_in + 1, d_out],
"log_precision" with log tau, [K] or [K, m], of a regression, "outputs" and "y". K is the number of particles or chains.

ZhuSuan's samplers compute in float32, and so should the tensors that they are given.
"""
from typing import Any, Callable, Dict, NamedTuple, Optional

import numpy as np
import tensorflow.compat.v1 as tf

from core.inference.likelihoods import Categorical, GaussianLikelihood, StudentTLikelihood
from core.inference.noise_model import precision_of
from core.training.design import Design
from core.training.graph import Model
from core.zhusuan_bridge.distributions import LogGamma, StudentT, distribution
from core.zhusuan_bridge.library import zs
from misc.errors import UserError
from misc.seeding import stream_seed
from networks.layers import ACTIVATIONS, LayerBuilder

LOG_PRECISION, OUTPUTS, TARGETS = "log_precision", "outputs", "y"  # names of nodes


class Approximation(NamedTuple):
    """The posterior that a run has found; arrays or tensors."""

    weights: Dict[str, Any]  # {layer: record of core/inference/posteriors.py}
    log_noise: Optional[Any] = None  # (log alpha, log beta) of q(tau), [2] or [2, m]; None without a noise precision


def approximation(model: Model, session: tf.Session, dtype: Any = np.float32) -> Approximation:
    """Returns the posterior of a run, of arrays of `dtype`, which can be used in another graph.

    Args:
      model, session: those of `core.assessment.restore.restored`.
    """
    posteriors, state = session.run([model.evaluate.posteriors, model.evaluate.likelihood])
    weights = {name: type(posterior)(*(np.asarray(entry, dtype) for entry in posterior))
               for name, posterior in posteriors.items()}
    log_noise = state.get("log_noise") if model.design.likelihood.has_precision else None
    return Approximation(weights, None if log_noise is None else np.asarray(log_noise, dtype))


def network_model(design: Design, x: tf.Tensor, n_particles: int = 1) -> Any:
    """Returns the model of a run as a `zhusuan.MetaBayesianNet`: weights ~ N(0, eta), y given the network's outputs.

    Its log joint is log p(w) + log p(tau) + N / (lambda n) sum over n rows of log p(y | x, w, tau), [K]: x may be a
    minibatch, and a KL weight lambda other than 1 tempers the posterior. Then ZhuSuan's ELBO times lambda / N is this
    project's objective per example.

    Args:
      design: of the run, see core/training/design.py.
      x: inputs [n, ...], standardised as those of the run.
      n_particles: K, for nodes that are not observed.

    Raises UserError for a network with batch normalisations, or noise that ZhuSuan has no distribution for.
    """
    observe = _observation(design)
    specs, activation = [layer.spec for layer in design.layers], ACTIVATIONS[design.config.activation]
    if not all(spec.has_weights for spec in specs):
        raise UserError("a network with batch normalisations is no model for ZhuSuan, because its outputs depend on "
                        "the other rows of a minibatch: set batch_norm to false")

    @zs.meta_bayesian_net()
    def build() -> Any:
        net = zs.BayesianNet()
        std = tf.constant(design.prior.prior_var**0.5, x.dtype)
        weights = [net.normal(spec.name, tf.zeros([spec.d_in + 1, spec.d_out], x.dtype), std=std, group_ndims=2,
                              n_samples=n_particles) for spec in specs]
        layers = LayerBuilder(specs, [node.tensor for node in weights], activation)
        outputs = design.network(x[None], layers, design.likelihood.n_outputs)
        observe(net, design.likelihood, net.deterministic(OUTPUTS, outputs), n_particles)
        return net

    def log_joint(net: Any) -> tf.Tensor:
        n_rows = tf.cast(tf.shape(x)[0], x.dtype)
        latent = [name for name, node in net.nodes.items() if hasattr(node, "dist") and name != TARGETS]
        return (sum(net.cond_log_prob(latent))
                + net.cond_log_prob(TARGETS) / (n_rows * design.prior.temperature()))

    model = build()
    model.log_joint = log_joint
    return model


def variational_net(posterior: Approximation, n_particles: int, **options: Any) -> Any:
    """Returns the posterior as a `zhusuan.BayesianNet`, as ZhuSuan's objectives take it (argument `variational`).

    Args:
      n_particles: draws of all weights, K.
      options: those of `distributions.WeightDistribution`, for all nodes.
    """
    net = zs.BayesianNet()
    for name, weights in posterior.weights.items():
        net.stochastic(name, distribution(weights, **options), n_samples=n_particles)
    if posterior.log_noise is not None:
        alpha, beta = (tf.exp(posterior.log_noise[row]) for row in (0, 1))
        net.stochastic(LOG_PRECISION, LogGamma(alpha, beta, group_ndims=len(alpha.shape), **options),
                       n_samples=n_particles)
    return net


def chains(posterior: Approximation, n_chains: int, seed: int) -> Dict[str, tf.Variable]:
    """Returns variables {node: [n_chains, ...]} for ZhuSuan's samplers (argument `latent`), which start at q.

    Weights are drawn, as functions of the seed; log tau starts at log E[tau].
    """
    starts = {name: distribution(weights).posterior.sample(n_chains, [stream_seed(seed, "chains", name), 0])
              for name, weights in posterior.weights.items()}
    if posterior.log_noise is not None:
        log_precision = tf.log(precision_of(tf.convert_to_tensor(posterior.log_noise)))
        starts[LOG_PRECISION] = tf.tile(log_precision[None], [n_chains] + [1] * len(log_precision.shape))
    return {name: tf.Variable(start, name=f"chains_{name}", trainable=False) for name, start in starts.items()}


# The targets' node, and those of the noise.

def _observe_gaussian(net: Any, likelihood: GaussianLikelihood, outputs: tf.Tensor, n_particles: int) -> None:
    means, log_precision = _noise(net, likelihood, outputs, n_particles)
    net.normal(TARGETS, means, logstd=-0.5 * log_precision, group_ndims=len(means.shape) - 1)


def _observe_student(net: Any, likelihood: StudentTLikelihood, outputs: tf.Tensor, n_particles: int) -> None:
    means, log_precision = _noise(net, likelihood, outputs, n_particles)
    net.stochastic(TARGETS, StudentT(means, log_precision, likelihood.dof, group_ndims=len(means.shape) - 1))


def _observe_classes(net: Any, likelihood: Categorical, outputs: tf.Tensor, n_particles: int) -> None:
    net.categorical(TARGETS, outputs, group_ndims=1)


def _noise(net: Any, likelihood: GaussianLikelihood, outputs: tf.Tensor, n_particles: int) -> Any:
    """Adds log tau. Returns (means of the targets, [K, n] or [K, n, m]; log tau, [K, 1] or [K, 1, m])."""
    alpha, beta = (tf.fill(likelihood.target_shape, tf.constant(value, outputs.dtype)) for value in likelihood.prior)
    node = net.stochastic(LOG_PRECISION, LogGamma(alpha, beta, group_ndims=len(likelihood.target_shape)),
                          n_samples=n_particles)
    if likelihood.target_shape:
        return outputs, tf.expand_dims(node.tensor, -2)
    return outputs[..., 0], tf.expand_dims(node.tensor, -1)


OBSERVATIONS: Dict[type, Callable[..., None]] = {
    GaussianLikelihood: _observe_gaussian, StudentTLikelihood: _observe_student, Categorical: _observe_classes}
"""Likelihood -> function (net, likelihood, outputs [K, n, n_outputs], n_particles) that adds the targets' node."""


def _observation(design: Design) -> Callable[..., None]:
    """Returns the row of OBSERVATIONS of the run's likelihood. Raises UserError if there is none."""
    kind = type(design.likelihood)
    if kind not in OBSERVATIONS:
        known = ", ".join(row.__name__ for row in OBSERVATIONS)
        raise UserError(f"ZhuSuan has no distribution for the targets of this run ({kind.__name__}): take a run with "
                        f"one of {known}")
    return OBSERVATIONS[kind]
