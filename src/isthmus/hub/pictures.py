"""Figures and tables of a model card. They show rows of the data only if examples are given."""

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

SAMPLES, PLANE, RECONSTRUCTIONS, MAP, LOSSES = PICTURES = (
    "samples.png",
    "latent-plane.png",
    "reconstructions.png",
    "latent-map.png",
    "losses.png",
)
DPI = 144
GENERATED = 32  # samples
CLASSES, PER_CLASS = 10, 10  # labels, and samples of each
PAIRS = 12  # rows with their reconstructions
MAPPED = 2000  # rows on the map


class View(NamedTuple):
    """A figure (file name and content) or a table, with its caption."""

    words: Words
    name: str = ""
    content: bytes = b""
    table: tables.Sheet | None = None


def show(estimator: Any, examples: Any = None, labels: Any = None) -> list[View]:
    """Return the figures and tables of a model card.

    Parameters
    ----------
    estimator : LatentEstimator
    examples : array-like (n, *shape) or data frame, optional
        Rows that may be published.
    labels : array-like (n,), optional
        Their labels.

    Raises
    ------
    ValueError
        If labels are given without examples, or the examples do not match the model.
    """
    if labels is not None and examples is None:
        raise ValueError("labels were given without examples; pass examples as well.")
    views = [] if examples is None else list(_reconstructed(estimator, examples, labels))
    return [*_generated(estimator), *views, *_trained(estimator)]


def _generated(estimator: Any) -> Iterator[View]:
    """Yield samples from the prior."""
    if estimator.prior is None:
        return
    if estimator.columns_ is not None:
        yield View(_sample_caption(estimator), table=_rows(estimator))
        return
    yield _drawn(SAMPLES, _sample_caption(estimator), _samples(estimator))
    if estimator.n_components_ == 2 and has_standard_prior(estimator):
        label = _classes(estimator)[0] if _classes(estimator) else None
        grid = plots.latent_grid(estimator, condition=label)
        yield _drawn(PLANE, captions.decoded(estimator, label), grid)


def _reconstructed(estimator: Any, X: Any, y: Any) -> Iterator[View]:
    """Yield reconstructions and a map of examples."""
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
        yield _drawn(RECONSTRUCTIONS, words, plots.reconstructions(x[few], r[few], names=names))
    colours = y if y is None or y.ndim == 1 else y[:, 0]
    codes = estimator.transform(X, condition=condition)
    words = captions.latent_map(estimator, colours is not None)
    yield _drawn(MAP, words, plots.latent_map(codes, colours))


def _trained(estimator: Any) -> Iterator[View]:
    if estimator.history_:
        curves = plots.loss_curves(estimator.history_)
        yield _drawn(LOSSES, captions.losses(estimator), curves)


def _classes(estimator: Any) -> list[Any]:
    """Return the labels of a conditional model, as plain values."""
    return np.asarray(getattr(estimator, "classes_", [])).tolist()


def _numbers(estimator: Any, n: int, y: Any = None) -> Array:
    """Return reproducible samples as numbers, even if the model returns data frames."""
    plain = copy.copy(estimator)
    plain.columns_ = None
    return plain.sample(n, random_state=0, y=y, noise=estimator.columns_ is not None)


def _samples(estimator: Any) -> Figure:
    """Draw samples, with one row per label."""
    labels = _classes(estimator)[:CLASSES]
    if not labels:
        return plots.pictures(_numbers(estimator, GENERATED), columns=8)
    y = np.repeat(labels, PER_CLASS)
    return plots.pictures(_numbers(estimator, len(y), y), PER_CLASS, labels=list(y))


def _sample_caption(estimator: Any) -> Words:
    label = " Each is generated for the label above it." if _classes(estimator) else ""
    noise = ", with the noise of each column" if estimator.columns_ is not None else ""
    return Words(
        "Samples",
        f"Codes drawn from the prior and decoded{noise}; not rows of the data.{label}",
        "Samples look plausible and differ from one another. If they are sharp but meaningless, "
        "the codes of the data do not match the prior.",
        "Generated examples.",
    )


def _rows(estimator: Any) -> tables.Sheet:
    return tables.generated_rows(estimator.columns_, _numbers(estimator, tables.GENERATED))


def _drawn(name: str, words: Words, figure: Figure) -> View:
    stream = io.BytesIO()  # no Software entry, which would change with the version
    figure.savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
    return View(words, name, stream.getvalue())
