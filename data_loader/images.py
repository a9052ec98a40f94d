"""Images with class labels, and their readers: folders of class folders, files that a CSV lists, and scikit-learn's
digits.

Every reader raises a UserError that names the file and what is wrong with it. CIFAR's pickles are read by
data_loader/cifar.py, MNIST's files by data_loader/idx.py, single image files by data_loader/image_files.py.
"""
import os
import pathlib
import typing

import numpy as np

from data_loader.image_files import (
    GREY_TO_COLOUR,
    ImageFiles,
    Source,
    all_files,
    is_file_or_broken_link,
    is_visible,
    read_files,
)
from data_loader.image_sizes import Fit
from data_loader.labels_file import Labels
from data_loader.mapped_images import Images, Store, all_of, widened
from data_loader.parts import FILE, ROW
from misc.errors import UserError


class LabelledImages(typing.NamedTuple):
    """Images and their classes."""

    images: Images      # uint8 [n, height, width, channels]
    labels: np.ndarray  # int32 [n], from 0
    n_classes: int
    classes: typing.Optional[typing.List[str]] = None  # their names in the order of the labels; None: unknown
    skipped: typing.Sequence[pathlib.Path] = ()  # files that are no images, and folders inside class folders
    outside: typing.Sequence[pathlib.Path] = ()  # files that are in no class folder
    sources: typing.Sequence[Source] = ()  # what each image was in its file; () for images that are not files


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


def read_folder(path: pathlib.Path, like: typing.Optional[LabelledImages] = None,
                fit: typing.Optional[Fit] = None, cache: typing.Optional[str] = None) -> LabelledImages:
    """Reads a folder that holds one folder per class, each with image files in any format that Pillow reads.

    Without `fit`, all images must have one size. If any is coloured, grey ones get three equal channels. Other files
    are skipped.

    Args:
      path: the folder of the class folders; labels count the classes in the order of their names.
      like: images whose size and class names these must have, if given.
      fit: how images of other sizes are resized; None: there must be none.
      cache: as in `read_files`.
    """
    classes = _class_names(path, like)
    entries = [entry for name in classes for entry in _entries(path / name)]
    read = read_files((entry for entry in entries if is_file_or_broken_link(entry)), fit, cache)
    _check_sizes(read, like)
    labels = np.array([classes.index(source.path.parent.name) for source in read.sources], np.int32)
    for label, name in enumerate(classes):
        if label not in labels:
            raise UserError(f"class folder {path / name} holds no image")
    folders = [entry for entry in entries if entry.is_dir()]
    outside = [entry for entry in _entries(path) if not entry.is_dir() and not entry.name.startswith(".")]
    return _labelled(read, labels, classes)._replace(skipped=[*read.skipped, *folders], outside=outside)


def read_listed(listed: Labels, source: pathlib.Path, fit: typing.Optional[Fit] = None,
                cache: typing.Optional[str] = None) -> LabelledImages:
    """Reads the image files that a CSV lists; `fit` and `cache` as in `read_folder`.

    Args:
      listed: the files and their classes; labels count these in the order of their names.
      source: the CSV, for messages.
    """
    classes = sorted(set(listed.classes))
    if len(classes) < 2:
        raise UserError(f"{source} has one class only, {classes[0]}, but at least 2 are needed")
    read = read_files(listed.paths, fit, cache)
    if read.skipped:
        raise UserError(f"{source} lists {read.skipped[0]}, which is no image")
    _check_sizes(read, None)
    return _labelled(read, np.array([classes.index(name) for name in listed.classes], np.int32), classes)


def read_unlabelled(path: pathlib.Path, fit: typing.Optional[Fit] = None) -> ImageFiles:
    """Reads the image files in a folder and in all folders below it; `fit` as in `read_folder`."""
    read = read_files(all_files(path), fit)
    if not read.images:
        raise UserError(f"{path} holds no image")
    return read


def with_channels(part: LabelledImages, n_channels: int) -> LabelledImages:
    """Returns grey images as coloured ones, if these are asked for, and says so in their `sources`."""
    if part.images.shape[3] >= n_channels:
        return part
    sources = [source._replace(done=(*source.done, GREY_TO_COLOUR)) for source in part.sources]
    return part._replace(images=widened(part.images, n_channels), sources=sources)


def image_ids(part: LabelledImages, folder: str) -> typing.Tuple[np.ndarray, str]:
    """Returns what predictions call the images, [n], and what they call the column of that.

    Images that are files have their paths relative to `folder`, as texts; others have their numbers from 1.
    """
    if not part.sources:
        return np.arange(len(part.labels)) + 1, ROW
    return np.array([os.path.relpath(str(source.path), folder) for source in part.sources], object), FILE


def _labelled(read: ImageFiles, labels: np.ndarray, classes: typing.List[str]) -> LabelledImages:
    """Returns the images as one array, with three channels if any of them is coloured."""
    n_channels = max(image.shape[2] for image in read.images)
    sources = [source if image.shape[2] == n_channels else source._replace(done=(*source.done, GREY_TO_COLOUR))
               for image, source in zip(read.images, read.sources)]
    if isinstance(read.images, Store):
        return LabelledImages(all_of(read.images), labels, len(classes), classes, sources=sources)
    images = np.empty((len(read.images), *read.images[0].shape[:2], n_channels), np.uint8)
    for number, image in enumerate(read.images):
        images[number] = image  # a grey image fills all channels
    return LabelledImages(images, labels, len(classes), classes, sources=sources)


def _class_names(path: pathlib.Path, like: typing.Optional[LabelledImages]) -> typing.List[str]:
    """Returns the names of the class folders in `path`, sorted."""
    classes = sorted(child.name for child in path.iterdir() if child.is_dir() and is_visible(child.name))
    if len(classes) < 2:
        raise UserError(f"class folders in {path}: {len(classes)}, but at least 2 are needed ({path}/CLASS/IMAGE)")
    if like and classes != like.classes:
        raise UserError(f"{path} has the classes {', '.join(classes)}, but the training images have "
                        f"{', '.join(like.classes or [])}")
    return classes


def _check_sizes(read: ImageFiles, like: typing.Optional[LabelledImages]) -> None:
    """Raises a UserError for the first image whose size differs from that of the images before it."""
    size = like.images.shape[1:3] if like else None
    for image, source in zip(read.images, read.sources):
        size = size or image.shape[:2]
        if image.shape[:2] != size:
            raise UserError(f"{source.path} has {image.shape[1]} x {image.shape[0]} pixels, but the images before it "
                            f"have {size[1]} x {size[0]} (width x height, after their EXIF orientation): make them all "
                            f"one size, or set image_size, e.g. to [{size[0]}, {size[1]}] (height, width)")


def _entries(folder: pathlib.Path) -> typing.List[pathlib.Path]:
    """Returns the files, hidden ones and links to nothing too, and the visible folders in a folder, sorted."""
    return sorted(path for path in folder.iterdir() if is_file_or_broken_link(path)
                  or (path.is_dir() and is_visible(path.name)))
