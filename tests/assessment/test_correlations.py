"""evaluate.py --correlations: joint scores, several runs beside each other, and references."""
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

import evaluate
from core.assessment.correlations import N_BATCHES
from core.assessment.evaluated import evaluate_run
from core.assessment.inputs import TEST, Options
from core.assessment.reference_draws import read_draws, write_draws
from core.metrics.draws import Draws
from tests.assessment.runs import TOY, figures, numbers, train_run

pytestmark = pytest.mark.usefixtures("shared_graphs")  # the same runs are evaluated again and again

N_ROWS = 24


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A file of rows of the cubic function."""
    path = tmp_path_factory.mktemp("rows") / "rows.data"
    x = np.linspace(-5.0, 5.0, N_ROWS)
    np.savetxt(str(path), np.stack([x, x**3 + 3.0 * np.sin(7.0 * x)], axis=1))
    return path


@pytest.fixture
def evaluate_rows(rows, no_figures, tmp_path):
    """Evaluates runs on these rows; returns what metrics.json says of correlations, for each."""
    def run(roots, *arguments):
        out = ["--out", str(tmp_path / "out")] if len(roots) > 1 else []
        evaluate.main([*map(str, roots), "--data", str(rows), *map(str, arguments), *out])
        return [numbers(root)["correlations"] for root in roots]

    return run


@pytest.fixture
def draws_of(rows):
    """Returns the draws of a run for these rows, their targets, and the run's data."""
    def read(root, **overrides):
        run = evaluate_run(root, overrides, Options(data=str(rows)), keep=True)
        return run.collected[TEST].draws, run.targets, run.data

    return read


@pytest.fixture
def reference(rows, draws_of, toys, tmp_path):
    """Writes a file of draws that fit the run; returns its path."""
    def write(**changed):
        draws, y, data = draws_of(toys["kfac"])
        path = tmp_path / "reference.npz"
        write_draws(path, draws, y, data)
        with np.load(str(path)) as arrays:
            values = dict(arrays, **changed)
        np.savez(str(path), **{name: value for name, value in values.items() if value is not None})
        return path

    return write


def test_joint_scores_of_a_run(toys, evaluate_rows, draws_of):
    (found,) = evaluate_rows([toys["ekfac"]], "--correlations")
    draws, y, data = draws_of(toys["ekfac"])
    per_draw = stats.norm.logpdf(y, draws.outputs, draws.precisions[:, None]**-0.5)
    unit = np.log(data.target_std)
    marginal = np.log(np.exp(per_draw).mean(axis=0)).mean() - unit
    assert found["marginal_log_likelihood"] == pytest.approx(marginal, abs=0.1)  # random rows
    assert found["batches"] == N_BATCHES and found["batches_of"] == "random" and found["rows_per_batch"] == 5
    assert "xll" not in found and "meta_correlation" not in found
    assert abs(found["joint_log_likelihood"] - found["marginal_log_likelihood"]) > 1e-3
    (all_rows,) = evaluate_rows([toys["ekfac"]], "--correlations", "--joint", N_ROWS)
    peak = per_draw.sum(axis=1).max()
    joint = (peak + np.log(np.exp(per_draw.sum(axis=1) - peak).mean())) / N_ROWS - unit
    assert all_rows["joint_log_likelihood"] == pytest.approx(joint, rel=1e-5)
    covariance = np.cov(np.float64(draws.outputs).T, bias=True) + np.eye(N_ROWS) * np.mean(1.0 / draws.precisions)
    gaussian = stats.multivariate_normal.logpdf(y, draws.outputs.mean(axis=0), covariance) / N_ROWS - unit
    assert all_rows["moment_joint_log_likelihood"] == pytest.approx(gaussian, rel=1e-4)


def test_without_the_flag_nothing_is_added(toys, rows, no_figures):
    evaluate.main([str(toys["ekfac"]), "--data", str(rows)])
    assert "correlations" not in numbers(toys["ekfac"])


