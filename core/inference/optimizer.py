"""The noisy natural-gradient step: one rule for every method. Pure.

METHODS: config's `optimizer` -> curvature family, and whether the weights are drawn from its posterior. The
three noisy methods of the papers are one step with three families.
"""
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Type

import tensorflow.compat.v1 as tf

from core.inference.adam import debias, ema
from core.inference.ekfac import EKFAC
from core.inference.factors import statistics
from core.inference.families import Adam, Batch, Diagonal, Family, Identity, MeanField
from core.inference.gaussian import Prior
from core.inference.kfac import KFAC
from core.inference.posteriors import PointMass, Posterior
from core.inference.solvers import Solver, default_solver
from core.inference.step_sizes import StepSizes
from core.inference.types import Due, Number, State, Tensor
from misc.config import Config
from misc.errors import UserError
from misc.lookup import lookup
from networks.layers import LayerRecord, LayerSpec


class Method(NamedTuple):
    """What one value of config's `optimizer` stands for."""

    family: Type[Family]          # of the weight matrices
    noisy: bool                   # whether weights are drawn from the posterior
    vectors: Type[Family]         # family of parameters that are no weight matrix (scales and shifts)
    fisher_approx: Optional[str]  # the published config key that goes with it
    meaning: str                  # for --list


METHODS = {
    "ekfac": Method(EKFAC, True, Diagonal, "eigen", "noisy EK-FAC: eigenvalue-corrected matrix-variate Gaussian"),
    "kfac": Method(KFAC, True, Diagonal, "kron", "noisy K-FAC: matrix-variate Gaussian posterior"),
    "diag": Method(Diagonal, True, Diagonal, "diagonal", "noisy Adam: fully factorised Gaussian posterior"),
    "bbb": Method(MeanField, True, Adam, None, "Bayes by backprop: fully factorised Gaussian trained by Adam"),
    "ekfac_point": Method(EKFAC, False, Diagonal, "eigen", "EK-FAC steps without weight noise: a point estimate"),
    "kfac_point": Method(KFAC, False, Diagonal, "kron", "K-FAC steps without weight noise: a point estimate"),
    "adam": Method(Adam, False, Adam, None, "Adam: a point estimate (MAP)"),
    "sgd": Method(Identity, False, Identity, None, "SGD with momentum: a point estimate (MAP)"),
}

CURVATURE_KEYS = {name for method in METHODS.values() for name in method.family.reads}

# config's `large_layers` -> (family, noisy) for a layer whose factors exceed max_factor_dim.
LARGE_LAYERS: Dict[str, Tuple[Type[Family], bool]] = {"diagonal": (Diagonal, True), "point": (Diagonal, False)}


class LayerMethod(NamedTuple):
    """How one layer is trained."""

    spec: LayerSpec
    family: Any  # a Family, or None if the layer is refused
    noisy: bool  # whether its weights are drawn from the posterior

    @property
    def shape(self) -> Tuple[int, int]:
        """[d_in + 1, d_out]."""
        return self.spec.d_in + 1, self.spec.d_out

    @property
    def kind(self) -> str:
        """Kind of posterior: structured, diagonal, point, or refused."""
        if self.family is None:
            return "refused"
        if not self.noisy:
            return "point"
        return "structured" if self.family.needs_factors else "diagonal"

    def posterior(self, state: State, temperature: Number) -> Posterior:
        """Returns q(W) for this layer's state."""
        if not self.noisy:
            return PointMass(self.weights(state))
        return self.family.posterior(state["mean"], state, temperature)

    def weights(self, state: State) -> Tensor:
        """Returns the mean of the weights, [d_in + 1, d_out]."""
        return self.family.weights(state["mean"], state)


def layer_methods(config: Config, specs: Sequence[LayerSpec], prior: Prior,
                  solver: Callable[[str], Solver] = default_solver) -> List[LayerMethod]:
    """Returns a LayerMethod per layer; a layer whose factors are too large falls back or is refused.

    solver: name of a layer -> how its factors are decomposed. Raises UserError for a kind of layer without curvature.
    """
    method = lookup(METHODS, config.optimizer, "optimizer")
    layers = []
    for spec in specs:
        statistics(spec)
        family: Optional[Type[Family]] = method.family if spec.has_weights else method.vectors
        noisy = method.noisy and spec.has_weights
        if family.needs_factors and max(spec.d_in + 1, spec.d_out) > config.max_factor_dim:
            family, noisy = LARGE_LAYERS.get(config.large_layers, (None, False))
            noisy = noisy and method.noisy
        layers.append(LayerMethod(spec, family and family(prior, config, solver(spec.name)), noisy))
    return layers


def check_layers(layers: Sequence[LayerMethod], config: Config) -> None:
    """Raises UserError if a layer was refused."""
    for layer in layers:
        if layer.family is None:
            raise UserError(
                f"layer {layer.spec.name} needs factors of {layer.shape[0]} and {layer.shape[1]}, max_factor_dim is "
                f"{config.max_factor_dim}: raise it, or set large_layers to diagonal or point")


