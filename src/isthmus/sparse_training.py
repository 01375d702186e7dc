"""How sparse codes are started, kept in shape and looked at.

The recipe that people train sparse codes by: decoder columns of unit norm, the encoder their
transpose at the start, the decoder's bias at the geometric median of the data, and units that
died given new work. Each is one function or callback here, for models of linear networks
(``hidden=()``).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributions import Bernoulli

from isthmus.model import LatentVariableModel
from isthmus.sparse import SparsePoint
from isthmus.training.batches import Rows
from isthmus.training.callbacks import Callback
from isthmus.training.loop import Outcome, Trainer

__all__ = ["Dictionary", "Revive", "UnitColumns", "geometric_median", "start_sparse"]

MANY = 8192  # rows that stand for all of them
CHUNK = 4096


class Dictionary(NamedTuple):
    """The two linear layers of a sparse code: a row of `encoder` and a column of `decoder` a unit.

    Examples
    --------
    >>> from isthmus.build import build_model
    >>> from isthmus.rows import SparseAutoencoder
    >>> model = build_model(SparseAutoencoder(n_components=9, hidden=()), (4,), "gaussian")
    >>> Dictionary.of(model).columns.shape
    torch.Size([4, 9])
    """

    encoder: nn.Linear
    decoder: nn.Linear
    n_units: int

    @classmethod
    def of(cls, model: LatentVariableModel) -> Dictionary:
        """Return the layers of a model; a ValueError where they are not the whole networks."""
        layers = [_linear(model.encoder), _linear(model.decoder)]
        if not all(len(found) == 1 for found in layers):
            raise ValueError("a dictionary of units needs linear networks: use hidden=().")
        return cls(layers[0][0], layers[1][0], model.posterior.shape[0])

    @property
    def columns(self) -> Tensor:
        """The directions of the units in the data, (outputs, n_units), without gradient."""
        return self.decoder.weight.data[:, : self.n_units]  # behind them is the context, if any

    @property
    def rows(self) -> Tensor:
        """What each unit looks for, (n_units, inputs), without gradient."""
        return self.encoder.weight.data[:, : self.columns.shape[0]]

    def normalize(self) -> None:
        """Give every column unit norm, in place."""
        self.columns.div_(self.columns.norm(dim=0).clamp(min=1e-12))
