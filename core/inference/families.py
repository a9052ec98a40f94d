"""Curvature families: what shapes the step, and the posterior that follows from it.

Each is pure: hyper-parameters in the constructor, everything that moves in a state dict of
tensors, and in this order `init` (state at step 0), `update` (state after a minibatch),
`posterior` (state -> q(W)), `precondition` (gradient -> step), `report` (numbers to watch).
A family may keep mean, momentum and step in coordinates of its own: `weights`, `project`, `turn`.
`updates` names what a schedule may ask of `update`; the periods are in core/training/schedule.py. The
families with Kronecker factors are in core/inference/kronecker.py.
"""
import collections

import tensorflow.compat.v1 as tf

from core.inference.adam import adam_step, moved_square, root
from core.inference.adam import ema as moved
from core.inference.posteriors import FullyFactorized, PointMass
from core.inference.solvers import PLAIN

Batch = collections.namedtuple("Batch", ["a", "ds", "ds_fisher", "noise", "grad", "stats"])
"""One layer's minibatch at the drawn weights.

a, ds: inputs and gradients of log p, see core/inference/factors.py; ds_fisher: the same for the targets
that define the Fisher; noise: [K, d_in + 1, d_out], drawn weights minus state["mean"]; grad:
[d_in + 1, d_out], the gradient for the weights' mean, prior included; stats: the layer kind's
statistics.
"""

StepSizes = collections.namedtuple("StepSizes", ["mean", "cov", "scale", "step", "kl_scale", "clip"], defaults=(None,))
"""Scalars of one step: step size of the mean, 1 - decay of the moving averages of A and S (or f)
and of R, the step's number from 1, and the largest KL divergence of a step (None: no limit), all
as the graph's floats."""


class Family:
    """What all families share. Hyper-parameters only; `under` gives the same family with another prior.

    natural: whether `precondition` is by a Fisher, so that a step has a KL divergence.
    averages: whether the step is always the moving average of gradients, as Adam has it.
    tempered: whether the covariance of its posterior has the factor prior.temper, now as it is.
    reads: config keys that the family, its schedule or its step go by and others do not.
    """

    updates, reads = (), ()
    needs_factors, natural, averages, tempered = False, True, False, True

    def __init__(self, prior, config, solver=PLAIN):
        self._prior, self._config, self._solver = prior, config, solver

    def under(self, prior):
        return type(self)(prior, self._config, self._solver)

    def covered_by_mean_check(self, new):
        """Of the entries that a step writes, those that go into the new mean whole: not finite, they show there."""
        return {"momentum"}

    def weights(self, mean, state):
        """The mean of the weights [d_in + 1, d_out] from state["mean"], which is in the family's coordinates."""
        return mean

    def project(self, grad, state):
        """A gradient with respect to the weights in the family's coordinates."""
        return grad

    def turn(self, tensor, old, new):
        """What stood in the coordinates of the state `old`, in those of `new`."""
        return tensor

    @property
    def _step_damping(self):
        """gamma_in + gamma_ex."""
        return self._prior.damping + self._config.damping


OF_FISHER = ("damping", "true_fisher", "beta", "cov_ema_decay", "TCov", "kl_clip", "clip_warmup")
"""Keys that every family with a Fisher reads."""


class Identity(Family):
    """No curvature: plain gradient ascent (with the optimizer's momentum)."""

    natural = False

    def init(self, shape, dtype):
        return {}

    def update(self, state, batch, rates, due):
        return state

    def posterior(self, mean, state, temperature):
        return PointMass(mean)

    def precondition(self, grad, state):
        return grad

    def report(self, state):
        return {}


class Adam(Identity):
    """Adam's second moment of the minibatch gradient; its first is the optimizer's momentum."""

    averages = True

    def init(self, shape, dtype):
        return {"square": tf.zeros(shape, dtype), "root": tf.ones(shape, dtype)}

    def update(self, state, batch, rates, due):
        square = moved_square(state["square"], batch.grad)
        return {"square": square, "root": root(square, rates.step)}

    def precondition(self, grad, state):
        return grad / state["root"]


class MeanField(Adam):
    """Bayes by backprop: mean and log std of a fully factorised Gaussian, both by Adam.

    d ELBO / d log std = std E[g eps] - (lambda / N) (std^2 / eta - 1), with g the gradient of
    log p at w = mean + std eps.

    Reference: Blundell et al. (2015), Sec. 3.2, https://arxiv.org/abs/1505.05424
    """

    tempered = False  # its variance is learned, and follows the temper

    _initial_log_std = -3.0

    def init(self, shape, dtype):
        state = super().init(shape, dtype)
        state["log_std"] = tf.fill(shape, tf.constant(self._initial_log_std, dtype))
        state.update(std_average=tf.zeros(shape, dtype), std_square=tf.zeros(shape, dtype))
        return state

    def update(self, state, batch, rates, due):
        likelihood_part = tf.reduce_mean(batch.stats.particle_gradients(batch.a, batch.ds) * batch.noise, axis=0)
        variance = tf.exp(2.0 * state["log_std"])
        grad = likelihood_part - self._prior.temperature(rates.kl_scale) * (variance / self._prior.prior_var - 1.0)
        direction, average, square = adam_step(grad, state["std_average"], state["std_square"], rates.step)
        new = super().update(state, batch, rates, due)
        new.update(log_std=state["log_std"] + rates.mean * direction, std_average=average, std_square=square)
        return new

    def posterior(self, mean, state, temperature):
        return FullyFactorized(mean, tf.exp(2.0 * state["log_std"]))


class Diagonal(Family):
    """Noisy Adam: f, the diagonal of the Fisher.

    q: w ~ N(mean, (lambda / N) / (f + gamma_in)); step: grad / (f + gamma_in + gamma_ex).

    Reference: Zhang et al. (2018), Sec. 3.1, https://arxiv.org/abs/1712.02390
    """

    updates, reads = ("cov",), OF_FISHER

    def init(self, shape, dtype):
        return {"fisher": tf.ones(shape, dtype)}

    def update(self, state, batch, rates, due):
        if "cov" not in due:
            return state
        return {"fisher": moved(state["fisher"], batch.stats.squared_gradient(batch.a, batch.ds_fisher), rates.cov)}

    def posterior(self, mean, state, temperature):
        return FullyFactorized(mean, temperature / (state["fisher"] + self._prior.damping))

    def precondition(self, grad, state):
        return grad / (state["fisher"] + self._step_damping)

    def report(self, state):
        return {"fisher_mean": tf.reduce_mean(state["fisher"])}
