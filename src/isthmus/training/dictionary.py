"""How sparse codes are started, kept in shape and looked at.

The recipe that people train sparse codes by: decoder columns of unit norm, the encoder their
transpose at the start, the decoder's bias at the geometric median of the data, and units that
died given new work. Each is a function or a callback here, for models of linear networks
(``hidden=()``).
"""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from isthmus.distributions.sparse_codes import SparsePoint
from isthmus.models.latent_variable_model import LatentVariableModel
from isthmus.nn.dense import only_linear
from isthmus.training.batches import Source
from isthmus.training.callbacks import Callback
from isthmus.training.state import Outcome
from isthmus.training.trainer_view import TrainerView

__all__ = [
    "Dictionary",
    "Revive",
    "UnitColumns",
    "geometric_median",
    "start_sparse",
    "training_callbacks",
]

ENOUGH = 8192  # rows that stand for all of them


class Dictionary(NamedTuple):
    """The two linear layers of a sparse code: each unit a row of one, a column of the other.

    Examples
    --------
    >>> from isthmus.registry import build_model
    >>> from isthmus.models.specs import SparseAutoencoder
    >>> model = build_model(SparseAutoencoder(n_components=9, hidden=()), (4,), "gaussian")
    >>> Dictionary.of(model).columns.shape
    torch.Size([4, 9])
    """

    encoder: nn.Linear
    decoder: nn.Linear

    @classmethod
    def of(cls, model: LatentVariableModel) -> Dictionary:
        """Return the layers of a model; a ValueError where they are not the whole networks."""
        encoder, decoder = only_linear(model.encoder), only_linear(model.decoder)
        if encoder is None or decoder is None:
            raise ValueError("a dictionary of units needs linear networks: use hidden=().")
        if encoder.weight.shape != decoder.weight.T.shape:
            raise ValueError(
                "a dictionary of units has one number a feature and a unit, and no context: an "
                f"encoder {tuple(encoder.weight.shape)} does not fit a decoder "
                f"{tuple(decoder.weight.shape)}."
            )
        return cls(encoder, decoder)

    @property
    def columns(self) -> Tensor:
        """What each unit writes, (features, n_components), without gradient."""
        return self.decoder.weight.data

    @property
    def rows(self) -> Tensor:
        """What each unit looks for, (n_components, features), without gradient."""
        return self.encoder.weight.data

    def normalize(self) -> None:
        """Give every column unit norm, in place."""
        self.columns.div_(self.columns.norm(dim=0).clamp(min=1e-12))

    def look_from(self, center: Tensor, units: Tensor | slice = slice(None)) -> None:
        """Let units read x - center, by their encoder's bias."""
        self.encoder.bias.data[units] = -self.rows[units] @ center


def geometric_median(x: Tensor, steps: int = 200, tolerance: float = 1e-7) -> Tensor:
    """Return the point of least summed distance to the rows, by Weiszfeld's iteration.

    Parameters
    ----------
    x : Tensor (n, features)
    steps : int
        Iterations, at most.
    tolerance : float
        StopTraining at a move shorter than this share of the rows' mean distance.

    Returns
    -------
    Tensor (features,)

    References
    ----------
    Sur le point pour lequel la somme des distances de n points donnés est minimum (Weiszfeld,
    1937).

    Examples
    --------
    >>> geometric_median(torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [90.0, 90.0]]))
    tensor([0.5000, 0.5000])
    """
    rows = x.double()
    center = rows.mean(0)
    for _ in range(steps):
        distance = (rows - center).norm(dim=1)
        # A row that the center meets would weigh infinitely; this much holds it there.
        weight = 1 / distance.clamp(min=float(distance.mean()) * tolerance + 1e-30)
        moved = (weight @ rows) / weight.sum()
        move, center = (moved - center).norm(), moved
        if move <= tolerance * distance.mean():
            break
    return center.to(x.dtype)


