"""Sprites: images with known factors of variation.

The design follows dSprites (Matthey, Higgins, Hassabis, Lerchner, 2017), with the same five
factors in the same order and number, but the images are drawn by the formulas here. Each of the
737,280 combinations of factors occurs once; the last factor varies fastest with the index. As in
the original, the first and the last orientation, 0 and 2π, give the same image.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike

__all__ = [
    "FACTOR_NAMES",
    "FACTOR_SIZES",
    "N_SPRITES",
    "SHAPES",
    "factors",
    "render",
    "sample",
]

SHAPES = ("square", "ellipse", "heart")
FACTOR_NAMES = ("shape", "scale", "orientation", "posX", "posY")
FACTOR_SIZES = (3, 6, 40, 32, 32)
N_SPRITES = 737_280  # the product of the sizes
_SIDE = 64  # of an image, in pixels
_RADIUS = 16  # a shape fits in 33 × 33 pixels, so its 32 positions just fill the image
_WINDOW = 2 * _RADIUS + 1
_SCALES = np.linspace(0.5, 1.0, FACTOR_SIZES[1])
_ANGLES = np.linspace(0.0, 2 * np.pi, FACTOR_SIZES[2])


def factors(indices: ArrayLike) -> np.ndarray:
    """Return the factors of sprites.

    Parameters
    ----------
    indices : array-like of int, shape (n,)
        From 0 to 737,279.

    Returns
    -------
    numpy.ndarray of int64, shape (n, 5)
        Index of shape, scale, orientation, horizontal and vertical position (`FACTOR_NAMES`).

    Raises
    ------
    ValueError
        If the indices are not a one-dimensional sequence of whole numbers in that range.

    Examples
    --------
    >>> factors([0, 33, 737279])
    array([[ 0,  0,  0,  0,  0],
           [ 0,  0,  0,  1,  1],
           [ 2,  5, 39, 31, 31]])
    """
    codes = np.unravel_index(_checked(indices), FACTOR_SIZES)
    return np.stack(codes, axis=1).astype(np.int64, copy=False)


def render(indices: ArrayLike) -> np.ndarray:
    """Draw sprites, white on black.

    Parameters
    ----------
    indices : array-like of int, shape (n,)
        From 0 to 737,279, as for `factors`. An image takes 4 KiB, all of them 3 GB.

    Returns
    -------
    numpy.ndarray of uint8, shape (n, 64, 64)
        Images of 0 and 255.

    Examples
    --------
    >>> images = render(range(100))
    >>> images.shape, images.dtype, int(images.max())
    ((100, 64, 64), dtype('uint8'), 255)
    """
    shape, scale, orientation, x, y = factors(indices).T
    images = np.zeros((len(shape), _SIDE, _SIDE), dtype=np.uint8)
    places = sliding_window_view(images, (_WINDOW, _WINDOW), axis=(1, 2), writeable=True)
    places[np.arange(len(images)), y, x] = _masks()[shape, scale, orientation]
    return images


def sample(
    n: int, random_state: int | np.random.Generator | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a random sample of distinct sprites.

    Parameters
    ----------
    n : int
        From 1 to 737,280.
    random_state : int, numpy.random.Generator or None, default=None

    Returns
    -------
    images : numpy.ndarray of uint8, shape (n, 64, 64)
        As by `render`.
    factors : numpy.ndarray of int64, shape (n, 5)
        As by `factors`.

    Examples
    --------
    >>> images, codes = sample(10, random_state=0)
    >>> images.shape, codes.shape
    ((10, 64, 64), (10, 5))
    """
    if not 1 <= n <= N_SPRITES:
        raise ValueError(f"n must be from 1 to {N_SPRITES:,}, got {n}.")
    indices = np.random.default_rng(random_state).choice(N_SPRITES, size=n, replace=False)
    return render(indices), factors(indices)


def _checked(indices: ArrayLike) -> np.ndarray:
    array = np.asarray(indices)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        found = f"{array.dtype} of shape {array.shape}"
        raise ValueError(f"indices must be a sequence of whole numbers, got {found}.")
    if array.size and not (array.min() >= 0 and array.max() < N_SPRITES):
        found = f"{array.min()} to {array.max()}"
        raise ValueError(f"indices must be from 0 to {N_SPRITES - 1}, got {found}.")
    return array


@cache
def _masks() -> np.ndarray:
    """Return images of each shape, scale and orientation: uint8 (3, 6, 40, 33, 33)."""
    masks = np.where(_outlines(_RADIUS), np.uint8(255), np.uint8(0))
    masks.flags.writeable = False
    return masks


def _outlines(radius: int) -> np.ndarray:
    """Return the pixels inside each shape: bool (3, 6, 40, 2 radius + 1, 2 radius + 1).

    The heart is the inside of (a² + b² - 1)³ = a² b³.
    """
    grid = np.arange(-radius, radius + 1) / _RADIUS
    x, y = grid[None, :], -grid[:, None]  # rows run downwards, y upwards
    scale = _SCALES[:, None, None, None]
    angle = _ANGLES[:, None, None]
    # Rotate and scale the coordinates of the pixels back to those of the upright shape.
    u = (x * np.cos(angle) + y * np.sin(angle)) / scale
    v = (y * np.cos(angle) - x * np.sin(angle)) / scale
    square = np.maximum(abs(u), abs(v)) < 0.71
    ellipse = u**2 + (v / 0.5) ** 2 < 1.01
    a, b = 1.33 * u, 1.33 * v + 0.12  # scaled and centred in the unit circle
    heart = (a**2 + b**2 - 1) ** 3 < a**2 * b**3
    return np.stack([square, ellipse, heart])
