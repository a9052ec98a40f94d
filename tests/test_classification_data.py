"""Sets of labelled images in their usual layouts; splits, statistics, crops. All files are written here."""
import gzip
import io
import pickle
import struct
import tarfile

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose
from PIL import Image

from core.training.design import design_run
from data_loader import IMAGE_SETS
from data_loader.archives import IDX_NAMES
from data_loader.batches import crop_and_flip, epoch_crops, epoch_order, epoch_plan
from data_loader.classification import load_classification, pixel_statistics
from data_loader.images import read_folder
from data_loader.splits import random_split
from misc.config import Config
from misc.errors import UserError

CIFAR_URL, MNIST_URL = "https://www.cs.toronto.edu/~kriz/", "https://ossci-datasets.s3.amazonaws.com/mnist/"
FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
MD5 = {  # the values that the distributors and torchvision give
    CIFAR_URL + "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
    CIFAR_URL + "cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85",
    MNIST_URL + "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    MNIST_URL + "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    MNIST_URL + "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    MNIST_URL + "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    FASHION_URL + "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    FASHION_URL + "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    FASHION_URL + "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    FASHION_URL + "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}


@pytest.fixture
def settings(tmp_path):
    """Function (dataset, **overrides) -> Config of mode classification with tmp_path as data_path."""
    return lambda dataset, **overrides: Config.from_dict(dict(
        dict(mode="classification", dataset=dataset, data_path=str(tmp_path), optimizer="kfac", model_name="ffn50"),
        **overrides))


@pytest.fixture
def load(settings):
    """Function (dataset, **overrides) -> ImageData."""
    return lambda dataset, **overrides: load_classification(settings(dataset, **overrides))


@pytest.fixture
def refuse(load):
    """Function (message, dataset, **overrides): loading is refused with one line that matches."""

    def check(message, dataset, **overrides):
        with pytest.raises(UserError, match=message) as stop:
            load(dataset, **overrides)
        assert "\n" not in str(stop.value)

    return check


def write_batch(path, rng, labels, **other_labels):
    """A CIFAR batch; returns its images."""
    path.parent.mkdir(exist_ok=True)
    images = rng.randint(0, 256, (len(labels), 32, 32, 3)).astype(np.uint8)
    batch = {b"data": images.transpose(0, 3, 1, 2).reshape(-1, 3072), b"batch_label": b"a batch"}
    batch.update((key.encode(), value) for key, value in dict(other_labels, **{
        "fine_labels" if other_labels else "labels": labels}).items())
    path.write_bytes(pickle.dumps(batch, protocol=2))
    return images


def write_cifar10(folder, rng):
    """Training images and labels of five batches of two; a test batch of three."""
    path = folder / "cifar-10-batches-py"
    labels = rng.permutation(10)
    images = [write_batch(path / f"data_batch_{i + 1}", rng, labels[2 * i:2 * i + 2].tolist()) for i in range(5)]
    test = write_batch(path / "test_batch", rng, [9, 0, 4])
    (path / "readme.html").write_text("more than batches")
    return np.concatenate(images), labels, test


def write_cifar100(folder, rng):
    path = folder / "cifar-100-python"
    images = write_batch(path / "train", rng, [99, 0, 57, 12], coarse_labels=[3, 1, 0, 19])
    return images, write_batch(path / "test", rng, [98, 5], coarse_labels=[2, 2])


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(folder, rng, packed=(), sizes=(6, 3)):
    """The four files, those in `packed` gzipped; returns training images and labels, test images and labels."""
    folder.mkdir(exist_ok=True)
    arrays = []
    for n in sizes:
        arrays += [rng.randint(0, 256, (n, 4, 5)).astype(np.uint8), rng.permutation(10)[:n].astype(np.uint8)]
    for name, array in zip(IDX_NAMES, arrays):
        if name in packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))
    return arrays


def assert_same_rows(part, images, labels):
    """Asserts that the images and their labels are the same, in any order."""
    def rows(arrays, classes):
        return sorted((np.asarray(array).tobytes(), int(label)) for array, label in zip(arrays, classes))

    assert part.x.dtype == np.uint8 and part.y.dtype == np.int32 and rows(part.x, part.y) == rows(images, labels)


# The standard sets in data_path.

