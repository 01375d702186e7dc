"""Sparse codes: point-mass posteriors of which few units are active.

A sparse code is a posterior like any other (`isthmus.distributions.families`). Its activation
may hold parameters (thresholds, a gate) or a running threshold, and the decoder reads what comes
out of it. How such a model is started and kept in shape is in `isthmus.training.dictionary`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.distributions.base import Delta
from isthmus.distributions.families import ACTIVATIONS, Family

__all__ = [
    "SPARSE_POINTS",
    "BatchTopKPoint",
    "GatedPoint",
    "JumpReLUPoint",
    "SparseCode",
    "SparsePoint",
    "TopKPoint",
]

Shape = tuple[int, ...]
FORGET = 0.02  # share of the running threshold that one batch replaces
MOST_ACTIVE = 32  # units a row where nobody said how many


class SparseCode(Delta):
    """A code, and what decided which of its units are active.

    Parameters
    ----------
    value : Tensor (*batch, n_components)
        The activations, which the decoder reads.
    gate : Tensor (*batch, n_components)
        What a penalty is to press on so that units close: see each family.
    """

    def __init__(self, value: Tensor, gate: Tensor) -> None:
        super().__init__(value)
        self.gate = gate


class SparsePoint(Family):
    """A point at an activation that is the same function of each unit: relu or sigmoid.

    The root of the sparse families. To add one, override `activate`, and `restart` where it has
    parameters for each unit.

    Parameters
    ----------
    shape : tuple of int
        ``(n_components,)``.
    activation : str
        A name of `isthmus.distributions.families.ACTIVATIONS`.

    Examples
    --------
    >>> SparsePoint((3,))(torch.tensor([[-1.0, 0.0, 2.0]])).mean
    tensor([[0., 0., 2.]])
    """

    draws = False
    fired: Tensor

    def __init__(self, shape: Shape, activation: str = "relu") -> None:
        super().__init__(shape)
        self.activation = activation
        # Which units were active since somebody last asked; watching, so no part of the model.
        self.register_buffer("fired", torch.zeros(shape, dtype=torch.bool), persistent=False)

    def build(self, *outputs: Tensor) -> SparseCode:
        """Return the point mass at the activation; while training, note which units fired."""
        (a,) = outputs
        z, gate = self.activate(a)
        if self.training:
            self.fired |= (z.detach() != 0).flatten(0, -2).any(0)
        return SparseCode(z, gate)

    def activate(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """Return the activations of a (*batch, n_components), and their gate: themselves."""
        z = ACTIVATIONS[self.activation](a)
        return z, z

    def restart(self, units: Tensor) -> None:
        """Put the parameters of units, a bool (n_components,), back to where they started."""


class TopKPoint(SparsePoint):
    """The k largest numbers of each row, where positive; zero elsewhere.

    Sources: k-sparse autoencoders (Makhzani, Frey, 2014); Scaling and evaluating sparse
    autoencoders (Gao, Dupré la Tour, Tillman, Goh, Troll, Radford, Sutskever, Leike, Wu, 2024).

    Parameters
    ----------
    shape : tuple of int
        ``(n_components,)``.
    n_active : int
        k.

    Raises
    ------
    ValueError
        k below 1 or beyond the number of units.

    Examples
    --------
    >>> TopKPoint((4,), n_active=2)(torch.tensor([[3.0, 1.0, -1.0, 2.0]])).mean
    tensor([[3., 0., 0., 2.]])
    """

    def __init__(self, shape: Shape, n_active: int) -> None:
        super().__init__(shape)
        if not 1 <= n_active <= math.prod(shape):
            raise ValueError(
                f"a code of {math.prod(shape)} units cannot have {n_active} active ones a row; "
                f"choose n_active between 1 and {math.prod(shape)}."
            )
        self.n_active = n_active

    def activate(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """Return the k largest of each row, and the same for a gate."""
        top, where = torch.relu(a).topk(self.n_active, dim=-1, sorted=False)
        z = torch.zeros_like(a).scatter(-1, where, top)
        return z, z


class BatchTopKPoint(TopKPoint):
    """The k·n largest numbers of a batch of n rows while training; then those over a threshold.

    Rows may share their k unevenly. The threshold is the running mean of the smallest number
    that a batch kept, so that afterwards no row's code depends on its company.
    Source: BatchTopK sparse autoencoders (Bussmann, Leask, Nanda, 2024).

    Parameters
    ----------
    shape : tuple of int
        ``(n_components,)``.
    n_active : int
        k, the mean number of active units a row.

    Raises
    ------
    ValueError
        k below 1 or beyond the number of units.

    Examples
    --------
    >>> family, a = BatchTopKPoint((2,), n_active=1), torch.tensor([[3.0, 2.0], [1.0, 0.5]])
    >>> family(a).mean
    tensor([[3., 2.],
            [0., 0.]])
    >>> family.threshold
    tensor(2.)
    >>> family.eval()(torch.tensor([[5.0, 1.0]])).mean
    tensor([[5., 0.]])
    """

    threshold: Tensor

    def __init__(self, shape: Shape, n_active: int) -> None:
        super().__init__(shape, n_active)
        self.register_buffer("threshold", torch.tensor(-1.0))  # below 0: no batch seen

    def activate(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """Return the numbers at or over the batch's, or the running, threshold."""
        a = torch.relu(a)
        threshold = self._of_batch(a.detach()) if self.training else self.threshold
        z = torch.where(a >= threshold, a, 0.0)
        return z, z

    def _of_batch(self, a: Tensor) -> Tensor:
        """Return the smallest number that the batch keeps, and remember it."""
        kept = a.flatten().topk(self.n_active * a[..., 0].numel(), sorted=False).values
        smallest = torch.where(kept > 0, kept, torch.inf).amin()
        known = torch.where(self.threshold < 0, smallest, self.threshold)
        update = torch.lerp(known, smallest, FORGET)
        # A batch without a positive number says nothing about the threshold.
        self.threshold.copy_(torch.where(torch.isfinite(update), update, self.threshold))
        return smallest


