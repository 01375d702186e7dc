"""Likelihoods of tables with mixed columns, and likelihoods by name."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Size, Tensor, nn
from torch.distributions import Distribution

from isthmus._messages import RowError, did_you_mean
from isthmus.distributions.families import Family
from isthmus.distributions.likelihoods import LIKELIHOODS, CategoricalFamily

__all__ = ["MixedDistribution", "MixedFamily", "count_categories", "make_likelihood", "split_names"]

MOST_CATEGORIES = 2**16  # per feature, unless given in the name


class MixedDistribution(Distribution):
    """Independent columns with different distributions.

    Parameters
    ----------
    parts : sequence of Distribution
        Each over (*batch, number of its columns).
    order : Tensor of int (features,)
        The table column of each column of the concatenated parts.

    Examples
    --------
    >>> from torch.distributions import Bernoulli, Normal
    >>> parts = Normal(torch.zeros(5, 2), 1.0), Bernoulli(torch.ones(5, 1))
    >>> p = MixedDistribution(parts, torch.tensor([0, 2, 1]))
    >>> p.mean[0]
    tensor([0., 1., 0.])
    """

    arg_constraints = {}  # noqa: RUF012 - torch's own convention

    def __init__(self, parts: Sequence[Distribution], order: Tensor) -> None:
        self.parts, self.order, self._inverse = tuple(parts), order, order.argsort()
        self.widths = [p.batch_shape[-1] for p in self.parts]
        batch_shape = Size((*self.parts[0].batch_shape[:-1], len(order)))
        super().__init__(batch_shape, validate_args=False)

    def join(self, pieces: Sequence[Tensor]) -> Tensor:
        """Concatenate tensors (*batch, columns of a part) in the order of the table."""
        return torch.cat(list(pieces), -1)[..., self._inverse]

    @property
    def mean(self) -> Tensor:
        """The mean of each column, (*batch, features)."""
        return self.join([p.mean for p in self.parts])

    @property
    def variance(self) -> Tensor:
        """The variance of each column, (*batch, features)."""
        return self.join([p.variance for p in self.parts])

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(x) of each column in nats, (*batch, features)."""
        pieces = value[..., self.order].split(self.widths, -1)
        return self.join([p.log_prob(x) for p, x in zip(self.parts, pieces, strict=True)])

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:  # type: ignore[override]
        """Draw rows (*sample_shape, *batch, features)."""
        return self.join([p.sample(Size(sample_shape)) for p in self.parts])


class MixedFamily(Family):
    """One likelihood per column, for tables of numbers, booleans, categories and counts.

    Columns may differ in their number of outputs; a decoder returns `total_outputs` per row.

    Source: Handling incomplete heterogeneous data using VAEs (Nazabal, Olmos, Ghahramani,
    Valera, 2020).

    Parameters
    ----------
    parts : sequence of Family
        Each of shape (m,), for m columns.
    columns : sequence of sequence of int
        The columns of each part; together 0, 1, 2, …, each once.

    Examples
    --------
    >>> family = make_likelihood("bernoulli,categorical:3", (2,))
    >>> family.embed(torch.tensor([[1.0, 2.0]]))
    tensor([[1., 0., 0., 1.]])
    >>> family(torch.zeros(5, family.total_outputs)).log_prob(torch.tensor([1.0, 2.0]))[0]
    tensor([-0.6931, -1.0986])
    """

    bytes_are_units = False
    order: Tensor
    parts: Any  # a ModuleList of families

    def __init__(self, parts: Sequence[Family], columns: Sequence[Sequence[int]]) -> None:
        order = [column for places in columns for column in places]
        super().__init__((len(order),))
        self.parts, self.columns = nn.ModuleList(parts), columns
        self.widths = [len(places) for places in columns]
        self.register_buffer("order", torch.tensor(order), persistent=False)
        self.discrete = all(part.discrete for part in parts)
        self.ordered = self._per_column("ordered")

    @property
    def scalable(self) -> NDArray[np.bool_]:
        """Whether each column may be shifted and scaled."""
        return self._per_column("scalable")

    @property
    def binary(self) -> NDArray[np.bool_]:
        """Whether the outcomes of each column are 0 and 1."""
        return self._per_column("binary")

    def measure(self, as_bytes: bool = False) -> str:
        """Return what the log-probability of each column is the logarithm of, if they differ."""
        discrete = self._per_column("discrete")
        if discrete.all() or not discrete.any():
            return "probability" if discrete.all() else "density"
        return ", ".join("probability" if each else "density" for each in discrete)

    def _per_column(self, trait: str) -> NDArray[np.bool_]:
        values = [getattr(part, trait) for part in self.parts]
        return np.repeat(values, self.widths)[np.argsort(np.concatenate(self.columns))]

    @property
    def label(self) -> str:
        """The likelihoods in words, with the number of columns of each.

        Examples
        --------
        >>> make_likelihood("laplace,categorical:3,laplace,categorical:2", (4,)).label
        'likelihoods: 2 laplace, 2 categorical'
        """
        counts: Counter[str] = Counter()
        for part, width in zip(self.parts, self.widths, strict=True):
            counts[part.name.partition(":")[0]] += width
        return "likelihoods: " + ", ".join(f"{n} {name}" for name, n in counts.items())

    @property
    def total_outputs(self) -> int:
        """Network outputs per example."""
        return sum(part.total_outputs for part in self.parts)

    def forward(self, outputs: Tensor, batch: tuple[int, ...] | None = None) -> MixedDistribution:
        """Return the distribution over (*batch, features) for total_outputs numbers per row."""
        pieces = outputs.flatten(1).split([part.total_outputs for part in self.parts], 1)
        parts = [part(piece, batch) for part, piece in zip(self.parts, pieces, strict=True)]
        return MixedDistribution(parts, self.order)

    def center(self, p: Any) -> Tensor:
        """Return the centre of each column, defined by its family."""
        return p.join([part.center(q) for part, q in zip(self.parts, p.parts, strict=True)])

    def marginal_outputs(self, x: Tensor) -> Tensor:
        """Return outputs that fit all rows (n, features), (total_outputs,)."""
        pieces = x[:, self.order].split(self.widths, 1)
        both = zip(self.parts, pieces, strict=True)
        return torch.cat([part.marginal_outputs(piece).flatten() for part, piece in both])

    def start_from(self, x: Tensor) -> None:
        """Start the parameters of each part."""
        for part, piece in zip(self.parts, x[:, self.order].split(self.widths, 1), strict=True):
            part.start_from(piece)

    def embed(self, x: Tensor) -> Tensor:
        """Return rows (n, features) as the encoder sees them, (n, *input_shape)."""
        pieces = zip(self.parts, x[:, self.order].split(self.widths, 1), strict=True)
        return torch.cat([part.embed(piece).flatten(1) for part, piece in pieces], 1)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one embedded example, one axis."""
        return (sum(math.prod(part.input_shape) for part in self.parts),)

    def clean(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return x with bytes converted and the rounding errors of each column removed."""
        x = self.convert_bytes(x)
        if np.all(self.scalable):
            return x
        out = x.copy()
        for part, places in zip(self.parts, self.columns, strict=True):
            out[:, places] = part.clean(x[:, places])
        return out

    def check(self, x: NDArray[Any]) -> None:
        """Raise a `RowError` that names the first column with values outside its support."""
        self._check_columns("check", x)

    def check_input(self, x: NDArray[Any]) -> None:
        """Raise a `RowError` that names the first column with values far outside its bounds."""
        self._check_columns("check_input", x)

    def _check_columns(self, method: str, x: NDArray[Any]) -> None:
        for part, places in zip(self.parts, self.columns, strict=True):
            for column in places:
                try:
                    getattr(part, method)(x[:, [column]].astype(np.float64, copy=False))
                except RowError as error:
                    before = f"column {column}: {error.before}"
                    raise RowError(error.row, before, error.after, error.rows) from None


