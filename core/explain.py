"""What a run would do, in plain words, from the config and the data alone; builds nothing."""
from core.cost import run_cost
from core.design import notices
from core.metrics import noise_name
from core.optimizer import METHODS
from data_loader import DATASETS, PICTURE_SETS
from data_loader.batches import held_out_rows
from misc.config import CLASSIFICATION, REGRESSION
from misc.config_overlays import describe_overlay, known_overlays
from networks import NETWORKS


def explain(plan, overlays=()):
    """Describes the run that `core.run.plan` planned, as a list of lines.

    overlays: files that were laid over the configuration.
    """
    return (
        [f"overlay    {describe_overlay(path)}" for path in overlays]
        + _about_data(plan.config, plan.data)
        + _about_objective(plan.config, plan.design)
        + _about_layers(plan.config, plan.design, plan.device)
        + _about_schedule(plan.config, plan.design)
        + _about_cost(plan.config, plan.data, plan.design, plan.device)
    )


def list_tables():
    """Lists networks, data sets, optimizers and overlays, a line each."""
    tables = (
        ("model_name", {name: row.meaning for name, row in NETWORKS.items()}),
        ("dataset for regression", {name: f"{row.n_rows} x {row.n_inputs}, {row.target}"
                                    for name, row in DATASETS.items()}),
        ("dataset for classification", {name: row.meaning for name, row in PICTURE_SETS.items()}),
        ("optimizer", {name: row.meaning for name, row in METHODS.items()}),
        ("overlay in config/overlays, for --with", known_overlays()),
    )
    return "\n\n".join(
        f"{title}:\n" + "\n".join(f"  {name:<26} {meaning}" for name, meaning in rows.items()) for title, rows in tables
    ) + "\n\nA file NAME.data in data_path makes NAME a dataset for regression."


def _about_data(config, data):
    split, shape = data.split, data.spec.shape
    what = f"{shape[0]} inputs" if len(shape) == 1 else f"{shape[0]} x {shape[1]} pixels, {shape[2]} channels"
    n_train, n_valid, n_test = (len(part.x) if part else 0 for part in (data.train, data.valid, data.test))
    lines = [f"data       {config.dataset} from {data.source}: {n_train} training, {n_valid} validation and "
             f"{n_test} test rows of {what}",
             f"split      protocol {split.protocol}, split {split.index} (hash {data.split_hash}); "
             + _STANDARDISED[config.mode](data)]
    if config.mode == REGRESSION and data.n_constant:
        lines.append(f"           {data.n_constant} constant input columns become 0")
    if config.data_aug:
        lines.append("           training pictures are padded by 4, cropped at random and flipped, anew every epoch")
    return lines


_STANDARDISED = {
    REGRESSION: lambda data: f"standardised with the training rows (target std {data.target_std:.4g})",
    CLASSIFICATION: lambda data: f"{data.spec.n_outputs} classes; channels standardised with the training pictures",
}


def _about_objective(config, design):
    prior, method = design.prior, METHODS[config.optimizer]
    lines = [f"method     {config.optimizer}: {method.meaning}"]
    lines += [f"           {notice}" for notice in notices(config)]
    lines += [
        f"prior      every weight ~ N(0, {prior.prior_var:g}), std {prior.prior_var ** 0.5:.4g}"
        + _NOISE_PRIOR[config.mode](config),
        f"KL         counts {prior.kl_weight:g} times a pass over {prior.n_data} rows, {prior.temper:.4g} per example"
        + (f", growing from 0 over {config.warmup_epochs} epochs" if config.warmup_epochs else ""),
        f"damping    gamma_in = kl / (N eta) = {prior.damping:.4g} (posterior and step), "
        f"gamma_ex = {config.damping:g} (step only)",
    ]
    return lines


_NOISE_PRIOR = {
    REGRESSION: lambda config: (
        f"; noise {noise_name(config.dof)}, its precision ~ Gamma({config.noise_prior_shape:g}, "
        f"{config.noise_prior_rate:g}), found by noise_update {config.noise_update}"),
    CLASSIFICATION: lambda config: "",
}