def test_a_run_beside_another(toys, evaluate_rows, draws_of):
    (found,) = evaluate_rows([toys["ekfac"]], "--correlations", toys["kfac"])
    correlations = [np.corrcoef(np.float64(draws_of(toys[method])[0].outputs).T)[np.triu_indices(N_ROWS, 1)]
                    for method in ("ekfac", "kfac")]
    assert found["meta_correlation"]["value"] == pytest.approx(stats.pearsonr(*correlations)[0], rel=1e-4)
    assert found["meta_rank_correlation"]["value"] == pytest.approx(stats.spearmanr(*correlations)[0], rel=1e-4)
    assert found["meta_correlation"]["low"] < found["meta_correlation"]["value"] < found["meta_correlation"]["high"]
    assert found["pairs"] == N_ROWS * (N_ROWS - 1) // 2 and found["reference"] == str(toys["kfac"])
    assert found["batches_of"] == "correlated" and found["batches"] == N_ROWS
    (other,) = evaluate_rows([toys["ekfac"]], "--correlations", toys["diag"])
    assert other["xll"] != pytest.approx(found["xll"], rel=1e-4)
    (itself,) = evaluate_rows([toys["kfac"]], "--correlations", toys["kfac"])
    assert itself["meta_correlation"]["value"] == pytest.approx(1.0)
    assert itself["xll"] == pytest.approx(itself["moment_joint_log_likelihood"], rel=1e-9)


def test_draws_from_a_file_are_those_of_the_run(toys, evaluate_rows, reference):
    (of_run,) = evaluate_rows([toys["ekfac"]], "--correlations", toys["kfac"])
    (of_file,) = evaluate_rows([toys["ekfac"]], "--correlations", reference())
    assert of_file.pop("reference") != of_run.pop("reference")
    for name, value in of_run.items():
        values = [of[name]["value"] if isinstance(of[name], dict) else of[name] for of in (of_file, of_run)]
        assert values[0] == (values[1] if isinstance(value, str) else pytest.approx(values[1], rel=1e-4)), name
    (wider,) = evaluate_rows([toys["ekfac"]], "--correlations", reference(dof=np.array(2.5)))
    assert abs(wider["xll"] - of_file["xll"]) > 0.01  # the noise has a larger variance


def test_several_runs_are_references_of_each_other(toys, evaluate_rows, capsys, tmp_path):
    roots = [toys[method] for method in ("ekfac", "kfac", "bbb")]
    found = evaluate_rows(roots, "--correlations", "--ensemble")
    assert sum(one["xll_rank"] for one in found) < 4 * 3  # the ensemble is ranked, too
    printed = capsys.readouterr().out
    assert "cross-normalised (XLL)" in printed and "batches of 5 random rows" in printed
    two = evaluate_rows(roots[:2], "--correlations")
    mine = [[evaluate_rows([own], "--correlations", other)[0]["xll"] for other in roots[:2]] for own in roots[:2]]
    assert_allclose([one["xll"] for one in two], np.mean(mine, axis=1), rtol=1e-6)
    ranks = (np.argsort(-np.array(mine), axis=0).argsort(axis=0) + 1).mean(axis=1)
    assert [one["xll_rank"] for one in two] == list(ranks)


def test_a_run_without_weight_noise_has_no_meta_correlation(toys, evaluate_rows, tmp_path, capsys):
    root = train_run(tmp_path, **dict(TOY, optimizer="adam", exp_name="adam", epoch=20, epoch_rate=20))
    (found,) = evaluate_rows([root], "--correlations", toys["kfac"])
    assert found["meta_correlation"] is None and np.isfinite(found["xll"])
    refuse(capsys, "do not differ between weight draws", toys["ekfac"], "--correlations", root, "--joint", 2)


def test_several_targets_have_scores_of_their_own(tmp_path, no_figures):
    rng = np.random.RandomState(0)
    x = rng.randn(80, 2)
    np.savetxt(str(tmp_path / "two.data"), np.column_stack([x, x @ rng.randn(2, 2) + 0.1 * rng.randn(80, 2)]))
    root = train_run(tmp_path, **dict(TOY, dataset="two", target=[3, 4], optimizer="ekfac", exp_name="two", epoch=20,
                                     epoch_rate=20, test_particles=20))
    run, path, outputs = evaluate_run(root, {}, Options(), keep=True), tmp_path / "draws.npz", rng.randn(30, 8, 2)
    np.savez(str(path), outputs=outputs, noise_std=np.ones((30, 2)),
             targets=run.data.target_mean + run.data.target_std * run.targets)
    evaluate.main([str(root), "--correlations", str(path)])
    own = run.collected[TEST].draws.outputs
    for number, name in enumerate(("1", "2")):
        found = numbers(root)["targets"][name]["correlations"]
        sides = [np.corrcoef(np.float64(each[..., number]).T)[np.triu_indices(8, 1)] for each in (own, outputs)]
        assert found["meta_correlation"]["value"] == pytest.approx(stats.pearsonr(*sides)[0], rel=1e-4)
    assert "correlations" not in numbers(root)


