"""What predictions call images: their files, or their numbers in the set."""
import numpy as np
import pytest
from PIL import Image

from core.training.row_columns import MOST_CLASSES, evaluated_class_columns, with_ids
from data_loader.ood import labelled_images
from data_loader.parts import Part
from tests.images.files import write_cifar10, write_idx, write_images


def names(part):
    assert part.id_name == "file"
    return part.ids.tolist()


def test_files_are_named_from_the_folder_of_the_images(load, tmp_path, rng):
    made = write_images(tmp_path, rng, ["a", "b"], n=5)
    data = load("images", seed=2, validation_fraction=0.25)
    found = names(data.train) + names(data.valid) + names(data.test)
    assert sorted(found) == [f"{name}/{number}.png" for name in "ab" for number in range(5)]
    for part in (data.train, data.valid, data.test):
        for name, image, label in zip(part.ids, part.x, part.y):
            folder, number = name[:-len(".png")].split("/")
            assert (image == made[folder][int(number)]).all() and data.classes[label] == folder


def test_files_of_parts_have_the_names_of_their_folders(load, tmp_path, rng):
    for part, n in (("train", 3), ("val", 1), ("test", 2)):
        write_images(tmp_path / part, rng, ["a", "b"], n=n)
    data = load("images")
    assert names(data.test) == ["test/a/0.png", "test/a/1.png", "test/b/0.png", "test/b/1.png"]
    assert names(data.valid) == ["val/a/0.png", "val/b/0.png"] and data.valid.y.tolist() == [0, 1]
    assert sorted(names(data.train)) == [f"train/{name}/{number}.png" for name in "ab" for number in range(3)]


def test_listed_files_have_their_names_in_the_list(load, tmp_path, rng):
    (tmp_path / "data" / "sub").mkdir(parents=True)
    listed = ["sub/3.png", "0.png", "1.png", "../2.png", "sub/4.png", "5.png"]
    for name in listed:
        Image.fromarray(rng.randint(0, 256, (4, 6)).astype(np.uint8)).save(str(tmp_path / "data" / name))
    (tmp_path / "labels.csv").write_text("".join(f"{name},{number % 2}\n" for number, name in enumerate(listed)))
    data = load("images", data_path=str(tmp_path / "data"), labels_file=str(tmp_path / "labels.csv"))
    assert sorted(names(data.train) + names(data.test)) == sorted(listed)


def test_images_of_known_sets_are_numbered(load, tmp_path, rng):
    images, _, test = write_cifar10(tmp_path, rng)
    _, _, idx_test, _ = write_idx(tmp_path, rng)
    data = load("cifar10", validation_fraction=0.3)
    for part in (data.train, data.valid):
        assert part.id_name == "row" and (images[part.ids - 1] == part.x).all()
    assert data.test.id_name == "row" and data.test.ids.tolist() == [1, 2, 3] and (data.test.x == test).all()
    assert load("mnist").test.ids.tolist() == list(range(1, 1 + len(idx_test)))
    digits = load("digits", seed=4)
    assert digits.test.ids.tolist() == (np.random.RandomState(4).permutation(1797)[1438:] + 1).tolist()


def test_other_images_have_names_of_their_own(load, settings, tmp_path, rng):
    """Whatever the run's own images are called."""
    folder = str(tmp_path / "mine")
    write_images(tmp_path / "mine", rng, ["0", "1"], n=2, mode="L", size=(5, 4))
    write_idx(tmp_path / "mnist", rng)
    data = load("mnist")
    other = labelled_images(folder, settings("mnist"), data)
    assert (other.id_name, other.ids.tolist()) == ("file", ["0/0.png", "0/1.png", "1/0.png", "1/1.png"])
    own = load("images", data_path=folder)
    known = labelled_images("mnist", settings("images"), own._replace(classes=[str(n) for n in range(10)]))
    assert (known.id_name, known.ids.tolist()) == ("row", [1, 2, 3])


@pytest.mark.parametrize("n_classes, has_each", [(2, True), (MOST_CLASSES, True), (MOST_CLASSES + 1, False)])
def test_very_many_classes_have_no_columns_of_their_own(rng, n_classes, has_each):
    labels = rng.randint(0, n_classes, 4)
    classes = [f"p_{number}" for number in range(n_classes)]
    part = Part(np.zeros((4, 1)), labels, ids=np.array(["a.png", "b.png", "c.png", "d.png"], object), id_name="file")
    columns = with_ids(part, evaluated_class_columns(rng.randn(3, 4, n_classes), labels, classes))
    each = [f"p_{name}" for name in classes] if has_each else []
    assert list(columns) == ["file", "target", "predicted", "confidence", "entropy", "mutual_information", *each]
    assert columns["target"].tolist() == [classes[label] for label in labels]
