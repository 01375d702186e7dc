"""Likelihoods of tables with mixed columns, and likelihoods by name."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Size, Tensor, nn
from torch.distributions import Distribution

from isthmus._messages import did_you_mean
from isthmus.distributions.families import Family
from isthmus.distributions.likelihoods import LIKELIHOODS

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
        The columns of each part.

    Raises
    ------
    ValueError
        If the columns are not 0, 1, 2, …, each once, or do not match the shapes of the parts.

    Examples
    --------
    >>> family = make_likelihood("bernoulli,categorical:3", (2,))
    >>> family.embed(torch.tensor([[1.0, 2.0]]))
    tensor([[1., 0., 0., 1.]])
    >>> family(torch.zeros(5, family.total_outputs)).log_prob(torch.tensor([1.0, 2.0]))[0]
    tensor([-0.6931, -1.0986])
    """

    order: Tensor

    def __init__(self, parts: Sequence[Family], columns: Sequence[Sequence[int]]) -> None:
        order = [column for places in columns for column in places]
        widths = [len(places) for places in columns]
        if sorted(order) != list(range(len(order))) or [(w,) for w in widths] != [
            p.shape for p in parts
        ]:
            raise ValueError(
                "every column must have one likelihood: expected the columns 0, 1, 2, ..., each "
                f"once, got {[list(c) for c in columns]} for likelihoods of the shapes "
                f"{[p.shape for p in parts]}."
            )
        super().__init__((len(order),))
        self.parts = nn.ModuleList(parts)
        self.columns, self.widths = [list(places) for places in columns], widths
        self.register_buffer("order", torch.tensor(order), persistent=False)
        self.discrete = all(part.discrete for part in parts)
        self.ordered = self._per_column("ordered")

    bytes_are_units = False

    @property
    def scalable(self) -> NDArray[np.bool_]:
        """Whether each column may be shifted and scaled."""
        return self._per_column("scalable")

    @property
    def binary(self) -> NDArray[np.bool_]:
        """Whether the outcomes of each column are 0 and 1."""
        return self._per_column("binary")

    def _per_column(self, trait: str) -> NDArray[np.bool_]:
        values = [getattr(part, trait) for part in self.families]
        order = [column for places in self.columns for column in places]
        return np.repeat(values, self.widths)[np.argsort(order)]

    @property
    def label(self) -> str:
        """The likelihoods in words, with the number of columns of each.

        Examples
        --------
        >>> make_likelihood("laplace,categorical:3,laplace,categorical:2", (4,)).label
        'likelihoods: 2 laplace, 2 categorical'
        """
        counts: Counter[str] = Counter()
        for part, width in zip(self.families, self.widths, strict=True):
            counts[part.name.partition(":")[0]] += width
        return "likelihoods: " + ", ".join(f"{n} {name}" for name, n in counts.items())

    @property
    def families(self) -> list[Family]:
        """The parts."""
        return cast(list[Family], list(self.parts))

    @property
    def total_outputs(self) -> int:
        """Network outputs per example."""
        return sum(family.total_outputs for family in self.families)

    def forward(self, outputs: Tensor, batch: tuple[int, ...] | None = None) -> MixedDistribution:
        """Return the distribution over (*batch, features) for total_outputs numbers per row."""
        sizes = [family.total_outputs for family in self.families]
        pieces = outputs.flatten(1).split(sizes, 1)
        parts = [f(piece, batch) for f, piece in zip(self.families, pieces, strict=True)]
        return MixedDistribution(parts, self.order)

    def center(self, p: Any) -> Tensor:
        """Return the centre of each column, defined by its family."""
        return p.join([f.center(part) for f, part in zip(self.families, p.parts, strict=True)])

    def embed(self, x: Tensor) -> Tensor:
        """Return rows (n, features) as the encoder sees them, (n, *input_shape)."""
        pieces = x[:, self.order].split(self.widths, 1)
        embedded = [f.embed(piece) for f, piece in zip(self.families, pieces, strict=True)]
        return torch.cat([piece.flatten(1) for piece in embedded], 1)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one embedded example, one axis."""
        return (sum(int(np.prod(family.input_shape)) for family in self.families),)

    def check(self, x: NDArray[Any]) -> None:
        """Raise a ValueError that names the first column with values outside its support."""
        for family, column in self._each_column():
            with _naming(column):
                family.check(x[:, [column]].astype(np.float64))

    def check_input(self, x: NDArray[Any]) -> None:
        """Raise a ValueError that names the first column far outside its interval."""
        for family, column in self._each_column():
            with _naming(column):
                family.check_input(x[:, column].astype(np.float64, copy=False))

    def _each_column(self) -> Iterator[tuple[Family, int]]:
        for family, places in zip(self.families, self.columns, strict=True):
            yield from ((family, column) for column in places)


@contextlib.contextmanager
def _naming(column: int) -> Iterator[None]:
    """Prefix errors with the column."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"column {column}: {error}") from None


def split_names(name: str) -> list[str]:
    """Return the names in a comma-separated list of likelihoods, one per column.

    Examples
    --------
    >>> split_names("gaussian, categorical:3")
    ['gaussian', 'categorical:3']
    """
    return [part.strip() for part in name.split(",")]


def make_likelihood(name: str, shape: tuple[int, ...], **options: Any) -> Family:
    """Build a likelihood from its name, or a mixed table from one name per column.

    Parameters
    ----------
    name : str
        A name in `LIKELIHOODS`; ``categorical:4`` has 4 categories. Or the names of all columns,
        separated by commas: columns of one name form one family, so that all "gaussian" columns
        share one scale and "gaussian-per-feature" columns do not.
    shape : tuple of int
        Shape of one example.
    **options
        Arguments of a single family: ``scale``, ``n_categories``.

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
        return _make_one(names[0], shape, options)
    if (len(names),) != tuple(shape) or options:
        raise ValueError(
            "a mixed table takes one likelihood per column and no options, but got "
            f"{len(names)} likelihoods, the options {sorted(options)} and the shape "
            f"{tuple(shape)}."
        )
    columns: dict[str, list[int]] = {}
    for column, each in enumerate(names):
        columns.setdefault(each, []).append(column)
    parts = [_make_one(each, (len(places),), {}) for each, places in columns.items()]
    family = MixedFamily(parts, list(columns.values()))
    family.name = ",".join(names)
    return family


def _make_one(name: str, shape: tuple[int, ...], options: dict[str, Any]) -> Family:
    key, counted = name, re.fullmatch(r"categorical:(\d+)", name)
    if counted:
        key, options = "categorical", options | {"n_categories": int(counted[1])}
    if key not in LIKELIHOODS:
        raise ValueError(
            f"unknown likelihood {name!r}; expected one of {', '.join(LIKELIHOODS)}, or "
            f"categorical:K for K categories.{did_you_mean(name, LIKELIHOODS)}"
        )
    family = LIKELIHOODS[key](shape, **options)
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
    columns = [X] if len(names) == 1 else X.T
    return ",".join(map(_count_one, names, columns))


def _count_one(name: str, X: NDArray[Any]) -> str:
    if name != "categorical":
        return name
    number = max(2, int(X.max()) + 1)
    if number > MOST_CATEGORIES:
        raise ValueError(
            "likelihood 'categorical' takes categories numbered from 0, but X goes to "
            f"{X.max():g}, which would mean {number} categories per feature; renumber them from "
            f"0, use likelihood='poisson' for counts, or pass 'categorical:{number}'."
        )
    return f"categorical:{number}"
