"""Read images of any modes and sizes into one array: a file, or all of a folder.

Every page or frame of a file becomes a separate image, and images with more than 8 bits become
floats in [0, 1]. A note reports everything that is converted or left out.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from isthmus._messages import one_line
from isthmus.data.image_limits import check_exif, check_parts
from isthmus.data.limits import check_memory
from isthmus.data.media_folders import class_labels, file_names, find_media

__all__ = [
    "IMAGE_SUFFIXES",
    "Images",
    "as_grey",
    "match_channels",
    "read_image",
    "read_image_folder",
    "read_images",
]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
# Pillow must not try other decoders: the one for EPS runs an external program.
_DECODERS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
_WHITE = (255, 255, 255)
_PIXEL_BYTES = 4  # in Pillow
_DEEP = 65535  # the white of 16 bits
_PLAIN_MODES = ("1", "L", "P", "RGB", "LA", "PA", "RGBA", "RGBX")  # become RGB without loss
# TIFF tags: bits of each band, bands, kind of page, and whether 0 is black or white.
_BITS, _BANDS, _KIND, _MEANING = 258, 277, 254, 262
_GREY = np.array([0.299, 0.587, 0.114])  # weights of red, green and blue (BT.601)
_REDUCED_OR_MASK = 0b101  # bits of the kind of page
# Notes about converted images; {of} says how many.
_DEEP_NOTE = "read {of} with more than 8 bits; all images become floats in [0, 1]"
_CUT_NOTE = "read {of} with 16 bits per colour at 8 bits, which is all that Pillow reads"
_BANDS_NOTE = "left out the bands after the third of {of}"
_WHITE_NOTE = "placed {of} with transparent pixels on white"
_MODE_NOTE = "converted {of} from %s to RGB"


class Images(NamedTuple):
    """Images of one size, and where they come from.

    X (n, height, width) if all are grey, else (n, 3, height, width), is uint8, or float32 in [0, 1]
    if an image has more than 8 bits; `labels` (n,) are the subfolders, or None if there are none;
    `notes` are remarks for the user; `ids` are columns that name each image: "file", and "page" if
    a file has several pages or frames; `groups` (n,) number the files, to hold out whole files,
    or None if each has one image.
    """

    X: np.ndarray
    labels: np.ndarray | None
    notes: tuple[str, ...]
    ids: dict[str, np.ndarray]
    groups: np.ndarray | None


class _Page(NamedTuple):
    """An image in a file: the number of its page or frame, height and width, and its precision."""

    number: int
    shape: tuple[int, int]
    deep: bool


def read_image_folder(
    path: str | PathLike[str], size: int | tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """Read all images of a folder; its subfolders are the classes.

    Images are rotated as their EXIF data say, placed on white if they are transparent, and brought
    to one size: those of another size are scaled to fit and padded with white. Each page of a TIFF
    and each frame of an animation becomes a separate image. Hidden files are skipped.

    Parameters
    ----------
    path : str or path-like
        A folder of images (png, jpg, jpeg, bmp, gif, webp, tif, tiff), or of one subfolder per
        class; or one such file.
    size : int or (int, int), default=None
        Side, or height and width, in pixels. None keeps the size of the images, or the most common
        one if they differ.

    Returns
    -------
    X : numpy.ndarray, shape (n, height, width) or (n, 3, height, width)
        Grey if every image is grey, otherwise red, green and blue. uint8, or float32 in [0, 1] if
        an image has more than 8 bits: 16-bit and whole-number pixels are divided by 65535.
    labels : numpy.ndarray of str, shape (n,), or None
        The class of each image; None if there are no subfolders.
    notes : tuple of str
        Remarks for the user, one line each, such as
        "resized 3 of 9 images to 64x64 (height x width)". Everything that is not kept has one.

    Raises
    ------
    FileNotFoundError
        If there is nothing at `path`.
    ValueError
        If `size` is not positive, the folder has no images, or an image is damaged, has whole
        numbers beyond 0 to 65535 or floats beyond [0, 1], has more pixels than
        ``PIL.Image.MAX_IMAGE_PIXELS``, or unpacks to more than `isthmus.data.limits` allows, alone
        or with all others.

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
    return read_images(path, size)[:3]


def read_images(path: str | PathLike[str], size: int | tuple[int, int] | None = None) -> Images:
    """Read a file of images, or a folder as `read_image_folder` does, with the names of files.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("L", (16, 8)).save(f"{folder}/a.png")
    ...     read_images(f"{folder}/a.png").ids["file"].tolist()
    ['a.png']
    """
    root = Path(path)
    if not root.exists():
        raise FileNotFoundError(f"{root}: expected a folder of images; check the path.")
    shape = _checked_size(size)
    files, notes = find_media(root, IMAGE_SUFFIXES, "images") if root.is_dir() else ([root], [])
    pages = [_pages_of(file, notes) for file in files]
    counts = [len(each) for each in pages]
    shape = shape or Counter(p.shape for each in pages for p in each).most_common(1)[0][0]
    if several := sum(n for n in counts if n > 1):
        n_files = sum(n > 1 for n in counts)
        notes.append(f"read {several} pages or frames of {_of(n_files, files, 'files')} as images")
    X, remarks = _read(files, pages, shape)
    notes += [remark.format(of=_of(n, X, "images")) for remark, n in sorted(remarks.items())]
    if X.dtype != np.uint8 and (brightest := X.max()) < 0.5:
        notes.append(f"the brightest pixel is {brightest:.3g} of white; rescale 12-bit images")
    labels = class_labels(files, root, "images", notes)
    ids = {"file": np.repeat(file_names(files, root), counts)}
    if several:
        ids["page"] = np.array([page.number + 1 for each in pages for page in each])
    groups = np.repeat(np.arange(len(files)), counts) if several else None
    return Images(
        X, None if labels is None else np.repeat(labels, counts), tuple(notes), ids, groups
    )


