"""Images with class labels, and their readers: folders of image files, and scikit-learn's digits.

Every reader raises a UserError that names the file and what is wrong with it. CIFAR's pickles are read by
data_loader/cifar.py, MNIST's files by data_loader/idx.py.
"""
import pathlib
import typing

import numpy as np

from misc.errors import UserError


class LabelledImages(typing.NamedTuple):
    """Images and their classes."""

    images: np.ndarray  # uint8 [n, height, width, channels]
    labels: np.ndarray  # int32 [n], from 0
    n_classes: int
    classes: typing.Optional[typing.List[str]] = None  # their names in the order of the labels; None: unknown


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

    All images must have one size. If any is coloured, grey ones get three equal channels.

    Args:
      path: the folder of the class folders; labels count the classes in the order of their names.
      like: images whose size, channels and class names these must have, if given.
    """
    classes = _class_names(path, like)
    files = [(file, label) for label, name in enumerate(classes) for file in _files(path / name)]
    images = [_read_image(file) for file, _ in files]
    n_channels = like.images.shape[3] if like else max((image.shape[2] for image in images), default=1)
    images = [np.repeat(image, n_channels, axis=2) if image.shape[2] < n_channels else image for image in images]
    _check_sizes(images, [file for file, _ in files], like)
    for label, name in enumerate(classes):
        if all(other != label for _, other in files):
            raise UserError(f"class folder {path / name} holds no image")
    return LabelledImages(np.stack(images), np.array([label for _, label in files], np.int32), len(classes), classes)


def read_images(path: pathlib.Path) -> typing.List[np.ndarray]:
    """Reads the image files in a folder and in all folders below it: a list of uint8 [height, width, 1 or 3]."""
    files = _files(path) + [file for child in sorted(path.rglob("*")) if child.is_dir() and not any(
        part.startswith(".") for part in child.relative_to(path).parts) for file in _files(child)]
    if not files:
        raise UserError(f"{path} holds no image")
    return [_read_image(file) for file in files]


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
            raise UserError(f"{file} has {image.shape[0]} x {image.shape[1]} pixels with {image.shape[2]} channels, "
                            f"but the images before it have {shape[0]} x {shape[1]} with {shape[2]}: make them all "
                            "one size")


def _files(path: pathlib.Path) -> typing.List[pathlib.Path]:
    return sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))


def _read_image(path: pathlib.Path) -> np.ndarray:
    """Reads one file: uint8 [height, width, 1 or 3]."""
    from PIL import Image

    try:
        with Image.open(str(path)) as image:
            mode, grey = image.mode, image.mode in ("1", "L", "LA")
            array = np.asarray(image.convert("L" if grey else "RGB"))
    except Exception as error:  # Pillow's decoders raise errors of many types for damaged files
        raise UserError(f"{path} cannot be read as an image ({error}); remove or repair it") from None
    if mode.startswith(("I", "F")):  # the conversion above has cut these off
        raise UserError(f"{path} has more than 8 bits per channel (mode {mode}), which would be cut off: convert it "
                        "to 8 bits per channel")
    return array[..., None] if grey else array