@torch.no_grad()
def start_sparse(model: LatentVariableModel, x: Tensor) -> None:
    """Start a linear sparse code from data, in place.

    Decoder columns get unit norm; the decoder's bias becomes the geometric median of the rows;
    the encoder reads rows less that median, by the transpose of the decoder, scaled so that the
    first reconstructions have the least squared error.

    Parameters
    ----------
    model : LatentVariableModel
        With ``hidden=()`` and a likelihood of one number a feature.
    x : Tensor (n, *features)
        Training rows as the model is given them; some thousands suffice.

    Raises
    ------
    ValueError
        Where the networks are not linear.

    References
    ----------
    Towards monosemanticity: decomposing language models with dictionary learning (Bricken et
    al., 2023). Scaling and evaluating sparse autoencoders (Gao et al., 2024).

    Examples
    --------
    >>> from isthmus.registry import build_model
    >>> from isthmus.models.specs import SparseAutoencoder
    >>> model = build_model(SparseAutoencoder(n_components=9, hidden=()), (4,), "gaussian")
    >>> start_sparse(model, torch.randn(50, 4))
    >>> model.decoder.layers[0].weight.norm(dim=0).allclose(torch.ones(9))
    True
    """
    units = Dictionary.of(model)
    x = model.likelihood.embed(x[:: max(1, len(x) // ENOUGH)]).flatten(1)
    center = geometric_median(x)
    units.normalize()
    units.decoder.bias.copy_(model.likelihood.link(center))
    units.rows.copy_(units.columns.T)
    units.look_from(center)
    scale = _best_scale(model, units, x)
    units.rows.mul_(scale)
    units.encoder.bias.mul_(scale)


def _best_scale(model: LatentVariableModel, units: Dictionary, x: Tensor) -> Tensor:
    """Return s that makes the error of s · D z least: activations grow with the encoder."""
    a = nn.functional.linear(x, units.rows, units.encoder.bias)
    posterior = copy.deepcopy(model.posterior).train()  # a batch is to leave no trace
    guess = posterior(a).mean @ units.columns.T
    wanted = model.likelihood.link(x) - units.decoder.bias
    return ((wanted * guess).sum() / guess.square().sum().clamp(min=1e-12)).clamp(0.01, 1)


class UnitColumns(Callback):
    """Keep the decoder's columns at unit norm.

    Else a penalty on the activations could be evaded by small activations of long columns. The
    gradient along a column, which the next normalisation would undo, is taken out, so that
    Adam's moments do not fill with it.
    """

    everywhere = True

    def on_start(self, trainer: TrainerView, rows: Source) -> None:
        """Normalise, and watch the gradient."""
        if trainer.process_group.sharded:
            raise ValueError(
                "a dictionary's columns cannot be kept at unit norm where each process has a part "
                "of them: use strategy='ddp', or dictionary=False."
            )
        self.units = Dictionary.of(trainer.model)
        self.units.normalize()
        self.hook = self.units.decoder.weight.register_hook(self._across)

    def on_step(self, trainer: TrainerView, n_rows: int) -> None:
        """Normalise."""
        self.units.normalize()

    def on_end(self, trainer: TrainerView, outcome: Outcome) -> None:
        """Leave the gradient alone."""
        self.hook.remove()

    def _across(self, gradient: Tensor) -> Tensor:
        columns = self.units.columns
        return gradient - (gradient * columns).sum(0) * columns


class Revive(Callback):
    """Give units that no longer fire new work: rows that are badly rebuilt.

    Every so many steps, each unit that was active on no row since the last time gets the
    direction of a row drawn by its squared error, for what it looks for and what it writes, its
    own parameters of the activation as at the start, and fresh moments in the optimiser.

    Resampling, and not an auxiliary loss on dead units, since it is one rule for every
    activation: a unit of relu, jumprelu or gate that is closed on all rows has no gradient that
    an auxiliary loss could use. Its price is some reconstruction: measure it with
    benchmarks/sparse_codes.py, with and without ``--no-revival``.

    Parameters
    ----------
    every : int
        Optimiser steps between two revivals.
    until : float
        Share of training after which no unit is revived, so that the last ones settle.
    strength : float
        Norm of a revived unit's encoder row, in mean norms of the others.

    Attributes
    ----------
    revived : list of int
        How many units were revived each time.

    References
    ----------
    Towards monosemanticity: decomposing language models with dictionary learning (Bricken et
    al., 2023).
    """

    everywhere = True

    def __init__(self, every: int = 250, until: float = 0.8, strength: float = 1.0) -> None:
        self.every, self.until, self.strength = every, until, strength
        self.revived: list[int] = []

    def on_start(self, trainer: TrainerView, rows: Source) -> None:
        """Remember the rows, and begin to watch."""
        self.units, self.posterior = Dictionary.of(trainer.model), _sparse(trainer.model)
        self.rows, self.revived = rows, []
        n_batches = rows.n_batches(trainer.settings.batch_size) or math.inf
        self.last = trainer.step + self.until * trainer.n_epochs(rows) * n_batches
        self.posterior.fired.zero_()

    def on_step(self, trainer: TrainerView, n_rows: int) -> None:
        """Revive, now and then: only then is a number read off the device."""
        if trainer.step % self.every == 0 and trainer.step <= self.last:
            self.revive(trainer)

    def state(self) -> dict[str, Any]:
        """Return how many units were revived each time."""
        return {"revived": self.revived}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.revived = list(state["revived"])

    @torch.no_grad()
    def revive(self, trainer: TrainerView) -> None:
        """Give every unit that has not fired a new row."""
        dead = ~trainer.process_group.any(self.posterior.fired)
        self.posterior.fired.zero_()
        self.revived.append(int(dead.sum()))
        if not self.revived[-1]:
            return
        directions = self._work(trainer, self.revived[-1])
        norm = self.units.rows[~dead].norm(dim=1).mean().nan_to_num(1.0)
        self.units.columns[:, dead] = directions.T
        self.units.rows[dead] = self.strength * norm * directions
        self.units.look_from(_center(trainer.model), dead)
        self.posterior.restart(dead)
        _forget(trainer, dead)

    def _work(self, trainer: TrainerView, n: int) -> Tensor:
        """Return n directions, (n, features), from the middle to rows that are badly rebuilt."""
        model, x = trainer.model, self.rows.sample(ENOUGH, trainer.generator, replace=True)
        model.eval()
        seen = model.likelihood.embed(x).nan_to_num(0.0)  # as the encoder sees what is missing
        rebuilt = model.likelihood.embed(model.reconstruct(model.encode(x).mean))
        error = (rebuilt - seen).flatten(1).square().sum(1)
        model.train()
        chosen = error.clamp(min=1e-12).multinomial(n, True, generator=trainer.generator)
        return nn.functional.normalize(seen.flatten(1)[chosen] - _center(model))


def is_dictionary(row: Any, model: LatentVariableModel) -> bool:
    """Whether a row asks for a dictionary of units, and its model can be one.

    Examples
    --------
    >>> from isthmus.registry import build_model
    >>> from isthmus.models.specs import SparseAutoencoder
    >>> rows = SparseAutoencoder(hidden=()), SparseAutoencoder(hidden=(8,))
    >>> [is_dictionary(row, build_model(row, (4,), "gaussian")) for row in rows]
    [True, False]
    """
    code = model.posterior
    if not (getattr(row, "dictionary", False) and isinstance(code, SparsePoint)):
        return False
    try:
        Dictionary.of(model)
    except ValueError:
        return False
    # Sigmoid activations cannot grow: columns of unit norm would bound what they can say.
    return code.activation not in ("sigmoid", "identity")


def training_callbacks(row: Any, model: LatentVariableModel, revive: bool = True) -> list[Callback]:
    """Return what keeps the code of a row in shape, by its `dictionary` and `revive_every`."""
    if not is_dictionary(row, model):
        return []
    revives = revive and row.revive_every is not None
    return [UnitColumns(), Revive(row.revive_every)] if revives else [UnitColumns()]


def _sparse(model: LatentVariableModel) -> SparsePoint:
    if not isinstance(model.posterior, SparsePoint):
        raise ValueError(
            "only a sparse family knows which of its units fire, but the posterior is a "
            f"{type(model.posterior).__name__}."
        )
    return model.posterior


def _center(model: LatentVariableModel) -> Tensor:
    """Return what the model says where no unit is active, as an encoder sees it, (features,)."""
    nothing = next(model.parameters()).new_zeros(1, *model.posterior.shape)
    return model.likelihood.embed(model.reconstruct(nothing)).flatten().to(nothing.dtype)


def _forget(trainer: TrainerView, units: Tensor) -> None:
    """Clear the optimiser's moments of units, in all parameters that have some for each."""
    encoder, decoder = Dictionary.of(trainer.model)
    own = [(p, 0) for p in (encoder.weight, encoder.bias, *trainer.model.posterior.parameters())]
    for parameter, axis in [*own, (decoder.weight, 1)]:
        for moment in trainer.optimizer.state[parameter].values():
            if moment.shape == parameter.shape:
                moment.index_fill_(axis, units.nonzero().flatten(), 0.0)
