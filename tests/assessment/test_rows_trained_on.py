"""Images that a run was trained on are counted where it is evaluated on them."""
import json

import numpy as np
import pytest
from PIL import Image

import evaluate
from core.assessment.inputs import Options
from core.training import run
from data_loader.classification import n_equal_images
from misc.config import Config
from misc.folders import run_folder
from tests.assessment.runs import DIGITS, evaluated, write_digits
from tests.images.files import write_images

pytestmark = pytest.mark.usefixtures("shared_graphs")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of 40 digits in two classes."""
    path = tmp_path_factory.mktemp("digits") / "own"
    write_digits(path, (3, 7))
    return path


@pytest.fixture(scope="module")
def root(folder, tmp_path_factory):
    """Folder of a run on them: 32 train, 8 test."""
    config = Config.from_dict(dict(DIGITS, dataset="images", data_path=str(folder), epoch=1, test_particles=2,
                                   experiments_path=str(tmp_path_factory.mktemp("run"))))
    run.execute(run.plan(config))
    return run_folder(config).root


@pytest.mark.usefixtures("no_figures")
def test_the_training_folder_is_recognised_row_by_row(root, folder, capsys):
    evaluate.main([str(root), "--data", str(folder), "--ood", str(folder)])
    numbers = json.loads((root / "evaluation" / "metrics.json").read_text())
    assert numbers["n_in_train"] == numbers["n_ood_in_train"] == 32
    printed = capsys.readouterr().out
    for rows in ("rows", "OOD rows"):
        assert f"32 of the 40 {rows} (ekfac_images) are rows that the run was trained on: these metrics are" in printed


@pytest.mark.usefixtures("no_figures")
def test_other_images_are_not_counted(root, tmp_path, rng, capsys):
    write_images(tmp_path, rng, ["3", "7"], n=2, mode="L", size=(8, 8))
    evaluate.main([str(root), "--data", str(tmp_path), "--ood", "noise"])
    assert "trained on" not in capsys.readouterr().out
    assert evaluated(root, Options()).results.more["n_in_train"] == 0


def test_a_folder_of_parts_is_refused_with_a_hint(root, tmp_path, rng, capsys):
    write_images(tmp_path / "train", rng, ["3", "7"])
    with pytest.raises(SystemExit) as stop:
        evaluate.main([str(root), "--data", str(tmp_path)])
    assert stop.value.code == 2 and f"give one of them, e.g. {tmp_path / 'test'}" in capsys.readouterr().err


def test_equal_images_are_counted(rng, tmp_path):
    images = rng.randint(0, 256, (5, 3, 2, 3)).astype(np.uint8)
    changed = images.copy()
    changed[0, 0, 0, 0] ^= 1
    assert n_equal_images(images[[0, 0, 4]], images) == 3
    assert n_equal_images(changed[:, ::1], images) == 4 and n_equal_images(images[:0], images) == 0
    Image.fromarray(images[1]).save(str(tmp_path / "1.png"))
    assert n_equal_images(np.asarray(Image.open(str(tmp_path / "1.png")))[None], images) == 1
