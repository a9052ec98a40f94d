"""Trained runs in Python: the numbers of predict.py, weights in the network's coordinates, densities, pickles."""
import concurrent.futures
import gc
import pickle
import shutil
import sys

import numpy as np
import pandas
import pytest
from numpy.testing import assert_allclose
from scipy.stats import multivariate_normal

import predict
from core.api import TrainedRun, load_run, train
from misc.errors import UserError
from tests.api.conftest import SETTINGS
from tests.predict.houses import read_csv, train_on

pytestmark = pytest.mark.usefixtures("shared_graphs")


def test_predictions_are_those_of_predict(run, roots, folder, frame):
    predict.main([str(roots["ekfac"]), str(folder / "rows.csv"), "--out", str(folder / "out.csv"), "--quantiles", "0.3",
                  "--samples", "2", "--interval", "0.5"])
    written = read_csv(folder / "out.csv")
    written.pop("row")
    columns = run.predict(frame, interval=0.5, quantiles=[0.3], samples=2)
    assert list(columns) == list(written)
    for name in written:
        assert (columns[name] == written[name]).all(), name
    shuffled = run.predict(frame[["kind", "c", "a", "b"]], interval=0.5)
    assert (shuffled["mean"] == columns["mean"]).all()
    assert run.metrics["test_rmse"] > 0 and run.config.optimizer == "ekfac"


def test_rows_that_do_not_fit_are_refused(run, frame):
    with pytest.raises(UserError, match="X misses 'c'"):
        run.predict(frame.drop(columns="c"))
    with pytest.raises(UserError, match="there is no layer 'dense7': the layers are dense0, dense1"):
        run.posterior("dense7")
    with pytest.raises(UserError, match="weights of the layer dense1 are missing"):
        run.log_prob_weights({"dense0": np.zeros((1, 7, 6))})
    with pytest.raises(UserError, match="holds no run"):
        load_run("nowhere")


@pytest.mark.parametrize("method", ["ekfac", "kfac", "diag"])
def test_weights_are_drawn_from_the_posterior(roots, frame, method):
    run = TrainedRun(roots[method])
    weights = run.sample_weights(4000)
    for layer in run.layers:
        posterior = run.posterior(layer)
        mean, covariance = posterior.to_dense()
        drawn = weights[layer].reshape(4000, -1).astype(np.float64)
        std = np.sqrt(np.diag(covariance))
        assert_allclose(mean, posterior.mean.ravel())
        assert np.abs((drawn.mean(axis=0) - mean) / std).max() < 5.0 / np.sqrt(4000)
        root = np.linalg.cholesky(covariance)
        whitened = np.linalg.solve(root, (drawn - mean).T)
        assert_allclose(whitened @ whitened.T / 4000, np.eye(len(mean)), atol=6.5 / np.sqrt(4000))
    few = {layer: values[:3] for layer, values in weights.items()}
    dense = [multivariate_normal(*run.posterior(layer).to_dense(), allow_singular=True).logpdf(
        few[layer].reshape(3, -1)) for layer in run.layers]
    assert_allclose(run.log_prob_weights(few), np.sum(dense, axis=0), rtol=1e-4)


def test_the_network_of_the_drawn_weights_gives_the_draws(run, frame):
    outputs = run.network(run.sample_weights(), frame)
    assert_allclose(outputs[..., 0], run.draws(frame).outputs, rtol=1e-6)
    few = run.network({name: values[2:5] for name, values in run.sample_weights().items()}, frame)
    assert_allclose(few, outputs[2:5], rtol=1e-6)
    with pytest.raises(UserError, match="weights of dense0 have the shape"):
        run.network({name: values[:, :-1] for name, values in run.sample_weights().items()}, frame)
    with pytest.raises(UserError, match=r"weights of dense1 have the shape \(1, .*, but must have \(2, "):
        run.log_prob_weights({name: values[:1 if name == "dense1" else 2]
                              for name, values in run.sample_weights().items()})


