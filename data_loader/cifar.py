"""Reads the Python version of CIFAR-10 and CIFAR-100: pickled batches of images with labels."""
import pathlib
import pickle
import typing

import numpy as np

from data_loader.images import LabelledImages, check_labels
from misc.errors import UserError


def read_cifar(folder: pathlib.Path, files: typing.Sequence[str], label_key: str, n_classes: int) -> LabelledImages:
    """Reads batches, whose rows are 3072 bytes: 32 x 32 pixels, channel by channel.

    Args:
      folder: the archive's folder, e.g. cifar-10-batches-py.
      files: names of the batches, in order.
      label_key: "labels" (CIFAR-10) or "fine_labels" (CIFAR-100).
      n_classes: 10 or 100.

    Raises a UserError for a batch that is missing or damaged.
    """
    batches = [_read_batch(pathlib.Path(folder) / name, label_key, n_classes) for name in files]
    rows = np.concatenate([rows for rows, _ in batches])
    images = rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return LabelledImages(images, np.concatenate([labels for _, labels in batches]), n_classes)


def _read_batch(path: pathlib.Path, label_key: str, n_classes: int) -> typing.Tuple[np.ndarray, np.ndarray]:
    """Returns the rows, uint8 [n, 3072], and labels, int32 [n], of one file."""
    if not path.is_file():
        raise UserError(f"there is no {path}: data_path must hold the archive's folder {path.parent.name}")
    try:
        with open(str(path), "rb") as handle:
            batch = _ArrayUnpickler(handle, encoding="bytes").load()
        rows, labels = np.asarray(batch[b"data"]), np.asarray(batch[label_key.encode()], np.int64)
    except Exception as error:  # unpickling damaged bytes raises errors of many types
        raise UserError(f"{path} is damaged or not a CIFAR batch ({type(error).__name__}: {error}); "
                        "unpack the archive again") from None
    if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != 3072 or labels.shape != rows.shape[:1]:
        raise UserError(f"{path}: a CIFAR batch has rows of 3072 bytes and a label for each, but this has "
                        f"{rows.dtype} {rows.shape} and {labels.shape} labels")
    check_labels(path, labels, n_classes)
    return rows, labels.astype(np.int32)


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles arrays and plain values only, so that a data file cannot execute code."""

    _ALLOWED = {("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
                ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}

    def find_class(self, module: str, name: str) -> typing.Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, which no CIFAR batch needs")
        try:
            return super().find_class(module, name)
        except ImportError:  # written by a numpy that is newer than this one
            return super().find_class(module.replace("numpy._core", "numpy.core"), name)
