"""Sparse codes: point-mass posteriors with few active units.

A sparse code is a posterior `Family`. Its activation function may have parameters (thresholds, a
gate) or a running threshold; the decoder reads the activations. `isthmus.training.dictionary`
initialises and maintains such models.
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
FORGET = 0.02  # share of the running threshold that each batch replaces
MOST_ACTIVE = 32  # units per row, by default


class SparseCode(Delta):
    """A code, with the gate that decides which units are active.

    Parameters
    ----------
    value : Tensor (*batch, n_components)
        The activations.
    gate : Tensor (*batch, n_components)
        The variable on which a sparsity penalty acts: see each family.
    """

    def __init__(self, value: Tensor, gate: Tensor) -> None:
        super().__init__(value)
        self.gate = gate


class SparsePoint(Family):
    """A point mass at an elementwise activation, such as relu or sigmoid.

    The base class of the sparse families. To add one, override `activate`, and `restart` if it
    has parameters per unit.

    Parameters
    ----------
    shape : tuple of int
        ``(n_components,)``.
    activation : str
        A name in `isthmus.distributions.families.ACTIVATIONS`.

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
        # Units that were active since the last reset; a statistic, not part of the model.
        self.register_buffer("fired", torch.zeros(shape, dtype=torch.bool), persistent=False)

    def build(self, *outputs: Tensor) -> SparseCode:
        """Return the point mass at the activation; in training, record which units fired."""
        (a,) = outputs
        z, gate = self.activate(a)
        if self.training:
            self.fired |= (z.detach() != 0).flatten(0, -2).any(0)
        return SparseCode(z, gate)

    def activate(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """Return the activations of a (*batch, n_components) and their gate, here the same."""
        z = ACTIVATIONS[self.activation](a)
        return z, z

    def restart(self, units: Tensor) -> None:
        """Reset the parameters of units, a bool (n_components,), to their initial values."""


class TopKPoint(SparsePoint):
    """Keep the k largest positive numbers of each row; all others are 0.

    Sources: k-sparse autoencoders (Makhzani, Frey, 2014); Scaling and evaluating sparse
    autoencoders (Gao, Dupré la Tour, Tillman, Goh, Troll, Radford, Sutskever, Leike, Wu, 2024).

    Raises
    ------
    ValueError
        If k is below 1 or above the number of units.

    Examples
    --------
    >>> TopKPoint((4,), n_active=2)(torch.tensor([[3.0, 1.0, -1.0, 2.0]])).mean
    tensor([[3., 0., 0., 2.]])
    """

    def __init__(self, shape: Shape, n_active: int) -> None:
        super().__init__(shape)
        if not 1 <= n_active <= math.prod(shape):
            raise ValueError(
                f"n_active must be between 1 and the number of units, {math.prod(shape)}; "
                f"got {n_active}."
            )
        self.n_active = n_active

    def activate(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """Return the k largest of each row, also as the gate."""
        top, where = torch.relu(a).topk(self.n_active, dim=-1, sorted=False)
        z = torch.zeros_like(a).scatter(-1, where, top)
        return z, z


class BatchTopKPoint(TopKPoint):
    """Keep the k·n largest numbers of a training batch of n rows; afterwards use a threshold.

    Rows may have different numbers of active units. The threshold is the running mean of the
    smallest number that a batch kept, so that after training codes do not depend on the batch.
    Source: BatchTopK sparse autoencoders (Bussmann, Leask, Nanda, 2024).

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
        self.register_buffer("threshold", torch.tensor(-1.0))  # below 0: no batch yet

    def activate(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """Return the numbers of at least the threshold of the batch, or the running one."""
        a = torch.relu(a)
        threshold = self._of_batch(a.detach()) if self.training else self.threshold
        z = torch.where(a >= threshold, a, 0.0)
        return z, z

    def _of_batch(self, a: Tensor) -> Tensor:
        """Return the smallest number that the batch keeps, and update the threshold."""
        kept = a.flatten().topk(self.n_active * a[..., 0].numel(), sorted=False).values
        smallest = torch.where(kept > 0, kept, torch.inf).amin()
        known = torch.where(self.threshold < 0, smallest, self.threshold)
        update = torch.lerp(known, smallest, FORGET)
        # A batch without positive numbers has no threshold.
        self.threshold.copy_(torch.where(torch.isfinite(update), update, self.threshold))
        return smallest


class JumpReLUPoint(SparsePoint):
    """Keep numbers above a learned threshold per unit; smaller ones are 0.

    The gradient of the threshold θ is that of the expected loss, estimated by a rectangular kernel
    of bandwidth ε: ∂z/∂θ = -(θ/ε) 1[|a - θ| < ε/2], and for the gate H = 1[a > θ],
    ∂H/∂θ = -(1/ε) 1[|a - θ| < ε/2]. The sum of the gate, which `GatePenalty` penalises, is the
    number of active units, L0.
    Source: Jumping ahead: improving reconstruction fidelity with JumpReLU sparse autoencoders
    (Rajamanoharan, Lieberum, Sonnerat, Conmy, Varma, Kramár, Nanda, 2024).

    Parameters
    ----------
    shape : tuple of int
    bandwidth : float
        ε, in units of the pre-activations.
    threshold : float
        Initial value of every θ.

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
        """Return the numbers above the thresholds, and the step function as gate."""
        a, theta = torch.relu(a), self.log_threshold.exp()
        open_ = (a > theta).to(a.dtype)
        near = ((a - theta).abs() < self.bandwidth / 2).to(a.dtype) / self.bandwidth
        # Its value is 0; its gradient is the estimate.
        estimate = near * (theta - theta.detach())
        return a * open_ - theta.detach() * estimate, open_ - estimate

    def restart(self, units: Tensor) -> None:
        """Reset the thresholds of units to the initial one."""
        self.log_threshold.data.masked_fill_(units, self.start)


class GatedPoint(SparsePoint):
    """Magnitudes exp(r) a + b for units whose gate is open, a > 0.

    Gate and magnitude share the encoder outputs a (tied weights); r and b are learned per unit.
    The reconstruction has no gradient for the gate, so training needs `GatePenalty`, which
    penalises relu(a), and `GateReconstruction`.
    Source: Improving dictionary learning with gated sparse autoencoders (Rajamanoharan, Conmy,
    Smith, Lieberum, Varma, Kramár, Shah, Nanda, 2024).

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
        """Return the magnitudes of open units, and relu(a) as gate."""
        magnitude = torch.relu(self.rescale.exp() * a + self.bias)
        return torch.where(a > 0, magnitude, 0.0), torch.relu(a)

    def restart(self, units: Tensor) -> None:
        """Reset gate and magnitude of units to be equal."""
        self.rescale.data.masked_fill_(units, 0.0)
        self.bias.data.masked_fill_(units, 0.0)


#: Sparse families by activation: functions of (shape, spec).
SPARSE_POINTS: dict[str, Callable[[Shape, Any], SparsePoint]] = {
    "identity": lambda shape, spec: SparsePoint(shape, "identity"),
    "relu": lambda shape, spec: SparsePoint(shape, "relu"),
    "sigmoid": lambda shape, spec: SparsePoint(shape, "sigmoid"),
    "topk": lambda shape, spec: TopKPoint(shape, _n_active(shape, spec)),
    "batchtopk": lambda shape, spec: BatchTopKPoint(shape, _n_active(shape, spec)),
    "jumprelu": lambda shape, spec: JumpReLUPoint(shape, spec.bandwidth),
    "gated": lambda shape, spec: GatedPoint(shape),
}


def _n_active(shape: Shape, spec: Any) -> int:
    """Return k, by default a quarter of the units, at most 32."""
    return spec.n_active or min(max(math.prod(shape) // 4, 1), MOST_ACTIVE)