def test_a_run_outlives_its_folder(roots, frame, tmp_path):
    moved = tmp_path / "run"
    shutil.copytree(str(roots["kfac"]), str(moved))
    run = TrainedRun(moved)
    expected, packed = run.predict(frame), pickle.dumps(run)
    run.save(tmp_path / "saved")
    run.pack().close()
    shutil.rmtree(str(moved))
    for other in (run, pickle.loads(packed), load_run(tmp_path / "saved")):
        assert (other.predict(frame)["upper"] == expected["upper"]).all()
    run.export(npz=tmp_path / "posterior.npz")
    sys.path.insert(0, "portable")
    try:
        from predictor import Predictor
    finally:
        sys.path.pop(0)
    assert_allclose(Predictor(tmp_path / "posterior.npz").predict(frame)["mean"], expected["mean"], rtol=1e-5)
    with pytest.raises(UserError, match="is not empty"):
        run.save(tmp_path / "saved")
    with pytest.raises(UserError, match="is a file: give a new folder"):
        run.save(tmp_path / "posterior.npz")


def test_several_runs_in_threads(roots, frame):
    runs = [TrainedRun(root) for root in roots.values()]
    expected = [TrainedRun(root).predict(frame)["mean"] for root in roots.values()]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda number: runs[number % 3].predict(frame)["mean"], range(12)))
    for number, mean in enumerate(found):
        assert (mean == expected[number % 3]).all()


@pytest.mark.parametrize("method", ["draws", "sample_weights", "posterior", "network"])
def test_a_run_may_be_closed_by_another_thread(roots, frame, monkeypatch, method):
    """Which does so whenever it may: at every use of the session that does not hold the lock."""
    run = TrainedRun(roots["ekfac"])
    arguments = {"draws": [frame], "sample_weights": [], "posterior": ["dense0"],
                 "network": [run.sample_weights(2), frame]}[method]
    restored = run._restored

    def closed_if_unguarded():
        found = restored()
        if not run._lock._is_owned():
            run.close()
        return found

    monkeypatch.setattr(run, "_restored", closed_if_unguarded)
    getattr(run, method)(*arguments)
    run.close()


def test_batch_normalisations_are_point_masses(folder, frame):
    root = train_on(folder / "rows.csv", "norms", **dict(
        SETTINGS, missing="mean", mode="classification", target="kind", drop=["y"], batch_norm=True, alpha=None,
        beta=None, omega=None, noise_prior_shape=None, noise_prior_rate=None, learning_rate=0.01, kl_clip=0.01, TCov=3,
        TEigen=6, TScale=3))
    run = load_run(root)
    assert run.layers == ["dense0", "batch_norm0", "dense1"]
    norm = run.posterior("batch_norm0")
    assert (norm.kind, norm.mean.shape, norm.factors) == ("PointMass", (2, 6), {})
    assert (norm.mean == run.sample_weights(2)["batch_norm0"]).all() and not norm.to_dense()[1].any()
    with pytest.raises(UserError, match="the weights of batch_norm0 have no density: they have no weight noise"):
        run.log_prob_weights(run.sample_weights(2))
    run.close()


def test_what_cannot_be_written_is_refused(run, tmp_path):
    with pytest.raises(UserError, match="--particles must be at least 1, got 0"):
        run.export(npz=tmp_path / "posterior.npz", particles=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file is a file: give a new folder"):
        run.save(tmp_path / "file")


def test_deleting_a_run_closes_its_session(roots, frame):
    run = TrainedRun(roots["diag"])
    run.predict(frame)
    session = run._run.session
    del run
    gc.collect()
    with pytest.raises(RuntimeError, match="closed"):
        session.run([])


def test_training_from_a_frame(frame, rows, tmp_path):
    values = dict(dataset="mine", target="y", optimizer="kfac", model_name="ffn", hidden=[4], epoch=2, batch_size=16,
                  experiments_path=str(tmp_path), protocol="random", missing="mean")
    table = frame.assign(y=rows[1])
    run = train(values, table)
    table.to_csv(str(tmp_path / "mine.csv"), index=False)
    other = train(dict(values, data_file=str(tmp_path / "mine.csv"), exp_name="file"))
    assert run.metrics == pytest.approx(other.metrics, rel=1e-6)
    assert isinstance(run.data.transform.columns, tuple) and isinstance(table, pandas.DataFrame)