def initial_state(layer: LayerMethod, mean: Tensor) -> State:
    """Returns the state of one layer at step 0; all families' coordinates are those of the weights then.

    mean: [d_in + 1, d_out].
    """
    return dict(mean=mean, momentum=tf.zeros_like(mean), **layer.family.init(layer.shape, mean.dtype))


def elbo_gradient(batch_gradient: Tensor, weights: Tensor, prior: Prior, kl_scale: Number) -> Tensor:
    """Returns v = E[grad log p] - kl_scale gamma_in E[w], per example, both means over the particles."""
    return batch_gradient - kl_scale * prior.damping * tf.reduce_mean(weights, axis=0)


def layer_batch(record: LayerRecord, ds: Tensor, ds_fisher: Tensor, weights: Tensor, mean: Tensor, prior: Prior,
                kl_scale: Number) -> Batch:
    """Returns the Batch of one layer from its LayerRecord and the gradients at its pre-activations.

    weights: the draws, [K, d_in + 1, d_out]; mean: state["mean"]. The prior is over weights: scales and shifts have
    none.
    """
    stats = statistics(record.spec)
    grad = stats.gradient(record.inputs, ds)
    if record.spec.has_weights:
        grad = elbo_gradient(grad, weights, prior, kl_scale)
    return Batch(record.inputs, ds, ds_fisher, weights - mean, grad, stats)


def step(layer: LayerMethod, state: State, batch: Batch, sizes: StepSizes, momentum: float, due: Due) -> State:
    """Returns the state of one layer after one step of the averaged rule.

    First the curvature is updated with the gradients at the drawn weights. Then the mean moves along the
    preconditioned moving average of v (momentum, bias-corrected).
    """
    new, mean, before, grad = _updated(layer, state, batch, sizes, due)
    average = ema(before, grad, 1.0 - momentum)
    direction = layer.family.precondition(debias(average, momentum, sizes.step), new)
    return dict(new, mean=mean + sizes.mean * direction, momentum=average)


def _updated(layer: LayerMethod, state: State, batch: Batch, sizes: StepSizes,
             due: Due) -> Tuple[State, Tensor, Tensor, Tensor]:
    """Returns (state with the new curvature, mean, momentum, gradient), the last three in its coordinates."""
    family, new = layer.family, layer.family.update(state, batch, sizes, due)
    mean, momentum = (family.change_basis(state[name], state, new) for name in ("mean", "momentum"))
    return new, mean, momentum, family.project(batch.grad, new)


def averaged_steps(layers: Sequence[LayerMethod], states: Sequence[State], batches: Sequence[Batch],
                   sizes: StepSizes, momentum: float, due: Due) -> List[State]:
    """Takes `step` for each layer separately: the rule of regression."""
    return [step(layer, state, batch, sizes, momentum, due) for layer, state, batch in zip(layers, states, batches)]


def clipped_steps(layers: Sequence[LayerMethod], states: Sequence[State], batches: Sequence[Batch],
                  sizes: StepSizes, momentum: float, due: Due) -> List[State]:
    """Preconditions v, clips all layers together, then applies momentum to the step: the rule of classification.

    Every step is multiplied by min(1, sqrt(kl_clip / (lr^2 sum v^T F^-1 v))), the sum taken over all layers whose
    family preconditions by a Fisher. Before momentum, no single step changes the predictive distribution by more
    than about kl_clip in KL divergence; momentum adds up to 1 / (1 - momentum) of them. A family with an average
    of its own (Adam) follows `step`. The curvature is updated one layer at a time, so that memory holds the
    patches of one layer only.
    """
    stepped: List[Tuple[State, Any, Any]] = []  # (state, momentum and direction if the clip is still to be applied)
    lengths, earlier = [], []
    for layer, state, batch in zip(layers, states, batches):
        if layer.family.averages:
            stepped.append((step(layer, state, batch, sizes, momentum, due), None, None))
            continue
        with tf.control_dependencies(earlier):
            new, mean, before, grad = _updated(layer, state, batch, sizes, due)
        earlier = [value for name, value in new.items() if value is not state[name]] or earlier
        direction = layer.family.precondition(grad, new)
        stepped.append((dict(new, mean=mean), before, direction))
        if layer.family.natural:
            lengths.append(tf.reduce_sum(grad * direction))
    factor = clip_factor(tf.add_n(lengths), sizes) if lengths else 1.0
    return [new if direction is None else _moved_by(new, before, factor * direction, sizes, momentum)
            for new, before, direction in stepped]


def clip_factor(length: Tensor, sizes: StepSizes) -> Tensor:
    """Returns min(1, sqrt(clip / (lr^2 length))) with length = v^T F^-1 v; a scalar."""
    return tf.minimum(tf.sqrt(sizes.clip / tf.maximum(length, 1e-30)) / sizes.mean, 1.0)


def _moved_by(new: State, before: Tensor, direction: Tensor, sizes: StepSizes, momentum: float) -> State:
    """Moves the mean along `direction` plus the heavy-ball momentum of earlier steps."""
    total = momentum * before + direction
    return dict(new, mean=new["mean"] + sizes.mean * total, momentum=total)
