"""Images of several modes and depths in one set."""
import numpy as np
import pytest
from PIL import Image

from data_loader.image_files import read_files
from data_loader.images import read_folder
from misc.errors import UserError
from tests.images.files import write_images, write_png16, write_tiff16

DEEP = "of 16 bits per channel (the upper 8 are kept)"


def only(path):
    """(pixels [height, width, channels], what was done) of one file."""
    read = read_files([path])
    return read.images[0], read.sources[0].done


@pytest.mark.parametrize("colour", [0, 2])
@pytest.mark.parametrize("alpha", [False, True])
def test_pngs_of_16_bits_keep_the_upper_8(tmp_path, rng, colour, alpha):
    n_colours = 3 if colour else 1
    deep = rng.randint(0, 65536, (4, 6, n_colours + alpha))
    deep[..., n_colours:] = 65535
    write_png16(tmp_path / "0.png", deep, colour + 4 * alpha)
    image, done = only(tmp_path / "0.png")
    assert image.dtype == np.uint8 and np.array_equal(image, deep[..., :n_colours] >> 8) and done == (DEEP,)


def test_transparency_of_16_bits_is_laid_on_white(tmp_path, rng):
    alpha = rng.randint(0, 65536, (4, 6))
    write_png16(tmp_path / "0.png", np.dstack([np.zeros((4, 6, 3), int), alpha]), 6)
    image, done = only(tmp_path / "0.png")
    assert (image == 255 - (alpha >> 8)[..., None]).all() and done == (DEEP, "with transparent parts (laid on white)")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("n_channels", [1, 3, 4])
def test_tiffs_of_16_bits_keep_the_upper_8(tmp_path, rng, order, n_channels):
    deep = rng.randint(0, 65536, (4, 6, n_channels))
    deep[..., 3:] = 65535
    write_tiff16(tmp_path / "0.tif", deep, order)
    image, done = only(tmp_path / "0.tif")
    assert np.array_equal(image, deep[..., :3] >> 8) and done == (DEEP,)


def test_turned_images_of_16_bits(tmp_path, rng):
    deep, exif = rng.randint(0, 65536, (4, 6)).astype(np.uint16), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(deep).save(str(tmp_path / "0.png"), exif=exif)
    assert np.array_equal(only(tmp_path / "0.png")[0][..., 0], np.rot90(deep >> 8, -1))


@pytest.mark.parametrize("write", [
    lambda path: write_tiff16(path, np.full((4, 6, 1), 40000), sample_format=2),  # signed
    lambda path: write_tiff16(path, np.full((4, 6, 1), 40000), photometric=0),    # white is 0
    lambda path: Image.fromarray(np.full((4, 6), 40000, np.int32)).save(str(path)),
    lambda path: Image.fromarray(np.full((4, 6), 0.5, np.float32)).save(str(path))],
    ids=["signed", "white is 0", "32 bits", "float"])
def test_other_depths_are_refused(tmp_path, write):
    write(tmp_path / "0.tif")
    with pytest.raises(UserError, match="0.tif .more than 8 bits per channel, mode .*only PNGs and TIFFs of 16"):
        read_files([tmp_path / "0.tif"])


def test_sets_of_12_bits_in_16_are_refused(tmp_path, load, refuse, rng):
    """Their upper 8 bits would be nearly black. One brighter image shows that all 16 bits are in use."""
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(4):
            write_png16(tmp_path / name / f"{number}.png", rng.randint(0, 4096, (4, 6, 1)), 0)
    refuse("no value of the 8 images of 16 bits per channel .e.g. .*a/0.png. reaches 4096, .*: rescale them", "images")
    write_png16(tmp_path / "a" / "0.png", rng.randint(4096, 65536, (4, 6, 1)), 0)
    assert load("images").notices == (f"note: converted, of 8 images: 8 {DEEP}",)


def test_a_set_of_all_modes(tmp_path, load, rng):
    """They become RGB, and a notice counts what was done."""
    made = write_images(tmp_path, rng, ["a", "b"], n=4)
    grey = rng.randint(0, 256, (4, 6)).astype(np.uint8)
    Image.fromarray(grey).save(str(tmp_path / "a" / "1.png"))
    Image.fromarray(grey + 1).save(str(tmp_path / "a" / "2.png"))
    Image.fromarray(made["a"][3]).convert("CMYK").save(str(tmp_path / "a" / "3.tif"))
    (tmp_path / "a" / "3.png").unlink()
    Image.fromarray(grey).convert("P").save(str(tmp_path / "b" / "0.png"))
    Image.fromarray(np.dstack([made["b"][1], grey // 2])).save(str(tmp_path / "b" / "1.png"))
    Image.fromarray(np.dstack([made["b"][2], np.full((4, 6), 255, np.uint8)])).save(str(tmp_path / "b" / "2.png"))
    write_png16(tmp_path / "b" / "3.png", made["b"][3].astype(int) * 257, 2)
    images = read_folder(tmp_path).images
    assert np.array_equal(images[1], np.repeat(grey[..., None], 3, axis=2)) and np.array_equal(images[3], made["a"][3])
    assert np.array_equal(images[4], images[1]) and np.array_equal(images[6:], made["b"][2:])
    assert load("images").notices == (
        "note: converted, of 8 images: 2 grey (to three equal channels), 1 of 16 bits per channel (the upper 8 are "
        "kept), 1 of mode CMYK (converted to RGB), 1 with a palette (read as colours), 1 with transparent parts (laid "
        "on white)",
        "note: 1 image stands in more than one class: a/1.png and b/0.png are equal")


def test_one_coloured_part_makes_all_parts_coloured(tmp_path, load, rng):
    grey = write_images(tmp_path / "train", rng, ["a", "b"], mode="L")
    colour = write_images(tmp_path / "test", rng, ["a", "b"])
    data = load("images")
    assert data.spec.shape == (4, 6, 3) and np.array_equal(data.test.x, colour["a"] + colour["b"])
    assert sorted(image.tobytes() for image in data.train.x) == sorted(
        np.repeat(image[..., None], 3, axis=2).tobytes() for image in grey["a"] + grey["b"])
    assert data.notices == ("note: converted, of 8 images: 4 grey (to three equal channels)",)


def test_equal_images_in_several_classes_are_counted(tmp_path, load, rng):
    """Twice the same image in one class is no contradiction."""
    made = write_images(tmp_path, rng, ["a", "b", "c"], n=3)
    Image.fromarray(made["a"][0]).save(str(tmp_path / "a" / "copy.png"))
    assert not [note for note in load("images").notices if "class" in note]
    Image.fromarray(made["b"][2]).save(str(tmp_path / "c" / "copy.png"))
    Image.fromarray(made["a"][0]).save(str(tmp_path / "b" / "copy.png"))
    Image.fromarray(made["a"][0]).save(str(tmp_path / "c" / "again.png"))
    note, = (note for note in load("images").notices if "class" in note)
    assert note == "note: 2 images stand in more than one class: a/0.png and b/copy.png are equal, for example"


def test_images_that_are_no_files_are_numbered(tmp_path, load):
    from tests.images.files import IDX_NAMES, idx

    images = np.arange(6 * 4, dtype=np.uint8).reshape(6, 2, 2)
    images[5] = images[2]
    for name, array in zip(IDX_NAMES, (images, np.arange(6, dtype=np.uint8), images[:1], np.zeros(1, np.uint8))):
        (tmp_path / name).write_bytes(idx(array))
    assert "note: 1 image stands in more than one class: number 2 and number 5 are equal" in load("mnist").notices
