"""Images of many sizes become images of one: config keys image_size and image_fit."""
import collections
import typing

from misc.config import Config

MAX_SIZES = 5  # a notice names at most so many sizes

Size = typing.Tuple[int, int]  # width and height in pixels, as Pillow and messages have them


class Fit(typing.NamedTuple):
    """How an image of another size becomes one of this size."""

    height: int
    width: int
    how: str  # one of FITS

    def __call__(self, image: typing.Any) -> typing.Any:
        """Returns a Pillow image of mode L or RGB, resized bilinearly; an image of this size keeps its bits."""
        size = (self.width, self.height)
        return image if image.size == size else FITS[self.how](image, size)


def fit_of(config: Config) -> typing.Optional[Fit]:
    """Returns how the images of a run are resized; None if they must be of one size."""
    return make_fit(config.image_size, config.image_fit)


def make_fit(image_size: typing.Optional[typing.Sequence[int]], image_fit: str) -> typing.Optional[Fit]:
    """Returns how images are resized to image_size, (height, width); None if there is none."""
    return Fit(image_size[0], image_size[1], image_fit) if image_size else None


def _crop(image: typing.Any, size: Size) -> typing.Any:
    """Fills `size` with the largest part about the centre that has its aspect ratio."""
    width = min(image.width, image.height * size[0] / size[1])
    height = min(image.height, image.width * size[1] / size[0])
    left, top = (image.width - width) / 2, (image.height - height) / 2
    return image.resize(size, _bilinear(), box=(left, top, left + width, top + height))


def _pad(image: typing.Any, size: Size) -> typing.Any:
    """Shows the whole image in the centre, with black beside it or above and below it."""
    from PIL import Image

    scale = min(size[0] / image.width, size[1] / image.height)
    width, height = (max(1, int(round(scale * side))) for side in image.size)
    padded = Image.new(image.mode, size)
    padded.paste(image.resize((width, height), _bilinear()), ((size[0] - width) // 2, (size[1] - height) // 2))
    return padded


def _stretch(image: typing.Any, size: Size) -> typing.Any:
    """Shows the whole image, with another aspect ratio."""
    return image.resize(size, _bilinear())


FITS: typing.Dict[str, typing.Callable[[typing.Any, Size], typing.Any]] = {
    "crop": _crop, "pad": _pad, "stretch": _stretch}


def resized_note(sizes: typing.Sequence[Size], fit: Fit) -> typing.List[str]:
    """Returns a sentence about how many of the images, of these `sizes`, have been resized; none if there are none."""
    others = collections.Counter(size for size in sizes if size != (fit.width, fit.height))
    if not others:
        return []
    counts = [f"{n} of {width} x {height}" for (width, height), n in others.most_common(MAX_SIZES)]
    n_more = sum(others.values()) - sum(n for _, n in others.most_common(MAX_SIZES))
    more = f" and {n_more} of {len(others) - MAX_SIZES} other sizes" if n_more else ""
    return [f"note: {sum(others.values())} of {len(sizes)} images resized to {fit.width} x {fit.height} pixels (width "
            f"x height, image_fit {fit.how}): {', '.join(counts)}{more}"]


def _bilinear() -> typing.Any:
    from PIL import Image

    return Image.BILINEAR  # type: ignore[attr-defined]  # missing in Pillow's annotations, not in Pillow
