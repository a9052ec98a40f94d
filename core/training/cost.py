"""Time and memory of a run, estimated from its design: rough figures for CPU cores of the 2020s."""
import math
import os
from typing import TYPE_CHECKING, Dict, List, NamedTuple, Optional, Sequence

from core.inference.conv_factors import CHUNK_NUMBERS
from core.inference.kfac import keeps_inverses
from core.inference.linalg import LAPACK_MIN_DIM
from core.inference.optimizer import LayerMethod
from misc.config import Config, key_mode

if TYPE_CHECKING:
    from core.training.design import Design  # whose schedule follows from the costs

# Small networks are bound by the dispatch of ops, large ones by arithmetic; see benchmarks/explain_cost.py.
SECONDS_PER_STEP, SECONDS_PER_EPOCH = 30e-6, 300e-6
SECONDS_PER_LAYER, SECONDS_PER_CONVOLUTION, SECONDS_PER_FACTORS = 25e-6, 250e-6, 50e-6  # the last two in addition
THREADS_FACTOR = 4       # on these, if ops pass through a pool of threads
SECONDS_PER_WEIGHT = 4e-9  # reading and writing weights, momentum and gradient
FLOPS_PER_CORE, HALF_DIM = 1e11, 100.0  # per second, of large matrices; and the size of those that reach half of it
NORMALS_PER_CORE = 7e7   # random numbers per second
SERIAL_SECONDS = 1e-3    # of a layer's work that would not gain by further cores
EVALUATION_SHARE, FREE_FLOPS = 0.1, 1e11  # of the training; and of an evaluation that may cost more than that share
LEAST_DRAWS = 2          # of an evaluation in training, to which the budget does not apply
EIGH_FLOPS, LAPACK_EIGH_FLOPS = 40, 20  # of an eigendecomposition, by TensorFlow or LAPACK, in units of d^3
CURVATURE_SHARE = 0.25   # of a step that statistics and refreshes may take under auto_refresh

NETWORK, DRAWS, STATISTICS, REFRESHES = "the network", "drawing weights", "statistics", "refreshes"
PARTS = (NETWORK, DRAWS, STATISTICS, REFRESHES)
"""What a step's time is spent on; `statistics` are the moving averages of A, S and R (of f)."""
PART_OF_UPDATE = {"cov": STATISTICS, "scale": STATISTICS, "inverse": REFRESHES, "basis": REFRESHES}


KEYS_OF_PART = {DRAWS: (("smaller", "train_particles"),), STATISTICS: (("larger", "TCov"), ("larger", "TScale")),
                REFRESHES: (("larger", "TInv"), ("larger", "TEigen"))}
"""Part of a step -> how to change config keys so that it becomes cheaper."""


class LayerCost(NamedTuple):
    """What one layer costs."""

    parts: Dict[str, float]  # {part, of PARTS: seconds per step, refreshes amortised}
    state_bytes: float       # kept from step to step
    activation_bytes: float  # held within a step

    @property
    def seconds(self) -> float:
        """Seconds per step, refreshes amortised."""
        return sum(self.parts.values())


class RunCost(NamedTuple):
    """What a run costs."""

    seconds: float           # per training step
    peak_bytes: float        # beside TensorFlow itself
    n_cores: int             # cores assumed
    layers: List[LayerCost]

    def share(self, part: str) -> float:
        """Returns the share of a step that goes to a part, of PARTS; what belongs to no layer counts as the network."""
        if part == NETWORK:
            return 1.0 - sum(self.share(other) for other in PARTS if other != NETWORK)
        return sum(layer.parts[part] for layer in self.layers) / self.seconds


