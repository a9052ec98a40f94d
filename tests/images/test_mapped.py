"""Images that are mapped into memory (key image_cache) are those in memory, and train to the same result."""
import hashlib
import shutil

import numpy as np
import pytest
from PIL import Image

from core.training import evaluation, run
from data_loader import classification, image_files
from data_loader.classification import hash_of_images, images_hash, n_equal_images, pixel_statistics
from data_loader.image_files import read_files
from data_loader.mapped_images import MappedImages, Store, all_of, joined, take, widened
from data_loader.splits import hash_of_rows
from misc.config import Config
from misc.errors import UserError
from tests.images.files import write_images


@pytest.fixture
def mapped(rng):
    """Six images of 2 x 3 pixels, of which the second and the last are grey: (MappedImages, the same as an array)."""
    images = [rng.randint(0, 256, (2, 3, 1 if number in (1, 5) else 3)).astype(np.uint8) for number in range(6)]
    store = Store(np.concatenate([image.ravel() for image in images]), [image.shape for image in images])
    return all_of(store), np.stack([np.broadcast_to(image, (2, 3, 3)) for image in images])


@pytest.fixture
def both(settings, tmp_path):
    """Function (**overrides) -> ImageData of tmp_path in memory, and mapped."""
    def load(**overrides):
        return [classification.load_classification(settings("images", image_cache=cache, **overrides))
                for cache in (None, str(tmp_path / ".kept"))]

    return load


@pytest.fixture
def decoded(monkeypatch):
    """Names of the files that were decoded."""
    names, original = [], image_files._read_image

    def counted(path, fit):
        names.append(path.name)
        return original(path, fit)

    monkeypatch.setattr(image_files, "_read_image", counted)
    return names


def test_they_are_indexed_as_an_array(mapped):
    images, array = mapped
    assert images.shape == array.shape and images.size == array.size and len(images) == 6 and images.ndim == 4
    rows = np.array([4, 1, 1, 5])
    for key in (slice(None), slice(1, 4), slice(4, 9), rows, np.arange(0), 3, np.int64(1)):
        assert images[key].dtype == np.uint8 and np.array_equal(images[key], array[key])
    assert np.array_equal(np.asarray(images), array) and np.array_equal(np.stack(list(images)), array)
    some = take(images, rows)
    assert isinstance(some, MappedImages) and np.array_equal(some[:], array[rows])
    assert np.array_equal(take(some, np.array([3, 0]))[:], array[rows[[3, 0]]])
    assert np.array_equal(take(array, rows), array[rows])
    with pytest.raises(IndexError):
        images[6]


def test_parts_are_joined(mapped):
    images, array = mapped
    grey = all_of(Store(np.arange(12, dtype=np.uint8), [(2, 3, 1)] * 2))
    wide = widened(grey, 3)
    whole = joined([take(images, np.array([2, 5])), wide, take(images, np.array([0]))])
    expected = np.concatenate([array[[2, 5]], np.repeat(np.arange(12).reshape(2, 2, 3, 1), 3, axis=3), array[:1]])
    assert grey.shape == (2, 2, 3, 1) and np.array_equal(whole[:], expected)
    assert np.array_equal(take(whole, np.array([4, 2]))[:], expected[[4, 2]])
    assert joined([images]) is not None and np.array_equal(joined([array, array]), np.concatenate([array, array]))
    assert np.array_equal(widened(array[..., :1], 3), np.repeat(array[..., :1], 3, axis=3))


def test_statistics_and_hashes_are_those_of_the_array(mapped, monkeypatch):
    images, array = mapped
    labels = np.arange(6)
    for size in (1, 40, 10**6):
        monkeypatch.setattr(classification, "BLOCK_BYTES", size)
        assert np.array_equal(pixel_statistics(images), pixel_statistics(array))
        assert np.array_equal(hash_of_images(images), hash_of_rows(array))
        expected = hashlib.sha256(array.tobytes() + labels.astype("<i4").tobytes()).hexdigest()[:16]
        assert images_hash(images, labels) == images_hash(array, labels) == expected
        assert n_equal_images(images, array[2:4]) == n_equal_images(array[2:4], images) == 2
    flat = array.reshape(-1, 3).astype(float)
    assert np.allclose(pixel_statistics(images).mean, flat.mean(axis=0))
    assert np.allclose(pixel_statistics(images).std, flat.std(axis=0))


def assert_equal_data(one, other):
    """Asserts that data in memory and mapped data are the same."""
    assert isinstance(one.train.x, np.ndarray) and isinstance(other.train.x, MappedImages)
    assert other.spec.is_mapped and not one.spec.is_mapped
    for name in ("train", "valid", "test"):
        part, same = getattr(one, name), getattr(other, name)
        assert (part is None) == (same is None)
        if part is not None:
            assert np.array_equal(part.x, same.x) and np.array_equal(part.y, same.y)
            assert list(part.ids) == list(same.ids)
    for name in ("rows_hash", "split_hash", "notices", "classes", "n_test_in_train", "n_valid_in_train"):
        assert getattr(one, name) == getattr(other, name)
    assert np.array_equal(one.spec.pixels, other.spec.pixels)


