"""What a run would do, in plain words, from the config and the data alone; builds nothing."""
import collections

from core.optimizer import METHODS, notices
from data_loader import DATASETS
from networks import NETWORKS

# Rough figures of one core of a server of the 2020s, for small networks (see benchmarks/).
SECONDS_PER_STEP, SECONDS_PER_LAYER, SECONDS_PER_RUN = 30e-6, 25e-6, 100e-6
FLOPS, NOISE_PER_SECOND = 2e10, 7e7

Cost = collections.namedtuple("Cost", ["flops", "normals", "numbers"])
"""Per step: floating-point operations, normal draws; and numbers kept as state."""


def explain(plan):
    """The run that `core.run.plan` describes as a list of lines."""
    return (
        _about_data(plan.config, plan.data)
        + _about_objective(plan.config, plan.design)
        + _about_layers(plan.config, plan.design)
        + _about_schedule(plan.config, plan.design)
        + _about_cost(plan.config, plan.data, plan.design, plan.device)
    )


def list_tables():
    """Models, data sets and optimizers, a line each."""
    tables = (
        ("model_name", {name: row.meaning for name, row in NETWORKS.items()}),
        ("dataset", {name: f"{row.n_rows} x {row.n_inputs}, {row.target}" for name, row in DATASETS.items()}),
        ("optimizer", {name: row.meaning for name, row in METHODS.items()}),
    )
    return "\n\n".join(
        f"{title}:\n" + "\n".join(f"  {name:<20} {meaning}" for name, meaning in rows.items()) for title, rows in tables
    ) + "\n\nA file NAME.data in data_path makes NAME a dataset."


def _about_data(config, data):
    rows, split = len(data.train.x), data.split
    lines = [
        f"data       {config.dataset} from {data.source}: {rows} training, {len(data.valid.x) if data.valid else 0} "
        f"validation and {len(data.test.x) if data.test else 0} test rows of {data.train.x.shape[1]} inputs",
        f"split      protocol {split.protocol}, split {split.index} (hash {data.split_hash}); "
        f"standardised with the training rows (target std {data.target_std:.4g})",
    ]
    if data.n_constant:
        lines.append(f"           {data.n_constant} constant input columns become 0")
    return lines


def _about_objective(config, design):
    prior = design.prior
    method = METHODS[config.optimizer]
    lines = [f"method     {config.optimizer}: {method.meaning}"]
    lines += [f"           {notice}" for notice in notices(config)]
    lines += [
        f"prior      every weight ~ N(0, {prior.prior_var:g}), std {prior.prior_var ** 0.5:.4g}; noise precision ~ "
        f"Gamma({config.noise_prior_shape:g}, {config.noise_prior_rate:g})",
        f"KL         counts {prior.kl_weight:g} times a pass over {prior.n_data} rows, {prior.temper:.4g} per example",
        f"damping    gamma_in = kl / (N eta) = {prior.damping:.4g} (posterior and step), "
        f"gamma_ex = {config.damping:g} (step only)",
    ]
    return lines


def _about_layers(config, design):
    lines = [f"network    {config.model_name}, {config.activation}"]
    for layer in design.layers:
        d_a, d_s = layer.shape
        factors = ""
        if layer.family is not None and layer.family.needs_factors:
            factors = f", factors A {d_a} x {d_a} and S {d_s} x {d_s}"
        if layer.family is None:
            factors = (f": a factor of {max(d_a, d_s)} exceeds max_factor_dim {config.max_factor_dim}; "
                       "this run would not start (raise it, or set large_layers)")
        lines.append(f"           {layer.spec.name}: {d_a} x {d_s} weights, posterior {layer.kind}{factors}")
    return lines


_UPDATES = {"cov": "statistics of the curvature", "inverse": "Cholesky roots", "basis": "eigenbasis (with R, A, S)",
            "reinit": "R from the eigenvalues", "scale": "statistics of R"}


def _about_schedule(config, design):
    n_steps = config.epoch * design.steps_per_epoch
    noisy = any(layer.noisy for layer in design.layers)
    draws = f"{config.train_particles} weight draws" if noisy else "no weight noise"
    lines = [f"steps      {config.epoch} epochs of {design.steps_per_epoch} steps = {n_steps}; "
             f"batch {config.batch_size}, {draws}; "
             f"step sizes x {config.lr_decay_ratio:g} every {config.decay_interval} epochs"]
    for name, period in design.schedule.periods.items():
        times = n_steps // period
        lines.append(f"           {_UPDATES[name]} every {period} step{'s' if period > 1 else ''}: {times} times")
    what = "weights and noise precision" if noisy else "noise precision"
    lines.append(f"evaluate   every {config.epoch_rate} epochs with {config.test_particles} draws of {what}; "
                 f"checkpoint every {config.save_interval}")
    return lines


def _about_cost(config, data, design, device):
    seconds, numbers = estimate(config, design)
    n_steps = config.epoch * design.steps_per_epoch
    width = {"float32": 4, "float64": 8}[config.precision]
    parts = [part for part in (data.train, data.valid, data.test) if part]
    data_bytes = sum(part.x.nbytes + part.y.nbytes for part in parts)
    mebibytes = (numbers * width + data_bytes) / 2**20
    return [f"cost       roughly {seconds * 1e3:.2g} ms per step on one core, {seconds * n_steps / 60:.2g} minutes in "
            f"all; {mebibytes:.2g} MiB for state and data beside TensorFlow itself; device {device}"]


def estimate(config, design):
    """(seconds per step, numbers kept): rough, within a factor of 2 for small networks on one core."""
    periods = design.schedule.periods
    seconds, numbers = SECONDS_PER_STEP, 0
    amortised = [period for period in periods.values() if period > 1]
    if amortised:
        seconds += SECONDS_PER_RUN / design.steps_per_epoch
    for layer in design.layers:
        cost = _layer_cost(config, layer, periods)
        seconds += SECONDS_PER_LAYER + cost.flops / FLOPS + cost.normals / NOISE_PER_SECOND
        numbers += cost.numbers
    return seconds, numbers


def _layer_cost(config, layer, periods):
    d_a, d_s = layer.shape
    draws = config.train_particles if layer.noisy else 1
    rows = draws * config.batch_size
    flops = 6 * rows * d_a * d_s  # forward, and backward twice
    numbers = 2 * d_a * d_s + draws * (d_a * d_s + config.batch_size * (d_a + 3 * d_s))
    if layer.family is not None and layer.family.needs_factors:
        squares, cubes = d_a**2 + d_s**2, d_a**3 + d_s**3
        if layer.noisy:
            flops += 2 * draws * d_a * d_s * (d_a + d_s)
        flops += 4 * d_a * d_s * (d_a + d_s) + 2 * rows * squares / periods["cov"]
        flops += 4 * cubes / periods["inverse"] if "inverse" in periods else 25 * cubes / periods["basis"]
        flops += 2 * rows * (squares + d_a * d_s) if "scale" in periods else 0
        numbers += 2 * squares + d_a * d_s
    return Cost(flops, draws * d_a * d_s if layer.noisy else 0, numbers)
