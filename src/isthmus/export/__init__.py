"""Export a fitted model's networks, to run them without isthmus.

`encoder`, `decoder` and `scorer` return ONNX models as bytes, for onnxruntime and other runtimes;
`program` returns a `torch.export` program. All take batches of any size in the units of the data
and agree with the estimator up to rounding.
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
