"""A step recorded once and played from then on: the same operations without the way to them.

A step of small models spends much of its time in Python and in automatic differentiation, which
find out the same few hundred operations each time. Recording takes as long as some hundred steps,
so that a step is recorded only after it was taken that often.

Source of the means: torch.fx: practical program capture and transformation for deep learning in
Python (Reed, DeVito, He, Ussery, Ansel, 2022).
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from isthmus.distributions import base

__all__ = ["Recorded"]

PAYS_AFTER = 200  # steps of the same shapes
#: Compiled code is to draw what the code it is made of draws.
AS_DRAWN: dict[str, Any] = {"fallback_random": True}
METHODS = ("expand", "view")  # of tensors, for which there is no function
aten = torch.ops.aten
TRANSPOSE = (aten.t.default, torch.t)


class Recorded:
    """A function of tensors that is recorded, for each set of shapes, once that pays.

    A recording is kept only if it gives, to the last bit, what the function gives on the tensors
    it was made of. One that reads numbers off its tensors, or asks for the time, is not recorded.

    Parameters
    ----------
    f : callable
        (time, *tensors) to tensors, possibly nested or None. What else it reads must not change.
    after : int
        Calls with the same shapes before the recording; by default 200.
    state : callable
        Returns the tensors that a call changes in place: buffers of the modules behind f.
    compiled : callable, optional
        Says of tensors whether a call with such shapes is to be recorded at once and compiled:
        fewer and larger kernels, whose results differ in the last bits. It takes seconds, and
        needs a C++ compiler.

    Examples
    --------
    >>> square = Recorded(lambda time, x: [x * x], after=1)
    >>> [square(t, torch.tensor(3.0))[0].item() for t in range(3)], len(square.graphs)
    ([9.0, 9.0, 9.0], 1)
    """

    def __init__(
        self,
        f: Callable[..., Any],
        after: int | None = None,
        state: Callable[[], Sequence[Tensor]] = tuple,
        compiled: Callable[..., bool] | None = None,
    ) -> None:
        self.f, self.state, self.compiled = f, state, compiled
        self.after = PAYS_AFTER if after is None else after
        self.calls: Counter[Any] = Counter()
        self.graphs: dict[Any, Callable[..., Any] | None] = {}

    def __call__(self, time: int, *tensors: Any) -> Any:
        """Return f of the time and the tensors (or sequences of them, or None)."""
        shapes = _shapes(tensors)
        if shapes not in self.graphs:
            self.calls[shapes] += 1
            compiled = self.compiled is not None and self.compiled(*tensors)
            if compiled or self.calls[shapes] > self.after:
                self.graphs[shapes] = self._record(time, tensors, compiled)
        play = self.graphs.get(shapes)
        return self.f(time, *tensors) if play is None else play(*tensors)

    def _record(
        self, time: int, tensors: Sequence[Any], compiled: bool
    ) -> Callable[..., Any] | None:
        """Return what plays the call; None where nothing plays the same. Nothing has happened."""
        # Tracing changes modules for all threads, and trials draw from torch's global state.
        with base._rng_lock:
            return self._try(time, tensors, compiled)

    def _try(self, time: int, tensors: Sequence[Any], compiled: bool) -> Callable[..., Any] | None:
        now = _Point(self.state(), tensors)

        def outcome(f: Callable[..., Any], *given: Any) -> Any:
            try:
                return f(*given), [t.clone() for t in now.tensors]
            finally:
                now.restore()

        true = outcome(self.f, time, *tensors)

        def fault(f: Callable[..., Any], same: Callable[[Tensor, Tensor], bool]) -> str | None:
            """Say what keeps f from standing for the function."""
            try:
                return None if _alike(outcome(f, *tensors), true, same) else "its numbers differ"
            except Exception as error:
                return _first_line(error)

        try:
            graph, _ = outcome(make_fx(partial(self.f, None)), *tensors)
        except Exception:  # whatever cannot be recorded is called, as before
            return None
        play = torch.no_grad()(graph)
        calls = _shorten(graph)
        if fault(play, torch.equal) is not None:
            _restore(graph, calls)
            if fault(play, torch.equal) is not None:
                return None
        if not compiled:
            return play
        try:
            fast = torch.compile(graph, fullgraph=True, dynamic=False, options=AS_DRAWN)
            fast = torch.no_grad()(fast)
            reason = fault(fast, _close)
        except Exception as error:
            reason = _first_line(error)
        if reason is None:
            return fast
        warnings.warn(
            f"the training step could not be compiled ({reason}); training goes on without.",
            RuntimeWarning,
            stacklevel=2,
        )
        return play


class _Point:
    """A moment to come back to: tensors, and torch's global random state."""

    def __init__(self, tensors: Sequence[Tensor], others: Sequence[Any] = ()) -> None:
        self.tensors, self.values = tensors, [t.clone() for t in tensors]
        every = [*tensors, *pytree.tree_leaves(others)]
        cuda = {t.device for t in every if isinstance(t, Tensor) and t.is_cuda}
        self.rng = torch.get_rng_state(), [(d, torch.cuda.get_rng_state(d)) for d in cuda]

    @torch.no_grad()
    def restore(self) -> None:
        for tensor, value in zip(self.tensors, self.values, strict=True):
            tensor.copy_(value)
        torch.set_rng_state(self.rng[0])
        for device, state in self.rng[1]:
            torch.cuda.set_rng_state(state, device)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _shapes(tensors: Sequence[Any]) -> Any:
    """Return the shapes of nested tensors."""
    return tuple(
        t.shape if isinstance(t, Tensor) else None if t is None else _shapes(t) for t in tensors
    )


