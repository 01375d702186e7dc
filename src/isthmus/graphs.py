"""A fitted model's networks as ONNX graphs, which browsers and other programs compute.

A graph is bytes: write them to a file, or give them to onnxruntime. Each takes any number of
rows, in the units of the data, and returns what the estimator would, to rounding. What torch has
and ONNX has not is written out in operations that both have: see `STAND_INS`.

Source: Open Neural Network Exchange, https://onnx.ai; torch.onnx writes the graphs.
"""

from __future__ import annotations

import copy
import logging
import math
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.distributions import Distribution, Transform
from torch.distributions.transforms import identity_transform
from torch.export import Dim, ExportedProgram
from torch.nn.functional import conv1d, conv_transpose1d

from isthmus.distributions import DiagonalNormal
from isthmus.fftconv import FFTConv1d, FFTConv2d
from isthmus.posteriors import FlowFamily, FlowNormal

if TYPE_CHECKING:
    from isthmus.estimators import LatentEstimator

__all__ = ["decoder", "encoder", "scorer", "x_dtype"]

#: Layers whose results another one has too, of the same parameters, by operations of ONNX.
SAME_LAYER: dict[type, type] = {FFTConv1d: nn.Conv1d, FFTConv2d: nn.Conv2d}
GAMMA_SHIFT = 8  # from where on Stirling's series, to x^-7, is exact to 1e-11
AXES = {"x": ("batch",), "c": ("batch",), "z": ("batch",), "eps": ("samples", "batch")}
_one_at_a_time = threading.Lock()  # torch traces one program at a time


def x_dtype(estimator: LatentEstimator) -> str:
    """Return the type of a graph's `x`: "float32", or "float64" where the data are scaled.

    A column like 1e9 ± 1 keeps its digits in float64 alone.

    Examples
    --------
    >>> import numpy as np
    >>> from isthmus import Autoencoder
    >>> x_dtype(Autoencoder(n_components=1, epochs=1).fit(np.eye(4)))
    'float32'
    >>> x_dtype(Autoencoder(n_components=1, epochs=1).fit(9 * np.eye(4)))
    'float64'
    """
    check_is_fitted(estimator)
    return "float32" if estimator.scaler_.identity else "float64"


def encoder(estimator: LatentEstimator) -> bytes:
    """Return the graph of `LatentEstimator.posterior`.

    Inputs are `x` (batch, *feature_shape_) in the units of the data, of type `x_dtype`, bytes
    as [0, 1], NaN where values are missing and may be; and of conditional models `c` (batch,
    context_.width), as `context_.encode` gives it. Outputs are `mean` and `std` (batch,
    n_components) of q(z|x), float32.

    Raises
    ------
    ValueError
        Where the model cannot be written as a graph.
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
    return _to_onnx(estimator, Encode)


def decoder(estimator: LatentEstimator) -> bytes:
    """Return the graph of `LatentEstimator.decode`.

    Inputs are `z` (batch, n_components), float32, and of conditional models `c`, as for
    `encoder`. The output is `x` (batch, *feature_shape_), the mean of p(x|z) in the units of the
    data, of type `x_dtype`.

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
    return _to_onnx(estimator, Decode)


def scorer(estimator: LatentEstimator) -> bytes:
    """Return the graph of `LatentEstimator.score_samples`, for noise that is given.

    Inputs are `x`, and of conditional models `c`, as for `encoder`; and `eps` (samples, batch,
    n_components), standard normal, float32, by which z is drawn: a code that is a point does
    not look at it. The output is `score` (batch,) in nats an example, float32: minus (rate +
    distortion), the mean over samples.

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
    return _to_onnx(estimator, Score)


# ---------------------------------------------------------------------- what a graph computes


class Graph(nn.Module):
    """The model of an estimator on the CPU, and its scaler, as tensors."""

    part: ClassVar[str]
    inputs: ClassVar[tuple[str, ...]]
    outputs: ClassVar[tuple[str, ...]]
    shift: Tensor
    scale: Tensor

    def __init__(self, estimator: LatentEstimator) -> None:
        super().__init__()
        self.model, self.scaled = _portable(estimator.model_), not estimator.scaler_.identity
        self.register_buffer("shift", torch.tensor(estimator.scaler_.shift))
        self.register_buffer("scale", torch.tensor(estimator.scaler_.scale))

    def to_model(self, x: Tensor) -> Tensor:
        """Do as `Scaler.to_model`."""
        return ((x - self.shift) / self.scale).float() if self.scaled else x

    def from_model(self, x: Tensor) -> Tensor:
        """Do as `Scaler.from_model`."""
        return x.double() * self.scale + self.shift if self.scaled else x


class Encode(Graph):
    """x to the mean and the standard deviation of q(z|x)."""

    part, inputs, outputs = "encoder", ("x",), ("mean", "std")
    noise: Tensor

    def __init__(self, estimator: LatentEstimator) -> None:
        super().__init__(estimator)
        if isinstance(self.model.posterior, FlowFamily):
            self.register_buffer("noise", _noise_of_flows(estimator.n_components_))

    def forward(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation."""
        q = self.model.encode(self.to_model(x), c)
        if not isinstance(q, FlowNormal):
            return q.mean, q.stddev
        draws = q.transform(q.base.rsample(noise=self.noise))
        return draws.mean(0), draws.std(0)


