"""Predictions of images, from folders, files and lists."""
import json
import pathlib
import shutil
import types

import numpy as np
import pandas
import pytest
from PIL import Image

import evaluate
import predict
import train
from core.assessment import encoded_rows
from core.assessment.restore import stored_data
from misc.folders import folder_at, read_config

pytestmark = pytest.mark.usefixtures("shared_graphs", "no_figures")


@pytest.fixture(scope="module")
def run_on_images(tmp_path_factory, shared_graphs):
    """The folder of a run on images of two classes with batch normalisation, whose images are gone."""
    place, rng = tmp_path_factory.mktemp("images"), np.random.RandomState(0)
    for number in range(40):
        folder = place / "data" / "train" / ("dark" if number % 2 else "light")
        folder.mkdir(parents=True, exist_ok=True)
        level = 60 if number % 2 else 180
        Image.fromarray(rng.randint(level - 40, level + 40, (9, 12, 3)).astype(np.uint8)).save(
            str(folder / f"{number}.png"))
    shutil.copytree(str(place / "data" / "train"), str(place / "data" / "test"))
    values = dict(mode="classification", dataset="images", data_path=str(place / "data"), optimizer="diag",
                  model_name="lenet", width=0.2, batch_norm=True, epoch=1, batch_size=20, image_size=[16, 16],
                  experiments_path=str(place / "e"), exp_name="run", test_particles=3)
    (place / "c.json").write_text(json.dumps(values))
    train.main(["--config", str(place / "c.json")])
    root = place / "e" / "images" / "run"
    evaluate.main([str(root)])
    shutil.move(str(place / "data"), str(place / "elsewhere"))
    return root, place / "elsewhere" / "test"


def predicted(root, rows, tmp_path, *flags):
    out = tmp_path / "p.csv"
    predict.main([str(root), str(rows), "--out", str(out), *flags])
    return pandas.read_csv(str(out))


def test_a_folder_is_predicted_as_the_test_images_were_evaluated(run_on_images, tmp_path):
    root, images = run_on_images
    table = predicted(root, images, tmp_path)
    assert list(table.columns[:5]) == ["file", "predicted", "confidence", "entropy", "mutual_information"]
    assert list(table["file"]) == sorted(str(path.relative_to(images)) for path in images.glob("*/*.png"))
    with np.load(str(root / "evaluation" / "predictions.npz")) as arrays:
        expected = arrays["probabilities"]
        classes = [str(name) for name in arrays["classes"]]
    found = table[[f"p_{name}" for name in classes]].to_numpy()
    np.testing.assert_allclose(np.sort(found, axis=0), np.sort(expected, axis=0), rtol=1e-6)


@pytest.mark.parametrize("batch", [[], ["--batch", "7"]])
def test_predictions_agree_with_the_evaluation_to_the_last_digit(run_on_images, tmp_path, monkeypatch, batch):
    """Those of predict.py, of evaluate.py on the same folder, and, with the batches of the training, of train.py."""
    root, images = run_on_images
    monkeypatch.setattr(encoded_rows, "IMAGES_AT_ONCE", 10)
    evaluate.main([str(root), "--data", str(images), *batch])
    out = tmp_path / "p.csv"
    predict.main([str(root), str(images), "--out", str(out), *batch])
    found, expected = (pandas.read_csv(str(path), dtype=str) for path in (out, root / "evaluation" / "predictions.csv"))
    assert list(expected.columns[:3]) == ["file", "target", "predicted"]
    assert list(expected["target"]) == [pathlib.Path(name).parts[0] for name in expected["file"]]
    pandas.testing.assert_frame_equal(found, expected.drop(columns="target"))
    if not batch:
        trained = pandas.read_csv(str(root / "predictions.csv"), dtype=str)
        assert list(trained["file"]) == [f"test/{name}" for name in found["file"]]
        pandas.testing.assert_frame_equal(trained.drop(columns="file"), expected.drop(columns="file"))


@pytest.mark.parametrize("batch, sizes", [(7, [14, 14, 12]), (10, [10] * 4), (3, [12, 12, 12, 4]), (64, [40])])
def test_blocks_are_whole_batches(run_on_images, monkeypatch, batch, sizes):
    """Then the batches are those of an evaluation."""
    root, images = run_on_images
    monkeypatch.setattr(encoded_rows, "IMAGES_AT_ONCE", 10)
    config, _ = read_config(root, {"test_batch_size": batch})
    run = types.SimpleNamespace(data=stored_data(folder_at(root)), config=config)
    blocks = list(encoded_rows.encoded_rows([run], str(images), None))
    assert [len(block.ids) for block in blocks] == [len(block.inputs[0]) for block in blocks] == sizes
    assert [block.first for block in blocks] == np.cumsum([0, *sizes[:-1]]).tolist()


def test_a_list_and_a_single_image(run_on_images, tmp_path, monkeypatch):
    root, images = run_on_images
    paths = sorted(images.glob("*/*.png"))[3:6]
    (tmp_path / "list.txt").write_text("\n".join(map(str, paths)))
    listed = predicted(root, tmp_path / "list.txt", tmp_path)
    assert list(listed["file"]) == [str(path) for path in paths]
    single = predicted(root, paths[1], tmp_path)
    np.testing.assert_allclose(single["confidence"], listed["confidence"][1:2], rtol=1e-6)


@pytest.mark.parametrize("name, message", [("none.png", "there is no such file"), ("t.csv", "no.png")])
def test_what_is_no_image_is_refused(run_on_images, tmp_path, capsys, name, message):
    root, _ = run_on_images
    (tmp_path / "t.csv").write_text("no.png\n")
    with pytest.raises(SystemExit) as stop:
        predict.main([str(root), str(tmp_path / name)])
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert stop.value.code == 2 and error.startswith("predict.py: ") and message in error


def test_bad_images_are_left_out_on_request(run_on_images, tmp_path, capsys):
    root, images = run_on_images
    place = tmp_path / "some"
    place.mkdir()
    for path in sorted(images.glob("*/*.png"))[:3]:
        shutil.copy(str(path), str(place))
    (place / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    table = predicted(root, place, tmp_path, "--skip-bad")
    assert len(table) == 3 and "x.png" in capsys.readouterr().err
    assert not pathlib.Path(str(tmp_path / "p.csv.part")).exists()
