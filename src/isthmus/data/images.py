"""Reading a folder of images into one array, whatever their modes and sizes."""

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

from isthmus.data.limits import check_memory, is_inside, is_regular_file

__all__ = ["IMAGE_SUFFIXES", "open_image", "read_image_folder", "to_rgb"]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
# No other decoder may see a file, whatever its bytes: the one for EPS runs a program.
_DECODERS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
_WHITE = (255, 255, 255)
_PIXEL = 4  # bytes that Pillow takes for one


def read_image_folder(
    path: str | PathLike[str], size: int | tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...], tuple[str, ...]]:
    """Read every image under a folder; its sub-folders are the classes.

    Images are turned upright as their EXIF data say, laid on white where they are transparent,
    and brought to one size: those of another are scaled to fit and padded with white. Files
    are taken in sorted order; hidden ones are passed over.

    Parameters
    ----------
    path : str or path-like
        The folder, holding images (png, jpg, jpeg, bmp, gif, webp, tif, tiff) or one
        sub-folder of images for each class.
    size : int or (int, int), default=None
        Side, or height and width, in pixels. None keeps the images' own size, or the most
        common one where they differ.

    Returns
    -------
    X : numpy.ndarray of uint8, shape (n, height, width) or (n, 3, height, width)
        Grey where every image is grey, else red, green and blue.
    labels : numpy.ndarray of str, shape (n,), or None
        The name of each image's class; None where there are no sub-folders.
    class_names : tuple of str
        The classes, sorted.
    notes : tuple of str
        One line for each thing a user should know, such as
        "resized 3 of 9 images to 64x64 (height x width)".

    Raises
    ------
    FileNotFoundError
        If there is no folder at `path`.
    ValueError
        If `size` is not positive, the folder holds no image, or a file is no readable image,
        has more pixels than ``PIL.Image.MAX_IMAGE_PIXELS``, or unpacks to more than
        `isthmus.data.limits` allows, alone or all together.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("cats", "dogs"):
    ...         (Path(folder) / name).mkdir()
    ...         Image.new("L", (16, 8)).save(Path(folder) / name / "1.png")
    ...     X, labels, class_names, notes = read_image_folder(folder)
    >>> X.shape, labels.tolist(), notes
    ((2, 8, 16), ['cats', 'dogs'], ())
    """
    root = Path(path)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: expected a folder of images; check the path.")
    shape = _checked_size(size)
    files, notes = _find(root)
    shapes = [] if shape else [_shape_of(file) for file in files]
    shape = shape or Counter(shapes).most_common(1)[0][0]
    X, n_resized = _read(files, shape)
    if n_resized:
        height, width = shape
        notes.append(
            f"resized {n_resized} of {len(files)} images to {height}x{width} (height x width)"
        )
    labels, class_names = _label(files, root, notes)
    return X, labels, class_names, tuple(notes)


def _checked_size(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    sides = size if isinstance(size, tuple | list) else (size, size)
    whole = all(isinstance(s, int) and not isinstance(s, bool) for s in sides)
    if len(sides) != 2 or not whole or min(sides) < 1:
        raise ValueError(f"size must be a positive whole number of pixels or two, got {size!r}.")
    return sides[0], sides[1]


def _find(root: Path) -> tuple[list[Path], list[str]]:
    """Return the images under `root`, sorted, with a note for each kind of thing left out."""
    images: list[Path] = []
    outside = other = 0
    for folder, folders, names in os.walk(root):
        linked = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        outside += len(linked)  # os.walk does not follow them: they may lead anywhere, or round
        folders[:] = [name for name in folders if not name.startswith(".")]
        for file in (Path(folder, name) for name in names if not name.startswith(".")):
            if file.suffix.lower() not in IMAGE_SUFFIXES or not is_regular_file(file):
                other += 1
            elif not is_inside(file, root):
                outside += 1
            else:
                images.append(file)
    if not images:
        formats = ", ".join(sorted(ext[1:] for ext in IMAGE_SUFFIXES))
        raise ValueError(f"{root}: expected images ({formats}), found none; check the folder.")
    skipped = {"links to other folders": outside, "files that are not images": other}
    return sorted(images), [f"skipped {what}: {count}" for what, count in skipped.items() if count]


def _label(
    files: list[Path], root: Path, notes: list[str]
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    parts = [file.relative_to(root).parts for file in files]
    labels = [p[0] if len(p) > 1 else "" for p in parts]
    class_names = tuple(sorted(set(labels) - {""}))
    if not class_names:
        return None, ()
    if "" in labels:
        notes.append(f"images in no sub-folder, their label left empty: {labels.count('')}")
    return np.array(labels), class_names


def _read(files: list[Path], shape: tuple[int, int]) -> tuple[np.ndarray, int]:
    """Return all images as one array, and how many had another size."""
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
    """Return the height and width of an image once it is upright."""
    with open_image(file) as image:
        turned = image.getexif().get(0x0112, 1) != 1
        width, height = ImageOps.exif_transpose(image).size if turned else image.size
    return height, width


@contextmanager
def open_image(file: Path) -> Iterator[Image.Image]:
    """Open an image, and name the file in whatever error comes of it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # A stream, for Pillow garbles turned TIFF files that it maps into memory by name.
            with file.open("rb") as stream, Image.open(stream, formats=_DECODERS) as image:
                n_bytes = image.width * image.height * _PIXEL
                check_memory("it", n_bytes, os.fstat(stream.fileno()).st_size)
                yield image
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{file}: expected at most {Image.MAX_IMAGE_PIXELS:,} pixels, got more; "
            "make the image smaller, or remove it."
        ) from error
    except Exception as error:  # a decoder fails in many ways on a damaged file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{file}: expected an image that can be read ({reason}); repair or remove it."
        ) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Lay an image of any mode on white and convert it to red, green and blue."""
    if image.mode.startswith(("I", "F")):
        return _from_16_bits(image).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image).convert("RGB")


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Scale greys of 0 to 65535 to 0 to 255; Pillow itself would cut them off at 255."""
    values = np.array(image)
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        raise ValueError(f"its {image.mode} pixels are not of 8 or 16 bits")
    values = values.astype(np.uint32)
    if "transparency" in image.info:  # one grey that stands for "nothing here"
        values[values == image.info["transparency"]] = 65535
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))
