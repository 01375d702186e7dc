"""Figures and tables of a model card. They show rows of the data only if examples are given."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from sklearn.utils import _safe_indexing

from isthmus import plots
from isthmus.plots.latent import has_standard_prior
from isthmus.report import sections, tables
from isthmus.report.captions import Words
from isthmus.report.sections import Section

__all__ = ["PICTURES", "View", "show"]

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
MAPPED = 2000  # rows on the map


class View(NamedTuple):
    """A figure (file name and content) or a table, with its caption."""

    words: Words
    name: str = ""
    content: bytes = b""
    table: tables.Sheet | None = None


def show(estimator: Any, examples: Any = None, labels: Any = None) -> list[View]:
    """Return the figures and tables of a model card.

    `examples` (n, *shape) are rows that may be published, and `labels` (n,) their labels.

    Raises
    ------
    ValueError
        If labels are given without examples, or the examples do not match the model.
    """
    if labels is not None and examples is None:
        raise ValueError("labels were given without examples; pass examples as well.")
    views = list(_generated(estimator))
    if examples is not None:
        y = None if labels is None else np.asarray(labels)[:MAPPED]
        rows = sections.ShownRows(estimator, _safe_indexing(examples, slice(MAPPED)), y)
        views.append(_view(RECONSTRUCTIONS, sections.reconstructions(rows)))
        views.append(_view(MAP, sections.latent_map(rows)))
    if estimator.history_:
        views.append(_view(LOSSES, sections.loss_curves(estimator)))
    return views


def _generated(estimator: Any) -> Iterator[View]:
    """Yield samples from the prior, with one row of figures per label, and the latent plane."""
    if estimator.prior is None:
        return
    labels = np.asarray(getattr(estimator, "classes_", [])).tolist()[:CLASSES]
    columns = estimator.columns_
    words = Words(
        "Samples",
        "Codes drawn from the prior and decoded"
        f"{'' if columns is None else ', with the noise of each column'}; not rows of the data."
        f"{' Each is generated for the label above it.' if labels else ''}",
        "Samples look plausible and differ from one another. If they are sharp but meaningless, "
        "the codes of the data do not match the prior.",
        "Generated examples.",
    )
    if columns is not None:
        plain = copy.copy(estimator)
        plain.columns_ = None  # numbers instead of a data frame
        rows = plain.sample(tables.GENERATED, random_state=0, noise=True)
        yield View(words, table=tables.generated_rows(columns, rows))
        return
    if labels:
        y = np.repeat(labels, PER_CLASS)
        drawn = estimator.sample(len(y), random_state=0, y=y)
        samples = plots.pictures(drawn, PER_CLASS, labels=list(y))
    else:
        samples = plots.pictures(estimator.sample(GENERATED, random_state=0), columns=8)
    yield _view(SAMPLES, Section(words, samples))
    if estimator.n_components_ == 2 and has_standard_prior(estimator):
        yield _view(PLANE, sections.decoded(estimator))


def _view(name: str, section: Section) -> View:
    if section.figure is None:
        return View(section.words, table=section.table)
    return View(section.words, name, _png(section.figure))


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    # Without the entry Software, which would change with the version of matplotlib.
    figure.savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
    return stream.getvalue()
