"""Curvature families: what preconditions the step, and the posterior that follows from it.

A family is pure: it holds hyper-parameters only, and everything that moves is in a State of tensors. Its methods, in
this order: `init` (state at step 0), `update` (state after a minibatch), `posterior` (state -> q(W)), `precondition`
(gradient -> step), `report` (numbers to watch). A family may keep mean, momentum and step in coordinates of its own:
`weights`, `project` and `change_basis` translate. `updates` names what a schedule may ask of `update`; the periods
are in core/training/schedule.py. The families with Kronecker factors are in kfac.py and ekfac.py.
"""
from typing import Any, NamedTuple, Set, Tuple

import tensorflow.compat.v1 as tf

from core.inference.adam import adam_step, ema, ema_square, root
from core.inference.factors import LayerStatistics
from core.inference.gaussian import Prior
from core.inference.posteriors import FullyFactorized, PointMass, Posterior
from core.inference.solvers import DEFAULT, Solver
from core.inference.step_sizes import StepSizes
from core.inference.types import Due, Number, State, Tensor
from misc.config import Config


class Batch(NamedTuple):
    """One layer's minibatch at the drawn weights."""

    a: Tensor               # inputs, see factors.py
    ds: Tensor              # gradients of log p at the pre-activations, per example
    ds_fisher: Tensor       # the same for the targets that define the Fisher
    noise: Tensor           # [K, d_in + 1, d_out], drawn weights minus state["mean"]
    grad: Tensor            # [d_in + 1, d_out], gradient for the mean of the weights, prior included
    stats: LayerStatistics  # of the kind of layer


class Family:
    """What all families share. Subclasses define init, update, posterior, precondition and report."""

    updates: Tuple[str, ...] = ()  # names of the updates that a schedule may ask for
    reads: Tuple[str, ...] = ()    # config keys that the family, its schedule or its step read and others do not
    needs_factors = False          # whether it has Kronecker factors
    natural = True                 # whether it preconditions by a Fisher, so that a step has a KL divergence
    averages = False               # whether its step always follows the moving average of gradients, as Adam's does
    tempered = True                # whether the temperature is a factor of its posterior covariance

    def __init__(self, prior: Prior, config: Config, solver: Solver = DEFAULT) -> None:
        self._prior, self._config, self._solver = prior, config, solver

    def init(self, shape: Tuple[int, int], dtype: tf.DType) -> State:
        """Returns the state at step 0 of a weight matrix of this shape, [d_in + 1, d_out]."""
        raise NotImplementedError

    def update(self, state: State, batch: Batch, sizes: StepSizes, due: Due) -> State:
        """Returns the state after one more minibatch; `due` names the updates that are due."""
        raise NotImplementedError

    def posterior(self, mean: Tensor, state: State, temperature: Number) -> Posterior:
        """Returns q(W) around the mean [d_in + 1, d_out], given in the family's coordinates."""
        raise NotImplementedError

    def precondition(self, grad: Tensor, state: State) -> Tensor:
        """Returns the step for a gradient [d_in + 1, d_out], both in the family's coordinates."""
        raise NotImplementedError

    def report(self, state: State) -> State:
        """Returns {name: scalar to watch}."""
        raise NotImplementedError

    def covered_by_mean_check(self, new: State) -> Set[str]:
        """Returns the entries whose non-finite values propagate into the new mean and need no check of their own."""
        return {"momentum"}

    def weights(self, mean: Tensor, state: State) -> Tensor:
        """Returns the mean of the weights [d_in + 1, d_out] from the mean in the family's coordinates."""
        return mean

    def project(self, grad: Tensor, state: State) -> Tensor:
        """Returns a gradient with respect to the weights in the family's coordinates."""
        return grad

    def change_basis(self, tensor: Tensor, old: State, new: State) -> Tensor:
        """Returns a tensor in the coordinates of the state `new` that was given in those of `old`."""
        return tensor

    @property
    def _step_damping(self) -> float:
        """gamma_in + gamma_ex."""
        return self._prior.damping + self._config.damping


OF_FISHER = ("damping", "true_fisher", "beta", "cov_ema_decay", "TCov", "kl_clip", "clip_warmup")
"""Config keys that every family with a Fisher reads."""


