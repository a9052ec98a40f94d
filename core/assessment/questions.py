"""What a run is asked: its test rows, strange rows, damaged rows, a line of inputs. Draws of the answers are collected.

A question is a Part and a name: "test", "ood", "band" or "KIND STRENGTH" of a corruption.
"""
import collections
import functools

import numpy as np
import tqdm

from core.metrics.predictive import noise_name
from core.training.design import n_test_draws
from core.training.evaluation import TASKS, Draws
from data_loader.corruptions import CORRUPTIONS, STRENGTHS, corrupt
from data_loader.ood import labelled_images, ood_images, other_table
from data_loader.parts import Part
from misc.config import CLASSIFICATION
from misc.errors import UserError

TEST, OOD, BAND = "test", "ood", "band"

Asked = collections.namedtuple("Asked", ["data", "ood", "corrupt", "rows", "best"], defaults=(False,))
"""What the command line asks beside the test rows and the newest checkpoint: the flags of these names."""


def questions(config, data, asked):
    """{name: (number of rows, function () -> Part)}, the test rows first. UserError for what does not fit the run.

    Damaged pictures are made when their turn comes, so that memory holds one such set.
    """
    pictures = config.mode == CLASSIFICATION
    if not pictures and (asked.ood or asked.corrupt):
        raise UserError(f"--{'ood' if asked.ood else 'corrupt'} is for pictures, {config.dataset} is a table")
    found = {TEST: _test_rows(config, data, asked, pictures)}
    if asked.ood:
        if asked.ood == config.dataset:
            raise UserError(f"--ood {asked.ood} is the run's own data set: there is nothing strange to be told apart")
        found[OOD] = Part(ood_images(asked.ood, config.data_path, data.spec.shape, len(found[TEST].x)), None)
    if data.spec.shape == (1,):
        found[BAND] = Part(band_inputs(data), None)
    asks = {name: (len(part.x), functools.partial(Part, *part)) for name, part in found.items()}
    if asked.corrupt:
        few = Part(found[TEST].x[:asked.rows], found[TEST].y[:asked.rows])
        asks.update({f"{name} {strength}": (len(few.x), functools.partial(_damaged, few, name, strength))
                     for name in CORRUPTIONS for strength in STRENGTHS})
    return asks


def _damaged(part, name, strength):
    return part._replace(x=corrupt(part.x, name, strength))


def _test_rows(config, data, asked, pictures):
    part = data.test if data.test is not None else data.valid
    if not asked.data:
        return part
    if not pictures:
        return other_table(asked.data, config.data_path, data)
    return labelled_images(asked.data, config, data)


def band_inputs(data, n=241, margin=0.5):
    """Inputs [n, 1] over the range of the training rows and half of it beyond on both sides, standardised."""
    low, high = data.train.x.min(), data.train.x.max()
    more = margin * (high - low)
    return np.linspace(low - more, high + more, n)[:, None]


def collect(run, asked, bar=True):
    """{name: (targets or labels; of a band the inputs, draws)} for a Restored run.

    Of corruptions the mean over the draws only.
    """
    asks, task = questions(run.config, run.data, asked), TASKS[run.config.mode]
    n_groups = n_test_draws(run.config, run.design.layers) // run.design.draws_at_once
    total = n_groups * sum(-(-n_rows // run.config.test_batch_size) for n_rows, _ in asks.values())
    found = {}
    with tqdm.tqdm(total=total, unit="batch", dynamic_ncols=True, leave=False, disable=None if bar else True,
                   desc=run.config.name) as progress:
        for name, (_, make) in asks.items():
            part = make()
            draws = task.draws(run.session, run.model, part.x, run.config, functools.partial(_ticks, progress))
            kept = draws if name in (TEST, OOD, BAND) else draws.mean(axis=0, keepdims=True)
            if isinstance(kept, Draws):  # a point estimate has one output for many noise draws
                kept = kept._replace(outputs=np.broadcast_to(kept.outputs, (len(kept.precisions), len(part.x))))
            found[name] = (part.y if name != BAND else part.x, kept)
    return found


def _ticks(progress, batches):
    for batch in batches:
        yield batch
        progress.update()


def mixture(collected):
    """The answers of several runs to the same questions, all draws together: an ensemble, each run with one weight.

    UserError where the runs have different numbers of draws (a single one, without weight noise, is repeated).
    """
    return {name: (rows, _together([answers[name][1] for answers in collected]))
            for name, (rows, _) in collected[0].items()}


def _together(draws):
    if isinstance(draws[0], Draws):
        if len({each.dof for each in draws}) > 1:
            shapes = [noise_name(dof) for dof in sorted({each.dof for each in draws})]
            raise UserError(f"--ensemble: the runs have noise of different shapes, {' and '.join(shapes)}, which are "
                            "not mixed: leave --ensemble out, or the runs of another shape")
        return Draws(_together([each.outputs for each in draws]), _together([each.precisions for each in draws]),
                     draws[0].dof)
    n_draws = {len(each) for each in draws} - {1}
    if len(n_draws) > 1:
        raise UserError(f"--ensemble: the runs have {' and '.join(map(str, sorted(n_draws)))} draws, which would weigh "
                        "them unequally: give all as many with --particles")
    length = max(n_draws, default=1)
    return np.concatenate([np.broadcast_to(each, (length, *each.shape[1:])) for each in draws])
