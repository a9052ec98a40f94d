"""Images whose bytes stay in a file that is mapped into memory, for sets that are larger than memory.

`Store` keeps the decoded images of a list of files; `MappedImages` are some of them, in any order, in place of an array
[n, height, width, channels].
"""
import contextlib
import hashlib
import json
import os
import pathlib
import typing

import numpy as np

from misc.errors import UserError

VERSION = 1   # of what is kept, and of the rules by which files become pixels
BLOCK = 2**20  # bytes that are hashed at a time

Shape = typing.Tuple[int, ...]
Images = typing.Union[np.ndarray, "MappedImages"]  # uint8 [n, height, width, channels]


class Store:
    """A list of images, uint8 [height, width, 1 or 3] each, of which only shapes and places are in memory.

    Args:
      data: all bytes, one image after another.
      shapes: of the images.
    """

    def __init__(self, data: np.ndarray, shapes: typing.Sequence[Shape]) -> None:
        self.data, self.shapes = data, [tuple(shape) for shape in shapes]
        self.offsets = np.concatenate([[0], np.cumsum([int(np.prod(shape)) for shape in self.shapes])]).astype(np.int64)

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, number: int) -> np.ndarray:
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self.data[self.offsets[number]:self.offsets[number + 1]].reshape(self.shapes[number])

    def __iter__(self) -> typing.Iterator[np.ndarray]:
        return (self[number] for number in range(len(self)))


class MappedImages:
    """Images of one height and width in stores, in the order of `places`; indexing returns copies in memory.

    Args:
      stores: where the images are.
      places: int [n, 2]: which store, and which image of it.
      n_channels: 1 or 3; grey images fill all channels.
    """

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(self, stores: typing.Tuple[Store, ...], places: np.ndarray, n_channels: int) -> None:
        self._stores, self._places = stores, places
        height, width = stores[0].shapes[0][:2]
        self.shape = (len(places), height, width, n_channels)

    def __len__(self) -> int:
        return len(self._places)

    @property
    def size(self) -> int:
        """Number of bytes of all images."""
        return int(np.prod(self.shape))

    def __getitem__(self, rows: typing.Any) -> np.ndarray:
        """Returns one image, or those of a slice or of an array of numbers."""
        if isinstance(rows, (int, np.integer)):
            return self[np.array([rows])][0]
        places = self._places[rows]
        images = np.empty((len(places), *self.shape[1:]), np.uint8)
        for number, (store, image) in enumerate(places.tolist()):
            images[number] = self._stores[store][image]  # a grey image fills all channels
        return images

    def __iter__(self) -> typing.Iterator[np.ndarray]:
        return (self[number] for number in range(len(self)))

    def __array__(self, dtype: typing.Any = None, copy: typing.Optional[bool] = None) -> np.ndarray:
        return self[:].astype(dtype or np.uint8, copy=False)

    def take(self, rows: np.ndarray) -> "MappedImages":
        """Returns the images of these numbers, which stay in the file."""
        return MappedImages(self._stores, self._places[rows], self.shape[3])

    def widened(self, n_channels: int) -> "MappedImages":
        """Returns the images with so many channels."""
        return MappedImages(self._stores, self._places, n_channels)

    def joined(self, others: typing.Sequence["MappedImages"]) -> "MappedImages":
        """Returns these images and, after them, those of the others."""
        stores, places = list(self._stores), [self._places]
        for other in others:
            places.append(other._places + [len(stores), 0])
            stores += other._stores
        return MappedImages(tuple(stores), np.concatenate(places), self.shape[3])


def all_of(store: Store) -> MappedImages:
    """Returns all images of a store, with three channels if any of them is coloured."""
    places = np.column_stack([np.zeros(len(store), np.int64), np.arange(len(store))])
    return MappedImages((store,), places, max(shape[2] for shape in store.shapes))


def take(images: Images, rows: np.ndarray) -> Images:
    """Returns the images of these numbers: a copy of an array, or images that stay in their file."""
    return images.take(rows) if isinstance(images, MappedImages) else images[rows]


def joined(parts: typing.Sequence[Images]) -> Images:
    """Returns the images of all parts, of equal shape, one part after another."""
    first = parts[0]
    if isinstance(first, MappedImages):
        return first.joined([part for part in parts[1:] if isinstance(part, MappedImages)])
    return first if len(parts) == 1 else np.concatenate(typing.cast(typing.Sequence[np.ndarray], parts))


def widened(images: Images, n_channels: int) -> Images:
    """Returns grey images with so many equal channels."""
    return images.widened(n_channels) if isinstance(images, MappedImages) else np.repeat(images, n_channels, axis=3)


class Keeper:
    """Writes decoded images into a folder and finds them again.

    They are found for files of the same paths and content, read with the same keys, if they have the right length.

    Args:
      folder: where they are kept.
      paths: of the files.
      keys: all on which the pixels depend beside the files, for JSON.
    """

    def __init__(self, folder: pathlib.Path, paths: typing.Sequence[pathlib.Path],
                 keys: typing.Sequence[typing.Any]) -> None:
        digest = hashlib.sha256(json.dumps([VERSION, *keys]).encode("utf-8"))
        for path in paths:
            digest.update(json.dumps(str(path)).encode("utf-8"))
            with contextlib.suppress(OSError), open(str(path), "rb") as handle:  # whoever reads it says what is wrong
                block = handle.read(BLOCK)
                while block:
                    digest.update(block)
                    block = handle.read(BLOCK)
        self._about = folder / f"images-{digest.hexdigest()[:16]}.json"
        self._bytes = self._about.with_suffix(".bytes")

    def find(self) -> typing.Optional[typing.Tuple[Store, typing.Any]]:
        """Returns (images, what else was kept of them), or None if there are none of the right length."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            about = json.loads(self._about.read_text(encoding="utf-8"))
            store = Store(_mapped(self._bytes), about["shapes"])
            if store.offsets[-1] == len(store.data):
                return store, about["more"]
        return None

    def keep(self, images: typing.Iterable[np.ndarray], more: typing.Callable[[], typing.Any]) -> Store:
        """Writes images, one after another as they come, and returns them from the file.

        more: returns what else is kept of them, for JSON, once all have come.

        Raises a UserError if they cannot be written.
        """
        partial, shapes = self._bytes.with_name(f"{self._bytes.name}.{os.getpid()}.partial"), []
        text = partial.with_suffix(".text")
        try:
            self._bytes.parent.mkdir(parents=True, exist_ok=True)
            with open(str(partial), "wb") as handle:
                for image in images:
                    handle.write(np.ascontiguousarray(image).data)
                    shapes.append(image.shape)
            os.replace(str(partial), str(self._bytes))
            text.write_text(json.dumps({"shapes": shapes, "more": more()}), encoding="utf-8")
            os.replace(str(text), str(self._about))
            return Store(_mapped(self._bytes), shapes)
        except OSError as error:
            raise UserError(f"image_cache {self._bytes.parent} cannot be written ({error.strerror or error}): make "
                            "room, or set another folder") from None
        finally:
            for left in (partial, text):
                with contextlib.suppress(OSError):
                    left.unlink()


def _mapped(path: pathlib.Path) -> np.ndarray:
    """Returns the bytes of a file, uint8 [n], mapped into memory."""
    return np.memmap(str(path), np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)