class Identity(Family):
    """No curvature: plain gradient ascent with the optimizer's momentum."""

    natural = False

    def init(self, shape: Tuple[int, int], dtype: tf.DType) -> State:
        return {}

    def update(self, state: State, batch: Batch, sizes: StepSizes, due: Due) -> State:
        return state

    def posterior(self, mean: Tensor, state: State, temperature: Number) -> Posterior:
        return PointMass(mean)

    def precondition(self, grad: Tensor, state: State) -> Tensor:
        return grad

    def report(self, state: State) -> State:
        return {}


class Adam(Identity):
    """Adam's second moment of the minibatch gradient; its first moment is the optimizer's momentum.

    Reference: Kingma and Ba (2015), Alg. 1, https://arxiv.org/abs/1412.6980
    """

    averages = True

    def init(self, shape: Tuple[int, int], dtype: tf.DType) -> State:
        return {"square": tf.zeros(shape, dtype), "root": tf.ones(shape, dtype)}

    def update(self, state: State, batch: Batch, sizes: StepSizes, due: Due) -> State:
        square = ema_square(state["square"], batch.grad)
        return {"square": square, "root": root(square, sizes.step)}

    def precondition(self, grad: Tensor, state: State) -> Tensor:
        return grad / state["root"]


class MeanField(Adam):
    """Bayes by backprop: mean and log std of a fully factorised Gaussian, both by Adam.

    d ELBO / d log std = std E[g eps] - (lambda / N) (std^2 / eta - 1), with g the gradient of
    log p at w = mean + std eps.

    Reference: Blundell et al. (2015), Sec. 3.2, https://arxiv.org/abs/1505.05424
    """

    tempered = False  # its variance is learned, and follows the temperature

    _initial_log_std = -3.0

    def init(self, shape: Tuple[int, int], dtype: tf.DType) -> State:
        state = super().init(shape, dtype)
        state["log_std"] = tf.fill(shape, tf.constant(self._initial_log_std, dtype))
        state.update(std_average=tf.zeros(shape, dtype), std_square=tf.zeros(shape, dtype))
        return state

    def update(self, state: State, batch: Batch, sizes: StepSizes, due: Due) -> State:
        particle_gradients: Any = batch.stats.particle_gradients
        likelihood_part = tf.reduce_mean(particle_gradients(batch.a, batch.ds) * batch.noise, axis=0)
        variance = tf.exp(2.0 * state["log_std"])
        temperature = self._prior.temperature(sizes.kl_scale)
        grad = likelihood_part - temperature * (variance / self._prior.prior_var - 1.0)
        direction, average, square = adam_step(grad, state["std_average"], state["std_square"], sizes.step)
        new = super().update(state, batch, sizes, due)
        new.update(log_std=state["log_std"] + sizes.mean * direction, std_average=average, std_square=square)
        return new

    def posterior(self, mean: Tensor, state: State, temperature: Number) -> Posterior:
        return FullyFactorized(mean, tf.exp(2.0 * state["log_std"]))


class Diagonal(Family):
    """Noisy Adam: f, the diagonal of the Fisher.

    q: w ~ N(mean, (lambda / N) / (f + gamma_in)); step: grad / (f + gamma_in + gamma_ex), without a square root.

    Reference: Zhang et al. (2018), Sec. 3.1, https://arxiv.org/abs/1712.02390
    """

    updates, reads = ("cov",), OF_FISHER

    def init(self, shape: Tuple[int, int], dtype: tf.DType) -> State:
        return {"fisher": tf.ones(shape, dtype)}

    def update(self, state: State, batch: Batch, sizes: StepSizes, due: Due) -> State:
        if "cov" not in due:
            return state
        return {"fisher": ema(state["fisher"], batch.stats.squared_gradient(batch.a, batch.ds_fisher), sizes.cov)}

    def posterior(self, mean: Tensor, state: State, temperature: Number) -> Posterior:
        return FullyFactorized(mean, temperature / (state["fisher"] + self._prior.damping))

    def precondition(self, grad: Tensor, state: State) -> Tensor:
        return grad / (state["fisher"] + self._step_damping)

    def report(self, state: State) -> State:
        return {"fisher_mean": tf.reduce_mean(state["fisher"])}
