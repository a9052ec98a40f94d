"""Contextual bandits made of classification tables, and the methods that benchmarks.bandits compares on them.

A row of the table is a context, an action is a class, and the reward of an action is 1 if it is the row's class, else
0. A method learns the reward of (context, action) by regression, with a network of one hidden layer of 50 ReLU units.
"""
import functools
import pathlib
import shutil
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from benchmarks.active_learning_methods import outputs_of
from misc.config import REGRESSION, Config
from misc.config_file import parse_override
from misc.folders import folder_at
from misc.records import read_json, write_json
from misc.seeding import stream, stream_seed

NEVER = 10**9  # epochs between evaluations, and between checkpoints, of which only the last one is of use here
BATCH, HIDDEN = 32, 50  # of all methods
PULLS = 3  # of every action, in turn, before the first training


class Problem(NamedTuple):
    """A contextual bandit: who chooses an action sees the reward of that action alone."""

    contexts: np.ndarray  # [T, d], standardised, in the order in which they arrive
    labels: np.ndarray    # int [T]: the action with reward 1
    n_actions: int        # C

    def inputs(self, start: int, end: int) -> np.ndarray:
        """Returns what a network sees of all actions at these steps, [end - start, C, C (d + 1)].

        They are C blocks. That of the action holds the context and a 1; the others hold 0.
        """
        padded = np.column_stack([self.contexts[start:end], np.ones(end - start)])
        return np.einsum("ab,td->tabd", np.eye(self.n_actions), padded).reshape(end - start, self.n_actions, -1)

    def rewards(self, actions: Sequence[int]) -> np.ndarray:
        """Returns the rewards [n] of the actions of the first n steps."""
        return np.float64(self.labels[:len(actions)] == np.asarray(actions, int))


def load_problem(data: str, seed: int, repeat: int, n_steps: int) -> Problem:
    """Returns the Problem of the first steps of a repeat; data: a key of SETS."""
    import sklearn.datasets

    bunch = getattr(sklearn.datasets, f"load_{data}")()
    x = SETS[data](np.float64(bunch.data))
    deviation = x.std(axis=0)
    x = (x - x.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    order = stream(seed, "bandit", data, repeat).permutation(len(x))[:n_steps]
    return Problem(x[order], bunch.target[order].astype(int), len(bunch.target_names))


def n_actions(data: str) -> int:
    """Returns the number of actions of a data set's Problem."""
    return load_problem(data, 0, 0, 1).n_actions


def means_of_squares(images):
    """Returns the means of squares of 2 x 2 pixels of images [n, 64], [n, 16]."""
    return images.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16)


SETS: Dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "iris": np.asarray, "wine": np.asarray, "breast_cancer": np.asarray, "digits": means_of_squares}
"""{data set of scikit-learn: function from its inputs [n, d] to contexts}."""


class Seen(NamedTuple):
    """What a method has seen: the actions that were chosen, and their rewards."""

    x: np.ndarray  # [n, C (d + 1)]
    y: np.ndarray  # [n]


class Training(NamedTuple):
    """How all methods train."""

    steps: int           # about so many minibatches per training
    seed: int
    place: pathlib.Path  # a folder for the files of a run, which are removed again
    overrides: Sequence[str] = ()  # KEY=VALUE of the config of our networks


Learn = Callable[[Seen, np.ndarray, Training], np.ndarray]
"""Function (what was seen, inputs [n, C, p] of n steps, Training) -> drawn rewards [n, C]: of a draw for each step."""


def regret(rewards: np.ndarray) -> np.ndarray:
    """Returns the cumulative regret after each step, [T]: the best action has reward 1."""
    return np.cumsum(1.0 - rewards)


def rounds(n_steps: int, n_first: int, period: int) -> List[Tuple[int, int]]:
    """Returns the (first step, the one after the last) of all rounds. A training precedes every round but the first.

    Rewards double from round to round until `period` are added.
    """
    ends = [min(n_first, n_steps)]
    while ends[-1] < n_steps:
        ends.append(min(ends[-1] + min(ends[-1], period), n_steps))
    return list(zip([0, *ends], ends))


def play(problem: Problem, learn: Learn, path: pathlib.Path, period: int, training: Training) -> None:
    """Chooses an action at every step by Thompson sampling. Rounds that the file has are not played again.

    While all rewards are the same, so that there is nothing to learn, actions are random.
    """
    for start, end in rounds(len(problem.labels), PULLS * problem.n_actions, period):
        actions = read_actions(path)
        if len(actions) >= end:
            continue
        if start == 0:
            chosen = np.arange(end) % problem.n_actions
        else:
            actions, seed = actions[:start], stream_seed(training.seed, "round", start)
            x = problem.inputs(0, start)[np.arange(start), actions]
            seen = Seen(x, problem.rewards(actions))
            function = learn if np.ptp(seen.y) > 0 else uniform
            chosen = function(seen, problem.inputs(start, end), training._replace(seed=seed)).argmax(axis=1)
        write_json(path, {"actions": [*actions[:start], *chosen.tolist()]})


