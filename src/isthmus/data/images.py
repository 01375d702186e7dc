"""Read a folder of images of any modes and sizes into one array."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from isthmus._messages import one_line
from isthmus.data.limits import check_memory
from isthmus.data.media_folders import class_labels, find_media

__all__ = ["IMAGE_SUFFIXES", "open_image", "read_image_folder", "to_rgb"]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
# Pillow must not try other decoders: the one for EPS runs an external program.
_DECODERS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
_WHITE = (255, 255, 255)
_PIXEL_BYTES = 4  # in Pillow


def read_image_folder(
    path: str | PathLike[str], size: int | tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """Read all images of a folder; its subfolders are the classes.

    Images are rotated as their EXIF data say, placed on white if they are transparent, and brought
    to one size: those of another size are scaled to fit and padded with white. Hidden files are
    skipped.

    Parameters
    ----------
    path : str or path-like
        A folder of images (png, jpg, jpeg, bmp, gif, webp, tif, tiff), or of one subfolder per
        class.
    size : int or (int, int), default=None
        Side, or height and width, in pixels. None keeps the size of the images, or the most common
        one if they differ.

    Returns
    -------
    X : numpy.ndarray of uint8, shape (n, height, width) or (n, 3, height, width)
        Grey if every image is grey, otherwise red, green and blue.
    labels : numpy.ndarray of str, shape (n,), or None
        The class of each image; None if there are no subfolders.
    notes : tuple of str
        Remarks for the user, one line each, such as
        "resized 3 of 9 images to 64x64 (height x width)".

    Raises
    ------
    FileNotFoundError
        If there is no folder at `path`.
    ValueError
        If `size` is not positive, the folder has no images, or an image is damaged, has more
        pixels than ``PIL.Image.MAX_IMAGE_PIXELS``, or unpacks to more than `isthmus.data.limits`
        allows, alone or with all others.

    See Also
    --------
    isthmus.data.audio.read_audio_folder : The same for audio.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("cats", "dogs"):
    ...         (Path(folder) / name).mkdir()
    ...         Image.new("L", (16, 8)).save(Path(folder) / name / "1.png")
    ...     X, labels, notes = read_image_folder(folder)
    >>> X.shape, labels.tolist(), notes
    ((2, 8, 16), ['cats', 'dogs'], ())
    """
    root = Path(path)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: expected a folder of images; check the path.")
    shape = _checked_size(size)
    files, notes = find_media(root, IMAGE_SUFFIXES, "images")
    shapes = [] if shape else [_shape_of(file) for file in files]
    shape = shape or Counter(shapes).most_common(1)[0][0]
    X, n_resized = _read(files, shape)
    if n_resized:
        height, width = shape
        notes.append(
            f"resized {n_resized} of {len(files)} images to {height}x{width} (height x width)"
        )
    return X, class_labels(files, root, "images", notes), tuple(notes)


def _checked_size(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    sides = size if isinstance(size, tuple | list) else (size, size)
    whole = all(isinstance(s, int) and not isinstance(s, bool) for s in sides)
    if len(sides) != 2 or not whole or min(sides) < 1:
        raise ValueError(f"size must be one or two positive whole numbers, got {size!r}.")
    return sides[0], sides[1]


def _read(files: list[Path], shape: tuple[int, int]) -> tuple[np.ndarray, int]:
    """Return all images as one array, and how many were resized."""
    on_disk = sum(file.stat().st_size for file in files)
    check_memory(f"{len(files)} images", len(files) * shape[0] * shape[1] * 3, on_disk)
    X = np.empty((len(files), *shape, 3), dtype=np.uint8)
    grey, n_resized = True, 0
    for row, file in zip(X, files, strict=True):
        with open_image(file) as image:
            image = to_rgb(ImageOps.exif_transpose(image))
            if image.size != shape[::-1]:
                n_resized += 1
                image = ImageOps.pad(image, shape[::-1], Image.Resampling.LANCZOS, color=_WHITE)
            row[...] = np.asarray(image)
        grey = grey and bool((row == row[..., :1]).all())
    return np.ascontiguousarray(X[..., 0] if grey else np.moveaxis(X, -1, 1)), n_resized


def _shape_of(file: Path) -> tuple[int, int]:
    """Return height and width of an image after the rotation that its EXIF data demand."""
    with open_image(file) as image:
        turned = image.getexif().get(0x0112, 1) != 1
        width, height = ImageOps.exif_transpose(image).size if turned else image.size
    return height, width


@contextmanager
def open_image(file: Path) -> Iterator[Image.Image]:
    """Open an image; every error names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # A stream: Pillow garbles rotated TIFF files that it memory-maps by name.
            with file.open("rb") as stream, Image.open(stream, formats=_DECODERS) as image:
                n_bytes = image.width * image.height * _PIXEL_BYTES
                check_memory("image", n_bytes, os.fstat(stream.fileno()).st_size)
                yield image
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{file}: expected at most {Image.MAX_IMAGE_PIXELS:,} pixels, got more; shrink the "
            "image or remove it."
        ) from error
    except Exception as error:  # decoders raise errors of many types for a damaged file
        reason = one_line(error) or type(error).__name__
        raise ValueError(
            f"{file}: expected a valid image ({reason}); repair or remove it."
        ) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to RGB, on white if it is transparent."""
    if image.mode.startswith(("I", "F")):
        return _from_16_bits(image).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image).convert("RGB")


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Scale greys from 0-65535 to 0-255; Pillow itself would clip them at 255."""
    values = np.array(image)
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        raise ValueError(f"its {image.mode} pixels do not have 8 or 16 bits")
    values = values.astype(np.uint32)
    if "transparency" in image.info:  # the grey value that means transparent
        values[values == image.info["transparency"]] = 65535
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))
