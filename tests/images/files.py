"""Files of image sets, written in their usual layouts."""
import gzip
import pickle
import struct
import zlib

import numpy as np
from PIL import Image

from data_loader.archives import IDX_NAMES


def write_batch(path, rng, labels, **other_labels):
    """A CIFAR batch; returns its images."""
    path.parent.mkdir(exist_ok=True)
    images = rng.randint(0, 256, (len(labels), 32, 32, 3)).astype(np.uint8)
    batch = {b"data": images.transpose(0, 3, 1, 2).reshape(-1, 3072), b"batch_label": b"a batch"}
    batch.update((key.encode(), value) for key, value in dict(other_labels, **{
        "fine_labels" if other_labels else "labels": labels}).items())
    path.write_bytes(pickle.dumps(batch, protocol=2))
    return images


def write_cifar10(folder, rng):
    """Training images and labels of five batches of two; a test batch of three."""
    path = folder / "cifar-10-batches-py"
    labels = rng.permutation(10)
    images = [write_batch(path / f"data_batch_{i + 1}", rng, labels[2 * i:2 * i + 2].tolist()) for i in range(5)]
    test = write_batch(path / "test_batch", rng, [9, 0, 4])
    (path / "readme.html").write_text("more than batches")
    return np.concatenate(images), labels, test


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(folder, rng, packed=(), sizes=(6, 3)):
    """The four files, those in `packed` gzipped; returns training images and labels, test images and labels."""
    folder.mkdir(exist_ok=True)
    arrays = []
    for n in sizes:
        arrays += [rng.randint(0, 256, (n, 4, 5)).astype(np.uint8), rng.permutation(10)[:n].astype(np.uint8)]
    for name, array in zip(IDX_NAMES, arrays):
        if name in packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))
    return arrays


def assert_same_rows(part, images, labels):
    """Asserts that the images and their labels are the same, in any order."""
    def rows(arrays, classes):
        return sorted((np.asarray(array).tobytes(), int(label)) for array, label in zip(arrays, classes))

    assert part.x.dtype == np.uint8 and part.y.dtype == np.int32 and rows(part.x, part.y) == rows(images, labels)


def write_images(folder, rng, classes=("b", "a10", "a9"), n=2, mode="RGB", size=(6, 4)):
    """`n` PNGs per class, `size` as (width, height); returns {class: images [height, width(, 3)]}."""
    made = {}
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        shape = size[::-1] + ((3,) if mode == "RGB" else ())
        made[name] = [rng.randint(0, 256, shape).astype(np.uint8) for _ in range(n)]
        for number, array in enumerate(made[name]):
            Image.fromarray(array).save(str(folder / name / f"{number}.png"))
    return made


def write_png16(path, array, colour_type):
    """A PNG of 16 bits per channel: array [height, width, channels], colour type 0 (grey) or 2, plus 4 for alpha."""
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = array.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in array)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines))
                     + chunk(b"IEND", b""))


def write_tiff16(path, array, order="<", sample_format=1, photometric=None, extra=2):
    """A TIFF of 16 bits per channel: array [height, width, channels], `extra` the kind of a fourth channel."""
    height, width, n = array.shape
    content = array.astype(f"{order}u2").tobytes()
    default = 2 if n >= 3 else 1
    tags = [(256, "H", [width]), (257, "H", [height]), (258, "H", [16] * n), (259, "H", [1]),
            (262, "H", [default if photometric is None else photometric]), (273, "I", [8]), (277, "H", [n]),
            (278, "H", [height]), (279, "I", [len(content)]), *([(338, "H", [extra])] if n == 4 else []),
            (339, "H", [sample_format] * n)]
    start = 8 + len(content)
    entries, values, end = b"", b"", start + 2 + 12 * len(tags) + 4
    for tag, kind, items in tags:
        raw = struct.pack(f"{order}{len(items)}{kind}", *items)
        entries += struct.pack(f"{order}HHI", tag, 3 if kind == "H" else 4, len(items))
        if len(raw) > 4:
            entries, values = entries + struct.pack(f"{order}I", end + len(values)), values + raw
        else:
            entries += raw.ljust(4, b"\0")
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, start)
    path.write_bytes(head + content + struct.pack(f"{order}H", len(tags)) + entries + b"\0" * 4 + values)
