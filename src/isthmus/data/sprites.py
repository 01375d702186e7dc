"""Sprites: a set of pictures whose factors of variation are known.

This is a rendering after the design of dSprites (Matthey, Higgins, Hassabis, Lerchner, 2017),
not the published file: the same five factors in the same order and number, drawn by the
formulas here. Every combination of the factors occurs once, 737,280 in all; the index of a
picture runs through the last factor fastest. As in the original, the first and the last
orientation, 0 and 2π, give the same picture.
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
    "factor_values",
    "factors",
    "render",
    "sample",
]

SHAPES = ("square", "ellipse", "heart")
FACTOR_NAMES = ("shape", "scale", "orientation", "posX", "posY")
FACTOR_SIZES = (3, 6, 40, 32, 32)
N_SPRITES = 737_280  # the product of the sizes
_SIDE = 64  # of a picture, in pixels
_RADIUS = 16  # a shape fits in 33 × 33 pixels, so that its 32 places just fill the picture
_WINDOW = 2 * _RADIUS + 1
_VALUES = (
    np.arange(1.0, 4.0),
    np.linspace(0.5, 1.0, 6),
    np.linspace(0.0, 2 * np.pi, 40),
    np.linspace(0.0, 1.0, 32),
    np.linspace(0.0, 1.0, 32),
)


def factors(indices: ArrayLike) -> np.ndarray:
    """Return the factors of sprites as whole numbers from zero.

    Parameters
    ----------
    indices : array-like of int, shape (n,)
        Numbers of sprites, each from 0 to 737,279.

    Returns
    -------
    numpy.ndarray of int64, shape (n, 5)
        Shape, scale, orientation, horizontal and vertical position, as in `FACTOR_NAMES`.

    Raises
    ------
    ValueError
        If the indices are not a sequence of whole numbers within range.

    Examples
    --------
    >>> factors([0, 33, 737279])
    array([[ 0,  0,  0,  0,  0],
           [ 0,  0,  0,  1,  1],
           [ 2,  5, 39, 31, 31]])
    """
    codes = np.unravel_index(_checked(indices), FACTOR_SIZES)
    return np.stack(codes, axis=1).astype(np.int64, copy=False)


def factor_values(indices: ArrayLike) -> np.ndarray:
    """Return the factors of sprites as the quantities they stand for.

    Parameters
    ----------
    indices : array-like of int, shape (n,)
        Numbers of sprites, each from 0 to 737,279.

    Returns
    -------
    numpy.ndarray of float64, shape (n, 5)
        Shape (1 square, 2 ellipse, 3 heart), scale (0.5 to 1), orientation (radians, 0 to
        2π, counter-clockwise), and the positions (0 left or top, to 1 right or bottom).

    Raises
    ------
    ValueError
        If the indices are not a sequence of whole numbers within range.

    Examples
    --------
    >>> factor_values([737279]).round(2)
    array([[3.  , 1.  , 6.28, 1.  , 1.  ]])
    """
    codes = factors(indices)
    return np.stack([v[c] for v, c in zip(_VALUES, codes.T, strict=True)], axis=1)


def render(indices: ArrayLike) -> np.ndarray:
    """Draw sprites, white on black.

    Parameters
    ----------
    indices : array-like of int, shape (n,)
        Numbers of sprites, each from 0 to 737,279. A picture takes 4 KiB: all of them, 3 GB.

    Returns
    -------
    numpy.ndarray of uint8, shape (n, 64, 64)
        Pictures of 0 and 255.

    Raises
    ------
    ValueError
        If the indices are not a sequence of whole numbers within range.

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
    """Draw a random sample of different sprites.

    Parameters
    ----------
    n : int
        How many, from 1 to 737,280.
    random_state : int, numpy.random.Generator or None, default=None
        A whole number gives the same sample each time.

    Returns
    -------
    images : numpy.ndarray of uint8, shape (n, 64, 64)
        Pictures of 0 and 255.
    factors : numpy.ndarray of int64, shape (n, 5)
        Their factors, as `factors` gives them.

    Raises
    ------
    ValueError
        If `n` is out of range.

    Examples
    --------
    >>> images, codes = sample(10, random_state=0)
    >>> images.shape, codes.shape
    ((10, 64, 64), (10, 5))
    """
    if not 1 <= n <= N_SPRITES:
        raise ValueError(f"sample: n must be from 1 to {N_SPRITES:,} different sprites, got {n}.")
    indices = np.random.default_rng(random_state).choice(N_SPRITES, size=n, replace=False)
    return render(indices), factors(indices)


def _checked(indices: ArrayLike) -> np.ndarray:
    array = np.asarray(indices)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(
            "sprites: indices must be a sequence of whole numbers, "
            f"got {array.dtype} of shape {array.shape}."
        )
    if array.size and not (array.min() >= 0 and array.max() < N_SPRITES):
        raise ValueError(
            f"sprites: indices must be from 0 to {N_SPRITES - 1}, "
            f"got {array.min()} to {array.max()}."
        )
    return array


@cache
def _masks() -> np.ndarray:
    """Draw every shape, scale and orientation once: uint8 (3, 6, 40, 33, 33)."""
    masks = np.where(_outlines(_RADIUS), np.uint8(255), np.uint8(0))
    masks.flags.writeable = False
    return masks


def _outlines(radius: int) -> np.ndarray:
    """Say which pixels lie inside each shape: bool (3, 6, 40, 2 radius + 1, 2 radius + 1)."""
    grid = np.arange(-radius, radius + 1) / _RADIUS
    x, y = grid[None, :], -grid[:, None]  # rows run downwards, y upwards
    scale = _VALUES[1][:, None, None, None]
    angle = _VALUES[2][:, None, None]
    # The pixel, turned back and enlarged, is looked up in the shape as it stands upright.
    u = (x * np.cos(angle) + y * np.sin(angle)) / scale
    v = (y * np.cos(angle) - x * np.sin(angle)) / scale
    square = np.maximum(abs(u), abs(v)) < 0.71
    ellipse = u**2 + (v / 0.5) ** 2 < 1.01
    return np.stack([square, ellipse, _heart(u, v)])


def _heart(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Fit the curve (a² + b² - 1)³ = a² b³ into the unit circle, its middle at the origin."""
    a, b = 1.33 * u, 1.33 * v + 0.12
    return (a**2 + b**2 - 1) ** 3 < a**2 * b**3
