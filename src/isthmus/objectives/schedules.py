"""Schedules: weights as functions of the number of the optimiser step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["SCHEDULES", "SETTLED", "Cyclical", "Linear", "Schedule", "constant"]

Schedule = Callable[[int], float]

#: A step at which every schedule has reached its final value, for comparable losses.
SETTLED = 2**62


def constant(value: float) -> Schedule:
    """Return a schedule that is always `value`.

    Examples
    --------
    >>> constant(4.0)(1000)
    4.0
    """
    return lambda step: value


@dataclass(frozen=True)
class Linear:
    """Rise from 0 to `value` over the first `steps`, then stay constant.

    Source: Ladder variational autoencoders (Sønderby, Raiko, Maaløe, Sønderby, Winther, 2016).

    Examples
    --------
    >>> [Linear(2.0, steps=4)(s) for s in (0, 2, 4, 100)]
    [0.0, 1.0, 2.0, 2.0]
    """

    value: float
    steps: int

    def __call__(self, step: int) -> float:
        """Return the weight at a step."""
        return self.value * min(1.0, step / max(1, self.steps))


@dataclass(frozen=True)
class Cyclical:
    """Repeatedly rise from 0 to `value` over half a period, then stay constant for the other half.

    Source: Cyclical annealing schedule: a simple approach to mitigating KL vanishing (Fu, Li,
    Liu, Gao, Celikyilmaz, Carin, 2019).

    Examples
    --------
    >>> [Cyclical(1.0, steps=4)(s) for s in (0, 1, 2, 3, 4)]
    [0.0, 0.5, 1.0, 1.0, 0.0]
    """

    value: float
    steps: int

    def __call__(self, step: int) -> float:
        """Return the weight at a step."""
        if step >= SETTLED:
            return self.value
        period = max(1, self.steps)
        return self.value * min(1.0, 2 * (step % period) / period)


#: Functions of (value, steps of the warm-up or the period) that return a schedule.
SCHEDULES: dict[str, Callable[[float, int], Schedule]] = {
    "constant": lambda value, steps: constant(value),
    "linear": Linear,
    "cyclical": Cyclical,
}
