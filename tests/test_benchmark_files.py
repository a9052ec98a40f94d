"""What the benchmarks check before they start, and how they go on from the rows of an earlier call."""
import json

import pytest

from benchmarks import hmc
from benchmarks.checks import check_out, read_out
from misc.errors import UserError
from misc.records import read_rows

COLUMNS = ["data", "split", "rmse"]


@pytest.mark.parametrize("content, message", [
    (b"data,split,rmse\na,0,1.5\na,1,low\n", "could not convert string to float: 'low'"),
    (b"data,split,rmse\na,first,1.5\n", "'first'"),
    (b"\xff\xfe\x00data", "can't decode"),
    (b"data,rmse\na,1.5\n", "has no column split"), (b"notes of a day\n", "has no column data"),
    (b"data,split,rmse\na,0,1.5,9\n", "incomplete or too long"), (b"data,split,rmse\na,0,1.5\na,1\n", "incomplete"),
    (b"data,split,rmse\na,,1.5\n", "incomplete")])
def test_a_file_of_something_else_is_refused(content, message, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_out(path, ("data",), COLUMNS)
    assert message in str(error.value) and "was not written by this benchmark" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_is_no_file(tmp_path):
    check_out(str(tmp_path / "rows.csv"))
    for path, message in ((tmp_path, "it is a folder"), (tmp_path / "none" / "rows.csv", "there is no such folder")):
        with pytest.raises(UserError, match=message):
            check_out(str(path))


def test_rows_of_an_earlier_call(tmp_path):
    (tmp_path / "rows.csv").write_text("data,split,rmse\na,3,1.5\nb,0,\n")
    assert read_out(tmp_path / "rows.csv", ("data",), COLUMNS) == [
        {"data": "a", "split": 3, "rmse": 1.5}, {"data": "b", "split": 0}]
    assert read_out(tmp_path / "none.csv", ("data",), COLUMNS) == [] == read_out(None, ("data",), COLUMNS)


@pytest.fixture
def run_hmc(settings, tmp_path, monkeypatch):
    """Returns a function of arguments that calls benchmarks.hmc, and the splits that it has sampled."""
    for data in ("a", "b"):
        (tmp_path / f"ekfac_{data}.json").write_text(json.dumps(settings(dataset=data)))
    sampled = []

    def compare(data, split, configs, shared, sampler, draws_path):
        sampled.append((data, split))
        if draws_path:
            draws_path.write_bytes(b"")
        return [dict(data=data, split=split, method=method, rmse=1.0 + split, log_likelihood=0.0, std_correlation=1.0,
                     epistemic_correlation=1.0, seconds=2.0) for method in ("hmc", *configs)]

    monkeypatch.setattr(hmc, "compare", compare)
    monkeypatch.setattr(hmc, "check_packages", lambda names: None)

    def run(*arguments):
        monkeypatch.setattr("sys.argv", [
            "hmc", "--methods", "ekfac", "--config", str(tmp_path / "{method}_{data}.json"),
            "--out", str(tmp_path / "rows.csv"), *arguments])
        hmc.main()

    return run, sampled


def test_splits_are_sampled_once(run_hmc, tmp_path, capsys):
    run, sampled = run_hmc
    run("--data", "a", "--splits", "0,1")
    run("--data", "a", "b", "--splits", "0,1")
    assert sampled == [("a", 0), ("a", 1), ("b", 0), ("b", 1)] and len(read_rows(tmp_path / "rows.csv")) == 8
    assert "| b      | ekfac    | 1.500 ± 0.500 |" in capsys.readouterr().out


@pytest.mark.parametrize("arguments, message", [
    (["--data", "a", "c"], "ekfac_c.json"), (["--data", "a", "--set", "kl=0.5"], "the posterior that HMC samples"),
    (["--data", "a", "--set", "likelihood=heteroscedastic"], "HMC is written for gaussian and student_t"),
    (["--data", "done", "a", "--draws", "."], "done_0.npz is not there")])
def test_bad_input_is_found_before_the_first_sampling(run_hmc, tmp_path, capsys, monkeypatch, arguments, message):
    run, sampled = run_hmc
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ekfac_done.json").write_text((tmp_path / "ekfac_a.json").read_text())
    run("--data", "done", "--splits", "0")
    sampled.clear()
    before = (tmp_path / "rows.csv").read_text()
    with pytest.raises(SystemExit) as stop:
        run("--splits", "0", *arguments)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and message in error and error.count("\n") == 1
    assert not sampled and (tmp_path / "rows.csv").read_text() == before


def test_the_figure_of_correlations_has_a_panel_per_score(tmp_path):
    from matplotlib.image import imread

    from benchmarks.correlation_figure import DOTS_PER_INCH, SIZE, draw_scores

    rows = [{"data": data, "split": split, "method": method, "joint": -1.0, "marginal": -1.1 - 0.1 * split, "meta": 0.5}
            for data in ("a", "b") for split in (0, 1) for method in ("ekfac", "diag")][:-1]
    for panels, shown in ((2, rows), (1, [{**row, "meta": None} for row in rows])):
        shown = [{name: value for name, value in row.items() if value is not None} for row in shown]
        draw_scores(tmp_path / "scores.png", shown)
        assert imread(str(tmp_path / "scores.png")).shape[1] == pytest.approx(panels * SIZE[0] * DOTS_PER_INCH, abs=1)