class Decode(Graph):
    """z to x."""

    part, inputs, outputs = "decoder", ("z",), ("x",)

    def forward(self, z: Tensor, c: Tensor | None = None) -> tuple[Tensor]:
        """Return the mean of p(x|z)."""
        return (self.from_model(self.model.reconstruct(z, c)),)


class Score(Graph):
    """x, and noise, to nats an example."""

    part, inputs, outputs = "score", ("x", "eps"), ("score",)

    def forward(self, x: Tensor, eps: Tensor, c: Tensor | None = None) -> tuple[Tensor]:
        """Return minus (rate + distortion)."""
        model, x = self.model, self.to_model(x)
        q = _remembering(model.encode(x, c))
        z = q.rsample((eps.shape[0],), noise=eps)  # type: ignore[call-arg]
        rate = model.kl(q, z, c)
        gain = model.log_likelihood(model.decode(z, c), x).mean(0)
        return (gain - (rate if rate.ndim == 1 else rate.mean(0)),)


def _portable(model: nn.Module) -> Any:
    """Return a copy on the CPU, of layers that ONNX has."""
    model = copy.deepcopy(model).cpu().eval()
    for layer in model.modules():
        if type(layer) in SAME_LAYER:
            layer.__class__ = SAME_LAYER[type(layer)]
    return model


def _noise_of_flows(n_components: int) -> Tensor:
    """Return the noise behind the mean of every flow: a graph cannot draw it by a seed."""
    zeros = torch.zeros(1, n_components)
    return FlowNormal(DiagonalNormal(zeros, zeros + 1), identity_transform)._draws()


def _remembering(q: Distribution) -> Distribution:
    """Let a flow remember where a sample came from, and not search for it, which is long."""
    if isinstance(q, FlowNormal):
        for layer in q.transform.transforms:
            Transform.__init__(layer, cache_size=1)
    return q


# ------------------------------------------------------------------------- from torch to ONNX


def _to_onnx(estimator: LatentEstimator, graph: type[Graph]) -> bytes:
    check_is_fitted(estimator)
    _require_onnx()
    with _one_at_a_time, _quiet():
        try:
            return _write(graph(estimator).eval(), partial(_examples, estimator, graph.inputs))
        except Exception as error:  # whatever a network of the user's own, or torch, may raise
            raise ValueError(
                f"the {graph.part} of this {type(estimator).__name__} cannot be written as an "
                f"ONNX graph: {_reason(error)} Use it by isthmus itself, or fit a model of other "
                "parts."
            ) from error


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise ImportError(
            "graphs are written by onnx and onnxscript, which are not installed: pip install "
            "'isthmus[onnx]'"
        ) from None


def _examples(
    estimator: LatentEstimator, inputs: Sequence[str], batch: int, samples: int
) -> dict[str, Tensor]:
    """Return inputs of given sizes."""
    code = estimator.n_components_
    examples = {
        "x": torch.zeros(
            batch, *estimator.feature_shape_, dtype=getattr(torch, x_dtype(estimator))
        ),
        "z": torch.zeros(batch, code),
        "eps": torch.zeros(samples, batch, code),
    }
    chosen = {name: examples[name] for name in inputs}
    if estimator.context_ is not None:
        chosen["c"] = torch.zeros(batch, estimator.context_.width)
    return chosen


