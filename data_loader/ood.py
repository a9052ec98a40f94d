"""Rows that a trained network was not made for: another set of pictures, noise, another table."""
import pathlib

import numpy as np

from data_loader import IMAGE_SETS
from data_loader.images import read_folder, read_pictures
from data_loader.parts import Part
from data_loader.regression import read_rows
from data_loader.splits import rows_hash
from data_loader.table_file import read_table
from misc.errors import UserError
from misc.lookup import did_you_mean
from misc.seeding import stream

NOISE = "noise"
FARTHEST = 1e12


def ood_images(name, data_path, shape, n_noise=1000):
    """Images [n, height, width, channels] to be told from the data's own, scaled and coloured to fit `shape`.

    Args:
      name: of IMAGE_SETS, of a folder with pictures (in it or in folders beneath, of any sizes), or `noise`
        (uniform, `n_noise` pictures).
      data_path: where known sets are looked for.
      shape: (height, width, channels) that the network takes.
    """
    if name == NOISE:
        return stream(0, "foreign noise").randint(0, 256, (n_noise, *shape)).astype(np.uint8)
    if name not in IMAGE_SETS and is_there(name) and pathlib.Path(name).is_dir():
        return np.concatenate([fitted(image[None], shape) for image in read_pictures(pathlib.Path(name))])
    return fitted(_pictures(name, data_path, [*IMAGE_SETS, NOISE])[0].images, shape)


def is_there(name):
    """Whether it names a file or folder; a name that cannot be one does not."""
    try:
        return pathlib.Path(name).exists()
    except (OSError, ValueError):
        return False


def labelled_images(name, config, data):
    """Part of other pictures of the same classes, by their names, and the same size. UserError if they are not."""
    if name == config.dataset:
        raise UserError(f"--data {name} is what the run was trained on; its test rows are judged without --data")
    found, classes = _pictures(name, config.data_path, list(IMAGE_SETS))
    if found.images.shape[1:] != tuple(data.spec.shape):
        raise UserError(f"{name} has pictures of {_size(found.images.shape[1:])}, the network takes "
                        f"{_size(data.spec.shape)}")
    unknown = [label for label in classes if label not in data.classes]
    if unknown:
        raise UserError(f"--data {name} has the class{'es' * (len(unknown) > 1)} {', '.join(unknown[:5])}, which the "
                        f"run does not have ({', '.join(list(data.classes)[:10])}): --ood is for strange pictures")
    places = np.array([list(data.classes).index(label) for label in classes], np.int32)
    return Part(found.images, places[found.labels])


def _pictures(name, data_path, known):
    """(Images, names of their classes): a known set's test part (or all of it), or a folder of pictures."""
    if name == "images":
        raise UserError("images stands for pictures of your own: name their folder")
    if name in IMAGE_SETS:
        train, test, _ = IMAGE_SETS[name].load(data_path)
        found = test or train
        return found, found.classes or IMAGE_SETS[name].classes or [str(label) for label in range(found.n_classes)]
    if not is_there(name) or not pathlib.Path(name).is_dir():
        raise UserError(f"{name!r} is no set of pictures{did_you_mean(name, known)}; known: {', '.join(known)}, or a "
                        "folder with a folder per class")
    found = read_folder(pathlib.Path(name))
    return found, found.classes


def fitted(images, shape):
    """uint8 pictures scaled to (height, width, channels) by Pillow (bilinear); grey and colour as the shape has it."""
    from PIL import Image

    height, width, channels = shape
    if images.shape[1:3] != (height, width):
        images = np.stack([np.asarray(Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).resize(
            (width, height), Image.BILINEAR)).reshape(height, width, -1) for image in images])
    if images.shape[3] == channels:
        return images
    if channels == 1:
        return np.round(images.mean(axis=3, keepdims=True)).astype(np.uint8)
    return np.repeat(images, channels, axis=3)


def other_table(name, data_path, data):
    """Rows of a .data file, or of a set by its name, standardised as the training rows of `data` were.

    UserError if they do not fit, or are the rows that the run was trained on.
    """
    is_file = is_there(name) and pathlib.Path(name).is_file()
    if not is_file and name.endswith(".data"):
        raise UserError(f"--data {name}: there is no such file")
    values, path = (read_table(pathlib.Path(name)), name) if is_file else read_rows(name, data_path)
    if rows_hash(values) == data.rows_hash:
        raise UserError(f"--data {name}: the run was trained on these rows; its test rows are judged without --data")
    n_inputs = data.spec.shape[0]
    if values.shape[1] != n_inputs + 1 or not len(values):
        raise UserError(f"{path} has {values.shape[1]} columns, the network takes {n_inputs} inputs and a target")
    if not np.isfinite(values).all():
        raise UserError(f"{path}: not all values are finite")
    part = Part((values[:, :-1] - data.input_mean) / data.input_std,
                (values[:, -1] - data.target_mean) / data.target_std)
    if max(np.abs(part.x).max(), np.abs(part.y).max()) > FARTHEST:
        raise UserError(f"{path}: values more than {FARTHEST:g} standard deviations of the training rows away")
    return part


def _size(shape):
    return f"{shape[0]} x {shape[1]} pixels with {shape[2]} channel{'s' if shape[2] > 1 else ''}"
