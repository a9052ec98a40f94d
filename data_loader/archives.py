"""Where sets of pictures come from. Functions (folder) -> (train, test, where).

Files in `folder` are taken as they are; what is not there is downloaded once, checked and cached
(pooch). `test` is None for a set without test pictures of its own. UserError if there is no way.
"""
import pathlib
import shutil
import tarfile
import textwrap

from data_loader.images import read_cifar, read_digits, read_folder, read_idx
from misc.errors import UserError

IDX_NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def cifar(name, url, md5, train_files, test_files, label_key, n_classes):
    """CIFAR in its python version: the folder `name`, as the archive unpacks to it, given itself or what it is in."""

    def load(folder):
        path = pathlib.Path(folder) / name
        if not path.is_dir() and pathlib.Path(folder).resolve().name == name:
            path = pathlib.Path(folder)
        where = str(path)
        if not path.is_dir():
            path, where = _unpacked(folder, name, url, md5), url
        train, test = (read_cifar(path, files, label_key, n_classes) for files in (train_files, test_files))
        return train, test, where

    return load


def idx_files(name, url, md5s):
    """The four files of MNIST and its like, in folder/NAME or in folder itself, gzipped or not."""

    def load(folder):
        found = [_idx_path(pathlib.Path(folder), name, file) for file in IDX_NAMES]
        where = str(found[0].parent) if found[0] else url
        if any(path is None for path in found):
            if any(found):
                missing = [file for file, path in zip(IDX_NAMES, found) if path is None]
                raise UserError(f"data_path {folder} lacks {' and '.join(missing)} of {name}")
            found = [_fetch(folder, name, f"{url}{file}.gz", md5, f"{name}-{file}.gz")
                     for file, md5 in zip(IDX_NAMES, md5s)]
        return read_idx(*found[:2]), read_idx(*found[2:]), where

    return load


def digits(folder):
    """scikit-learn's digits; nothing is read from the folder."""
    return read_digits(), None, "scikit-learn"


def pictures(folder):
    """Any pictures: folder/CLASS/FILE, or folder/train/CLASS/FILE and folder/test/CLASS/FILE."""
    path = pathlib.Path(folder)
    if not path.is_dir():
        raise UserError(f"there is no folder {path}: set data_path to the folder of your pictures, in class folders")
    if not (path / "train").is_dir():
        return read_folder(path), None, str(path)
    train = read_folder(path / "train")
    test = read_folder(path / "test", train) if (path / "test").is_dir() else None
    return train, test, str(path)


def _idx_path(folder, name, file):
    for path in (folder / name / file, folder / name / f"{file}.gz", folder / file, folder / f"{file}.gz"):
        if path.is_file():
            return path
    return None


def _unpack(path, action, _):
    """The files of a .tar.gz, unpacked beside it: a processor for pooch. Only plain files, and only below there."""
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
                with archive.extractfile(member) as source, open(str(part), "wb") as handle:
                    shutil.copyfileobj(source, handle)
                part.replace(target)
    return [str(target) for target in targets]


def _unpacked(folder, name, url, md5):
    files = _fetch(folder, name, url, md5, url.rsplit("/", 1)[1], processor=_unpack)
    inside = [pathlib.Path(file).parent for file in files if pathlib.Path(file).parent.name == name]
    if not inside:
        raise UserError(f"{url}: the archive has no folder {name}")
    return inside[0]


def _fetch(folder, name, url, md5, file, processor=None):
    """The file in pooch's cache, downloaded if need be."""
    import pooch

    pooch.get_logger().setLevel("WARNING")
    try:
        found = pooch.retrieve(url, known_hash=f"md5:{md5}", fname=file, path=pooch.os_cache("noisy-natural-gradient"),
                               processor=processor, progressbar=True)
    except (OSError, ValueError) as error:  # no network, or not the file that was meant
        while error.__context__ is not None:  # the first of those that were raised on the way
            error = error.__context__
        reason = textwrap.shorten(str(error) or type(error).__name__, 200, placeholder=" ...")
        raise UserError(f"data_path {folder} does not hold {name}, and {url} could not be fetched ({reason}): "
                        "put the files there, or set data_path to their folder") from None
    return found if processor else pathlib.Path(found)
