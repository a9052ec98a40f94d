"""The noisy natural-gradient step: one rule for every method. Pure functions.

METHODS maps config's `optimizer` to a curvature family and to whether weights are drawn from its posterior. The three
noisy methods of the papers are one step with three families.

A step: draw w ~ q; take v, the gradient of the objective at w (`batch.layer_batch`); update the curvature with
gradients at the same w; move the mean along the preconditioned v. Regression averages v over steps (`averaged_steps`),
classification clips the step (`clipped_steps`).
"""
from typing import AbstractSet, Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple, Type

import tensorflow.compat.v1 as tf

from core.inference import families
from core.inference.adam import debias, ema
from core.inference.eigen_kfac import EigenKFAC
from core.inference.ekfac import EKFAC
from core.inference.factors import statistics
from core.inference.families import Batch, Family
from core.inference.gaussian import Prior
from core.inference.kfac import KFAC
from core.inference.posteriors import EigenMatrixNormal, MatrixNormal, PointMass, Posterior
from core.inference.solvers import Solver, default_solver
from core.inference.step_sizes import StepSizes
from core.inference.types import Scalar, Shape, State
from misc.config import Config
from misc.errors import UserError
from misc.lookup import lookup
from networks.layers import LayerSpec, Weights

LEAST_FACTORED = 128**2  # weights of the smallest layer whose draws are not multiplied out


class Method(NamedTuple):
    """A row of METHODS."""

    family: Type[Family]  # curvature family of weight matrices
    noisy: bool  # whether weights are drawn from q(W); else the method is a point estimate
    vectors: Type[Family]  # curvature family of scales and shifts, which have no prior and no noise
    fisher_approx: Optional[str]  # value of config's `fisher_approx` that older files have for this method
    meaning: str  # one line for --list and --explain


METHODS = {
    "ekfac": Method(EKFAC, True, families.Diagonal, "eigen",
                    "noisy EK-FAC: eigenvalue-corrected matrix Gaussian"),
    "kfac": Method(KFAC, True, families.Diagonal, "kron",
                   "noisy K-FAC: matrix-variate Gaussian posterior"),
    "diag": Method(families.Diagonal, True, families.Diagonal, "diagonal",
                   "noisy Adam: fully factorised Gaussian posterior"),
    "bbb": Method(families.MeanField, True, families.Adam, None,
                  "Bayes by backprop: fully factorised Gaussian trained by Adam"),
    "ekfac_point": Method(EKFAC, False, families.Diagonal, "eigen",
                          "EK-FAC steps, no weight noise: a point estimate"),
    "kfac_point": Method(KFAC, False, families.Diagonal, "kron",
                         "K-FAC steps, no weight noise: a point estimate"),
    "adam": Method(families.Adam, False, families.Adam, None, "Adam: a point estimate (MAP)"),
    "sgd": Method(families.Identity, False, families.Identity, None, "SGD with momentum: a point estimate (MAP)"),
}

CURVATURE_KEYS: Set[str] = {name for method in METHODS.values() for name in method.family.reads}
"""Config keys that some methods read and others do not."""

LARGE_LAYERS = {"diagonal": (families.Diagonal, True), "point": (families.Diagonal, False)}
"""Config's `large_layers` -> (family, noisy) of a layer whose factors exceed max_factor_dim; "refuse" has no row."""

Make = Callable[..., Family]
ROTATED: Dict[Optional[Make], Make] = {KFAC: EigenKFAC}
"""Family -> the family in its place for layers whose rows are rotated, under auto_refresh."""


