"""A folder of images per class."""
import shutil

import numpy as np
from PIL import Image

from data_loader.images import read_folder
from tests.images.files import assert_same_rows, write_images


def test_classes_are_counted_by_name(load, tmp_path, rng):
    made = write_images(tmp_path, rng)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "b" / ".hidden").write_text("not a image")
    (tmp_path / "notes.txt").write_text("not a class")
    read = read_folder(tmp_path)
    assert read.classes == ["a10", "a9", "b"] and read.n_classes == 3 and read.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert (read.images == np.stack(made["a10"] + made["a9"] + made["b"])).all() and read.labels.dtype == np.int32
    data = load("images")
    assert data.classes == ["a10", "a9", "b"] and data.spec[1:3] == ((4, 6, 3), 3)
    assert (len(data.train.x), len(data.test.x), data.source) == (5, 1, str(tmp_path))


def test_grey_images_among_coloured_ones_become_coloured(tmp_path, rng):
    colour = write_images(tmp_path, rng, ["a"])["a"]
    grey = write_images(tmp_path, rng, ["b"], mode="L")["b"]
    images = read_folder(tmp_path).images
    assert (images[:2] == colour).all() and (images[2:] == np.array(grey)[..., None]).all() and images.shape[3] == 3


def test_grey_images_alone_have_one_channel(tmp_path, rng):
    made = write_images(tmp_path, rng, mode="L")
    Image.fromarray(made["b"][1]).convert("1").save(str(tmp_path / "b" / "1.png"))
    images = read_folder(tmp_path).images
    assert images.shape == (6, 4, 6, 1) and (images[4, ..., 0] == made["b"][0]).all()
    assert set(np.unique(images[5])) == {0, 255}


def test_palettes_and_transparency_are_read_as_colours(tmp_path, rng):
    made = write_images(tmp_path, rng, n=1)
    Image.fromarray(made["b"][0]).convert("RGBA").save(str(tmp_path / "b" / "0.png"))
    few = Image.fromarray(np.where(made["a9"][0] > 99, 255, 0).astype(np.uint8))
    few.quantize(8).save(str(tmp_path / "a9" / "0.png"))
    images = read_folder(tmp_path).images
    assert (images[2] == made["b"][0]).all() and (images[1] == np.asarray(few)).all()


def test_train_and_test_folders(load, tmp_path, rng):
    train = write_images(tmp_path / "train", rng, ["cat", "dog"], n=3)
    test = write_images(tmp_path / "test", rng, ["cat", "dog"], n=1, mode="L")
    data = load("images")
    assert_same_rows(data.train, train["cat"] + train["dog"], [0] * 3 + [1] * 3)
    assert (data.test.x == np.array(test["cat"] + test["dog"])[..., None]).all() and data.test.y.tolist() == [0, 1]
    assert data.classes == ["cat", "dog"] and data.spec[:3] == (6, (4, 6, 3), 2)


def test_a_train_folder_alone_is_split(load, tmp_path, rng):
    write_images(tmp_path / "train", rng, ["cat", "dog"], n=5)
    data = load("images", split=3)
    assert (len(data.train.x), len(data.test.x), data.split.index) == (8, 2, 3)


def test_images_that_cannot_be_used(refuse, tmp_path, rng):
    refuse(f"class folders in {tmp_path}: 0, but at least 2 are needed", "images")
    refuse("there is no folder .*none: set data_path to the folder of your images", "images",
           data_path=str(tmp_path / "none"))
    write_images(tmp_path, rng, ["a"])
    refuse("1, but at least 2 are needed .*/CLASS/IMAGE", "images")
    (tmp_path / "b").mkdir()
    refuse("class folder .*b holds no image", "images")
    write_images(tmp_path, rng, ["b"], size=(5, 4))
    refuse("0.png has 5 x 4 pixels, but the images before it have 6 x 4 .width x height, after their EXIF orientation.:"
           r" make them all one size, or set image_size, e.g. to \[4, 6\] .height, width.", "images")
    write_images(tmp_path, rng, ["b"])
    path = tmp_path / "b" / "1.png"
    for content in (b"", b"not a image", path.read_bytes()[:60], path.read_bytes()[:20]):
        path.write_bytes(content)
        refuse("1 image cannot be used: .*1.png .*; remove, repair or convert it", "images")


def test_test_images_that_do_not_fit(refuse, tmp_path, rng):
    write_images(tmp_path / "train", rng, ["cat", "dog"])
    write_images(tmp_path / "test", rng, ["cat", "fox"])
    refuse("test has the classes cat, fox, but the training images have cat, dog", "images")
    (tmp_path / "test" / "fox").rename(tmp_path / "test" / "dog")
    write_images(tmp_path / "test", rng, ["dog"], size=(4, 6))
    refuse("test/dog/0.png has 4 x 6 pixels, but the images before it have 6 x 4 ", "images")


def test_images_of_all_parts_that_cannot_be_read_are_named_at_once(refuse, tmp_path, rng):
    for part in ("train", "val", "test"):
        write_images(tmp_path / part, rng, ["cat", "dog"])
        (tmp_path / part / "dog" / "0.png").write_bytes(b"damaged")
    refuse("3 images cannot be used: .*train/dog/0.png .*test/dog/0.png .*val/dog/0.png", "images")
    shutil.rmtree(str(tmp_path / "test" / "dog"))  # a folder of another fault does not hide them
    refuse("2 images cannot be used: .*train/dog/0.png .*val/dog/0.png", "images")


def test_files_in_no_class_folder_are_counted(load, tmp_path, rng):
    for part in ("train", "test"):
        write_images(tmp_path / part, rng, ["cat", "dog"])
    (tmp_path / "train" / "dog" / "0.png").rename(tmp_path / "train" / "0.png")
    assert "note: left out: 1 file in no class folder (train/0.png)" in load("images").notices
