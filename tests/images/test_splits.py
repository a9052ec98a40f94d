"""Splits, statistics, hashes, crops and flips of images."""
import shutil

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose

from core.training import run
from data_loader import IMAGE_SETS
from data_loader.archives import IDX_NAMES
from data_loader.batches import crop_and_flip, epoch_crops, epoch_order, epoch_plan
from data_loader.classification import pixel_statistics
from data_loader.splits import random_split
from misc.errors import UserError
from tests.images.files import idx, write_cifar10, write_idx, write_images

# Splits, validation rows, statistics, hashes.

def test_images_without_a_test_set_are_split_by_seed(load):
    digits = IMAGE_SETS["digits"].load("")[0]
    order = np.random.RandomState(3).permutation(1797)
    data = load("digits", seed=3)
    assert (len(data.train.x), len(data.test.x), data.split.protocol, data.split.index) == (1438, 359, "random", 3)
    assert (data.train.x == digits.images[order[:1438]]).all() and (data.train.y == digits.labels[order[:1438]]).all()
    assert (data.test.x == digits.images[order[1438:]]).all() and (data.test.y == digits.labels[order[1438:]]).all()
    assert data.classes == [str(number) for number in range(10)]
    other = load("digits", seed=4, split=3)
    assert other.split_hash == data.split_hash != load("digits", seed=4).split_hash
    assert (other.train.x == data.train.x).all()


def test_random_split_rounds():
    for n_rows, n_train in ((5, 4), (7, 6), (11, 9), (13, 10)):
        split = random_split(n_rows, 2)
        assert len(split.train) == n_train and sorted([*split.train, *split.test]) == list(range(n_rows))


def test_split_is_refused_where_there_are_test_images(refuse, tmp_path, rng):
    write_cifar10(tmp_path, rng)
    write_idx(tmp_path, rng)
    write_images(tmp_path / "train", rng)
    write_images(tmp_path / "test", rng)
    for name in ("cifar10", "mnist", "images"):
        refuse(f"split: {name} has test images of its own, so there is nothing to split; remove split", name, split=0)


def test_validation_rows_are_training_rows(load, refuse, tmp_path, rng):
    images, labels, test = write_cifar10(tmp_path, rng)
    order = np.random.RandomState(0).permutation(10)  # the same for every seed
    folds = []
    for fold in (0, 1, 2):
        data = load("cifar10", validation_fraction=0.3, validation_fold=fold, seed=fold)
        chosen = order[7 - 3 * fold:10 - 3 * fold]
        rest = [row for row in order if row not in chosen]
        assert (data.valid.x == images[chosen]).all() and (data.valid.y == labels[chosen]).all()
        assert (data.train.x == images[rest]).all() and (data.test.x == test).all() and data.spec.n_rows == 7
        assert_allclose(data.spec.pixels.mean, images[rest].mean(axis=(0, 1, 2)), rtol=1e-12)
        folds.append(data)
    assert len({data.rows_hash for data in folds}) == len({data.split_hash for data in folds}) == 1
    refuse("validation_fold 3 does not exist: 10 rows give 3 folds of 3", "cifar10", validation_fraction=0.3,
           validation_fold=3)


def test_evaluating_on_validation_rows_hides_the_test_rows(load, refuse):
    data = load("digits", validation_fraction=0.25, evaluate_on="validation")
    assert data.test is None and (len(data.train.x), len(data.valid.x)) == (1078, 360)
    kept = load("digits", validation_fraction=0.25)
    assert len(kept.test.x) == 359 and (kept.valid.x == data.valid.x).all()
    refuse("validation_fraction 0.0001 of 1438 training rows leaves no row to evaluate on", "digits",
           validation_fraction=0.0001, evaluate_on="validation")


def test_patience_needs_validation_images(settings, tmp_path, rng):
    """Only the loader knows whether a folder of images has validation images of its own."""
    for part in ("train", "val"):
        write_images(tmp_path / part, rng, ["cat", "dog"], n=4)
    assert len(run.plan(settings("images", patience=2)).data.valid.x) == 8
    shutil.rmtree(str(tmp_path / "val"))
    with pytest.raises(UserError, match="patience 2 needs validation rows: set validation_fraction, e.g. to 0.1"):
        run.plan(settings("images", patience=2))


