"""Runs on data whose noise grows with the input: homoscedastic and heteroscedastic noise, and their evaluation."""
import json

import numpy as np
import pytest
from scipy import stats

import evaluate
import train
from core.assessment.figures import FIGURES
from core.assessment.inputs import Options, collect, make_inputs, mixture
from core.assessment.restore import restored
from core.metrics.calibration import local_coverage
from core.metrics.draws import Draws
from tests.assessment.runs import NOTHING, evaluated, figures, train_run

pytestmark = pytest.mark.usefixtures("shared_graphs")

CONE = dict(dataset="cone", model_name="ffn", hidden=[20], epoch=60, batch_size=30, train_particles=5,
            test_particles=100, epoch_rate=60, alpha=0.02, beta=0.05, split=1, learning_rate=0.02)


def std_of_noise(x):
    return 0.03 + 0.3 * x


def cone(rng, n):
    x = rng.uniform(0.0, 3.0, n)
    return np.column_stack([x, np.sin(2.0 * x) + std_of_noise(x) * rng.randn(n)])


@pytest.fixture(scope="module")
def cones(tmp_path_factory):
    """Folder of the data, with new rows in new.data, and {likelihood: folder of its run}."""
    folder, rng = tmp_path_factory.mktemp("cone"), np.random.RandomState(7)
    for name, n in (("cone", 900), ("new", 3000)):
        np.savetxt(str(folder / f"{name}.data"), cone(rng, n))
    return folder, {likelihood: train_run(folder, **CONE, optimizer="ekfac", likelihood=likelihood,
                                          noise_update="conjugate", exp_name=likelihood)
                    for likelihood in ("gaussian", "heteroscedastic")}


@pytest.fixture(scope="module")
def of_new_rows(cones):
    """{likelihood: Results on new rows}."""
    folder, roots = cones
    return {name: evaluated(root, Options(data=str(folder / "new.data"))).results for name, root in roots.items()}


def test_the_log_likelihood_of_new_rows(cones, of_new_rows):
    """Homoscedastic noise is far from the true distribution, heteroscedastic noise close to it."""
    x, target = np.loadtxt(str(cones[0] / "new.data")).T
    best = stats.norm.logpdf(target, np.sin(2.0 * x), std_of_noise(x)).mean()
    found = {name: results.metrics["log_likelihood"].value for name, results in of_new_rows.items()}
    assert best - 0.1 < found["heteroscedastic"] < best
    assert found["gaussian"] < best - 0.35


def test_coverage_is_even_along_the_input(cones, of_new_rows):
    """In thirds of the input; the single interval of homoscedastic noise is too wide where there is little noise."""
    x = np.loadtxt(str(cones[0] / "new.data"))[:, 0]
    shares = {}
    for name, results in of_new_rows.items():
        inside = np.abs(2.0 * results.predictions["cdf"] - 1.0) <= 0.9
        shares[name] = [inside[third].mean() for third in np.array_split(np.argsort(x), 3)]
    assert np.abs(np.subtract(shares["heteroscedastic"], 0.9)).max() < 0.05, shares
    assert shares["gaussian"][0] > 0.98 and shares["gaussian"][2] < 0.82, shares


def test_the_local_coverage_is_a_figure(cones, of_new_rows, monkeypatch):
    panels = of_new_rows["heteroscedastic"].panels
    local, cdf, mean = (panels["local_coverage"], *(of_new_rows["heteroscedastic"].predictions[name]
                                                    for name in ("cdf", "mean")))
    lowest = np.argsort(mean)[:300]
    assert len(local.position) == 10 and local.position[0] == pytest.approx(mean[lowest].mean())
    assert local.share[0] == pytest.approx(np.mean(np.abs(2.0 * cdf[lowest] - 1.0) <= 0.9))
    assert local.low[0] == pytest.approx(stats.binom.ppf(0.025, 300, 0.9) / 300) and local.low[0] < 0.9 < local.high[0]
    assert local_coverage(mean[:59], cdf[:59]) is None
    for name in set(FIGURES) - {"local_coverage"}:
        monkeypatch.delitem(FIGURES, name)
    root = cones[1]["heteroscedastic"]
    evaluate.main([str(root)])
    assert figures(root / "evaluation") == ["local_coverage"]


def test_the_evaluation_finds_the_metrics_of_the_training(cones):
    root = cones[1]["heteroscedastic"]
    metrics, found = json.loads((root / "result.json").read_text())["metrics"], evaluated(root).results.metrics
    for name in ("rmse", "log_likelihood", "moment_log_likelihood", "coverage_90"):
        assert found[name].value == pytest.approx(metrics[f"test_{name}"], rel=1e-5)
    assert 0.5 < metrics["train_noise_precision"] * np.mean(std_of_noise(np.linspace(0, 3, 99))**2) / 0.75 < 2.0


def test_a_mixture_with_a_run_of_homoscedastic_noise(cones):
    """The densities of both runs are averaged."""
    collected, densities = [], []
    for root in cones[1].values():
        with restored(root, {}) as run:
            collected.append(collect(run, make_inputs(run.config, run.data, NOTHING)))
        y, draws = collected[-1]["test"]
        scale = draws.precisions.reshape(100, -1)**-0.5
        densities.append(stats.norm.pdf(y, draws.outputs, scale).mean(axis=0))
    both = mixture(collected)["test"].draws
    assert isinstance(both, Draws) and both.precisions.shape == both.outputs.shape == (200, 90)
    density = stats.norm.pdf(collected[0]["test"].rows, both.outputs, both.precisions**-0.5).mean(axis=0)
    np.testing.assert_allclose(density, np.mean(densities, axis=0), rtol=1e-6)


def test_fitted_noise_is_a_common_factor(cones, tmp_path):
    """predictive_noise leave_one_out changes predictions by little here, where the variances are right."""
    values = {}
    for predictive in ("trained", "leave_one_out"):
        results = evaluated(cones[1]["heteroscedastic"], predictive_noise=predictive).results
        values[predictive] = results.metrics["log_likelihood"].value, results.predictions["std"]
    ratio = values["leave_one_out"][1] / values["trained"][1]
    assert ratio.min() > 0.9 and ratio.max() < 1.2 and (ratio != 1.0).all()
    assert abs(values["leave_one_out"][0] - values["trained"][0]) < 0.05


def test_keys_without_effect_are_named(config_file, capsys):
    train.main(["--config", str(config_file(likelihood="heteroscedastic", noise_update="held_out", noise_dof=4.0,
                                            noise_prior_rate=0.1)), "--explain"])
    said = capsys.readouterr().out
    assert "note: noise_dof, noise_prior_rate, noise_update have no effect with likelihood heteroscedastic" in said
    assert "noise Gaussian of a variance that is an output of the network" in said and "held-out" not in said
    assert "draws of weights;" in said
