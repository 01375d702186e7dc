"""Training of sparse codes: dead units, and the initialization and unit columns of dictionaries.

Units that are active on no row have no gradient; they are reinitialized during training. In a
dictionary, a sparse code of linear networks (``hidden=()``), decoder columns have unit norm, the
encoder starts as their transpose and the decoder's bias as the geometric median of the data.
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
from isthmus.training.callbacks import Callback, TrainerView
from isthmus.training.state import Outcome

__all__ = [
    "NEVER_CLOSED",
    "Dictionary",
    "Revive",
    "UnitColumns",
    "geometric_median",
    "start_sparse",
    "training_callbacks",
]

SAMPLE_ROWS = 8192
#: Activations without dead units. Unit columns would bound the reconstructions from a sigmoid.
NEVER_CLOSED = ("sigmoid", "identity")


class Dictionary(NamedTuple):
    """The two linear layers of a sparse code; each unit is an encoder row and a decoder column."""

    encoder: nn.Linear
    decoder: nn.Linear

    @classmethod
    def of(cls, model: LatentVariableModel) -> Dictionary:
        """Return the layers of a model, or raise a ValueError if its networks are not linear."""
        encoder, decoder = only_linear(model.encoder), only_linear(model.decoder)
        if encoder is None or decoder is None:
            raise ValueError("a dictionary needs linear networks: use hidden=().")
        if encoder.weight.shape != decoder.weight.T.shape:
            raise ValueError(
                "a dictionary needs one decoder output per feature and no condition; the encoder "
                f"has shape {tuple(encoder.weight.shape)} and the decoder "
                f"{tuple(decoder.weight.shape)}."
            )
        return cls(encoder, decoder)

    @property
    def columns(self) -> Tensor:
        """Decoder columns, (features, n_components), without gradient."""
        return self.decoder.weight.data

    @property
    def rows(self) -> Tensor:
        """Encoder rows, (n_components, features), without gradient."""
        return self.encoder.weight.data

    def normalize(self) -> None:
        """Give every column unit norm, in place."""
        self.columns.div_(self.columns.norm(dim=0).clamp(min=1e-12))

    def center_on(self, center: Tensor, units: Tensor | slice = slice(None)) -> None:
        """Set the encoder bias of units so that they respond to x - center."""
        self.encoder.bias.data[units] = -self.rows[units] @ center


def geometric_median(x: Tensor, steps: int = 200, tolerance: float = 1e-7) -> Tensor:
    """Return the point with the least summed distance to the rows, by Weiszfeld's iteration.

    Parameters
    ----------
    x : Tensor (n, features)
    steps : int
        Maximum number of iterations.
    tolerance : float
        Stop at a move shorter than this share of the rows' mean distance.

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
        # Limits the weight of a row at the center itself.
        weight = 1 / distance.clamp(min=float(distance.mean()) * tolerance + 1e-30)
        moved = (weight @ rows) / weight.sum()
        move, center = (moved - center).norm(), moved
        if move <= tolerance * distance.mean():
            break
    return center.to(x.dtype)


