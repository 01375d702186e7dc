"""The squared Frobenius norm of a dense encoder's Jacobian, by the chain rule on small matrices.

Reverse-mode differentiation of k components needs k backward passes to the input. For dense layers
they can stop at the first hidden layer: the norm of v W is that of v in the metric K = W Wᵀ, a
matrix as wide as the layer. One hidden layer and a linear code need no pass at all: with s the
derivatives of the hidden units, ‖V diag(s) W‖² = sᵀ (VᵀV ∘ W Wᵀ) s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from isthmus.nn.dense import Dense

__all__ = ["Chain", "chain_of", "squared_norm"]

PIECEWISE = (nn.ReLU, nn.LeakyReLU)  # their second derivative is 0


class Chain(NamedTuple):
    """Dense layers, and the functions between them."""

    linears: list[nn.Linear]
    functions: list[nn.Module]


def chain_of(network: nn.Module) -> Chain | None:
    """Return the layers of a plain `Dense` network, or None for other networks."""
    if not isinstance(network, Dense):
        return None
    linears, functions = [], []
    *hidden, last = network.layers
    for layer in hidden:
        if not isinstance(layer, nn.Sequential) or len(layer) != 2:
            return None  # gated, or with dropout
        linears.append(layer[0])
        functions.append(layer[1])
    return Chain([*linears, last], functions)  # type: ignore[list-item]


def squared_norm(
    chain: Chain,
    head: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    steady: bool = False,
    directions: Tensor | None = None,
) -> Tensor:
    """Return ‖∂z/∂x‖²_F of each row, (n,), differentiable in the weights.

    Parameters
    ----------
    chain : Chain
    head : callable
        Maps the outputs of the last layer (n, outputs) to z; each z_j has its own outputs.
    x : Tensor (n, features)
    steady : bool
        Whether the head is linear, so that its derivatives are the same for all rows.
    directions : Tensor (n, m, outputs), optional
        Random signs r: the mean of ‖rᵀ ∂z/∂x‖² is an unbiased estimate (Hutchinson). Without
        them the norm is exact.
    """
    flat = steady and all(isinstance(f, PIECEWISE) for f in chain.functions)
    with torch.set_grad_enabled(not flat):
        *derivatives, last = _derivatives(chain, head, x.detach())
    first, *others = (linear.weight for linear in chain.linears)
    if not others:
        if directions is None:
            return last.square() @ first.square().sum(1)
        return ((directions * last[:, None]) @ first).square().sum(2).mean(1)
    if directions is None and steady and len(others) == 1:
        v = others[0] * last[0][:, None]
        return ((derivatives[0] @ ((v.T @ v) * _gram(first))) * derivatives[0]).sum(1)
    exact = directions is None
    starts = torch.eye(last.shape[1]).to(last) if directions is None else directions
    v = starts * last[:, None]
    for weight, derivative in zip(reversed(others), reversed(derivatives), strict=True):
        v = (v @ weight) * derivative[:, None]
    narrow = first.shape[0] < first.shape[1]
    norms = ((v @ _gram(first)) * v if narrow else (v @ first).square()).sum(2)  # (n, m)
    return norms.sum(1) if exact else norms.mean(1)


def _derivatives(chain: Chain, head: Callable[[Tensor], Tensor], h: Tensor) -> Iterator[Tensor]:
    """Yield the derivatives of each layer's function, last those of the head, each (n, width)."""
    functions: list[Callable[[Tensor], Tensor]] = [*chain.functions, head]
    for linear, function in zip(chain.linears, functions, strict=True):
        h, derivative = _derivative(function, linear(h))
        yield derivative


def _derivative(f: Callable[[Tensor], Tensor], a: Tensor) -> tuple[Tensor, Tensor]:
    """Return f(a) and its elementwise derivative."""
    differentiable = torch.is_grad_enabled()
    with torch.enable_grad():
        a = a if a.requires_grad else a.detach().requires_grad_()
        z = f(a)
        (derivative,) = torch.autograd.grad(z.sum(), a, create_graph=differentiable)
    return (z, derivative) if differentiable else (z.detach(), derivative)


def _gram(weight: Tensor) -> Tensor:
    """Return W Wᵀ for symmetric use, whose gradient takes one product instead of two."""
    half = weight @ weight.detach().T
    return 2 * half - half.detach()
