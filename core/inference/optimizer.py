"""The noisy natural-gradient step: one rule for every method. Pure.

METHODS: config's `optimizer` -> curvature family and whether the weights are drawn from its
posterior. The three noisy methods of the papers are one step with three families.
"""
import collections

import tensorflow.compat.v1 as tf

from core.inference import families, kronecker
from core.inference.adam import debias
from core.inference.adam import ema as moved
from core.inference.factors import statistics
from core.inference.families import Batch
from core.inference.posteriors import PointMass
from core.inference.solvers import default_solver
from misc.config import CLASSIFICATION, REGRESSION
from misc.errors import UserError
from misc.lookup import lookup

Method = collections.namedtuple("Method", ["family", "noisy", "vectors", "fisher_approx", "meaning"])
"""vectors: the family of parameters that are no weight matrix (scales and shifts)."""

METHODS = {
    "ekfac": Method(kronecker.EigenKronecker, True, families.Diagonal, "eigen",
                    "noisy EK-FAC: eigenvalue-corrected matrix Gaussian"),
    "kfac": Method(kronecker.Kronecker, True, families.Diagonal, "kron",
                   "noisy K-FAC: matrix-variate Gaussian posterior"),
    "diag": Method(families.Diagonal, True, families.Diagonal, "diagonal",
                   "noisy Adam: fully factorised Gaussian posterior"),
    "bbb": Method(families.MeanField, True, families.Adam, None,
                  "Bayes by backprop: fully factorised Gaussian trained by Adam"),
    "ekfac_point": Method(kronecker.EigenKronecker, False, families.Diagonal, "eigen",
                          "EK-FAC steps, no weight noise: a point estimate"),
    "kfac_point": Method(kronecker.Kronecker, False, families.Diagonal, "kron",
                         "K-FAC steps, no weight noise: a point estimate"),
    "adam": Method(families.Adam, False, families.Adam, None, "Adam: a point estimate (MAP)"),
    "sgd": Method(families.Identity, False, families.Identity, None, "SGD with momentum: a point estimate (MAP)"),
}

CURVATURE_KEYS = {name for method in METHODS.values() for name in method.family.reads}

# config's `large_layers` -> (family, noisy) for a layer whose factors exceed max_factor_dim.
LARGE_LAYERS = {"diagonal": (families.Diagonal, True), "point": (families.Diagonal, False)}


class LayerMethod(collections.namedtuple("LayerMethod", ["spec", "family", "noisy"])):
    """How one layer is trained: its spec, its curvature family (or None if refused), noise or not."""

    @property
    def shape(self):
        return self.spec.d_in + 1, self.spec.d_out

    @property
    def kind(self):
        """structured, diagonal, point, or refused."""
        if self.family is None:
            return "refused"
        if not self.noisy:
            return "point"
        return "structured" if self.family.needs_factors else "diagonal"

    def posterior(self, state, temperature):
        """q(W) for this layer's state."""
        return self.family.posterior(state["mean"], state, temperature) if self.noisy else PointMass(self.weights(state))

    def weights(self, state):
        """The mean of the weights, [d_in + 1, d_out]."""
        return self.family.weights(state["mean"], state)

    def under(self, prior):
        """The same with another prior."""
        return self._replace(family=self.family.under(prior))


def layer_methods(config, specs, prior, solver=default_solver):
    """A LayerMethod per layer; one whose factors are too large falls back or is refused.

    solver: name of a layer -> how its factors are decomposed.

    UserError for a kind of layer that has no curvature.
    """
    method = lookup(METHODS, config.optimizer, "optimizer")
    plans = []
    for spec in specs:
        statistics(spec)
        family, noisy = (method.family, method.noisy) if spec.has_weights else (method.vectors, False)
        if family.needs_factors and max(spec.d_in + 1, spec.d_out) > config.max_factor_dim:
            family, noisy = LARGE_LAYERS.get(config.large_layers, (None, False))
            noisy = noisy and method.noisy
        plans.append(LayerMethod(spec, family and family(prior, config, solver(spec.name)), noisy))
    return plans


