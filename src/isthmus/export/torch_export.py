"""Export as a `torch.export` program, which runs with torch alone, for batches of any size."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule

from isthmus.export.networks import PARTS, Graph, x_dtype

if TYPE_CHECKING:
    from isthmus.estimators import LatentEstimator

__all__ = ["dynamic_axes", "exporting", "input_names", "program", "trace"]

Inputs = tuple[Tensor, ...]

AXES = {"x": ("batch",), "c": ("batch",), "z": ("batch",), "eps": ("samples", "batch")}
_lock = threading.Lock()  # torch traces one program at a time


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

    References
    ----------
    PyTorch 2: Faster machine learning through dynamic Python bytecode transformation and graph
    compilation (Ansel et al., 2024).

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
        traced = trace(estimator, part)
    for module in traced.graph_module.modules():
        if isinstance(module, GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)  # contains paths of source files
    return traced


@contextmanager
def exporting(estimator: LatentEstimator, part: str, what: str) -> Iterator[None]:
    """Export in one thread at a time, quietly; turn any failure into a one-line ValueError."""
    check_is_fitted(estimator)
    with _lock, _quiet():
        try:
            yield
        except Exception as error:  # torch and custom networks raise errors of any kind
            raise ValueError(
                f"the {part} of this {type(estimator).__name__} cannot be exported as {what}: "
                f"{_reason(error)} Use isthmus itself to run it, or fit a model with other parts."
            ) from error


def input_names(estimator: LatentEstimator, part: str) -> list[str]:
    """Return the names of the inputs, in order."""
    return [*PARTS[part].inputs, *([] if estimator.condition_encoder_ is None else ["c"])]


def dynamic_axes(names: Sequence[str]) -> dict[str, Any]:
    """Return the axes of each input that may have any length, for `torch.export`."""
    return {name: {i: Dim(a, min=1) for i, a in enumerate(AXES[name])} for name in names}


def trace(estimator: LatentEstimator, part: str) -> ExportedProgram:
    """Trace an exported module; check the result on a batch of another size.

    Non-strict tracing first; strict tracing also handles networks that call ``len`` on a batch.
    """
    graph = PARTS[part](estimator).eval()
    names = input_names(estimator, part)
    few, many = (_examples(estimator, names, *sizes) for sizes in ((2, 3), (5, 7)))
    shapes = tuple(dynamic_axes(names).values())
    try:
        return _traced(graph, few, many, shapes, strict=False)
    except Exception:
        return _traced(graph, few, many, shapes, strict=True)


def _traced(
    graph: Graph, few: Inputs, many: Inputs, shapes: tuple[Any, ...], *, strict: bool
) -> ExportedProgram:
    program = torch.export.export(graph, few, dynamic_shapes=shapes, strict=strict)
    for a, b in zip(program.module()(*many), graph(*many), strict=True):
        if a.shape != b.shape or not torch.allclose(a, b, rtol=1e-3, atol=1e-3, equal_nan=True):
            raise ValueError("its result depends on more than its inputs.")
    return program


def _examples(estimator: LatentEstimator, names: Sequence[str], batch: int, samples: int) -> Inputs:
    """Return example inputs of the given sizes."""
    shape, code = estimator.feature_shape_, estimator.n_components_
    context = estimator.condition_encoder_
    examples = {
        "x": torch.zeros(batch, *shape, dtype=getattr(torch, x_dtype(estimator))),
        "z": torch.zeros(batch, code),
        "eps": torch.zeros(samples, batch, code),
        "c": torch.zeros(batch, 0 if context is None else context.width),
    }
    return tuple(examples[name] for name in names)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings and log messages of torch and onnx about their internals."""
    loggers = [logging.getLogger(name) for name in ("torch", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _reason(error: BaseException) -> str:
    """Return the first line of the root cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".") + "."
