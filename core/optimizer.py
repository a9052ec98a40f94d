"""The noisy natural-gradient step: one rule for every method. Pure.

METHODS: config's `optimizer` -> curvature family and whether the weights are drawn from its
posterior. The three noisy methods of the papers are one step with three families.
"""
import collections

import tensorflow.compat.v1 as tf

from core import curvature
from core.adam import debias
from core.curvature import Batch, moved
from core.factors import STATISTICS
from core.posterior import PointMass
from core.schedule import update_periods
from misc.errors import UserError
from misc.table import lookup

Method = collections.namedtuple("Method", ["family", "noisy", "fisher_approx", "meaning"])

METHODS = {
    "ekfac": Method(curvature.EigenKronecker, True, "eigen", "noisy EK-FAC: eigenvalue-corrected matrix Gaussian"),
    "kfac": Method(curvature.Kronecker, True, "kron", "noisy K-FAC: matrix-variate Gaussian posterior"),
    "diag": Method(curvature.Diagonal, True, "diagonal", "noisy Adam: fully factorised Gaussian posterior"),
    "bbb": Method(curvature.MeanField, True, None, "Bayes by backprop: fully factorised Gaussian trained by Adam"),
    "ekfac_point": Method(curvature.EigenKronecker, False, "eigen", "EK-FAC steps, no weight noise: a point estimate"),
    "kfac_point": Method(curvature.Kronecker, False, "kron", "K-FAC steps, no weight noise: a point estimate"),
    "adam": Method(curvature.Adam, False, None, "Adam: a point estimate (MAP)"),
    "sgd": Method(curvature.Identity, False, None, "SGD with momentum: a point estimate (MAP)"),
}

# config's `large_layers` -> (family, noisy) for a layer whose factors exceed max_factor_dim.
LARGE_LAYERS = {"diagonal": (curvature.Diagonal, True), "point": (curvature.Diagonal, False)}


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

    def posterior(self, state):
        """q(W) for this layer's state."""
        return self.family.posterior(state["mean"], state) if self.noisy else PointMass(state["mean"])


def layer_methods(config, specs, prior):
    """A LayerMethod per layer; one whose factors are too large falls back or is refused."""
    method = lookup(METHODS, config.optimizer, "optimizer")
    plans = []
    for spec in specs:
        family, noisy = method.family, method.noisy
        if family.needs_factors and max(spec.d_in + 1, spec.d_out) > config.max_factor_dim:
            family, noisy = LARGE_LAYERS.get(config.large_layers, (None, False))
            noisy = noisy and method.noisy
        plans.append(LayerMethod(spec, family and family(prior, config), noisy))
    return plans


def check_layers(plans, config):
    """UserError if a layer was refused."""
    for plan in plans:
        if plan.family is None:
            raise UserError(
                f"layer {plan.spec.name} needs factors of {plan.shape[0]} and {plan.shape[1]}, max_factor_dim is "
                f"{config.max_factor_dim}: raise it, or set large_layers to diagonal or point")


def notices(config):
    """Sentences about settings that are accepted but do nothing."""
    method, found = lookup(METHODS, config.optimizer, "optimizer"), []
    if config.fisher_approx not in (None, method.fisher_approx):
        found.append(f"note: fisher_approx {config.fisher_approx} does not go with optimizer {config.optimizer} "
                     "and is not used")
    resets = method.noisy and "reinit" in method.family.updates and config.re_init
    if resets and "reinit" not in update_periods(config, method.family.updates):
        found.append("note: re_init does nothing more here: R is re-initialised at every change of basis already "
                     "(kfac_init_after_basis)")
    return found


def initial_state(plan, mean):
    """State of one layer at step 0 for the initial `mean` [d_in + 1, d_out]."""
    return dict(mean=mean, momentum=tf.zeros_like(mean), **plan.family.init(plan.shape, mean.dtype))


def elbo_gradient(batch_gradient, weights, prior):
    """v = E[grad log p] - gamma_in E[w], per example, both means over the particles."""
    return batch_gradient - prior.damping * tf.reduce_mean(weights, axis=0)


def step(plan, state, batch, rates, momentum, due):
    """State of one layer after one step.

    Curvature first, with the gradients at the drawn weights; then the mean moves along the
    preconditioned moving average of v (momentum, bias-corrected).
    """
    new = plan.family.update(state, batch, rates, due)
    average = moved(state["momentum"], batch.grad, 1.0 - momentum)
    direction = plan.family.precondition(debias(average, momentum, rates.step), new)
    return dict(new, mean=state["mean"] + rates.mean * direction, momentum=average)


def layer_batch(record, ds, ds_fisher, weights, mean, prior):
    """The Batch of one layer from its LayerRecord and the gradients at its pre-activations."""
    stats = STATISTICS[record.spec.kind]
    grad = elbo_gradient(stats.gradient(record.inputs, ds), weights, prior)
    return Batch(record.inputs, ds, ds_fisher, weights - mean, grad, stats)
