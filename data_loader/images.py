"""Images with class labels, and their readers: folders of class folders, and scikit-learn's digits.

Every reader raises a UserError that names the file and what is wrong with it. CIFAR's pickles are read by
data_loader/cifar.py, MNIST's files by data_loader/idx.py, single image files by data_loader/image_files.py.
"""
import pathlib
import typing

import numpy as np

from data_loader.image_files import ImageFiles, read_files
from misc.errors import UserError


class LabelledImages(typing.NamedTuple):
    """Images and their classes."""

    images: np.ndarray  # uint8 [n, height, width, channels]
    labels: np.ndarray  # int32 [n], from 0
    n_classes: int
    classes: typing.Optional[typing.List[str]] = None  # their names in the order of the labels; None: unknown
    skipped: typing.Sequence[pathlib.Path] = ()  # files that are no images, and folders inside class folders
    outside: typing.Sequence[pathlib.Path] = ()  # files that are in no class folder


def size_text(shape: typing.Sequence[int]) -> str:
    """Returns how messages call the size of images of shape (height, width, channels): the width first."""
    return f"{shape[1]} x {shape[0]} pixels with {shape[2]} channel{'s' if shape[2] > 1 else ''}"


def check_labels(path: pathlib.Path, labels: np.ndarray, n_classes: int) -> None:
    """Raises a UserError that names `path` unless all labels are in 0, ..., n_classes - 1."""
    if len(labels) and not 0 <= labels.min() <= labels.max() < n_classes:
        raise UserError(f"{path}: labels go from {labels.min()} to {labels.max()}, but there are {n_classes} classes, "
                        "counted from 0")


def read_digits() -> LabelledImages:
    """Returns the 1797 digits of 8 x 8 pixels that come with scikit-learn; nothing is downloaded."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255.0 / 16.0)).astype(np.uint8)
    return LabelledImages(images[..., None], digits.target.astype(np.int32), 10)


def read_folder(path: pathlib.Path, like: typing.Optional[LabelledImages] = None) -> LabelledImages:
    """Reads a folder that holds one folder per class, each with image files in any format that Pillow reads.

    All images must have one size. If any is coloured, grey ones get three equal channels. Other files are skipped.

    Args:
      path: the folder of the class folders; labels count the classes in the order of their names.
      like: images whose size, channels and class names these must have, if given.
    """
    classes = _class_names(path, like)
    entries = [entry for name in classes for entry in _entries(path / name)]
    read = read_files(entry for entry in entries if _is_file_or_broken_link(entry))
    n_channels = like.images.shape[3] if like else max((image.shape[2] for image in read.images), default=1)
    images = [np.repeat(image, n_channels, axis=2) if image.shape[2] < n_channels else image for image in read.images]
    _check_sizes(images, read.paths, like)
    labels = np.array([classes.index(file.parent.name) for file in read.paths], np.int32)
    for label, name in enumerate(classes):
        if label not in labels:
            raise UserError(f"class folder {path / name} holds no image")
    folders = [entry for entry in entries if entry.is_dir()]
    outside = [entry for entry in _entries(path) if not entry.is_dir() and not entry.name.startswith(".")]
    return LabelledImages(np.stack(images), labels, len(classes), classes, [*read.skipped, *folders], outside)


def read_images(path: pathlib.Path) -> ImageFiles:
    """Reads the image files in a folder and in all folders below it."""
    folders = [path] + [child for child in sorted(path.rglob("*")) if child.is_dir() and not any(
        part.startswith(".") for part in child.relative_to(path).parts)]
    read = read_files(entry for folder in folders for entry in _entries(folder) if _is_file_or_broken_link(entry))
    if not read.images:
        raise UserError(f"{path} holds no image")
    return read


def _class_names(path: pathlib.Path, like: typing.Optional[LabelledImages]) -> typing.List[str]:
    """Returns the names of the class folders in `path`, sorted."""
    classes = sorted(child.name for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))
    if len(classes) < 2:
        raise UserError(f"class folders in {path}: {len(classes)}, but at least 2 are needed ({path}/CLASS/IMAGE)")
    if like and classes != like.classes:
        raise UserError(f"{path} has the classes {', '.join(classes)}, but the training images have "
                        f"{', '.join(like.classes or [])}")
    return classes


def _check_sizes(images: typing.Sequence[np.ndarray], files: typing.Sequence[pathlib.Path],
                 like: typing.Optional[LabelledImages]) -> None:
    """Raises a UserError for the first image whose size or number of channels differs from those before it."""
    shape = like.images.shape[1:] if like else None
    for image, file in zip(images, files):
        shape = shape or image.shape
        if image.shape != shape:
            raise UserError(f"{file} has {size_text(image.shape)}, but the images before it have {size_text(shape)} "
                            "(width x height, after their EXIF orientation): make them all one size")


def _entries(folder: pathlib.Path) -> typing.List[pathlib.Path]:
    """Returns the files, hidden ones and links to nothing too, and the visible folders in a folder, sorted."""
    return sorted(path for path in folder.iterdir() if _is_file_or_broken_link(path)
                  or (path.is_dir() and not path.name.startswith(".")))


def _is_file_or_broken_link(path: pathlib.Path) -> bool:
    """Tells whether a path is a file, or a link to nothing, which is reported as an image that cannot be read."""
    return path.is_file() or (path.is_symlink() and not path.exists())