def split_names(name: str) -> list[str]:
    """Return the names in a comma-separated list of likelihoods, one per column."""
    return [part.strip() for part in name.split(",")]


def make_likelihood(name: str, shape: tuple[int, ...]) -> Family:
    """Build a likelihood from its name, or a mixed table from one name per column.

    Parameters
    ----------
    name : str
        A name in `LIKELIHOODS`; ``categorical:4`` has 4 categories. Or the names of all columns,
        separated by commas: columns of one name form one family, so that all "gaussian" columns
        share one scale and "gaussian-per-feature" columns do not.
    shape : tuple of int
        Shape of one example.

    Raises
    ------
    ValueError
        If a name is unknown or the number of names does not fit the shape.

    Examples
    --------
    >>> family = make_likelihood("gaussian,bernoulli,categorical:4", (3,))
    >>> family.total_outputs, family.input_shape
    (6, (6,))
    """
    names = split_names(name)
    if len(names) == 1:
        return _make_one(names[0], shape)
    if (len(names),) != tuple(shape):
        raise ValueError(
            "a mixed table takes one likelihood per column, but got "
            f"{len(names)} likelihoods for the shape {tuple(shape)}."
        )
    columns: dict[str, list[int]] = {}
    for column, each in enumerate(names):
        columns.setdefault(each, []).append(column)
    parts = [_make_one(each, (len(places),)) for each, places in columns.items()]
    family = MixedFamily(parts, list(columns.values()))
    family.name = ",".join(names)
    return family


def _make_one(name: str, shape: tuple[int, ...]) -> Family:
    counted = re.fullmatch(r"categorical:(\d+)", name)
    if counted:
        family: Family = CategoricalFamily(shape, int(counted[1]))
    elif name in LIKELIHOODS:
        family = LIKELIHOODS[name](shape)
    else:
        raise ValueError(
            f"unknown likelihood {name!r}; expected one of {', '.join(LIKELIHOODS)}, or "
            f"categorical:K for K categories.{did_you_mean(name, LIKELIHOODS)}"
        )
    family.name = name
    return family


def count_categories(name: str, X: NDArray[Any]) -> str:
    """Complete "categorical" in the name of a likelihood by the number of categories in X.

    Parameters
    ----------
    name : str
        As for `make_likelihood`.
    X : ndarray (n, *features)

    Raises
    ------
    ValueError
        If X has another number of columns, or values too large to be categories.

    Examples
    --------
    >>> count_categories("gaussian, categorical", np.array([[0.3, 0], [0.1, 4]]))
    'gaussian,categorical:5'
    """
    names = split_names(name)
    if len(names) > 1 and X.shape[1:] != (len(names),):
        raise ValueError(
            f"likelihood names {len(names)} columns, but one example of X has shape {X.shape[1:]}."
        )
    for i, values in enumerate([X] if len(names) == 1 else X.T):
        if names[i] != "categorical":
            continue
        number = max(2, int(values.max().round()) + 1)
        if number > MOST_CATEGORIES:
            raise ValueError(
                "likelihood 'categorical' takes categories numbered from 0, but X goes to "
                f"{values.max():g}, which would mean {number} categories per feature; renumber "
                "them from 0, use likelihood='poisson' for counts, or pass "
                f"'categorical:{number}'."
            )
        names[i] = f"categorical:{number}"
    return ",".join(names)
