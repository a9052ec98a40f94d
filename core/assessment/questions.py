"""What a run is asked: its test rows, strange rows, damaged rows, a line of inputs. Draws of the answers are collected.

A question is a Part and a name: "test", "ood", "band" or "KIND STRENGTH" of a corruption.
"""
import collections
import functools
import pathlib

import numpy as np
import tqdm

from core.design import n_test_draws
from core.evaluation import TASKS, Draws
from data_loader.corruptions import CORRUPTIONS, STRENGTHS, corrupt
from data_loader.foreign import foreign_pictures, foreign_table
from data_loader.parts import Part
from misc.config import CLASSIFICATION
from misc.errors import UserError

TEST, OOD, BAND = "test", "ood", "band"

Asked = collections.namedtuple("Asked", ["data", "ood", "corrupt", "rows"])
"""What the command line asks beside the test rows: --data, --ood, --corrupt, --rows."""


def questions(config, data, asked):
    """{name: Part}, the test rows first. UserError for what does not fit the run."""
    pictures = config.mode == CLASSIFICATION
    if not pictures and (asked.ood or asked.corrupt):
        raise UserError(f"--{'ood' if asked.ood else 'corrupt'} is for pictures, {config.dataset} is a table")
    found = {TEST: _test_rows(config, data, asked, pictures)}
    if asked.ood:
        found[OOD] = foreign_pictures(asked.ood, config.data_path, data.spec.shape, len(found[TEST].x))
    if asked.corrupt:
        few = Part(found[TEST].x[:asked.rows], found[TEST].y[:asked.rows])
        for name in CORRUPTIONS:
            for strength in STRENGTHS:
                found[f"{name} {strength}"] = few._replace(x=corrupt(few.x, name, strength))
    if data.spec.shape == (1,):
        found[BAND] = Part(band_inputs(data), None)
    return found


def _test_rows(config, data, asked, pictures):
    part = data.test if data.test is not None else data.valid
    if not asked.data:
        return part
    if not pictures:
        path = pathlib.Path(asked.data)
        path = path if path.is_file() else pathlib.Path(config.data_path) / f"{asked.data}.data"
        if not path.is_file():
            raise UserError(f"--data {asked.data}: there is no such file, nor {path}")
        return foreign_table(path, data)
    other = foreign_pictures(asked.data, config.data_path, data.spec.shape, fit=False)
    if other.y.max() >= data.spec.n_outputs:
        raise UserError(f"--data {asked.data} has {other.y.max() + 1} classes, the network {data.spec.n_outputs}")
    return other


def band_inputs(data, n=241, margin=0.5):
    """Inputs [n, 1] over the range of the training rows and half of it beyond on both sides, standardised."""
    low, high = data.train.x.min(), data.train.x.max()
    more = margin * (high - low)
    return np.linspace(low - more, high + more, n)[:, None]


def collect(run, asked, bar=True):
    """{name: (Part, draws)} for a Restored run. Of corruptions the mean over the draws only."""
    parts, task = questions(run.config, run.data, asked), TASKS[run.config.mode]
    n_groups = n_test_draws(run.config, run.design.layers) // run.design.draws_at_once
    total = n_groups * sum(-(-len(part.x) // run.config.test_batch_size) for part in parts.values())
    found = {}
    with tqdm.tqdm(total=total, unit="batch", dynamic_ncols=True, leave=False, disable=None if bar else True,
                   desc=run.config.name) as progress:
        for name, part in parts.items():
            draws = task.draws(run.session, run.model, part.x, run.config, functools.partial(_ticks, progress))
            found[name] = (part, draws if name in (TEST, OOD, BAND) else draws.mean(axis=0, keepdims=True))
    return found


def _ticks(progress, batches):
    for batch in batches:
        yield batch
        progress.update()


def mixture(collected):
    """The answers of several runs to the same questions, all draws together: an ensemble."""
    return {name: (part, _together([answers[name][1] for answers in collected]))
            for name, (part, _) in collected[0].items()}


def _together(draws):
    if not isinstance(draws[0], Draws):
        return np.concatenate(draws, axis=0)
    n_draws = [len(each.precisions) for each in draws]  # a point estimate has one output for many noise draws
    outputs = [np.broadcast_to(each.outputs, (n, each.outputs.shape[1])) for each, n in zip(draws, n_draws)]
    return Draws(np.concatenate(outputs), np.concatenate([each.precisions for each in draws]))
