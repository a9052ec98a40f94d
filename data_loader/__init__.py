"""From the name of a data set to rows that a network can train on.

This file has the tables DATASETS (numbers, for regression) and IMAGE_SETS (for classification). To add a data set,
add a row here, and a function to sources.py or archives.py if it comes from elsewhere than the others. Own data need
no row: any file NAME.data in data_path is the data set NAME (its shape is then not checked), and any folder of images
in data_path is the data set `images`.

Reading order: parts (the records that all loaders return), splits (which rows train and which test), regression,
table_classes and classification (the loaders), batches (minibatches). Behind the first two loaders are table_data,
tables, table_roles and table_transform (which columns are what, and what becomes of them), table_labels (classes),
table_file, table_dialect and table_header (how files are written), known_tables and sources. Behind the third are
archives, cifar and idx (known sets of images), own_images, labels_file, images, image_files, image_sizes and
image_pixels (own images), and mapped_images (those larger than memory). Both loaders of classes use stratified (splits
by class). For evaluation and prediction: other_rows, row_stream, stored (what a run keeps of its data), corruptions
and ood (out-of-distribution data).
"""
import typing

import numpy as np

from data_loader import archives, own_images
from data_loader.sources import by_hand, openml, rdataset, toy_cubic


class Dataset(typing.NamedTuple):
    """A known table of numbers. A hash of None is not checked."""

    n_rows: int
    n_inputs: int
    target: str  # what is predicted
    fetch: typing.Callable[[], typing.Tuple[np.ndarray, str]]  # see sources.py; used if data_path has no NAME.data
    n_standard_splits: int = 20  # number of splits of the standard protocol
    standard_hash: typing.Optional[str] = None  # split_hash of all of them
    rows_hash: typing.Optional[str] = None  # rows_hash of the rows in the order for which these splits were made
    target_range: typing.Optional[typing.Tuple[float, float]] = None  # its lowest and highest value; None: not checked
    target_names: typing.Tuple[str, ...] = ()  # what headers call it, in lower-case letters and digits


DATASETS: typing.Dict[str, Dataset] = {
    "toy1d": Dataset(20, 1, "x^3 with noise", toy_cubic, 20),
    "concrete": Dataset(1030, 8, "compressive strength",
                        rdataset("modeldata", "concrete", "compressive_strength", openml(44959, "strength")),
                        20, "bfd0744ccd3486ec", "d0e2d2f0f5027762", (2.33, 82.6),
                        ("strength", "compressivestrength", "csmpa", "concretecompressivestrength",
                         "concretecompressivestrengthmpamegapascals")),
    "energy": Dataset(768, 8, "heating load", openml(44960, "heating_load", drop="cooling_load"),
                      20, "78d41186aa1446f5", "3563209cb65c108b", (6.01, 43.1), ("y1", "heatingload")),
    "housing": Dataset(506, 13, "median value", rdataset("MASS", "Boston", "medv", openml(531, "MEDV")),
                       20, "34fc9307c7acf63f", "832e894115c56dd2", (5, 50), ("medv",)),
    "wine": Dataset(1599, 11, "quality of red wine", openml(44972, "quality"),
                    20, "6da07f4b6b2b9dc1", "d4f6a6d672e0ee31", (3, 8), ("quality",)),
    "yacht_hydrodynamics": Dataset(308, 6, "residuary resistance", openml("yacht_hydrodynamics"),
                                   20, "efd4f6dc803ed627", "ec08588637fd9358", (0.01, 62.42),
                                   ("rr", "residuaryresistance", "residuaryresistanceperunitweightofdisplacement")),
    "power_plant": Dataset(9568, 4, "electrical output",
                           by_hand("https://archive.ics.uci.edu/dataset/294/combined+cycle+power+plant"),
                           20, "d2bfef6e86be2114", "d3c75624ea5df125", (420.26, 495.76), ("pe", "ep")),
    "kin8nm": Dataset(8192, 8, "distance of a robot arm's end", openml(189, "y"), 20, "4f25cc41cfa6f4f8", None,
                      (0.04, 1.46), ("y",)),
    "naval": Dataset(11934, 17, "turbine decay, compressor decay among the inputs",
                     openml(44969, "gt_turbine_decay_state_coefficient"), 20, "50e29695fc663088", None, (0.975, 1),
                     ("kmt", "gtturbinedecaystatecoefficient")),
    "naval_compressor": Dataset(11934, 16, "compressor decay, turbine decay left out",
                                openml(44969, "gt_compressor_decay_state_coefficient",
                                       drop="gt_turbine_decay_state_coefficient"), 20, "50e29695fc663088", None,
                                (0.95, 1), ("kmc", "gtcompressordecaystatecoefficient")),
    "protein": Dataset(45730, 9, "RMSD of a protein's structure", openml(44963, "RMSD"), 5, "48568d75692c7a47", None,
                       (0, 21), ("rmsd",)),
    "year_prediction": Dataset(515345, 90, "year of a song", openml(44027), 1, None, None,
                               (1922, 2011), ("year",)),
}


class ImageSet(typing.NamedTuple):
    """A known set of labelled images."""

    meaning: str  # for --list
    load: archives.Loader
    classes: typing.Optional[typing.List[str]] = None  # in the order of the labels; None: numbers, or folders' names
    keys: typing.Tuple[str, ...] = ()  # config keys that the loader takes beside data_path


_CIFAR = "https://www.cs.toronto.edu/~kriz/"
_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"

IMAGE_SETS: typing.Dict[str, ImageSet] = {
    "cifar10": ImageSet(
        "60000 colour images of 32 x 32, 10 classes",
        archives.cifar("cifar-10-batches-py", _CIFAR + "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a",
                       [f"data_batch_{i}" for i in range(1, 6)], ["test_batch"], "labels", 10),
        ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]),
    "cifar100": ImageSet(
        "60000 colour images of 32 x 32, 100 classes",
        archives.cifar("cifar-100-python", _CIFAR + "cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85",
                       ["train"], ["test"], "fine_labels", 100)),
    "mnist": ImageSet(
        "70000 grey digits of 28 x 28, 10 classes",
        archives.idx_files("mnist", _MNIST, ["f68b3c2dcbeaaa9fbdd348bbdeb94873", "d53e105ee54ea40749a09fcbcd1e9432",
                                             "9fb629c4189551a2d022fa330f9573f3", "ec29112dd5afa0611ce80d1b7f02629c"])),
    "fashion_mnist": ImageSet(
        "70000 grey clothes of 28 x 28, 10 classes",
        archives.idx_files("fashion_mnist", _FASHION,
                           ["8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe",
                            "bef4ecab320f06d8554ea6380940ec79", "bb300cfdad3c16e7a12a480ee83cd310"]),
        ["T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"]),
    "digits": ImageSet("1797 grey digits of 8 x 8 that come with scikit-learn, 10 classes", archives.digits),
    "images": ImageSet("your own images: data_path/CLASS/FILE, or data_path/train/CLASS/FILE with test/ and val/ "
                       "beside train/, or data_path/FILE with labels_file",
                       own_images.image_folder, keys=("image_size", "image_fit", "labels_file", "image_cache")),
}