class LayerMethod(NamedTuple):
    """How one layer is trained."""

    spec: LayerSpec  # the layer
    family: Optional[Family]  # its curvature family; None if the layer is refused, see `check_layers`
    noisy: bool  # whether its weights are drawn from q(W)

    @property
    def shape(self) -> Shape:
        """(d_in + 1, d_out)."""
        return self.spec.d_in + 1, self.spec.d_out

    @property
    def kind(self) -> str:
        """Kind of posterior: structured, diagonal, point, or refused."""
        if self.family is None:
            return "refused"
        if not self.noisy:
            return "point"
        return "structured" if self.family.needs_factors else "diagonal"

    def curvature(self) -> Family:
        """Returns the family of a layer that is not refused."""
        assert self.family is not None, f"layer {self.spec.name} is refused: call check_layers first"
        return self.family

    def posterior(self, state: State, temperature: Scalar) -> Posterior:
        """Returns q(W) for the layer's state; a point mass without weight noise."""
        if self.noisy:
            return self.curvature().posterior(state["mean"], state, temperature)
        return PointMass(self.weights(state))

    def draw(self, state: State, temperature: Scalar, n_particles: int, seed: tf.Tensor, n_rows: int) -> Weights:
        """Draws weights [n_particles, d_in + 1, d_out], for n_rows inputs each; factored where that is cheaper."""
        posterior = self.posterior(state, temperature)
        if isinstance(posterior, (EigenMatrixNormal, MatrixNormal)) and self.rotates_rows(n_rows, n_particles):
            return posterior.sample_factored(n_particles, seed)
        return posterior.sample(n_particles, seed)

    def rotates_rows(self, n_rows: int, n_particles: int) -> bool:
        """Tells whether a step multiplies n_rows inputs and scores by the factors' bases or roots, and not the weights.

        For each weight draw, that takes three passes (forward, and backward for two sets of targets) of n_rows
        (d_in^2 + d_out^2) instead of d_in d_out (d_in + d_out). A convolution has so many rows per place, but the zeros
        of its patches cost nothing (`Geometry.times`); it pays in the eigenbasis alone, where the gradient need not be
        rotated either: once per step, whatever the number of draws. Small layers, whose time goes into the dispatch of
        ops, always multiply the weights.
        """
        d_a, d_s = self.shape
        of_convolution = 1 + 1 / n_particles if self.family and self.family.in_eigenbasis else 0
        rotations = {"dense": 1, "conv2d": of_convolution}.get(self.spec.kind, 0)  # of the weights, per draw
        return (d_a * d_s >= LEAST_FACTORED
                and 3 * n_rows * self.cost_per_row < rotations * d_a * d_s * (d_a + d_s))

    @property
    def cost_per_row(self) -> float:
        """Multiplications that take one example's inputs and scores to the bases of the factors."""
        d_a, d_s = self.shape
        return self.spec.n_locations * (self.spec.filled * d_a**2 + d_s**2)

    def weights(self, state: State) -> tf.Tensor:
        """Returns the mean of the weights, [d_in + 1, d_out]."""
        return self.curvature().weights(state["mean"], state)


def layer_methods(config: Config, specs: Sequence[LayerSpec], prior: Prior,
                  solver: Callable[[str], Solver] = default_solver) -> List[LayerMethod]:
    """Returns a LayerMethod per layer. Layers whose factors are too large fall back to another family or are refused.

    Args:
      solver: function (name of a layer) -> Solver of its factors.

    Raises UserError for an unknown method, a kind of layer without curvature statistics, or posterior_layers that do
    not exist.
    """
    method, chosen = lookup(METHODS, config.optimizer, "optimizer"), posterior_layers(config, specs)
    layers = []
    for spec in specs:
        statistics(spec)
        family, noisy = _family_of(spec, method, config)
        noisy = noisy and spec.name in chosen
        sizes = config.batch_size, config.train_particles
        if noisy and config.auto_refresh and LayerMethod(spec, None, noisy).rotates_rows(*sizes):
            family = ROTATED.get(family, family)
        layers.append(LayerMethod(spec, family and family(prior, config, solver(spec.name)), noisy))
    return layers


def posterior_layers(config: Config, specs: Sequence[LayerSpec]) -> List[str]:
    """Returns the names of the layers that config's `posterior_layers` stands for. Raises UserError for unknown ones.
    """
    names, asked = [spec.name for spec in specs if spec.has_weights], config.posterior_layers
    groups = {"all": names, "last": names[-1:]}
    if isinstance(asked, str) and asked in groups:
        return groups[asked]
    unknown = [asked] if isinstance(asked, str) else [name for name in asked if name not in names]
    if unknown or not asked:
        wrong = f"there is no layer {unknown[0]!r}" if unknown else "the list is empty"
        raise UserError(f"posterior_layers: {wrong}: give all, last or a list of {', '.join(names)}")
    return list(asked)


def _family_of(spec: LayerSpec, method: Method, config: Config) -> Tuple[Optional[Make], bool]:
    """Returns (family, noisy) of a layer; the family is None if the layer is refused."""
    if not spec.has_weights:
        return method.vectors, False
    if method.family.needs_factors and max(spec.d_in + 1, spec.d_out) > config.max_factor_dim:
        family, noisy = LARGE_LAYERS.get(config.large_layers, (None, False))
        return family, noisy and method.noisy
    return method.family, method.noisy


def check_layers(layers: Sequence[LayerMethod], config: Config) -> None:
    """Raises UserError if a layer was refused."""
    for layer in layers:
        if layer.family is None:
            raise UserError(
                f"layer {layer.spec.name} needs factors of {layer.shape[0]} and {layer.shape[1]}, max_factor_dim is "
                f"{config.max_factor_dim}: raise it, or set large_layers to diagonal or point")


