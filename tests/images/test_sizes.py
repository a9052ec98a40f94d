"""Images of several sizes: config keys image_size and image_fit; and what a trained network sees of a file."""
import numpy as np
import pytest
from PIL import Image

from core.assessment.inputs import Options, make_inputs
from core.training import run
from core.training.explain import explain
from data_loader.image_files import image_paths, read_files, read_images
from data_loader.image_sizes import FITS, Fit
from misc.errors import UserError
from tests.images.files import write_images


def blocks(*colours, height=20, width=20):
    """A Pillow image of vertical stripes [height, width] each."""
    return Image.fromarray(np.concatenate([np.full((height, width), c, np.uint8) for c in colours], axis=1))


def test_crop_keeps_the_centre_and_the_aspect_ratio():
    """As if the image were resized to cover the size, and its middle were cut out."""
    image = blocks(9, 90, 200, 9)  # 80 x 20, of which the middle 40 x 20 fill 8 x 4
    expected = np.asarray(image.resize((16, 4), Image.BILINEAR))[:, 4:12]
    assert np.array_equal(Fit(4, 8, "crop")(image), expected) and (expected[:, [1, 6]] == [90, 200]).all()
    turned = np.asarray(Fit(8, 4, "crop")(image.rotate(90, expand=True)))
    assert np.array_equal(turned, np.rot90(expected))


def test_pad_shows_the_whole_image_on_black():
    padded = np.asarray(Fit(8, 8, "pad")(blocks(90, 90, 90, 90)))  # 80 x 20 become 8 x 2
    assert (padded[3:5] == 90).all() and not padded[:3].any() and not padded[5:].any()
    padded = np.asarray(Fit(9, 3, "pad")(blocks(90, height=60, width=10)))  # 10 x 60 become 2 x 9
    assert (padded[:, :2] == 90).all() and not padded[:, 2].any()


def test_stretch_shows_the_whole_image():
    stretched = np.asarray(Fit(6, 4, "stretch")(blocks(10, 200, width=40)))
    assert stretched.shape == (6, 4) and (stretched[:, 0] == 10).all() and (stretched[:, 3] == 200).all()


@pytest.mark.parametrize("how", sorted(FITS))
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [(1, 500), (500, 1), (1, 1), (33, 17), (640, 480)])
def test_any_size_fits(how, mode, size):
    fitted = Fit(7, 5, how)(Image.new(mode, size, 255 if mode == "L" else (255, 255, 255)))
    assert fitted.size == (5, 7) and fitted.mode == mode and np.asarray(fitted).any()


