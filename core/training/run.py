"""One run from config to result: plan it (checks everything, writes nothing), then execute it."""
import collections
import platform
import sys
import time

import numpy as np
import scipy
import tensorflow.compat.v1 as tf

from core.inference.optimizer import check_layers
from core.training.checkpoints import UnreadableCheckpoint
from core.training.design import design_run, notices
from core.training.evaluation import TASKS
from core.training.graph import build_model
from core.training.incidents import counts
from core.training.trainer import Trainer
from data_loader.classification import load_classification
from data_loader.regression import load_regression
from misc import backend
from misc.config import CLASSIFICATION, REGRESSION
from misc.errors import RunError, UserError
from misc.folders import (
    archive_and_create,
    changed_settings,
    check_resumable,
    check_writable,
    claim,
    has_checkpoint,
    run_folder,
)
from misc.log import close_logger, run_logger
from misc.lookup import lookup
from misc.records import read_json, read_result, revision, versions, write_json

LOADERS = {REGRESSION: load_regression, CLASSIFICATION: load_classification}

DEVICES = {"cpu": "/device:CPU:0", "gpu": "/device:GPU:0"}

# Keys that a resumed run may change: they do not touch a result.
FREE_ON_RESUME = {"steps_per_run", "test_batch_size", "save_interval", "max_to_keep", "num_workers", "runs",
                  "exp_name", "experiments_path", "data_path"}  # the rows themselves are compared by their hash

# evaluate_on -> how the names of its metrics begin.
EVALUATED = {"test": "test", "validation": "valid"}

Plan = collections.namedtuple("Plan", ["config", "data", "design", "device"])
"""A run that has passed every check: Config, Data, Design and the device its ops go to."""


def plan(config, device="auto"):
    """Loads the data and looks up every part. UserError for whatever would not work."""
    if config.curvature_device == "gpu" and not backend.has_gpu():
        raise UserError("curvature_device gpu: TensorFlow sees no GPU here; use cpu or auto")
    data = lookup(LOADERS, config.mode, "mode")(config)
    design = design_run(config, data.spec)
    return Plan(config, data, design, choose_device(device))


def choose_device(name):
    """auto, cpu or gpu -> TensorFlow device. UserError for a GPU that is not there."""
    if name == "auto":
        name = "gpu" if backend.has_gpu() else "cpu"
    elif name == "gpu" and not backend.has_gpu():
        raise UserError("--device gpu: TensorFlow sees no GPU here; use --device cpu or auto "
                        "(GPU builds: requirements-gpu.txt)")
    return lookup(DEVICES, name, "device")


def execute(plan, resume=False):
    """Trains in the run's own folder, with a progress bar; returns the dict that result.json holds.

    An earlier run of the same name is moved aside, or continued if `resume` (one that is finished stays as it is).
    """
    folder = run_folder(plan.config)
    check_writable(folder)
    check_layers(plan.design.layers, plan.config)
    if resume:
        check_resumable(folder, plan.config, plan.data.rows_hash, FREE_ON_RESUME)
    with claim(folder):
        result = read_result(folder.result) if resume else None
        if result:
            print(f"the run in {folder.root} is finished already: nothing to do", file=sys.stderr)
            return result
        return train(plan, folder, resume)


def finish(config, folder, device="auto"):
    """Sees to it that a folder, claimed by the caller, holds the run's result; nothing goes to the screen.

    A finished run is left as it is, an interrupted one goes on, a run of another config (or with a damaged
    checkpoint) is moved aside.
    """
    made = plan(config, device)
    if is_finished(folder, config, made.data.rows_hash):
        return
    try:
        train(made, folder, resume=is_resumable(folder, config, made.data.rows_hash), quiet=True)
    except UnreadableCheckpoint:
        train(made, folder, quiet=True)


def is_finished(folder, config, rows_hash):
    """Whether the folder holds the result of exactly this run."""
    return (folder.config.is_file() and read_result(folder.result) is not None
            and not changed_settings(folder, config, rows_hash, FREE_ON_RESUME))