class JumpReLUPoint(SparsePoint):
    """Numbers over a threshold learned for each unit; zero below it.

    The threshold's gradient is that of the expected loss, estimated by a rectangular kernel:
    with ε the bandwidth, ∂z/∂θ = -(θ/ε) 1[|a - θ| < ε/2], and for the gate, the step
    H = 1[a > θ], ∂H/∂θ = -(1/ε) 1[|a - θ| < ε/2]. Pressed on by `GatePenalty`, the gate's sum is
    the number of active units, L0.
    Source: Jumping ahead: improving reconstruction fidelity with JumpReLU sparse autoencoders
    (Rajamanoharan, Lieberum, Sonnerat, Conmy, Varma, Kramár, Nanda, 2024).

    Parameters
    ----------
    shape : tuple of int
        ``(n_components,)``.
    bandwidth : float
        ε, in units of the pre-activations.
    threshold : float
        Where every θ starts.

    Examples
    --------
    >>> JumpReLUPoint((3,), threshold=0.5)(torch.tensor([[-1.0, 0.4, 2.0]])).mean
    tensor([[0., 0., 2.]], grad_fn=...)
    """

    def __init__(self, shape: Shape, bandwidth: float = 0.1, threshold: float = 0.1) -> None:
        super().__init__(shape)
        self.bandwidth, self.start = bandwidth, math.log(threshold)
        self.log_threshold = nn.Parameter(torch.full(shape, self.start))

    def activate(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """Return the numbers over the thresholds, and the step that decided."""
        a, theta = torch.relu(a), self.log_threshold.exp()
        open_ = (a > theta).to(a.dtype)
        near = ((a - theta).abs() < self.bandwidth / 2).to(a.dtype) / self.bandwidth
        # Zero in value; its gradient is the estimate.
        estimate = near * (theta - theta.detach())
        return a * open_ - theta.detach() * estimate, open_ - estimate

    def restart(self, units: Tensor) -> None:
        """Put the thresholds of units back to the first one."""
        self.log_threshold.data.masked_fill_(units, self.start)


class GatedPoint(SparsePoint):
    """Magnitudes exp(r) a + b, where the gate a is open: positive.

    The encoder's numbers a serve gate and magnitude (tied weights); r and b are learned for
    each unit, and the gate's own bias is the encoder's. The gate has no gradient from the
    reconstruction: it needs `GatePenalty`, which presses on relu(a), and `GateReconstruction`.
    Source: Improving dictionary learning with gated sparse autoencoders (Rajamanoharan, Conmy,
    Smith, Lieberum, Varma, Kramár, Shah, Nanda, 2024).

    Parameters
    ----------
    shape : tuple of int
        ``(n_components,)``.

    Examples
    --------
    >>> GatedPoint((2,))(torch.tensor([[-1.0, 2.0]])).mean
    tensor([[0., 2.]], grad_fn=...)
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.rescale = nn.Parameter(torch.zeros(shape))
        self.bias = nn.Parameter(torch.zeros(shape))

    def activate(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """Return the magnitudes behind open gates, and relu(a)."""
        magnitude = torch.relu(self.rescale.exp() * a + self.bias)
        return torch.where(a > 0, magnitude, 0.0), torch.relu(a)

    def restart(self, units: Tensor) -> None:
        """Let gate and magnitude of units agree again."""
        self.rescale.data.masked_fill_(units, 0.0)
        self.bias.data.masked_fill_(units, 0.0)


#: Name of an activation to (shape, spec) -> family; the spec holds `n_active` and `bandwidth`.
SPARSE_POINTS: dict[str, Callable[[Shape, Any], SparsePoint]] = {
    "identity": lambda shape, spec: SparsePoint(shape, "identity"),
    "relu": lambda shape, spec: SparsePoint(shape, "relu"),
    "sigmoid": lambda shape, spec: SparsePoint(shape, "sigmoid"),
    "topk": lambda shape, spec: TopKPoint(shape, n_active(spec, math.prod(shape))),
    "batchtopk": lambda shape, spec: BatchTopKPoint(shape, n_active(spec, math.prod(shape))),
    "jumprelu": lambda shape, spec: JumpReLUPoint(shape, spec.bandwidth),
    "gated": lambda shape, spec: GatedPoint(shape),
}


def n_active(spec: Any, n_units: int) -> int:
    """Return k: where it says nothing a quarter of the units, at most 32.

    Examples
    --------
    >>> from isthmus.models.specs import SparseAutoencoder
    >>> n_active(SparseAutoencoder(), 20), n_active(SparseAutoencoder(n_active=3), 20)
    (5, 3)
    """
    return spec.n_active or min(max(n_units // 4, 1), MOST_ACTIVE)