def read_image(file: Path) -> tuple[np.ndarray, list[str]]:
    """Read the only image of a file; return (3, height, width), grey or not, and remarks.

    The pixels are uint8, or float32 in [0, 1] as of `read_image_folder`.
    """
    pages = _pages_of(file, [])
    if len(pages) > 1:
        raise ValueError(
            f"{file}: expected one image, got {len(pages)} pages or frames; save each as a file."
        )
    X, remarks = _read([file], [pages], pages[0].shape)
    pixels = X[0] if X.ndim == 4 else np.broadcast_to(X[0], (3, *X.shape[1:]))
    return pixels, [r.format(of="the image") for r in sorted(remarks) if r != _DEEP_NOTE]


def as_grey(pixels: np.ndarray) -> np.ndarray:
    """Return the luminance (..., height, width) of colours (..., 3, height, width).

    Examples
    --------
    >>> as_grey(np.full((3, 1, 2), 7, np.uint8))
    array([[7, 7]], dtype=uint8)
    """
    grey = np.einsum("c,...chw->...hw", _GREY, pixels)
    return (grey.round() if pixels.dtype == np.uint8 else grey).astype(pixels.dtype)


def match_channels(X: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, str | None]:
    """Return images with the channels of a model's examples, and a note if colours are lost.

    `X` is as of `Images`; `shape` is that of one example. Grey becomes three equal channels,
    colours become grey by their luminance. Images of other shapes are returned unchanged.

    Examples
    --------
    >>> match_channels(np.zeros((2, 8, 8), np.uint8), (3, 8, 8))[0].shape
    (2, 3, 8, 8)
    """
    note = None
    if len(shape) not in (2, 3) or X.shape[-2:] != shape[-2:]:
        return X, note
    if len(shape) == 3 and shape[0] == 3 and X.ndim == 3:
        X = np.repeat(X[:, None], 3, axis=1)
    elif shape[:-2] in ((), (1,)) and X.ndim == 4:
        colours = sum(bool((x != x[:1]).any()) for x in X)
        note = f"converted {_of(colours, X, 'images')} from colour to grey, as the model takes"
        X = as_grey(X)
    return (X[:, None] if shape[:-2] == (1,) and X.ndim == 3 else X), note


def _of(n: int, all_of_them: list[Path] | np.ndarray, kind: str) -> str:
    return f"{n} of {len(all_of_them)} {kind}"


