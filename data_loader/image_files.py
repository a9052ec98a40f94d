"""Reads image files in any format of Pillow: turned upright, on white, without the files that are no images."""
import pathlib
import re
import typing

import numpy as np

from misc.errors import UserError

MAX_NAMED = 10  # a message names at most so many files
BITS_PER_SAMPLE, NEW_SUBFILE_TYPE = 258, 254  # tags of TIFF

UNSUPPORTED = {".heic", ".heif", ".avif", ".jxl", ".svg", ".dcm", ".dng", ".cr2", ".nef", ".arw"}
"""Suffixes of images that Pillow may not read: such a file is an image that cannot be used, not a stray file."""


class ImageFiles(typing.NamedTuple):
    """The images among some files."""

    images: typing.List[np.ndarray]      # uint8 [height, width, 1 or 3]
    paths: typing.List[pathlib.Path]     # of the images
    skipped: typing.List[pathlib.Path]   # of the files that are no images


class UnusableImages(UserError):
    """Images that cannot be read; names each, and says why."""

    def __init__(self, unusable: typing.Sequence[str]) -> None:
        self.unusable = list(unusable)
        one = len(self.unusable) == 1
        super().__init__(f"{'1 image' if one else f'{len(self.unusable)} images'} cannot be used: "
                         f"{_named(self.unusable)}; remove, repair or convert {'it' if one else 'them'}")


class _Unusable(Exception):
    """An image that cannot be used; says why."""


def read_files(paths: typing.Iterable[pathlib.Path]) -> ImageFiles:
    """Reads the images among the files in `paths`.

    Raises UnusableImages, which names all images that cannot be read, and why.
    """
    read, unusable = ImageFiles([], [], []), []
    for path in paths:
        try:
            image = _read_image(path)
        except _Unusable as error:
            unusable.append(f"{path} ({error})")
            continue
        if image is None:
            read.skipped.append(path)
        else:
            read.images.append(image)
            read.paths.append(path)
    if unusable:
        raise UnusableImages(unusable)
    return read


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
        counts.append(_count(len(skipped) - n_folders, "file that is no image", "files that are no images"))
    if n_folders:
        counts.append(_count(n_folders, "folder inside a class folder", "folders inside class folders"))
    if outside:
        counts.append(_count(len(outside), "file in no class folder", "files in no class folder"))
    if not counts:
        return []
    names = _named([str(path.relative_to(root)) for path in (*skipped, *outside)])
    return [f"note: left out: {' and '.join(counts)} ({names})"]


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


def _named(names: typing.Sequence[str]) -> str:
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def _read_image(path: pathlib.Path) -> typing.Optional[np.ndarray]:
    """Reads one file: uint8 [height, width, 1 or 3]; None if it is no image."""
    from PIL import Image

    if path.name.startswith("."):
        return None
    try:
        # NOTE: opened here, because Pillow 13 scrambles the pixels of some turned TIFFs that it opens by their names.
        with open(str(path), "rb") as handle, Image.open(handle) as image:
            grey = image.mode in ("1", "L", "LA")
            _check_depth(image)
            _check_single(image)
            array = np.asarray(_on_white(_upright(image)).convert("L" if grey else "RGB"))
    except _Unusable:
        raise
    except Exception as error:  # Pillow's decoders raise errors of many types for damaged files
        if isinstance(error, Image.UnidentifiedImageError):
            if not _is_named_like_an_image(path):
                return None
            raise _Unusable("damaged, empty, or of a format that Pillow does not read") from None
        raise _Unusable(" ".join(str(error).split()) or type(error).__name__) from None
    return array[..., None] if grey else array


def _check_depth(image: typing.Any) -> None:
    """Raises _Unusable for an image of more than 8 bits per channel, whether or not Pillow cuts them off by itself."""
    if image.mode.startswith(("I", "F")):
        raise _Unusable(f"more than 8 bits per channel, mode {image.mode}, which would be cut off")
    if image.format == "TIFF" and max(_as_tuple(image.tag_v2.get(BITS_PER_SAMPLE, 1))) > 8:
        raise _Unusable("more than 8 bits per channel, which would be cut off")
    for decoder, _, _, args in image.tile:
        args = _as_tuple(args)
        raw = [arg for arg in args if isinstance(arg, str) and re.fullmatch(r"(L|RGB|CMYK)[AaX]*;16[BLN]", arg)]
        is_deep_ppm = decoder.startswith("ppm") and any(isinstance(arg, int) and arg > 255 for arg in args)
        if raw or is_deep_ppm or decoder == "SGI16":
            raise _Unusable("more than 8 bits per channel, which would be cut off")


def _as_tuple(value: typing.Any) -> typing.Tuple:
    return value if isinstance(value, tuple) else (value,)


def _check_single(image: typing.Any) -> None:
    """Raises _Unusable for several images in one file: an animation, or the pages of a TIFF, but not its thumbnail."""
    n_frames = getattr(image, "n_frames", 1)
    if n_frames == 1 or image.format in ("MPO", "PSD"):  # views of one scene; layers of one image
        return
    if image.format == "TIFF":
        width, height = image.size
        image.seek(1)
        is_thumbnail = image.tag_v2.get(NEW_SUBFILE_TYPE, 0) & 1 or (
            2 * image.size[0] <= width and 2 * image.size[1] <= height)
        image.seek(0)
        if is_thumbnail:
            return
    raise _Unusable(f"{n_frames} images in one file, of which only the first would be read")


def _on_white(image: typing.Any) -> typing.Any:
    """Returns the image on a white background if parts of it are transparent."""
    from PIL import Image

    if image.mode not in ("LA", "La", "PA", "RGBA", "RGBa") and "transparency" not in image.info:
        return image
    layers = image.convert("RGBA")
    if layers.getextrema()[3][0] == 255:
        return image
    return Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers)


def _upright(image: typing.Any) -> typing.Any:
    """Returns the image turned as its EXIF data say, as viewers show it; as it is stored if these are damaged."""
    from PIL import ImageOps

    if image.format == "TIFF":  # Pillow turns these itself, and before version 10 does not say so
        return image
    try:
        return ImageOps.exif_transpose(image) or image
    except Exception:  # of damaged EXIF data; damaged pixels raise again when they are converted
        return image


def _is_named_like_an_image(path: pathlib.Path) -> bool:
    from PIL import Image

    suffix = path.suffix.lower()
    return suffix in UNSUPPORTED or Image.registered_extensions().get(suffix) in Image.OPEN