def initial_state(layer: LayerMethod, mean: tf.Tensor) -> State:
    """Returns the state of one layer at step 0.

    Args:
      mean: initial weights [d_in + 1, d_out]; at step 0 every family's coordinates are the weights.
    """
    return dict(mean=mean, momentum=tf.zeros_like(mean), **layer.curvature().init(layer.shape, mean.dtype))


class _Updated(NamedTuple):
    """A layer after its curvature update; tensors [d_in + 1, d_out], in the updated family's coordinates."""

    state: State  # the state, with mean and momentum still in the coordinates before the step
    mean: tf.Tensor
    momentum: tf.Tensor
    grad: tf.Tensor  # v


def _update_curvature(layer: LayerMethod, state: State, batch: Batch, step_sizes: StepSizes,
                      due: AbstractSet[str]) -> _Updated:
    family = layer.curvature()
    new = family.update(state, batch, step_sizes, due)
    mean = family.change_basis(state["mean"], state, new)
    momentum = family.change_basis(state["momentum"], state, new)
    grad = family.project(batch.grad, new) if batch.rotated is None else family.change_basis(batch.grad, state, new)
    return _Updated(new, mean, momentum, grad)


def averaged_step(layer: LayerMethod, state: State, batch: Batch, step_sizes: StepSizes, momentum: float,
                  due: AbstractSet[str]) -> State:
    """Returns the state of one layer after one step along the preconditioned moving average of v.

    m <- momentum m + (1 - momentum) v;  mean <- mean + lr F^-1 m / (1 - momentum^t), with the new curvature F
    """
    updated = _update_curvature(layer, state, batch, step_sizes, due)
    average = ema(updated.momentum, updated.grad, 1.0 - momentum)
    direction = layer.curvature().precondition(debias(average, momentum, step_sizes.step), updated.state)
    return dict(updated.state, mean=updated.mean + step_sizes.mean * direction, momentum=average)


def averaged_steps(layers: Sequence[LayerMethod], states: Sequence[State], batches: Sequence[Batch],
                   step_sizes: StepSizes, momentum: float, due: AbstractSet[str]) -> List[State]:
    """Returns the new state of every layer by `averaged_step`: the rule of regression."""
    return [averaged_step(layer, state, batch, step_sizes, momentum, due)
            for layer, state, batch in zip(layers, states, batches)]


def clipped_steps(layers: Sequence[LayerMethod], states: Sequence[State], batches: Sequence[Batch],
                  step_sizes: StepSizes, momentum: float, due: AbstractSet[str]) -> List[State]:
    """Returns the new state of every layer after a preconditioned step, clipped jointly, with momentum on the step.

    m <- momentum m + c F^-1 v;  mean <- mean + lr m,  with the factor c of `clip_factor` common to all layers

    Before momentum, no single step changes the predictive distribution by more than about step_sizes.clip in KL
    divergence; momentum adds up to 1 / (1 - momentum) of such steps. Layers whose family has no Fisher matrix do not
    count in the length of the step; those that average their gradients (Adam) follow `averaged_step`.
    """
    new_states: List[State] = []
    unclipped: List[Tuple[int, _Updated, tf.Tensor]] = []
    lengths: List[tf.Tensor] = []
    earlier: List[tf.Tensor] = []
    for number, (layer, state, batch) in enumerate(zip(layers, states, batches)):
        family = layer.curvature()
        if family.averages:
            new_states.append(averaged_step(layer, state, batch, step_sizes, momentum, due))
            continue
        # One layer's curvature after the other, so that only one layer's patches are in memory at a time.
        with tf.control_dependencies(earlier):
            updated = _update_curvature(layer, state, batch, step_sizes, due)
        earlier = [value for name, value in updated.state.items() if value is not state[name]] or earlier
        direction = family.precondition(updated.grad, updated.state)
        new_states.append(updated.state)
        unclipped.append((number, updated, direction))
        if family.natural:
            lengths.append(tf.reduce_sum(updated.grad * direction))
    factor = clip_factor(tf.add_n(lengths), step_sizes) if lengths else 1.0
    for number, updated, direction in unclipped:
        total = momentum * updated.momentum + factor * direction
        new_states[number] = dict(updated.state, mean=updated.mean + step_sizes.mean * total, momentum=total)
    return new_states


def clip_factor(length: tf.Tensor, step_sizes: StepSizes) -> tf.Tensor:
    """Returns min(1, sqrt(clip / (lr^2 length))), a scalar.

    Args:
      length: v^T F^-1 v, summed over the layers with a Fisher matrix.
    """
    return tf.minimum(tf.sqrt(step_sizes.clip / tf.maximum(length, 1e-30)) / step_sizes.mean, 1.0)
