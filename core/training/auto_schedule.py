"""Length, batches, step sizes and refreshes of a regression by its number of training rows: key `auto_schedule`."""
import math
from typing import Any, Dict, Mapping

from core.inference.optimizer import CURVATURE_KEYS, METHODS
from misc.config import Config
from misc.lookup import lookup

ROWS_PER_BATCH_ROW = 25  # a minibatch has this fraction of the rows, within the limits
BATCH_LIMITS = (20, 256)
MOST_STEPS, LEAST_STEPS, STEPS_PER_ROW = 40000, 2000, 60
FULL_LENGTH_BATCH = 40  # with larger minibatches than this, the most steps fall as their square root grows
PARTICLES, REFRESH_PERIOD = 4, 25
MANY_ROWS, FEW_PARTICLES = 10000, 2  # from so many rows, so many weight draws
TRAVEL = 800.0  # steps times alpha: how many times the mean could go all the way to where a Newton step leads
LARGEST_ALPHA = 0.025
ADAM_ALPHA = 0.003  # of methods without a Fisher matrix
HIGH_SHARE = 0.75  # of the epochs have the whole step sizes; the others a tenth of them
EVALUATIONS = 10  # in all


def schedule_for(n_rows: int, optimizer: str, given: Mapping[str, Any]) -> Dict[str, Any]:
    """Returns {config key: value} for a number of training rows, one rule from ten rows to a million.

    A twenty-fifth of the rows, but at least 20 and at most 256, make a minibatch. There are 60 steps per row, but at
    least 2,000 and at most 40,000, or 40,000 sqrt(40 / b) with minibatches of b > 40 rows: beyond some 700 rows, the
    time of a training hardly grows with the table. A step has four weight draws, and two from 10,000 rows. The step
    size of the mean is 800 / steps, at most 0.025, and falls to a tenth after three quarters of the epochs (0.003 for
    methods without a Fisher matrix). omega is the same; beta is half of it for noisy EK-FAC, which updates A and S
    every 25 steps, and a 25th of that for methods that update theirs at every step. The choices and their reasons are
    in docs/results_recipe.md.

    Args:
      given: values of keys that the config gives. Those of other keys follow from them: of epoch and lr_decay_interval
        from batch_size, of alpha from both, and so on.
    """
    low, high = BATCH_LIMITS
    family = lookup(METHODS, optimizer, "optimizer").family
    batch = given.get("batch_size", min(max(round(n_rows / ROWS_PER_BATCH_ROW), low), high, n_rows))
    per_epoch = math.ceil(n_rows / min(batch, n_rows))
    most = MOST_STEPS * math.sqrt(min(1.0, FULL_LENGTH_BATCH / batch))
    epochs = given.get("epoch", max(1, round(min(max(STEPS_PER_ROW * n_rows, LEAST_STEPS), most) / per_epoch)))
    alpha = given.get("alpha", min(TRAVEL / (epochs * per_epoch), LARGEST_ALPHA) if family.natural else ADAM_ALPHA)
    period = given.get("Teigen", REFRESH_PERIOD)
    particles = PARTICLES if n_rows < MANY_ROWS else FEW_PARTICLES
    every = math.ceil(epochs / EVALUATIONS)
    values = {"epoch": epochs, "batch_size": batch, "train_particles": particles, "alpha": alpha,
              "beta": min(1.0, alpha / 2.0 * period / REFRESH_PERIOD), "omega": min(1.0, alpha), "Teigen": period,
              "re_init_iters": 2 * period, "lr_decay_interval": max(1, min(round(HIGH_SHARE * epochs), epochs - 1)),
              "epoch_rate": every, "save_interval": every}
    if "basis" not in family.updates:
        values.update(beta=min(1.0, alpha / 2.0 / REFRESH_PERIOD))
    unread = CURVATURE_KEYS - set(family.reads)
    return {name: given.get(name, value) for name, value in values.items() if name not in unread}


def with_schedule(config: Config, n_rows: int) -> Config:
    """Returns the config with the values of `schedule_for`, if it asks for them, in all keys that it does not give."""
    if not config.auto_schedule:
        return config
    given = {name: value for name, value in config.model_dump(exclude_unset=True).items() if value is not None}
    return Config.from_dict(dict(given, **schedule_for(n_rows, config.optimizer, given)))
