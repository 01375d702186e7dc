"""Export as a `torch.export` program, which runs with torch alone.

References
----------
PyTorch 2: Faster machine learning through dynamic Python bytecode transformation and
graph compilation (Ansel et al., 2024).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.export import ExportedProgram
from torch.fx import GraphModule

from isthmus.export.networks import PARTS
from isthmus.export.tracing import exporting, trace

if TYPE_CHECKING:
    from isthmus.estimators import LatentEstimator

__all__ = ["program"]


def program(estimator: LatentEstimator, part: str) -> ExportedProgram:
    """Return one network of an estimator as a `torch.export` program on the CPU.

    ``program(model, "encoder").module()`` runs it; `torch.export.save` writes it to a file that
    `torch.export.load` reads without isthmus. Inputs and outputs are those of the ONNX model of
    the same name, as positional tensors: (x,), (z,) or (x, eps), followed by c for conditional
    models; it returns a tuple.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted.
    part : {"encoder", "decoder", "scorer"}

    Raises
    ------
    ValueError
        If `part` is unknown, or torch cannot trace the model.

    See Also
    --------
    encoder, decoder, scorer : The same as ONNX.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from isthmus import VAE
    >>> X = np.eye(4, dtype=np.float32)
    >>> model = VAE(n_components=2, hidden=(), epochs=1).fit(X)
    >>> mean, std = program(model, "encoder").module()(torch.from_numpy(X))
    >>> np.allclose(mean, model.transform(X), atol=1e-5)
    True
    """
    if part not in PARTS:
        raise ValueError(f"part must be one of {', '.join(PARTS)}, got {part!r}.")
    with exporting(estimator, part, "a torch.export program"):
        return _without_paths(trace(estimator, part))


def _without_paths(program: ExportedProgram) -> ExportedProgram:
    """Remove the stack traces, which contain paths of source files."""
    for module in program.graph_module.modules():
        if isinstance(module, GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)
    return program
