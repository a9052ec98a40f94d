"""One run from config to result: plan it (checks everything, writes nothing), then execute it."""
import contextlib
import functools
import logging
import platform
import sys
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np
import scipy
import tensorflow.compat.v1 as tf

from core.inference.optimizer import check_layers
from core.training import checkpoints, lengthening, refreshes, selection, warm_start
from core.training.auto_schedule import with_schedule
from core.training.checkpoints import UnreadableCheckpoint
from core.training.cost import about_interim, about_shares
from core.training.design import Plan, design_run, notices
from core.training.devices import check_curvature_device, choose_device, uses_gpu
from core.training.failures import one_line_failures
from core.training.graph import Model, build_model
from core.training.model_card import model_card
from core.training.outputs import NORM_ROWS
from core.training.recovery import counts
from core.training.targets import about_targets
from core.training.tasks import METRIC_PREFIX, TASKS
from core.training.trainer import Outcome, Trainer
from data_loader import stored
from data_loader.splits import Splitter
from data_loader.table_file import Table
from misc import backend, gpu
from misc.config import Config
from misc.errors import RunError, UserError
from misc.folders import (
    EXTENDED_TO,
    MODEL_HASH,
    SELECTION,
    Folder,
    archive_and_create,
    changed_settings,
    check_resumable,
    check_writable,
    claim,
    has_checkpoint,
    run_folder,
)
from misc.log import close_logger, run_logger
from misc.records import read_json, read_result, revision, versions, write_json

Build = Callable[..., Model]  # of (design, device), as build_model
Then = Callable[[Plan, Model, tf.Session], None]

# Keys that a resumed run may change: they do not touch the training.
FREE_ON_RESUME = {"steps_per_run", "test_batch_size", "save_interval", "max_to_keep", "num_workers", "runs",
                  "exp_name", "experiments_path", "data_path",  # the rows themselves are compared by their hash
                  "predictive", "cache", "image_cache"}
IN_RESULT = {"predictive"}  # of these, keys that change no weight, but what a finished run says of its predictions


def plan(config: Config, device: str = "auto", given: Optional[Table] = None,
         splitter: Optional[Splitter] = None) -> Plan:
    """Loads the data and looks up every part. Raises UserError for whatever would not work.

    Args:
      given: the table, if it is in memory; None: the config says where the data are.
      splitter: chooses the split; None: the config's protocol.
    """
    check_curvature_device(config)
    load = TASKS[config.kind].load
    data = load(config) if given is None and splitter is None else load(config, given, splitter)
    if config.patience is not None and data.valid is None:  # of images, whose loader alone knows
        raise UserError(f"patience {config.patience} needs validation rows: set validation_fraction, e.g. to 0.1")
    config = with_schedule(config, data.spec.n_rows)
    design = design_run(config, data.spec)
    return Plan(config, data, design, *choose_device(device, design))


def prepared(plan: Plan, resume: bool = False, epochs: Optional[int] = None) -> Plan:
    """Returns the plan of what `execute` would do, with the start or the length that other files tell.

    Raises UserError if it cannot be done; writes nothing.
    """
    if not resume:
        return warm_start.begun(plan)
    folder = run_folder(plan.config)
    check_resumable(folder, plan.config, plan.data.rows_hash, FREE_ON_RESUME)
    checkpoints.check_intact(folder.checkpoint)  # before a longer run removes the result of the shorter one
    return lengthening.continued(refreshes.resumed(plan, folder), folder, epochs)


def execute(plan: Plan, resume: bool = False, epochs: Optional[int] = None) -> Dict[str, Any]:
    """Trains in the run's own folder, with a progress bar; returns what result.json holds.

    An earlier run of the same name is archived, or continued if `resume` (a finished one stays as it is, unless
    `epochs` lengthens it to that many).
    """
    folder = run_folder(plan.config)
    check_writable(folder)
    check_layers(plan.design.layers, plan.config)
    plan = prepared(plan, resume, epochs)
    with claim(folder):
        result = read_result(folder.result) if resume and epochs is None else None
        if result:
            print(f"the run in {folder.root} is already finished: nothing to do", file=sys.stderr)
            return result
        return train(plan, folder, resume)


def finish(config: Config, folder: Folder, device: str = "auto", reason: Optional[str] = None) -> None:
    """Makes sure that a folder, claimed by the caller, holds the run's result; nothing goes to the screen.

    A finished run is left as it is, an interrupted one is resumed, and a run of another config or with a
    damaged checkpoint is archived.

    Args:
      config: of the run.
      folder: its folder.
      device: auto, cpu or gpu.
      reason: why it is this device, for the log; None: because the caller says so.
    """
    planned = plan(config, device)
    planned = planned._replace(device_reason=reason or planned.device_reason)
    if is_finished(folder, planned.config, planned.data.rows_hash):
        return
    if is_resumable(folder, planned.config, planned.data.rows_hash):
        with contextlib.suppress(UnreadableCheckpoint):
            train(planned, folder, resume=True, quiet=True)
            return
    train(warm_start.begun(planned), folder, quiet=True)


