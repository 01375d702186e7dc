"""Graphs as ONNX, which browsers and other programs compute.

What torch has and ONNX has not is written out in operations that both have: see `STAND_INS`.

Source: Open Neural Network Exchange, https://onnx.ai; torch.onnx writes the graphs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch.export import ExportedProgram

from isthmus._optional import import_optional
from isthmus.export.networks import PARTS
from isthmus.export.onnx_decompositions import STAND_INS
from isthmus.export.tracing import free_axes, input_names, trace, writing

if TYPE_CHECKING:
    from isthmus.estimators import LatentEstimator

__all__ = ["NEWEST_OPSET", "OLDEST_OPSET", "check_opset", "decoder", "encoder", "scorer"]

OLDEST_OPSET = 18  # torch's own; converted to older ones, graphs of every model were invalid
NEWEST_OPSET = 25  # onnxscript's converter knows no newer one


def encoder(estimator: LatentEstimator, opset: int | None = None) -> bytes:
    """Return the graph of `LatentEstimator.posterior`.

    Inputs are `x` (batch, *feature_shape_) in the units of the data, of type `x_dtype`, bytes
    as [0, 1], NaN where values are missing and may be; and of conditional models `c` (batch,
    context_.width), as `context_.encode` gives it. Outputs are `mean` and `std` (batch,
    n_components) of q(z|x), float32.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted.
    opset : int, optional
        The version of ONNX's operations, `OLDEST_OPSET` to `NEWEST_OPSET`; by default torch's
        own choice. Runtimes know all up to theirs.

    Raises
    ------
    ValueError
        Where the model cannot be written as a graph, or not in this opset.
    ImportError
        Where onnx or onnxscript are not installed.

    Examples
    --------
    >>> import numpy as np, pytest
    >>> onnxruntime = pytest.importorskip("onnxruntime")
    >>> from isthmus import VAE
    >>> X = np.eye(4, dtype=np.float32)
    >>> model = VAE(n_components=2, hidden=(8,), epochs=1).fit(X)
    >>> mean, std = onnxruntime.InferenceSession(encoder(model)).run(None, {"x": X})
    >>> np.allclose(mean, model.transform(X), atol=1e-5)
    True
    """
    return _to_onnx(estimator, "encoder", opset)


def decoder(estimator: LatentEstimator, opset: int | None = None) -> bytes:
    """Return the graph of `LatentEstimator.decode`.

    Inputs are `z` (batch, n_components), float32, and of conditional models `c`, as for
    `encoder`. The output is `x` (batch, *feature_shape_), the mean of p(x|z) in the units of the
    data, of type `x_dtype`.

    Parameters
    ----------
    estimator, opset
        As for `encoder`.

    Raises
    ------
    ValueError, ImportError
        As for `encoder`.

    Examples
    --------
    >>> import numpy as np, pytest
    >>> onnx = pytest.importorskip("onnx")
    >>> from isthmus import VAE
    >>> model = VAE(n_components=2, hidden=(8,), epochs=1).fit(np.eye(4))
    >>> graph = onnx.load_from_string(decoder(model)).graph
    >>> [i.name for i in graph.input], [o.name for o in graph.output]
    (['z'], ['x'])
    """
    return _to_onnx(estimator, "decoder", opset)


def scorer(estimator: LatentEstimator, opset: int | None = None) -> bytes:
    """Return the graph of `LatentEstimator.score_samples`, for noise that is given.

    Inputs are `x`, and of conditional models `c`, as for `encoder`; and `eps` (samples, batch,
    n_components), standard normal, float32, by which z is drawn: a code that is a point does
    not look at it. The output is `score` (batch,) in nats an example, float32: minus (rate +
    distortion), the mean over samples.

    Parameters
    ----------
    estimator, opset
        As for `encoder`.

    Raises
    ------
    ValueError, ImportError
        As for `encoder`.

    Examples
    --------
    >>> import numpy as np, pytest
    >>> onnx = pytest.importorskip("onnx")
    >>> from isthmus import VAE
    >>> model = VAE(n_components=2, hidden=(8,), epochs=1).fit(np.eye(4))
    >>> [i.name for i in onnx.load_from_string(scorer(model)).graph.input]
    ['x', 'eps']
    """
    return _to_onnx(estimator, "scorer", opset)


def check_opset(opset: int | None) -> None:
    """Raise a ValueError where graphs cannot be written in an opset, by what is installed.

    Examples
    --------
    >>> import pytest
    >>> pytest.importorskip("onnx") and check_opset(20)
    >>> check_opset(11)
    Traceback (most recent call last):
    ...
    ValueError: opset 11 is too old: graphs are written in opset 18 to 25...
    """
    if opset is None:
        return
    _require_onnx()
    import onnx

    newest = min(NEWEST_OPSET, onnx.defs.onnx_opset_version())
    if not OLDEST_OPSET <= opset <= newest:
        raise ValueError(
            f"opset {opset} is too {'old' if opset < OLDEST_OPSET else 'new'}: graphs are written "
            f"in opset {OLDEST_OPSET} to {newest} (torch {torch.__version__}, onnx "
            f"{onnx.__version__}). Name one of these, or none."
        )


def _to_onnx(estimator: LatentEstimator, part: str, opset: int | None) -> bytes:
    _require_onnx()
    check_opset(opset)
    with writing(estimator, part, "an ONNX graph"):
        program = trace(estimator, part).run_decompositions(STAND_INS)
        return _write(program, input_names(estimator, part), PARTS[part].outputs, opset)


def _require_onnx() -> None:
    import_optional("onnx", "onnxscript", extra="onnx", what="writing a graph")


def _write(
    program: ExportedProgram, inputs: Sequence[str], outputs: Sequence[str], opset: int | None
) -> bytes:
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass, NameFixPass

    written = torch.onnx.export(
        program,
        dynamic_shapes=free_axes(inputs),
        input_names=list(inputs),
        output_names=list(outputs),
        opset_version=opset,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    assert written is not None
    got = written.model.opset_imports[""]
    if opset not in (None, got):  # where it cannot convert, torch keeps what it has
        raise ValueError(f"it came out in opset {got} instead of {opset}.")
    NameFixPass()(written.model)  # an operation may have the name of an output: "mean"
    ClearMetadataAndDocStringPass()(written.model)  # the paths of the sources on this machine
    return written.model_proto.SerializeToString()