def test_figures(toys, rows):
    evaluate.main([str(toys["ekfac"]), "--data", str(rows), "--correlations", str(toys["kfac"])])
    assert {"correlations", "meta_correlation"} <= set(figures(toys["ekfac"] / "evaluation"))


# What is refused.

def refuse(capsys, message, *arguments):
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        evaluate.main([str(argument) for argument in arguments])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1 and error.startswith("evaluate.py: "), error
    assert message in error


def test_flags_that_do_not_fit(toys, digits, rows, capsys, tmp_path):
    run = [toys["ekfac"], "--data", rows, "--correlations"]
    refuse(capsys, "--joint is for --correlations", toys["ekfac"], "--joint", 3)
    refuse(capsys, "--joint must be at least 2, got 1", *run, "--joint", 1)
    refuse(capsys, "was read as a reference, so no RUN is left to evaluate", "--correlations", toys["ekfac"])
    refuse(capsys, "give the folder of a run", "--correlations")
    refuse(capsys, "give the folder of a run")
    refuse(capsys, "--joint 25: there are only 24 rows to make batches of", *run, "--joint", 25)
    refuse(capsys, "a flag has an empty value", *run, "")
    refuse(capsys, "give --predictive sampled", *run, "--predictive", "linearised")
    refuse(capsys, "--correlations is for regressions, digits has classes", digits[0], "--correlations")
    refuse(capsys, "leave out --correlations", *run, "--calibrate")
    refuse(capsys, "holds no run", *run, tmp_path)
    other = train_run(tmp_path, **dict(TOY, optimizer="ekfac", exp_name="other", epoch=2, epoch_rate=2, split=2))
    refuse(capsys, "do not have the same training and test rows", *run, other)


def test_files_of_draws_that_do_not_fit(toys, rows, capsys, reference, draws_of, tmp_path):
    run = [toys["ekfac"], "--data", rows, "--correlations"]
    outputs = draws_of(toys["kfac"])[0].outputs
    refuse(capsys, "cannot be read: give the folder of a run, or an npz file with outputs", *run, tmp_path / "no.npz")
    (tmp_path / "text.npz").write_text("1,2")
    refuse(capsys, "cannot be read", *run, tmp_path / "text.npz")
    np.save(str(tmp_path / "array.npy"), outputs)
    refuse(capsys, "cannot be read", *run, tmp_path / "array.npy")
    refuse(capsys, "noise_std is missing", *run, reference(noise_std=None))
    refuse(capsys, "outputs [100, 23], noise_std [100] and targets [24] do not fit together", *run,
           reference(outputs=outputs[:, 1:]))
    refuse(capsys, "targets [23], but the run is evaluated on rows with targets [24]", *run,
           reference(outputs=outputs[:, 1:], targets=np.ones(23)))
    refuse(capsys, "noise_std above 0, and dof above 2", *run, reference(noise_std=np.zeros(100)))
    refuse(capsys, "dof above 2", *run, reference(dof=np.array(2.0)))
    refuse(capsys, "must be finite", *run, reference(outputs=np.full_like(outputs, np.nan)))
    refuse(capsys, "the target of row 1 is 1.0, but that of the run is -", *run, reference(targets=np.ones(N_ROWS)))
    refuse(capsys, "do not differ between weight draws", *run, reference(outputs=np.ones_like(outputs)))


def test_write_draws_of_a_noise_of_every_row(tmp_path, toys, draws_of):
    _, y, data = draws_of(toys["kfac"])
    draws = Draws(np.random.RandomState(0).randn(4, N_ROWS), np.random.RandomState(1).rand(4, N_ROWS) + 0.5, 5.0)
    write_draws(tmp_path / "d.npz", draws, y, data)
    found = read_draws(tmp_path / "d.npz").draws(y, data)
    assert_allclose(found.outputs, draws.outputs, atol=1e-5)
    assert_allclose(found.precisions, draws.precisions, rtol=1e-10)
    assert found.dof == 5.0