def _alike(a: Any, b: Any, same: Callable[[Tensor, Tensor], bool]) -> bool:
    """Whether two nests of tensors are the same, and lie in memory in one way."""
    (ours, one), (theirs, other) = pytree.tree_flatten(a), pytree.tree_flatten(b)
    return one == other and all(
        x is y is None or (x.stride() == y.stride() and same(x, y))
        for x, y in zip(ours, theirs, strict=True)
    )


def _close(x: Tensor, y: Tensor) -> bool:
    """Whether x is y but for the order in which a processor may add."""
    x, y = x.double(), y.double()
    return bool((x - y).norm() <= 1e-3 * y.norm() + 1e-12)


def _shorten(graph: GraphModule) -> dict[Node, tuple[str, Any]]:
    """Leave out what changes nothing, and call functions directly; return the calls before."""
    calls = {}
    for node in list(graph.graph.nodes):
        if (source := _replaced_by(node)) is not None:
            node.replace_all_uses_with(source)
            graph.graph.erase_node(node)
        elif (call := _direct(node)) is not None:
            calls[node] = node.op, node.target
            node.op, node.target = call
    graph.recompile()
    return calls


def _restore(graph: GraphModule, calls: dict[Node, tuple[str, Any]]) -> None:
    for node, call in calls.items():
        node.op, node.target = call
    graph.recompile()


def _direct(node: Node) -> tuple[str, Any] | None:
    """Return the function or method behind an operator: the way through `torch.ops` is longer."""
    if node.op != "call_function" or not isinstance(node.target, OpOverload):
        return None
    if any(isinstance(a, list | tuple) and None in a for a in node.args):
        return None  # gaps among indices are known to the operator alone
    name = node.target._schema.name.removeprefix("aten::")
    if name in METHODS:
        return "call_method", name
    f = getattr(torch, name, None)
    return ("call_function", f) if callable(f) else None


def _replaced_by(node: Node) -> Node | None:
    """Return what stands for detaching, powers of one, transposing twice."""
    if node.target is aten.detach.default:
        return node.args[0]  # type: ignore[return-value]
    if node.target is aten.pow.Tensor_Scalar and node.args[1] == 1.0:
        return node.args[0]  # type: ignore[return-value]
    source = node.args[0] if node.target in TRANSPOSE else None
    if isinstance(source, Node) and source.target in TRANSPOSE:
        return source.args[0]  # type: ignore[return-value]
    return None
