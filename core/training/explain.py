"""Describes what a run would do, from its config and data alone; builds nothing."""
from typing import Any, Iterable, List

from core.inference.optimizer import METHODS, LayerMethod
from core.training.auto_schedule import schedule_for
from core.training.cost import LayerCost, about_interim, about_shares, run_cost
from core.training.design import CURVATURE, NOISE, Design, Plan, notices
from core.training.selection import LENGTH_SHARE, VALIDATION_SHARE, n_folds
from data_loader import DATASETS, IMAGE_SETS
from data_loader.batches import held_out_rows
from data_loader.table_explain import about_columns
from data_loader.tables import load_split_table
from misc.config import TABLE_CLASSIFICATION
from misc.config_overlays import describe_overlay, known_overlays
from networks import NETWORKS

INDENT = " " * 11
UPDATES = {"cov": "statistics of the curvature", "inverse": "Cholesky roots", "basis": "eigenbasis (with R, A, S)",
           "reinit": "R from the eigenvalues", "scale": "statistics of R"}


def explain(plan: Plan, overlays: Iterable[str] = ()) -> List[str]:
    """Describes the planned run, as a list of lines.

    overlays: files that were laid over the config.
    """
    design = plan.design
    return ([f"overlay    {describe_overlay(path)}" for path in overlays] + _about_data(design, plan.data)
            + _about_objective(design) + _about_start(plan) + _about_layers(design) + _about_schedule(design)
            + _about_cost(design) + [f"device     {plan.device}: {plan.device_reason}"])


def list_tables() -> str:
    """Lists networks, data sets, optimizers and overlays, a line each."""
    tables = (
        ("model_name", {name: row.meaning for name, row in NETWORKS.items()}),
        ("dataset for regression", {name: f"{row.n_rows} x {row.n_inputs}, {row.target}"
                                    for name, row in DATASETS.items()}),
        ("dataset for classification", {name: row.meaning for name, row in IMAGE_SETS.items()}),
        ("optimizer", {name: row.meaning for name, row in METHODS.items()}),
        ("overlay in config/overlays, for --with", known_overlays()),
    )
    return "\n\n".join(
        f"{title}:\n" + "\n".join(f"  {name:<26} {meaning}" for name, meaning in rows.items()) for title, rows in tables
    ) + "\n\nA file NAME.data in data_path makes NAME a dataset for regression."


def _about_data(design: Design, data: Any) -> List[str]:
    split, shape, config = data.split, data.spec.shape, design.config
    what = f"{shape[0]} inputs" if len(shape) == 1 else f"{shape[0]} x {shape[1]} pixels, {_count(shape[2], 'channel')}"
    n_train, n_valid, n_test = (len(part.x) if part else 0 for part in (data.train, data.valid, data.test))
    lines = [f"data       {config.dataset} from {data.source}: {n_train} training, {n_valid} validation and "
             f"{n_test} test rows of {what}",
             f"split      protocol {split.protocol}, split {split.index} (hash {data.split_hash}); "
             + design.task.about_data(data)]
    lines += [INDENT + sentence for sentence in data.notices]
    if config.is_table:
        loaded = load_split_table(config, class_target=config.kind == TABLE_CLASSIFICATION)
        lines += [INDENT + sentence for sentence in about_columns(loaded)]
    if config.data_aug:
        lines.append(f"{INDENT}training images are padded by 4, cropped and flipped, at random in every epoch")
    return lines


def _about_objective(design: Design) -> List[str]:
    config, prior = design.config, design.prior
    warmup = f", growing from 0 over {config.warmup_epochs} epochs" if config.warmup_epochs else ""
    kl = f"{prior.kl_weight:g} (kl)"
    if config.kl_candidates:
        kl += f", until one of {', '.join(map('{:g}'.format, config.kl_candidates))} is chosen before the training,"
    return [
        f"method     {config.optimizer}: {METHODS[config.optimizer].meaning}",
        *(INDENT + notice for notice in notices(design)),
        f"prior      every weight ~ N(0, {prior.prior_var:g}), std {prior.prior_var ** 0.5:.4g}"
        + design.task.about_noise(config, design.likelihood),
        f"KL         weight {kl} over {prior.n_data} rows: {prior.temperature():.4g} per example"
        + warmup,
        *_about_damping(design),
    ]


def _about_start(plan: Plan) -> List[str]:
    start = plan.start
    if start is None:
        return []
    means = "means, curvature" if plan.design.goes_on(CURVATURE) else "means"
    has_level = plan.design.likelihood.has_precision and plan.design.goes_on(NOISE)
    return [f"start      step {start.step} of {start.run} (init_from): {means}"
            + (", noise level" if has_level else "") + "; steps and epochs count from 0",
            *(INDENT + notice for notice in start.notices)]


def _about_damping(design: Design) -> List[str]:
    if not METHODS[design.config.optimizer].family.natural:  # no Fisher matrix that could be damped
        return []
    reads = METHODS[design.config.optimizer].family.reads
    is_in_scale = "scale_init" in reads and design.config.scale_init == "damped"
    use = "step, and initialisation of R" if is_in_scale else "step only"
    return [f"damping    gamma_in = kl / (N eta) = {design.prior.damping:.4g} (posterior and step), "
            f"gamma_ex = {design.config.damping:g} ({use})"]


def _about_layers(design: Design) -> List[str]:
    lines = [f"network    {design.config.model_name}, {design.config.activation}"]
    return lines + [_about_layer(design, layer, cost) for layer, cost in zip(design.layers, run_cost(design).layers)]


