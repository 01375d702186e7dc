"""The training step as a function of weights and random draws, and its compilation.

The step computes gradients, which `torch.compile` does not trace, so for ``compile=True`` `make_fx`
first traces it to a graph of tensor operations, and the graph is compiled.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.utils import _pytree as pytree

from isthmus.distributions import base
from isthmus.models.latent_variable_model import LatentVariableModel
from isthmus.objectives.objective import Objective, StepInputs, Terms
from isthmus.objectives.schedules import SETTLED

__all__ = ["CompiledStep", "Gradients", "Program", "compute_gradients", "is_traceable"]

Step = Callable[..., Any]
Gradients = tuple[Sequence[Tensor | None], Tensor]  # one per weight, and the stacked loss terms
TRACEABLE = ("isthmus", "torch")  # packages whose modules do the same at every call
#: Compiled code draws the same random numbers as the operations it replaces.
OPTIONS: dict[str, Any] = {"fallback_random": True}


class Program(nn.Module):
    """The loss terms of a model as the forward pass of a module, for `functional_call`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        objective: Objective,
        shown: StepInputs,
        step: int,
        noise: Any,
        generator: Generator | None = None,
    ) -> Terms:
        """Return the loss terms of a batch."""
        model: Any = self.model
        return objective.terms(model, shown, step=step, generator=generator, noise=noise)


def compute_gradients(terms: Terms, weights: Sequence[Tensor]) -> Gradients:
    """Return the gradients of the loss, summed over models, and the stacked loss terms."""
    trainable = [w for w in weights if w.requires_grad]
    loss = terms.loss.sum() if terms.loss.ndim else terms.loss
    found = iter(torch.autograd.grad(loss, trainable, allow_unused=True))
    gradients = [next(found) if w.requires_grad else None for w in weights]
    return gradients, torch.stack([t.detach() for t in terms])


def is_traceable(model: LatentVariableModel, objective: Objective) -> bool:
    """Whether a step depends on nothing but tensors, so that a traced graph can replace it.

    Modules and terms from other packages may count, draw or print, and hooks must be called.
    """
    parts = (objective, objective.bound, *objective.penalties)
    modules = list(model.modules())
    hooked = any(
        m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks
        for m in modules
    ) or any(p._backward_hooks or p._post_accumulate_grad_hooks for p in model.parameters())
    drawing = any(getattr(p, "draws", False) for p in parts)
    return not (hooked or drawing) and all(
        type(p).__module__.split(".")[0] in TRACEABLE for p in (*parts, *modules)
    )


class CompiledStep:
    """Compile a function of tensors for the shapes that are worth it.

    A graph is kept only if it returns what the function returns, up to rounding. A function that
    reads numbers from its tensors is called as it is.

    Parameters
    ----------
    f : callable
        (step, *tensors) to tensors, possibly nested or None.
    wanted : callable
        Whether to compile for the shapes of the given tensors; only at steps from which the
        function does not depend on their number.
    state : callable
        Returns the tensors that a call changes in place, such as buffers.
    """

    def __init__(
        self,
        f: Step,
        wanted: Callable[..., bool],
        state: Callable[[], Sequence[Tensor]] = tuple,
    ) -> None:
        self.f, self.wanted, self.state = f, wanted, state
        self.graphs: dict[Any, Step | None] = {}

    def __call__(self, step: int, *tensors: Any) -> Any:
        """Return f of the step's number and the tensors (or sequences of them, or None)."""
        if not self.wanted(*tensors):
            return self.f(step, *tensors)
        shapes = tuple(None if t is None else t.shape for t in pytree.tree_leaves(tensors))
        if shapes not in self.graphs:
            # Tracing patches modules for all threads, and trial runs draw global random numbers.
            with base._rng_lock:
                self.graphs[shapes] = self._compile(step, tensors)
        compiled = self.graphs[shapes]
        return self.f(step, *tensors) if compiled is None else compiled(*tensors)

    def _compile(self, step: int, tensors: Sequence[Any]) -> Step | None:
        """Return the compiled function, or None; leave state and random numbers as they are."""
        from torch.fx.experimental.proxy_tensor import make_fx

        before = _Snapshot(self.state(), tensors)

        def trial(f: Step, *arguments: Any) -> Any:
            try:
                return f(*arguments), [t.clone() for t in before.tensors]
            finally:
                before.restore()

        expected = trial(self.f, step, *tensors)
        try:
            graph, _ = trial(make_fx(partial(self.f, SETTLED)), *tensors)
        except Exception:  # a step that cannot be traced runs as it is
            return None
        try:
            compiled = torch.compile(graph, fullgraph=True, dynamic=False, options=OPTIONS)
            compiled = torch.no_grad()(compiled)
            if _all_close(trial(compiled, *tensors), expected):
                return compiled
            reason = "its results differ"
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        warnings.warn(
            f"the training step could not be compiled ({reason}); training continues without "
            "compilation.",
            RuntimeWarning,
            stacklevel=2,
        )
        return None


class _Snapshot:
    """Values of tensors and of torch's global random state, to be restored."""

    def __init__(self, tensors: Sequence[Tensor], others: Sequence[Any]) -> None:
        self.tensors, self.values = tensors, [t.clone() for t in tensors]
        leaves = [*tensors, *pytree.tree_leaves(others)]
        cuda = {t.device for t in leaves if isinstance(t, Tensor) and t.is_cuda}
        self.rng = torch.get_rng_state(), [(d, torch.cuda.get_rng_state(d)) for d in cuda]

    @torch.no_grad()
    def restore(self) -> None:
        for tensor, value in zip(self.tensors, self.values, strict=True):
            tensor.copy_(value)
        torch.set_rng_state(self.rng[0])
        for device, state in self.rng[1]:
            torch.cuda.set_rng_state(state, device)


def _all_close(a: Any, b: Any) -> bool:
    """Whether nested tensors have equal strides and equal values up to rounding."""
    (ours, one), (theirs, other) = pytree.tree_flatten(a), pytree.tree_flatten(b)
    return one == other and all(
        x is y is None or (x.stride() == y.stride() and _close(x, y))
        for x, y in zip(ours, theirs, strict=True)
    )


def _close(x: Tensor, y: Tensor) -> bool:
    x, y = x.double(), y.double()
    return bool((x - y).norm() <= 1e-3 * y.norm() + 1e-12)
