"""Readers of images, on small files written here."""
import gzip
import pickle
import struct

import numpy as np
import pytest

from data_loader.cifar import read_cifar
from data_loader.idx import read_idx
from data_loader.images import read_digits
from misc.errors import UserError


@pytest.fixture
def cifar(tmp_path, rng):
    """Function (name, n, key, protocol=2, **changes) -> the images [n, 32, 32, 3] of a batch it wrote."""

    def write(name, n, key=b"labels", **changes):
        images = rng.randint(0, 256, (n, 32, 32, 3)).astype(np.uint8)
        rows = images.transpose(0, 3, 1, 2).reshape(n, 3072)
        batch = dict({b"data": rows, key: rng.randint(0, 10, n).tolist()}, **changes)
        with open(str(tmp_path / name), "wb") as handle:
            pickle.dump(batch, handle, protocol=2)
        return images, batch

    return write


def test_cifar_batches_in_order(cifar, tmp_path):
    parts = [cifar("a", 3), cifar("b", 2)]
    batches = read_cifar(tmp_path, ["a", "b"], "labels", 10)
    assert (batches.images == np.concatenate([images for images, _ in parts])).all()
    assert batches.images.dtype == np.uint8 and batches.n_classes == 10
    assert batches.labels.tolist() == parts[0][1][b"labels"] + parts[1][1][b"labels"]


def test_cifar100_has_100_classes(cifar, tmp_path):
    cifar("train", 2, b"fine_labels", **{"coarse_labels": [0, 1]})
    batch = read_cifar(tmp_path, ["train"], "fine_labels", 100)
    assert batch.n_classes == 100 and len(batch.labels) == 2


def test_broken_cifar_archives(cifar, tmp_path):
    cifar("whole", 4)
    content = (tmp_path / "whole").read_bytes()
    (tmp_path / "cut").write_bytes(content[:-2000])
    (tmp_path / "text").write_text("not a pickle")
    (tmp_path / "evil").write_bytes(pickle.dumps(print))
    images, batch = cifar("narrow", 2)
    batch[b"data"] = batch[b"data"][:, :100]
    (tmp_path / "narrow").write_bytes(pickle.dumps(batch, protocol=2))
    batch.update({b"data": images.transpose(0, 3, 1, 2).reshape(2, -1), b"labels": [3, 10]})
    (tmp_path / "labels").write_bytes(pickle.dumps(batch, protocol=2))
    for name, message in (("cut", "is damaged or not a CIFAR batch"), ("text", "is damaged or not a CIFAR batch"),
                          ("evil", "it refers to builtins.print, which no CIFAR batch needs"),
                          ("none", "there is no .*none: data_path must hold the archive"),
                          ("narrow", r"rows of 3072 bytes and a label for each, but this has uint8 \(2, 100\)"),
                          ("labels", "labels go from 3 to 10, but there are 10 classes"), ("whole", "KeyError")):
        with pytest.raises(UserError, match=message):
            read_cifar(tmp_path, [name], "fine_labels" if name == "whole" else "labels", 10)


def idx(array, kind=8):
    return bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def test_idx_files(tmp_path, rng):
    images, labels = rng.randint(0, 256, (5, 4, 3)).astype(np.uint8), np.array([0, 9, 3, 3, 1], np.uint8)
    (tmp_path / "labels").write_bytes(idx(labels))
    (tmp_path / "images.gz").write_bytes(gzip.compress(idx(images)))
    read = read_idx(tmp_path / "images.gz", tmp_path / "labels")
    assert (read.images[..., 0] == images).all() and read.images.shape == (5, 4, 3, 1)
    assert read.labels.tolist() == labels.tolist() and read.labels.dtype == np.int32


def test_broken_idx_files(tmp_path, rng):
    images, labels = rng.randint(0, 256, (5, 4, 3)).astype(np.uint8), np.array([0, 9, 3, 3, 1], np.uint8)
    good = tmp_path / "labels"
    good.write_bytes(idx(labels))
    packed = gzip.compress(idx(images))
    for name, content, message in (
        ("cut", idx(images)[:-1], "is truncated: its header says 5 x 4 x 3, but it holds 59 bytes"),
        ("header", idx(images)[:9], "is truncated"), ("empty", b"", "is not an idx file"),
        ("floats", idx(images, 13), "is not an idx file of unsigned bytes in 3 dimensions"),
        ("flat", idx(labels), "is not an idx file of unsigned bytes in 3 dimensions"),
        ("cut.gz", packed[:-20], "is damaged"), ("text.gz", b"no gzip", "is damaged"),
        ("four", idx(images[:4]), "has 4 images, but .* has 5 labels"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=message):
            read_idx(tmp_path / name, good)
    (tmp_path / "images").write_bytes(idx(images))
    with pytest.raises(UserError, match="labels go from 0 to 9, but there are 5 classes"):
        read_idx(tmp_path / "images", good, n_classes=5)
    with pytest.raises(UserError, match="there is no"):
        read_idx(tmp_path / "none", good)


def test_idx_sizes_that_wrap_around(tmp_path):
    """The product 2^31 x 2^31 x 4 is 0 in 64 bits."""
    (tmp_path / "images").write_bytes(bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**31, 2**31, 4))
    (tmp_path / "labels").write_bytes(idx(np.zeros(1, np.uint8)))
    with pytest.raises(UserError, match="images"):
        read_idx(tmp_path / "images", tmp_path / "labels")


def test_digits_need_no_download():
    digits = read_digits()
    assert digits.images.shape == (1797, 8, 8, 1) and (digits.images.min(), digits.images.max()) == (0, 255)
    assert np.bincount(digits.labels).min() > 170 and digits.n_classes == 10