def test_cifar10_as_unpacked(load, tmp_path, rng):
    images, labels, test = write_cifar10(tmp_path, rng)
    data = load("cifar10")
    assert_same_rows(data.train, images, labels)
    assert (data.test.x == test).all() and data.test.y.tolist() == [9, 0, 4] and data.valid is None
    assert data.spec[:3] == (10, (32, 32, 3), 10) and data.source == str(tmp_path / "cifar-10-batches-py")
    assert load("cifar10", data_path=data.source).rows_hash == data.rows_hash  # data_path may also be the folder itself
    assert data.classes[0] == "airplane" and data.classes[9] == "truck" and len(data.classes) == 10


def test_cifar100_has_fine_labels_and_a_network_of_100_outputs(load, settings, tmp_path, rng):
    images, test = write_cifar100(tmp_path, rng)
    data = load("cifar100")
    assert_same_rows(data.train, images, [99, 0, 57, 12])
    assert (data.test.x == test).all() and data.test.y.tolist() == [98, 5]
    assert data.spec.n_outputs == 100 and data.classes[98:] == ["98", "99"]
    for name in ("ffn50", "vgg11", "lenet"):
        design = design_run(settings("cifar100", model_name=name), data.spec)
        assert design.layers[-1].spec.d_out == design.likelihood.n_outputs == 100


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
@pytest.mark.parametrize("packed", [(), IDX_NAMES, IDX_NAMES[:1], IDX_NAMES[1:]], ids=["plain", "gz", "one gz", "mix"])
@pytest.mark.parametrize("below", [True, False])
def test_idx_files_in_data_path(load, tmp_path, rng, name, packed, below):
    folder = tmp_path / name if below else tmp_path
    images, labels, test_images, test_labels = write_idx(folder, rng, packed)
    data = load(name)
    assert_same_rows(data.train, images[..., None], labels)
    assert (data.test.x[..., 0] == test_images).all() and data.test.y.tolist() == test_labels.tolist()
    assert data.spec[:3] == (6, (4, 5, 1), 10) and data.source == str(folder) and len(data.classes) == 10


def test_the_folder_of_the_name_comes_first(load, tmp_path, rng):
    write_idx(tmp_path, rng)
    images, labels, _, _ = write_idx(tmp_path / "mnist", rng, IDX_NAMES)
    assert_same_rows(load("mnist").train, images[..., None], labels)


def test_some_idx_files_are_missing(refuse, tmp_path, rng):
    write_idx(tmp_path / "mnist", rng, IDX_NAMES[:2])
    (tmp_path / "mnist" / f"{IDX_NAMES[0]}.gz").unlink()
    refuse("lacks train-images-idx3-ubyte of mnist", "mnist")
    (tmp_path / "mnist" / IDX_NAMES[3]).unlink()
    refuse("data_path .* lacks train-images-idx3-ubyte and t10k-labels-idx1-ubyte of mnist", "mnist")


def test_damaged_idx_files(refuse, tmp_path, rng):
    images, labels, _, _ = write_idx(tmp_path, rng)
    path = tmp_path / IDX_NAMES[0]
    for content, message in ((idx(images)[:-1], "images-idx3-ubyte is truncated: its header says 6 x 4 x 5, but"),
                             (idx(labels), "is not an idx file of unsigned bytes in 3 dimensions"),
                             (idx(images[1:]), "has 5 images, but .*train-labels-idx1-ubyte has 6 labels"),
                             (b"", "is not an idx file")):
        path.write_bytes(content)
        refuse(message, "mnist")
    path.unlink()
    (tmp_path / f"{IDX_NAMES[0]}.gz").write_bytes(gzip.compress(idx(images))[:-9])
    refuse("train-images-idx3-ubyte.gz is damaged", "mnist")


def test_damaged_cifar_folders(refuse, tmp_path, rng):
    write_cifar10(tmp_path, rng)
    batch = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    whole = batch.read_bytes()
    for content, message in ((whole[:-5], "data_batch_3 is damaged or not a CIFAR batch"),
                             (b"", "data_batch_3 is damaged"),
                             (pickle.dumps([1, 2], protocol=2), "data_batch_3 is damaged or not a CIFAR batch"),
                             (pickle.dumps({b"data": np.zeros((2, 5), np.uint8), b"labels": [1, 2]}, protocol=2),
                              r"a CIFAR batch has rows of 3072 bytes .* but this has uint8 \(2, 5\) and \(2,\) labels"),
                             (pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"fine_labels": [1, 2]},
                                           protocol=2), "data_batch_3 is damaged .*KeyError")):
        batch.write_bytes(content)
        refuse(message, "cifar10")
    batch.unlink()
    refuse("there is no .*data_batch_3: data_path must hold the archive's folder cifar-10-batches-py", "cifar10")


