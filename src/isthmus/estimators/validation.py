"""Where arrays come in and go out: what is read, how it is scaled, how rows are chunked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import (
    _check_feature_names,
    _check_n_features,
    check_array,
    validate_data,
)

from isthmus.data.columns import Columns, Table, is_frame
from isthmus.estimators.scaling import row_slices

__all__ = [
    "as_array",
    "check_finite",
    "fill_missing",
    "learn_columns",
    "validate_input",
]

Array = NDArray[Any]


def validate_input(estimator: Any, X: Any, *, reset: bool, missing: bool = False) -> Array:
    """Check X and return it as an array (n, *features), of floats or bytes.

    Two-dimensional input goes through scikit-learn's `validate_data`; arrays with more axes
    keep their shape. With `reset` the shape is learned, else it must be the one of training;
    flat rows of the right length take that shape. NaN may be `missing` values. Of a data frame
    or a `Table` the columns are learned as well, as `columns_`.

    Raises
    ------
    ValueError
        Wrong shape, not numbers, NaN or infinity (says where), too few rows.
    """
    if isinstance(X, list | tuple) and len(X) and getattr(X[0], "ndim", 1) > 1:
        X = np.stack(X)
    _check_several(estimator, X, reset=reset)
    columns = learn_columns(X) if reset else getattr(estimator, "columns_", None)
    if reset:
        estimator.columns_ = columns
    if columns is not None and (columns.mixed or not is_frame(X)):
        X = _read_columns(estimator, X, columns, reset=reset)
        shape = (X.shape[1],)
    elif getattr(X, "ndim", 2) > 2:
        X = np.asarray(X)
        shape = tuple(X.shape[1:])
        _check_stack(estimator, X, reset=reset)
    else:
        X = validate_data(
            estimator,
            X.X if isinstance(X, Table) else X,
            reset=reset,
            dtype="numeric",
            ensure_all_finite=False,
            ensure_min_samples=2 if reset else 1,
        )
        shape = (X.shape[1],) if reset else estimator.feature_shape_
    X = X if X.dtype == np.uint8 or X.dtype.kind == "f" else X.astype(np.float64)
    X = X.astype(X.dtype.newbyteorder("="), copy=False)
    names = getattr(estimator, "feature_names_in_", None)
    check_finite(X, names, missing)
    if reset:
        estimator.feature_shape_ = shape
    return X.reshape(len(X), *shape)


def as_array(estimator: Any, X: Any) -> Array:
    """Return X as an array: of a data frame the numbers that a fitted model takes it for."""
    frame = is_frame(X) or isinstance(X, Table)
    return validate_input(estimator, X, reset=False, missing=True) if frame else np.asarray(X)


def learn_columns(X: Any) -> Columns | None:
    """Return the columns of a table or a data frame, None of anything else.

    Columns of numbers of which two have one name are learned as an array: no frame could be made.
    """
    if not (isinstance(X, Table) or is_frame(X)):
        return None
    columns = X.columns if isinstance(X, Table) else Columns.learn(X)
    return columns if len({*columns.names}) == len(columns.names) else None


def _read_columns(estimator: Any, X: Any, columns: Columns, *, reset: bool) -> Array:
    """Return the numbers of a table or frame with these columns, or of an array of them."""
    if reset:
        _check_two(estimator, X)
    if isinstance(X, Table):
        columns.check_names(X.columns.names)
        X = X.X
    elif is_frame(X):
        X = columns.to_numbers(X)
    if reset:
        estimator.n_features_in_ = X.shape[1]
        estimator.feature_names_in_ = np.array([str(name) for name in columns.names], object)
        return X
    X = check_array(X, ensure_all_finite=False)
    _check_n_features(estimator, X, reset=False)
    return X


def _check_two(estimator: Any, X: Any) -> None:
    if len(X) < 2:
        name = type(estimator).__name__
        raise ValueError(f"{name} needs at least 2 rows to learn from, X has {len(X)} sample.")


def _check_several(estimator: Any, X: Any, *, reset: bool) -> None:
    """Raise a ValueError where one example was given, such as a picture, instead of several."""
    if not reset and getattr(X, "shape", None) == estimator.feature_shape_ and np.ndim(X) > 1:
        raise ValueError(
            f"X has the shape {estimator.feature_shape_} of one example; give X[None], an array of "
            "one."
        )


def _check_stack(estimator: Any, X: Array, *, reset: bool) -> None:
    name = type(estimator).__name__
    if X.dtype.kind not in "biuf":
        raise ValueError(f"X must hold numbers, got an array of {X.dtype}.")
    if X.size == 0:
        raise ValueError(f"X is empty: its shape is {X.shape}.")
    if reset:
        _check_two(estimator, X)
        _check_feature_names(estimator, X, reset=True)
        estimator.n_features_in_ = int(np.prod(X.shape[1:]))
    elif X.shape[1:] != estimator.feature_shape_:
        raise ValueError(
            f"one example of X has shape {X.shape[1:]}, but {name} was fitted on examples of "
            f"shape {estimator.feature_shape_}."
        )


def check_finite(
    X: Array,
    names: Sequence[str] | Array | None = None,
    missing: bool = False,
    numbers: Array | None = None,
) -> None:
    """Raise a ValueError that says where the first NaN or infinity is; NaN may be `missing`.

    Rows may have `numbers` by which whoever reads the message knows them.
    """
    if X.dtype == np.uint8:
        return
    for piece in row_slices(X):
        part = X[piece]
        finite = ~np.isinf(part) if missing else np.isfinite(part)
        if not finite.all():
            row, *place = np.argwhere(~finite)[0].tolist()
            where: Any = place[0] if len(place) == 1 else tuple(place)
            label = (
                f" ({str(names[int(where)])!r})" if names is not None and len(place) == 1 else ""
            )
            row += piece.start
            number = row if numbers is None else numbers[row]
            value = "NaN" if np.isnan(X[(row, *place)]) else "infinity"
            advice = (
                " first, or learn around them: missing='ignore' (--missing ignore)."
                if value == "NaN"
                else " first."
            )
            raise ValueError(
                f"Input X contains {value}: the first at row {number}, feature "
                f"{where}{label}. Fill or drop missing values (NaN, inf){advice}"
            )


def fill_missing(X: Array) -> Array:
    """Return X with each NaN replaced by a value that the same feature has elsewhere.

    For looking at data as a whole: its range, its categories, whether a likelihood allows it.
    """
    gaps = np.isnan(X) if X.dtype.kind == "f" else np.zeros(0, bool)
    if not gaps.any():
        return X
    first = np.take_along_axis(X, gaps.argmin(0, keepdims=True), 0)
    return np.where(gaps, np.nan_to_num(first), X)