def run_cost(design: "Design") -> RunCost:
    """Estimates the cost of a run; its time within a factor of 2 (benchmarks/explain_cost.py).

    Further cores help large layers only.
    """
    config, periods, spec = design.config, design.schedule.periods, design.spec
    n_cores = config.n_threads or os.cpu_count() or 1
    layers = [_layer_cost(design, layer, n_cores) for layer in design.layers]
    seconds = _seconds_of_steps(design, [layer.parts for layer in layers], pooled=config.n_threads != 1)
    width = _width(config)
    numbers_per_row = 1
    for length in spec.shape:
        numbers_per_row *= length
    data = 3 * spec.n_rows * numbers_per_row * (1 if spec.pixels else width)  # the arrays, their feed, the variable
    data *= not spec.is_mapped
    transient = 0
    if any(layer.spec.geometry for layer in design.layers) and "scale" in periods:
        transient = 2 * CHUNK_NUMBERS * width
    peak = data + transient + sum(layer.state_bytes + layer.activation_bytes for layer in layers)
    return RunCost(seconds, peak, n_cores, layers)


def about_shares(design: "Design") -> List[str]:
    """Says what a step's time is spent on, and which key would help if the network gets less than half of it."""
    cost = run_cost(design)
    shares = {part: cost.share(part) for part in PARTS}
    lines = ["of a step, roughly " + ", ".join(f"{share:.0%} {part}" for part, share in shares.items() if share > 0)]
    for part, keys in KEYS_OF_PART.items():
        if shares[part] > 0.5:
            remedies = [f"a {size} {key}" for size, key in keys
                        if key in design.reads or (part == DRAWS and design.config.train_particles > 1)]
            if part != DRAWS and not design.config.auto_refresh and refresh_multiple(design) > 1:
                remedies.append("auto_refresh")
            if remedies:
                lines.append(f"note: more than half of a step goes to {part}: {' or '.join(remedies)} would make it "
                             "shorter")
    if design.config.threads is None and design.config.n_threads == 1 and gains_by_threads(design):
        lines.append("note: operations are large enough to gain by more cores: --set threads=0 takes all")
    return lines


def flops_per_layer(design: "Design") -> float:
    """Returns the mean number of operations per step and layer: what decides whether a GPU is worth its launches."""
    return sum(sum(_layer_flops(design, layer).values()) for layer in design.layers) / len(design.layers)


def refresh_multiple(design: "Design") -> int:
    """Returns the least whole number of published periods that keeps the curvature's share at CURVATURE_SHARE.

    It is 1 for networks of narrow layers, whose decompositions are cheap. It depends on sizes alone, not on the
    machine, so that a run stays a function of its config.
    """
    widest = max(max(layer.shape) for layer in design.layers)
    if widest < LAPACK_MIN_DIM or not any(layer.family and layer.family.needs_factors for layer in design.layers):
        return 1
    parts = [_layer_seconds(design, layer, n_cores=1, pooled=False) for layer in design.layers]
    curvature = sum(part[STATISTICS] + part[REFRESHES] for part in parts)
    others = _seconds_of_steps(design, parts, pooled=False) - curvature
    return max(1, math.ceil(curvature / others * (1.0 - CURVATURE_SHARE) / CURVATURE_SHARE))


def gains_by_threads(design: "Design") -> bool:
    """Tells whether two cores and a pool of threads would shorten a step by a fifth or more, by the estimate."""
    alone, together = (_seconds_of_steps(design, [_layer_seconds(design, layer, n_cores, pooled)
                                                  for layer in design.layers], pooled)
                       for n_cores, pooled in ((1, False), (2, True)))
    return together < 0.8 * alone


def _seconds_of_steps(design: "Design", layers: Sequence[Dict[str, float]], pooled: bool) -> float:
    """Returns the seconds per step from {part: seconds} of every layer."""
    of_step = (THREADS_FACTOR if pooled else 1) * SECONDS_PER_STEP + SECONDS_PER_EPOCH / design.steps_per_epoch
    return of_step + sum(sum(parts.values()) for parts in layers)


