"""A fitted model's networks as graphs, which other programs compute without isthmus.

`encoder`, `decoder` and `scorer` return ONNX, as bytes: write them to a file, or give them to
onnxruntime. `program` returns the same for torch alone. Each takes any number of rows, in the units
of the data, and returns what the estimator would, to rounding.
"""

from __future__ import annotations

from isthmus.export.networks import PARTS, x_dtype
from isthmus.export.onnx_export import (
    NEWEST_OPSET,
    OLDEST_OPSET,
    check_opset,
    decoder,
    encoder,
    scorer,
)
from isthmus.export.torch_export import program

__all__ = [
    "NEWEST_OPSET",
    "OLDEST_OPSET",
    "PARTS",
    "check_opset",
    "decoder",
    "encoder",
    "program",
    "scorer",
    "x_dtype",
]
