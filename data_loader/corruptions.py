"""Corruptions of images, to evaluate classifiers on.

CORRUPTIONS: name -> function (images in [0, 1], strength 1 to 5, generator) -> images; `corrupt` clips the result.
They follow Hendrycks and Dietterich (2019), https://arxiv.org/abs/1903.12261, but with strengths of our own, most of
them harsher than those of CIFAR-10-C. The width of the blur is relative to the image's height; the blocks of
`pixelate` are counted in pixels.
"""
import typing

import numpy as np
from scipy import ndimage

from misc.seeding import stream

STRENGTHS = (1, 2, 3, 4, 5)


def corrupt(images: np.ndarray, name: str, strength: int, seed: int = 0) -> np.ndarray:
    """Returns corrupted copies of uint8 images [n, height, width, channels], the same for the same seed.

    Args:
      name: of CORRUPTIONS.
      strength: of STRENGTHS.
    """
    rng = stream(seed, "corruption", name, strength)
    chunks = (images[start:start + 500] / 255.0 for start in range(0, len(images), 500))
    corrupted = (CORRUPTIONS[name](chunk, strength, rng) for chunk in chunks)
    return np.concatenate([np.round(255.0 * np.clip(chunk, 0.0, 1.0)).astype(np.uint8) for chunk in corrupted])


def _noise(images: np.ndarray, strength: int, rng: np.random.RandomState) -> np.ndarray:
    return images + 0.06 * strength * rng.standard_normal(images.shape)


def _impulses(images: np.ndarray, strength: int, rng: np.random.RandomState) -> np.ndarray:
    """Turns random pixels black or white."""
    hit = rng.uniform(size=images.shape[:3] + (1,)) < 0.03 * strength
    return np.where(hit, rng.randint(0, 2, images.shape[:3] + (1,)), images)


def _blur(images: np.ndarray, strength: int, rng: np.random.RandomState) -> np.ndarray:
    sigma = 0.3 + 0.015 * strength * images.shape[1]  # pixels
    return ndimage.gaussian_filter(images, (0, sigma, sigma, 0))


def _contrast(images: np.ndarray, strength: int, rng: np.random.RandomState) -> np.ndarray:
    """Moves all pixels towards their mean."""
    mean = images.mean(axis=(1, 2), keepdims=True)
    return mean + (images - mean) * (1.0 - 0.18 * strength)


def _brightness(images: np.ndarray, strength: int, rng: np.random.RandomState) -> np.ndarray:
    return images + 0.1 * strength


def _pixelate(images: np.ndarray, strength: int, rng: np.random.RandomState) -> np.ndarray:
    """Replaces pixels by the means of blocks that are 1 + strength / 2 pixels wide."""
    rows, columns = (_block_means(length, 1.0 + 0.5 * strength) for length in images.shape[1:3])
    return np.einsum("ih,nhwc,jw->nijc", rows, images, columns, optimize=True)


def _block_means(length: int, width: float) -> np.ndarray:
    """Returns the matrix [length, length] that replaces each pixel of a line by the mean of the blocks that cover it.

    A block is `width` pixels wide, not necessarily a whole number; a pixel in two blocks gets its share of both.
    """
    edges = np.minimum(width * np.arange(int(np.ceil(length / width)) + 1), length)
    pixels = np.arange(length)
    covered = np.minimum(pixels + 1, edges[1:, None]) - np.maximum(pixels, edges[:-1, None])  # [blocks, length]
    covered = np.maximum(covered, 0.0)
    return covered.T @ (covered / covered.sum(axis=1, keepdims=True))


CORRUPTIONS: typing.Dict[str, typing.Callable[[np.ndarray, int, np.random.RandomState], np.ndarray]] = {
    "noise": _noise, "impulses": _impulses, "blur": _blur, "contrast": _contrast, "brightness": _brightness,
    "pixelate": _pixelate}
