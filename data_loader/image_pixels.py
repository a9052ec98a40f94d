"""Pixels of an opened image: turned upright, of 8 bits per channel, grey or coloured, on white.

What this changes is named, so that it can be said. What it could only guess is refused: signed and floating-point
pixels, other depths than 8 and 16 bits, and several images in one file.
"""
import re
import typing

import numpy as np

# Tags of TIFF.
NEW_SUBFILE_TYPE, BITS_PER_SAMPLE, PHOTOMETRIC, PLANAR, SAMPLE_FORMAT = 254, 258, 262, 284, 339
BLACK_IS_ZERO, RGB, INTERLEAVED, UNSIGNED = 1, 2, 1, 1  # values of the last three of them

TRANSPARENT = ("LA", "La", "PA", "RGBA", "RGBa")  # modes with an alpha channel
GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B")

# What has been done to an image, in the words of a notice.
SIXTEEN_BITS = "of 16 bits per channel (the upper 8 are kept)"
ON_WHITE = "with transparent parts (laid on white)"
PALETTE = "with a palette (read as colours)"


class UnusableImage(Exception):
    """An image that cannot be used; says why."""


def plain_pixels(image: typing.Any) -> typing.Tuple[typing.Any, typing.Tuple[str, ...]]:
    """Returns (an image of mode L or RGB, what has been done to get there), from one that Pillow has just opened.

    Turning an image upright is not named. Raises UnusableImage.
    """
    mode, is_grey, is_deep = image.mode, _is_grey(image), _check_depth(image)
    _check_single(image)
    upright = _upright(image)
    if is_deep:
        upright = _upper_bits(upright)
    opaque = _on_white(upright)
    done = [*([SIXTEEN_BITS] if is_deep else []), *([ON_WHITE] if opaque is not upright else [])]
    if mode in ("P", "PA"):
        done.append(PALETTE)
    elif not is_grey and mode not in ("RGB", "RGBA", "RGBa", "RGBX"):
        done.append(f"of mode {mode} (converted to RGB)")
    return opaque.convert("L" if is_grey else "RGB"), tuple(done)


def _is_grey(image: typing.Any) -> bool:
    """Tells whether an image has no colours. Pillow opens PNGs of 16 bits, grey with an alpha channel, as RGBA."""
    return image.mode in GREY or any("LA;16B" in _as_tuple(args) for _, _, _, args in image.tile)


def _check_depth(image: typing.Any) -> bool:
    """Tells whether an image has 16 bits per channel. Raises UnusableImage if it has more than 8 in another way."""
    if not _is_deep(image):
        return False
    if not _is_unsigned_16_bit(image):
        raise UnusableImage(f"more than 8 bits per channel, mode {image.mode}; of these only PNGs and TIFFs of 16 "
                            "unsigned bits, grey or RGB, are read")
    if "transparency" in image.info:  # Pillow would compare it, in 16 bits, with pixels of 8
        raise UnusableImage("16 bits per channel with a transparent colour")
    return True


def _is_deep(image: typing.Any) -> bool:
    """Tells whether an image has more than 8 bits per channel, whether or not Pillow cuts them off by itself."""
    if image.mode.startswith(("I", "F")):
        return True
    if image.format == "TIFF" and max(_as_tuple(image.tag_v2.get(BITS_PER_SAMPLE, 1))) > 8:
        return True
    for decoder, _, _, args in image.tile:
        args = _as_tuple(args)
        raw = [arg for arg in args if isinstance(arg, str) and re.fullmatch(r"(L|RGB|CMYK)[AaX]*;16[BLN]", arg)]
        is_deep_ppm = decoder.startswith("ppm") and any(isinstance(arg, int) and arg > 255 for arg in args)
        if raw or is_deep_ppm or decoder == "SGI16":
            return True
    return False


def _is_unsigned_16_bit(image: typing.Any) -> bool:
    """Tells whether Pillow's decoders give all 16 bits of a deep image, or the upper 8, and from 0 as black."""
    if image.format == "PNG":
        return image.mode in ("I", "I;16", "LA", "RGB", "RGBA")
    if image.format != "TIFF" or image.mode not in ("I;16", "I;16B", "RGB", "RGBA", "RGBX"):
        return False
    tags = image.tag_v2
    return (set(_as_tuple(tags.get(BITS_PER_SAMPLE, 1))) == {16}
            and set(_as_tuple(tags.get(SAMPLE_FORMAT, UNSIGNED))) == {UNSIGNED}
            and tags.get(PHOTOMETRIC) in (BLACK_IS_ZERO, RGB) and tags.get(PLANAR, INTERLEAVED) == INTERLEAVED)


def _upper_bits(image: typing.Any) -> typing.Any:
    """Returns an image of 16 bits per channel with the upper 8. Of colours Pillow's decoders have kept these alone."""
    from PIL import Image

    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))


def _as_tuple(value: typing.Any) -> typing.Tuple:
    return value if isinstance(value, tuple) else (value,)


def _check_single(image: typing.Any) -> None:
    """Raises UnusableImage for several images in one file: an animation, or the pages of a TIFF, but not its thumbnail.
    """
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
    raise UnusableImage(f"{n_frames} images in one file, of which only the first would be read")


def _on_white(image: typing.Any) -> typing.Any:
    """Returns the image on a white background if parts of it are transparent, else the image itself."""
    from PIL import Image

    if image.mode not in TRANSPARENT and "transparency" not in image.info:
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
