"""Graphs as programs of torch, which need torch and nothing else.

Source: PyTorch 2: Faster machine learning through dynamic Python bytecode transformation and
graph compilation (Ansel et al., 2024); torch.export writes the programs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.export import ExportedProgram
from torch.fx import GraphModule

from isthmus.export.networks import PARTS
from isthmus.export.tracing import trace, writing

if TYPE_CHECKING:
    from isthmus.estimators import LatentEstimator

__all__ = ["program"]


def program(estimator: LatentEstimator, part: str) -> ExportedProgram:
    """Return a part of an estimator as a program of `torch.export`, on the CPU.

    ``program(model, "encoder").module()`` computes it; `torch.export.save` writes it to a file,
    which `torch.export.load` reads where isthmus is not installed. It takes and returns what the
    graph of the same name does (`encoder`, `decoder`, `scorer`), as tensors and by position: (x,),
    (z,) or (x, eps), and of conditional models c after them; it returns a tuple.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted.
    part : {"encoder", "decoder", "scorer"}

    Raises
    ------
    ValueError
        For another name, or where torch cannot follow the model.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from isthmus import VAE
    >>> X = np.eye(4, dtype=np.float32)
    >>> model = VAE(n_components=2, hidden=(8,), epochs=1).fit(X)
    >>> mean, std = program(model, "encoder").module()(torch.from_numpy(X))
    >>> np.allclose(mean, model.transform(X), atol=1e-5)
    True
    """
    if part not in PARTS:
        raise ValueError(f"part must be one of {', '.join(PARTS)}, got {part!r}.")
    with writing(estimator, part, "a program of torch.export"):
        return _without_paths(trace(estimator, part))


def _without_paths(program: ExportedProgram) -> ExportedProgram:
    """Forget which lines of which files every operation came from: they name this machine."""
    for module in program.graph_module.modules():
        if isinstance(module, GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)
    return program