def check_layers(plans, config):
    """UserError if a layer was refused."""
    for plan in plans:
        if plan.family is None:
            raise UserError(
                f"layer {plan.spec.name} needs factors of {plan.shape[0]} and {plan.shape[1]}, max_factor_dim is "
                f"{config.max_factor_dim}: raise it, or set large_layers to diagonal or point")


def initial_state(plan, mean):
    """State of one layer at step 0 for the initial `mean` [d_in + 1, d_out], as all families' coordinates are then."""
    return dict(mean=mean, momentum=tf.zeros_like(mean), **plan.family.init(plan.shape, mean.dtype))


def elbo_gradient(batch_gradient, weights, prior, kl_scale):
    """v = E[grad log p] - gamma_in E[w], per example, both means over the particles."""
    return batch_gradient - kl_scale * prior.damping * tf.reduce_mean(weights, axis=0)


def layer_batch(record, ds, ds_fisher, weights, mean, prior, kl_scale):
    """The Batch of one layer from its LayerRecord and the gradients at its pre-activations.

    The prior is over weights; scales and shifts have none.
    """
    stats = statistics(record.spec)
    grad = stats.gradient(record.inputs, ds)
    grad = elbo_gradient(grad, weights, prior, kl_scale) if record.spec.has_weights else grad
    return Batch(record.inputs, ds, ds_fisher, weights - mean, grad, stats)


def step(plan, state, batch, rates, momentum, due):
    """State of one layer after one step of the averaged rule.

    Curvature first, with the gradients at the drawn weights; then the mean moves along the
    preconditioned moving average of v (momentum, bias-corrected).
    """
    new, mean, before, grad = _updated(plan, state, batch, rates, due)
    average = moved(before, grad, 1.0 - momentum)
    direction = plan.family.precondition(debias(average, momentum, rates.step), new)
    return dict(new, mean=mean + rates.mean * direction, momentum=average)


def _updated(plan, state, batch, rates, due):
    """(state with the new curvature, mean, momentum, gradient), the last three in its coordinates."""
    family, new = plan.family, plan.family.update(state, batch, rates, due)
    mean, momentum = (family.turn(state[name], state, new) for name in ("mean", "momentum"))
    return new, mean, momentum, family.project(batch.grad, new)


def averaged_steps(plans, states, batches, rates, momentum, due):
    """`step` for each layer by itself: the rule of regression."""
    return [step(plan, state, batch, rates, momentum, due) for plan, state, batch in zip(plans, states, batches)]


def clipped_steps(plans, states, batches, rates, momentum, due):
    """The rule of classification: precondition v, clip all layers together, then momentum on the step.

    The factor on every step is min(1, sqrt(kl_clip / (lr^2 sum v^T F^-1 v))), the sum over all layers whose
    family is by a Fisher: no gradient by itself changes the predictive by more than about that in KL
    divergence, before momentum adds up to 1 / (1 - momentum) of them.
    A family with an average of its own (Adam) keeps to `step`. The curvature is updated a layer at a
    time, so that memory holds the patches of one.
    """
    found, lengths, earlier = [], [], []
    for plan, state, batch in zip(plans, states, batches):
        if plan.family.averages:
            found.append((step(plan, state, batch, rates, momentum, due), None, None))
            continue
        with tf.control_dependencies(earlier):
            new, mean, before, grad = _updated(plan, state, batch, rates, due)
        earlier = [value for name, value in new.items() if value is not state[name]] or earlier
        direction = plan.family.precondition(grad, new)
        found.append((dict(new, mean=mean), before, direction))
        if plan.family.natural:
            lengths.append(tf.reduce_sum(grad * direction))
    factor = clip_factor(tf.add_n(lengths), rates) if lengths else 1.0
    return [new if direction is None else _moved_by(new, before, factor * direction, rates, momentum)
            for new, before, direction in found]


def clip_factor(length, rates):
    """min(1, sqrt(clip / (lr^2 length))), length = v^T F^-1 v; a scalar."""
    return tf.minimum(tf.sqrt(rates.clip / tf.maximum(length, 1e-30)) / rates.mean, 1.0)


def _moved_by(new, before, direction, rates, momentum):
    total = momentum * before + direction
    return dict(new, mean=new["mean"] + rates.mean * total, momentum=total)


STEPS = {REGRESSION: averaged_steps, CLASSIFICATION: clipped_steps}