def _write(graph: Graph, examples: Callable[[int, int], dict[str, Tensor]]) -> bytes:
    from onnx_ir.passes.common import NameFixPass

    few, many = examples(2, 3), examples(5, 7)
    shapes = {name: {i: Dim(a, min=1) for i, a in enumerate(AXES[name])} for name in few}
    program = torch.onnx.export(
        _trace(graph, few, many, shapes).run_decompositions(STAND_INS),
        dynamic_shapes=shapes,
        input_names=list(few),
        output_names=list(graph.outputs),
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    assert program is not None
    NameFixPass()(program.model)  # an operation may have the name of an output: "mean"
    return program.model_proto.SerializeToString()


def _trace(
    graph: Graph, few: dict[str, Tensor], many: dict[str, Tensor], shapes: dict[str, Any]
) -> ExportedProgram:
    """Follow the tensors; where that fails read the code, which knows the `len` of a batch.

    Whatever is found must also do for more rows than it was found by.
    """
    try:
        return _traced(graph, few, many, shapes, strict=False)
    except Exception:
        return _traced(graph, few, many, shapes, strict=True)


def _traced(
    graph: Graph,
    few: dict[str, Tensor],
    many: dict[str, Tensor],
    shapes: dict[str, Any],
    *,
    strict: bool,
) -> ExportedProgram:
    program = torch.export.export(
        graph, tuple(few.values()), dynamic_shapes=tuple(shapes.values()), strict=strict
    )
    found, wanted = program.module()(*many.values()), graph(*many.values())
    for a, b in zip(found, wanted, strict=True):
        if a.shape != b.shape or not torch.allclose(a, b, rtol=1e-3, atol=1e-3, equal_nan=True):
            raise ValueError("what it computes depends on more than its inputs.")
    return program


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep remarks of torch and onnx on their own insides to themselves."""
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
    """Return the first line of what was the matter at the root."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".") + "."


# ------------------------------------------------------- what ONNX lacks, in operations it has


def _lgamma(x: Tensor) -> Tensor:
    """Return log Γ(x) for x > 0 by Stirling's series, in float64: it is a small difference."""
    below = x.double()
    shifted = below + GAMMA_SHIFT
    for i in range(1, GAMMA_SHIFT):
        below = below * (x.double() + i)
    square = shifted**-2
    series = (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680))) / shifted
    half_log = 0.5 * math.log(2 * math.pi)
    whole = (shifted - 0.5) * shifted.log() - shifted + half_log + series
    return (whole - below.log()).to(x.dtype)


def _solve_triangular(
    a: Tensor, b: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """Return x of a x = b for a lower triangular a, row by row."""
    if upper or not left or unitriangular:
        raise ValueError("only a x = b of a lower triangular a can be written as a graph.")
    rows: list[Tensor] = []
    for i in range(a.shape[-1]):
        rest = b[..., i, :]
        if rows:
            rest = rest - (a[..., i : i + 1, :i] @ torch.stack(rows, -2))[..., 0, :]
        rows.append(rest / a[..., i, i, None])
    return torch.stack(rows, -2)


def _waves(n: int, window: Tensor) -> Tensor:
    """Return the windowed cosines and minus sines of a Fourier transform, (2, n // 2 + 1, n)."""
    turns = torch.outer(torch.arange(n // 2 + 1), torch.arange(n)) % n
    angle = turns.double() * (2 * math.pi / n)
    return torch.stack([angle.cos(), -angle.sin()]).to(window.dtype) * window


def _stft(
    x: Tensor,
    n_fft: int,
    hop_length: int,
    win_length: int,
    window: Tensor,
    normalized: bool,
    onesided: bool = True,
    return_complex: bool = True,
    align_to_window: bool | None = None,
) -> Tensor:
    """Return the short-time spectrum of x (n, time) as a convolution with waves."""
    kernel = _waves(n_fft, window).flatten(0, 1)[:, None]
    parts = conv1d(x[:, None], kernel, stride=hop_length).unflatten(1, (2, -1))
    return torch.view_as_complex(parts.movedim(1, -1).contiguous())


def _istft(
    spectrum: Tensor,
    n_fft: int,
    hop_length: int,
    win_length: int,
    window: Tensor,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: int | None = None,
    return_complex: bool = False,
) -> Tensor:
    """Return the sound (n, time) of a spectrum as a transposed convolution with waves."""
    bins = n_fft // 2 + 1
    once = torch.arange(bins) % (bins - 1) == 0  # the others stand for their conjugates as well
    kernel = _waves(n_fft, window) * torch.where(once, 1.0, 2.0)[:, None] / n_fft
    parts = torch.view_as_real(spectrum).movedim(-1, 1).flatten(1, 2)
    sound = conv_transpose1d(parts, kernel.flatten(0, 1)[:, None], stride=hop_length)[:, 0]
    ones = torch.ones(1, 1, spectrum.shape[-1], dtype=window.dtype)
    weight = conv_transpose1d(ones, window.square()[None, None], stride=hop_length)[0]
    start = n_fft // 2
    return (sound / weight.clamp(min=1e-11))[:, start:][:, :length]


aten = torch.ops.aten

#: Operations of torch that ONNX lacks, or browsers, and functions that stand for them.
STAND_INS: dict[Any, Callable[..., Tensor]] = {
    aten.lgamma.default: _lgamma,
    aten.linalg_solve_triangular.default: _solve_triangular,
    aten.stft.default: _stft,
    aten.istft.default: _istft,
}
