"""Rows that a trained network was not made for: another set of pictures, noise, another table."""
import pathlib

import numpy as np

from data_loader import PICTURE_SETS
from data_loader.parts import Part
from data_loader.pictures import read_folder
from data_loader.table_file import read_table
from misc.errors import UserError
from misc.seeding import stream
from misc.table import did_you_mean

NOISE = "noise"


def foreign_pictures(name, data_path, shape, n_noise=1000, fit=True):
    """Pictures and their labels: a known set's test part (or all of it), a folder of pictures, or uniform noise.

    Args:
      name: of PICTURE_SETS, of a folder as data set `images` has it, or `noise`.
      data_path: where known sets are looked for.
      shape: (height, width, channels) that the network takes.
      n_noise: how many pictures of noise.
      fit: pictures of another shape are scaled and coloured to fit; else a UserError.
    """
    if name == NOISE:
        pictures = stream(0, "foreign noise").randint(0, 256, (n_noise, *shape)).astype(np.uint8)
        return Part(pictures, np.zeros(n_noise, np.int32))
    if name in PICTURE_SETS:
        train, test, _ = PICTURE_SETS[name].load(data_path)
        found = test or train
    elif pathlib.Path(name).is_dir():
        found = read_folder(pathlib.Path(name))
    else:
        known = [*PICTURE_SETS, NOISE]
        raise UserError(f"{name!r} is no set of pictures{did_you_mean(name, known)}; known: {', '.join(known)}, or a "
                        "folder with a folder per class")
    if found.images.shape[1:] != tuple(shape) and not fit:
        raise UserError(f"{name} has pictures of {_size(found.images.shape[1:])}, the network takes {_size(shape)}")
    return Part(fitted(found.images, shape), found.labels)


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


def foreign_table(path, data):
    """Rows of a .data file, standardised as the training rows of `data` were. UserError if they do not fit."""
    values = read_table(pathlib.Path(path))
    n_inputs = data.spec.shape[0]
    if values.shape[1] != n_inputs + 1 or not len(values):
        raise UserError(f"{path} has {values.shape[1]} columns, the network takes {n_inputs} inputs and a target")
    if not np.isfinite(values).all():
        raise UserError(f"{path}: not all values are finite")
    return Part((values[:, :-1] - data.input_mean) / data.input_std,
                (values[:, -1] - data.target_mean) / data.target_std)


def _size(shape):
    return f"{shape[0]} x {shape[1]} pixels with {shape[2]} channel{'s' if shape[2] > 1 else ''}"
