"""benchmarks.bandits: what a method sees, how it draws, regret, and the command."""
import importlib.util

import numpy as np
import pytest

from benchmarks import bandits
from benchmarks.bandit_methods import METHODS, Problem, Seen, Training, load_problem, play, read_actions, regret, rounds
from benchmarks.checks import available
from misc.errors import UserError
from misc.records import read_rows

LEARNING = [pytest.param(name, marks=pytest.mark.skipif(
    any(importlib.util.find_spec(package) is None for package in method.packages),
    reason="benchmarks/requirements.txt is not installed")) for name, method in METHODS.items() if name != "uniform"]


def command(out, *arguments):
    try:
        bandits.main(["--out", str(out), "--jobs", "1", *arguments])
    except SystemExit as stop:
        return stop.code
    return 0


def sign_problem(n_steps, seed=0):
    """The action with reward 1 is the sign of the only number of the context."""
    contexts = np.random.RandomState(seed).choice([-1.0, 1.0], (n_steps, 1))
    return Problem(contexts, (contexts[:, 0] > 0).astype(int), 2)


@pytest.fixture
def training(tmp_path):
    return Training(30, 1, tmp_path / "training")


def test_the_command(tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--quick", "--methods", "greedy", "uniform", "--repeats", "2"]
    assert command(out, *arguments) == 0
    assert capsys.readouterr().out.strip() == (out / "table.md").read_text(encoding="utf-8").strip()
    assert (out / "curves.png").read_bytes()[:4] == b"\x89PNG"
    rows = read_rows(out / "steps.csv")
    assert [row["step"] for row in rows[:2]] == ["10", "18"] and len(rows) == 2 * 2 * 2
    assert all(0 < int(row["regret"]) <= int(row["step"]) for row in rows)
    written = {path: path.stat().st_mtime_ns for path in out.glob("*/*/*/actions.json")}
    assert len(written) == 4 and all(read_actions(path)[:9] == [0, 1, 2] * 3 for path in written)
    assert command(out, *arguments) == 0  # every repeat is there
    assert {path: path.stat().st_mtime_ns for path in written} == written and not list(out.rglob("training"))
    capsys.readouterr()
    assert command(out, *arguments, "--period", "7", "--seed", "2") == 2
    error = capsys.readouterr().err
    assert "period (then 50, now 7), seed (then 1, now 2); give another --out" in error and error.count("\n") == 1


def test_problems_of_tables():
    first, again, other = (load_problem("wine", seed, repeat, 10**6) for seed, repeat in ((1, 1), (1, 1), (1, 2)))
    assert first.contexts.shape == (178, 13) and first.n_actions == 3
    np.testing.assert_array_equal(first.contexts, again.contexts)
    assert np.any(first.contexts != other.contexts)
    np.testing.assert_allclose(np.sort(first.contexts, axis=0), np.sort(other.contexts, axis=0))
    short = load_problem("wine", 1, 1, 20)
    np.testing.assert_array_equal(short.contexts, first.contexts[:20])
    assert load_problem("digits", 1, 1, 10**6).contexts.shape == (1797, 16)


def test_inputs_are_the_context_in_the_block_of_the_action():
    problem = Problem(np.array([[9.0, 9.0], [2.0, 3.0]]), np.array([0, 1]), 3)
    np.testing.assert_array_equal(problem.inputs(1, 2), [[[2, 3, 1, 0, 0, 0, 0, 0, 0], [0, 0, 0, 2, 3, 1, 0, 0, 0],
                                                          [0, 0, 0, 0, 0, 0, 2, 3, 1]]])


def test_regret_of_a_known_sequence():
    problem = Problem(np.zeros((5, 1)), np.array([0, 1, 2, 0, 1]), 3)
    np.testing.assert_array_equal(problem.rewards([0, 2, 2, 1, 0]), [1, 0, 1, 0, 0])
    np.testing.assert_array_equal(regret(problem.rewards([0, 2, 2, 1, 0])), [0, 1, 1, 2, 3])
    done = {"iris": {"greedy": {1: np.array([1.0, 1, 2]), 2: np.array([0.0, 1, 1])},
                     "ekfac": {1: np.array([0.0, 0, 0]), 2: np.array([1.0, 1, 1]), 3: np.array([1.0, 2, 2])}}}
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in bandits.table(done).splitlines()[2:]]
    # Uniform choice among three actions has an expected regret of 3 * 2/3 = 2.
    assert cells[0] == ["iris", "greedy", "2", "1.5 ± 0.5", "75.0 ± 25.0", ""]
    assert cells[1][:5] == ["iris", "ekfac", "3", "1.0 ± 0.6", "50.0 ± 28.9"]
    assert cells[1][5].startswith("-1.0 ± 1.0 (p = ")
    alone = bandits.table({"iris": {method: {1: of_repeat[1]} for method, of_repeat in done["iris"].items()}})
    assert [cell.strip() for cell in alone.splitlines()[3].split("|")][6] == "-2.0"  # no test of a single repeat


def test_trainings_precede_rounds_that_double():
    assert rounds(100, 6, 30) == [(0, 6), (6, 12), (12, 24), (24, 48), (48, 78), (78, 100)]
    assert rounds(6, 6, 30) == [(0, 6)] and rounds(4, 6, 30) == [(0, 4)]


