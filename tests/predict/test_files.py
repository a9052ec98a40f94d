"""The files that predict.py writes, and its flags."""
import importlib.util
import subprocess
import sys

import numpy as np
import pytest

import predict
from tests.conftest import ROOT
from tests.predict.houses import assert_equal, houses, read_csv, train_on, write_table

pytestmark = pytest.mark.usefixtures("shared_graphs")


def write(run, rows, out, *flags):
    predict.main([str(run), str(rows), "--out", str(out), *flags])


def test_csv_and_npz_hold_the_same(run, folder, tmp_path, of, capsys):
    printed, _ = of(run, folder / "houses.csv")
    write(run, folder / "houses.csv", tmp_path / "out.csv")
    assert capsys.readouterr().err == ("note: 11 missing fields of 11 of 120 rows are filled (missing median): column "
                                       f"7 ('age') 11\n120 rows: {tmp_path / 'out.csv'}\n")
    write(run, folder / "houses.csv", tmp_path / "out.NPZ")
    assert_equal(read_csv(tmp_path / "out.csv"), printed)
    with np.load(str(tmp_path / "out.NPZ")) as arrays:
        assert_equal({name: arrays[name] for name in arrays.files}, printed)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.NPZ", "out.csv"]


def test_parquet(run, iris, folder, tmp_path, of):
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    import pandas

    for root, rows in ((run, folder / "houses.csv"), (iris, iris.parents[2] / "iris.csv")):
        write(root, rows, tmp_path / "out.parquet")
        frame = pandas.read_parquet(str(tmp_path / "out.parquet"))
        assert_equal({name: frame[name].to_numpy() for name in frame}, of(root, rows)[0])


def test_parquet_without_its_package(run, folder, tmp_path, refuse):
    if importlib.util.find_spec("pyarrow"):
        pytest.skip("pyarrow is installed")
    refuse("Parquet needs a further package: pip install pyarrow, or write .csv or .npz", run, folder / "houses.csv",
           "--out", tmp_path / "out.parquet")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["out.csv", "out.npz"])
def test_an_earlier_file_stays_after_an_error(run, table, rows_file, tmp_path, refuse, name, monkeypatch):
    """Also one in a later block, when rows have been written already."""
    from data_loader import row_stream

    monkeypatch.setattr(row_stream, "BLOCK_ROWS", 25)
    broken = table.astype({"rooms": object})
    broken.loc[110, "rooms"] = "six"
    path = rows_file(broken)
    (tmp_path / name).write_bytes(b"precious")
    refuse(f"{path} line 112 column 5: 'six' is not a number", run, path, "--out", tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"precious"
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(["new.csv", name])


def test_places_that_cannot_be_written(run, folder, tmp_path, refuse, rows_file, table):
    rows = folder / "houses.csv"
    refuse("the name must end in .csv, .parquet, .npz", run, rows, "--out", tmp_path / "out.txt")
    refuse("its folder does not exist", run, rows, "--out", tmp_path / "nowhere" / "out.csv")
    (tmp_path / "folder.csv").mkdir()
    refuse("this is a folder", run, rows, "--out", tmp_path / "folder.csv")
    path = rows_file(table)
    before = path.read_bytes()
    refuse(f"--out {path} is the file of the rows: choose another one", run, path, "--out", path)
    assert path.read_bytes() == before


def test_an_id_that_is_called_like_a_prediction(tmp_path, of):
    """Its column gets another name, and none is lost."""
    frame = houses().rename(columns={"house": "mean", "age": "std"})
    root = train_on(write_table(tmp_path, frame), "names", row_id="mean")
    got, _ = of(root, tmp_path / "houses.csv")
    assert list(got)[:3] == ["mean_id", "mean", "std"] and got["mean_id"].tolist() == [*range(7, 127)]
    written = read_csv(root / "predictions.csv")
    assert list(written)[:4] == ["mean_id", "target", "mean", "std"]


@pytest.mark.parametrize("flags, message", [
    (["--interval", "1"], "--interval must be above 0 and below 1, got 1"),
    (["--interval", "nan"], "--interval must be above 0 and below 1, got nan"),
    (["--quantiles", "0.5", "0"], "--quantiles must be above 0 and below 1, got 0"),
    (["--quantiles", "0.5", "0.50"], "--quantiles: 0.5 is given twice"),
    (["--samples", "-1"], "--samples must be 0 or more, got -1"),
    (["--particles", "0"], "--particles must be at least 1, got 0"),
    (["--batch", "0"], "--batch must be at least 1, got 0"),
    (["--best"], "has a validation log-likelihood: leave out --best"),
    (["--ensemble", "nowhere"], "nowhere holds no run (there is no config.json)"),
    (["--ensemble", "RUN"], "a run is named twice"),
])
def test_flags_out_of_range(run, folder, refuse, flags, message):
    refuse(message, run, folder / "houses.csv", *[str(run) if flag == "RUN" else flag for flag in flags])


@pytest.mark.parametrize("flags", [["--interval", "wide"], ["--batch"], ["--colour", "red"], ["--device", "tpu"], []])
def test_flags_that_cannot_be_read(run, folder, capsys, flags):
    with pytest.raises(SystemExit) as stop:
        predict.main([str(run), *([str(folder / "houses.csv")] if flags else []), *flags])
    error = capsys.readouterr().err.strip().split("\n")
    assert stop.value.code == 2 and error[-1].startswith("predict.py: ")


def test_help_lists_everything():
    """Without TensorFlow, which takes seconds to import."""
    done = subprocess.run([sys.executable, "-X", "importtime", str(ROOT / "predict.py"), "--help"],
                          capture_output=True, text=True)
    assert done.returncode == 0 and "tensorflow" not in done.stderr
    for flag in ("RUN", "ROWS", "--out", "--interval", "--quantiles", "--samples", "--ensemble", "--skip-bad",
                 "--particles", "--batch", "--best", "--device", "examples:"):
        assert flag in done.stdout, flag


def test_a_pipe_that_is_closed(run, folder):
    """`predict.py ... | head -1` ends without a traceback."""
    command = f"{sys.executable} {ROOT / 'predict.py'} {run} {folder / 'houses.csv'} | head -1"
    done = subprocess.run(["bash", "-c", f"{command}; exit 0"], capture_output=True, text=True)
    assert done.stdout == "house,mean,std,epistemic_std,lower,upper\n"
    assert all(line.startswith("note: 11 missing fields") for line in done.stderr.splitlines()), done.stderr
