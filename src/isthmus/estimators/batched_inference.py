"""Inference in batches of a fixed size, so that no answer depends on the rows around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch.nn.functional import linear, pad
from torch.overrides import TorchFunctionMode

__all__ = ["apply_in_batches", "float_type", "inference_batch_size", "row_noise"]

Array = NDArray[Any]
ALIGNED = 4  # numbers by which kernels go through a row: 16 bytes
FEWEST = 8  # rows of a chunk; else the largest of these: so many rows, of so many numbers at most
DENSE = (32, 2**22), (512, 2**21), (1024, 2**17)
CONVOLUTIONAL = (32, 2**20), (512, 2**17)
PRODUCTS = linear, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__


def float_type(X: Array) -> np.dtype[Any]:
    """Return the float type in which to answer: that of X, or float32."""
    return X.dtype if X.dtype.kind == "f" else np.dtype(np.float32)


def inference_batch_size(n_numbers: int, convolutional: bool = False) -> int:
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
    >>> inference_batch_size(64), inference_batch_size(784), inference_batch_size(12_288)
    (1024, 512, 128)
    >>> [inference_batch_size(n, convolutional=True) for n in (64, 784, 12_288)]
    [512, 128, 32]
    """
    sizes = CONVOLUTIONAL if convolutional else DENSE
    rows = max(FEWEST, *(min(most, numbers // n_numbers) for most, numbers in sizes))
    return 2 ** (rows.bit_length() - 1)


def apply_in_batches(
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


def _mix(v: Array) -> Array:
    """Scramble 64 bits (the finaliser of SplitMix64; Steele, Lea, Flood, 2014)."""
    v = (v ^ (v >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    v = (v ^ (v >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return v ^ (v >> np.uint64(31))
