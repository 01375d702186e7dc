"""The squared Frobenius norm of a dense encoder's Jacobian, by the chain rule on small matrices.

Reverse-mode differentiation of a code of k numbers walks k times back to the input. Of dense
layers the walk can stop at the first hidden layer: the norm of v W is that of v in the metric
K = W Wᵀ, a matrix as wide as the layer. With one hidden layer and a linear code not even k
walks are needed: with s the slopes of the hidden units, ‖V diag(s) W‖² = sᵀ (VᵀV ∘ W Wᵀ) s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from isthmus.nn.dense import Dense

__all__ = ["Chain", "chain_of", "squared_norm"]

PIECEWISE = (nn.ReLU, nn.LeakyReLU)  # their slopes are steps, without a slope of their own


class Chain(NamedTuple):
    """Dense layers: of all but the last, what stands between them."""

    linears: list[nn.Linear]
    functions: list[nn.Module]


def chain_of(network: nn.Module) -> Chain | None:
    """Return the layers of a plain `Dense` network; None of any other.

    Examples
    --------
    >>> from isthmus.nn.dense import linear_layer
    >>> chain_of(Dense([4, 3, 2], linear_layer("relu"))).functions
    [ReLU()]
    """
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
    """Return ‖∂z/∂x‖²_F of each row, (n,), differentiable in the layers' weights.

    Parameters
    ----------
    chain : Chain
    head : callable
        The last layer's numbers (n, outputs) to z, each z_j from numbers of its own.
    x : Tensor (n, features)
    steady : bool
        Whether the head is linear, so that its slopes are those of any row.
    directions : Tensor (n, m, outputs), optional
        Random signs r: the mean of ‖rᵀ ∂z/∂x‖² over them, which is right in expectation
        (Hutchinson); without them, exact.

    Examples
    --------
    >>> from isthmus.nn.dense import linear_layer
    >>> chain = chain_of(Dense([4, 3, 2], linear_layer("tanh")))
    >>> x = torch.randn(5, 4)
    >>> jacobian = torch.func.vmap(torch.func.jacrev(lambda row: chain.linears[1](
    ...     chain.linears[0](row).tanh())))(x)
    >>> squared_norm(chain, lambda a: a, x).allclose(jacobian.square().sum((1, 2)))
    True
    """
    flat = steady and all(isinstance(f, PIECEWISE) for f in chain.functions)
    with torch.set_grad_enabled(not flat):
        *slopes, last = _slopes(chain, head, x.detach())
    first, *others = (linear.weight for linear in chain.linears)
    if not others:
        if directions is None:
            return last.square() @ first.square().sum(1)
        return ((directions * last[:, None]) @ first).square().sum(2).mean(1)
    if directions is None and steady and len(others) == 1:
        v = others[0] * last[0][:, None]
        return ((slopes[0] @ ((v.T @ v) * _gram(first))) * slopes[0]).sum(1)
    exact = directions is None
    starts = torch.eye(last.shape[1]).to(last) if directions is None else directions
    v = starts * last[:, None]
    for weight, slope in zip(reversed(others), reversed(slopes), strict=True):
        v = (v @ weight) * slope[:, None]
    narrow = first.shape[0] < first.shape[1]
    norms = ((v @ _gram(first)) * v if narrow else (v @ first).square()).sum(2)  # (n, m)
    return norms.sum(1) if exact else norms.mean(1)


def _slopes(chain: Chain, head: Callable[[Tensor], Tensor], h: Tensor) -> Iterator[Tensor]:
    """Yield the slopes of each layer's function, the head's last, each (n, width)."""
    functions: list[Callable[[Tensor], Tensor]] = [*chain.functions, head]
    for linear, function in zip(chain.linears, functions, strict=True):
        h, slope = _slope(function, linear(h))
        yield slope


def _slope(f: Callable[[Tensor], Tensor], a: Tensor) -> tuple[Tensor, Tensor]:
    """Return f(a), and the slope of each number of it."""
    differentiable = torch.is_grad_enabled()
    with torch.enable_grad():
        a = a if a.requires_grad else a.detach().requires_grad_()
        z = f(a)
        (slope,) = torch.autograd.grad(z.sum(), a, create_graph=differentiable)
    return (z, slope) if differentiable else (z.detach(), slope)


def _gram(weight: Tensor) -> Tensor:
    """Return W Wᵀ for what is symmetric in it: its gradient then is one product, not two."""
    half = weight @ weight.detach().T
    return 2 * half - half.detach()
