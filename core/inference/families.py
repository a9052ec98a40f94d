"""Curvature families: each estimates a Fisher matrix, preconditions the step with it, and derives q(W) from it.

A family is pure. Its constructor takes hyper-parameters; whatever changes from step to step is in a `State`, a dict of
tensors. The methods come in this order: `init` (state at step 0), `update` (state after a minibatch), `posterior`
(state -> q(W)), `precondition` (gradient -> step), `report` (numbers to watch).

This module has the base class and the families without Kronecker factors. Noisy K-FAC is in core/inference/kfac.py,
noisy EK-FAC in core/inference/ekfac.py. To add a family, subclass `Family` and add a row to `optimizer.METHODS`.
"""
from typing import AbstractSet, Any, Dict, NamedTuple, Optional, Set, Tuple

import tensorflow.compat.v1 as tf

from core.inference.adam import adam_step, ema, ema_square, root
from core.inference.factors import LayerStatistics
from core.inference.gaussian import Prior
from core.inference.posteriors import FullyFactorized, PointMass, Posterior
from core.inference.solvers import DEFAULT, Solver
from core.inference.step_sizes import StepSizes
from core.inference.types import Scalar, Shape, State
from misc.config import Config

FISHER_KEYS = ("damping", "true_fisher", "beta", "cov_ema_decay", "TCov", "kl_clip", "clip_decay",
               "clip_warmup", "early_refresh", "curvature_rows")
"""Config keys that affect every family with a Fisher matrix."""


class Rotated(NamedTuple):
    """Parts of a Batch in the family's coordinates before the step (noisy EK-FAC: the eigenbasis), if they are known.

    `Batch.grad` is in these coordinates, too.
    """

    a: tf.Tensor  # inputs, [K or 1, n, d_in + 1]; of a convolution the patches, [K or 1, n, H', W', d_in + 1]
    ds_fisher: tf.Tensor  # [K, n, d_out]; of a convolution [K, n, H', W', d_out]


class Batch(NamedTuple):
    """One layer's minibatch: n examples, K particles (weight draws); all gradients are taken at the drawn weights."""

    a: tf.Tensor  # inputs, [K or 1, n, d_in + 1] for a dense layer; see core/inference/factors.py
    ds: tf.Tensor  # d log p(y | x, W) / d s per example, [K, n, d_out] for a dense layer
    ds_fisher: tf.Tensor  # the same for the targets that define the Fisher: sampled or observed ones
    noise: Optional[tf.Tensor]  # weights - mean, [K, d_in + 1, d_out]; valid only if the coordinates are weights
    grad: tf.Tensor  # v: gradient of the per-example objective for the mean, at drawn weights; [d_in + 1, d_out]
    stats: LayerStatistics  # curvature statistics of the layer's kind
    rotated: Optional[Rotated] = None  # if the weights were drawn as FactoredWeights that are rotated


