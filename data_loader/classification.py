"""Loads a set of labelled images and splits it. Pixels stay bytes; the graph standardises them."""
import functools
import hashlib
import os
import typing

import numpy as np

from data_loader import DATASETS, IMAGE_SETS
from data_loader.archives import Loaded
from data_loader.images import LabelledImages, image_ids, with_channels
from data_loader.mapped_images import Images, MappedImages, joined, take
from data_loader.parts import Part, Pixels, Spec
from data_loader.splits import (
    GIVEN,
    Request,
    Split,
    Splitter,
    about_repeated,
    hash_of_rows,
    n_common,
    random_split,
    split_hash,
    training_rows,
)
from data_loader.stratified import hold_out_by_class, stratified_split
from misc.config import Config
from misc.errors import UserError
from misc.lookup import lookup

BLOCK_BYTES = 2**22  # of images that are looked at at a time


class ImageData(typing.NamedTuple):
    """A set of labelled images, split."""

    train: Part
    valid: typing.Optional[Part]  # None without validation rows
    test: typing.Optional[Part]  # None if only the validation rows are evaluated
    spec: Spec
    classes: typing.List[str]  # names, in the order of the labels
    source: str  # where the images came from
    split: Split
    split_hash: str
    rows_hash: str  # of all images and labels in their order, before the split
    n_valid_in_train: typing.Optional[int]  # validation images that are also training images; None without any
    n_test_in_train: typing.Optional[int]  # the same of test images; None if only the validation rows are evaluated
    notices: typing.Tuple[str, ...] = ()  # sentences about what was assumed


def load_classification(config: Config, given: None = None,
                        splitter: typing.Optional[Splitter] = None) -> ImageData:
    """Reads, checks and splits `config.dataset`. Raises a UserError if that is impossible.

    Args:
      given: None, where loaders of tables take one in memory.
      splitter: chooses the split of the set's images, of which the last ones are its own test images, if it has any;
        None: as the config says.
    """
    if config.dataset in DATASETS:
        raise UserError(f"dataset {config.dataset} is for mode regression, but this config's mode is classification")
    known = lookup(IMAGE_SETS, config.dataset, "dataset for mode classification")
    _check_keys(known.keys, config)
    loaded = known.load(config.data_path, **{key: getattr(config, key) for key in known.keys})
    train, source = loaded.train, loaded.source
    images, labels, split = _split(loaded, config, splitter)
    rows, valid_rows = _training_rows(loaded, split, config)
    if config.evaluate_on == "test" and not len(split.test):
        raise UserError(f"{source}: {len(labels)} images are too few to set {config.test_fraction:g} of them aside as "
                        "a test set (test_fraction)")
    if len(np.unique(labels[rows])) < 2:
        raise UserError(f"{source}: the training images are all of one class; there is nothing to learn")

    ids, id_names = zip(*(image_ids(part, config.data_path) for part in _parts_of(loaded)))
    all_ids = np.concatenate(ids)

    def part(chosen: np.ndarray) -> Part:
        return Part(take(images, chosen), labels[chosen], ids=all_ids[chosen], id_name=id_names[0])

    fit = part(rows)
    n_evaluated = len(valid_rows) + (len(split.test) if config.evaluate_on == "test" else 0)
    hashes = hash_of_images(images)
    n_valid, n_test = (n_common(hashes[others], hashes[rows]) for others in (valid_rows, split.test))
    repeated = about_repeated("images", validation=(n_valid, len(valid_rows)), test=(n_test, len(split.test)))
    return ImageData(
        train=fit, valid=part(valid_rows) if len(valid_rows) else None,
        test=part(split.test) if config.evaluate_on == "test" else None,
        spec=Spec(len(rows), images.shape[1:], train.n_classes, pixel_statistics(fit.x), n_evaluated,
                  isinstance(images, MappedImages)),
        classes=train.classes or known.classes or [str(number) for number in range(train.n_classes)],
        source=source, split=split, split_hash=split_hash([split]), rows_hash=images_hash(images, labels),
        n_valid_in_train=n_valid if len(valid_rows) else None,
        n_test_in_train=n_test if config.evaluate_on == "test" else None,
        notices=(*loaded.notes, *_about_contradictions(loaded, hashes, labels), *repeated),
    )


def pixel_statistics(images: Images) -> Pixels:
    """Returns mean and standard deviation of every channel of uint8 images [n, height, width, channels].

    A constant channel gets a standard deviation of 1.
    """
    count = images.size // images.shape[-1]
    # Histograms of a block at a time: bincount converts its argument to int64, eight times its size.
    histograms = np.sum([[np.bincount(block[..., channel].ravel(), minlength=256)
                          for channel in range(images.shape[-1])] for block in blocks(images)], axis=0)
    values = np.arange(256.0)
    mean = np.array([histogram @ values / count for histogram in histograms])
    variance = np.array([histogram @ np.square(values - m) / count for histogram, m in zip(histograms, mean)])
    return Pixels(mean, np.where(variance > 0, np.sqrt(variance), 1.0))


