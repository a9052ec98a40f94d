"""DATASETS and IMAGE_SETS: what is known by name, for regression and for classification.

To add one, add a row. Any other NAME.data in data_path works without a row (its shape is then not
checked), and so does any folder of pictures, as data set `images`.
"""
import collections

from data_loader import archives
from data_loader.sources import by_hand, openml, rdataset, toy_cubic

KnownSet = collections.namedtuple(
    "KnownSet", ["n_rows", "n_inputs", "target", "fetch", "n_standard_splits", "standard_hash", "rows_hash"])

# name -> rows, inputs, what is predicted, where it comes from if data_path has no NAME.data;
# number of splits of the standard protocol, split_hash of them all, rows_hash of the order of
# rows they were made for (None: not known).
DATASETS = {
    "toy1d": KnownSet(20, 1, "x^3 with noise", toy_cubic, 20, None, None),
    "concrete": KnownSet(1030, 8, "compressive strength",
                         rdataset("modeldata", "concrete", "compressive_strength", openml(44959, "strength")),
                         20, "bfd0744ccd3486ec", "d0e2d2f0f5027762"),
    "energy": KnownSet(768, 8, "heating load", openml(44960, "heating_load", drop="cooling_load"),
                       20, "78d41186aa1446f5", "3563209cb65c108b"),
    "housing": KnownSet(506, 13, "median value", rdataset("MASS", "Boston", "medv", openml(531, "MEDV")),
                        20, "34fc9307c7acf63f", "832e894115c56dd2"),
    "wine": KnownSet(1599, 11, "quality of red wine", openml(44972, "quality"),
                     20, "6da07f4b6b2b9dc1", "d4f6a6d672e0ee31"),
    "yacht_hydrodynamics": KnownSet(308, 6, "residuary resistance", openml("yacht_hydrodynamics"),
                                    20, "efd4f6dc803ed627", "ec08588637fd9358"),
    "power_plant": KnownSet(9568, 4, "electrical output",
                            by_hand("https://archive.ics.uci.edu/dataset/294/combined+cycle+power+plant"),
                            20, "d2bfef6e86be2114", "d3c75624ea5df125"),
    "kin8nm": KnownSet(8192, 8, "distance of a robot arm's end", openml(189, "y"),
                       20, "4f25cc41cfa6f4f8", None),
    "naval": KnownSet(11934, 17, "turbine decay, compressor decay among the inputs",
                      openml(44969, "gt_turbine_decay_state_coefficient"),
                      20, "50e29695fc663088", None),
    "naval_compressor": KnownSet(11934, 16, "compressor decay, turbine decay left out",
                                 openml(44969, "gt_compressor_decay_state_coefficient",
                                        drop="gt_turbine_decay_state_coefficient"),
                                 20, "50e29695fc663088", None),
    "protein": KnownSet(45730, 9, "RMSD of a protein's structure", openml(44963, "RMSD"),
                        5, "48568d75692c7a47", None),
    "year_prediction": KnownSet(515345, 90, "year of a song", openml(44027),
                                1, None, None),
}

ImageSet = collections.namedtuple("ImageSet", ["meaning", "load", "classes"])
"""load: see archives.py; classes: names in the order of the labels, or None (numbers, or the folders' names)."""

_CIFAR = "https://www.cs.toronto.edu/~kriz/"
_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"

IMAGE_SETS = {
    "cifar10": ImageSet(
        "60000 colour pictures of 32 x 32, 10 classes",
        archives.cifar("cifar-10-batches-py", _CIFAR + "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a",
                       [f"data_batch_{i}" for i in range(1, 6)], ["test_batch"], "labels", 10),
        ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]),
    "cifar100": ImageSet(
        "60000 colour pictures of 32 x 32, 100 classes",
        archives.cifar("cifar-100-python", _CIFAR + "cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85",
                       ["train"], ["test"], "fine_labels", 100), None),
    "mnist": ImageSet(
        "70000 grey digits of 28 x 28, 10 classes",
        archives.idx_files("mnist", _MNIST, ["f68b3c2dcbeaaa9fbdd348bbdeb94873", "d53e105ee54ea40749a09fcbcd1e9432",
                                             "9fb629c4189551a2d022fa330f9573f3", "ec29112dd5afa0611ce80d1b7f02629c"]),
        None),
    "fashion_mnist": ImageSet(
        "70000 grey clothes of 28 x 28, 10 classes",
        archives.idx_files("fashion_mnist", _FASHION,
                           ["8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe",
                            "bef4ecab320f06d8554ea6380940ec79", "bb300cfdad3c16e7a12a480ee83cd310"]),
        ["T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"]),
    "digits": ImageSet("1797 grey digits of 8 x 8 that come with scikit-learn, 10 classes", archives.digits, None),
    "images": ImageSet("your pictures: data_path/CLASS/FILE, or data_path/train/CLASS/FILE and data_path/test/...",
                         archives.pictures, None),
}
