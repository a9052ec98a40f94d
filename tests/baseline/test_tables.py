"""Tables of repeated runs."""
import json

import pytest

from core.baseline import report
from core.baseline.kinds import KINDS
from data_loader import DATASETS
from misc.folders import folder_at, run_folder
from misc.records import read_json
from tests.baseline.commands import SPACE, baseline, home

pytestmark = pytest.mark.usefixtures("shared_graphs")  # most tests train the same few settings


def summary_of(dataset, optimizer, mean, se=0.1, **changes):
    value = {"mean": mean, "se": se, "n": 5}
    return dict({"dataset": dataset, "optimizer": optimizer, "exp_name": f"{optimizer}_{dataset}", "n": 5,
                 "n_asked": 5, "seeds": [1, 2, 3, 4, 5], "splits": [1, 2, 3, 4, 5], "settings": {"epoch": 1000},
                 "protocol": "published", "evaluate_on": "test", "test_particles": 100, "rows_hash": "x",
                 "splits_hash": "y",
                 "metrics": {"rmse": value, "log_likelihood": value}}, **changes)


def test_bold_is_the_best_and_all_within_its_standard_error():
    tables = [summary_of("concrete", "ekfac", 1.0), summary_of("concrete", "kfac", 1.09),
              summary_of("concrete", "diag", 1.11), summary_of("wine", "ekfac", 3.0)]
    text = report.markdown(tables)
    lower, higher = text.split("**Test log-likelihood**")
    assert "**1.000 ± 0.100** | **1.090 ± 0.100** | 1.110 ± 0.100" in lower
    assert "1.000 ± 0.100 | **1.090 ± 0.100** | **1.110 ± 0.100**" in higher
    assert "| wine | 3.000 ± 0.100 |  |  |" in lower
    assert "5 runs, 1000 epochs, 100 draws; protocol published, test rows" in text and "INCOMPLETE" not in text
    assert "over seeds, not all on a split" in report.markdown([summary_of("wine", "ekfac", 1.0, splits=[1] * 5)])
    assert "INCOMPLETE: ekfac_wine has 5 of 6 runs." in report.markdown([summary_of("wine", "ekfac", 1.0, n_asked=6)])
    assert "Bold" not in report.markdown([summary_of("wine", "ekfac", 1.0)])
    assert "ekfac (tuned)" in report.markdown([summary_of("wine", "ekfac", 1.0, search=SPACE)])
    assert "~5.019 ± 0.127" in lower and "4.827 ± 0.161 MC dropout (Mukhoti et al. 2018)" in lower
    assert r"$\mathbf{1.000 \pm 0.100}$" in report.latex(tables) and r"$\sim 5.019 \pm 0.127$" in report.latex(tables)


def test_coverage_is_best_near_to_90_percent():
    tables = [summary_of("concrete", method, 1.0) for method in ("ekfac", "kfac", "diag")]
    assert "**Test coverage" not in report.markdown(tables)  # of runs that do not record it
    for table, mean in zip(tables, (0.94, 0.89, 0.85)):
        table["metrics"]["coverage_90"] = {"mean": mean, "se": 0.035, "n": 5}
    text = report.markdown(tables).split("**Test coverage of 90 % intervals**")[1]
    assert "| **0.940 ± 0.035** | **0.890 ± 0.035** | 0.850 ± 0.035 |\n" in text and "No coverage" not in text
    del tables[2]["metrics"]["coverage_90"]
    assert "No coverage: diag_concrete (runs of" in report.markdown(tables)
    single = [summary_of("wine", method, 1.0, se=None) for method in ("ekfac", "kfac")]
    for table, mean in zip(single, (0.86, 0.94)):
        table["metrics"]["coverage_90"] = {"mean": mean, "se": None, "n": 1}
    assert "| **0.860** | **0.940** |" in report.markdown(single)


def test_published_values_are_explained_wherever_they_stand():
    text = report.markdown([summary_of("naval", "ekfac", 1.0, protocol="standard")])
    assert "~7.231 noisy EK-FAC" in text and "averages over other splits" in text