@torch.no_grad()
def start_sparse(model: LatentVariableModel, x: Tensor) -> None:
    """Initialize a linear sparse code from data, in place.

    Decoder columns get unit norm, and the decoder's bias becomes the geometric median of the
    rows. The encoder becomes the transpose of the decoder, applied to rows minus that median, and
    scaled so that the first reconstructions have the least squared error.

    Parameters
    ----------
    model : LatentVariableModel
        With ``hidden=()`` and a likelihood with one parameter per feature.
    x : Tensor (n, *features)
        Training rows in model space; a few thousand suffice.

    Raises
    ------
    ValueError
        If the networks are not linear.

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
    x = model.likelihood.embed(x[:: max(1, len(x) // SAMPLE_ROWS)]).flatten(1)
    center = geometric_median(x)
    units.normalize()
    units.decoder.bias.copy_(model.likelihood.link(center))
    units.rows.copy_(units.columns.T)
    units.center_on(center)
    scale = _best_scale(model, units, x)
    units.rows.mul_(scale)
    units.encoder.bias.mul_(scale)


def _best_scale(model: LatentVariableModel, units: Dictionary, x: Tensor) -> Tensor:
    """Return the s with the least error of s · D z; activations are proportional to the encoder."""
    posterior = copy.deepcopy(model.posterior).train()  # a copy, since it updates statistics
    guess = posterior(units.encoder(x)).mean @ units.columns.T
    wanted = model.likelihood.link(x) - units.decoder.bias
    return ((wanted * guess).sum() / guess.square().sum().clamp(min=1e-12)).clamp(0.01, 1)


class UnitColumns(Callback):
    """Keep the decoder's columns at unit norm.

    Otherwise the model could evade a penalty on activations by small activations of long columns.
    The gradient along a column, which the next normalization would undo, is removed so that it
    does not enter Adam's moments.
    """

    everywhere = True

    def on_start(self, trainer: TrainerView, rows: Source) -> None:
        """Normalize the columns and project the gradient from now on."""
        if trainer.process_group.sharded:
            raise ValueError(
                "the columns of a dictionary cannot be kept at unit norm if they are sharded over "
                "processes: use strategy='ddp', or dictionary=False."
            )
        self.units = Dictionary.of(trainer.model)
        self.units.normalize()
        self.hook = self.units.decoder.weight.register_hook(self._across)

    def on_step(self, trainer: TrainerView, n_rows: int) -> None:
        """Normalize the columns."""
        self.units.normalize()

    def on_end(self, trainer: TrainerView, outcome: Outcome) -> None:
        """Normalize the columns that are kept, an average, and stop projecting the gradient."""
        self.units.normalize()
        self.hook.remove()

    def _across(self, gradient: Tensor) -> Tensor:
        columns = self.units.columns
        return gradient - (gradient * columns).sum(0) * columns


class Revive(Callback):
    """Reinitialize dead units so that they respond to poorly reconstructed rows.

    At regular intervals, each unit that was active on no row since the last time gets a new encoder
    row: the direction, in the inputs of the encoder's last layer, of a row drawn in proportion to
    its squared error. In a dictionary the decoder column gets the same direction; a deeper decoder
    keeps its weights. The unit's activation parameters and its moments in the optimizer are reset.
    Unlike an auxiliary loss on dead units, this works for every activation: a closed relu, jumprelu
    or gated unit has no gradient. The cost in reconstruction error is measured by
    benchmarks/sparse_codes.py.

    Parameters
    ----------
    every : int
        Optimizer steps between two revivals.
    until : float
        Fraction of training after which no unit is revived, so that the last ones can settle.
    strength : float
        Norm of a revived unit's encoder row, relative to the mean norm of the others.

    Attributes
    ----------
    revived : list of int
        Number of units at each revival.

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
        """Store the rows and reset the counts."""
        model, posterior = trainer.model, trainer.model.posterior
        self.dictionary = Dictionary.of(model) if has_linear_networks(model) else None
        if not isinstance(posterior, SparsePoint):
            raise ValueError(
                "revival needs a sparse posterior family, which counts active units, but the "
                f"posterior is a {type(posterior).__name__}."
            )
        encoder = _code_layer(model)
        if encoder is None:
            raise ValueError("revival needs an encoder whose last layer is linear.")
        self.encoder, self.posterior, self.rows, self.revived = encoder, posterior, rows, []
        n_batches = rows.n_batches(trainer.settings.batch_size) or math.inf
        self.last = trainer.step + self.until * trainer.n_epochs(rows) * n_batches
        if trainer.process_group.sharded:  # no process has whole encoder rows
            self.last = -1
        self.posterior.fired.zero_()

    def on_step(self, trainer: TrainerView, n_rows: int) -> None:
        """Revive at regular intervals; only then is a value copied from the device."""
        if trainer.step % self.every == 0 and trainer.step <= self.last:
            self.revive(trainer)

    def state(self) -> dict[str, Any]:
        """Return the number of units at each revival."""
        return {"revived": self.revived}

    def check_state(self, trainer: TrainerView, state: dict[str, Any]) -> None:
        """Check that the counts are whole numbers."""
        counts = state["revived"]
        if type(counts) is not list or any(type(n) is not int or n < 0 for n in counts):
            raise ValueError("revived must be a list of counts")

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from a `state`."""
        self.revived = list(state["revived"])

    @torch.no_grad()
    def revive(self, trainer: TrainerView) -> None:
        """Reinitialize every unit that has not fired."""
        dead = ~trainer.process_group.any(self.posterior.fired)
        self.posterior.fired.zero_()
        self.revived.append(int(dead.sum()))
        if not self.revived[-1]:
            return
        center, directions = self._directions(trainer, self.revived[-1])
        rows = self.encoder.weight.data
        norm = rows[~dead].norm(dim=1).mean().nan_to_num(1.0)
        rows[dead] = self.strength * norm * directions
        self.encoder.bias.data[dead] = -rows[dead] @ center
        self.posterior.restart(dead)
        of_units = [self.encoder.weight, self.encoder.bias, *self.posterior.parameters()]
        changed = [(p, 0) for p in of_units]
        if self.dictionary is not None:
            self.dictionary.columns[:, dead] = directions.T
            changed.append((self.dictionary.decoder.weight, 1))
        for parameter, axis in changed:
            for moment in trainer.optimizer.state[parameter].values():
                if moment.shape == parameter.shape:
                    moment.index_fill_(axis, dead.nonzero().flatten(), 0.0)

    def _directions(self, trainer: TrainerView, n: int) -> tuple[Tensor, Tensor]:
        """Return the center of the last layer's inputs, and n directions to badly rebuilt rows."""
        model, x = trainer.model, self.rows.sample(SAMPLE_ROWS, trainer.generator, replace=True)
        inputs: list[Tensor] = []
        hook = self.encoder.register_forward_pre_hook(lambda layer, seen: inputs.append(seen[0]))
        model.eval()
        seen = model.likelihood.embed(x).nan_to_num(0.0)  # NaN: missing values
        rebuilt = model.likelihood.embed(model.reconstruct(model.encode(x).mean))
        model.train()
        hook.remove()
        error = (rebuilt - seen).flatten(1).square().sum(1)
        chosen = error.clamp(min=1e-12).multinomial(n, True, generator=trainer.generator)
        center = inputs[0].mean(0) if self.dictionary is None else _center(model)
        return center, nn.functional.normalize(inputs[0][chosen] - center)