def is_finished(folder: Folder, config: Config, rows_hash: str) -> bool:
    """Tells whether the folder holds the result of exactly this run."""
    return (folder.config.is_file() and read_result(folder.result) is not None
            and _is_of(folder, config, rows_hash))


def is_resumable(folder: Folder, config: Config, rows_hash: str) -> bool:
    """Tells whether the folder holds a checkpoint of exactly this run."""
    return has_checkpoint(folder) and _is_of(folder, config, rows_hash)


def _is_of(folder: Folder, config: Config, rows_hash: str) -> bool:
    """Tells whether the folder's run has this config and data, and was not lengthened."""
    return (not changed_settings(folder, config, rows_hash, FREE_ON_RESUME - IN_RESULT)
            and EXTENDED_TO not in read_json(folder.config))


def train(plan: Plan, folder: Folder, resume: bool = False, quiet: bool = False, build: Optional[Build] = None,
          then: Optional[Then] = None) -> Dict[str, Any]:
    """Trains as `execute` does, in any folder that the caller has claimed; shows nothing on the screen if `quiet`.

    Args:
      build: makes the model, in place of `build_model`; each value of kl_candidates has a model of its own.
      then: is called with the plan, the model and its session when training has ended.
    """
    build = build or build_model
    plan = refreshes.resumed(warm_start.resumed(plan, folder), folder) if resume else plan
    config, on_gpu = plan.config, uses_gpu(plan.config, plan.device)
    check_layers(plan.design.layers, config)
    model = None if config.kl_candidates else build(plan.design, plan.device)
    archived = None if resume else archive_and_create(folder)
    log = run_logger(folder.log, screen=not quiet)
    try:
        if archived:
            log.info("the earlier run has been moved to %s", archived)
        plan, chosen = _with_chosen_kl(plan, folder, log, resume, quiet)
        about = {"config": config.model_dump(), "seed": config.seed, "device": plan.device, "source": plan.data.source,
                 "rows_hash": plan.data.rows_hash, "split_hash": plan.data.split_hash,
                 MODEL_HASH: stored.hash_of(stored.describe(plan.data)), **chosen, **refreshes.about(plan),
                 **warm_start.about(plan, folder, resume), **lengthening.lengths(plan), **provenance(on_gpu)}
        if not resume:
            _write_config(folder, about, plan)
        elif lengthening.record(plan, folder):
            log.info("the run of %d epochs is lengthened to %d; all that follows from epoch stays as it was",
                     config.epoch, plan.design.n_epochs)
        changes = changes_of_provenance(folder, about) if resume else []
        begins = plan.start.notices if plan.start else ()
        for notice in (*notices(plan.design._replace(config=config)), *about_interim(plan.design), *plan.data.notices,
                       *begins, *changes):
            log.info(notice)
        log.info("%s on %s (%s): writing to %s", config.optimizer, config.dataset, plan.data.source, folder.root)
        log.info("device %s: %s", plan.device, plan.device_reason)
        for line in about_shares(plan.design):
            log.info(line)
        model = model or build(plan.design, plan.device)
        with one_line_failures(), backend.session(model.graph, config.n_threads, on_gpu) as session:
            started = time.perf_counter()
            outcome = Trainer(plan, model, folder, log, about, bar=not quiet).run(session, resume)
            wall_time = time.perf_counter() - started
            if then is not None:
                then(plan, model, session)
        return _write_result(plan, folder, log, outcome, summarise(plan, outcome, wall_time, about))
    except UserError as error:
        log.info("%s", error, extra={"screen": False})
        raise
    finally:
        close_logger(log)


def _with_chosen_kl(plan: Plan, folder: Folder, log: logging.Logger, resume: bool,
                    quiet: bool) -> Tuple[Plan, Dict[str, Any]]:
    """Returns (the plan with the kl that is chosen of kl_candidates, what config.json says of the choice)."""
    if not plan.config.kl_candidates:
        return plan, {}
    if resume:
        chosen = read_json(folder.config)[SELECTION]
    else:
        log.info("choosing kl of %s by shorter fits", ", ".join(map("{:g}".format, plan.config.kl_candidates)))
        chosen = selection.select(plan, functools.partial(train, quiet=True), log, folder.root, not quiet)._asdict()
        judges = "a fifth" if selection.n_folds(plan.config, plan.data.spec.n_rows) == 1 else "all five fifths"
        log.info("kl %g is chosen; log-likelihood of %s of the %d training rows: %s (%.1f s)", chosen["kl"], judges,
                 plan.data.spec.n_rows,
                 ", ".join(f"kl {kl} {'failed' if score is None else format(score, '.4f')}"
                           for kl, score in chosen["scores"].items()), chosen["seconds"])
    return selection.with_kl(plan, chosen["kl"]), {SELECTION: chosen}