@pytest.mark.parametrize("channels", [1, 3])
def test_pixel_statistics(rng, channels):
    images = rng.randint(0, 256, (5, 4, 6, channels)).astype(np.uint8)
    images[..., -1] //= 3
    pixels = pixel_statistics(images)
    assert_allclose(pixels.mean, images.astype(float).mean(axis=(0, 1, 2)), rtol=1e-12)
    assert_allclose(pixels.std, images.astype(float).std(axis=(0, 1, 2)), rtol=1e-12)


def test_a_constant_channel_has_a_std_of_1(rng):
    images = rng.randint(0, 256, (3, 4, 2, 2)).astype(np.uint8)
    images[..., 0] = 77
    pixels = pixel_statistics(images)
    assert (pixels.mean[0], pixels.std[0]) == (77.0, 1.0) and pixels.std[1] > 1.0


def test_rows_hash_is_of_images_and_labels(load, tmp_path, rng):
    images, labels, test_images, _ = write_idx(tmp_path, rng)
    first = load("mnist").rows_hash
    assert first == load("mnist", seed=5, validation_fraction=0.3).rows_hash
    hashes = {first}
    for file, array in zip(IDX_NAMES, (images, labels[::-1], test_images)):
        whole, changed = (tmp_path / file).read_bytes(), array.copy()
        if array.ndim == 3:
            changed[2, 3, 1] ^= 1
        (tmp_path / file).write_bytes(idx(changed))
        hashes.add(load("mnist").rows_hash)
        (tmp_path / file).write_bytes(whole)
    assert len(hashes) == 4 and load("mnist").rows_hash == first


# Crops and flips.

def cropped(images, crops):
    """By loops: the crop at (row, column) of the image with a border of 4 zeros, then flipped."""
    n, height, width, _ = images.shape
    expected = np.zeros_like(images)
    for k, i, j in np.ndindex(n, height, width):
        row, column = crops[k, 0] + i - 4, crops[k, 1] + (width - 1 - j if crops[k, 2] else j) - 4
        if 0 <= row < height and 0 <= column < width:
            expected[k, i, j] = images[k, row, column]
    return expected


@pytest.mark.parametrize("flips", [[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]])
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_crop_and_flip(session, rng, flips, dtype):
    images = rng.randint(1, 256, (4, 5, 7, 3)).astype(dtype)
    crops = np.column_stack([[0, 8, 3, 4], [8, 0, 6, 4], flips]).astype(np.int32)
    inputs = tf.placeholder(dtype, [None, 5, 7, 3])
    actual = session.run(crop_and_flip(inputs, tf.constant(crops)), {inputs: images})
    assert actual.dtype == dtype and (actual == cropped(images, crops)).all()
    assert (actual[3] == (images[3, :, ::-1] if flips[3] else images[3])).all()  # (4, 4) is the middle


def test_crops_are_a_function_of_seed_and_epoch():
    crops = epoch_crops(500, 1, 2)
    assert crops.shape == (500, 3) and crops.dtype == np.int32 and (crops == epoch_crops(500, 1, 2)).all()
    for other in (epoch_crops(500, 1, 3), epoch_crops(500, 2, 2)):
        assert ((crops != other).mean(axis=0) > 0.4).all()
    for column, n in zip(crops.T, (9, 9, 2)):
        counts = np.bincount(column, minlength=n)
        assert len(counts) == n and counts.min() > 0.6 * 500 / n
    assert abs(np.corrcoef(crops.T) - np.eye(3)).max() < 0.2


def test_the_plan_of_an_epoch(settings):
    plans = [epoch_plan(settings("digits", data_aug=True, batch_size=size, seed=6), 11, 4) for size in (2, 100)]
    for plan in plans:
        assert list(plan) == ["order", "crops"]
        assert (plan["order"] == epoch_order(11, 6, 4)).all() and (plan["crops"] == epoch_crops(11, 6, 4)).all()
    plain, = epoch_plan(settings("digits", seed=6), 11, 4).values()
    assert (plain == plans[0]["order"]).all() and sorted(plain) == list(range(11))