def _about_layers(config, design, device):
    lines = [f"network    {config.model_name}, {config.activation}"]
    for layer, cost in zip(design.layers, run_cost(config, design, device).layers):
        d_a, d_s = layer.shape
        factors = ""
        if layer.family is not None and layer.family.needs_factors:
            factors = f", factors A {d_a} x {d_a} and S {d_s} x {d_s}"
        if layer.family is None:
            factors = (f": a factor of {max(d_a, d_s)} exceeds max_factor_dim {config.max_factor_dim}; "
                       "this run would not start (raise it, or set large_layers)")
        what = f"{d_a} x {d_s} weights" if layer.spec.has_weights else f"scale and shift of {d_s} units"
        places = f" at {layer.spec.n_locations} places" if layer.spec.n_locations > 1 else ""
        size = f"; {_mebibytes(cost.state_bytes)}, {_milliseconds(cost.seconds)} a step"
        lines.append(f"           {layer.spec.name}: {what}{places}, posterior {layer.kind}{factors}"
                     + (size if layer.family is not None else ""))
    return lines


_UPDATES = {"cov": "statistics of the curvature", "inverse": "Cholesky roots", "basis": "eigenbasis (with R, A, S)",
            "reinit": "R from the eigenvalues", "scale": "statistics of R"}


def _about_schedule(config, design):
    n_steps = config.epoch * design.steps_per_epoch
    noisy = any(layer.noisy for layer in design.layers)
    draws = f"{_count(config.train_particles, 'weight draw')} a step" if noisy else "no weight noise"
    lines = [f"steps      {_count(config.epoch, 'epoch')} of {_count(design.steps_per_epoch, 'step')} = {n_steps}; "
             f"batch {config.batch_size}, {draws}; {_STEP_SIZES[config.mode](config)}"]
    if design.likelihood.held_out:
        n_held = len(held_out_rows(config, design.spec.n_rows))
        later = "; then it stays, and they train, too" * (config.epochs_held_out < config.epoch)
        lines.append(f"           the noise level from {_count(n_held, 'training row')} until epoch "
                     f"{config.epochs_held_out}{later}")
    for name, period in design.schedule.periods.items():
        lines.append(f"           {_UPDATES[name]} every {_count(period, 'step', one='')}: "
                     f"{design.schedule.count(name, n_steps)} times")
    if design.schedule.periods and design.schedule.early:
        early = sorted(step for step in design.schedule.early if step <= n_steps)
        lines.append(f"           all of these also at step{'s' if len(early) > 1 else ''} "
                     + ", ".join(map(str, early)))
    drawn = ["weights"] * noisy + ["noise precision"] * (config.mode == REGRESSION)
    lines.append(f"evaluate   every {_count(config.evaluate_every, 'epoch', one='')} with "
                 + (f"{_count(config.test_particles, 'draw')} of {' and '.join(drawn)}" if drawn
                    else "the weights as they are")
                 + f"; checkpoint every {_count(config.save_every, 'epoch', one='')}")
    return lines


def _averaged_step(config):
    return (f"step size {config.alpha:g} (alpha), with beta and omega x {config.lr_decay_ratio:g} every "
            f"{config.decay_interval} epochs")


def _clipped_step(config):
    clip = f"; KL divergence of a gradient's step at most {config.kl_clip:g} (kl_clip)"
    clip += f", growing to that over {config.clip_warmup} steps" * bool(config.clip_warmup)
    clips = METHODS[config.optimizer].family.natural
    return f"step size {config.learning_rate:g}, x 0.1 every {config.decay_every_itr} steps" + clip * clips


_STEP_SIZES = {REGRESSION: _averaged_step, CLASSIFICATION: _clipped_step}


def _about_cost(config, data, design, device):
    cost = run_cost(config, design, device)
    n_steps = config.epoch * design.steps_per_epoch
    return [f"cost       roughly {_milliseconds(cost.seconds)} per step on {cost.n_cores} "
            f"core{'s' if cost.n_cores > 1 else ''}, {_duration(cost.seconds * n_steps)} in all (without "
            f"evaluation); {_mebibytes(cost.peak_bytes)} beside TensorFlow itself; device {device}"]


def _count(number, unit, one="1 "):
    return f"{one}{unit}" if number == 1 else f"{number} {unit}s"


def _mebibytes(n_bytes):
    value = n_bytes / 2**20
    return f"{value:.0f} MiB" if value >= 100 else f"{value:.3g} MiB"


def _milliseconds(seconds):
    value = seconds * 1e3
    return f"{value:.0f} ms" if value >= 10 else f"{value:.2g} ms"


def _duration(seconds):
    """Seconds, minutes, hours or days, whichever people would say."""
    for unit, length in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2.0 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
