"""What a graph computes: the networks of an estimator and its scaling, of tensors alone."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.distributions import Distribution, Transform
from torch.distributions.transforms import identity_transform

from isthmus.distributions.base import DiagonalNormal
from isthmus.distributions.posteriors import FlowFamily, FlowNormal
from isthmus.nn.fft_conv import FFTConv1d, FFTConv2d

if TYPE_CHECKING:
    from isthmus.estimators import LatentEstimator

__all__ = ["PARTS", "Decode", "Encode", "Graph", "Score", "x_dtype"]

#: Layers whose results another one has too, of the same parameters, by operations of ONNX.
SAME_LAYER: dict[type, type] = {FFTConv1d: nn.Conv1d, FFTConv2d: nn.Conv2d}


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


class Graph(nn.Module):
    """The model of an estimator on the CPU, and its scaler, as tensors."""

    part: ClassVar[str]
    inputs: ClassVar[tuple[str, ...]]
    outputs: ClassVar[tuple[str, ...]]
    unused: ClassVar[tuple[str, ...]] = ()  # parts of the model that need not be written
    shift: Tensor
    scale: Tensor

    def __init__(self, estimator: LatentEstimator) -> None:
        super().__init__()
        self.model, self.scaled = _portable(estimator.model_), not estimator.scaler_.identity
        for name in self.unused:
            setattr(self.model, name, None)
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
    unused = ("decoder", "prior")
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
    unused = ("encoder", "prior")

    def forward(self, z: Tensor, c: Tensor | None = None) -> tuple[Tensor]:
        """Return the mean of p(x|z)."""
        return (self.from_model(self.model.reconstruct(z, c)),)


class Score(Graph):
    """x, and noise, to nats an example."""

    part, inputs, outputs = "scorer", ("x", "eps"), ("score",)

    def forward(self, x: Tensor, eps: Tensor, c: Tensor | None = None) -> tuple[Tensor]:
        """Return minus (rate + distortion)."""
        model, x = self.model, self.to_model(x)
        q = _remembering(model.encode(x, c))
        z = q.rsample((eps.shape[0],), noise=eps)  # type: ignore[call-arg]
        rate = model.kl(q, z, c)
        x = x.expand(eps.shape[0], *x.shape)  # or torch asks whether there are as many rows
        gain = model.log_likelihood(model.decode(z, c), x).mean(0)
        return (gain - (rate if rate.ndim == 1 else rate.mean(0)),)


def _portable(model: nn.Module) -> Any:
    """Return a copy on the CPU, of layers that ONNX has, that is not to be trained."""
    model = copy.deepcopy(model).cpu().eval().requires_grad_(False)
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


PARTS: dict[str, type[Graph]] = {graph.part: graph for graph in (Encode, Decode, Score)}
