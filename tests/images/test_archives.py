"""The standard image sets: read from data_path, or downloaded."""
import gzip
import io
import pickle
import tarfile

import numpy as np
import pytest

from core.training.design import design_run
from data_loader.archives import IDX_NAMES
from tests.images.files import assert_same_rows, idx, write_batch, write_cifar10, write_idx

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


def write_cifar100(folder, rng):
    path = folder / "cifar-100-python"
    images = write_batch(path / "train", rng, [99, 0, 57, 12], coarse_labels=[3, 1, 0, 19])
    return images, write_batch(path / "test", rng, [98, 5], coarse_labels=[2, 2])


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
