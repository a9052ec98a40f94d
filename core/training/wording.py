"""Sentences of `--explain` that depend on the mode: the functions that a Task refers to."""
from typing import Any

import numpy as np

from core.inference.likelihood_base import Likelihood, RegressionLikelihood
from core.inference.optimizer import METHODS
from misc.config import Config


def about_table(data: Any) -> str:
    """Describes how the rows of a table are standardised."""
    stds = ", ".join(f"{std:.4g}" for std in np.atleast_1d(data.target_std))
    targets = "target std" if data.spec.n_outputs == 1 else f"std of {data.spec.n_outputs} targets"
    return f"standardised with the training rows ({targets} {stds})"


def about_class_table(data: Any) -> str:
    """Describes the classes of a table's rows and how their inputs are standardised."""
    return f"{data.spec.n_outputs} classes; inputs standardised with the training rows"


def about_images(data: Any) -> str:
    """Describes how images are standardised."""
    return f"{data.spec.n_outputs} classes; channels standardised with the training images"


def about_noise(config: Config, likelihood: RegressionLikelihood) -> str:
    """Describes the noise of a regression and its prior."""
    sentence = f"; {likelihood.about(config)}"
    if config.predictive_noise == "leave_one_out":
        sentence += "; predictions: scale and degrees of freedom fitted to leave-one-out predictions"
    return sentence


def about_no_noise(config: Config, likelihood: Likelihood) -> str:
    """Describes nothing: a classification has no noise precision."""
    return ""


def about_averaged_step(config: Config) -> str:
    """Describes the step sizes of a regression."""
    decaying = ["alpha", *(name for name in ("beta", "omega") if name in METHODS[config.optimizer].family.reads)]
    return (f"step size {config.alpha:g} (alpha); {' and '.join(', '.join(decaying).rsplit(', ', 1))} x "
            f"{config.lr_decay_ratio:g} every {config.decay_interval} epochs")


def about_clipped_step(config: Config) -> str:
    """Describes the step sizes of a classification."""
    sentence = f"step size {config.learning_rate:g}, x 0.1 every {config.decay_every_itr} steps"
    if METHODS[config.optimizer].family.natural:
        sentence += f"; KL divergence of a single step at most {config.kl_clip:g} (kl_clip)"
        if config.clip_warmup:
            sentence += f", which grows from 0 over {config.clip_warmup} steps"
        sentence += f", x {config.clip_decay:g} after every epoch"
    return sentence