class Family:
    """Base class of the curvature families.

    A family may keep mean, momentum and step in its own coordinates (noisy EK-FAC: the eigenbasis). `weights` and
    `project` convert between these and the weights, `change_basis` from the coordinates of one state to those of
    another. Here the coordinates are the weights themselves.

    Class attributes:
      updates: parts of the state that a schedule may ask `update` to refresh; their periods are set in
        core/training/schedule.py.
      reads: config keys that affect the family, its schedule or its step, and not every method.
      needs_factors: whether it builds Kronecker factors of size d_in + 1 and d_out.
      in_eigenbasis: whether its coordinates are the eigenbasis of these factors.
      natural: whether `precondition` uses a Fisher matrix, so that the KL divergence of a step can be clipped.
      averages: whether the step follows the moving average of gradients under every step rule, as in Adam.
      tempered: whether the posterior covariance is proportional to the temperature of the current step.
      restarted: entries of a layer's state that a warm start (key `init_from`) begins anew, because their bias
        correction counts steps from 0.
    """

    updates: Tuple[str, ...] = ()
    reads: Tuple[str, ...] = ()
    needs_factors, in_eigenbasis, natural, averages, tempered = False, False, True, False, True
    restarted: Tuple[str, ...] = ("momentum",)

    def __init__(self, prior: Prior, config: Config, solver: Solver = DEFAULT) -> None:
        self._prior, self._config, self._solver = prior, config, solver

    def init(self, shape: Shape, dtype: tf.DType) -> State:
        """Returns the state at step 0 of a layer with weights [d_in + 1, d_out]."""
        raise NotImplementedError

    def update(self, state: State, batch: Batch, step_sizes: StepSizes, due: AbstractSet[str]) -> State:
        """Returns the state after one minibatch.

        Args:
          due: names out of `updates` to refresh in this step. Entries that are not refreshed stay the very same
            tensors as in `state`, so that the graph need not write them.
        """
        raise NotImplementedError

    def posterior(self, mean: tf.Tensor, state: State, temperature: Scalar) -> Posterior:
        """Returns q(W).

        Args:
          mean: state["mean"], [d_in + 1, d_out], in the family's coordinates.
          temperature: lambda / N times the current KL scale, see `Prior.temperature`.
        """
        raise NotImplementedError

    def precondition(self, grad: tf.Tensor, state: State) -> tf.Tensor:
        """Returns the step direction [d_in + 1, d_out] for a gradient; both in the family's coordinates."""
        raise NotImplementedError

    def report(self, state: State) -> Dict[str, tf.Tensor]:
        """Returns {name: scalar} to watch during training."""
        return {}

    def weights(self, mean: tf.Tensor, state: State) -> tf.Tensor:
        """Converts [d_in + 1, d_out] from the family's coordinates to weights."""
        return mean

    def project(self, grad: tf.Tensor, state: State) -> tf.Tensor:
        """Converts a gradient for the weights, [d_in + 1, d_out], to the family's coordinates."""
        return grad

    def change_basis(self, tensor: tf.Tensor, old: State, new: State) -> tf.Tensor:
        """Converts [d_in + 1, d_out] from the coordinates of the state `old` to those of `new`."""
        return tensor

    def covered_by_mean_check(self, new: Dict[str, Any]) -> Set[str]:
        """Returns the entries of `new` that need no check of their own for non-finite values.

        A non-finite value in one of these also makes the new mean non-finite, and the mean is always checked.

        Args:
          new: the entries that a step writes.
        """
        return {"momentum"}

    def _fisher_rows(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns the share `curvature_rows` of the examples, [K or 1, m, ...] of [K or 1, n, ...], rounded up.

        They are the first of a minibatch, whose rows are in random order.
        """
        share = self._config.curvature_rows
        if share == 1.0:
            return rows
        n_rows = tf.cast(tf.math.ceil(share * tf.cast(tf.shape(rows)[1], tf.float64)), tf.int32)
        return rows[:, :n_rows]

    @property
    def _step_damping(self) -> float:
        """gamma_in + gamma_ex, in units of the Fisher of one example."""
        return self._prior.damping + self._config.damping


class Identity(Family):
    """No curvature: gradient ascent, with the optimizer's momentum."""

    natural = False

    def init(self, shape: Shape, dtype: tf.DType) -> State:
        return {}

    def update(self, state: State, batch: Batch, step_sizes: StepSizes, due: AbstractSet[str]) -> State:
        return state

    def posterior(self, mean: tf.Tensor, state: State, temperature: Scalar) -> Posterior:
        return PointMass(mean)

    def precondition(self, grad: tf.Tensor, state: State) -> tf.Tensor:
        return grad


class Adam(Identity):
    """Adam's second moment of the minibatch gradient; its first moment is the optimizer's momentum.

    State: square, the moving average of grad^2; root, the denominator of the step.

    Reference: Kingma and Ba (2015), Alg. 1, https://arxiv.org/abs/1412.6980
    """

    averages = True
    restarted = (*Identity.restarted, "square", "root")

    def init(self, shape: Shape, dtype: tf.DType) -> State:
        return {"square": tf.zeros(shape, dtype), "root": tf.ones(shape, dtype)}

    def update(self, state: State, batch: Batch, step_sizes: StepSizes, due: AbstractSet[str]) -> State:
        square = ema_square(state["square"], batch.grad)
        return {"square": square, "root": root(square, step_sizes.step)}

    def precondition(self, grad: tf.Tensor, state: State) -> tf.Tensor:
        return grad / state["root"]


class MeanField(Adam):
    """Bayes by backprop: mean and log std of a fully factorised Gaussian, both trained by Adam.

    The gradient for log std, per example, with g the gradient of log p at w = mean + std eps:

    d objective / d log std = E[g std eps] - (lambda / N) (std^2 / eta - 1)

    Reference: Blundell et al. (2015), Sec. 3.2, https://arxiv.org/abs/1505.05424
    """

    tempered = False  # the variance is learned, so it follows the temperature only gradually
    restarted = (*Adam.restarted, "std_average", "std_square")

    _initial_log_std = -3.0

    def init(self, shape: Shape, dtype: tf.DType) -> State:
        state = super().init(shape, dtype)
        state["log_std"] = tf.fill(shape, tf.constant(self._initial_log_std, dtype))
        state.update(std_average=tf.zeros(shape, dtype), std_square=tf.zeros(shape, dtype))
        return state

    def update(self, state: State, batch: Batch, step_sizes: StepSizes, due: AbstractSet[str]) -> State:
        likelihood_part = tf.reduce_mean(batch.stats.particle_gradients(batch.a, batch.ds) * batch.noise, axis=0)
        variance = tf.exp(2.0 * state["log_std"])
        temperature = self._prior.temperature(step_sizes.kl_scale)
        grad = likelihood_part - temperature * (variance / self._prior.prior_var - 1.0)
        direction, average, square = adam_step(grad, state["std_average"], state["std_square"], step_sizes.step)
        new = super().update(state, batch, step_sizes, due)
        new.update(log_std=state["log_std"] + step_sizes.mean * direction, std_average=average, std_square=square)
        return new

    def posterior(self, mean: tf.Tensor, state: State, temperature: Scalar) -> Posterior:
        """Returns N(mean, std^2). The temperature acts through the training of std."""
        return FullyFactorized(mean, tf.exp(2.0 * state["log_std"]))


class Diagonal(Family):
    """Noisy Adam: f, the diagonal of the Fisher matrix.

    f <- (1 - beta) f + beta E[(d log p / d w)^2], per-example gradients; beta = step_sizes.cov
    q: w ~ N(mean, (lambda / N) / (f + gamma_in))
    step: v / (f + gamma_in + gamma_ex), without a square root

    Reference: Zhang et al. (2018), Sec. 3.1, https://arxiv.org/abs/1712.02390
    """

    updates, reads = ("cov",), FISHER_KEYS

    def init(self, shape: Shape, dtype: tf.DType) -> State:
        return {"fisher": tf.ones(shape, dtype)}

    def update(self, state: State, batch: Batch, step_sizes: StepSizes, due: AbstractSet[str]) -> State:
        if "cov" not in due:
            return state
        fisher = batch.stats.squared_gradient(*map(self._fisher_rows, (batch.a, batch.ds_fisher)))
        return {"fisher": ema(state["fisher"], fisher, step_sizes.cov)}

    def posterior(self, mean: tf.Tensor, state: State, temperature: Scalar) -> Posterior:
        return FullyFactorized(mean, temperature / (state["fisher"] + self._prior.damping))

    def precondition(self, grad: tf.Tensor, state: State) -> tf.Tensor:
        return grad / (state["fisher"] + self._step_damping)

    def report(self, state: State) -> Dict[str, tf.Tensor]:
        return {"fisher_mean": tf.reduce_mean(state["fisher"])}
