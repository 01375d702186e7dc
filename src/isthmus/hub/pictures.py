"""Pictures and tables of a model card. Without examples none of them shows a row of the data."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.utils import _safe_indexing

from isthmus import plots
from isthmus.estimators.validation import as_array
from isthmus.plots.latent import has_standard_prior
from isthmus.report import captions, tables
from isthmus.report.captions import Words

__all__ = ["PICTURES", "View", "show"]

Array = NDArray[Any]

SAMPLES, PLANE, GIVEN_BACK, MAP, LOSSES = PICTURES = (
    "samples.png",
    "latent-plane.png",
    "reconstructions.png",
    "latent-map.png",
    "losses.png",
)
DPI = 144
MADE = 32  # examples made up
CLASSES, OF_EACH = 10, 10  # labels that are shown, and examples of each
PAIRS = 12  # rows beside what comes back
MAPPED = 2000  # rows on the map


class View(NamedTuple):
    """A picture, by the name of its file, or a table; and the words beside it."""

    words: Words
    name: str = ""
    content: bytes = b""
    table: tables.Sheet | None = None


def show(estimator: Any, examples: Any = None, labels: Any = None) -> list[View]:
    """Return what a card shows of a fitted model.

    Parameters
    ----------
    estimator : LatentEstimator
    examples : array-like (n, *shape) or data frame, optional
        Rows that may be seen by all.
    labels : array-like (n,), optional
        Theirs.

    Raises
    ------
    ValueError
        Labels without examples, or examples that are not as the model's data were.
    """
    if labels is not None and examples is None:
        raise ValueError("labels are those of examples: give examples, or no labels.")
    views = [] if examples is None else list(_given(estimator, examples, labels))
    return [*_made(estimator), *views, *_trained(estimator)]


def _made(estimator: Any) -> Iterator[View]:
    """Show what comes from the prior alone."""
    if estimator.prior is None:
        return
    if estimator.columns_ is not None:
        yield View(_words(estimator), table=_rows(estimator))
        return
    yield _drawn(SAMPLES, _words(estimator), _samples(estimator))
    if estimator.n_components_ == 2 and has_standard_prior(estimator):
        label = _classes(estimator)[0] if _classes(estimator) else None
        grid = plots.latent_grid(estimator, condition=label)
        yield _drawn(PLANE, captions.decoded(estimator, label), grid)


def _given(estimator: Any, X: Any, y: Any) -> Iterator[View]:
    """Show rows of data and their codes."""
    X = _safe_indexing(X, slice(MAPPED))
    y = None if y is None else np.asarray(y)[:MAPPED]
    condition = y if estimator.conditional else None
    back = estimator.reconstruct(X, condition=condition)
    x, r = (as_array(estimator, rows).reshape(-1, *estimator.feature_shape_) for rows in (X, back))
    words, columns = captions.reconstructions(estimator), estimator.columns_
    if columns is not None and columns.mixed:
        yield View(words, table=tables.reconstructed_rows(columns, x, r))
    else:
        names = getattr(estimator, "feature_names_in_", None)
        few = slice(PAIRS if x.ndim > 2 else None)
        yield _drawn(GIVEN_BACK, words, plots.reconstructions(x[few], r[few], names=names))
    colours = y if y is None or y.ndim == 1 else y[:, 0]
    codes = estimator.transform(X, condition=condition)
    words = captions.latent_map(estimator, colours is not None)
    yield _drawn(MAP, words, plots.latent_map(codes, colours))


def _trained(estimator: Any) -> Iterator[View]:
    if estimator.history_:
        curves = plots.loss_curves(estimator.history_)
        yield _drawn(LOSSES, captions.losses(estimator), curves)


def _classes(estimator: Any) -> list[Any]:
    """Return the labels that a conditional model is told, as plain values."""
    return np.asarray(getattr(estimator, "classes_", [])).tolist()


def _numbers(estimator: Any, n: int, y: Any = None) -> Array:
    """Return examples made up, always the same, as numbers though the model gives data frames."""
    plain = copy.copy(estimator)
    plain.columns_ = None
    return plain.sample(n, random_state=0, y=y, noise=estimator.columns_ is not None)


def _samples(estimator: Any) -> Figure:
    """Draw examples made up; those of one label in a row."""
    labels = _classes(estimator)[:CLASSES]
    if not labels:
        return plots.pictures(_numbers(estimator, MADE), columns=8)
    told = np.repeat(labels, OF_EACH)
    return plots.pictures(_numbers(estimator, len(told), told), OF_EACH, labels=list(told))


def _words(estimator: Any) -> Words:
    told = " Each is told the label above it." if _classes(estimator) else ""
    noise = ", with the noise of each column" if estimator.columns_ is not None else ""
    return Words(
        "Samples",
        f"Codes drawn from the prior and decoded{noise}: nobody's data, made up.{told}",
        "They could be data, and differ from one another; sharp nonsense means that codes of "
        "data lie elsewhere than the prior.",
        "Generated examples side by side.",
    )


def _rows(estimator: Any) -> tables.Sheet:
    return tables.generated_rows(estimator.columns_, _numbers(estimator, tables.GENERATED))


def _drawn(name: str, words: Words, figure: Figure) -> View:
    stream = io.BytesIO()  # without the name of the program, which changes with its version
    figure.savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
    return View(words, name, stream.getvalue())
