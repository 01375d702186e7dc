"""The kinds of input that estimators take, converted to arrays and data frames in one place.

`read_input` is the first step of every method that takes rows. Arrays of NumPy, data frames of
pandas and polars, a `Table` and arrays on disk are returned as they are.
"""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Iterator, Mapping
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus._messages import times_error
from isthmus.data.frames import is_frame, library_of
from isthmus.data.sparse_rows import SparseRows, is_sparse

__all__ = ["check_times", "has_masked_bytes", "read_input", "read_labels", "split_mask"]

Array = NDArray[Any]
OTHER_COLOURS = ("CMYK", "YCbCr", "LAB", "HSV")  # conversion to RGB rounds
TIMES = (datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64)


def read_input(X: Any, name: str = "X") -> Any:
    """Return X as an array, a data frame, a `Table` or `SparseRows`.

    Parameters
    ----------
    X : object
        Tensors of any type and device, lists of tensors, arrays or Pillow images, tables of
        pyarrow and lazy frames of polars are converted; masked values become NaN.
    name : str
        What error messages call X.

    Raises
    ------
    ValueError
        If X is a loader, an iterator, a path, times or another kind that no conversion exists
        for; the message names the method or the function to use.

    Examples
    --------
    >>> import torch
    >>> read_input(torch.ones(1, 2, dtype=torch.bfloat16, requires_grad=True))
    array([[1., 1.]], dtype=float32)
    >>> read_input(np.ma.masked_equal([[1, 2]], 2))
    array([[ 1., nan]])
    """
    if is_sparse(X):
        return SparseRows.of(X)
    if isinstance(X, list | tuple):
        X = _stack(X, name)
    if type(X) is not np.ndarray and not is_frame(X):
        X = _convert(X, name)
    if isinstance(X, np.ma.MaskedArray):
        X = _with_nan(X)
    return _from_objects(X, name) if isinstance(X, np.ndarray) else X


def read_labels(y: Any) -> Array:
    """Return labels as an array: tensors of any type and device too, masked labels as NaN."""
    y = _from_tensor(y) if hasattr(y, "detach") else y
    return np.asarray(_with_nan(y) if isinstance(y, np.ma.MaskedArray) else y)


def split_mask(X: Any) -> tuple[Array, Array]:
    """Return the values and the mask of a masked array."""
    return X.data, np.ma.getmaskarray(X)


def has_masked_bytes(X: Any) -> bool:
    """Whether X is a masked array of bytes, for which `read_input` has no missing value."""
    return isinstance(X, np.ma.MaskedArray)


def _convert(X: Any, name: str) -> Any:
    """Convert what is neither an array nor a data frame."""
    library = library_of(X)
    if library == "torch" and hasattr(X, "detach"):
        return _from_tensor(X)
    if library == "polars" and hasattr(X, "collect"):
        return X.collect()
    if library == "pyarrow" and hasattr(X, "to_pandas") and hasattr(X, "schema"):
        return X.to_pandas()
    if library == "dask" and hasattr(X, "compute"):
        return read_input(X.compute(), name)
    if advice := _advice(X, library):
        raise ValueError(
            f"{name} must be an array or a table, got an object of type {type(X).__name__}: "
            f"{advice}"
        )
    return X


def _advice(X: Any, library: str) -> str | None:
    """Return what to do about input of a kind that cannot be converted."""
    if library == "torch" and hasattr(X, "batch_size") and hasattr(X, "dataset"):
        return (
            "train the model with its fit_loader(loader); other methods take one batch at a time."
        )
    if library in ("torch", "torchvision") and hasattr(X, "__getitem__"):
        return "wrap it in a torch.utils.data.DataLoader and call fit_loader(loader)."
    if library == "datasets":
        return "call fit_loader(isthmus.data.DatasetLoader(dataset, ...))."
    if library == "PIL":
        return "pass a list of images; a single one is [image]."
    if isinstance(X, str | PathLike):
        return "read the file with isthmus.data.load(path).X."
    if isinstance(X, Mapping):
        return "build a table, for example with pandas.DataFrame(X)."
    if isinstance(X, Iterator) or callable(X):
        return (
            "stack its rows to an array, or train the model with its fit_loader(function), where "
            "the function returns an iterator of batches."
        )
    return None