def test_only_rewards_of_chosen_actions_are_seen(tmp_path, training):
    problem, seen = load_problem("wine", 1, 1, 60), []

    def learn(what, inputs, training):
        seen.append(what)
        return METHODS["uniform"].learn(what, inputs, training) + inputs @ what.x.T @ what.y  # depends on all it sees

    play(problem, learn, tmp_path / "actions.json", 20, training)
    actions = read_actions(tmp_path / "actions.json")
    assert [len(what.y) for what in seen] == [9, 18, 36, 56]
    for what in seen:
        n = len(what.y)
        np.testing.assert_array_equal(what.x, problem.inputs(0, n)[np.arange(n), actions[:n]])
        np.testing.assert_array_equal(what.y, [float(a == label) for a, label in zip(actions[:n], problem.labels)])
    # Where an action was wrong, it makes no difference which other one was right.
    wrong = problem.labels != actions
    unseen = problem._replace(labels=np.where(wrong, 3 - problem.labels - actions, problem.labels))
    assert wrong.sum() > 5 and np.all(unseen.labels[wrong] != problem.labels[wrong])
    play(unseen, learn, tmp_path / "unseen.json", 20, training)
    assert read_actions(tmp_path / "unseen.json") == actions


def test_nothing_is_learned_from_equal_rewards(tmp_path, training):
    problem = Problem(np.random.RandomState(0).randn(20, 2), np.full(20, 7), 2)  # no action is ever right

    def learn(*arguments):
        raise AssertionError("a method was trained")

    play(problem, learn, tmp_path / "actions.json", 4, training)
    assert set(read_actions(tmp_path / "actions.json")[6:]) == {0, 1}


def test_a_killed_repeat_continues_with_the_same_actions(tmp_path, training):
    problem, trainings = load_problem("iris", 1, 1, 24), []

    def learn(*arguments):
        trainings.append(len(arguments[0].y))
        if len(trainings) == 2:
            (training.place / "checkpoint").mkdir(parents=True)  # left by a process that was killed
            raise KeyboardInterrupt
        return METHODS["diag"].learn(*arguments)

    paths = [tmp_path / f"{name}.json" for name in ("killed", "whole", "other")]
    with pytest.raises(KeyboardInterrupt):
        play(problem, learn, paths[0], 10, training)
    saved = read_actions(paths[0])
    assert len(saved) == 18
    play(problem, learn, paths[0], 10, training)
    assert not list(tmp_path.glob("training*"))
    assert trainings == [9, 18, 18] and read_actions(paths[0])[:18] == saved
    play(problem, METHODS["diag"].learn, paths[1], 10, training)
    assert read_actions(paths[0]) == read_actions(paths[1]) and len(read_actions(paths[1])) == 24
    paths[1].write_text(paths[1].read_text()[:20])  # a damaged file is begun anew
    play(problem, METHODS["uniform"].learn, paths[1], 10, training)
    play(problem, METHODS["uniform"].learn, paths[2], 10, training._replace(seed=2))
    assert len(read_actions(paths[1])) == 24 and read_actions(paths[1]) != read_actions(paths[2])


@pytest.mark.parametrize("name", LEARNING)
def test_methods_learn_and_draw_once_per_step(name, training):
    """Wherever an action is right, its drawn reward is nearly always higher: uniform choice would be right by half."""
    problem, actions = sign_problem(60), np.arange(60) % 2
    seen = Seen(problem.inputs(0, 60)[np.arange(60), actions], problem.rewards(actions))
    new = sign_problem(40, seed=1)
    inputs = np.concatenate([new.inputs(0, 40)] * 2, axis=1)  # every action twice
    drawn = METHODS[name].learn(seen, inputs, training._replace(steps=200))
    assert drawn.shape == (40, 4)
    assert np.mean(drawn[:, :2].argmax(axis=1) == new.labels) > 0.8
    np.testing.assert_allclose(drawn[:, :2], drawn[:, 2:], rtol=1e-5, atol=1e-5)  # actions share a step's draw
    same = drawn[new.labels == 1, 1]  # of equal contexts, at different steps
    n_different = len(np.unique(np.round(same, 4)))
    assert n_different == {"greedy": 1, "ensemble": 5}.get(name, n_different) and (n_different > 4 or name == "greedy")


def test_overrides_change_a_training(training):
    problem, actions = sign_problem(20), np.arange(20) % 2
    seen = Seen(problem.inputs(0, 20)[np.arange(20), actions], problem.rewards(actions))
    found = [METHODS["greedy"].learn(seen, problem.inputs(0, 20), training._replace(steps=5, overrides=overrides))
             for overrides in ([], [], ["hidden=[7]"])]
    np.testing.assert_array_equal(found[0], found[1])
    assert np.abs(found[0] - found[2]).max() > 1e-3


@pytest.mark.parametrize("arguments, message", [
    (["--repeats", "0"], "--repeats 0: give at least 1"),
    (["--training-steps", "0"], "--training-steps 0: give at least 1"),
    (["--steps", "9"], "--steps 9: the first 9 steps on iris try every action in turn; give more"),
    (["--set", "epsilon=1"], "--set: unknown key 'epsilon'"), (["--set", "kl=0"], "--set: kl"),
    (["--set", "kl"], "KEY=VALUE")])
def test_bad_input(tmp_path, capsys, arguments, message):
    out = tmp_path / "out"
    assert command(out, "--methods", "uniform", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.strip().count("\n") == 0 and not out.exists()


def test_folders_of_something_else_are_refused(tmp_path, capsys):
    (tmp_path / "letter.txt").write_text("keep me")
    assert command(tmp_path, "--methods", "uniform") == 2
    assert "what it holds is not of benchmarks.bandits" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_methods_whose_packages_are_missing(capsys):
    packages = {"ours": [], "theirs": ["no_such_package"]}
    assert available(packages, quick=True) == ["ours"] and "left out" in capsys.readouterr().err
    for asked, quick in ((packages, False), ({"theirs": ["no_such_package"]}, True)):
        with pytest.raises(UserError, match=r"pip install -r benchmarks/requirements\.txt"):
            available(asked, quick)
