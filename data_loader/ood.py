"""Data other than a run's own, to evaluate it on: out-of-distribution (OOD) images, and other test rows."""
import pathlib
import sys
import typing

import numpy as np

from data_loader import DATASETS, IMAGE_SETS
from data_loader.archives import Loaded
from data_loader.classification import ImageData
from data_loader.image_files import read_notes, skipped_note
from data_loader.image_sizes import Fit, fit_of
from data_loader.images import (
    LabelledImages,
    image_ids,
    read_folder,
    read_unlabelled,
    size_text,
    with_channels,
)
from data_loader.known_tables import put_target_last
from data_loader.other_rows import MAX_DISTANCE, encode_as, match_columns, targets_of, word_columns
from data_loader.parts import Part
from data_loader.splits import hash_of_rows, n_common, rows_hash
from data_loader.table_classes import class_part
from data_loader.table_data import TableData
from data_loader.table_file import Table, read_table
from data_loader.table_source import fetch_known
from data_loader.table_text import TableFormat
from data_loader.table_values import may_be_header
from misc.config import Config
from misc.errors import UserError
from misc.lookup import did_you_mean
from misc.seeding import stream

NOISE = "noise"


def ood_images(name: str, data_path: str, shape: typing.Tuple[int, ...], n_noise: int = 1000,
               fit: typing.Optional[Fit] = None) -> np.ndarray:
    """Returns images to be told apart from a run's own: uint8 [n, *shape], scaled, and grey or coloured, to fit.

    Args:
      name: of IMAGE_SETS; or of a folder with images of any sizes, in it or in folders below it; or `noise`, for
        `n_noise` images of uniformly random pixels.
      data_path: the folder in which known sets are looked for.
      shape: (height, width, channels) of the network's input.
      fit: how the run resizes its own images, and the files in a folder, too; None: images are stretched.

    Raises a UserError if there are no such images.
    """
    if name == NOISE:
        # NOTE: the noise follows from the name of its stream, so another name would change published numbers.
        return stream(0, "foreign noise").randint(0, 256, (n_noise, *shape)).astype(np.uint8)
    if name not in IMAGE_SETS and _is_folder(name):
        read = read_unlabelled(pathlib.Path(name), fit)
        _say(skipped_note(read.skipped, pathlib.Path(name)))
        return np.concatenate([fit_to_shape(image[None], shape) for image in read.images])
    return fit_to_shape(np.asarray(_load_images(name, data_path, [*IMAGE_SETS, NOISE], fit)[0].images), shape)


def ood_part(name: str, config: Config, data: ImageData, n_noise: int) -> Part:
    """Returns the images of `ood_images` for a run. Raises a UserError for the run's own data set."""
    if name == config.dataset:
        raise UserError(f"--ood {name} is the run's own data set: give another one")
    return Part(ood_images(name, config.data_path, data.spec.shape, n_noise, fit_of(config)), None)


def labelled_images(name: str, config: Config, data: ImageData) -> Part:
    """Returns other images of the run's classes, matched by their names, and of its size.

    Args:
      name: of IMAGE_SETS, or of a folder that holds a folder of images per class.
      config, data: of the run.

    Raises a UserError if there are no such images, or they do not fit the run.
    """
    if name == config.dataset:
        raise UserError(f"--data {name} is what the run was trained on; evaluate without --data to use its test rows")
    other, classes = _load_images(name, config.data_path, list(IMAGE_SETS), fit_of(config))
    other = with_channels(other, data.spec.shape[2])
    if other.images.shape[1:] != tuple(data.spec.shape):
        raise UserError(f"{name} has images of {size_text(other.images.shape[1:])}, but the network takes "
                        f"{size_text(data.spec.shape)}")
    unknown = [label for label in classes if label not in data.classes]
    if unknown:
        raise UserError(f"--data {name} has the class{'es' if len(unknown) > 1 else ''} {', '.join(unknown[:5])}, "
                        f"which the run does not have ({', '.join(list(data.classes)[:10])}): use --ood for images of "
                        "other classes")
    labels_of_run = np.array([list(data.classes).index(label) for label in classes], np.int32)
    ids, id_name = image_ids(other, name)
    return Part(other.images, labels_of_run[other.labels], ids=ids, id_name=id_name)


def other_table(name: str, config: Config, data: TableData) -> Part:
    """Returns the rows of another table, standardised as the training rows of `data` were.

    Args:
      name: of a table's file, or of a data set.
      config, data: of the run.

    Raises a UserError if there is no such table, its rows do not fit, or the run was trained on them.
    """
    table = _read_other(name, config, data, "--data")
    rows = match_columns(table, data, needs_target=True)
    if table.names is None and data.names is None and table.is_number(0) and may_be_header(
            table.frame.iloc[0].to_numpy()):
        first = table.frame.iloc[0].to_numpy(np.float64)
        raise UserError(f"{table.source}: the first line holds the numbers {first.min():g} to "
                        f"{first.max():g}, each once: remove it if it is a header (its columns must be in "
                        "the order of the run's table), or move it to another line if it is a row")
    x, notices = encode_as(data, rows)
    targets = targets_of(data, rows)
    y = (targets - data.target_mean) / data.target_std
    if not np.abs(y).max() <= MAX_DISTANCE:
        raise UserError(f"{table.source}: some values are more than {MAX_DISTANCE:g} standard deviations of the "
                        "training rows away from their mean")
    n_in_train = None
    if data.train_hashes is not None:
        values = np.column_stack([data.transform.encode(rows.frame)[0], targets])
        if rows_hash(values) == data.rows_hash:
            raise UserError(f"--data {name}: the run was trained on these rows; evaluate without --data to use its "
                            "test rows")
        n_in_train = n_common(hash_of_rows(values), data.train_hashes)
    return Part(x, y, n_in_train, (*rows.notices, *notices), rows.ids, data.transform.id_name)


