"""Numbers that are not finite are never written; failed factorisations are retried robustly and recorded."""
import csv
import json

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose

import core.training.run
import train
from core.inference import solvers
from core.training.recovery import SKIPPED, UNDECOMPOSABLE, RobustStep, failed_quantity
from core.training.tasks import TASKS
from core.training.variables import fetch, put
from misc.folders import run_folder
from tests.test_model import Run, flat


@pytest.fixture
def solve():
    """Function (kind, matrix, damping or last basis, last): the robust solver's result and its recorded incidents."""

    def run(kind, matrix, *rest):
        incidents = []
        solver = solvers.robust_solver("dense0", lambda *incident: incidents.append(incident))
        with tf.Graph().as_default(), tf.Session() as session:
            tensors = [tf.constant(value) for value in (matrix, *rest)]
            how = solver.bases["eigh"] if kind == "basis" else getattr(solver, kind)
            return session.run(how("A", *tensors)), incidents

    return run


def gram(rng, n=6):
    x = rng.randn(3 * n, n)
    return (x.T @ x / len(x)).astype(np.float32)


def test_good_factors_need_no_remedy(solve, rng):
    matrix = gram(rng)
    root, incidents = solve("root", matrix, np.float32(0.1), np.eye(6, dtype=np.float32))
    assert_allclose(root.T @ root, np.linalg.inv(matrix + 0.1 * np.eye(6)), rtol=1e-3, atol=1e-4)
    inverse, more = solve("inverse", matrix, np.float32(0.1), np.eye(6, dtype=np.float32))
    assert_allclose(inverse, root.T @ root, rtol=1e-4)
    (values, basis), none = solve("basis", matrix, np.eye(6, dtype=np.float32))
    assert_allclose((basis * values) @ basis.T, matrix, atol=1e-5)
    assert incidents + more + none == []


def test_jitter_then_the_last_good_factor(solve):
    last = np.full((3, 3), 7.0, np.float32)
    slightly = np.diag([1.0, 1.0, -3e-7]).astype(np.float32)
    root, incidents = solve("root", slightly, np.float32(0.0), last)
    assert [(layer, factor, remedy) for layer, factor, _, remedy in incidents] == [("dense0", "A", "jitter")]
    assert np.isfinite(root).all() and incidents[0][2] == pytest.approx(1 / 3e-7, rel=1e-3)
    for kind in ("root", "inverse"):
        kept, incidents = solve(kind, np.diag([1.0, 1.0, -0.5]).astype(np.float32), np.float32(0.0), last)
        assert (kept == last).all() and incidents[0][3] == solvers.LAST_GOOD


def test_float64_where_float32_is_too_coarse(monkeypatch):
    """The decomposition fails in float32 only."""
    cholesky, incidents = solvers.scipy.linalg.cholesky, []

    def coarse(matrix, **keys):
        if matrix.dtype == np.float32:
            raise solvers.scipy.linalg.LinAlgError
        return cholesky(matrix, **keys)

    monkeypatch.setattr(solvers.scipy.linalg, "cholesky", coarse)
    record = lambda *incident: incidents.append(incident)  # noqa: E731
    root = solvers._robust_root(record, 2.0 * np.eye(3, dtype=np.float32), 0.0, None)
    assert_allclose(root, np.eye(3) / np.sqrt(2.0), rtol=1e-5)
    assert root.dtype == np.float32 and incidents == [(1.0, "float64")]


def test_a_factor_that_is_not_finite_stops_the_step(solve):
    for kind in ("root", "basis"):
        with pytest.raises(tf.errors.InvalidArgumentError) as error:
            solve(kind, np.full((2, 2), np.nan, np.float32), *[np.float32(0.0)] * (kind == "root"), np.eye(
                2, dtype=np.float32))
        assert solvers.non_finite_quantity(error.value) == "factor A of layer dense0"


