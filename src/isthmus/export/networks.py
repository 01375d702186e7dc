"""The exported modules: an estimator's networks with its scaling, in tensor operations only."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.distributions import Transform
from torch.distributions.transforms import identity_transform

from isthmus.distributions.base import DiagonalNormal
from isthmus.distributions.posteriors import FlowFamily, FlowNormal
from isthmus.nn.fft_conv import FFTConv1d, FFTConv2d

if TYPE_CHECKING:
    from isthmus.estimators import LatentEstimator

__all__ = ["PARTS", "Decode", "Encode", "Graph", "Score", "x_dtype"]

#: Layers that ONNX lacks, and the standard layer with the same parameters and result.
SAME_LAYER: dict[type, type] = {FFTConv1d: nn.Conv1d, FFTConv2d: nn.Conv2d}


def x_dtype(estimator: LatentEstimator) -> str:
    """Return the dtype of the input `x`: "float32", or "float64" if the data are scaled.

    A column such as 1e9 ± 1 keeps its digits only in float64.
    """
    check_is_fitted(estimator)
    return "float32" if estimator.scaler_.identity else "float64"


class Graph(nn.Module):
    """A frozen copy of an estimator's model on the CPU, with its scaler as buffers."""

    part: ClassVar[str]
    inputs: ClassVar[tuple[str, ...]]
    outputs: ClassVar[tuple[str, ...]]
    unused: ClassVar[tuple[str, ...]] = ()  # parts of the model that are not exported
    shift: Tensor
    scale: Tensor

    def __init__(self, estimator: LatentEstimator) -> None:
        super().__init__()
        model: Any = copy.deepcopy(estimator.model_).cpu().eval().requires_grad_(False)
        for layer in model.modules():
            layer.__class__ = SAME_LAYER.get(type(layer), type(layer))
        for name in self.unused:
            setattr(model, name, None)
        self.model, self.scaled = model, not estimator.scaler_.identity
        self.n_axes = len(estimator.feature_shape_)
        self.channels_last = estimator.channels_ == "last"
        self.register_buffer("shift", torch.tensor(estimator.scaler_.shift))
        self.register_buffer("scale", torch.tensor(estimator.scaler_.scale))

    def transform(self, x: Tensor) -> Tensor:
        """Scale x as `Scaler.transform` does."""
        x = x.movedim(-1, -self.n_axes) if self.channels_last else x
        return ((x - self.shift) / self.scale).float() if self.scaled else x

    def inverse_transform(self, x: Tensor) -> Tensor:
        """Undo the scaling as `Scaler.inverse_transform` does."""
        x = x.double() * self.scale + self.shift if self.scaled else x
        return x.movedim(-self.n_axes, -1) if self.channels_last else x


class Encode(Graph):
    """Map x to the mean and the standard deviation of q(z|x)."""

    part, inputs, outputs = "encoder", ("x",), ("mean", "std")
    unused = ("decoder", "prior")
    noise: Tensor

    def __init__(self, estimator: LatentEstimator) -> None:
        super().__init__(estimator)
        if isinstance(self.model.posterior, FlowFamily):
            # Fixed noise, by which flow means are estimated: a graph cannot seed a generator.
            zeros = torch.zeros(1, estimator.n_components_)
            normal = FlowNormal(DiagonalNormal(zeros, zeros + 1), identity_transform)
            self.register_buffer("noise", normal._draws())

    def forward(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation."""
        q = self.model.encode(self.transform(x), c)
        if not isinstance(q, FlowNormal):
            return q.mean, q.stddev
        draws = q.transform(q.base.rsample(noise=self.noise))
        return draws.mean(0), draws.std(0)


class Decode(Graph):
    """Map z to the mean of p(x|z)."""

    part, inputs, outputs = "decoder", ("z",), ("x",)
    unused = ("encoder", "prior")

    def forward(self, z: Tensor, c: Tensor | None = None) -> tuple[Tensor]:
        """Return the mean of p(x|z)."""
        return (self.inverse_transform(self.model.reconstruct(z, c)),)


class Score(Graph):
    """Map x and noise to the score, in nats per example."""

    part, inputs, outputs = "scorer", ("x", "eps"), ("score",)

    def forward(self, x: Tensor, eps: Tensor, c: Tensor | None = None) -> tuple[Tensor]:
        """Return -(rate + distortion), the mean over samples."""
        model, x = self.model, self.transform(x)
        q = model.encode(x, c)
        if isinstance(q, FlowNormal):  # cache the inverse of each layer, which is expensive
            for layer in q.transform.transforms:
                Transform.__init__(layer, cache_size=1)
        z = q.rsample((eps.shape[0],), noise=eps)
        rate = model.kl(q, z, c)
        x = x.expand(eps.shape[0], *x.shape)  # else torch.export guards on the batch size
        gain = model.log_likelihood(model.decode(z, c), x).mean(0)
        return (gain - (rate if rate.ndim == 1 else rate.mean(0)),)


PARTS: dict[str, type[Graph]] = {graph.part: graph for graph in (Encode, Decode, Score)}