def _stack(X: Any, name: str) -> Any:
    """Stack a list of tensors, arrays or Pillow images; other lists stay as they are."""
    if not len(X):
        return X
    first = X[0]
    if hasattr(first, "getbands") and library_of(first) == "PIL":
        X = [_from_pillow(image) for image in X]
    elif hasattr(first, "detach"):
        X = [_from_tensor(each) for each in X]
    elif isinstance(first, Mapping | str):
        return _convert(first, f"{name}[0]") and X
    elif isinstance(first, list | tuple) and any(isinstance(value, TIMES) for value in first):
        raise ValueError(times_error(name, type(first[0]).__name__))
    elif getattr(first, "ndim", 0) < 1:
        return X
    masked = any(isinstance(each, np.ma.MaskedArray) for each in X)
    arrays = [each if masked else np.asarray(each) for each in X]
    shapes = [np.shape(each) for each in arrays]
    odd = next((i for i, shape in enumerate(shapes) if shape != shapes[0]), None)
    if odd is not None:
        raise ValueError(
            f"examples in {name} must have one shape, but {name}[0] has the shape {shapes[0]} and "
            f"{name}[{odd}] {shapes[odd]}: bring them to one size and "
            "one number of channels."
        )
    return np.ma.stack(arrays) if masked else np.stack(arrays)


def _from_pillow(image: Any) -> Array:
    """Return an image as an array; palettes and other colour spaces as RGB."""
    if image.mode in OTHER_COLOURS:
        warnings.warn(f"images in {image.mode} were converted to RGB.", UserWarning, stacklevel=2)
        image = image.convert("RGB")
    elif image.mode in ("P", "PA", "LA", "La", "RGBa", "RGBX"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    return np.asarray(image)


def _from_tensor(X: Any) -> Array:
    """Return a tensor of any type and device as an array; bfloat16 as float32, which is exact."""
    X = X.detach()
    X = X.to_dense() if X.layout != _strided() else X
    return (X.float() if str(X.dtype) == "torch.bfloat16" else X).numpy(force=True)


def _strided() -> Any:
    import torch

    return torch.strided


def _with_nan(X: Any) -> Any:
    """Return a masked array with NaN for masked values; masked bytes stay masked."""
    mask = np.ma.getmaskarray(X)
    if not mask.any():
        return X.data
    if X.dtype == np.uint8:  # what NaN stands for depends on the likelihood
        return X
    if X.dtype.kind not in "biuf":
        return X.astype(object).filled(np.nan)
    return X.astype(X.dtype if X.dtype.kind == "f" else np.float64).filled(np.nan)


def check_times(X: Array, name: str = "X") -> None:
    """Raise a ValueError if an array holds times."""
    if X.dtype.kind in "mM":
        raise ValueError(times_error(name, X.dtype))


def _from_objects(X: Any, name: str) -> Any:
    """Return an array of objects with NaN for pandas.NA; refuse times and records."""
    check_times(X, name)
    if X.dtype.names is not None:
        fields = ", ".join(X.dtype.names)
        raise ValueError(
            f"{name} is an array of records with the fields {fields}: pass "
            f"pandas.DataFrame({name})."
        )
    if X.dtype != object:
        return X
    for value in X.flat:
        if isinstance(value, TIMES):
            raise ValueError(times_error(name, type(value).__name__))
    missing = np.array([type(value).__name__ == "NAType" for value in X.flat], bool)
    return np.where(missing.reshape(X.shape), np.nan, X) if missing.any() else X