@pytest.mark.parametrize("optimizer", ["ekfac", "kfac", "diag", "bbb", "adam", "sgd"])
def test_nothing_of_a_step_that_is_not_finite_is_written(config, optimizer):
    """With one target that is NaN or infinite, every step leaves the state unchanged."""
    run = Run(config(optimizer=optimizer, batch_size=39))
    for value in (np.nan, np.inf):
        targets = run.data.train.y.copy()
        targets[3] = value
        run.restart(targets)
        before = flat(fetch(run.session, run.model.variables))
        with pytest.raises(tf.errors.OpError):
            run.steps(1)
        after = flat(fetch(run.session, run.model.variables))
        assert all(np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("optimizer, damping", [("kfac", 0.0), ("kfac", 0.1), ("ekfac", 0.0)])
def test_the_robust_step_equals_the_base_step_where_nothing_fails(config, optimizer, damping):
    made = config(optimizer=optimizer, damping=damping, precision="float64")
    run = Run(made)
    run.steps(5)
    before = fetch(run.session, run.model.variables)
    robust = RobustStep(run.model.design, "/device:CPU:0", run.data.train)
    after, incidents = robust.take(before, 6)
    assert incidents == []
    expected = flat(run.steps(1))
    for name, value in flat(after).items():
        if "q_" not in name:  # the sign of an eigenvector is arbitrary
            assert_allclose(np.abs(value), np.abs(expected[name]), rtol=1e-6, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("optimizer", ["ekfac", "kfac", "diag"])
def test_a_step_is_skipped_and_counted_and_the_run_goes_on(config, config_file, optimizer, monkeypatch, shared_graphs):
    """One row of the training data is infinite: the step that has it is skipped, and training goes on."""
    task = TASKS["regression"]

    def poisoned(made):
        data = task.load(made)
        data.train.y[0] = np.inf
        return data

    monkeypatch.setitem(TASKS, "regression", task._replace(load=poisoned))
    keys = dict(optimizer=optimizer, epoch=4)
    folder = run_folder(config(**keys))
    train.main(["--config", str(config_file(**keys))])
    with open(str(folder.incidents), newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["remedy"] for row in rows] == [SKIPPED] * 4  # once an epoch
    assert all(row["layer"] and row["factor"] for row in rows)
    result = json.loads(folder.result.read_text())
    assert result["incidents"] == {"skipped": 4, "recovered": 0} and np.isfinite(list(result["metrics"].values())).all()
    # the number of steps per session.run changes nothing
    before = tf.train.load_checkpoint(str(folder.checkpoint)).get_tensor("dense0/mean")
    train.main(["--config", str(config_file(**keys, steps_per_run=1))])
    assert (tf.train.load_checkpoint(str(folder.checkpoint)).get_tensor("dense0/mean") == before).all()


@pytest.mark.parametrize("message", ["Cholesky decomposition was not successful. The input might not be valid.",
                                     "Input matrix is not invertible.", "Got info = 3 for batch index 0"])
def test_what_a_failed_factorisation_says(message):
    assert failed_quantity(tf.errors.InvalidArgumentError(None, None, message)) == UNDECOMPOSABLE
    assert failed_quantity(tf.errors.InvalidArgumentError(None, None, "indices[0] = 9 is not in [0, 3)")) is None


def test_too_many_skipped_steps_end_the_run(config_file, capsys):
    keys = dict(alpha=1e30, epoch=30, max_skipped_steps=3)
    with pytest.raises(SystemExit) as stop:
        train.main(["--config", str(config_file(**keys))])
    error = capsys.readouterr().err.splitlines()[-1]
    assert stop.value.code == 1 and "training diverged" in error and "3 steps in a row were skipped" in error
    assert " is not finite at step " in error and "smaller alpha" in error


@pytest.mark.parametrize("smallest, remedy", [(-1.0, "float64"), (-100.0, solvers.LAST_GOOD)])
@pytest.mark.parametrize("damping", [0.0, 1e-3])
def test_training_recovers_from_a_factor_that_cannot_be_inverted(config, smallest, remedy, damping):
    """From a state whose factor is not positive definite, the base step fails and the robust step succeeds."""
    made = config(optimizer="kfac", beta=0.01, eta=1e4, kl=1e-3, damping=damping)
    run = Run(made)
    run.steps(3)
    state = fetch(run.session, run.model.variables)
    state["dense0"]["a_cov"] = np.diag([1e4, 1e4, smallest, 1.0]).astype(np.float32)
    put(run.session, run.model.variables, state)
    try:
        base_step_failed = not all(np.isfinite(value).all() for value in flat(run.steps(1)).values())
    except tf.errors.OpError:
        base_step_failed = True
    assert base_step_failed
    after, incidents = RobustStep(run.model.design, "/device:CPU:0", run.data.train).take(state, 4)
    assert {(layer, factor, how) for layer, factor, _, how in incidents} == {("dense0", "A", remedy)}
    assert all(np.isfinite(value).all() for value in flat(after).values())
    assert (remedy == solvers.LAST_GOOD) == np.array_equal(after["dense0"]["root_a"], state["dense0"]["root_a"])
    assert not np.array_equal(after["dense0"]["mean"], state["dense0"]["mean"])


@pytest.mark.parametrize("optimizer", ["kfac", "kfac_point", "ekfac"])
@pytest.mark.parametrize("damping", [0.0, 1e-2])
def test_nearly_no_damping_on_doubled_columns(config, tmp_path, optimizer, damping):
    """With factors that have no inverse in float32, the run succeeds, with retries or without, and stores no NaN."""
    rng = np.random.RandomState(0)
    x = rng.randn(60, 3)
    np.savetxt(str(tmp_path / "doubled.data"), np.column_stack([x, x, x, x[:, 0] + 0.1 * rng.randn(60)]))
    made = config(dataset="doubled", data_path=str(tmp_path), optimizer=optimizer, kl=1e-8, eta=1e8, damping=damping,
                  beta=0.3, hidden=[20], epoch=6)
    result = core.training.run.execute(core.training.run.plan(made))
    reader = tf.train.load_checkpoint(str(run_folder(made).checkpoint))
    assert all(np.isfinite(reader.get_tensor(name)).all() for name in reader.get_variable_to_shape_map())
    assert np.isfinite(list(result["metrics"].values())).all()
