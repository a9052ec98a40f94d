"""Repeats step by step: what is chosen, what is shared, and what a training sees."""
import numpy as np
import pytest

from core.acquisition.learning import Learned, Network, step_config
from core.acquisition.rows import Rows, Sizes, divide, read_table
from core.acquisition.trajectory import Trajectory, advance, read_steps
from core.metrics.draws import Draws
from core.training import run
from misc.folders import folder_at
from misc.records import read_rows

START = Rows(np.array([3, 7]), np.array([0, 1, 4, 5, 6, 8]), np.array([2]))


class Learner:
    """Predictions whose variance at row r is that of `spread[r]`, and a metric that counts the labelled rows."""

    def __init__(self, spread):
        self.spread, self.calls = np.asarray(spread), []

    def __call__(self, step, rows, predicts_pool):
        self.calls.append((step, rows.labelled.tolist(), predicts_pool))
        outputs = np.outer([-1.0, 1.0], self.spread[rows.pool])
        draws = Draws(outputs, np.ones(2), np.inf) if predicts_pool else None
        return Learned({"rmse": 1.0 / len(rows.labelled)}, draws)


def follow(tmp_path, strategies, learner, n_steps=2, batch=1, seed=1, repeat=1):
    tmp_path.mkdir(exist_ok=True)
    trajectories = [Trajectory(tmp_path / f"{name}.json", name, START) for name in strategies]
    advance(trajectories, learner, n_steps, batch, seed, repeat)
    return {name: read_steps(tmp_path / f"{name}.json") for name in strategies}


def test_the_row_of_the_largest_variance_is_labelled_next(tmp_path):
    learner = Learner([0.1, 0.2, 9.0, 9.0, 0.7, 0.3, 0.8, 9.0, 0.5])
    steps = follow(tmp_path, ["variance"], learner, n_steps=3)["variance"]
    assert [step.added for step in steps] == [[], [6], [4], [8]] and steps[0].scores == pytest.approx([0.64])
    assert [labelled for _, labelled, _ in learner.calls] == [[3, 7], [3, 7, 6], [3, 7, 6, 4], [3, 7, 6, 4, 8]]
    assert [step.metrics["rmse"] for step in steps] == [1 / 2, 1 / 3, 1 / 4, 1 / 5]


def test_several_rows_of_a_step(tmp_path):
    steps = follow(tmp_path, ["variance"], Learner([1, 2, 0, 0, 3, 4, 5, 0, 6]), batch=4)["variance"]
    assert [step.added for step in steps] == [[], [8, 6, 5, 4], [1, 0]] and steps[-1].chosen == []


def test_an_empty_pool_is_not_predicted(tmp_path):
    learner = Learner([1, 2, 0, 0, 3, 4, 5, 0, 6])
    steps = follow(tmp_path, ["variance", "random"], learner, batch=3)
    assert [predicts for _, _, predicts in learner.calls] == [True, True, False, False, False]
    assert all(len(steps[name]) == 3 and steps[name][2].chosen == steps[name][2].scores == [] for name in steps)


def test_strategies_begin_alike_and_share_the_first_training(tmp_path):
    learner = Learner([1, 2, 0, 0, 3, 4, 5, 0, 6])
    steps = follow(tmp_path, ["random", "variance"], learner)
    assert [(step, predicts) for step, _, predicts in learner.calls] == [
        (0, True), (1, False), (1, True), (2, False), (2, True)]
    assert steps["random"][0].metrics == steps["variance"][0].metrics
    again = follow(tmp_path / "x", ["random"], Learner(np.ones(9)))["random"]
    assert [step.added for step in again] == [step.added for step in steps["random"]]  # whatever the model says
    others = [follow(tmp_path / str(seed), ["random"], learner, seed=seed)["random"][-1].added for seed in range(9)]
    assert len(set(map(tuple, others))) > 1


def test_random_choice_is_another_one_at_every_step(tmp_path):
    rows = Rows(np.array([100]), np.arange(100), np.array([101]))
    trajectory = Trajectory(tmp_path / "random.json", "random", rows)
    advance([trajectory], Learner(np.ones(102)), 5, 1, 1, 1)
    places, pool = [], rows.pool
    for step in trajectory.steps:
        places.append(int(np.searchsorted(pool, step.chosen[0])))
        pool = np.setdiff1d(pool, step.chosen)
    assert len(set(places)) > 3


def test_steps_that_are_there_are_not_done_again(tmp_path):
    spread = [1, 2, 0, 0, 3, 4, 5, 0, 6]
    whole = follow(tmp_path / "whole", ["variance", "random"], Learner(spread), n_steps=4)
    follow(tmp_path, ["variance"], Learner(spread), n_steps=1)
    learner = Learner(spread)
    assert follow(tmp_path, ["variance", "random"], learner, n_steps=4) == whole
    assert [step for step, _, predicts in learner.calls if predicts] == [2, 3, 4]
    (tmp_path / "random.json").write_text("{")
    assert follow(tmp_path, ["variance", "random"], learner, n_steps=4) == whole


def test_a_step_trains_as_train_does_and_chooses_by_its_predictions(config, tmp_path):
    """The reference trains in a folder of its own and reads the pool's predictions from predictions.csv."""
    made = config(optimizer="diag", patience=None)
    sizes, table = Sizes(8, 10, 1, 1), read_table(made)
    rows, _ = divide(made, table, 1, sizes)
    trajectory = Trajectory(tmp_path / "variance.json", "variance", rows)
    advance([trajectory], Network(made, table, 1, tmp_path / "training"), 1, 1, made.seed, 1)
    assert not (tmp_path / "training").exists()
    for number, (step, labelled) in enumerate(zip(trajectory.steps, (rows, trajectory.rows))):
        seeded = made.model_copy(update={"seed": step_config(made, 1, number).seed})
        plan = run.plan(seeded, given=table, splitter=lambda request, now=labelled: now.split(1))
        folder = folder_at(tmp_path / f"reference{number}")
        run.train(plan, folder, quiet=True)
        tested, pool = np.split(np.array([[float(row[name]) for name in ("row", "mean", "target", "epistemic_std")]
                                          for row in read_rows(folder.predictions)]), [10])
        assert (pool[:, 0] == labelled.pool + 1).all() and (tested[:, 0] == labelled.test + 1).all()
        assert step.metrics["rmse"] == pytest.approx(np.sqrt(np.mean((tested[:, 1] - tested[:, 2])**2)), rel=1e-9)
        best = pool[np.argmax(pool[:, 3])]
        assert step.chosen == [best[0] - 1]
        assert step.scores == pytest.approx([(best[3] / plan.data.target_std)**2])


def test_seeds_of_trainings(config):
    seeds = {step_config(config(seed=seed), repeat, step).seed
             for seed in (1, 2) for repeat in (1, 2) for step in (0, 1)}
    assert len(seeds) == 8 and step_config(config(), 1, 0) == step_config(config(), 1, 0)
    with_patience = step_config(config(patience=2, validation_fraction=0.2, evaluate_on="test"), 1, 0)
    assert with_patience.evaluate_every == 2  # which patience counts
