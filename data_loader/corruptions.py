"""Images made worse: CORRUPTIONS, name -> function (pictures in [0, 1], strength 1 to 5, generator) -> pictures.

In the manner of Hendrycks and Dietterich (2019), https://arxiv.org/abs/1903.12261, with strengths of our own, most of
them harsher than those of CIFAR-10-C. Blur grows with a picture's side; blocks of `pixelate` are counted in pixels.
"""
import numpy as np
from scipy import ndimage

from misc.seeding import stream

STRENGTHS = (1, 2, 3, 4, 5)


def corrupt(images, name, strength, seed=0):
    """uint8 [n, height, width, channels], the same for the same seed."""
    rng = stream(seed, "corruption", name, strength)
    chunks = (images[start:start + 500] / 255.0 for start in range(0, len(images), 500))
    worse = (CORRUPTIONS[name](chunk, strength, rng) for chunk in chunks)
    return np.concatenate([np.round(255.0 * np.clip(part, 0.0, 1.0)).astype(np.uint8) for part in worse])


def _noise(images, strength, rng):
    return images + 0.06 * strength * rng.standard_normal(images.shape)


def _impulses(images, strength, rng):
    hit = rng.uniform(size=images.shape[:3] + (1,)) < 0.03 * strength
    return np.where(hit, rng.randint(0, 2, images.shape[:3] + (1,)), images)


def _blur(images, strength, rng):
    sigma = 0.3 + 0.015 * strength * images.shape[1]  # pixels
    return ndimage.gaussian_filter(images, (0, sigma, sigma, 0))


def _contrast(images, strength, rng):
    mean = images.mean(axis=(1, 2), keepdims=True)
    return mean + (images - mean) * (1.0 - 0.18 * strength)


def _brightness(images, strength, rng):
    return images + 0.1 * strength


def _pixelate(images, strength, rng):
    """Means over blocks of 1 + strength / 2 pixels."""
    rows, columns = (_block_means(length, 1.0 + 0.5 * strength) for length in images.shape[1:3])
    return np.einsum("ih,nhwc,jw->nijc", rows, images, columns, optimize=True)


def _block_means(length, width):
    """[length, length]: takes pixels to the means of blocks `width` wide, and these back to the pixels they cover."""
    edges = np.minimum(width * np.arange(int(np.ceil(length / width)) + 1), length)
    pixels = np.arange(length)
    covered = np.minimum(pixels + 1, edges[1:, None]) - np.maximum(pixels, edges[:-1, None])  # [blocks, length]
    covered = np.maximum(covered, 0.0)
    return covered.T @ (covered / covered.sum(axis=1, keepdims=True))


CORRUPTIONS = {"noise": _noise, "impulses": _impulses, "blur": _blur, "contrast": _contrast, "brightness": _brightness,
               "pixelate": _pixelate}
