"""Export to ONNX, for onnxruntime, browsers and other runtimes.

`torch.onnx` writes the models. Operations that ONNX (https://onnx.ai) does not have are decomposed
first: see `onnx_decompositions`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

import torch
from torch.export import ExportedProgram

from isthmus._optional import import_optional
from isthmus._version import __version__
from isthmus.export.networks import PARTS
from isthmus.export.onnx_decompositions import DECOMPOSITIONS
from isthmus.export.torch_export import dynamic_axes, exporting, input_names, trace

if TYPE_CHECKING:
    from isthmus.estimators import LatentEstimator

__all__ = ["NEWEST_OPSET", "OLDEST_OPSET", "check_opset", "decoder", "encoder", "scorer"]

OLDEST_OPSET = 18  # torch's own; conversion to older opsets produced invalid graphs
NEWEST_OPSET = 25  # the newest that onnxscript can convert to


def encoder(estimator: LatentEstimator, opset: int | None = None) -> bytes:
    """Return `LatentEstimator.posterior` as an ONNX model.

    Inputs are `x` (batch, *feature_shape_) in the units of the data, with dtype `x_dtype`; bytes
    as values in [0, 1], missing values as NaN if the model accepts them. Conditional models also
    take `c` (batch, condition_encoder_.width), as `condition_encoder_.encode` returns it. Outputs
    are `mean` and `std` (batch, n_components) of q(z|x), float32.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted.
    opset : int, optional
        ONNX operator set, from `OLDEST_OPSET` to `NEWEST_OPSET`; torch chooses by default.

    Raises
    ------
    ValueError
        If the model cannot be exported, or not with this opset.
    ImportError
        If onnx or onnxscript is not installed.

    See Also
    --------
    decoder, scorer, program

    Examples
    --------
    >>> import numpy as np, pytest
    >>> onnxruntime = pytest.importorskip("onnxruntime")
    >>> from isthmus import VAE
    >>> X = np.eye(4, dtype=np.float32)
    >>> model = VAE(n_components=2, hidden=(), epochs=1).fit(X)
    >>> mean, std = onnxruntime.InferenceSession(encoder(model)).run(None, {"x": X})
    >>> np.allclose(mean, model.transform(X), atol=1e-5)
    True
    """
    return _to_onnx(estimator, "encoder", opset)


def decoder(estimator: LatentEstimator, opset: int | None = None) -> bytes:
    """Return `LatentEstimator.decode` as an ONNX model.

    Inputs are `z` (batch, n_components), float32, and for conditional models `c`, as for
    `encoder`. The output is `x` (batch, *feature_shape_), the mean of p(x|z) in the units of the
    data, with dtype `x_dtype`. Parameters and errors are those of `encoder`.
    """
    return _to_onnx(estimator, "decoder", opset)


def scorer(estimator: LatentEstimator, opset: int | None = None) -> bytes:
    """Return `LatentEstimator.score_samples` as an ONNX model, with the noise as an input.

    Inputs are `x` and, for conditional models, `c`, as for `encoder`; and `eps` (samples, batch,
    n_components), standard normal, float32, from which z is drawn (ignored if the code is a
    point). The output is `score` (batch,), float32, in nats per example: -(rate + distortion),
    the mean over samples; for conditional models given `c`, whereas `score_samples` without a
    condition mixes the scores given each class. Parameters and errors are those of `encoder`.
    """
    return _to_onnx(estimator, "scorer", opset)


def check_opset(opset: int | None) -> None:
    """Raise an error if the installed libraries cannot export to ONNX, or not with this opset."""
    import_optional("onnx", "onnxscript", extra="onnx", what="export to ONNX")
    if opset is None:
        return
    import onnx

    if isinstance(opset, bool) or not isinstance(opset, Integral):
        raise TypeError(
            f"opset must be a whole number, got {opset!r}; the functions return bytes, which you "
            "write to a file of your own."
        )
    newest = min(NEWEST_OPSET, onnx.defs.onnx_opset_version())
    if not OLDEST_OPSET <= opset <= newest:
        raise ValueError(
            f"opset {opset} is too {'old' if opset < OLDEST_OPSET else 'new'}: choose "
            f"{OLDEST_OPSET} to {newest} (torch {torch.__version__}, onnx {onnx.__version__}), or "
            "leave the choice to torch."
        )


def _to_onnx(estimator: LatentEstimator, part: str, opset: int | None) -> bytes:
    check_opset(opset)
    with exporting(estimator, part, "an ONNX model"):
        program = trace(estimator, part).run_decompositions(DECOMPOSITIONS)
        names = input_names(estimator, part), PARTS[part].outputs
        return _write(program, *names, opset, metadata(estimator, part))


def metadata(estimator: LatentEstimator, part: str) -> dict[str, str]:
    """Return what an ONNX file says about itself, as JSON texts by name.

    `columns` lists the columns of a table in the order of the axis of `x`: name, kind and, for
    categories, the category of each number 0, 1, 2, ...; None for an array.

    Examples
    --------
    >>> import numpy as np
    >>> from isthmus import VAE
    >>> model = VAE(n_components=2, hidden=(), epochs=1).fit(np.eye(4))
    >>> metadata(model, "encoder")["isthmus.feature_shape"]
    '[4]'
    """
    columns = estimator.columns_
    about: dict[str, Any] = {
        "part": part,
        "version": __version__,
        "estimator": type(estimator).__name__,
        "n_components": estimator.n_components_,
        "feature_shape": [*estimator.feature_shape_],
        "likelihood": estimator.likelihood_,
        "scaling": f"{estimator.scaling_}, inside the graph: x is in the units of the data",
        "missing": "NaN" if estimator.model_.missing else "refused",
        "columns": columns and [_column(column) for column in columns.columns],
    }
    classes = getattr(estimator, "classes_", None)
    if estimator.conditional and classes is not None:
        about["classes"] = [str(each) for each in classes]
    return {f"isthmus.{name}": json.dumps(value, default=str) for name, value in about.items()}


def _column(column: Any) -> dict[str, Any]:
    entry = {"name": str(column.name), "kind": column.kind}
    return entry | ({"categories": [*column.categories]} if column.kind != "number" else {})


def _write(
    program: ExportedProgram,
    inputs: Sequence[str],
    outputs: Sequence[str],
    opset: int | None,
    about: dict[str, str],
) -> bytes:
    """Convert a program to ONNX, without paths of source files."""
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass, NameFixPass

    written = torch.onnx.export(
        program,
        dynamic_shapes=dynamic_axes(inputs),
        input_names=list(inputs),
        output_names=list(outputs),
        opset_version=opset,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    assert written is not None
    got = written.model.opset_imports[""]
    if opset not in (None, got):  # torch keeps its own opset if it cannot convert
        raise ValueError(f"torch wrote opset {got} instead of {opset}.")
    NameFixPass()(written.model)  # an operation may share the name of an output: "mean"
    ClearMetadataAndDocStringPass()(written.model)
    written.model.metadata_props.update(about)
    return written.model_proto.SerializeToString()