def interim_draws(design: "Design") -> int:
    """Returns the weight draws of an evaluation before the last one: config's `interim_particles`, or as many as fit.

    With the one of the mean weights, the forward passes of an evaluation may take a tenth of the operations of the
    training since the evaluation before it, or as many as a core computes in a second. The choice depends on the
    design alone, and not on the machine. With `patience`, any evaluation may be the result, and has all draws.
    """
    config, n_draws = design.config, design.n_test_particles
    if key_mode("interim_particles") != config.mode or config.patience is not None or design.linearised:
        return n_draws
    if config.interim_particles is not None:
        return min(config.interim_particles, n_draws)
    per_pass = design.spec.n_evaluated * sum(2 * layer.shape[0] * layer.shape[1] * layer.spec.n_locations
                                             for layer in design.layers if layer.spec.has_weights)
    n_steps = config.evaluate_every * design.steps_per_epoch
    training = n_steps * sum(sum(_layer_flops(design, layer).values()) for layer in design.layers)
    n_passes = max(EVALUATION_SHARE * training, FREE_FLOPS) / max(per_pass, 1)
    return min(n_draws, max(LEAST_DRAWS, int(min(n_passes, n_draws + 1)) - 1))


def draws_after(design: "Design", epoch: int) -> Optional[int]:
    """Returns the weight draws of the evaluation after an epoch; None: all, as after the last one.

    When a run is lengthened, all evaluations from its first end on have all draws: each may have been the last one.
    """
    n_draws = interim_draws(design)
    return None if n_draws == design.n_test_particles or epoch >= design.config.epoch else n_draws


def about_interim(design: "Design") -> List[str]:
    """Returns a sentence about evaluations that take fewer weight draws than the last one, if they do."""
    n_draws, config = interim_draws(design), design.config
    if n_draws == design.n_test_particles:
        return []
    why = "" if config.interim_particles is not None else ", so that they cost less beside the training"
    return [f"note: evaluations before the last one take {n_draws} of the {design.n_test_particles} weight draws{why} "
            "(interim_particles)"]


def _layer_cost(design: "Design", layer: LayerMethod, n_cores: int) -> LayerCost:
    config = design.config
    d_a, d_s = layer.shape
    places, draws = layer.spec.n_locations, _draws(design, layer)
    most = min(config.batch_size, design.spec.n_rows)
    kept = 2 * d_a * d_s
    held = draws * (d_a * d_s + 4 * most * places * d_s + (0 if layer.spec.geometry else most * d_a))
    if layer.family is not None and layer.family.needs_factors:
        has_inverses = not layer.family.in_eigenbasis and keeps_inverses(config, layer.shape)
        kept += (3 if has_inverses else 2) * (d_a**2 + d_s**2) + d_a * d_s
    parts = _layer_seconds(design, layer, n_cores, pooled=design.config.n_threads != 1)
    return LayerCost(parts, kept * _width(config), held * _width(config))


def _layer_seconds(design: "Design", layer: LayerMethod, n_cores: int, pooled: bool) -> Dict[str, float]:
    """Returns {part: seconds per step} of one layer, on so many cores; pooled: ops pass through a pool of threads."""
    d_a, d_s = layer.shape
    overhead = SECONDS_PER_LAYER + (SECONDS_PER_CONVOLUTION if layer.spec.geometry else 0)
    if layer.family is not None and layer.family.needs_factors:
        overhead += SECONDS_PER_FACTORS
    speed = FLOPS_PER_CORE * max(d_a, d_s) / (max(d_a, d_s) + HALF_DIM)
    parts = {part: flops / speed for part, flops in _layer_flops(design, layer).items()}
    parts[DRAWS] += (_draws(design, layer) * d_a * d_s if layer.noisy else 0) / NORMALS_PER_CORE
    parts[NETWORK] += SECONDS_PER_WEIGHT * d_a * d_s
    work = sum(parts.values())
    speedup = 1.0 + (n_cores - 1) * work / (work + SERIAL_SECONDS)
    parts = {part: seconds / speedup for part, seconds in parts.items()}
    parts[NETWORK] += overhead * (THREADS_FACTOR if pooled else 1)
    return parts


