"""Classes of image files from a CSV (config key labels_file)."""
import numpy as np
import pytest
from PIL import Image

from tests.images.files import assert_same_rows

LINES = ["0.png,dog", "1.png,cat", "2.png,dog", "3.png,cat", "sub/4.png,dog"]


@pytest.fixture
def images(tmp_path, rng):
    """Images 0.png to 3.png and sub/4.png in tmp_path."""
    made = [rng.randint(0, 256, (4, 6, 3)).astype(np.uint8) for _ in range(5)]
    (tmp_path / "sub").mkdir()
    for line, image in zip(LINES, made):
        Image.fromarray(image).save(str(tmp_path / line.split(",")[0]))
    return made


@pytest.fixture
def listed(tmp_path):
    """Function (lines) -> keys of a config with a CSV of these lines, beside the images."""
    def write(lines, end="\n", encoding="utf-8"):
        (tmp_path / "labels.csv").write_bytes((end.join(lines) + end).encode(encoding))
        return dict(labels_file=str(tmp_path / "labels.csv"))

    return write


def check(data, images):
    labels = [1, 0, 1, 0, 1]
    assert data.classes == ["cat", "dog"] and len(data.test.x) == 1
    assert_same_rows(data.train._replace(x=np.concatenate([data.train.x, data.test.x]),
                                         y=np.concatenate([data.train.y, data.test.y])), images, labels)


@pytest.mark.parametrize("header", [None, "file,label", "id,breed"])
@pytest.mark.parametrize("end, encoding", [("\n", "utf-8"), ("\r\n", "utf-8-sig")])
def test_files_have_the_classes_of_the_csv(load, tmp_path, images, listed, header, end, encoding):
    data = load("images", **listed([*([header] if header else []), *LINES, ""], end, encoding))
    check(data, images)
    words = header and header.replace(",", ", ")
    said = f"note: line 1 of {tmp_path / 'labels.csv'} ({words}) is taken for a header"
    assert data.notices == ((said,) if header else ())
    assert (data.split.protocol, data.source) == ("random", str(tmp_path))


def test_order_and_spaces_and_quotes_do_not_matter(load, images, listed):
    lines = [f'"{name}" , {label} ' for name, label in (line.split(",") for line in LINES[::-1])]
    check(load("images", **listed(lines)), images)


def test_files_that_are_not_listed_are_named(load, tmp_path, images, listed):
    (tmp_path / "README").write_text("about the images")
    data = load("images", **listed([*LINES[:4], LINES[0]]))
    path = tmp_path / "labels.csv"
    assert data.notices == (
        f"note: 1 line of {path} repeats an earlier one",
        f"note: left out: 1 image that {path} does not list and 1 file that is no image (README, sub/4.png)")
    assert data.spec.n_rows == 3 and len(data.test.x) == 1


@pytest.mark.parametrize("lines, message", [
    ([*LINES, "9.png,cat"], r"labels.csv: line 6: there is no file .*/9.png$"),
    (["9.png,cat", *LINES], r"labels.csv: line 1: there is no file .*/9.png$"),
    (["file,label", *LINES, "3,cat"], r"line 7: there is no file .*/3 .but 3.png: list names with their suffixes.$"),
    ([*LINES, "./0.png,cat"], r"line 6 says that ./0.png is cat, but line 1 that it is dog: keep one of them"),
    ([*LINES, "3.png"], "line 6 has no class: 3.png,"),
    ([*LINES[:2], "", *LINES[2:]], "line 3 has no file name"),
    ([*LINES, "3.png,cat,dog"], "cannot be read .*line 6, saw 3.*must have two columns, file name and class"),
    ([line.replace(",", ";") for line in LINES], "line 1 has 1 column: it must have two columns"),
    (["image," + line for line in LINES], "line 1 has 3 columns: it must have two columns"),
    ([], "cannot be read .No columns to parse from file.: it must"),
    (["file,label"], "labels.csv lists no file"),
    ([*LINES, "labels.csv,cat"], "labels.csv lists .*labels.csv, which is no image"),
    ([LINES[0], LINES[2]], "labels.csv has one class only, dog, but at least 2 are needed")])
def test_what_is_wrong_is_said_with_its_line(refuse, images, listed, lines, message):
    refuse(message, "images", **listed(lines))


def test_a_csv_that_is_not_there_or_not_of_text(refuse, tmp_path, images, listed):
    for name in ("nowhere.csv", "a" * 300, str(tmp_path)):
        refuse("labels_file .*: there is no such file$", "images", labels_file=name)
    listed(LINES)
    refuse("labels_file labels.csv: there is no such file, but .*/labels.csv: set labels_file to this", "images",
           labels_file="labels.csv")
    refuse("labels_file .* cannot be read .*codec", "images", **listed(LINES, encoding="utf-16"))
    refuse("labels_file is for dataset images, but this config's dataset is digits", "digits", labels_file="labels.csv")


def test_images_of_a_csv_are_resized(load, tmp_path, images, listed):
    Image.fromarray(images[0]).resize((9, 9)).save(str(tmp_path / "0.png"))
    data = load("images", image_size=[4, 6], **listed(LINES))
    assert data.spec.shape == (4, 6, 3) and "1 of 5 images resized to 6 x 4" in data.notices[0]
