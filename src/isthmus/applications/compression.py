"""Compress rows to quantised codes and decompress them."""

from __future__ import annotations

import io as streams
import json
import lzma
import zlib
from dataclasses import KW_ONLY, dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from isthmus._messages import one_line
from isthmus.applications.meta_estimator import (
    LatentMetaEstimator,
    check_choice,
    encode_in_chunks,
    model_digest,
)
from isthmus.data.limits import check_memory, check_zip, is_regular_file
from isthmus.estimators.sample_weight import WeightedRows
from isthmus.estimators.scaling import as_float64
from isthmus.estimators.validation import as_array
from isthmus.persistence.atomic import write_atomic
from isthmus.persistence.integrity import parse_json

__all__ = ["CompressedCodes", "LatentCodec", "decompress"]

Array = NDArray[Any]

RECORDED = ("n_rows", "bits", "coding", "model")  # fields saved as JSON
CODINGS = ("packed", "zlib", "lzma")
MOST_BITS = 16
MOST = np.finfo(np.float32).max  # of a code
FORMAT = 1
CHUNK = 8192  # rows decoded at once
BLOCK = 2**22  # bits unpacked at once
ZLIB_ROWS = 5000  # maximum number of raw rows compressed with zlib for comparison
# Raw LZMA omits the container, whose checksums would take as many bytes as a row of codes.
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 2**20}]