def other_class_table(name: str, config: Config, data: TableData) -> Part:
    """Returns the rows of another table with their labels; arguments and errors are those of `other_table`."""
    return class_part(data, match_columns(_read_other(name, config, data, "--data"), data, needs_target=True))


def ood_rows(name: str, config: Config, data: TableData, n_noise: int) -> Part:
    """Returns the rows of another table, with or without targets, to be told apart from a run's own.

    Args:
      name: of a table's file, or of a data set.
      config, data: of the run.
      n_noise: not used: there is no noise with the columns of a table.

    Raises a UserError if there is no such table, or its rows do not fit.
    """
    if name == NOISE:
        raise UserError("--ood noise is for images: give the file of a table with the columns of the run's")
    rows = match_columns(_read_other(name, config, data, "--ood"), data, needs_target=False)
    x, notices = encode_as(data, rows)
    n_in_train = None if data.train is None else n_common(
        hash_of_rows(x.astype(data.train.x.dtype)), hash_of_rows(data.train.x))
    return Part(x, None, n_in_train, (*rows.notices, *notices), rows.ids)


def _read_other(name: str, config: Config, data: TableData, flag: str) -> Table:
    """Reads a table's file, or a known data set; flag: that asks for it."""
    known = DATASETS.get(config.dataset) if not config.data_file else None
    if _exists(name) and pathlib.Path(name).is_file():
        table = read_table(pathlib.Path(name), TableFormat(**config.table_format), word_columns(data))
    elif pathlib.Path(name).suffix:
        raise UserError(f"{flag} {name}: {'this is a folder' if _is_folder(name) else 'there is no such file'}")
    else:
        path = pathlib.Path(config.data_path) / f"{name}.data"
        if not path.is_file() and name not in DATASETS:
            raise UserError(f"{flag} {name}: there is no file of that name, nor {path}, and no known data set of that "
                            f"name{did_you_mean(name, DATASETS)}")
        table = read_table(path, TableFormat(**config.table_format)) if path.is_file() else fetch_known(
            name, config.data_path)
    return put_target_last(table, known) if known else table


def fit_to_shape(images: np.ndarray, shape: typing.Tuple[int, ...]) -> np.ndarray:
    """Scales uint8 images [n, height, width, 1 or 3] bilinearly to shape (height, width, channels).

    Colours are averaged for a network that takes grey images; grey images get equal channels for one that takes
    colours.
    """
    height, width, channels = shape
    if images.shape[1:3] != (height, width):
        images = np.stack([_resize(image, height, width) for image in images])
    if images.shape[3] == channels:
        return images
    if channels == 1:
        return np.round(images.mean(axis=3, keepdims=True)).astype(np.uint8)
    return np.repeat(images, channels, axis=3)


def _resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    from PIL import Image

    bilinear = Image.BILINEAR  # type: ignore[attr-defined]  # missing in Pillow's annotations, not in Pillow
    original = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    return np.asarray(original.resize((width, height), bilinear)).reshape(height, width, -1)


def _load_images(name: str, data_path: str,
                 known: typing.Sequence[str],
                 fit: typing.Optional[Fit]) -> typing.Tuple[LabelledImages, typing.List[str]]:
    """Returns the test part (or all, without one) of a known set, or a folder of images; and its class names.

    Args:
      known: names that the message about an unknown one lists.
      fit: how files in a folder are resized, if at all.
    """
    if name == "images":
        raise UserError("images stands for your own images: give the path of their folder instead")
    if name in IMAGE_SETS:
        loaded = Loaded(*IMAGE_SETS[name].load(data_path))
        part = loaded.test or loaded.train
        return part, part.classes or IMAGE_SETS[name].classes or [str(label) for label in range(part.n_classes)]
    if not _is_folder(name):
        raise UserError(f"{name!r} is not a set of images{did_you_mean(name, known)}; known: {', '.join(known)}, or a "
                        "folder that holds a folder of images per class")
    if any(child.is_dir() for child in (pathlib.Path(name) / "train").glob("*")):
        raise UserError(f"{name} holds a folder of training images and its other parts: give one of them, e.g. "
                        f"{pathlib.Path(name) / 'test'}")
    images = read_folder(pathlib.Path(name), fit=fit)
    _say(skipped_note(images.skipped, pathlib.Path(name), images.outside))
    _say(read_notes(images.sources, fit))
    return images, images.classes or []


def _exists(name: str) -> bool:
    """Tells whether `name` is a path that exists; a text that cannot be a path (too long, say) does not."""
    try:
        return pathlib.Path(name).exists()
    except (OSError, ValueError):
        return False


def _say(notes: typing.Iterable[str]) -> None:
    for note in notes:
        print(note, file=sys.stderr)


def _is_folder(name: str) -> bool:
    return _exists(name) and pathlib.Path(name).is_dir()