@pytest.mark.parametrize("how", sorted(FITS))
def test_an_image_of_the_size_keeps_its_bits(tmp_path, rng, how):
    pixels = rng.randint(0, 256, (4, 6, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(str(tmp_path / "0.png"))
    assert np.array_equal(read_files([tmp_path / "0.png"], Fit(4, 6, how)).images[0], pixels)


def test_images_are_turned_before_they_are_resized(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise: the left stripe becomes the upper one
    blocks(10, 200).save(str(tmp_path / "0.png"), exif=exif)
    read = read_files([tmp_path / "0.png"], Fit(4, 2, "crop"))
    assert read.sources[0].size == (20, 40)
    assert (read.images[0][0] == 10).all() and (read.images[0][3] == 200).all()


def test_sizes_are_counted_in_a_notice(tmp_path, load, settings, rng):
    for part, n in (("train", 4), ("test", 1)):
        write_images(tmp_path / part, rng, ["a", "b"], n=n, size=(12, 8))
    write_images(tmp_path / "train", rng, ["a"], n=1, size=(9, 8))
    write_images(tmp_path / "test", rng, ["b"], n=1, size=(8, 8))
    data = load("images", image_size=[8, 12])
    note = ("note: 2 of 10 images resized to 12 x 8 pixels (width x height, image_fit crop): 1 of 9 x 8, 1 of 8 x 8")
    assert data.notices == (note,) and data.spec.shape == (8, 12, 3) and data.test.x.shape[1:] == (8, 12, 3)
    config = settings("images", image_size=[8, 12], epoch=1, experiments_path=str(tmp_path / "e"))
    assert any(note in line for line in explain(run.plan(config)))
    hashes = {load("images", image_size=[8, 12], image_fit=how).rows_hash for how in FITS}
    assert len(hashes) == 3 and load("images", image_size=[4, 4]).spec.shape == (4, 4, 3)


def test_many_sizes_are_not_all_named(tmp_path, load, rng):
    for number in range(1, 9):
        write_images(tmp_path, rng, ["a", "b"], n=9 - number, size=(number, 20))
    assert ("note: 16 of 16 images resized to 4 x 4 pixels (width x height, image_fit crop): 2 of 8 x 20, 2 of 7 x 20, "
            "2 of 6 x 20, 2 of 5 x 20, 2 of 4 x 20 and 6 of 3 other sizes") in load("images", image_size=[4, 4]).notices


def test_sizes_that_make_no_sense(refuse):
    for size in ([0, 5], [5], [5, 5, 5], [4097, 4], [1.5, 4], "4", [True, 4]):
        refuse("config: image_size", "images", image_size=size)
    refuse("image_fit pad has no effect without image_size: set image_size, e.g. to .32, 32., or", "images",
           image_fit="pad")
    refuse("image_size is for dataset images, but this config's dataset is digits: remove image_size", "digits",
           image_size=[8, 8])


def test_other_images_are_resized_as_those_of_the_run(tmp_path, load, settings, rng):
    """Images to evaluate on: with classes (--data), and out-of-distribution ones (--ood)."""
    write_images(tmp_path / "own", rng, ["a", "b"], n=5, size=(12, 8))
    other = write_images(tmp_path / "other", rng, ["a", "b"], n=1, size=(30, 10), mode="L")
    keys = dict(image_size=[5, 5], image_fit="pad", data_path=str(tmp_path / "own"))
    inputs = make_inputs(settings("images", **keys), load("images", **keys),
                         Options(data=str(tmp_path / "other"), ood=str(tmp_path / "other")))
    expected = [np.asarray(Fit(5, 5, "pad")(Image.fromarray(other[name][0]))) for name in "ab"]
    for part in (inputs["test"].make(), inputs["ood"].make()):
        assert np.array_equal(part.x, np.repeat(np.array(expected)[..., None], 3, axis=3))


# What a trained network sees of a file.

def test_a_network_sees_the_images_it_was_trained_on(tmp_path, load, rng):
    for size in ((12, 8), (9, 9)):
        write_images(tmp_path, rng, ["a", "b"], n=3 if size[0] == 9 else 5, size=size)
    for how in FITS:
        data = load("images", image_size=[5, 4], image_fit=how)
        seen = read_images(image_paths(tmp_path), data.spec.shape, how)
        assert seen.dtype == np.uint8 and seen.shape == (10, 5, 4, 3)
        assert sorted(image.tobytes() for image in seen) == sorted(
            image.tobytes() for part in (data.train, data.test) for image in part.x)


def test_grey_and_coloured_networks(tmp_path, rng):
    grey = write_images(tmp_path / "grey", rng, ["a"], n=1, mode="L")["a"][0]
    Image.fromarray(grey).convert("RGB").save(str(tmp_path / "equal.png"))
    write_images(tmp_path / "colour", rng, ["a"], n=1)
    paths = [tmp_path / "equal.png", tmp_path / "grey" / "a" / "0.png"]
    for n_channels in (1, 3):
        seen = read_images(paths, (4, 6, n_channels))
        assert np.array_equal(seen, np.broadcast_to(grey[..., None], (2, 4, 6, n_channels)))
    with pytest.raises(UserError, match="colour/a/0.png has colours, but the network was trained on grey images"):
        read_images([*paths, tmp_path / "colour" / "a" / "0.png"], (4, 6, 1))


def test_files_that_a_network_cannot_take(tmp_path, rng):
    write_images(tmp_path, rng, ["a"], n=2)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "bad.png").write_bytes(b"damaged")
    good = tmp_path / "a" / "0.png"
    for paths, message in (([good, tmp_path / "notes.txt"], "not an image: .*notes.txt$"),
                           ([tmp_path / "bad.png", good], "1 image cannot be used: .*bad.png"),
                           ([good, tmp_path / "none.png"], "cannot be used: .*none.png .*No such file")):
        with pytest.raises(UserError, match=message) as stop:
            read_images(paths, (4, 6, 3))
        assert "\n" not in str(stop.value)
    with pytest.raises(UserError, match="a/0.png has 6 x 4 pixels, but the network takes 4 x 6 .width x height."):
        read_images([good], (6, 4, 3))
    assert read_images([], (4, 6, 3)).shape == (0, 4, 6, 3)


def test_images_at_any_depth(tmp_path, rng):
    write_images(tmp_path / "x" / "deep", rng, ["b"], n=1)
    write_images(tmp_path, rng, ["x"], n=2)
    for name in (".hidden", "__MACOSX"):
        write_images(tmp_path / name, rng, ["a"], n=1)
    (tmp_path / "x" / "1.png").rename(tmp_path / "x" / "without_a_suffix")
    (tmp_path / "damaged.PNG").write_bytes(b"")
    for stray in ("Thumbs.db", ".DS_Store", "README", "._0.png"):
        (tmp_path / "x" / stray).write_text("no image")
    assert [str(path.relative_to(tmp_path)) for path in image_paths(tmp_path)] == [
        "damaged.PNG", "x/0.png", "x/without_a_suffix", "x/deep/b/0.png"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds no image"):
        image_paths(tmp_path / "empty")


def test_folders_that_archives_leave_are_no_classes(tmp_path, load, rng):
    write_images(tmp_path, rng, ["a", "b"], n=3)
    (tmp_path / "__MACOSX" / "a").mkdir(parents=True)
    (tmp_path / "__MACOSX" / "a" / "._0.png").write_bytes(b"resource fork")
    assert load("images").classes == ["a", "b"]