def test_labels_beyond_the_classes(refuse, tmp_path, rng):
    write_cifar10(tmp_path, rng)
    write_batch(tmp_path / "cifar-10-batches-py" / "test_batch", rng, [10])
    refuse("test_batch: labels go from 10 to 10, but there are 10 classes", "cifar10")


def test_training_images_of_one_class(refuse, tmp_path, rng):
    write_idx(tmp_path, rng)
    (tmp_path / IDX_NAMES[1]).write_bytes(idx(np.full(6, 7, np.uint8)))
    refuse("the training images are all of one class", "mnist")


# Nothing in data_path.

@pytest.fixture
def pooch_serves(monkeypatch):
    """Function (answer): pooch.retrieve returns answer(url), or raises it; returns the list of requests."""
    import pooch

    def install(answer):
        requests = []

        def retrieve(url, known_hash, fname, path, processor=None, **_):
            requests.append((url, known_hash, fname))
            if isinstance(answer, Exception):
                raise answer
            path = str(answer(url))
            return processor(path, "download", None) if processor else path

        monkeypatch.setattr(pooch, "retrieve", retrieve)
        return requests

    return install


@pytest.mark.parametrize("error", [OSError("no\nroute"), ValueError("hash of downloaded file does not match")], ids=str)
@pytest.mark.parametrize("name, url", [("cifar10", CIFAR_URL + "cifar-10-python.tar.gz"),
                                       ("cifar100", CIFAR_URL + "cifar-100-python.tar.gz"),
                                       ("mnist", MNIST_URL + "train-images-idx3-ubyte.gz"),
                                       ("fashion_mnist", FASHION_URL + "train-images-idx3-ubyte.gz")])
def test_failed_download_is_one_line(refuse, pooch_serves, tmp_path, name, url, error):
    requests = pooch_serves(error)
    folder = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}.get(name, name)
    reason = " ".join(str(error).split())
    refuse(f"data_path {tmp_path} does not hold {folder}, and {url} could not be fetched .{reason}.: put the files",
           name)
    assert [call[:2] for call in requests] == [(url, f"md5:{MD5[url]}")]


@pytest.mark.parametrize("name, write", [("cifar10", write_cifar10), ("cifar100", write_cifar100)])
def test_cifar_from_its_archive(load, pooch_serves, tmp_path, rng, name, write):
    url = f"{CIFAR_URL}{name[:5]}-{name[5:]}-python.tar.gz"
    made, archive = tmp_path / "made", tmp_path / "archive.tar.gz"
    made.mkdir()
    images, *_, test = write(made, rng)
    with tarfile.open(str(archive), "w:gz") as tar:
        for path in made.iterdir():
            tar.add(str(path), path.name)
    requests = pooch_serves(lambda url: archive)
    data = load(name)
    assert requests == [(url, f"md5:{MD5[url]}", url.rsplit("/", 1)[1])] and data.source == url
    assert sorted(image.tobytes() for image in data.train.x) == sorted(image.tobytes() for image in images)
    assert (data.test.x == test).all()


def test_an_archive_of_something_else(refuse, pooch_serves, tmp_path):
    (tmp_path / "text").write_text("")
    with tarfile.open(str(tmp_path / "archive.tar.gz"), "w:gz") as tar:
        tar.add(str(tmp_path / "text"), "other/text")
    pooch_serves(lambda url: tmp_path / "archive.tar.gz")
    refuse("cifar-10-python.tar.gz: the archive has no folder cifar-10-batches-py", "cifar10")


@pytest.mark.parametrize("inside", ["../../evil", "/evil", "cifar-10-batches-py/../../evil"])
def test_an_archive_cannot_write_outside_its_folder(refuse, pooch_serves, tmp_path, inside):
    home = tmp_path / "cache" / "below"
    home.mkdir(parents=True)
    with tarfile.open(str(home / "archive.tar.gz"), "w:gz") as tar:
        entry = tarfile.TarInfo(inside)
        tar.addfile(entry, io.BytesIO(b""))
        link = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    pooch_serves(lambda url: home / "archive.tar.gz")
    before = sorted(tmp_path.rglob("*"))
    refuse("could not be fetched .the archive would write to", "cifar10")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name, address", [("mnist", MNIST_URL), ("fashion_mnist", FASHION_URL)])
