"""Where known sets of images come from: data_path, or a download. (Own images are read by own_images.)

A loader is a function (data_path) -> Loaded. Files in data_path are used as they are;
missing ones are downloaded once, checked and cached by pooch. A loader raises a UserError if the images can neither be
found nor downloaded.
"""
import pathlib
import shutil
import tarfile
import textwrap
import typing

from data_loader.cifar import read_cifar
from data_loader.idx import read_idx
from data_loader.images import LabelledImages, read_digits
from misc.errors import UserError


class Loaded(typing.NamedTuple):
    """The parts of a set of images."""

    train: LabelledImages
    test: typing.Optional[LabelledImages]  # None for a set without a test part of its own
    source: str                            # where they came from
    valid: typing.Optional[LabelledImages] = None  # None for a set without validation images of its own
    notes: typing.Sequence[str] = ()       # sentences about what was left out


Loader = typing.Callable[..., Loaded]  # of data_path, and of the config keys that its row of IMAGE_SETS names

IDX_NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def cifar(name: str, url: str, md5: str, train_files: typing.Sequence[str], test_files: typing.Sequence[str],
          label_key: str, n_classes: int) -> Loader:
    """Returns a loader of the Python version of CIFAR.

    Args:
      name: of the folder to which the archive unpacks; data_path holds it, or is this folder itself.
      url: of the archive; md5: its checksum.
      train_files, test_files, label_key, n_classes: as in `read_cifar`.
    """

    def load(data_path: str) -> Loaded:
        path = pathlib.Path(data_path) / name
        if not path.is_dir() and pathlib.Path(data_path).resolve().name == name:
            path = pathlib.Path(data_path)
        where = str(path)
        if not path.is_dir():
            path, where = _download_folder(data_path, name, url, md5), url
        train, test = (read_cifar(path, files, label_key, n_classes) for files in (train_files, test_files))
        return Loaded(train, test, where)

    return load


def idx_files(name: str, url: str, md5s: typing.Sequence[str]) -> Loader:
    """Returns a loader of four files named as MNIST's, gzipped or not, in data_path/NAME or in data_path itself.

    Args:
      name: of the data set.
      url: of the folder that holds the gzipped files; md5s: their checksums, in the order of IDX_NAMES.
    """

    def load(data_path: str) -> Loaded:
        local = {file: _find_idx_file(pathlib.Path(data_path), name, file) for file in IDX_NAMES}
        paths, where = [path for path in local.values() if path], url
        if not paths:
            paths = [pathlib.Path(_download(data_path, name, f"{url}{file}.gz", md5, f"{name}-{file}.gz"))
                     for file, md5 in zip(IDX_NAMES, md5s)]
        elif len(paths) == len(IDX_NAMES):
            where = str(paths[0].parent)
        else:
            missing = [file for file, path in local.items() if path is None]
            raise UserError(f"data_path {data_path} lacks {' and '.join(missing)} of {name}")
        train_images, train_labels, test_images, test_labels = paths
        return Loaded(read_idx(train_images, train_labels), read_idx(test_images, test_labels), where)

    return load


def digits(data_path: str) -> Loaded:
    """Loads scikit-learn's digits; nothing is read from data_path."""
    return Loaded(read_digits(), None, "scikit-learn")


def _find_idx_file(folder: pathlib.Path, name: str, file: str) -> typing.Optional[pathlib.Path]:
    for path in (folder / name / file, folder / name / f"{file}.gz", folder / file, folder / f"{file}.gz"):
        if path.is_file():
            return path
    return None


def _download_folder(data_path: str, name: str, url: str, md5: str) -> pathlib.Path:
    """Downloads and unpacks an archive into the cache; returns the path of its folder `name`."""
    files = _download(data_path, name, url, md5, url.rsplit("/", 1)[1], processor=_unpack)
    folders = [pathlib.Path(file).parent for file in files if pathlib.Path(file).parent.name == name]
    if not folders:
        raise UserError(f"{url}: the archive has no folder {name}")
    return folders[0]


def _download(data_path: str, name: str, url: str, md5: str, file: str,
              processor: typing.Optional[typing.Callable] = None) -> typing.Any:
    """Downloads `url` as `file` into pooch's cache unless it is there; returns its path, or the processor's result."""
    import pooch

    pooch.get_logger().setLevel("WARNING")
    try:
        return pooch.retrieve(url, known_hash=f"md5:{md5}", fname=file, path=pooch.os_cache("noisy-natural-gradient"),
                              processor=processor, progressbar=True)
    except (OSError, ValueError) as error:  # no network, or a file with another checksum
        cause: BaseException = error
        while cause.__context__ is not None:  # the first error of the chain names the cause
            cause = cause.__context__
        reason = textwrap.shorten(str(cause) or type(cause).__name__, 200, placeholder=" ...")
        raise UserError(f"data_path {data_path} does not hold {name}, and {url} could not be fetched ({reason}): "
                        "put the files there, or set data_path to their folder") from None


def _unpack(path: str, action: str, _: typing.Any) -> typing.List[str]:
    """Unpacks a .tar.gz beside itself and returns the paths of its files: a processor for pooch.

    Only plain files are unpacked. Raises ValueError for a member that would be written outside the folder.
    """
    home = pathlib.Path(path + ".untar")
    with tarfile.open(path) as archive:
        members = [member for member in archive.getmembers() if member.isfile()]
        targets = [home / member.name for member in members]
        for target in targets:
            if home.resolve() not in target.resolve().parents:
                raise ValueError(f"the archive would write to {target}")
        if action != "fetch" or not all(target.is_file() for target in targets):
            for member, target in zip(members, targets):
                target.parent.mkdir(parents=True, exist_ok=True)
                part = target.with_name(f"{target.name}.part")
                with open(str(part), "wb") as handle:
                    shutil.copyfileobj(typing.cast(typing.IO[bytes], archive.extractfile(member)), handle)
                part.replace(target)
    return [str(target) for target in targets]
