"""Inference in batches of a fixed size, so that no result depends on the other rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch.nn.functional import linear, pad
from torch.overrides import TorchFunctionMode

__all__ = ["apply_in_batches", "as_tensor", "float_type", "inference_batch_size", "row_noise"]

Array = NDArray[Any]
ALIGNMENT = 4  # float32 values per 16 bytes, the unit in which kernels traverse a row
MIN_ROWS = 8
# The batch is the largest of these: at most so many rows, which hold at most so many numbers.
DENSE = (32, 2**22), (512, 2**21), (1024, 2**17)
CONVOLUTIONAL = (32, 2**20), (512, 2**17)
PRODUCTS = linear, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__


def float_type(X: Array) -> np.dtype[Any]:
    """Return the float type of results for X: that of X itself, or float32."""
    return X.dtype if X.dtype.kind == "f" else np.dtype(np.float32)


def inference_batch_size(n_numbers: int, convolutional: bool = False) -> int:
    """Return the number of rows per batch, a power of two that is constant for a model.

    `n_numbers` is the number of values in one row, times the number of draws decoded per row.
    Kernels differ in the last bits between batch sizes, so batches of one size, padded if
    necessary, give a row the same result regardless of the other rows. The size is a power of two
    because reductions over a partly filled vector sum in another order.

    Dense layers profit from many rows, which reuse their weights. Convolutions reuse their weights
    within a row, and take twice the time once their activations exceed the processor's cache.

    Examples
    --------
    >>> inference_batch_size(64), inference_batch_size(784), inference_batch_size(12_288)
    (1024, 512, 128)
    >>> [inference_batch_size(n, convolutional=True) for n in (64, 784, 12_288)]
    [512, 128, 32]
    """
    sizes = CONVOLUTIONAL if convolutional else DENSE
    rows = max(MIN_ROWS, *(min(most, numbers // n_numbers) for most, numbers in sizes))
    return 2 ** (rows.bit_length() - 1)


def apply_in_batches(
    function: Callable[..., tuple[torch.Tensor, ...]],
    batch_size: int,
    X: Array,
    c: Array | None,
    prepare: Callable[[Array], Array],
) -> tuple[Array, ...]:
    """Apply a function to batches of X and its condition c, padded with zeros to one size.

    The function takes two tensors, the second of which may be None, and returns tensors
    (batch, ...). `prepare` is applied to each batch of X, so that only one is copied at a time.
    """
    outputs: list[Array] = []
    with torch.inference_mode(), _RowIndependentProducts():
        for start in range(0, len(X), batch_size):
            rows = slice(start, start + batch_size)
            x = _padded(prepare(X[rows]), batch_size)
            results = function(x, None if c is None else _padded(c[rows], batch_size))
            arrays = [_as_array(t[: len(X) - start]) for t in results]
            outputs = outputs or [np.empty((len(X), *a.shape[1:]), a.dtype) for a in arrays]
            for output, array in zip(outputs, arrays, strict=True):
                output[rows] = array
    return tuple(outputs)


class _RowIndependentProducts(TorchFunctionMode):
    """Make matrix products sum every row in the same order, at every position in the batch.

    MKL sums a row of a product with few columns from the first address divisible by 16, so the last
    bits of a row whose length is not a multiple of four floats would depend on its position: pad
    such rows with zeros. The memory layout of the matrix matters too: use that of linear layers.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Replace products with a matrix on the CPU; leave everything else alone."""
        with_matrix = func in PRODUCTS and len(args) > 1 and args[1].ndim == 2
        if not with_matrix or args[0].device.type != "cpu":
            return func(*args, **(kwargs or {}))
        rows, matrix, *bias = args
        weight = matrix if func is linear else matrix.mT.contiguous()
        if gap := -rows.shape[-1] % ALIGNMENT:
            rows, weight = pad(rows, (0, gap)), pad(weight, (0, gap))
        return linear(rows, weight, *bias, **(kwargs or {}))


def _as_array(t: torch.Tensor) -> Array:
    # An enclosing autocast may produce half precision, which NumPy lacks.
    return (t.float() if t.dtype in (torch.bfloat16, torch.float16) else t).cpu().numpy()


def _padded(a: Array, rows: int) -> torch.Tensor:
    if len(a) < rows:
        a = np.concatenate([a, np.zeros((rows - len(a), *a.shape[1:]), a.dtype)])
    return as_tensor(a)


def row_noise(x: Array, samples: int, n_components: int) -> Array:
    """Return float32 standard normal noise (samples, n, n_components) for rows x (n, *features).

    The noise depends only on the content of a row, because a score estimated from samples must give
    a row the same value in every call and batch. Noise shared by all rows would too, but its error
    would not average out over them.
    """
    bits = (x.reshape(len(x), -1).astype(np.float32) + 0.0).view(np.uint32)  # -0.0 becomes 0.0
    odd = np.random.default_rng(0).integers(2**63, size=bits.shape[1], dtype=np.uint64) * 2 + 1
    key = np.einsum("ij,j->i", bits.astype(np.uint64), odd)  # (n,), modulo 2**64
    counter = np.arange(1, samples * n_components + 1, dtype=np.uint64)
    state = _mix(_mix(key)[:, None] + counter * np.uint64(0x9E3779B97F4A7C15))
    uniform = ((state >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    normal = ndtri(uniform).astype(np.float32).reshape(len(x), samples, n_components)
    return np.ascontiguousarray(normal.transpose(1, 0, 2))


def as_tensor(a: Array) -> torch.Tensor:
    """Return an array as a tensor, sharing its memory if torch supports the layout.

    Examples
    --------
    >>> as_tensor(np.zeros((2, 1), np.float32)[:, ::-1]).shape
    torch.Size([2, 1])
    """
    a = np.require(a, requirements=["C", "W"])
    # Axes of length one may keep negative strides, which torch rejects.
    return torch.from_numpy(a.reshape(-1).reshape(a.shape))


def _mix(v: Array) -> Array:
    """Scramble 64 bits with the finaliser of SplitMix64 (Steele, Lea, Flood, 2014)."""
    v = (v ^ (v >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    v = (v ^ (v >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return v ^ (v >> np.uint64(31))
