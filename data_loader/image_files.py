"""Reads image files in any format of Pillow, without the files that are no images.

Behind it are image_pixels (upright, 8 bits, on white) and image_sizes (config keys image_size and image_fit).
"""
import collections
import pathlib
import typing

import numpy as np

from data_loader.image_pixels import SIXTEEN_BITS, UnusableImage, plain_pixels
from data_loader.image_sizes import Fit, Size, resized_note
from data_loader.mapped_images import Keeper, Store
from misc.errors import UserError

MAX_NAMED = 10  # a message names at most so many files

UNSUPPORTED = {".heic", ".heif", ".avif", ".jxl", ".svg", ".dcm", ".dng", ".cr2", ".nef", ".arw"}
"""Suffixes of images that Pillow may not read: such a file is an image that cannot be used, not a stray file."""

JUNK_FOLDERS = {"__MACOSX", "@eaDir"}  # left by archives and by storage devices, with files named like images

DARKEST = 16  # of 255: images of 16 bits that stay below it all have 12 bits or fewer in use
GREY_TO_COLOUR = "grey (to three equal channels)"


class Source(typing.NamedTuple):
    """What an image was in its file."""

    path: pathlib.Path
    size: Size                    # width and height, turned upright
    done: typing.Tuple[str, ...]  # what has been done to it beside turning and resizing, as image_pixels names it


class ImageFiles(typing.NamedTuple):
    """The images among some files."""

    images: typing.Union[typing.List[np.ndarray], Store]  # uint8 [height, width, 1 or 3]
    sources: typing.List[Source]         # of the images
    skipped: typing.List[pathlib.Path]   # of the files that are no images


class UnusableImages(UserError):
    """Images that cannot be read; names each, and says why."""

    def __init__(self, unusable: typing.Sequence[str]) -> None:
        self.unusable = list(unusable)
        one = len(self.unusable) == 1
        super().__init__(f"{'1 image' if one else f'{len(self.unusable)} images'} cannot be used: "
                         f"{named(self.unusable)}; remove, repair or convert {'it' if one else 'them'}")


def read_files(paths: typing.Iterable[pathlib.Path], fit: typing.Optional[Fit] = None,
               cache: typing.Optional[str] = None) -> ImageFiles:
    """Reads the images among the files in `paths`, and resizes them by `fit` if it is given.

    cache: a folder in which the pixels are kept, and from which they are mapped into memory; None: they are in memory.

    Raises UnusableImages, which names all images that cannot be read, and why.
    """
    sources: typing.List[Source] = []
    skipped: typing.List[pathlib.Path] = []
    if cache is None:
        return ImageFiles(list(_read(paths, fit, sources, skipped)), sources, skipped)
    paths = list(paths)
    keeper = Keeper(pathlib.Path(cache), paths, [fit])
    found = keeper.find()
    if found is not None:
        store, more = found
        sources += [Source(paths[number], tuple(size), tuple(done)) for number, size, done in more["sources"]]
        return ImageFiles(store, sources, [paths[number] for number in more["skipped"]])
    numbers = {path: number for number, path in enumerate(paths)}
    store = keeper.keep(_read(paths, fit, sources, skipped), lambda: {
        "sources": [[numbers[source.path], source.size, source.done] for source in sources],
        "skipped": [numbers[path] for path in skipped]})
    return ImageFiles(store, sources, skipped)


def _read(paths: typing.Iterable[pathlib.Path], fit: typing.Optional[Fit], sources: typing.List[Source],
          skipped: typing.List[pathlib.Path]) -> typing.Iterator[np.ndarray]:
    """Yields the images, and appends to `sources` and `skipped`. At the end raises UnusableImages, if there are any."""
    unusable = []
    for path in paths:
        try:
            image, source = _read_image(path, fit)
        except UnusableImage as error:
            unusable.append(f"{path} ({error})")
            continue
        if source is None:
            skipped.append(path)
        else:
            sources.append(source)
            yield image
    if unusable:
        raise UnusableImages(unusable)


def read_images(paths: typing.Iterable[pathlib.Path], shape: typing.Sequence[int],
                fit: typing.Optional[str] = None) -> np.ndarray:
    """Reads images as a trained network sees them: uint8 [n, height, width, channels], in the order of `paths`.

    Args:
      paths: of the files, each an image.
      shape: (height, width, channels) of the network's input.
      fit: one of FITS, by which images of another size are resized; None: there must be none.

    Raises a UserError that names a file that is no image, cannot be read, has another size, or has colours where the
    network takes grey images.
    """
    paths, (height, width, channels) = list(paths), shape
    read = read_files(paths, Fit(height, width, fit) if fit else None)
    if read.skipped:
        raise UserError(f"not {'an image' if len(read.skipped) == 1 else 'images'}: {named(map(str, read.skipped))}")
    images = np.empty((len(paths), height, width, channels), np.uint8)
    for number, (image, source) in enumerate(zip(read.images, read.sources)):
        if image.shape[:2] != (height, width):
            raise UserError(f"{source.path} has {source.size[0]} x {source.size[1]} pixels, but the network takes "
                            f"{width} x {height} (width x height): resize it, or train with image_size")
        if channels == 1 and (image != image[..., :1]).any():
            raise UserError(f"{source.path} has colours, but the network was trained on grey images")
        images[number] = image[..., :channels]  # grey images fill all channels
    return images