def blocks(images: Images) -> typing.Iterator[np.ndarray]:
    """Yields consecutive images, some MiB at a time."""
    size = max(1, BLOCK_BYTES // int(np.prod(images.shape[1:])))
    for start in range(0, len(images), size):
        yield images[start:start + size]


def hash_of_images(images: Images) -> np.ndarray:
    """Returns `hash_of_rows` of images."""
    return np.concatenate([hash_of_rows(block) for block in blocks(images)] or [hash_of_rows(np.asarray(images))])


def images_hash(images: Images, labels: np.ndarray) -> str:
    """Returns the first 16 hex digits of the SHA-256 of images and labels in their order."""
    digest = hashlib.sha256()
    for block in blocks(images):
        digest.update(np.ascontiguousarray(block).data)
    digest.update(np.asarray(labels, "<i4").tobytes())
    return digest.hexdigest()[:16]


def n_equal_images(images: Images, others: Images) -> int:
    """Returns how many of the uint8 images [n, height, width, channels] are, to the last bit, among the `others`."""
    return n_common(hash_of_images(images), hash_of_images(others))


def _about_contradictions(loaded: Loaded, hashes: np.ndarray, labels: np.ndarray) -> typing.List[str]:
    """Returns a sentence that counts the images which stand, equal to the last bit, in several classes.

    It names the first pair: by their files, or by their numbers.

    Args:
      loaded: the set, in the order of training, validation and test images.
      hashes, labels: of its images, int [n].
    """
    first_rows: typing.Dict[int, int] = {}
    pairs: typing.Dict[int, typing.Tuple[int, int]] = {}
    for row, (image, label) in enumerate(zip(hashes.tolist(), labels.tolist())):
        first = first_rows.setdefault(image, row)
        if labels[first] != label:
            pairs.setdefault(image, (first, row))
    if not pairs:
        return []
    sources = [source for part in _parts_of(loaded) for source in part.sources]
    one, other = (os.path.relpath(str(sources[row].path), loaded.source) if sources else f"number {row}"
                  for row in next(iter(pairs.values())))
    return [f"note: {'1 image stands' if len(pairs) == 1 else f'{len(pairs)} images stand'} in more than one class: "
            f"{one} and {other} are equal" + (", for example" if len(pairs) > 1 else "")]


def _parts_of(loaded: Loaded) -> typing.List[LabelledImages]:
    return [part for part in (loaded.train, loaded.valid, loaded.test) if part is not None]


def _check_keys(keys: typing.Sequence[str], config: Config) -> None:
    """Raises a UserError if the config sets a key of another image set's loader than that of `keys`."""
    others = {key: name for name, known in IMAGE_SETS.items() for key in known.keys if key not in keys}
    for key, name in others.items():
        if config.sets(key):
            raise UserError(f"{key} is for dataset {name}, but this config's dataset is {config.dataset}: remove {key}")


def _training_rows(loaded: Loaded, split: Split, config: Config) -> typing.Tuple[np.ndarray, np.ndarray]:
    """Returns (training rows, validation rows): the set's own, or those that the config sets aside."""
    if loaded.valid is None:
        if config.evaluate_on == "validation" and config.validation_fraction == 0:
            raise UserError("evaluate_on validation needs validation rows: set validation_fraction, e.g. to 0.1, or "
                            "put a folder val beside train")
        if config.stratified:
            return training_rows(split, config, functools.partial(hold_out_by_class, loaded.train.labels))
        return training_rows(split, config)
    for key in ("validation_fraction", "validation_fold"):
        if getattr(config, key):
            raise UserError(f"{key}: {loaded.source} has validation images of its own: remove {key}")
    return split.train, len(loaded.train.labels) + np.arange(len(loaded.valid.labels))


def _split(loaded: Loaded, config: Config,
           splitter: typing.Optional[Splitter]) -> typing.Tuple[Images, np.ndarray, Split]:
    """Returns all images and all labels in one order (of training, validation, test), and which train and test."""
    train, test, parts = loaded.train, loaded.test, _parts_of(loaded)
    n_channels = max(part.images.shape[3] for part in parts)
    parts = [with_channels(part, n_channels) for part in parts]
    images, labels = joined([part.images for part in parts]), np.concatenate([part.labels for part in parts])
    if splitter is not None:
        if loaded.valid is not None:
            raise UserError(f"{loaded.source} has validation images of its own, which belong to its own split alone: "
                            "leave them out")
        n_test = 0 if test is None else len(test.labels)
        return images, labels, splitter(Request(len(labels), 0, n_test=n_test, labels=labels))
    if test is None:
        index = config.split if config.split is not None else config.seed
        if config.stratified:
            return images, labels, stratified_split(train.labels, index, config.test_fraction)
        return images, labels, random_split(len(train.labels), index, config.test_fraction)
    for key in ("split", "test_fraction"):
        if config.sets(key):
            raise UserError(f"{key}: {config.dataset} has test images of its own, so there is nothing to split; remove "
                            f"{key} (validation_fraction sets training images aside)")
    if config.stratified and (loaded.valid is not None or not config.validation_fraction):
        raise UserError(f"stratified: {config.dataset} has test images of its own and no validation rows are chosen: "
                        "remove stratified, which has no effect")
    n_train, n_test = len(train.labels), len(test.labels)
    order = np.random.RandomState(0).permutation(n_train)  # files may be sorted; validation rows need all classes
    return images, labels, Split(GIVEN, 0, order, len(labels) - n_test + np.arange(n_test))