def test_a_run_without_a_checkpoint_starts_from_the_beginning(write, tmp_path, capsys):
    assert baseline(write(), "--runs", "2") == 0
    folder = folder_at(home(tmp_path) / "seeds" / "2")
    folder.result.unlink()
    for path in folder.checkpoint.iterdir():
        path.unlink()
    capsys.readouterr()
    assert baseline(write(), "--runs", "2") == 0
    error = capsys.readouterr().err
    assert "1 of 2 runs are finished already" in error and "can resume" not in error


def test_settings_that_do_harm_are_named_before_the_runs(write, capsys):
    assert baseline(write(kl_warmup=4), "--runs", "1") == 0
    assert "\nwarning: the weight of the KL term" in "\n" + capsys.readouterr().err
    assert baseline(write("other", kl_warmup=4), write("third", kl_warmup=3), "--runs", "1") == 0
    error = capsys.readouterr().err
    assert "other: warning: the weight of the KL term" in error and "third: warning" not in error


def test_runs_of_a_version_without_coverage(write, tmp_path, capsys):
    assert baseline(write(), "--runs", "2") == 0
    for seed in "12":
        path = home(tmp_path) / "seeds" / seed / "result.json"
        result = read_json(path)
        del result["metrics"]["test_coverage_90"]
        path.write_text(json.dumps(result))
        path.with_name("predictions.csv").write_text("\n".join(
            line.rsplit(",", 1)[0] for line in path.with_name("predictions.csv").read_text().splitlines()))
    capsys.readouterr()
    assert baseline(write(), "--runs", "2", "--ensemble", "2") == 0  # the second members are of this version
    printed = capsys.readouterr().out
    assert "**Test log-likelihood**" in printed and "No coverage: base, base x2 (runs of an earlier" in printed
    for name in ("summary.json", "ensemble.json"):
        assert set(read_json(home(tmp_path) / name)["metrics"]) == set(KINDS["regression"].compared)
    other = write("other")
    assert baseline(other, "--runs", "2", "--against", str(home(tmp_path))) == 0


def test_two_experiments_of_one_method_get_their_names():
    tables = [summary_of("wine", "ekfac", 1.0), summary_of("wine", "ekfac", 2.0, exp_name="cold")]
    assert report.column_names(tables) == ["ekfac_wine", "cold"]
    assert "noisy K-FAC" not in report.markdown([summary_of("wine", "ekfac", 1.0, evaluate_on="validation")])
    assert "noisy K-FAC" not in report.markdown([summary_of("mine", "ekfac", 1.0)])
    assert "noisy K-FAC" not in report.markdown([summary_of("wine", "ekfac", 1.0, mode="classification")])
    assert "noisy K-FAC" in report.markdown([summary_of("wine", "ekfac", 1.0)])


def test_the_tables_say_which_noise_the_runs_have():
    tables = [summary_of("wine", "ekfac", 1.0), summary_of("wine", "kfac", 2.0)]
    assert "Noise: Gaussian, noise_update adam.\n" in report.markdown(tables)
    tables[0]["settings"] = {"epoch": 1000, "likelihood": "student_t", "noise_dof": 5.0, "noise_update": "held_out"}
    said = ("Noise: ekfac_wine Student's t (5 degrees of freedom), noise_update held_out; "
            "kfac_wine Gaussian, noise_update adam.")
    assert said in report.markdown(tables) and said in report.latex(tables)


def test_published_values_are_numbers_with_a_source():
    facts = report.read_published()
    assert len({dataset for dataset, _, _ in facts}) == 10 and {dataset for dataset, _, _ in facts} <= set(DATASETS)
    for row in facts.values():
        float(row["mean"])
        assert row["source"] and row["recalled"] in ("yes", "no") and row["metric"] in KINDS["regression"].metrics
    assert float(facts["concrete", "NNG-MVG", "log_likelihood"]["mean"]) == -3.039


def test_folders_of_runs(config):
    assert run_folder(config()).root.name == "ekfac_tiny"