def is_dictionary(spec: Any, model: LatentVariableModel) -> bool:
    """Whether a spec requests a dictionary and its model can be one."""
    return getattr(spec, "dictionary", False) and _can_die(model) and has_linear_networks(model)


def has_linear_networks(model: LatentVariableModel) -> bool:
    """Whether both networks are one linear layer, of the same units and features."""
    try:
        Dictionary.of(model)
    except ValueError:
        return False
    return True


def training_callbacks(
    spec: Any, model: LatentVariableModel, revive: bool = True
) -> list[Callback]:
    """Return the callbacks for the `dictionary` and `revive_every` settings of a spec."""
    callbacks: list[Callback] = [UnitColumns()] if is_dictionary(spec, model) else []
    every = getattr(spec, "revive_every", None)
    if revive and every is not None and _can_die(model) and not spec.conditional:
        callbacks += [] if _code_layer(model) is None else [Revive(every)]
    return callbacks


def _can_die(model: LatentVariableModel) -> bool:
    """Whether the units of a code can be inactive on all rows, without a gradient."""
    code = model.posterior
    return isinstance(code, SparsePoint) and code.activation not in NEVER_CLOSED


def _code_layer(model: LatentVariableModel) -> nn.Linear | None:
    """Return the encoder's last layer if it is linear, with one output per unit."""
    *_, last = model.encoder.modules()
    n_units = math.prod(model.posterior.shape)
    return last if isinstance(last, nn.Linear) and last.out_features == n_units else None


def _center(model: LatentVariableModel) -> Tensor:
    """Return the reconstruction without active units, as the encoder receives it, (features,)."""
    nothing = next(model.parameters()).new_zeros(1, *model.posterior.shape)
    return model.likelihood.embed(model.reconstruct(nothing)).flatten().to(nothing.dtype)