def _about_layer(design: Design, layer: LayerMethod, cost: LayerCost) -> str:
    d_a, d_s = layer.shape
    what = f"{d_a} x {d_s} weights" if layer.spec.has_weights else f"scale and shift of {d_s} units"
    if layer.spec.n_locations > 1:
        what += f" at {layer.spec.n_locations} locations"
    line = f"{INDENT}{layer.spec.name}: {what}, posterior {layer.kind}"
    if layer.family is None:
        return line + (f": a factor of {max(d_a, d_s)} exceeds max_factor_dim {design.config.max_factor_dim}; this run "
                       "would not start (raise it, or set large_layers)")
    if layer.family.needs_factors:
        line += f", factors A {d_a} x {d_a} and S {d_s} x {d_s}"
    return f"{line}; {_mebibytes(cost.state_bytes)}, {_milliseconds(cost.seconds)} per step"


def _about_schedule(design: Design) -> List[str]:
    config, n_steps = design.config, design.n_epochs * design.steps_per_epoch
    noisy = any(layer.noisy for layer in design.layers)
    draws = f"{_count(config.train_particles, 'weight draw')} per step" if noisy else "no weight noise"
    lines = [f"steps      {_count(design.n_epochs, 'epoch')} of {_count(design.steps_per_epoch, 'step')} = {n_steps}; "
             f"batch {_about_batch(design)}, {draws}; {design.task.about_step(config)}"]
    if design.n_epochs != config.epoch:
        lines.append(f"{INDENT}lengthened from {_count(config.epoch, 'epoch')}: all that follows from epoch stays "
                     "as it was")
    if config.auto_schedule:
        lines += _about_auto_schedule(design)
    if design.likelihood.held_out:
        lines.append(_about_held_out(design))
    for name, period in design.schedule.periods.items():
        lines.append(f"{INDENT}{UPDATES[name]} every {_count(period, 'step', one='')}: "
                     f"{_count(design.schedule.count(name, n_steps), 'time')}")
    if design.refresh_multiple > 1:
        lines.append(f"{INDENT}these periods are {design.refresh_multiple} times the given ones (auto_refresh)")
    early = sorted(step for step in design.schedule.early if step <= n_steps)
    if design.schedule.periods and early:
        lines.append(f"{INDENT}all of these also at step{'s' if len(early) > 1 else ''} {', '.join(map(str, early))}")
    return lines + [_about_evaluation(design, noisy)]


def _about_auto_schedule(design: Design) -> List[str]:
    """Lists the keys that follow from the number of rows. Those that the config gives are among them."""
    config, n_rows = design.config, design.spec.n_rows
    values = ", ".join(f"{name} {getattr(config, name):g}" for name in schedule_for(n_rows, config.optimizer, {}))
    return [f"{INDENT}auto_schedule, for {n_rows} rows and what the config gives: {values}"]


def _about_batch(design: Design) -> str:
    size, n_rows = design.config.batch_size, design.spec.n_rows
    return str(size) if size <= n_rows else f"{n_rows} (batch_size {size} is more than all rows)"


def _about_held_out(design: Design) -> str:
    config = design.config
    n_held = len(held_out_rows(config, design.spec.n_rows))
    line = f"{INDENT}noise level from {_count(n_held, 'held-out training row')} until epoch {config.epochs_held_out}"
    if config.epochs_held_out < design.n_epochs:
        line += "; then it stays, and these rows train, too"
    return line


def _about_evaluation(design: Design, noisy: bool) -> str:
    config, drawn = design.config, []
    if noisy and not design.linearised:
        drawn.append("weights")
    if design.likelihood.has_precision:
        drawn.append("noise precision")
    how = f"{_count(config.test_particles, 'draw')} of {' and '.join(drawn)}" if drawn else "the weights as they are"
    if design.linearised:
        how = f"the linearised network and {how}" if drawn else "the linearised network"
    line = (f"evaluate   every {_count(config.evaluate_every, 'epoch', one='')} with {how}; checkpoint every "
            f"{_count(config.save_every, 'epoch', one='')}")
    line = "\n".join([line, *(INDENT + sentence for sentence in about_interim(design))])
    if config.patience is None:
        return line
    return (f"{line}\n{INDENT}ends when the validation log-likelihood has not risen for "
            f"{_count(config.patience, 'evaluation')}; the result is that of the best one (patience)")


def _about_cost(design: Design) -> List[str]:
    cost = run_cost(design)
    n_steps = design.n_epochs * design.steps_per_epoch
    choice = []
    if design.config.kl_candidates:
        n_fits = len(design.config.kl_candidates) * n_folds(design.config, design.spec.n_rows)
        share = LENGTH_SHARE * (1.0 - VALIDATION_SHARE) * n_fits
        choice = [f"{INDENT}choosing kl takes {share:.1f} times as long in addition"]
    return [f"cost       roughly {_milliseconds(cost.seconds)} per step on {_count(cost.n_cores, 'core')}, "
            f"{_duration(cost.seconds * n_steps)} in all (without evaluation); {_mebibytes(cost.peak_bytes)} beside "
            "TensorFlow itself", *(INDENT + line for line in about_shares(design)), *choice]


def _count(number: int, unit: str, one: str = "1 ") -> str:
    return f"{one}{unit}" if number == 1 else f"{number} {unit}s"


def _mebibytes(n_bytes: float) -> str:
    value = n_bytes / 2**20
    return f"{value:.0f} MiB" if value >= 100 else f"{value:.3g} MiB"


def _milliseconds(seconds: float) -> str:
    value = seconds * 1e3
    return f"{value:.0f} ms" if value >= 10 else f"{value:.2g} ms"


def _duration(seconds: float) -> str:
    """Returns seconds, minutes, hours or days, whichever reads best."""
    units: Iterable = (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0))
    for unit, length in units:
        if seconds >= 2.0 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
