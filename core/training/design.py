"""What a run will be, looked up and checked before anything is built."""
import collections
import math

from core.inference import optimizer
from core.inference.gaussian import Prior
from core.inference.likelihoods import LIKELIHOODS
from core.inference.solvers import plain
from core.training.schedule import Schedule, early_steps, update_periods
from data_loader.batches import steps_per_epoch
from misc.config import REGRESSION
from misc.errors import UserError
from misc.lookup import lookup
from networks import NETWORKS
from networks.layers import layer_specs

Design = collections.namedtuple(
    "Design", ["spec", "network", "layers", "prior", "likelihood", "schedule", "steps_per_epoch", "draws_at_once"])
"""Everything about a run that is known before the graph: see `design_run`. draws_at_once: weight
draws that one evaluation call holds."""


def design_run(config, spec, solver=plain):
    """Looks everything up and checks it; builds nothing. UserError for what does not exist or fit.

    solver: see core/inference/solvers.py.
    """
    known = lookup(NETWORKS, config.model_name, "model_name")
    if known.images_only and len(spec.shape) != 3:
        raise UserError(f"model_name {config.model_name} is for pictures, {config.dataset} has {spec.shape[0]} numbers "
                        "a row: take ffn50 or another network of dense layers")
    network = known.make(config)
    likelihood = lookup(LIKELIHOODS, config.likelihood_name, "likelihood")(config, spec.n_outputs)
    prior = Prior(spec.n_rows, config.kl, config.eta)
    specs = layer_specs(network, spec.shape, likelihood.n_outputs)
    layers = optimizer.layer_methods(config, specs, prior, solver)
    updates = {name: None for layer in layers if layer.family for name in layer.family.updates}
    periods = update_periods(config, list(updates))
    schedule = Schedule(periods, early_steps(config, periods))
    all_at_once = all(layer.geometry is None for layer in specs)
    return Design(spec, network, layers, prior, likelihood, schedule, steps_per_epoch(spec.n_rows, config.batch_size),
                  n_test_draws(config, layers) if all_at_once else 1)


def notices(config):
    """Sentences about settings that are accepted but do nothing."""
    unread = lookup(NETWORKS, config.model_name, "model_name").ignores
    found = method_notices(config) + [f"note: model_name {config.model_name} does not go by {name}"
                                         for name in unread if config.sets(name)]
    unread = ("learning_rate",) if config.holds_out else ("held_out", "held_out_epochs")
    found += [f"note: noise_update {config.noise_update} does not go by {name}" for name in unread if config.sets(name)]
    draws = config.train_particles if lookup(optimizer.METHODS, config.optimizer, "optimizer").noisy else 1
    if config.mode == REGRESSION and config.noise_update == "leave_one_out" and draws == 1:
        found.append("note: with one weight draw a step, or no weight noise, noise_update leave_one_out is the same as "
                     "conjugate")
    if math.isinf(config.dof) and config.sets("noise_dof"):
        found.append(f"note: likelihood {config.likelihood} does not go by noise_dof")
    if config.holds_out and config.epochs_held_out >= config.epoch:
        found.append(f"note: the rows held out until epoch {config.epochs_held_out} of {config.epoch} never train")
    return found


def method_notices(config):
    """Sentences about settings of the method that are accepted but have no effect."""
    method, found = lookup(optimizer.METHODS, config.optimizer, "optimizer"), []
    if config.fisher_approx not in (None, method.fisher_approx):
        found.append(f"note: fisher_approx {config.fisher_approx} does not go with optimizer {config.optimizer} "
                     "and is not used")
    unread = [name for name in optimizer.CURVATURE_KEYS - {*method.family.reads, *method.vectors.reads} if config.sets(name)]
    if unread:
        found.append(f"note: optimizer {config.optimizer} does not go by "
                     f"{', '.join(sorted(unread))}")
    resets = config.mode == REGRESSION and method.noisy and "reinit" in method.family.updates and config.re_init
    if resets and "reinit" not in update_periods(config, method.family.updates):
        found.append("note: re_init does nothing more here: R is re-initialised at every change of basis already "
                     "(kfac_init_after_basis)")
    return found


def n_test_draws(config, layers):
    """Weight draws in evaluation: one is enough where there is no noise."""
    return config.test_particles if any(layer.noisy for layer in layers) else 1
