"""Length, batches, step sizes and refreshes of a regression by its number of training rows: key `auto_schedule`."""
import math
from typing import Any, Dict

from core.inference.optimizer import METHODS
from misc.config import Config
from misc.lookup import lookup

ROWS_PER_BATCH_ROW = 25  # a minibatch has this fraction of the rows, within the limits
BATCH_LIMITS = (20, 256)
MOST_STEPS, LEAST_STEPS, STEPS_PER_ROW = 20000, 2000, 60
PARTICLES, REFRESH_PERIOD = 4, 25
TRAVEL = 500.0  # steps times alpha: how many times the mean could go all the way to where a Newton step leads
LARGEST_ALPHA = 0.05
ADAM_ALPHA = 0.003  # of methods without a Fisher matrix
HIGH_SHARE = 0.75  # of the epochs have the whole step sizes; the others a tenth of them
EVALUATIONS = 10  # in all


def schedule_for(n_rows: int, optimizer: str) -> Dict[str, Any]:
    """Returns {config key: value} for a number of training rows, one rule from a hundred rows to a million.

    A twenty-fifth of the rows, but at least 20 and at most 256, make a minibatch. There are 60 steps per row, but at
    most 20,000: the time of a training does not grow with the table beyond some 300 rows, except through the size of
    the minibatch. The step sizes are such that steps x alpha is 500; they fall to a tenth after three quarters of the
    epochs (methods without a Fisher matrix have 0.003). beta is half of alpha for noisy EK-FAC, which updates A and S
    every 25 steps, and a 25th of that for methods that update theirs at every step. The choices and their reasons are
    in docs/results_recipe.md.
    """
    low, high = BATCH_LIMITS
    batch = min(max(round(n_rows / ROWS_PER_BATCH_ROW), low), high, n_rows)
    n_steps = min(max(STEPS_PER_ROW * n_rows, LEAST_STEPS), MOST_STEPS)
    epochs = max(1, round(n_steps / math.ceil(n_rows / batch)))
    family = lookup(METHODS, optimizer, "optimizer").family
    alpha = min(TRAVEL / n_steps, LARGEST_ALPHA) if family.natural else ADAM_ALPHA
    amortised = "basis" in family.updates
    beta = alpha / 2.0 if amortised else alpha / 2.0 / REFRESH_PERIOD
    every = math.ceil(epochs / EVALUATIONS)
    return {"epoch": epochs, "batch_size": batch, "train_particles": PARTICLES, "alpha": alpha, "beta": beta,
            "omega": alpha, "Teigen": REFRESH_PERIOD, "re_init_iters": 2 * REFRESH_PERIOD,
            "lr_decay_interval": max(1, round(HIGH_SHARE * epochs)), "epoch_rate": every, "save_interval": every}


def with_schedule(config: Config, n_rows: int) -> Config:
    """Returns the config with the values of `schedule_for`, if it asks for them, in all keys that it does not give."""
    if not config.auto_schedule:
        return config
    return Config.from_dict(dict(schedule_for(n_rows, config.optimizer), **config.model_dump(exclude_unset=True)))
