"""Contenders that take turns, and what is asked of isthmus beside them."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

Figures = dict[str, Any]
OURS = "isthmus"
STEADY = 1.1  # how much slower later rounds may be and still count as noise


class CannotRace(Exception):
    """Why a contender is not in a race: a library that is not installed, a thing it cannot do."""


@dataclass(frozen=True)
class Contender:
    """What is timed.

    Parameters
    ----------
    epoch : callable
        Does the same work at each call; returns a figure by which to see that the work was as good
        as that of others (the mean loss in nats per example), NaN where there is none.
    parameters : int, optional
        Numbers its model learns.
    networks : tuple of Module, optional
        The encoder and the decoder that it trains; the latter returns logits of pictures.
    """

    epoch: Callable[[], float]
    parameters: int | None = None
    networks: tuple[nn.Module, nn.Module] | None = None


Makers = dict[str, Callable[[], Contender]]


@dataclass(frozen=True)
class Aim:
    """Something asked of isthmus in a race.

    Parameters
    ----------
    against : str
        The contender it is measured against: "" for seconds alone, "itself" for its own first
        rounds.
    most : float, optional
        Its time may be that many times the other's.
    least : float, optional
        The other's time must be that many times its own.
    """

    against: str
    most: float = math.inf
    least: float = 0.0

    def judge(self, results: dict[str, Figures]) -> str:
        """Return one line: what is asked, what came, met or missed."""
        ours = results[OURS]
        if self.against == "itself":
            ratio, what = _later(ours["seconds"][1:]), "later rounds / first rounds"
        elif self.against == "":
            ratio, what = ours["median"], "seconds"
        else:
            other = results.get(self.against, {})
            if "median" not in other:
                return f"{self.against}: not measured, {other.get('why', 'not asked for')}"
            if self.least:
                ratio, what = other["median"] / ours["median"], f"{self.against} / {OURS}"
            else:
                ratio, what = ours["median"] / other["median"], f"{OURS} / {self.against}"
        bound = f"at least {self.least:g}" if self.least else f"at most {self.most:.3g}"
        met = self.least <= ratio <= self.most
        return f"{what}: {ratio:.2f}, {bound}: {'met' if met else 'MISSED'}"


#: "Never slower in a later epoch than in the first", but for noise.
NEVER_SLOWER = Aim("itself", most=STEADY)


def _later(seconds: list[float]) -> float:
    """Return the median time of the later half of the rounds by that of the earlier half."""
    half = max(1, len(seconds) // 2)
    return statistics.median(seconds[-half:]) / statistics.median(seconds[:half])


def race(makers: Makers, rounds: int) -> dict[str, Figures]:
    """Make contenders and let them take turns, A B A B.

    Parameters
    ----------
    makers : dict of str to callable
        Each returns a `Contender`, or raises `CannotRace`.
    rounds : int
        Timed rounds, after one that warms up (and compiles).

    Returns
    -------
    dict of str to dict
        Of each contender: `seconds` and `figures` of all rounds, the warm-up first; `median` of
        the timed rounds, `extra_at_first`, the seconds by which the warm-up was longer;
        `parameters`. Or `why` it did not run.
    """
    results: dict[str, Figures] = {}
    contenders: dict[str, Contender] = {}
    for name, make in makers.items():
        try:
            contenders[name] = make()
        except CannotRace as error:
            results[name] = {"why": str(error)}
        else:
            results[name] = {"seconds": [], "figures": []}
    for _ in range(rounds + 1):
        for name, contender in contenders.items():
            start = time.perf_counter()
            figure = contender.epoch()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            results[name]["seconds"].append(time.perf_counter() - start)
            results[name]["figures"].append(figure if math.isfinite(figure) else None)
    for name, contender in contenders.items():
        _sum_up(results[name], contender)
    return {name: results[name] for name in makers}


def _sum_up(own: Figures, contender: Contender) -> None:
    own["median"] = statistics.median(own["seconds"][1:])
    own["extra_at_first"] = own["seconds"][0] - own["median"]
    own["parameters"] = contender.parameters


def same_size(results: dict[str, Figures]) -> int | None:
    """Return how many numbers the models learn, the same for all contenders.

    Raises
    ------
    ValueError
        If models of different sizes raced: the times would say nothing.
    """
    sizes = {name: r["parameters"] for name, r in results.items() if r.get("parameters")}
    if len({*sizes.values()}) > 1:
        raise ValueError(f"models of different sizes raced: {sizes}.")
    return next(iter(sizes.values()), None)
