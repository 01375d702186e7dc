"""Where arrays come in and go out: what is read, how it is scaled, how rows are chunked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from sklearn.utils.validation import (
    _check_feature_names,
    _check_n_features,
    check_array,
    validate_data,
)
from torch.nn.functional import linear, pad
from torch.overrides import TorchFunctionMode

from isthmus.data.columns import Columns, Table, is_frame

__all__ = [
    "Scaler",
    "as_array",
    "check_finite",
    "chunk_rows",
    "filled",
    "float_type",
    "in_chunks",
    "learn_columns",
    "read",
    "row_noise",
]

Array = NDArray[Any]
PIECE = 2**18  # numbers looked at in one go: as float64 they stay in a processor's cache
ALIGNED = 4  # numbers by which kernels go through a row: 16 bytes
FEWEST = 8  # rows of a chunk; else the largest of these: so many rows, of so many numbers at most
DENSE = (32, 2**22), (512, 2**21), (1024, 2**17)
CONVOLUTIONAL = (32, 2**20), (512, 2**17)
PRODUCTS = linear, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__


def read(estimator: Any, X: Any, *, reset: bool, missing: bool = False) -> Array:
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
    return read(estimator, X, reset=False, missing=True) if frame else np.asarray(X)


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
    for piece in pieces(X):
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


def filled(X: Array) -> Array:
    """Return X with each NaN replaced by a value that the same feature has elsewhere.

    For looking at data as a whole: its range, its categories, whether a likelihood allows it.
    """
    gaps = np.isnan(X) if X.dtype.kind == "f" else np.zeros(0, bool)
    if not gaps.any():
        return X
    first = np.take_along_axis(X, gaps.argmin(0, keepdims=True), 0)
    return np.where(gaps, np.nan_to_num(first), X)


@dataclass(frozen=True)
class Scaler:
    """(x - shift) / scale, held in float64 so that large offsets lose nothing.

    Parameters
    ----------
    shift, scale : ndarray
        One number each, or one for each feature.
    """

    shift: Array
    scale: Array

    @classmethod
    def fit(cls, X: Array, how: str) -> Scaler:
        """Learn shift and scale: for each feature ("standard"), for all ("global"), or none."""
        if how == "none":
            return cls(np.zeros(()), np.ones(()))
        axis = 0 if how == "standard" else None
        chunks = [*pieces(X)]
        n = np.maximum(1, sum(np.sum(~np.isnan(units(X[s])), axis) for s in chunks))
        # In units of a power of two, which changes no digit and lets no square overflow or vanish.
        peak = np.max([np.fmax.reduce(np.abs(units(X[s])), axis, initial=0.0) for s in chunks], 0)
        unit = np.ldexp(0.5, np.frexp(peak)[1])
        shift = sum(np.nansum(units(X[s]) / unit, axis) for s in chunks) / n
        square = sum(np.nansum((units(X[s]) / unit - shift) ** 2, axis) for s in chunks) / n
        shift, scale = shift * unit, np.sqrt(square) * unit
        # A column that varies by rounding alone is constant.
        constant = scale <= 10 * np.finfo(np.float64).eps * np.abs(shift)
        return cls(np.asarray(shift), np.where(constant, 1.0, scale))

    def only(self, real: list[bool]) -> Scaler:
        """Return a scaler that leaves the columns alone that are not real numbers."""
        if len(real) == 1 or self.identity:
            return self
        return Scaler(np.where(real, self.shift, 0.0), np.where(real, self.scale, 1.0))

    @property
    def identity(self) -> bool:
        """Whether nothing is changed."""
        return self.shift.ndim == 0 and self.shift == 0 and self.scale == 1

    @property
    def log_unit(self) -> torch.Tensor | None:
        """Logarithm of the scale, or None where there is none."""
        return None if self.identity else torch.tensor(np.log(self.scale), dtype=torch.float32)

    def to_model(self, X: Array) -> Array:
        """Return float32 as the model sees it; bytes untouched where they may be."""
        if self.identity:
            return X if X.dtype == np.uint8 else as_float32(X)
        out = np.empty(X.shape, np.float32)
        for piece in pieces(X):
            part = units(X[piece])
            part -= self.shift
            part /= self.scale
            out[piece] = part
        return out

    def from_model(self, X: Array) -> Array:
        """Return what the model made in the units of the data."""
        if self.identity:
            return X
        out = X.astype(np.float64)
        out *= self.scale
        out += self.shift
        return out


def units(X: Array) -> Array:
    """Return float64, bytes as [0, 1]."""
    out = X.astype(np.float64)
    if X.dtype == np.uint8:
        out /= 255
    return out


def pieces(X: Array) -> Iterator[slice]:
    """Yield which rows to look at in one go.

    Examples
    --------
    >>> [*pieces(np.zeros((5, 2**17)))]
    [slice(0, 2, None), slice(2, 4, None), slice(4, 6, None)]
    """
    rows = max(1, PIECE // max(1, int(np.prod(X.shape[1:]))))
    return (slice(start, start + rows) for start in range(0, len(X), rows))


def as_float32(X: Array) -> Array:
    """Return float32: X itself where it is."""
    return X.astype(np.float32, copy=False)


def float_type(X: Array) -> np.dtype[Any]:
    """Return the float type in which to answer: that of X, or float32."""
    return X.dtype if X.dtype.kind == "f" else np.dtype(np.float32)


def chunk_rows(n_numbers: int, convolutional: bool = False) -> int:
    """Return the rows of one chunk, a power of two: always the same for one model.

    Kernels differ in the last bits between batch sizes; chunks of one size, padded, give each
    row the same answer in whatever company it comes. What sums over draws of a code goes through
    the rows by vectors, and sums those that fill none in another order: there may be no rest.

    Dense layers want many rows, in which to use their weights again. Convolutions use theirs in
    every row, and hold much more than the row itself: where that leaves the processor's cache
    they take twice the time.

    Parameters
    ----------
    n_numbers : int
        In one row, or in all that a row is decoded to.
    convolutional : bool

    Examples
    --------
    >>> chunk_rows(64), chunk_rows(784), chunk_rows(12_288)
    (1024, 512, 128)
    >>> chunk_rows(64, True), chunk_rows(784, True), chunk_rows(12_288, True)
    (512, 128, 32)
    """
    sizes = CONVOLUTIONAL if convolutional else DENSE
    rows = max(FEWEST, *(min(most, numbers // n_numbers) for most, numbers in sizes))
    return 2 ** (rows.bit_length() - 1)


def in_chunks(
    f: Callable[..., tuple[torch.Tensor, ...]],
    rows: int,
    X: Array,
    c: Array | None,
    prepare: Callable[[Array], Array],
) -> tuple[Array, ...]:
    """Apply f to chunks of X and its context, padded with zeros to a fixed number of rows.

    Parameters
    ----------
    f : callable
        Takes the two tensors (the second may be None), returns tensors with rows first.
    rows : int
    X : ndarray (n, ...)
    c : ndarray (n, ...), optional
    prepare : callable
        Applied to each chunk of X, so that no copy of all of it is made.

    Returns
    -------
    tuple of ndarray (n, ...)
    """
    outputs: list[list[Array]] = []
    with torch.inference_mode(), _RowsAlike():
        for start in range(0, len(X), rows):
            piece = slice(start, start + rows)
            x = _padded(prepare(X[piece]), rows)
            taken = len(X[piece])
            results = f(x, None if c is None else _padded(c[piece], rows))
            outputs.append([_as_array(t[:taken]) for t in results])
    return tuple(np.concatenate(parts) for parts in zip(*outputs, strict=True))


class _RowsAlike(TorchFunctionMode):
    """Let matrix products compute every row in the same order, wherever in the chunk it stands.

    MKL sums a row of a product with few columns from the first address divisible by 16 on, and
    rows whose length is no multiple of four floats begin at different ones: the last bits of a
    row would depend on its place. Zeros fill such rows up. Of a matrix held by rows the columns
    matter too: all are turned to the order in which linear layers hold their weights.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Fill up the rows of linear layers and of products with a matrix; let all else be."""
        of_matrix = func in PRODUCTS and len(args) > 1 and args[1].ndim == 2
        if not of_matrix or args[0].device.type != "cpu":
            return func(*args, **(kwargs or {}))
        rows, matrix, *bias = args
        weight = matrix if func is linear else matrix.mT.contiguous()
        if gap := -rows.shape[-1] % ALIGNED:
            rows, weight = pad(rows, (0, gap)), pad(weight, (0, gap))
        return linear(rows, weight, *bias, **(kwargs or {}))


def _as_array(t: torch.Tensor) -> Array:
    """Return an array, float32 for the half precisions of an `autocast` around."""
    return (t.float() if t.dtype in (torch.bfloat16, torch.float16) else t).cpu().numpy()


def _padded(a: Array, rows: int) -> torch.Tensor:
    if len(a) < rows:
        a = np.concatenate([a, np.zeros((rows - len(a), *a.shape[1:]), a.dtype)])
    return as_tensor(a)


def as_tensor(a: Array) -> torch.Tensor:
    """Return an array as a tensor, of the same memory where torch can take it.

    Examples
    --------
    >>> as_tensor(np.zeros((2, 1), np.float32)[:, ::-1]).shape
    torch.Size([2, 1])
    """
    a = np.require(a, requirements=["C", "W"])
    # Axes of length one may have strides of any sign, which torch does not take.
    return torch.from_numpy(a.reshape(-1).reshape(a.shape))


def row_noise(x: Array, samples: int, n_components: int) -> Array:
    """Return standard normal noise that depends on a row's content alone.

    A score that samples must give a row the same value at every call, in any order and any
    batch; noise shared by all rows would do, but its error would not average out over them.

    Parameters
    ----------
    x : ndarray (n, *features)
    samples, n_components : int

    Returns
    -------
    ndarray of float32, (samples, n, n_components)
    """
    bits = (x.reshape(len(x), -1).astype(np.float32) + 0.0).view(np.uint32)  # -0.0 is 0.0
    odd = np.random.default_rng(0).integers(2**63, size=bits.shape[1], dtype=np.uint64) * 2 + 1
    key = (bits.astype(np.uint64) * odd).sum(1)  # (n,), modulo 2**64
    counter = np.arange(1, samples * n_components + 1, dtype=np.uint64)
    state = _mix(_mix(key)[:, None] + counter * np.uint64(0x9E3779B97F4A7C15))
    uniform = ((state >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    normal = ndtri(uniform).astype(np.float32).reshape(len(x), samples, n_components)
    return np.ascontiguousarray(normal.transpose(1, 0, 2))


def _mix(v: Array) -> Array:
    """Scramble 64 bits (the finaliser of SplitMix64; Steele, Lea, Flood, 2014)."""
    v = (v ^ (v >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    v = (v ^ (v >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return v ^ (v >> np.uint64(31))