def _checked_size(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    sides = size if isinstance(size, tuple | list) else (size, size)
    whole = all(isinstance(s, int) and not isinstance(s, bool) for s in sides)
    if len(sides) != 2 or not whole or min(sides) < 1:
        raise ValueError(f"size must be one or two positive whole numbers, got {size!r}.")
    return sides[0], sides[1]


def _read(
    files: list[Path], pages: list[list[_Page]], shape: tuple[int, int]
) -> tuple[np.ndarray, Counter[str]]:
    """Return all images as one array, and how many each remark is about."""
    on_disk, n = sum(file.stat().st_size for file in files), sum(map(len, pages))
    deep = any(page.deep for each in pages for page in each)
    dtype = np.dtype(np.float32 if deep else np.uint8)
    check_memory(f"{n} images", n * shape[0] * shape[1] * 3 * dtype.itemsize, on_disk)
    X = np.empty((n, *shape, 3), dtype)
    rows, grey, remarks = iter(X), True, Counter[str]()
    for file, each in zip(files, pages, strict=True):
        with _open_image(file) as image:
            for page in each:
                pixels, found = _decode(image, page)
                if pixels.shape[:2] != shape:
                    found.append(f"resized {{of}} to {shape[0]}x{shape[1]} (height x width)")
                    pixels = _padded(pixels, shape)
                row = next(rows)
                row[...] = pixels / 255 if deep and pixels.dtype == np.uint8 else pixels
                grey = grey and bool((row == row[..., :1]).all())
                remarks.update(found)
    return np.ascontiguousarray(X[..., 0] if grey else np.moveaxis(X, -1, 1)), remarks


def _padded(pixels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Scale an image to fit a height and a width, and pad it with white."""
    deep = pixels.dtype != np.uint8
    image = Image.fromarray(pixels[..., 0] if deep else pixels)
    white = 1.0 if deep else _WHITE
    scale = min(shape[1] / image.width, shape[0] / image.height)
    if scale * min(image.size) < 1:  # a line, which Pillow would scale to nothing
        image = image.resize([max(1, round(scale * side)) for side in image.size])
    image = ImageOps.pad(image, shape[::-1], Image.Resampling.LANCZOS, color=white)  # type: ignore[arg-type]
    scaled = np.asarray(image)
    return np.clip(scaled, 0, 1)[..., None] if deep else scaled  # the filter overshoots


def _pages_of(file: Path, notes: list[str]) -> list[_Page]:
    """Return the images of a file; note the previews, reduced copies and masks that are left out.

    Height and width are those after the rotation that the EXIF data demand.
    """
    pages, n_pixels = [], 0
    with _open_image(file) as image:
        n_pages = getattr(image, "n_frames", 1)
        for number in range(1 if image.format == "MPO" else n_pages):  # the others are previews
            n_pixels += image.width * image.height
            check_memory("its pages", n_pixels, file.stat().st_size)
            image.seek(number)
            _check_pixels(image, file)
            if image.format == "PNG":
                image.load()  # EXIF data may be at the end
            check_exif(image)
            kind = image.tag_v2.get(_KIND, 0) if image.format == "TIFF" else 0  # type: ignore[attr-defined]
            if kind & _REDUCED_OR_MASK and n_pages > 1:
                continue
            turned = image.getexif().get(0x0112, 1) != 1
            width, height = ImageOps.exif_transpose(image).size if turned else image.size
            pages.append(_Page(number, (height, width), _is_deep(image)))
    if len(pages) < n_pages:
        left_out = n_pages - len(pages)
        notes.append(f"left out previews, reduced copies or masks in {file.name}: {left_out}")
    if not pages:
        raise ValueError(f"{file}: expected an image, got reduced copies or masks; remove it.")
    return pages


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith(("I", "F"))


@contextmanager
def _open_image(file: Path) -> Iterator[Image.Image]:
    """Open an image; every error names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # A stream: Pillow garbles rotated TIFF files that it memory-maps by name.
            with file.open("rb") as stream:
                check_parts(stream)
                with Image.open(stream, formats=_DECODERS) as image:
                    _check_pixels(image, file)
                    check_exif(image)
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


def _check_pixels(image: Image.Image, file: Path) -> None:
    """Raise an error if a page has more pixels than Pillow or the size of its file allows."""
    n_pixels = image.width * image.height
    if Image.MAX_IMAGE_PIXELS is not None and n_pixels > Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError
    check_memory("image", n_pixels * _PIXEL_BYTES, file.stat().st_size)


def _decode(image: Image.Image, page: _Page) -> tuple[np.ndarray, list[str]]:
    """Return the pixels of a page, with three colours or one, and remarks on what is not kept."""
    image.seek(page.number)
    remarks = _losses(image)
    white_is_zero = image.format == "TIFF" and image.tag_v2.get(_MEANING) == 0  # type: ignore[attr-defined]
    image = ImageOps.exif_transpose(image)
    if page.deep:
        pixels = _from_deep(image, remarks)  # Pillow inverts only those of 8 bits
        return 1 - pixels if white_is_zero else pixels, [*remarks, _DEEP_NOTE]
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if np.asarray(image)[..., 3].min() < 255:
            remarks.append(_WHITE_NOTE)
        image = Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image)
    elif image.mode not in _PLAIN_MODES:
        remarks.append(_MODE_NOTE % image.mode)
    return np.asarray(image.convert("RGB")), remarks


def _losses(image: Image.Image) -> list[str]:
    """Return remarks on what Pillow does not read: bits of colours, and bands."""
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        cut = max(tags.get(_BITS, (1,))) > 8 and not _is_deep(image)
        left_out = tags.get(_BANDS, 1) > len(image.getbands())
        return [_CUT_NOTE] * cut + [_BANDS_NOTE] * left_out
    tiles = getattr(image, "tile", ())
    cut = any(";16" in str(tile[3]) for tile in tiles) and not _is_deep(image)
    return [_CUT_NOTE] * (cut and image.format == "PNG")


def _from_deep(image: Image.Image, remarks: list[str]) -> np.ndarray:
    """Return grey pixels of 16 bits, whole numbers or floats as float32 in [0, 1], (h, w, 1).

    The range of whole numbers is not known: those of 16 bits are taken, others refused.
    """
    values = np.array(image)
    most = 1 if values.dtype.kind == "f" else _DEEP
    if not (values.min() >= 0 and values.max() <= most):  # also for NaN
        raise ValueError(
            f"its pixels run from {values.min():g} to {values.max():g}, but must be within 0 to "
            f"{most}; rescale them, or save the arrays as .npy"
        )
    values = (values / most).astype(np.float32)
    if (clear := image.info.get("transparency")) is not None:  # the grey that means transparent
        transparent = values == np.float32(clear / most)
        values[transparent] = 1
        remarks += [_WHITE_NOTE] * bool(transparent.any())
    return values[..., None]
