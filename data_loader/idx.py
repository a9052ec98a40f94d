"""Reads idx files, in which MNIST and Fashion-MNIST are distributed."""
import functools
import gzip
import operator
import pathlib
import zlib

import numpy as np

from data_loader.images import LabelledImages, check_labels
from misc.errors import UserError


def read_idx(images_path: pathlib.Path, labels_path: pathlib.Path, n_classes: int = 10) -> LabelledImages:
    """Reads a pair of files, gzipped (NAME.gz) or not; the images have one channel.

    Raises a UserError for a file that is missing or damaged, or if the two do not fit together.
    """
    images, labels = _read_array(images_path, 3), _read_array(labels_path, 1)
    if len(images) != len(labels):
        raise UserError(f"{images_path} has {len(images)} images, but {labels_path} has {len(labels)} labels")
    check_labels(labels_path, labels, n_classes)
    return LabelledImages(images[..., None], labels.astype(np.int32), n_classes)


def _read_array(path: pathlib.Path, n_dims: int) -> np.ndarray:
    """Returns the uint8 array of `n_dims` dimensions in an idx file.

    Format: two zero bytes, 8 for unsigned bytes, the number of dimensions, their big-endian sizes, the data.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise UserError(f"there is no {path}")
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is damaged ({error}); download it again") from None
    if content[:4] != bytes([0, 0, 8, n_dims]):
        raise UserError(f"{path} is not an idx file of unsigned bytes in {n_dims} dimension{'s' if n_dims > 1 else ''}")
    header = 4 + 4 * n_dims
    shape = tuple(int(size) for size in np.frombuffer(content[4:header], ">u4")) if len(content) >= header else (0,)
    n_bytes = functools.reduce(operator.mul, shape)  # Python's integers: numpy's would overflow on damaged sizes
    if len(content) < header or len(content) - header != n_bytes:
        raise UserError(f"{path} is truncated: its header says {' x '.join(map(str, shape))}, but it holds "
                        f"{max(0, len(content) - header)} bytes; download it again")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
