"""End to end against a closed form: noisy EK-FAC on a linear-Gaussian problem IS Bayesian linear regression."""
import numpy as np
import pytest
from scipy import linalg

from core.api.trained_run import load_run
from core.training import run
from misc.config import Config
from misc.folders import run_folder


@pytest.fixture
def linear_problem(tmp_path):
    """200 rows, few and correlated enough that the predictive depends on the posterior's shape."""
    rng = np.random.RandomState(0)
    x = rng.randn(200, 4) @ rng.randn(4, 4)
    y = x @ [1.0, -0.5, 0.3, 0.0] + 0.4 + 0.8 * rng.randn(200)
    np.savetxt(str(tmp_path / "linear.data"), np.column_stack([x, y]))
    return tmp_path


def exact_predictive(data, noise_precision, prior_var):
    """Mean and epistemic std of the test rows, in raw units, at the given noise precision."""
    def design(x):
        return np.hstack([x, np.ones((len(x), 1))])

    a = design(data.train.x)
    precision = noise_precision * a.T @ a + np.eye(a.shape[1]) / prior_var
    covariance = linalg.inv(precision)
    mean = covariance @ (noise_precision * a.T @ data.train.y)
    test = design(data.test.x)
    std = np.sqrt(np.einsum("ni,ij,nj->n", test, covariance, test))
    return data.target_mean + data.target_std * test @ mean, data.target_std * std


def test_linear_ekfac_reaches_bayesian_linear_regression(linear_problem):
    config = Config.from_dict(dict(
        dataset="linear", data_path=str(linear_problem), experiments_path=str(linear_problem / "runs"),
        optimizer="ekfac", model_name="linear", scale_init="exact", re_init=False, kfac_init_after_basis=False,
        epoch=300, batch_size=20, train_particles=10, test_particles=20000, alpha=0.02, beta=0.02, omega=0.01,
        learning_rate=0.01, eta=0.5, lr_decay_interval=100, epoch_rate=300, save_interval=300, precision="float64",
    ))
    plan = run.plan(config, "cpu")
    result = run.execute(plan)
    table = np.genfromtxt(str(run_folder(config).predictions), delimiter=",", names=True)
    mean, std = exact_predictive(plan.data, result["metrics"]["train_noise_precision"], config.eta)
    assert np.abs(table["mean"] - mean).max() < 0.02 * np.ptp(mean)
    np.testing.assert_allclose(table["epistemic_std"], std, rtol=0.05)
    check_linearised(config, plan.data, mean, std)


def check_linearised(config, data, mean, std):
    """Compares the linearised predictive, which needs no draws: exact for the posterior that was found."""
    trained = load_run(run_folder(config).root, predictive="linearised")
    columns = trained.predict(data.input_mean + data.input_std * data.test.x)
    design = np.hstack([data.test.x, np.ones((len(data.test.x), 1))])
    weights, covariance = trained.posterior("dense0").to_dense()
    variance = np.einsum("ni,ij,nj->n", design, covariance, design)
    np.testing.assert_allclose(columns["mean"], data.target_mean + data.target_std * design @ weights, rtol=1e-9)
    np.testing.assert_allclose(columns["epistemic_std"], data.target_std * np.sqrt(variance), rtol=1e-9)
    assert np.abs(columns["mean"] - mean).max() < 0.02 * np.ptp(mean)
    np.testing.assert_allclose(columns["epistemic_std"], std, rtol=0.05)
    trained.close()
