"""A set of labelled pictures, split; pixels stay bytes, the graph standardises them."""
import collections
import hashlib

import numpy as np

from data_loader import DATASETS, IMAGE_SETS
from data_loader.parts import Part, Pixels, Spec
from data_loader.splits import Split, hold_out, random_split, split_hash
from misc.errors import UserError
from misc.lookup import lookup

ImageData = collections.namedtuple(
    "ImageData", ["train", "valid", "test", "spec", "classes", "source", "split", "split_hash", "rows_hash"])
"""Parts; what the graph must know of them; names of the classes; where the pictures came from, the
split, and a hash of all pictures and labels in their order. `valid` is None without validation
rows, `test` if only these are evaluated."""


def load_classification(config):
    """Reads, checks and splits `config.dataset`. UserError if that is impossible."""
    if config.dataset in DATASETS:
        raise UserError(f"dataset {config.dataset} is for mode regression, this config's mode is classification")
    known = lookup(IMAGE_SETS, config.dataset, "dataset for mode classification")
    train, test, source = known.load(config.data_path)
    images, labels, split = _split(train, test, config)
    rows, valid_rows = hold_out(split.train, config.validation_fraction, config.validation_fold)
    if config.evaluate_on == "validation" and not len(valid_rows):
        raise UserError(f"validation_fraction {config.validation_fraction:g} of {len(split.train)} training pictures "
                        "is none to evaluate on: set a larger one")
    if config.evaluate_on == "test" and not len(split.test):
        raise UserError(f"{source}: {len(labels)} pictures are too few for a test set of a fifth of them")
    if len(np.unique(labels[rows])) < 2:
        raise UserError(f"{source}: the training pictures are all of one class; there is nothing to learn")

    def part(chosen):
        return Part(images[chosen], labels[chosen]) if len(chosen) else None

    fit = part(rows)
    return ImageData(
        train=fit, valid=part(valid_rows), test=part(split.test) if config.evaluate_on == "test" else None,
        spec=Spec(len(rows), images.shape[1:], train.n_classes, pixel_statistics(fit.x)),
        classes=train.classes or known.classes or [str(number) for number in range(train.n_classes)],
        source=source, split=split, split_hash=split_hash([split]), rows_hash=images_hash(images, labels),
    )


def pixel_statistics(images):
    """Pixels of uint8 pictures [n, height, width, channels]; a constant channel has a std of 1."""
    count = images.size // images.shape[-1]
    chunks = [images[start:start + 1000] for start in range(0, len(images), 1000)]  # bincount makes int64 of bytes
    histograms = [sum(np.bincount(chunk[..., channel].ravel(), minlength=256) for chunk in chunks)
                  for channel in range(images.shape[-1])]
    values = np.arange(256.0)
    mean = np.array([histogram @ values / count for histogram in histograms])
    variance = np.array([histogram @ np.square(values - m) / count for histogram, m in zip(histograms, mean)])
    return Pixels(mean, np.where(variance > 0, np.sqrt(variance), 1.0))


def images_hash(images, labels):
    """First 16 hex digits of the SHA-256 of pictures and labels in their order."""
    digest = hashlib.sha256(np.ascontiguousarray(images))
    digest.update(np.asarray(labels, "<i4").tobytes())
    return digest.hexdigest()[:16]


def _split(train, test, config):
    """All pictures and labels in one order, and which of them train and test."""
    if test is None:
        index = config.split if config.split is not None else config.seed
        return train.images, train.labels, random_split(len(train.labels), index)
    if config.split is not None:
        raise UserError(f"split: {config.dataset} has test pictures of its own, there is nothing to split; remove it "
                        "(validation_fraction sets training pictures aside)")
    n_train, n_test = len(train.labels), len(test.labels)
    order = np.random.RandomState(0).permutation(n_train)  # so that validation rows are of all classes
    split = Split("given", 0, order, n_train + np.arange(n_test))
    return np.concatenate([train.images, test.images]), np.concatenate([train.labels, test.labels]), split