def test_a_folder_with_grey_and_turned_images(both, tmp_path, rng):
    write_images(tmp_path, rng, n=5)
    Image.fromarray(rng.randint(0, 256, (4, 6)).astype(np.uint8)).save(str(tmp_path / "b" / "grey.png"))
    (tmp_path / "b" / "notes.txt").write_text("no image")
    for _ in range(2):  # decoded, and found
        assert_equal_data(*both(validation_fraction=0.3))


def test_parts_and_sizes(both, tmp_path, rng):
    for name, mode in (("train", "L"), ("test", "RGB"), ("val", "L")):
        write_images(tmp_path / name, rng, n=3, mode=mode, size=(6, 4) if name != "val" else (9, 9))
    data = both(image_size=[4, 6], image_fit="pad")
    assert_equal_data(*data)
    assert data[1].spec.shape == (4, 6, 3) and len(list((tmp_path / ".kept").iterdir())) == 6


def test_files_are_decoded_once(both, tmp_path, rng, decoded):
    write_images(tmp_path, rng, n=3)
    names = sorted(path.name for path in tmp_path.glob("*/*.*") if path.parent.name != ".kept")
    both()
    assert sorted(decoded) == sorted([*names, *names])
    del decoded[:]
    both()
    assert sorted(decoded) == names  # of the one in memory
    changed = sorted((tmp_path / "b").iterdir())[0]
    Image.fromarray(rng.randint(0, 256, (4, 6, 3)).astype(np.uint8)).save(str(changed))
    assert_equal_data(*both())
    del decoded[:]
    assert_equal_data(*both(image_size=[4, 4]))
    assert len(decoded) == 2 * len(names)
    for path in (tmp_path / ".kept").glob("*.bytes"):
        path.write_bytes(path.read_bytes()[:-1])
    assert_equal_data(*both())
    for path in (tmp_path / ".kept").glob("*.json"):
        path.write_text("{")
    assert_equal_data(*both())


def test_what_cannot_be_used_is_refused_and_not_kept(settings, tmp_path, rng):
    write_images(tmp_path, rng, n=3)
    (tmp_path / "b" / "broken.png").write_bytes(b"no pixels")
    folder = tmp_path / ".kept"
    with pytest.raises(UserError, match="1 image cannot be used: .*broken.png"):
        classification.load_classification(settings("images", image_cache=str(folder)))
    assert not list(folder.iterdir())
    shutil.rmtree(str(folder))
    (tmp_path / "b" / "broken.png").unlink()
    folder.write_text("a file")
    with pytest.raises(UserError, match="image_cache .*kept cannot be written"):
        classification.load_classification(settings("images", image_cache=str(folder)))
    with pytest.raises(UserError, match="image_cache is for dataset images, but this config's dataset is digits"):
        classification.load_classification(settings("digits", image_cache=str(folder)))


def test_dark_images_of_16_bits_are_refused(settings, tmp_path, rng):
    write_images(tmp_path, rng, n=2, mode="L")
    for path in list(tmp_path.glob("*/*")):
        Image.fromarray(rng.randint(0, 4000, (4, 6)).astype(np.uint16)).save(str(path))
    with pytest.raises(UserError, match="no value of the .* images of 16 bits per channel"):
        classification.load_classification(settings("images", image_cache=str(tmp_path / ".kept")))


def test_no_images_at_all(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    for _ in range(2):
        read = read_files([tmp_path / "notes.txt"], cache=str(tmp_path / "kept"))
        assert not read.images and [path.name for path in read.skipped] == ["notes.txt"]


@pytest.mark.parametrize("network", [{"model_name": "ffn", "hidden": [4], "data_aug": True},
                                     pytest.param({"model_name": "lenet", "width": 0.2, "data_aug": True,
                                                   "batch_norm": True}, marks=pytest.mark.slow)])
def test_they_train_to_the_same_result_to_the_last_bit(network, tmp_path, rng, monkeypatch):
    monkeypatch.setattr(evaluation, "misclassified_figure", lambda *args: None)
    write_images(tmp_path / "images", rng, n=9, size=(12, 12))
    results, probabilities = [], []
    for name, cache in (("memory", None), ("mapped", str(tmp_path / "kept"))):
        config = Config.from_dict(dict(
            network, mode="classification", dataset="images", data_path=str(tmp_path / "images"), optimizer="kfac",
            exp_name=name, experiments_path=str(tmp_path / "experiments"), epoch=2, batch_size=8, test_particles=2,
            TCov=2, TScale=2, TEigen=4, validation_fraction=0.2, image_cache=cache))
        results.append(run.execute(run.plan(config, "cpu")))
        probabilities.append(np.load(str(tmp_path / "experiments" / "images" / name / "predictions.npz")))
    assert results[0]["metrics"] == results[1]["metrics"] and results[0]["rows_hash"] == results[1]["rows_hash"]
    for array in probabilities[0].files:
        assert np.array_equal(probabilities[0][array], probabilities[1][array])