def test_idx_files_from_the_network(load, pooch_serves, tmp_path, rng, name, address):
    images, labels, test_images, _ = write_idx(tmp_path / "elsewhere", rng, IDX_NAMES)
    requests = pooch_serves(lambda url: tmp_path / "elsewhere" / url.rsplit("/", 1)[1])
    data = load(name)
    urls = [f"{address}{file}.gz" for file in IDX_NAMES]
    assert requests == [(url, f"md5:{MD5[url]}", f"{name}-{file}.gz") for url, file in zip(urls, IDX_NAMES)]
    assert_same_rows(data.train, images[..., None], labels)
    assert (data.test.x[..., 0] == test_images).all() and data.source == address


# A folder per class.

def write_images(folder, rng, classes=("b", "a10", "a9"), n=2, mode="RGB", size=(6, 4)):
    """`n` PNGs per class, `size` as (width, height); returns {class: images [height, width(, 3)]}."""
    made = {}
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        shape = size[::-1] + ((3,) if mode == "RGB" else ())
        made[name] = [rng.randint(0, 256, shape).astype(np.uint8) for _ in range(n)]
        for number, array in enumerate(made[name]):
            Image.fromarray(array).save(str(folder / name / f"{number}.png"))
    return made


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
    refuse("0.png has 4 x 5 pixels with 3 channels, but the images before it have 4 x 6 with 3: make them",
           "images")
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
    refuse("test/dog/0.png has 6 x 4 pixels with 3 channels, but the images before it have 4 x 6 with 3", "images")


# Splits, validation rows, statistics, hashes.

def test_images_without_a_test_set_are_split_by_seed(load):
    digits = IMAGE_SETS["digits"].load("")[0]
    order = np.random.RandomState(3).permutation(1797)
    data = load("digits", seed=3)
    assert (len(data.train.x), len(data.test.x), data.split.protocol, data.split.index) == (1438, 359, "random", 3)
    assert (data.train.x == digits.images[order[:1438]]).all() and (data.train.y == digits.labels[order[:1438]]).all()
    assert (data.test.x == digits.images[order[1438:]]).all() and (data.test.y == digits.labels[order[1438:]]).all()
    assert data.classes == [str(number) for number in range(10)]
    other = load("digits", seed=4, split=3)
    assert other.split_hash == data.split_hash != load("digits", seed=4).split_hash
    assert (other.train.x == data.train.x).all()


def test_random_split_rounds():
    for n_rows, n_train in ((5, 4), (7, 6), (11, 9), (13, 10)):
        split = random_split(n_rows, 2)
        assert len(split.train) == n_train and sorted([*split.train, *split.test]) == list(range(n_rows))


def test_split_is_refused_where_there_are_test_images(refuse, tmp_path, rng):
    write_cifar10(tmp_path, rng)
    write_idx(tmp_path, rng)
    write_images(tmp_path / "train", rng)
    write_images(tmp_path / "test", rng)
    for name in ("cifar10", "mnist", "images"):
        refuse(f"split: {name} has test images of its own, so there is nothing to split; remove split", name, split=0)


def test_validation_rows_are_training_rows(load, refuse, tmp_path, rng):
    images, labels, test = write_cifar10(tmp_path, rng)
    order = np.random.RandomState(0).permutation(10)  # the same for every seed
    folds = []
    for fold in (0, 1, 2):
        data = load("cifar10", validation_fraction=0.3, validation_fold=fold, seed=fold)
        chosen = order[7 - 3 * fold:10 - 3 * fold]
        rest = [row for row in order if row not in chosen]
        assert (data.valid.x == images[chosen]).all() and (data.valid.y == labels[chosen]).all()
        assert (data.train.x == images[rest]).all() and (data.test.x == test).all() and data.spec.n_rows == 7
        assert_allclose(data.spec.pixels.mean, images[rest].mean(axis=(0, 1, 2)), rtol=1e-12)
        folds.append(data)
    assert len({data.rows_hash for data in folds}) == len({data.split_hash for data in folds}) == 1
    refuse("validation_fold 3 does not exist: 10 rows give 3 folds of 3", "cifar10", validation_fraction=0.3,
           validation_fold=3)


