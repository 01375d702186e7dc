"""Figures and tables of a fitted model, with the words beside them, for reports and model cards."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.utils import _safe_indexing

from isthmus import plots
from isthmus.estimators.validation import as_array
from isthmus.plots.latent import has_standard_prior
from isthmus.report import captions, tables

__all__ = ["Section", "ShownRows", "decoded", "latent_map", "loss_curves", "reconstructions"]

Array = NDArray[Any]

EXAMPLES = 12  # pairs of original and reconstruction


@dataclass(frozen=True)
class Section:
    """A figure or a table, and the words beside it."""

    words: captions.Words
    figure: Figure | None = None
    table: tables.Sheet | None = None


@dataclass(frozen=True)
class ShownRows:
    """A fitted model, and the rows X (n, *shape) to show with their labels y (n,)."""

    model: Any
    X: Any
    y: Array | None

    @property
    def condition(self) -> Array | None:
        """The condition of the rows, for conditional models."""
        return self.y if self.model.conditional else None

    @cached_property
    def codes(self) -> Array:
        """Codes of the rows, (n, n_components)."""
        return self.model.transform(self.X, condition=self.condition)


def reconstructions(rows: ShownRows) -> Section:
    """Show a few images or signals above their reconstructions, or the columns of a table."""
    model, columns, shape = rows.model, rows.model.columns_, rows.model.feature_shape_
    few = slice(None if len(shape) == 1 else EXAMPLES)  # column statistics need all rows
    X = _safe_indexing(rows.X, few)
    condition = None if rows.condition is None else rows.condition[few]
    both = X, model.reconstruct(X, condition=condition)
    x, r = (as_array(model, each).reshape(-1, *shape) for each in both)
    words = captions.reconstructions(model)
    if columns is not None and columns.mixed:
        return Section(words, table=tables.reconstructed_rows(columns, x, r))
    names = getattr(model, "feature_names_in_", None)
    return Section(words, plots.reconstructions(x, r, names=names))


def loss_curves(model: Any) -> Section:
    """Show the loss and its terms over the epochs."""
    return Section(captions.losses(model), plots.loss_curves(model.history_))


def latent_map(rows: ShownRows) -> Section:
    """Show the codes of the rows, coloured by label: by the first column of several."""
    labels = rows.y if rows.y is None or rows.y.ndim == 1 else rows.y[:, 0]
    words = captions.latent_map(rows.model, labels is not None)
    return Section(words, plots.latent_map(rows.codes, labels))


def decoded(model: Any, codes: Any = None) -> Section:
    """Show the decoded latent plane, or traversals; all with the first label, if there are any.

    Codes (n, n_components) of data are required unless the model has two latents and a standard
    normal prior.
    """
    condition = next(iter(getattr(model, "classes_", ())), None)
    words = captions.decoded(model, condition)
    if model.columns_ is not None:
        return Section(words, table=tables.traversed_rows(model, codes, condition))
    if model.n_components_ != 2:
        return Section(words, plots.traversals(model, codes, condition=condition))
    codes = None if has_standard_prior(model) else codes
    return Section(words, plots.latent_grid(model, codes=codes, condition=condition))
