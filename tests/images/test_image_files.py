"""Folders of image files as people have them: turned photographs, stray files, damaged images, validation folders."""
import numpy as np
import pytest
from PIL import Image

from core.training import run
from core.training.explain import explain
from data_loader.classification import load_classification
from data_loader.images import read_folder, read_unlabelled
from data_loader.ood import ood_images
from misc.config import Config
from misc.errors import UserError
from misc.folders import run_folder
from tests.images.files import assert_same_rows, write_images

ORIENTATION = 0x0112  # tag of EXIF
UPRIGHT = {  # value of the tag -> stored image to image as it is shown
    1: lambda image: image, 2: np.fliplr, 3: lambda image: np.rot90(image, 2), 4: np.flipud,
    5: lambda image: np.swapaxes(image, 0, 1), 6: lambda image: np.rot90(image, -1),
    7: lambda image: np.swapaxes(np.rot90(image, 2), 0, 1), 8: np.rot90}


@pytest.fixture
def config(tmp_path):
    """Function (**overrides) -> Config of a run on the images in tmp_path / images."""
    values = dict(mode="classification", dataset="images", data_path=str(tmp_path / "images"), optimizer="sgd",
                  model_name="linear", epoch=1, experiments_path=str(tmp_path / "experiments"))
    return lambda **overrides: Config.from_dict(dict(values, **overrides))


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("orientation", sorted(UPRIGHT))
def test_images_are_turned_as_viewers_show_them(tmp_path, rng, orientation, mode):
    stored, exif = rng.randint(0, 256, (6, 4, 3) if mode == "RGB" else (6, 4)).astype(np.uint8), Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(stored).save(str(tmp_path / "0.png"), exif=exif)
    expected = UPRIGHT[orientation](stored).reshape(*((6, 4) if orientation < 5 else (4, 6)), -1)
    assert np.array_equal(read_unlabelled(tmp_path).images[0], expected)