def test_evaluating_on_validation_rows_hides_the_test_rows(load, refuse):
    data = load("digits", validation_fraction=0.25, evaluate_on="validation")
    assert data.test is None and (len(data.train.x), len(data.valid.x)) == (1078, 360)
    kept = load("digits", validation_fraction=0.25)
    assert len(kept.test.x) == 359 and (kept.valid.x == data.valid.x).all()
    refuse("validation_fraction 0.0001 of 1438 training rows leaves no row to evaluate on", "digits",
           validation_fraction=0.0001, evaluate_on="validation")


@pytest.mark.parametrize("channels", [1, 3])
def test_pixel_statistics(rng, channels):
    images = rng.randint(0, 256, (5, 4, 6, channels)).astype(np.uint8)
    images[..., -1] //= 3
    pixels = pixel_statistics(images)
    assert_allclose(pixels.mean, images.astype(float).mean(axis=(0, 1, 2)), rtol=1e-12)
    assert_allclose(pixels.std, images.astype(float).std(axis=(0, 1, 2)), rtol=1e-12)


def test_a_constant_channel_has_a_std_of_1(rng):
    images = rng.randint(0, 256, (3, 4, 2, 2)).astype(np.uint8)
    images[..., 0] = 77
    pixels = pixel_statistics(images)
    assert (pixels.mean[0], pixels.std[0]) == (77.0, 1.0) and pixels.std[1] > 1.0


def test_rows_hash_is_of_images_and_labels(load, tmp_path, rng):
    images, labels, test_images, _ = write_idx(tmp_path, rng)
    first = load("mnist").rows_hash
    assert first == load("mnist", seed=5, validation_fraction=0.3).rows_hash
    hashes = {first}
    for file, array in zip(IDX_NAMES, (images, labels[::-1], test_images)):
        whole, changed = (tmp_path / file).read_bytes(), array.copy()
        if array.ndim == 3:
            changed[2, 3, 1] ^= 1
        (tmp_path / file).write_bytes(idx(changed))
        hashes.add(load("mnist").rows_hash)
        (tmp_path / file).write_bytes(whole)
    assert len(hashes) == 4 and load("mnist").rows_hash == first


# Crops and flips.

def cropped(images, crops):
    """By loops: the crop at (row, column) of the image with a border of 4 zeros, then flipped."""
    n, height, width, _ = images.shape
    expected = np.zeros_like(images)
    for k, i, j in np.ndindex(n, height, width):
        row, column = crops[k, 0] + i - 4, crops[k, 1] + (width - 1 - j if crops[k, 2] else j) - 4
        if 0 <= row < height and 0 <= column < width:
            expected[k, i, j] = images[k, row, column]
    return expected


@pytest.mark.parametrize("flips", [[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]])
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_crop_and_flip(session, rng, flips, dtype):
    images = rng.randint(1, 256, (4, 5, 7, 3)).astype(dtype)
    crops = np.column_stack([[0, 8, 3, 4], [8, 0, 6, 4], flips]).astype(np.int32)
    inputs = tf.placeholder(dtype, [None, 5, 7, 3])
    actual = session.run(crop_and_flip(inputs, tf.constant(crops)), {inputs: images})
    assert actual.dtype == dtype and (actual == cropped(images, crops)).all()
    assert (actual[3] == (images[3, :, ::-1] if flips[3] else images[3])).all()  # (4, 4) is the middle


def test_crops_are_a_function_of_seed_and_epoch():
    crops = epoch_crops(500, 1, 2)
    assert crops.shape == (500, 3) and crops.dtype == np.int32 and (crops == epoch_crops(500, 1, 2)).all()
    for other in (epoch_crops(500, 1, 3), epoch_crops(500, 2, 2)):
        assert ((crops != other).mean(axis=0) > 0.4).all()
    for column, n in zip(crops.T, (9, 9, 2)):
        counts = np.bincount(column, minlength=n)
        assert len(counts) == n and counts.min() > 0.6 * 500 / n
    assert abs(np.corrcoef(crops.T) - np.eye(3)).max() < 0.2


def test_the_plan_of_an_epoch(settings):
    plans = [epoch_plan(settings("digits", data_aug=True, batch_size=size, seed=6), 11, 4) for size in (2, 100)]
    for plan in plans:
        assert list(plan) == ["order", "crops"]
        assert (plan["order"] == epoch_order(11, 6, 4)).all() and (plan["crops"] == epoch_crops(11, 6, 4)).all()
    plain, = epoch_plan(settings("digits", seed=6), 11, 4).values()
    assert (plain == plans[0]["order"]).all() and sorted(plain) == list(range(11))
