"""Chooses kl before a training, among config's `kl_candidates`, by shorter fits inside the training rows."""
import logging
import pathlib
import shutil
import time
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

import numpy as np
import tqdm

from core.training.design import Plan, design_run, with_multiple
from core.training.tasks import METRIC_PREFIX
from data_loader.batches import steps_per_epoch
from data_loader.parts import Part
from misc.config import CLASSIFICATION, REGRESSION, Config
from misc.errors import Diverged, RunError, Stopped
from misc.folders import Folder, folder_at
from misc.log import SCREEN

VALIDATION_SHARE = 0.2  # of the training rows: they judge the candidates, which are trained on the others
LENGTH_SHARE = 0.5      # of the run's epochs
FOLDS = 5               # of the training rows, each of which is a fifth
PLACE = "choosing_kl"   # a folder that is there only while kl is being chosen
METRIC = METRIC_PREFIX["validation"] + "log_likelihood"

Train = Callable[[Plan, Folder], Dict[str, Any]]
"""A function that trains a plan in a folder, without a word on the screen, and returns its result."""


class Fits(NamedTuple):
    """How the fits of a mode are made; all keys are those of the config."""

    most_rows: int              # training rows up to which every fold judges the candidates, otherwise the first alone
    lengths: Tuple[str, ...]    # in epochs
    n_steps: Tuple[str, ...]    # lengths in steps
    rates: Tuple[str, ...]      # step sizes that are twice as large


FITS = {
    REGRESSION: Fits(0, ("kl_warmup", "held_out_epochs"), (), ("alpha", "beta", "omega")),
    # A fifth of 150 rows has one or two errors, which decide over the log-likelihood. The step sizes stay: the mean of
    # a classification comes as far in half of the steps.
    CLASSIFICATION: Fits(2000, ("kl_warmup",), ("decay_every_itr", "clip_warmup"), ()),
}


class Selection(NamedTuple):
    """What was chosen, and what it rests on."""

    kl: float
    scores: Dict[str, Optional[float]]  # kl, as text -> log-likelihood of the rows left out; None: the fit failed
    seconds: float


def select(plan: Plan, train: Train, log: logging.Logger, scratch: pathlib.Path, bar: bool = True) -> Selection:
    """Returns the candidate with the highest log-likelihood on a fifth of the training rows, trained on the others.

    For classifications of few rows it is the mean over all five fifths. The fits have half the run's epochs. Neither
    test rows nor validation rows of the run are used. A candidate of which a fit diverges is not chosen; of equal ones,
    the largest is. Raises RunError if all of them diverge, and any other error of a fit.

    Args:
      plan: of the run, whose config has kl_candidates.
      log: the run's logger.
      scratch: a folder in which a temporary folder, PLACE, can be made.
      bar: whether to show a progress bar, on a terminal.
    """
    began, scores, place = time.perf_counter(), {}, scratch / PLACE
    for kl in tqdm.tqdm(plan.config.kl_candidates or [], unit="candidate", desc="choosing kl", leave=False,
                        dynamic_ncols=True, file=SCREEN, disable=None if bar else True):
        shutil.rmtree(str(place), ignore_errors=True)  # of a choice that was killed
        try:
            scores[kl] = _score(plan, kl, train, place)
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
        step = plan.design.task.step_key
        raise RunError(f"every fit with one of kl_candidates failed (log.txt says why): try a smaller {step}")
    return Selection(max(found, key=lambda kl: (found[kl], kl)), {f"{kl:g}": score for kl, score in scores.items()},
                     time.perf_counter() - began)


def n_folds(config: Config, n_rows: int) -> int:
    """Returns how many fits judge each candidate, on as many parts of the training rows."""
    return FOLDS if n_rows <= FITS[config.mode].most_rows else 1


def _score(plan: Plan, kl: float, train: Train, place: pathlib.Path) -> float:
    """Returns the log-likelihood per row that was left out, over all folds that judge a candidate."""
    total, n_judged = 0.0, 0
    for fold in range(n_folds(plan.config, plan.data.spec.n_rows)):
        made = candidate_plan(plan, kl, fold)
        n_valid = len(made.data.valid.x)
        total += n_valid * train(made, folder_at(place))["metrics"][METRIC]
        n_judged += n_valid
        shutil.rmtree(str(place), ignore_errors=True)
    return total / n_judged


def candidate_plan(plan: Plan, kl: float, fold: int = 0) -> Plan:
    """Returns the plan of a shorter fit with this kl, whose validation rows are a fifth of the training rows.

    These are the first of the training rows, which are in random order, or those that follow (`fold`, from 0). There
    are half the epochs, of four fifths of the rows. A regression has twice the step sizes, to come about as far: after
    fewer steps with the same step sizes, a larger kl looks better than it is in the end.
    """
    asked, n_rows, fits = plan.config, plan.data.spec.n_rows, FITS[plan.config.mode]
    judges = _fold_rows(n_rows, fold)
    n_train = n_rows - (judges.stop - judges.start)
    rates = {name: max(getattr(asked, name), min(getattr(asked, name) / LENGTH_SHARE, 1.0)) for name in fits.rates}
    epochs = max(1, round(LENGTH_SHARE * asked.epoch))
    shorter = {name: max(1, round(LENGTH_SHARE * getattr(asked, name)))
               for name in fits.lengths if getattr(asked, name)}
    step_share = LENGTH_SHARE * steps_per_epoch(n_train, asked.batch_size) / steps_per_epoch(n_rows, asked.batch_size)
    shorter.update({name: max(1, round(step_share * getattr(asked, name)))
                    for name in fits.n_steps if getattr(asked, name)})
    if "alpha" in fits.rates:
        shorter["lr_decay_interval"] = max(1, min(round(LENGTH_SHARE * asked.decay_interval), epochs - 1))
    config = Config.from_dict(dict(
        asked.model_dump(exclude_unset=True), kl=kl, kl_candidates=None, patience=None, evaluate_on="validation",
        validation_fraction=VALIDATION_SHARE, epoch=epochs, epoch_rate=asked.epoch, save_interval=asked.epoch,
        **shorter, **rates))
    others = np.delete(np.arange(n_rows), judges)
    data = plan.data._replace(train=_rows(plan.data.train, others), valid=_rows(plan.data.train, judges), test=None,
                              spec=plan.data.spec._replace(n_rows=n_train))
    return plan._replace(config=config, data=data, design=design_run(config, data.spec))


def _fold_rows(n_rows: int, fold: int) -> slice:
    """Returns the rows of a fold, from 0."""
    begin, end = (round(n_rows * number / FOLDS) for number in (fold, fold + 1))
    return slice(begin, max(end, 1))


def with_kl(plan: Plan, kl: float) -> Plan:
    """Returns the plan with this value of kl."""
    config = Config.from_dict(dict(plan.config.model_dump(exclude_unset=True), kl=kl))
    design = with_multiple(design_run(config, plan.data.spec), plan.design.refresh_multiple)
    return plan._replace(config=config, design=design._replace(n_epochs=plan.design.n_epochs))


def _rows(part: Part, rows: slice) -> Part:
    return Part(np.asarray(part.x)[rows], np.asarray(part.y)[rows])