def _layer_flops(design: "Design", layer: LayerMethod) -> Dict[str, float]:
    """Returns {part: operations per step} of one layer, refreshes amortised, without the random numbers."""
    d_a, d_s = layer.shape
    draws = _draws(design, layer)
    rows = draws * design.spec.n_rows / design.steps_per_epoch * layer.spec.n_locations  # of a minibatch, on average
    flops = dict.fromkeys(PARTS, 0.0)
    flops[NETWORK] = 6 * rows * d_a * d_s if layer.spec.has_weights else 20 * rows * d_s  # forward, and backward twice
    if layer.family is not None and layer.family.needs_factors:
        _add_curvature(flops, design, layer, rows, draws)
    return flops


def _add_curvature(flops: Dict[str, float], design: "Design", layer: LayerMethod, rows: float, draws: int) -> None:
    """Adds what a layer with Kronecker factors does more than others, in operations per step, to {part: operations}."""
    config, periods = design.config, design.schedule.periods
    d_a, d_s = layer.shape
    rotation = 2 * d_a * d_s * (d_a + d_s)
    by_place = 2 * rows / layer.spec.n_locations * layer.cost_per_row  # inputs and scores times square matrices
    by_roots = not layer.curvature().in_eigenbasis
    rotates_rows = layer.noisy and layer.rotates_rows(design.batch_size, draws)
    if rotates_rows:
        flops[DRAWS] += 2 * by_place + (rotation + 4 * rows * d_a * d_s if by_roots else 0)
    else:
        flops[DRAWS] += rotation * (draws if layer.noisy else 0)
    n_steps = 2 if by_roots and not keeps_inverses(config, layer.shape) else 1  # rotations of the gradient
    flops[NETWORK] += rotation * (0 if rotates_rows and not by_roots else n_steps)
    for name, cost in _update_flops(design, layer, rows, draws, rotates_rows).items():
        flops[PART_OF_UPDATE[name]] += cost / periods[name]
    if config.true_fisher:  # a further backward pass, whenever statistics of any kind are due
        backward = 2 * rows * d_a * d_s + (by_place if rotates_rows else 0)
        flops[STATISTICS] += backward / min(periods[name] for name in ("cov", "scale") if name in periods)


def _update_flops(design: "Design", layer: LayerMethod, rows: float, draws: int,
                  rotates_rows: bool) -> Dict[str, float]:
    """Returns {update: operations whenever it is due} of a layer with Kronecker factors."""
    periods = design.schedule.periods
    d_a, d_s = layer.shape
    kernel, strides = layer.spec.geometry[:2] if layer.spec.geometry else ((1, 1), (1, 1))
    share = min(1.0, strides[0] / kernel[0])  # of a product of all patches: see conv_factors._row_products
    costs = {"cov": 2 * rows * (share * d_a**2 + d_s**2)}
    if layer.curvature().in_eigenbasis:
        changes = 2 * 2 * d_a * d_s * (d_a + d_s) * (3 if rotates_rows else 2)  # of mean, momentum, and gradient
        costs["basis" if "basis" in periods else "inverse"] = changes + sum(_eigh_flops(dim) for dim in (d_a, d_s))
    else:
        inverses = keeps_inverses(design.config, layer.shape)
        further = 0 if not inverses else 6 if design.config.damping else 2  # in units of d^3, beside the roots
        costs["inverse"] = (4 + further) * (d_a**3 + d_s**3)
    if "scale" in periods:
        examples = rows / layer.spec.n_locations
        projected = min(2 * rows * (d_a**2 + d_s**2), examples * 2 * d_a * d_s * (d_a + d_s))
        costs["scale"] = (0 if rotates_rows else projected) + 2 * rows * d_a * d_s
    return costs


def _draws(design: "Design", layer: LayerMethod) -> int:
    """Returns how often a step runs a layer: for each weight draw, also if only other layers have noise."""
    has_draws = layer.spec.has_weights and any(other.noisy for other in design.layers)
    return design.config.train_particles if has_draws else 1


def _eigh_flops(dim: int) -> float:
    return (EIGH_FLOPS if dim < LAPACK_MIN_DIM else LAPACK_EIGH_FLOPS) * dim**3


def _width(config: Config) -> int:
    """Returns the bytes of a number."""
    return {"float32": 4, "float64": 8}[config.precision]
