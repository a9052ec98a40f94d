"""What evaluate.py refuses: one line on stderr, exit code 2, and no file written."""
import json
import shutil

import pytest

import evaluate
from misc.config import Config
from tests.assessment.runs import TOY, train_run, write_digits
from tests.conftest import ROOT

pytestmark = pytest.mark.usefixtures("shared_graphs")  # the same runs are evaluated again and again


@pytest.fixture
def refuse(capsys):
    def check(message, *arguments):
        with pytest.raises(SystemExit) as stop:
            evaluate.main([str(argument) for argument in arguments])
        error = capsys.readouterr().err
        assert stop.value.code == 2 and error.count("\n") == 1 and error.startswith("evaluate.py: "), error
        assert message in error

    return check


def test_flags_that_make_no_sense(refuse, digits, toys):
    refuse("--particles must be at least 1, got 0", digits[0], "--particles", "0")
    refuse("--batch must be at least 1, got -3", digits[0], "--batch", "-3")
    refuse("--ensemble takes at least two runs", digits[0], "--ensemble")
    refuse("a run is named twice", digits[0], digits[0])
    refuse("runs of regression and of classification cannot be compared", digits[0], toys["ekfac"])
    refuse("--ood noise is for images: give the file of a table", toys["ekfac"], "--ood", "noise")
    refuse("--ood missing.csv: there is no such file", toys["ekfac"], "--ood", "missing.csv")
    refuse("--importance is for the columns of tables, digits has images", digits[0], "--importance")
    refuse("a flag has an empty value", digits[0], "--ood", "")
    refuse("has a validation log-likelihood: leave out --best", digits[0], "--best")
    refuse("is not a set of images", digits[0], "--ood", "x" * 300)
    refuse("--rows is for --corrupt", digits[0], "--rows", "5")
    refuse("--out is for a comparison", digits[0], "--out", "somewhere")
    refuse("--data digits is what the run was trained on", digits[0], "--data", "digits")
    refuse("'noise' is not a set of images", digits[0], "--data", "noise")
    refuse("'fashion_mnits' is not a set of images; did you mean 'fashion_mnist'?", digits[0], "--ood", "fashion_mnits")
    refuse("--data nowhere: there is no file of that name", toys["ekfac"], "--data", "nowhere")
    refuse("the run was trained on these rows", toys["ekfac"], "--data", "toy1d")
    refuse("--ood digits is the run's own data set", digits[0], "--ood", "digits")
    refuse("images stands for your own images: give the path of their folder", digits[0], "--ood", "images")
    refuse("holds no run (there is no config.json): give the folder that train.py wrote to; there are "
           f"{toys['bbb']}, {toys['diag']}, ", toys["bbb"].parent)
    refuse(f"; did you mean {toys['bbb']}?", toys["bbb"].parent.with_name("toy") / toys["bbb"].name)
    refuse("holds no run (there is no config.json): give the folder that train.py wrote to\n",
           toys["bbb"].parent.with_name("toy") / "*")


def test_nothing_of_others_is_overwritten(refuse, toys, tmp_path, capsys, monkeypatch, no_figures):
    (tmp_path / "thesis.txt").write_text("years")
    (tmp_path / "metrics.json").write_text("{}")  # a name that others use, too
    both = [toys["ekfac"], toys["kfac"]]
    refuse("holds other files: choose another --out", *both, "--out", tmp_path)
    refuse("holds other files: choose another --out", *both, "--out", toys["diag"])
    refuse("is or contains a folder that this evaluation reads or writes", *both, "--out", toys["kfac"] / "evaluation")
    monkeypatch.chdir(tmp_path)
    refuse("is or contains the current folder", *both, "--out", ".")
    refuse("is a file: choose another --out", *both, "--out", tmp_path / "thesis.txt")
    assert (tmp_path / "thesis.txt").read_text() == "years" and (toys["diag"] / "config.json").is_file()
    for _ in range(2):  # archives its own earlier files; folders that it wrote are not runs
        written = [root for root in [tmp_path / "out"] if root.exists()]
        evaluate.main([*map(str, both + written), "--out", str(tmp_path / "out")])
    assert (tmp_path / "out" / "comparison.md").is_file() and (tmp_path / "out.1" / "comparison.md").is_file()
    assert "(the earlier one is now out.1)" in capsys.readouterr().err
    archived = max(toys["kfac"].glob("evaluation.*"), key=lambda path: int(path.suffix[1:]))  # the newest
    first, second = (json.loads((folder / "metrics.json").read_text()) for folder in (
        archived, toys["kfac"] / "evaluation"))
    assert first == second


def test_data_that_do_not_fit(refuse, digits, toys, tmp_path):
    (tmp_path / "far.data").write_text("1e300 1.0\n")
    refuse("standard deviations of the training rows away", toys["ekfac"], "--data", tmp_path / "far.data")
    (tmp_path / "letters" / "x").mkdir(parents=True)
    write_digits(tmp_path / "letters", (1,))
    shutil.copy(str(next((tmp_path / "letters" / "1").iterdir())), str(tmp_path / "letters" / "x" / "1.png"))
    refuse("has the class x, which the run does not have (0, 1, 2,", digits[0], "--data", tmp_path / "letters")
    (tmp_path / "wide.data").write_text("1 2 3\n" * 3)
    refuse("has 3 columns, but the network takes 1 inputs and", toys["ekfac"], "--data", tmp_path / "wide.data")
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.new("L", (9, 9)).save(str(tmp_path / "images" / name / "1.png"))
    refuse("has images of 9 x 9 pixels with 1 channel, but the network takes 8 x 8 pixels with 1 channel", digits[0],
           "--data", tmp_path / "images")


def test_folders_without_a_run_or_with_a_damaged_one(refuse, toys, tmp_path):
    refuse("holds no run (there is no config.json)", tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(str(toys["ekfac"]), str(copy))
    before = sorted(copy.rglob("*"))
    for data in (copy / "checkpoint").glob("*.data-*"):
        data.write_bytes(data.read_bytes()[:50])
    refuse("is intact and belongs to this network", copy)
    assert sorted(copy.rglob("*")) == before
    shutil.rmtree(str(copy / "checkpoint"))
    refuse("has no checkpoint (yet)", copy)
    (copy / "config.json").write_text('{"config": []}')
    refuse("is damaged: it is not what train.py wrote", copy)
    (copy / "config.json").write_text("{")
    refuse("is damaged: it is not what train.py wrote", copy)


def test_a_mixture_of_other_splits(refuse, toys, tmp_path, capsys):
    other = train_run(tmp_path, **dict(TOY, split=2, epoch=2), optimizer="ekfac", exp_name="other")
    capsys.readouterr()
    refuse("do not have the same training and test rows: an ensemble needs one data set", toys["ekfac"], other,
           "--ensemble")


@pytest.mark.parametrize("path", sorted(ROOT.glob("config/regression/*_toy1d.json")), ids=lambda path: path.stem)
def test_toy_configs(path):
    made = Config.from_file(path)
    assert (made.dataset, made.optimizer) == ("toy1d", path.stem.split("_")[0]) and made.exp_name == path.stem
