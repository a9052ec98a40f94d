"""Own images (data set `images`): folders of class folders, or files whose classes a CSV lists."""
import os
import pathlib
import typing

from data_loader.archives import Loaded
from data_loader.image_files import UnusableImages, check_depths, is_visible, read_notes, skipped_note
from data_loader.image_sizes import Fit, make_fit
from data_loader.images import LabelledImages, read_folder, read_listed, with_channels
from data_loader.labels_file import read_labels
from misc.errors import UserError

VALIDATION = ("val", "valid", "validation")  # names of a folder of validation images


def image_folder(data_path: str, image_size: typing.Optional[typing.Sequence[int]] = None, image_fit: str = "crop",
                 labels_file: typing.Optional[str] = None, image_cache: typing.Optional[str] = None) -> Loaded:
    """Loads image files: data_path/CLASS/FILE, or data_path/train/CLASS/FILE with test/ and val/ beside train/.

    Args:
      data_path: the folder of the images.
      image_size: (height, width) to which they are resized; None: they must be of one size.
      image_fit: how they are resized, one of FITS.
      labels_file: a CSV of file names in data_path and their classes, in place of class folders.
      image_cache: a folder in which the pixels are kept and mapped into memory; None: they are in memory.
    """
    path, fit = pathlib.Path(data_path), make_fit(image_size, image_fit)
    if not os.path.isdir(str(path)):
        raise UserError(f"there is no folder {path}: set data_path to the folder of your images, which holds a folder "
                        "per class")
    if labels_file is not None:
        loaded = _listed(path, pathlib.Path(labels_file), fit, image_cache)
    elif (path / "train").is_dir():
        loaded = _parts(path, fit, image_cache)
    else:
        train = read_folder(path, fit=fit, cache=image_cache)
        loaded = Loaded(train, None, str(path), notes=skipped_note(train.skipped, path, train.outside))
    parts = [part for part in (loaded.train, loaded.valid, loaded.test) if part]
    sources = [source for part in parts for source in part.sources]
    check_depths((image for part in parts for image in part.images), sources)
    return loaded._replace(notes=[*loaded.notes, *read_notes(sources, fit)])


def _listed(path: pathlib.Path, labels_file: pathlib.Path, fit: typing.Optional[Fit],
            cache: typing.Optional[str]) -> Loaded:
    if not os.path.isfile(str(labels_file)) and os.path.isfile(str(path / labels_file)):
        raise UserError(f"labels_file {labels_file}: there is no such file, but {path / labels_file}: set labels_file "
                        "to this")
    listed = read_labels(labels_file, path)
    return Loaded(read_listed(listed, labels_file, fit, cache), None, str(path), notes=listed.notes)


def _parts(path: pathlib.Path, fit: typing.Optional[Fit], cache: typing.Optional[str]) -> Loaded:
    """Loads train/ and, if they are there, test/ and a folder of validation images."""
    folders = sorted(child.name for child in path.iterdir() if child.is_dir() and is_visible(child.name))
    validation = [name for name in folders if name in VALIDATION]
    if len(validation) > 1:
        raise UserError(f"{path} holds {' and '.join(validation)}: keep one folder of validation images")
    parts = _read_parts(path, ["train", *(name for name in folders if name == "test"), *validation], fit,
                        cache)
    train, test, valid = parts["train"], parts.get("test"), parts.get(validation[0]) if validation else None
    read = [part for part in (train, valid, test) if part]
    notes = skipped_note([file for part in read for file in part.skipped], path,
                         [file for part in read for file in part.outside])
    other = [name for name in folders if name not in ("train", "test", *VALIDATION)]
    if other:
        notes.append(f"note: {path} also holds {', '.join(other)}, which {'is' if len(other) == 1 else 'are'} not read "
                     "(only train, test and val are)")
    return Loaded(train, test, str(path), valid, notes)


def _read_parts(path: pathlib.Path, names: typing.Sequence[str],
                fit: typing.Optional[Fit], cache: typing.Optional[str]) -> typing.Dict[str, LabelledImages]:
    """Reads the folders `names`, the training images first, whose size and classes the others must have.

    If any image is coloured, all parts get three channels. Raises UnusableImages, which names those of all folders;
    what else is wrong is said once these can be read.
    """
    parts: typing.Dict[str, LabelledImages] = {}
    unusable: typing.List[str] = []
    for name in names:
        try:
            parts[name] = read_folder(path / name, parts.get("train"), fit, cache)
        except UnusableImages as error:
            unusable += error.unusable
        except UserError:
            if not unusable:
                raise
    if unusable:
        raise UnusableImages(unusable)
    n_channels = max(part.images.shape[3] for part in parts.values())
    return {name: with_channels(part, n_channels) for name, part in parts.items()}