def image_paths(folder: pathlib.Path) -> typing.List[pathlib.Path]:
    """Returns the images in a folder and in the folders below it, at any depth, sorted by folder and then by name.

    Files that are no images are left out, as `read_files` skips them, and hidden files and folders. Raises a
    UserError if there is no image.
    """
    paths = [path for path in all_files(folder) if _may_be_image(path)]
    if not paths:
        raise UserError(f"{folder} holds no image")
    return paths


def all_files(folder: pathlib.Path) -> typing.List[pathlib.Path]:
    """Returns the files in a folder and in all visible folders below it, sorted by folder and then by name."""
    folders = [folder] + [child for child in sorted(folder.rglob("*")) if child.is_dir() and all(
        is_visible(part) for part in child.relative_to(folder).parts)]
    return [path for place in folders for path in sorted(place.iterdir()) if is_file_or_broken_link(path)]


def is_visible(name: str) -> bool:
    """Tells whether a folder of this name is looked into."""
    return not name.startswith(".") and name not in JUNK_FOLDERS


def is_file_or_broken_link(path: pathlib.Path) -> bool:
    """Tells whether a path is a file, or a link to nothing, which is reported as an image that cannot be read."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def is_named_like_an_image(path: pathlib.Path) -> bool:
    """Tells whether a file's suffix is that of an image."""
    from PIL import Image

    suffix = path.suffix.lower()
    return suffix in UNSUPPORTED or Image.registered_extensions().get(suffix) in Image.OPEN


def check_depths(images: typing.Iterable[np.ndarray], sources: typing.Sequence[Source]) -> None:
    """Raises a UserError if the images of 16 bits per channel use so few of these that the upper 8 say little."""
    deep = [source for source in sources if SIXTEEN_BITS in source.done]
    highest = (int(image.max()) for image, source in zip(images, sources) if SIXTEEN_BITS in source.done)
    if deep and max(highest) < DARKEST:
        raise UserError(f"no value of the {count(len(deep), 'image', 'images')} of 16 bits per channel (e.g. "
                        f"{deep[0].path}) reaches {256 * DARKEST}, so the upper 8 bits keep next to nothing: "
                        "rescale them to 0 to 65535, or convert them to 8 bits")


def read_notes(sources: typing.Sequence[Source], fit: typing.Optional[Fit]) -> typing.List[str]:
    """Returns sentences about what was done to the images of a set; none if there is nothing to say."""
    done = collections.Counter(words for source in sources for words in source.done)
    notes = resized_note([source.size for source in sources], fit) if fit else []
    if done:
        counts = [f"{n} {words}" for words, n in sorted(done.items(), key=lambda item: (-item[1], item[0]))]
        notes.append(f"note: converted, of {len(sources)} images: {', '.join(counts)}")
    return notes


def skipped_note(skipped: typing.Sequence[pathlib.Path], root: pathlib.Path,
                 outside: typing.Sequence[pathlib.Path] = ()) -> typing.List[str]:
    """Returns a sentence about what was left out below `root`; no sentence if there is nothing.

    Args:
      skipped: files that are no images, and folders inside class folders.
      outside: files in no class folder.
    """
    n_folders = sum(path.is_dir() for path in skipped)
    counts = []
    if len(skipped) > n_folders:
        counts.append(count(len(skipped) - n_folders, "file that is no image", "files that are no images"))
    if n_folders:
        counts.append(count(n_folders, "folder inside a class folder", "folders inside class folders"))
    if outside:
        counts.append(count(len(outside), "file in no class folder", "files in no class folder"))
    if not counts:
        return []
    names = named([str(path.relative_to(root)) for path in (*skipped, *outside)])
    return [f"note: left out: {' and '.join(counts)} ({names})"]


def count(number: int, one: str, several: str) -> str:
    """Returns '1 ONE' or 'NUMBER SEVERAL'."""
    return f"{number} {one if number == 1 else several}"


def named(names: typing.Iterable[str]) -> str:
    """Lists the first names, and counts the others."""
    names = list(names)
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def _read_image(path: pathlib.Path,
                fit: typing.Optional[Fit]) -> typing.Tuple[np.ndarray, typing.Optional[Source]]:
    """Reads one file: (uint8 [height, width, 1 or 3], what it was); the latter is None if it is no image."""
    from PIL import Image

    if path.name.startswith("."):
        return np.empty(0), None
    try:
        # NOTE: opened here, because Pillow 13 scrambles the pixels of some turned TIFFs that it opens by their names.
        with open(str(path), "rb") as handle, Image.open(handle) as image:
            plain, done = plain_pixels(image)
            array = np.asarray(fit(plain) if fit else plain)
    except UnusableImage:
        raise
    except Exception as error:  # Pillow's decoders raise errors of many types for damaged files
        if isinstance(error, Image.UnidentifiedImageError):
            if not is_named_like_an_image(path):
                return np.empty(0), None
            raise UnusableImage("damaged, empty, or of a format that Pillow does not read") from None
        raise UnusableImage(" ".join(str(error).split()) or type(error).__name__) from None
    return array.reshape(*array.shape[:2], -1), Source(path, plain.size, done)


def _may_be_image(path: pathlib.Path) -> bool:
    """Tells whether a file is an image, by its suffix or by its first bytes."""
    from PIL import Image

    if path.name.startswith("."):
        return False
    if is_named_like_an_image(path):
        return True
    try:
        with open(str(path), "rb") as handle, Image.open(handle):
            return True
    except Image.UnidentifiedImageError:
        return False
    except Exception:  # read_files names it, and says why it cannot be read
        return True