@dataclass(frozen=True, eq=False)
class CompressedCodes:
    """Quantised and compressed codes.

    Parameters
    ----------
    payload : bytes
        The quantised integers of all rows.
    n_rows : int
    bits : int
        Bits per component.
    low, high : ndarray of float64 (n_components,)
        Code values of the smallest and the largest integer.
    coding : {"packed", "zlib", "lzma"}
        Packed bits, or bytes ordered by component and compressed.
    model : str
        Digest of the model that decodes them.
    """

    payload: bytes
    n_rows: int
    bits: int
    low: Array
    high: Array
    coding: str
    model: str

    @property
    def bytes_per_row(self) -> float:
        """Bytes of the payload per row."""
        return len(self.payload) / self.n_rows

    def numbers(self) -> Array:
        """Return the quantised integers, (n_rows, n_components) of uint16."""
        return _unpack(self.payload, self.n_rows, len(self.low), self.bits, self.coding)

    def codes(self) -> Array:
        """Return the dequantised codes, (n_rows, n_components) of float32."""
        step = (self.high - self.low) / (2**self.bits - 1)
        return (self.low + self.numbers() * step).astype(np.float32)

    def save(self, path: str | PathLike[str]) -> int:
        """Write an .npz file (without pickle) and return its size in bytes."""
        meta = {"format": FORMAT} | {name: getattr(self, name) for name in RECORDED}
        buffer = streams.BytesIO()
        np.savez(
            buffer,
            payload=np.frombuffer(self.payload, np.uint8),
            low=self.low,
            high=self.high,
            meta=np.frombuffer(json.dumps(meta).encode(), np.uint8),
        )
        write_atomic(Path(path), buffer.getvalue())
        return Path(path).stat().st_size

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Load a file written by `save`.

        Raises
        ------
        FileNotFoundError, ValueError
            If the file is missing or does not contain valid compressed codes.
        """
        if not is_regular_file(path):
            raise FileNotFoundError(f"{path} does not exist or is not a regular file.")
        try:
            check_zip(path)
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in ("payload", "low", "high", "meta")}
            read = cls(**_checked(arrays))
            check_memory(path, 2 * read.n_rows * len(read.low), len(read.payload))
            read.numbers()
        except Exception as error:  # NumPy raises many errors for a corrupt file
            reason = one_line(error).rstrip(".") or type(error).__name__
            raise ValueError(
                f"{path} does not contain valid compressed codes ({reason}): expected a file "
                "written by `isthmus compress`."
            ) from error
        return read


def _checked(arrays: dict[str, Array]) -> dict[str, Any]:
    """Return the fields of compressed codes; raise a ValueError if they are invalid."""
    plain = arrays["payload"].dtype == arrays["meta"].dtype == np.uint8
    low, high = arrays["low"], arrays["high"]
    meta = parse_json(arrays["meta"].tobytes(), "meta") if plain else None
    if not isinstance(meta, dict) or meta.pop("format", None) != FORMAT:
        raise ValueError("unknown format")
    n_rows: Any = meta.get("n_rows")
    bits: Any = meta.get("bits")
    good = (
        _is_integer(n_rows)
        and _is_integer(bits)
        and 1 <= n_rows < 2**40
        and 1 <= bits <= MOST_BITS
        and meta.get("coding") in CODINGS
        and isinstance(meta.get("model"), str)
        and low.dtype.kind == high.dtype.kind == "f"
        and low.ndim == 1
        and 0 < low.size < 2**31
        and low.shape == high.shape
        and bool((np.abs(low) <= MOST).all() and (np.abs(high) <= MOST).all())
        and bool((low <= high).all())
    )
    if not good:
        raise ValueError("values out of range")
    fields = {name: meta[name] for name in RECORDED}
    limits = {"low": low.astype(np.float64), "high": high.astype(np.float64)}
    return fields | limits | {"payload": arrays["payload"].tobytes()}


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


@dataclass(eq=False, repr=False)
class LatentCodec(LatentMetaEstimator):
    """Compress rows to quantised codes with any estimator.

    Each component is quantised to 2**bits levels, evenly spaced over its range on the training
    rows; values outside are clipped. The error consists of the quantisation and of the model's
    reconstruction error. Decompression needs the model, whose size is not counted.

    Parameters
    ----------
    estimator : LatentEstimator
        A fitted estimator is used as it is; of an unfitted one `fit` trains a clone.
    bits : int
        Bits per component, 1 to 16.
    coding : {"auto", "packed", "zlib", "lzma"}
        "auto" tries all of them and keeps the shortest result.

    Attributes
    ----------
    low_, high_ : ndarray of float64 (n_components,)
        Range of each component on the training rows.

    References
    ----------
    Vector quantization and signal compression (Gersho, Gray, 1992), for uniform quantisation.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import Autoencoder
    >>> X = load_digits().images / 16
    >>> codec = LatentCodec(Autoencoder(n_components=8, epochs=5, random_state=0), bits=4).fit(X)
    >>> packed = codec.compress(X)
    >>> packed.bytes_per_row <= 4, codec.decompress(packed).shape
    (True, (1797, 8, 8))
    """

    estimator: Any
    _: KW_ONLY
    bits: int = 8
    coding: str = "auto"

    def _fit_codes(self, rows: WeightedRows) -> None:
        codes = encode_in_chunks(self.estimator_, rows.X).astype(np.float64)
        codes = codes if rows.weights is None else codes[rows.weights > 0]
        self.low_, self.high_ = codes.min(0), codes.max(0)

    def compress(self, X: Any) -> CompressedCodes:
        """Compress the rows of X, array-like (n, *features), to quantised codes."""
        check_is_fitted(self)
        self._check_parameters()
        width = self.high_ - self.low_
        unit = (encode_in_chunks(self.estimator_, X) - self.low_) / np.where(width > 0, width, 1)
        numbers = np.rint(np.clip(unit, 0, 1) * (2**self.bits - 1)).astype(np.uint16)
        tried = CODINGS if self.coding == "auto" else (self.coding,)
        payloads = {name: _pack(numbers, self.bits, name) for name in tried}
        best = min(payloads, key=lambda name: len(payloads[name]))
        digest = model_digest(self.estimator_)
        return CompressedCodes(
            payloads[best], len(numbers), self.bits, self.low_, self.high_, best, digest
        )

    def decompress(self, compressed: CompressedCodes) -> Any:
        """Decompress to rows (n, *feature_shape_) in the units of the data."""
        check_is_fitted(self)
        return decompress(self.estimator_, compressed)

    def report(self, X: Any, compressed: CompressedCodes | None = None) -> dict[str, Any]:
        """Report the size and the error of the compressed rows of X.

        Returns
        -------
        dict
            Bytes per row (raw, raw with zlib, and compressed codes), the compression ratio, the
            RMS error in the units of the data (bytes as [0, 1]) with and without quantisation,
            and the fraction of code values outside the training range.
        """
        packed = self.compress(X) if compressed is None else compressed
        X = as_array(self.estimator_, X)
        codes = encode_in_chunks(self.estimator_, X)
        outside = float(((codes < self.low_) | (codes > self.high_)).mean())
        raw, some = X.nbytes / len(X), X[:: -(-len(X) // ZLIB_ROWS)]
        return {
            "rows": len(X),
            "bits per component": packed.bits,
            "bytes per row, raw": raw,
            "bytes per row, raw with zlib": len(zlib.compress(some.tobytes(), 9)) / len(some),
            "bytes per row, codes": packed.bytes_per_row,
            "coding": packed.coding,
            "compression ratio": raw / packed.bytes_per_row,
            "RMS error of decompressed rows": _error(X, self.estimator_, packed.codes()),
            "RMS error without quantisation": _error(X, self.estimator_, codes),
            "fraction of values out of range": outside,
        }

    def _check_parameters(self) -> None:
        if not (_is_integer(self.bits) and 1 <= self.bits <= MOST_BITS):
            raise ValueError(f"bits must be an integer from 1 to {MOST_BITS}, got {self.bits!r}.")
        check_choice("coding", self.coding, ("auto", *CODINGS))


def decompress(estimator: Any, compressed: CompressedCodes) -> Any:
    """Decompress codes to rows (n, *feature_shape_), with the fitted model that computed them.

    If the model was fitted on a data frame, the result is a data frame with the same columns and
    types.

    Raises
    ------
    ValueError
        If another model computed the codes.
    """
    if compressed.model != model_digest(estimator):
        raise ValueError("another model computed the codes: decompress them with that model.")
    codes = compressed.codes()
    parts = [estimator.decode(codes[i : i + CHUNK]) for i in range(0, len(codes), CHUNK)]
    return estimator.as_input_type(np.concatenate(parts))


def _error(X: Array, estimator: Any, codes: Array) -> float:
    total = 0.0
    for i in range(0, len(X), CHUNK):
        part = as_float64(X[i : i + CHUNK]).reshape(len(X[i : i + CHUNK]), -1)
        again = estimator.decode(codes[i : i + CHUNK]).reshape(part.shape)
        total += float(np.nansum((part - again) ** 2))  # ignore missing values
    known = X.size - (np.isnan(X).sum() if X.dtype.kind == "f" else 0)
    return float(np.sqrt(total / known))


def _pack(numbers: Array, bits: int, coding: str) -> bytes:
    """Return integers (n, d) as bytes."""
    if coding == "packed":
        shifts = np.arange(bits - 1, -1, -1, dtype=np.uint16)
        return np.packbits(((numbers[..., None] >> shifts) & 1).astype(np.uint8)).tobytes()
    # Ordering by component, high bytes first, puts similar bytes next to each other.
    columns = numbers.T
    planes = [columns.astype(np.uint8)] if bits <= 8 else [columns >> 8, columns & 255]
    plain = np.stack(planes).astype(np.uint8).tobytes()
    if coding == "zlib":
        return zlib.compress(plain, 9)
    return lzma.compress(plain, lzma.FORMAT_RAW, filters=FILTERS)


def _unpack(payload: bytes, n: int, d: int, bits: int, coding: str) -> Array:
    """Return the integers (n, d); raise a ValueError if the length is wrong."""
    if coding == "packed":
        _check_length(len(payload), -(-n * d * bits // 8))
        content = np.frombuffer(payload, np.uint8)
        weights = 1 << np.arange(bits - 1, -1, -1, dtype=np.uint16)
        numbers = np.empty((n, d), np.uint16)
        rows = max(8, BLOCK // (d * bits) // 8 * 8)  # eight rows fill whole bytes
        for i in range(0, n, rows):
            k = min(rows, n - i)
            flags = np.unpackbits(content[i * d * bits // 8 :][: -(-k * d * bits // 8)])
            planes = flags[: k * d * bits].reshape(k, d, bits)
            numbers[i : i + k] = (planes * weights).sum(-1, dtype=np.uint16)
        return numbers
    n_planes = 1 if bits <= 8 else 2
    wanted = n_planes * n * d
    plain = _inflate(payload, coding, wanted + 1)  # a decompression bomb stops here
    _check_length(len(plain), wanted)
    high_first = np.frombuffer(plain, np.uint8).reshape(n_planes, d, n).astype(np.uint16)
    columns = high_first[0] if n_planes == 1 else (high_first[0] << 8) | high_first[1]
    return np.ascontiguousarray(columns.T)


def _inflate(payload: bytes, coding: str, most: int) -> bytes:
    try:
        if coding == "zlib":
            return zlib.decompressobj().decompress(payload, most)
        if coding == "lzma":
            return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=FILTERS).decompress(payload, most)
    except (zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"the payload is corrupt: {error}.") from error
    raise ValueError(f"unknown coding {coding!r}; expected one of {', '.join(CODINGS)}.")


def _check_length(got: int, wanted: int) -> None:
    if got != wanted:
        raise ValueError(f"the payload has {got} bytes, expected {wanted}.")
