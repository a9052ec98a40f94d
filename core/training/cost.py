"""Time and memory of a run, estimated from its design: rough figures for CPU cores of the 2020s."""
import collections
import os

from core.inference.conv_factors import CHUNK_NUMBERS
from misc.config import CLASSIFICATION, REGRESSION

# Small networks (regression) are bound by the dispatch of ops, large ones by arithmetic; see benchmarks/.
SECONDS_PER_STEP, SECONDS_PER_LAYER, SECONDS_PER_RUN = 30e-6, 25e-6, 100e-6
FLOPS_PER_CORE = {REGRESSION: 2e10, CLASSIFICATION: 8e10}
NORMALS_PER_CORE = 7e7

LayerCost = collections.namedtuple("LayerCost", ["seconds", "state_bytes", "activation_bytes"])
"""Seconds per step, refreshes amortised; bytes of what is kept from step to step; of what one step holds."""

RunCost = collections.namedtuple("RunCost", ["seconds", "peak_bytes", "n_cores", "layers"])
"""Seconds per training step; bytes at the peak beside TensorFlow itself; cores reckoned with; a
LayerCost per layer."""


def run_cost(config, design, device):
    """RunCost of a design: within a factor of 2 on one core for small networks, on all cores for large ones."""
    n_cores = config.n_threads or os.cpu_count() or 1
    periods = design.schedule.periods
    layers = [_layer_cost(config, layer, periods, n_cores) for layer in design.layers]
    seconds = SECONDS_PER_STEP + sum(layer.seconds for layer in layers)
    if any(period > 1 for period in periods.values()):
        seconds += SECONDS_PER_RUN / design.steps_per_epoch
    width, spec = _width(config), design.spec
    numbers_per_row = 1
    for length in spec.shape:
        numbers_per_row *= length
    data = 3 * spec.n_rows * numbers_per_row * (1 if spec.pixels else width)  # the arrays, their feed, the variable
    transient = 0
    if any(layer.spec.geometry for layer in design.layers) and "scale" in periods:
        transient = 2 * CHUNK_NUMBERS * width
    peak = data + transient + sum(layer.state_bytes + layer.activation_bytes for layer in layers)
    return RunCost(seconds, peak, n_cores, layers)


def _layer_cost(config, layer, periods, n_cores):
    d_a, d_s = layer.shape
    places, draws = layer.spec.n_locations, config.train_particles if layer.noisy else 1
    rows = draws * config.batch_size * places
    flops = 6 * rows * d_a * d_s if layer.spec.has_weights else 20 * rows * d_s  # forward, and backward twice
    kept = 2 * d_a * d_s
    held = draws * d_a * d_s + 4 * rows * d_s + (0 if layer.spec.geometry else draws * config.batch_size * d_a)
    normals = draws * d_a * d_s if layer.noisy else 0
    if layer.family is not None and layer.family.needs_factors:
        flops += _curvature_flops(layer, periods, rows, draws, config)
        kept += (3 if "inverse" in periods and config.damping else 2) * (d_a**2 + d_s**2) + d_a * d_s
    seconds = SECONDS_PER_LAYER + (flops / FLOPS_PER_CORE[config.mode] + normals / NORMALS_PER_CORE) / n_cores
    return LayerCost(seconds, kept * _width(config), held * _width(config))


def _curvature_flops(layer, periods, rows, draws, config):
    """Of a layer with Kronecker factors, per step."""
    d_a, d_s = layer.shape
    rotation = 2 * d_a * d_s * (d_a + d_s)
    by_roots = "inverse" in periods
    flops = rotation * (draws if layer.noisy else 0)
    flops += rotation * (2 if by_roots and not config.damping else 1)
    cubes = d_a**3 + d_s**3
    by_place = 2 * rows * (d_a**2 + d_s**2)  # patches or scores times a square matrix
    kernel, strides = layer.spec.geometry[:2] if layer.spec.geometry else ((1, 1), (1, 1))
    share = min(1.0, strides[0] / kernel[0])  # of a product of all patches: see convolution._row_products
    flops += 2 * rows * (share * d_a**2 + d_s**2) / periods["cov"]
    if config.true_fisher:
        flops += 2 * rows * d_a * d_s / periods["cov"]
    if by_roots:
        flops += 4 * cubes / periods["inverse"]
    else:
        flops += (25 if config.mode == REGRESSION else 6) * cubes / periods["basis"]
    if "scale" in periods:
        examples = rows / layer.spec.n_locations
        flops += (min(by_place, examples * rotation) + 2 * rows * d_a * d_s) / periods["scale"]
    return flops


def _width(config):
    return {"float32": 4, "float64": 8}[config.precision]