def is_resumable(folder, config, rows_hash):
    """Whether the folder holds a checkpoint of exactly this run."""
    return has_checkpoint(folder) and not changed_settings(folder, config, rows_hash, FREE_ON_RESUME)


def train(plan, folder, resume=False, quiet=False):
    """As `execute`, in any folder that the caller has claimed; nothing goes to the screen if `quiet`."""
    config = plan.config
    model = build_model(config, plan.data.spec, plan.device)
    aside = None if resume else archive_and_create(folder)
    log = run_logger(folder.log, screen=not quiet)
    try:
        if aside:
            log.info("the earlier run is now %s", aside)
        about = {"config": config.model_dump(), "seed": config.seed, "device": plan.device,
                 "source": plan.data.source, "rows_hash": plan.data.rows_hash, **provenance()}
        if not resume:
            try:
                write_json(folder.config, about)
            except OSError as error:
                raise RunError(f"cannot write to {folder.root} ({error.strerror}): make room, or choose another "
                               "experiments_path") from None
        for notice in notices(config) + (changes_of_provenance(folder, about) if resume else []):
            log.info(notice)
        log.info("%s on %s (%s): writing to %s", config.optimizer, config.dataset, plan.data.source, folder.root)
        with backend.session(model.graph, config.n_threads) as session:
            started = time.perf_counter()
            outcome = Trainer(plan, model, folder, log, about, bar=not quiet).run(session, resume)
            wall = time.perf_counter() - started
        result, task = summarise(plan, outcome, wall, about), TASKS[config.mode]
        try:
            task.write(folder, outcome.evaluation, plan.data)
            write_json(folder.result, result)
        except OSError as error:
            raise RunError(f"cannot write the result to {folder.root} ({error.strerror}); training is saved: make "
                           "room and start again with --resume") from None
        part = EVALUATED[config.evaluate_on]
        found = ", ".join(f"{label} {outcome.metrics[part + '_' + name]:.4f}" for name, label in task.headline.items())
        log.info("%s %s; %d steps in %.1f s (%.3g steps/s)", config.evaluate_on, found, outcome.steps, outcome.seconds,
                 result["steps_per_second"])
        return result
    except UserError as error:
        log.info("%s", error, extra={"screen": False})
        raise
    finally:
        close_logger(log)


def provenance():
    """Versions of the libraries, revision of this code, and the machine."""
    return {"versions": versions([tf, np, scipy]), "revision": revision(), "host": platform.node()}


def changes_of_provenance(folder, now):
    """Sentences about what is not as it was when the run in the folder began; now: what config.json would say."""
    flat = [dict({name: found.get(name) for name in ("revision", "host", "device")}, **found.get("versions", {}))
            for found in (read_json(folder.config), now)]
    return [f"note: resumed with {name} {flat[1].get(name)}, begun with {flat[0][name]}: the bits may differ from an "
            "uninterrupted run's" for name in flat[0] if flat[0][name] not in (None, flat[1].get(name))]


def summarise(plan, outcome, wall_time, about):
    """What result.json says: metrics, and all that a comparison must know about them; about: as in config.json."""
    config, data = plan.config, plan.data
    return {
        "metrics": outcome.metrics,
        "units": TASKS[config.mode].units,
        "dataset": config.dataset, "optimizer": config.optimizer, "model_name": config.model_name,
        "protocol": data.split.protocol, "split": data.split.index, "split_hash": data.split_hash,
        "evaluate_on": config.evaluate_on, "test_particles": config.test_particles,
        "n_train": len(data.train.x), "n_valid": len(data.valid.x) if data.valid else 0, "n_test": len(data.split.test),
        "steps": outcome.steps, "train_time_s": outcome.seconds, "wall_time_s": wall_time,
        "steps_per_second": outcome.steps / outcome.seconds, "incidents": counts(outcome.incidents),
        **about,
    }
