"""Images with class labels, read from the layouts in which the standard sets are distributed.

Every reader returns a Images or raises a UserError that names the file and what is wrong.
"""
import collections
import functools
import gzip
import operator
import pathlib
import pickle
import zlib

import numpy as np

from misc.errors import UserError

Images = collections.namedtuple("Images", ["images", "labels", "n_classes", "classes"], defaults=(None,))
"""images: uint8 [n, height, width, channels]; labels: int32 [n], from 0; classes: their names, or None."""


def read_cifar(folder, files, label_key, n_classes):
    """The python version of CIFAR: pickled batches of rows of 3072 bytes, channel by channel.

    Args:
      folder: that of the archive, e.g. cifar-10-batches-py.
      files: names of the batches, in order.
      label_key: "labels" (CIFAR-10) or "fine_labels" (CIFAR-100).
      n_classes: 10 or 100.
    """
    batches = [_cifar_batch(pathlib.Path(folder) / name, label_key, n_classes) for name in files]
    rows = np.concatenate([rows for rows, _ in batches])
    images = rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return Images(images, np.concatenate([labels for _, labels in batches]), n_classes)


def read_idx(images_path, labels_path, n_classes=10):
    """A pair of idx files as MNIST has them, gzipped (NAME.gz) or not; one channel."""
    images, labels = _idx(images_path, 3), _idx(labels_path, 1)
    if len(images) != len(labels):
        raise UserError(f"{images_path} has {len(images)} pictures, {labels_path} {len(labels)} labels")
    _check_labels(labels_path, labels, n_classes)
    return Images(images[..., None], labels.astype(np.int32), n_classes)


def read_digits():
    """The 1797 digits of 8 x 8 pixels that come with scikit-learn; no download."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images = np.round(found.images * (255.0 / 16.0)).astype(np.uint8)
    return Images(images[..., None], found.target.astype(np.int32), 10)


def read_folder(path, like=None):
    """One folder per class, each with picture files (whatever Pillow reads), all of one size.

    Args:
      path: the folder of the class folders; classes are counted in the order of their names.
      like: Images whose size, channels and class names these must have.
    """
    classes = sorted(child.name for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))
    if len(classes) < 2:
        raise UserError(f"class folders in {path}: {len(classes)}, at least 2 are needed ({path}/CLASS/PICTURE)")
    if like and classes != like.classes:
        raise UserError(f"{path} has the classes {', '.join(classes)}, the training pictures {', '.join(like.classes)}")
    files = [(file, label) for label, name in enumerate(classes) for file in _files(path / name)]
    images = [_picture(file) for file, _ in files]
    colours = like.images.shape[3] if like else max((image.shape[2] for image in images), default=1)
    images = [np.repeat(image, colours, axis=2) if image.shape[2] < colours else image for image in images]
    shape = like.images.shape[1:] if like else None
    for image, (file, _) in zip(images, files):
        shape = shape or image.shape
        if image.shape != shape:
            raise UserError(f"{file} is {image.shape[0]} x {image.shape[1]} pixels with {image.shape[2]} channels, the "
                            f"pictures before it {shape[0]} x {shape[1]} with {shape[2]}: make them all one size")
    for label, name in enumerate(classes):
        if all(other != label for _, other in files):
            raise UserError(f"class folder {path / name} holds no picture")
    return Images(np.stack(images), np.array([label for _, label in files], np.int32), len(classes), classes)


def read_pictures(path):
    """The picture files in a folder and beneath, without classes: a list of uint8 [height, width, 1 or 3]."""
    files = _files(path) + [file for child in sorted(path.rglob("*")) if child.is_dir() and not any(
        part.startswith(".") for part in child.relative_to(path).parts) for file in _files(child)]
    if not files:
        raise UserError(f"{path} holds no picture")
    return [_picture(file) for file in files]


def _files(path):
    return sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))


def _picture(path):
    """uint8 [height, width, 1 or 3]."""
    from PIL import Image

    try:
        with Image.open(str(path)) as image:
            mode, grey = image.mode, image.mode in ("1", "L", "LA")
            array = np.asarray(image.convert("L" if grey else "RGB"))
    except Exception as error:  # whatever a damaged file does to a decoder
        raise UserError(f"{path} is not a picture that can be read ({error}); remove it or mend it") from None
    if mode.startswith(("I", "F")):
        raise UserError(f"{path} has more than 8 bits a channel (mode {mode}), which would be cut off: convert it to 8")
    return array[..., None] if grey else array


def _cifar_batch(path, label_key, n_classes):
    if not path.is_file():
        raise UserError(f"there is no {path}: data_path must hold the archive's folder {path.parent.name}")
    try:
        with open(str(path), "rb") as handle:
            batch = _PlainUnpickler(handle, encoding="bytes").load()
        rows, labels = np.asarray(batch[b"data"]), np.asarray(batch[label_key.encode()], np.int64)
    except Exception as error:  # whatever damaged bytes do to a pickle
        raise UserError(f"{path} is damaged or not a CIFAR batch ({type(error).__name__}: {error}); "
                        "unpack the archive again") from None
    if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != 3072 or labels.shape != rows.shape[:1]:
        raise UserError(f"{path}: a CIFAR batch has rows of 3072 bytes and a label for each, this has "
                        f"{rows.dtype} {rows.shape} and {labels.shape} labels")
    _check_labels(path, labels, n_classes)
    return rows, labels.astype(np.int32)


class _PlainUnpickler(pickle.Unpickler):
    """Loads arrays and plain values only: a data file has no business calling anything else."""

    _ALLOWED = {("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
                ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}

    def find_class(self, module, name):
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        try:
            return super().find_class(module, name)
        except ImportError:  # written by a numpy that is newer than this one
            return super().find_class(module.replace("numpy._core", "numpy.core"), name)


def _idx(path, n_dims):
    """An idx file: two zero bytes, 8 for unsigned bytes, the number of dimensions, their big-endian sizes, the data."""
    path = pathlib.Path(path)
    if not path.is_file():
        raise UserError(f"there is no {path}")
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is damaged ({error}); fetch it again") from None
    if content[:4] != bytes([0, 0, 8, n_dims]):
        raise UserError(f"{path} is not an idx file of unsigned bytes in {n_dims} dimension{'s' if n_dims > 1 else ''}")
    header = 4 + 4 * n_dims
    shape = tuple(int(size) for size in np.frombuffer(content[4:header], ">u4")) if len(content) >= header else (0,)
    n_bytes = functools.reduce(operator.mul, shape)  # of Python's ints, which have no largest
    if len(content) < header or len(content) - header != n_bytes:
        raise UserError(f"{path} is truncated: its header says {' x '.join(map(str, shape))}, it holds "
                        f"{max(0, len(content) - header)} bytes; fetch it again")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _check_labels(path, labels, n_classes):
    if len(labels) and not 0 <= labels.min() <= labels.max() < n_classes:
        raise UserError(f"{path}: labels go from {labels.min()} to {labels.max()}, there are {n_classes} classes "
                        "counted from 0")