def _write_config(folder: Folder, about: Dict[str, Any], plan: Plan) -> None:
    """Writes config.json, and all that predictions need without the data."""
    try:
        write_json(folder.model, stored.describe(plan.data))
        if any(not layer.spec.has_weights for layer in plan.design.layers):
            np.savez_compressed(str(folder.reference), x=plan.data.train.x[:NORM_ROWS])
        write_json(folder.config, about)
    except OSError as error:
        raise RunError(f"cannot write to {folder.root} ({error.strerror}): make room, or choose another "
                       "experiments_path") from None


def _write_result(plan: Plan, folder: Folder, log: logging.Logger, outcome: Outcome,
                  result: Dict[str, Any]) -> Dict[str, Any]:
    """Writes predictions and result.json, and logs the headline. Returns the result."""
    task, evaluate_on = plan.design.task, plan.config.evaluate_on
    try:
        if outcome.evaluation is not None:
            task.write_predictions(folder, outcome.evaluation, plan.data)
        folder.card.write_text(model_card(plan, outcome.evaluation, result, folder), encoding="utf-8")
        write_json(folder.result, result)
    except OSError as error:
        raise RunError(f"cannot write the result to {folder.root} ({error.strerror}); training is saved: make "
                       "room and start again with --resume") from None
    if outcome.evaluation is None:
        headline = f"lower bound {outcome.metrics['train_lower_bound']:.4f} per training row"
    else:
        headline = f"{evaluate_on} " + ", ".join(f"{label} {outcome.metrics[METRIC_PREFIX[evaluate_on] + name]:.4f}"
                                                 for name, label in task.headline.items())
    log.info("%s; %d steps in %.1f s (%.3g steps/s)", headline, outcome.steps, outcome.seconds,
             result["steps_per_second"])
    if outcome.best_epoch is not None:
        log.info("this is the result of epoch %d, which has the best validation log-likelihood%s", outcome.best_epoch,
                 f"; patience {plan.config.patience} has ended the training" if outcome.stopped_early else "")
    return result


def provenance(on_gpu: bool = False) -> Dict[str, Any]:
    """Returns the versions of the libraries, the revision of this code, and the machine.

    on_gpu: whether the run uses a GPU: the versions then include the GPU and its libraries.
    """
    return {"versions": dict(versions([tf, np, scipy]), **(gpu.versions() if on_gpu else {})),
            "revision": revision(), "host": platform.node()}


def changes_of_provenance(folder: Folder, now: Dict[str, Any]) -> List[str]:
    """Returns sentences about what differs from when the run in the folder began; now: what config.json would say."""
    before, after = (_flat_provenance(about) for about in (read_json(folder.config), now))
    return [f"note: resumed with {name} {after.get(name)}, begun with {value}: results may differ by rounding from "
            "those of an uninterrupted run" for name, value in before.items() if value not in (None, after.get(name))]


def _flat_provenance(about: Dict[str, Any]) -> Dict[str, Optional[str]]:
    return dict({name: about.get(name) for name in ("revision", "host", "device")}, **about.get("versions", {}))


def summarise(plan: Plan, outcome: Outcome, wall_time: float, about: Dict[str, Any]) -> Dict[str, Any]:
    """Returns what result.json says: metrics, and all that a comparison must know about them.

    about: as in config.json. Times are in seconds.
    """
    config, data = plan.config, plan.data
    return {
        "metrics": outcome.metrics,
        "units": plan.design.task.units(data), **about_targets(data),
        "dataset": config.dataset, "optimizer": config.optimizer, "model_name": config.model_name,
        "protocol": data.split.protocol, "split": data.split.index, "split_hash": data.split_hash,
        "evaluate_on": config.evaluate_on, "test_particles": config.test_particles,
        "n_train": len(data.train.x), "n_valid": len(data.valid.x) if data.valid else 0, "n_test": len(data.split.test),
        "n_valid_in_train": data.n_valid_in_train,
        "n_test_in_train": data.n_test_in_train,
        "steps": outcome.steps, "train_time_s": outcome.seconds, "wall_time_s": wall_time,
        "steps_per_second": outcome.steps / outcome.seconds, "incidents": counts(outcome.incidents),
        **({} if outcome.best_epoch is None else
           {"best_epoch": outcome.best_epoch, "stopped_early": outcome.stopped_early}),
        **about,
    }
