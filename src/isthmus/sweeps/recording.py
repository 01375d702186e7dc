"""A step recorded once and played from then on: the same operations without the way to them.

A step of small models spends much of its time in Python, in `torch.func` and in automatic
differentiation, which find out the same few hundred operations each time. Recording takes as
long as some hundred steps, so that a step is recorded only after it was taken that often.

Source of the means: torch.fx: practical program capture and transformation for deep learning in
Python (Reed, DeVito, He, Ussery, Ansel, 2022).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

__all__ = ["Recorded"]

PAYS_AFTER = 200  # steps of the same shapes


class Recorded:
    """A function of tensors that is recorded, for each set of shapes, once that pays.

    Parameters
    ----------
    f : callable
        Tensors to tensors, possibly nested or None; what else it reads must not change.
    after : int
        Calls with the same shapes before the recording.

    Examples
    --------
    >>> square = Recorded(lambda x: [x * x], after=1)
    >>> [square(torch.tensor(3.0))[0].item() for _ in range(3)], len(square.graphs)
    ([9.0, 9.0, 9.0], 1)
    """

    def __init__(self, f: Callable[..., Any], after: int = PAYS_AFTER) -> None:
        self.f, self.after = f, after
        self.calls: Counter[Any] = Counter()
        self.graphs: dict[Any, torch.fx.GraphModule] = {}

    def __call__(self, *tensors: Any) -> Any:
        """Return f of the tensors (or sequences of them, or None)."""
        shapes = _shapes(tensors)
        if shapes in self.graphs:
            with torch.no_grad():
                return self.graphs[shapes](*tensors)
        self.calls[shapes] += 1
        if self.calls[shapes] > self.after:
            self.graphs[shapes] = make_fx(lambda *given: self.f(*given))(*tensors)
        return self.f(*tensors)


def _shapes(tensors: Sequence[Any]) -> Any:
    """Return the shapes of nested tensors."""
    return tuple(
        t.shape if isinstance(t, Tensor) else None if t is None else _shapes(t) for t in tensors
    )
