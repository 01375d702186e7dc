"""Validation of input arrays, tables and data frames, done once before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context, get_config
from sklearn.utils.validation import (
    _check_feature_names,
    _check_n_features,
    check_array,
    validate_data,
)

from isthmus._messages import RowError
from isthmus.data.column import check_no_times
from isthmus.data.columns import Columns, Table
from isthmus.data.frames import dtype_names, is_frame
from isthmus.data.input_types import check_times, has_masked_bytes, read_input
from isthmus.data.layout import channels_first, channels_last
from isthmus.data.sparse_rows import SparseRows
from isthmus.distributions.mixed import make_likelihood, split_names
from isthmus.estimators.scaling import LIMITS, row_slices

__all__ = [
    "ANY_FINITE",
    "ANY_NUMBER",
    "RowError",
    "UnknownCategoriesMixin",
    "as_array",
    "check_finite",
    "check_held_out",
    "check_results",
    "count_rows_from",
    "fill_missing",
    "find_empty",
    "in_fitted_order",
    "in_layout",
    "validate_input",
    "validate_sparse",
    "with_missing_bytes",
]

Array = NDArray[Any]
Limits = tuple[Any, Any]
ANY_FINITE = (-np.finfo(np.float64).max, np.finfo(np.float64).max)
ANY_NUMBER = (-np.inf, np.inf)


@contextmanager
def count_rows_from(start: int) -> Iterator[None]:
    """Count the rows of a `RowError` from `start`, for a part of a larger array."""
    try:
        yield
    except RowError as error:
        row, rows = error.row + start, error.rows + start
        raise RowError(row, error.before, error.after, rows) from None


class UnknownCategoriesMixin:
    """An estimator with the parameter `handle_unknown`, which takes effect without a new fit."""

    handle_unknown: str

    def set_params(self, **params: Any) -> Self:
        """Set parameters; `handle_unknown` also applies to the columns of a fitted estimator."""
        super().set_params(**params)  # type: ignore[misc]
        if "handle_unknown" in params:
            self.apply_handle_unknown()
        return self

    def apply_handle_unknown(self) -> None:
        """Let the columns that were learned treat unknown categories as the parameter states."""
        columns = getattr(self, "columns_", None)
        if columns is not None:
            self.columns_ = columns.handling(self.handle_unknown)


def validate_input(
    estimator: Any,
    X: Any,
    *,
    reset: bool,
    missing: bool = False,
    numbers: Array | None = None,
    limits: Limits | None = None,
    settings: Any = None,
    keep_unknown: bool = False,
) -> Array:
    """Check X and return it as an array (n, *features) of floats or bytes.

    Parameters
    ----------
    estimator : object
        Gets `feature_shape_`, `n_features_in_`, `feature_names_in_` and `columns_` if `reset`.
    X : object
        Any kind of input that `read_input` takes.
    reset : bool
        Learn the shape and the columns; otherwise X must match those that were learned. Flat rows
        of the right length are reshaped, and images with their channels on the other side are
        transposed.
    missing : bool
        Allow NaN as missing values.
    numbers : ndarray (n,), optional
        Row numbers for error messages, if X is a part of a larger array.
    limits : pair of array-like, optional
        Least and greatest value; by default those that the fitted model can compute with.
    settings : Spec, optional
        The model whose `likelihood` applies; by default the estimator.
    keep_unknown : bool
        Keep the number of unknown categories that are flagged; otherwise they become missing.

    Raises
    ------
    ValueError
        If X has the wrong shape or type, too few rows, or a NaN or infinity at the place named.
    RowError
        If a value overflows float32, now or after scaling.
    """
    settings = estimator if settings is None else settings
    X = with_missing_bytes(read_input(X), settings, reset=reset)
    if not reset and getattr(X, "shape", None) == estimator.feature_shape_ and np.ndim(X) > 1:
        raise ValueError(
            f"X has the shape of one example, {estimator.feature_shape_}: pass X[None], an array "
            "that holds one example."
        )
    columns = _learn_columns(X, settings) if reset else getattr(estimator, "columns_", None)
    if reset:
        estimator.columns_ = columns
    if columns is not None and (columns.mixed or not is_frame(X)):
        X = _validate_columns(estimator, X, columns, reset=reset)
        if not keep_unknown and (unknown := columns.find_unknown(X)).any():
            X = np.where(unknown, np.nan, X)
        shape = (X.shape[1],)
    elif getattr(X, "ndim", 2) > 2:
        X = np.asarray(X)
        X = X if reset or X.ndim != 4 else in_layout(X, estimator.feature_shape_)
        shape = tuple(X.shape[1:])
        _check_stack(estimator, X, reset=reset)
    else:
        table = is_frame(X)
        X = validate_data(
            estimator,
            _numeric_table(X, columns, reset=reset),
            reset=reset,
            dtype="numeric",
            ensure_all_finite=False,
            ensure_min_samples=2 if reset else 1,
        )
        check_times(X)
        X = X.astype(np.float64) if table and X.dtype.kind != "f" else X  # not pixels
        shape = (X.shape[1],) if reset else estimator.feature_shape_
    X = X if X.dtype == np.uint8 or X.dtype.kind == "f" else X.astype(np.float64)
    X = X.astype(X.dtype.newbyteorder("="), copy=False)
    X = X.reshape(len(X), *shape)
    if limits is None and not reset and hasattr(estimator, "scaler_"):
        limits = estimator.scaler_.limits
    check_finite(X, getattr(estimator, "feature_names_in_", None), missing, numbers, limits)
    if reset:
        estimator.feature_shape_ = shape
    return X


def validate_sparse(estimator: Any, X: Any, *, reset: bool, **options: Any) -> Any:
    """Do what `validate_input` does, but keep a large sparse matrix sparse.

    Its numbers are checked when rows become dense. `options` are those of `validate_input`.
    """
    X = read_input(X)
    if not (isinstance(X, SparseRows) and X.is_large):
        return validate_input(estimator, X, reset=reset, **options)
    validate_data(
        estimator,
        X.matrix,
        reset=reset,
        accept_sparse="csr",
        ensure_all_finite=False,
        ensure_min_samples=2 if reset else 1,
    )
    if reset:
        estimator.columns_, estimator.feature_shape_ = None, X.shape[1:]
    return X


def as_array(estimator: Any, X: Any) -> Array:
    """Return X as an array, with data frames encoded as for a fitted model; NaN is allowed."""
    X = read_input(X)
    table = is_frame(X) or isinstance(X, Table) or has_masked_bytes(X)
    return validate_input(estimator, X, reset=False, missing=True) if table else np.asarray(X)


def in_layout(X: Array, shape: tuple[int, ...]) -> Array:
    """Return images (..., *features) with their channels on the other side if that gives `shape`.

    Examples
    --------
    >>> in_layout(np.zeros((2, 8, 9, 3)), (3, 8, 9)).shape
    (2, 3, 8, 9)
    """
    if len(shape) == 3 <= X.ndim and X.shape[-3:] != shape:
        for moved in (channels_first(X, 3), channels_last(X, 3)):
            if moved.shape[-3:] == shape:
                return moved
    return X


def with_missing_bytes(X: Any, settings: Any, *, reset: bool) -> Any:
    """Return masked bytes as floats with NaN, in [0, 1] unless the likelihood is of integers."""
    if not has_masked_bytes(X):
        return X
    name = getattr(settings, "likelihood" if reset else "likelihood_", "auto")
    parts = [make_likelihood(each, (1,)) for each in split_names(name) if each != "auto"]
    unit = 1 if any(part.integer for part in parts) else 255
    return (X.astype(np.float32) / unit).filled(np.nan)


def _learn_columns(X: Any, settings: Any) -> Columns | None:
    """Return the columns of a table or data frame; None for arrays and duplicate names."""
    if not (isinstance(X, Table) or is_frame(X)):
        return None
    columns = X.columns if isinstance(X, Table) else Columns.learn(X)
    if len({*columns.names}) < len(columns.names):
        return None
    return columns.with_likelihoods(getattr(settings, "likelihood", "auto"))


def _numeric_table(X: Any, columns: Columns | None, *, reset: bool) -> Any:
    """Return rows of numbers, a data frame with its columns in the order of the fit."""
    if isinstance(X, Table):
        return X.X
    if is_frame(X):
        for name, dtype in dtype_names(X):
            check_no_times(name, dtype)
    return X if reset or columns is None else in_fitted_order(X, columns.names)


def in_fitted_order(X: Any, names: Sequence[Any]) -> Any:
    """Return a data frame with its columns in the order of `names`, if it has just these."""
    if not is_frame(X) or sorted(map(str, X.columns)) != sorted(map(str, names)):
        return X
    same = {*X.columns} == {*names}
    return X[[*names]] if same and [*X.columns] != [*names] else X


def _validate_columns(estimator: Any, X: Any, columns: Columns, *, reset: bool) -> Array:
    """Return the numbers of a table or data frame, or of an array with the same columns."""
    if reset:
        _check_two_rows(estimator, X)
    if isinstance(X, Table):
        X = X.X if X.columns == columns else columns.encode_raw(X.raw_columns)
    elif is_frame(X):
        X = columns.to_numbers(X)
    if reset:
        estimator.n_features_in_ = X.shape[1]
        estimator.feature_names_in_ = np.array([str(name) for name in columns.names], object)
        return X
    X = check_array(X, ensure_all_finite=False)
    _check_n_features(estimator, X, reset=False)
    return X


def _check_two_rows(estimator: Any, X: Any) -> None:
    if len(X) < 2:
        # scikit-learn's checks expect the words "1 sample".
        raise ValueError(
            f"{type(estimator).__name__} needs at least 2 rows to fit, X has {len(X)} sample."
        )


def _check_stack(estimator: Any, X: Array, *, reset: bool) -> None:
    if X.dtype.kind not in "biuf":
        raise ValueError(f"X must hold numbers, got an array of {X.dtype}.")
    if X.size == 0:
        raise ValueError(f"X is empty: its shape is {X.shape}.")
    if reset:
        _check_two_rows(estimator, X)
        _check_feature_names(estimator, X, reset=True)
        estimator.n_features_in_ = int(np.prod(X.shape[1:]))
    elif X.shape[1:] != estimator.feature_shape_:
        raise ValueError(
            f"examples in X have shape {X.shape[1:]}, but {type(estimator).__name__} was fitted on "
            f"examples of shape {estimator.feature_shape_}."
        )


def check_finite(
    X: Array,
    names: Sequence[str] | Array | None = None,
    missing: bool = False,
    numbers: Array | None = None,
    limits: Limits | None = None,
    what: str = "X",
) -> None:
    """Raise a ValueError that names the first NaN, infinity or overflow in X (n, *features).

    Nothing is checked under ``sklearn.config_context(assume_finite=True)``.

    Parameters
    ----------
    X : ndarray (n, *features)
    names : sequence of str, optional
        Names of the features.
    missing : bool
        Allow NaN.
    numbers : ndarray (n,), optional
        The row numbers to report, by default the position in X.
    limits : pair of array-like, optional
        Least and greatest value, by default of float32.
    what : str
        The name of X in messages.

    Raises
    ------
    ValueError
        For NaN.
    RowError
        For infinity, and for a value outside the limits.
    """
    if X.dtype == np.uint8 or get_config()["assume_finite"]:
        return
    low, high = LIMITS if limits is None else limits
    outside = partial(_outside, low=low, high=high, missing=missing)
    for rows in row_slices(X):
        part = X[rows]
        if not outside(part).any():
            continue
        finite = np.isfinite(part)
        bad = outside(part) & ~finite
        wrong = bad if bad.any() else outside(part)
        row, *place = np.argwhere(wrong)[0].tolist()
        value, row = part[(row, *place)], row + rows.start
        number = int(row if numbers is None else numbers[row])
        before, after = _not_finite(place, np.isnan(value), names)
        if np.isnan(part[bad]).any():
            raise ValueError(f"{before}{number}{after}")
        parts = [r.start + np.flatnonzero(_rows_of(outside(X[r]))) for r in row_slices(X)]
        all_rows = np.concatenate(parts) if numbers is None else numbers[np.concatenate(parts)]
        if bad.any():
            raise RowError(number, before, after, all_rows)
        cell = ", ".join(map(repr, place if names is None or len(place) > 1 else [names[place[0]]]))
        problem = "overflows float32"
        if abs(value) <= LIMITS[1]:
            problem = "is so far from the values seen during fit that float32 overflows"
        hint = "rescale the column or mark the value as missing" if what == "X" else "check it"
        after = f", {cell}] is {value:g}, which {problem}; {hint}."
        raise RowError(number, f"{what}[", after, all_rows)


def _outside(values: Array, low: Any, high: Any, missing: bool) -> NDArray[np.bool_]:
    inside: Any = (values >= low) & (values <= high)  # false for NaN
    outside: NDArray[np.bool_] = ~(inside | np.isnan(values)) if missing else ~inside
    return outside


def _rows_of(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(cells.reshape(len(cells), -1).any(1))


def _not_finite(place: list[int], nan: bool, names: Any) -> tuple[str, str]:
    """Return a message before and after the number of the row."""
    feature = place[0] if len(place) == 1 else tuple(place)
    label = "" if names is None or len(place) > 1 else f" ({str(names[place[0]])!r})"
    ignore = ", or fit with missing='ignore' (isthmus fit --missing ignore)" if nan else ""
    return (
        f"Input X contains {'NaN' if nan else 'infinity'}: the first at row ",
        f", feature {feature}{label}. Fill or drop missing values (NaN, inf) first{ignore}.",
    )


def check_held_out(
    estimator: Any, X: Any, condition: Any, numbers: Array | None, place: str
) -> None:
    """Raise a ValueError if a prepared estimator could not evaluate held-out rows.

    Parameters
    ----------
    estimator : LatentEstimator
    X, condition : array-like
        The rows and their labels, if any.
    numbers : ndarray (n,), optional
        Their row numbers in the data of the user.
    place : str
        What the message calls the rows.
    """
    try:
        with config_context(assume_finite=False):  # the scaled values were never checked
            estimator.check_input(X, condition, exact=True)
    except RowError as error:
        numbered = error if numbers is None else error.renumbered(numbers)
        raise ValueError(f"in {place}, {numbered}") from None
    except ValueError as error:
        raise ValueError(f"in {place}, {error}") from None


def check_results(results: Sequence[Array], what: str = "X") -> None:
    """Raise a `RowError` that names the first row with a NaN or infinity in results (n, ...)."""
    for result in results:
        # The sum of finite numbers is finite, unless it overflows.
        if np.isfinite(result.sum()) or np.isfinite(result).all():
            continue
        rows = np.flatnonzero(_rows_of(~np.isfinite(result)))
        after = (
            "] is so far from the rows seen during fit that float32 overflows; check its values."
        )
        raise RowError(int(rows[0]), f"{what}[", after, rows)


def find_empty(X: Any) -> NDArray[np.bool_]:
    """Return which rows of X (n, *features) hold no observed value, (n,).

    Large sparse matrices are not searched: their missing entries are 0.

    Examples
    --------
    >>> find_empty(np.array([[np.nan, 1.0], [np.nan, np.nan]]))
    array([False,  True])
    """
    if not isinstance(X, np.ndarray) or X.dtype.kind != "f":
        return np.zeros(len(X), bool)
    rows = X.reshape(len(X), math.prod(X.shape[1:]))
    empty: NDArray[np.bool_] = np.isnan(rows[:, 0])
    empty[empty] = np.isnan(rows[empty]).all(1)
    return empty


def fill_missing(X: Array) -> Array:
    """Replace each NaN by an observed value of the same feature, for checks of range and type."""
    gaps = np.isnan(X) if X.dtype.kind == "f" else np.zeros(0, bool)
    if not gaps.any():
        return X
    first = np.take_along_axis(X, gaps.argmin(0, keepdims=True), 0)
    return np.where(gaps, np.nan_to_num(first), X)