def read_actions(path: Any) -> List[int]:
    """Returns the actions that a file holds; none if there is no file, or a damaged one."""
    try:
        return [int(action) for action in read_json(path)["actions"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def uniform(seen: Seen, inputs: np.ndarray, training: Training) -> np.ndarray:
    """Draws rewards that know nothing."""
    return stream(training.seed, "uniform").rand(*inputs.shape[:2])


def network(seen: Seen, inputs: np.ndarray, training: Training, optimizer: str) -> np.ndarray:
    """Trains a network by the project's own code, from scratch; without weight noise all draws are the same."""
    from core.training import run
    from core.training.outputs import frozen_weights
    from data_loader.table_memory import table_of_rows

    config = network_config(optimizer, len(seen.x), inputs, training)
    plan = run.plan(config, "cpu", table_of_rows(np.column_stack([seen.x, seen.y]), "the rewards"))
    # The blocks stay as they are: standardising those of an action that is rarely chosen would blow its contexts up.
    plan = plan._replace(data=plan.data._replace(train=plan.data.train._replace(x=np.float32(seen.x))))
    weights: List[np.ndarray] = []
    shutil.rmtree(str(training.place), ignore_errors=True)  # of a process that was killed
    try:
        run.train(plan, folder_at(training.place), quiet=True, then=lambda plan, model, session: weights.extend(
            frozen_weights(session, model, None, n_draws=len(inputs)).weights))
    finally:
        shutil.rmtree(str(training.place), ignore_errors=True)
    last = len(weights[0]) - 1
    return np.stack([outputs_of([w[min(step, last)][None] for w in weights], x)[0] for step, x in enumerate(inputs)])


def network_config(optimizer: str, n_rows: int, inputs: np.ndarray, training: Training) -> Config:
    """Returns the config of a training on n_rows rewards, that draws weights for inputs [n, C, p]."""
    values = dict(SETTINGS, optimizer=optimizer, batch_size=min(BATCH, n_rows), epoch=epochs(n_rows, training))
    values.update(parse_override(text) for text in training.overrides)
    fixed = dict(seed=training.seed, target=inputs.shape[2] + 1, test_particles=len(inputs))
    return Config.from_dict(dict(values, **fixed), "--set")


def epochs(n_rows: int, training: Training) -> int:
    """Returns the number of epochs that have about the steps of a training."""
    return max(1, round(training.steps / -(-n_rows // min(BATCH, n_rows))))


def dropout(seen: Seen, inputs: np.ndarray, training: Training, rate: float, weight_decay: float) -> np.ndarray:
    """Trains a network with dropout before the last layer; a draw drops the same units for all actions of a step."""
    from benchmarks import peer_methods

    setting = {"rate": rate, "weight_decay": weight_decay, "epochs": epochs(len(seen.x), training)}
    fit = peer_methods.train(peer_methods.fit_dropout, seen.x, standardised(seen.y), [training.seed], setting)
    outputs = fit.predict_jointly(inputs.reshape(-1, inputs.shape[2]))
    return of_draws(outputs, np.arange(len(inputs)) % len(outputs), inputs)


def ensemble(seen: Seen, inputs: np.ndarray, training: Training, weight_decay: float) -> np.ndarray:
    """Trains five networks on rows drawn with replacement; a draw is one of the networks."""
    from benchmarks import peer_methods

    outputs, rng, y = [], stream(training.seed, "ensemble"), standardised(seen.y)
    setting = {"weight_decay": weight_decay, "epochs": epochs(len(seen.x), training), "members": 1}
    for member in range(peer_methods.MEMBERS):
        rows = rng.randint(len(y), size=len(y))
        fit = peer_methods.train(peer_methods.fit_ensemble, seen.x[rows], y[rows], [training.seed, member], setting)
        outputs.append(fit.predict(inputs.reshape(-1, inputs.shape[2]))[0])
    return of_draws(np.stack(outputs), rng.randint(len(outputs), size=len(inputs)), inputs)


def standardised(y: np.ndarray) -> np.ndarray:
    """Returns rewards [n], which are not all the same, with mean 0 and standard deviation 1."""
    return (y - y.mean()) / y.std()


def of_draws(outputs: np.ndarray, numbers: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """Returns the outputs [n, C] of one draw for each step; outputs: [K, n C]; numbers: of the steps' draws, [n]."""
    return outputs.reshape(len(outputs), *inputs.shape[:2])[numbers, np.arange(len(inputs))]


class Method(NamedTuple):
    """A row of METHODS."""

    learn: Learn
    packages: List[str] = []  # that must be installed


SETTINGS = {
    "mode": REGRESSION, "dataset": "rewards", "data_file": "memory", "protocol": "all", "model_name": "ffn",
    "hidden": [HIDDEN], "auto_schedule": True, "auto_refresh": True, "epoch_rate": NEVER, "save_interval": NEVER,
    "noise_update": "conjugate", "learning_rate": 0.02}
"""Of our methods: lengths and rates of the recipe, with Gaussian noise and its published prior."""
METHODS = {
    **{name: Method(functools.partial(network, optimizer=name)) for name in ("ekfac", "kfac", "diag", "bbb")},
    "dropout": Method(functools.partial(dropout, rate=0.2, weight_decay=0.1), ["numba"]),
    "ensemble": Method(functools.partial(ensemble, weight_decay=0.1), ["numba"]),
    "greedy": Method(functools.partial(network, optimizer="adam")),
    "uniform": Method(uniform),
}
