"""Trains on the labelled rows, from scratch: what one step of active learning needs of a model."""
import json
import pathlib
import shutil
from typing import Any, Callable, Dict, List, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from core.acquisition.rows import Rows, separated
from core.training import run
from core.training.design import Design, Plan
from core.training.graph import Model, build_model
from core.training.tasks import METRIC_PREFIX
from misc.config import Config
from misc.folders import folder_at
from misc.seeding import stream_seed

NEVER = 10**9  # epochs between evaluations, and between checkpoints, of which only the last ones are of use here
NAMELESS = {"exp_name", "experiments_path", "data_path", "cache", "image_cache"}  # keys that no graph depends on


class Learned(NamedTuple):
    """What a model that was trained on the labelled rows says."""

    metrics: Dict[str, float]  # of the test rows, in the data's own units
    draws: Any                 # predictive distribution of the pool, as a Strategy takes it; None: not asked for


Learn = Callable[[int, Rows, bool], Learned]
"""Function (step, Rows, whether to predict the pool) -> Learned, of one repeat."""


def step_config(config: Config, repeat: int, step: int) -> Config:
    """Returns the config with which a step trains: the seed follows from the config's seed, repeat and step.

    All strategies have the same seed at a step, so that their differences come from the chosen rows.
    """
    values = dict(config.model_dump(exclude_unset=True), save_interval=NEVER,
                  seed=stream_seed(config.seed, "active learning", repeat, step))
    if config.patience is None:  # which counts evaluations
        values.update(epoch_rate=NEVER)
    return Config.from_dict(values)


class Network:
    """Trains the config's network as train.py would if the labelled rows were all that it had: a Learn.

    Args:
      config: of all steps.
      table: the data, as `Task.load` takes them.
      repeat: number of the repeat.
      place: a folder for the files of a run, which are removed again.
      device: auto, cpu or gpu.
    """

    def __init__(self, config: Config, table: Any, repeat: int, place: pathlib.Path, device: str = "auto") -> None:
        self._config, self._table, self._repeat, self._place = config, table, repeat, place
        self._device, self._build = device, OneModel()

    def __call__(self, step: int, rows: Rows, predicts_pool: bool) -> Learned:
        config = step_config(self._config, self._repeat, step)
        plan = run.plan(config, self._device, self._table, lambda request: rows.split(self._repeat))
        data, pool = separated(plan.data, len(rows.test))
        draws: List[Any] = []

        def predict(plan: Plan, model: Model, session: tf.Session) -> None:
            task = plan.design.task
            draws.append(task.draws(session, model, pool, plan.data, task.noise(session, model, plan.data)))

        shutil.rmtree(str(self._place), ignore_errors=True)  # of a process that was killed
        folder = folder_at(self._place)
        try:
            result = run.train(plan._replace(data=data), folder, quiet=True, build=self._build,
                               then=predict if predicts_pool else None)
        finally:
            shutil.rmtree(str(self._place), ignore_errors=True)
        prefix = METRIC_PREFIX[config.evaluate_on]
        metrics = {name: result["metrics"][prefix + name] for name in plan.design.task.headline}
        return Learned(metrics, draws[0] if draws else None)


class OneModel:
    """Builds the model of a design, as `build_model`, or returns the last one if it is of the same settings.

    A graph is a function of the settings and of the shapes of the data, and all values live in its session. Strategies
    that have come equally far therefore share a graph, and building it takes as long as a short training.
    """

    def __init__(self) -> None:
        self._key, self._model = "", None

    def __call__(self, design: Design, device: str) -> Model:
        settings = design.config.model_dump(exclude=NAMELESS)
        key = json.dumps([settings, design.spec, design.n_epochs, sorted(design.anew), device], sort_keys=True,
                         default=np.ndarray.tolist)
        if key != self._key:
            self._key, self._model = key, build_model(design, device)
        return self._model._replace(design=design)
