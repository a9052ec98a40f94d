"""Chooses kl before a training, among config's `kl_candidates`, by shorter fits inside the training rows."""
import logging
import pathlib
import shutil
import time
from typing import Any, Callable, Dict, NamedTuple, Optional

import numpy as np
import tqdm

from core.training.design import Plan, design_run
from core.training.tasks import METRIC_PREFIX
from data_loader.parts import Part
from misc.config import Config
from misc.errors import Diverged, RunError, Stopped
from misc.folders import Folder, folder_at
from misc.log import SCREEN

VALIDATION_SHARE = 0.2  # of the training rows: they judge the candidates, which are trained on the others
LENGTH_SHARE = 0.5      # of the run's epochs
PLACE = "choosing_kl"   # a folder that is there only while kl is being chosen
METRIC = METRIC_PREFIX["validation"] + "log_likelihood"

Train = Callable[[Plan, Folder], Dict[str, Any]]
"""A function that trains a plan in a folder, without a word on the screen, and returns its result."""


class Selection(NamedTuple):
    """What was chosen, and what it rests on."""

    kl: float
    scores: Dict[str, Optional[float]]  # kl, as text -> log-likelihood of the rows left out; None: the fit failed
    seconds: float


def select(plan: Plan, train: Train, log: logging.Logger, scratch: pathlib.Path, bar: bool = True) -> Selection:
    """Returns the candidate with the highest log-likelihood on a fifth of the training rows, trained on the others.

    The fits have half the run's epochs. Neither test rows nor validation rows of the run are used. A candidate whose
    fit diverges is not chosen; of equal ones, the largest is. Raises RunError if all of them diverge, and any other
    error of a fit.

    Args:
      plan: of the run, whose config has kl_candidates.
      log: the run's logger.
      scratch: a folder in which a temporary folder, PLACE, can be made.
      bar: whether to show a progress bar, on a terminal.
    """
    began, scores, place = time.perf_counter(), {}, scratch / PLACE
    for kl in tqdm.tqdm(plan.config.kl_candidates or [], unit="fit", desc="choosing kl", leave=False,
                        dynamic_ncols=True, file=SCREEN, disable=None if bar else True):
        shutil.rmtree(str(place), ignore_errors=True)  # of a choice that was killed
        try:
            scores[kl] = train(candidate_plan(plan, kl), folder_at(place))["metrics"][METRIC]
        except Stopped as error:
            raise Stopped("stopped while kl was being chosen, before the training: start again",
                          error.number) from None
        except Diverged as error:
            log.info("kl %g cannot be chosen: %s", kl, error)
            scores[kl] = None
        finally:
            shutil.rmtree(str(place), ignore_errors=True)
    found = {kl: score for kl, score in scores.items() if score is not None}
    if not found:
        raise RunError("every fit with one of kl_candidates failed (log.txt says why): try a smaller alpha")
    return Selection(max(found, key=lambda kl: (found[kl], kl)), {f"{kl:g}": score for kl, score in scores.items()},
                     time.perf_counter() - began)


def candidate_plan(plan: Plan, kl: float) -> Plan:
    """Returns the plan of a shorter fit with this kl, whose validation rows are a fifth of the training rows.

    These are the first of the training rows, which are in random order. There are half the epochs, of four fifths of
    the rows, and twice the step sizes, to come about as far: after fewer steps with the same step sizes, a larger kl
    looks better than it is in the end.
    """
    n_valid, asked = max(1, round(VALIDATION_SHARE * plan.data.spec.n_rows)), plan.config
    rates = {name: max(getattr(asked, name), min(getattr(asked, name) / LENGTH_SHARE, 1.0))
             for name in ("alpha", "beta", "omega")}
    epochs = max(1, round(LENGTH_SHARE * asked.epoch))
    shorter = {name: max(1, round(LENGTH_SHARE * getattr(asked, name)))
               for name in ("kl_warmup", "held_out_epochs") if getattr(asked, name)}
    shorter["lr_decay_interval"] = max(1, min(round(LENGTH_SHARE * asked.decay_interval), epochs - 1))
    config = Config.from_dict(dict(
        asked.model_dump(exclude_unset=True), kl=kl, kl_candidates=None, patience=None, evaluate_on="validation",
        validation_fraction=VALIDATION_SHARE, epoch=epochs, epoch_rate=asked.epoch, save_interval=asked.epoch,
        **shorter, **rates))
    data = plan.data._replace(train=_rows(plan.data.train, slice(n_valid, None)),
                              valid=_rows(plan.data.train, slice(n_valid)), test=None,
                              spec=plan.data.spec._replace(n_rows=plan.data.spec.n_rows - n_valid))
    return plan._replace(config=config, data=data, design=design_run(config, data.spec))


def with_kl(plan: Plan, kl: float) -> Plan:
    """Returns the plan with this value of kl."""
    config = Config.from_dict(dict(plan.config.model_dump(exclude_unset=True), kl=kl))
    design = design_run(config, plan.data.spec)._replace(n_epochs=plan.design.n_epochs)
    return plan._replace(config=config, design=design)


def _rows(part: Part, rows: slice) -> Part:
    return Part(np.asarray(part.x)[rows], np.asarray(part.y)[rows])