@pytest.mark.parametrize("orientation", sorted(UPRIGHT))
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_tiffs_are_turned_once(tmp_path, rng, orientation, compression):
    """Pillow turns them by itself."""
    stored = rng.randint(0, 256, (6, 4)).astype(np.uint8)
    Image.fromarray(stored).save(str(tmp_path / "0.tif"), tiffinfo={ORIENTATION: orientation}, compression=compression)
    assert np.array_equal(read_unlabelled(tmp_path).images[0][..., 0], UPRIGHT[orientation](stored))


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_other_formats_are_turned_once(tmp_path, suffix):
    stored, exif = np.zeros((16, 8), np.uint8), Image.Exif()
    stored[:8] = 255  # the upper half
    exif[ORIENTATION] = 6  # to be shown turned clockwise
    Image.fromarray(stored).save(str(tmp_path / f"0.{suffix}"), exif=exif)
    found = read_unlabelled(tmp_path).images[0]
    assert found.shape[:2] == (8, 16) and found[:, 9:].min() > 200 and found[:, :7].max() < 50


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_orientations_are_ignored(tmp_path):
    Image.fromarray(np.zeros((6, 4), np.uint8)).save(str(tmp_path / "0.jpg"), exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert read_unlabelled(tmp_path).images[0].shape == (6, 4, 1)


# Files that are no images, and images that cannot be read.

def write_stray_files(folder):
    for name in ("Thumbs.db", "notes.txt", ".DS_Store", "._0.png", "labels.csv"):
        (folder / name).write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 no image")


def test_files_that_are_no_images_are_skipped_and_counted(config, tmp_path, rng, capsys):
    made = write_images(tmp_path / "images", rng)
    write_stray_files(tmp_path / "images" / "b")
    (tmp_path / "images" / "a9" / "raw").mkdir()
    data = load_classification(config())
    assert_same_rows(data.train._replace(x=np.concatenate([data.train.x, data.test.x]),
                                         y=np.concatenate([data.train.y, data.test.y])),
                     made["a10"] + made["a9"] + made["b"], [0, 0, 1, 1, 2, 2])
    note, = data.notices
    assert note == ("note: left out: 5 files that are no images and 1 folder inside a class folder ("
                    "b/.DS_Store, b/._0.png, b/Thumbs.db, b/labels.csv, b/notes.txt, a9/raw)")
    plan = run.plan(config())
    assert any(note in line for line in explain(plan))
    run.execute(plan)
    assert note in run_folder(config()).log.read_text()
    assert len(ood_images(str(tmp_path / "images"), "", (4, 6, 3))) == 6
    assert "5 files that are no images" in capsys.readouterr().err


def test_nothing_is_said_of_clean_folders(config, tmp_path, rng):
    write_images(tmp_path / "images", rng)
    assert load_classification(config()).notices == ()


def test_links_to_nothing_are_unreadable_images(tmp_path, rng):
    write_images(tmp_path, rng)
    (tmp_path / "b" / "link.png").symlink_to(tmp_path / "nowhere.png")
    for read in (read_folder, read_unlabelled):
        with pytest.raises(UserError, match="1 image cannot be used: .*link.png .*No such file"):
            read(tmp_path)


def test_unreadable_images_are_named_at_once(tmp_path, rng):
    made = write_images(tmp_path, rng, n=9)
    assert made
    for number in range(4):
        (tmp_path / "b" / f"{number}.png").write_bytes(b"")
    Image.fromarray(np.zeros((4, 6), np.float32)).save(str(tmp_path / "a9" / "5.tif"))
    (tmp_path / "a9" / "6.heic").write_bytes(b"of a telephone")
    with pytest.raises(UserError) as error:
        read_folder(tmp_path)
    text = str(error.value)
    assert text.startswith("6 images cannot be used: ") and text.endswith("; remove, repair or convert them")
    assert "\n" not in text and "a9/5.tif (more than 8 bits per channel, mode F" in text
    assert all(f"b/{number}.png (" in text for number in range(4)) and "a9/6.heic (" in text
    for name in ("a9", "a10"):
        for number in range(9):
            (tmp_path / name / f"{number}.png").write_bytes(b"")
    with pytest.raises(UserError, match="^24 images cannot be used: ") as error:
        read_folder(tmp_path)
    assert str(error.value).count(".png (") == 10 and "and 14 more" in str(error.value)


def test_colours_of_12_bits_are_refused(tmp_path):
    (tmp_path / "0.ppm").write_bytes(b"P6\n6 4\n4095\n" + np.full((4, 6, 3), 200, ">u2").tobytes())
    with pytest.raises(UserError, match="more than 8 bits per channel"):
        read_unlabelled(tmp_path)


@pytest.mark.parametrize("suffix", ["gif", "png", "tif", "webp"])
def test_several_images_in_a_file_are_refused(tmp_path, suffix):
    frames = [Image.fromarray(np.full((4, 6, 3), level, np.uint8)) for level in (10, 200)]
    frames[0].save(str(tmp_path / f"0.{suffix}"), save_all=True, append_images=frames[1:])
    with pytest.raises(UserError, match="2 images in one file, of which only the first would be read"):
        read_unlabelled(tmp_path)


def test_the_thumbnail_of_a_tiff_is_no_second_image(tmp_path, rng):
    image = rng.randint(0, 256, (4, 6)).astype(np.uint8)
    small = Image.fromarray(image[::2, ::2].copy())
    Image.fromarray(image).save(str(tmp_path / "0.tif"), save_all=True, append_images=[small])
    assert np.array_equal(read_unlabelled(tmp_path).images[0][..., 0], image)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_parts_are_white(tmp_path, rng, mode):
    """A black glyph on a transparent ground: without its alpha channel the image is black throughout."""
    alpha = rng.randint(0, 256, (4, 6)).astype(np.uint8)
    channels = [np.zeros((4, 6), np.uint8)] * (len(mode) - 1) + [alpha]
    Image.fromarray(np.dstack(channels), mode).save(str(tmp_path / "0.png"))
    found = read_unlabelled(tmp_path).images[0]
    assert found.shape == (4, 6, len(mode) - 1) and (found == 255 - alpha[..., None]).all()


def test_a_transparent_colour_is_white(tmp_path):
    image = np.array([[7, 7, 90], [90, 7, 200]], np.uint8)
    Image.fromarray(image).save(str(tmp_path / "0.png"), transparency=7)
    assert read_unlabelled(tmp_path).images[0][..., 0].tolist() == [[255, 255, 90], [90, 255, 200]]


def test_opaque_images_keep_their_bits(tmp_path, rng):
    image = rng.randint(0, 256, (4, 6, 4)).astype(np.uint8)
    image[..., 3] = 255
    Image.fromarray(image).save(str(tmp_path / "0.png"))
    assert np.array_equal(read_unlabelled(tmp_path).images[0], image[..., :3])


def test_a_class_without_images_is_refused(tmp_path, rng):
    write_images(tmp_path, rng, ["a", "b"])
    (tmp_path / "c").mkdir()
    write_stray_files(tmp_path / "c")
    with pytest.raises(UserError, match="class folder .*c holds no image"):
        read_folder(tmp_path)


# A folder of validation images.

@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_validation_folders_are_validation_rows(config, tmp_path, rng, name):
    parts = {part: write_images(tmp_path / "images" / part, rng, ["cat", "dog"], n)
             for part, n in (("train", 4), (name, 3), ("test", 2))}
    data = load_classification(config())
    for part, made in ((data.train, parts["train"]), (data.valid, parts[name]), (data.test, parts["test"])):
        n = len(made["cat"])
        assert_same_rows(part, made["cat"] + made["dog"], [0] * n + [1] * n)
    assert data.spec.n_rows == 8 and data.notices == ()
    only = load_classification(config(evaluate_on="validation"))
    assert only.test is None and np.array_equal(only.valid.x, data.valid.x)


def test_validation_folders_beside_training_images_that_are_split(config, tmp_path, rng):
    write_images(tmp_path / "images" / "train", rng, ["cat", "dog"], 5)
    valid = write_images(tmp_path / "images" / "val", rng, ["cat", "dog"], 1)
    data = load_classification(config(split=3))
    assert (len(data.train.x), len(data.test.x)) == (8, 2)
    assert_same_rows(data.valid, valid["cat"] + valid["dog"], [0, 1])


def test_folders_that_contradict(config, tmp_path, rng):
    for part in ("train", "val", "test", "unlabelled"):
        write_images(tmp_path / "images" / part, rng, ["cat", "dog"])
    assert load_classification(config()).notices == (f"note: {tmp_path / 'images'} also holds unlabelled, which is not "
                                                   "read (only train, test and val are)",)
    for keys in (dict(validation_fraction=0.2), dict(validation_fold=1)):
        with pytest.raises(UserError, match="has validation images of its own: remove validation_f"):
            load_classification(config(**keys))
    write_images(tmp_path / "images" / "valid", rng, ["cat", "dog"])
    with pytest.raises(UserError, match="holds val and valid: keep one folder of validation images"):
        load_classification(config())


def test_images_that_also_train_are_counted(config, tmp_path, rng):
    """One test image is a copy under its own class, one under the other class."""
    root = tmp_path / "images"
    made = write_images(root / "train", rng, ["cat", "dog"])
    write_images(root / "val", rng, ["cat", "dog"])
    write_images(root / "test", rng, ["cat", "dog"])
    assert load_classification(config()).notices == ()
    for name in ("cat", "dog"):
        Image.fromarray(made["cat"][0]).save(str(root / "test" / name / "copy.png"))
    Image.fromarray(made["dog"][1]).save(str(root / "val" / "dog" / "0.png"))
    assert load_classification(config()).notices == (
        "note: 1 image stands in more than one class: train/cat/0.png and test/dog/copy.png are equal",
        "note: 1 of the 4 validation images also stand among the training images",
        "note: 2 of the 6 test images also stand among the training images")
    assert (load_classification(config()).n_valid_in_train, load_classification(config()).n_test_in_train) == (1, 2)


def test_validation_rows_are_missed(config, tmp_path, rng):
    write_images(tmp_path / "images" / "train", rng, ["cat", "dog"])
    with pytest.raises(UserError, match="evaluate_on validation needs validation rows: .* or put a folder val"):
        load_classification(config(evaluate_on="validation"))
