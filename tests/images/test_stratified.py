"""Splits by class, and the share of the test images."""
import numpy as np
import pytest

from data_loader.splits import hold_out, random_split, split_hash
from data_loader.stratified import hold_out_by_class, shares, stratified_split
from misc.config import Config
from misc.errors import UserError
from tests.images.files import write_images

LABELS = np.repeat([0, 1, 2, 3], [61, 30, 8, 1])


def test_shares_are_by_largest_remainders():
    """Of 6 rows, classes of 10, 20 and 5 would have 1.71, 3.43 and 0.86; the first and the last are rounded up."""
    sizes = np.array([10, 20, 5])
    assert shares(7, sizes, sizes).tolist() == [2, 4, 1]
    assert shares(6, sizes, sizes).tolist() == [2, 3, 1]
    assert shares(6, sizes, np.array([10, 20, 0])).tolist() == [2, 4, 0]
    assert shares(3, np.array([1, 1, 1]), np.array([0, 0, 0])).tolist() == [0, 0, 0]


@pytest.mark.parametrize("test_fraction", [0.1, 0.2, 0.35, 0.5, 0.9])
@pytest.mark.parametrize("index", [0, 3])
def test_every_class_has_its_share_of_test_rows(index, test_fraction):
    split = stratified_split(LABELS, index, test_fraction)
    assert sorted([*split.train, *split.test]) == list(range(100)) and split[:2] == ("stratified", index)
    assert len(split.test) == len(random_split(100, index, test_fraction).test)
    counts = np.bincount(LABELS[split.test], minlength=4)
    assert (np.abs(counts - test_fraction * np.array([61, 30, 8, 1])) < 1 + 1e-9).all() and counts[3] == 0


def test_rows_keep_their_random_order():
    order = np.random.RandomState(5).permutation(100)
    split = stratified_split(LABELS, 5, 0.2)
    for rows in (split.train, split.test):
        assert rows.tolist() == [row for row in order if row in rows]
    for label in range(4):
        of_class = [row for row in order if LABELS[row] == label]
        n_test = (LABELS[split.test] == label).sum()
        assert [row for row in split.test if LABELS[row] == label] == of_class[len(of_class) - n_test:]
    hashes = {split_hash([stratified_split(LABELS, index, 0.2)]) for index in range(5)}
    assert len(hashes) == 5 and split_hash([split]) == split_hash([stratified_split(LABELS, 5, 0.2)])


def test_no_class_loses_its_last_training_row():
    labels = np.repeat(np.arange(10), 2)
    for index in range(5):
        split = stratified_split(labels, index, 0.5)
        assert (np.bincount(labels[split.train], minlength=10) == 1).all()
    assert len(stratified_split(np.arange(10), 0, 0.5).test) == 0


def test_folds_have_the_share_of_each_class_and_no_row_in_common():
    rows = np.random.RandomState(0).permutation(100)[:90]
    seen = []
    for fold in range(5):
        train, valid = hold_out_by_class(LABELS, rows, 0.2, fold)
        assert train.tolist() == [row for row in rows if row not in valid] and len(train) + len(valid) == 90
        assert len(valid) == 18 or fold == 4
        sizes = np.bincount(LABELS[rows], minlength=4)
        assert (np.abs(np.bincount(LABELS[valid], minlength=4) - 0.2 * sizes) <= 1).all()
        seen += valid.tolist()
    assert len(set(seen)) == len(seen) and set(LABELS[list(set(rows) - set(seen))]) <= {3}
    with pytest.raises(UserError, match="validation_fold 5 does not exist: 90 rows give 5 folds of 18"):
        hold_out_by_class(LABELS, rows, 0.2, 5)
    assert [part.tolist() for part in hold_out_by_class(LABELS, rows, 0.0)] == [part.tolist() for part in
                                                                              hold_out(rows, 0.0)]


def test_the_share_of_the_test_images(load):
    order = np.random.RandomState(3).permutation(1797)
    whole = load("digits", seed=3)
    data = load("digits", seed=3, test_fraction=0.3)
    assert data.split.train.tolist() == order[:1258].tolist() and data.split.protocol == "random"
    assert load("digits", seed=3, test_fraction=0.2).split_hash == whole.split_hash != data.split_hash


def test_digits_by_class(load):
    data = load("digits", seed=3, stratified=True, validation_fraction=0.1, validation_fold=1)
    n = np.bincount(np.concatenate([data.train.y, data.valid.y, data.test.y]))
    assert data.split.protocol == "stratified" and (np.abs(np.bincount(data.test.y) - 0.2 * n) < 1).all()
    n_train = n - np.bincount(data.test.y)
    assert (np.abs(np.bincount(data.valid.y) - 0.1 * n_train) <= 1).all() and len(data.valid.y) == 144


def test_validation_rows_of_a_set_with_test_images(load, refuse, tmp_path, rng):
    for part, n in (("train", 10), ("test", 2)):
        write_images(tmp_path / part, rng, ["a", "b"], n=n)
    data = load("images", stratified=True, validation_fraction=0.2)
    assert np.bincount(data.valid.y).tolist() == [2, 2] and data.split.protocol == "given"
    refuse("stratified: images has test images of its own and no validation rows are chosen: remove stratified",
           "images", stratified=True)
    refuse("test_fraction: images has test images of its own, so there is nothing to split; remove test_fraction",
           "images", test_fraction=0.3)


def test_fractions_that_make_no_sense(refuse):
    for fraction in (0.0, 1.0, -0.1, "a"):
        refuse("config: test_fraction", "digits", test_fraction=fraction)
    refuse("1797 images are too few to set 0.0001 of them aside as a test set .test_fraction.", "digits",
           test_fraction=0.0001)
    for protocol in ("published", "standard"):
        with pytest.raises(UserError, match=f"test_fraction 0.3: protocol {protocol} fixes the test rows"):
            Config.from_dict(dict(dataset="concrete", optimizer="diag", model_name="linear", protocol=protocol,
                                  test_fraction=0.3))
    with pytest.raises(UserError, match="stratified belongs to mode classification"):
        Config.from_dict(dict(mode="regression", dataset="concrete", optimizer="diag", model_name="linear",
                              stratified=True))
