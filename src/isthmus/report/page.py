"""Write the report of a run: one HTML file with figures, metrics and settings."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted

from isthmus import plots
from isthmus._version import __version__
from isthmus.data.limits import is_inside, is_regular_file
from isthmus.models.params import setting_text
from isthmus.persistence.atomic import write_atomic
from isthmus.report import captions, sections, tables
from isthmus.report.pictures import as_picture
from isthmus.report.sections import Section, ShownRows
from isthmus.report.templating import template

__all__ = ["REPORT", "link_live", "model_of_report", "write_report"]

REPORT = "report.html"  # its name in the folder of a run

ROWS = 2000  # shown on the map, and used for the variance of the latents
NOTES = 8  # notes shown without unfolding
HEAD = 2**12  # bytes, in which the model is named
MODEL = re.compile(rb'<meta name="isthmus-model" content="([0-9a-f]*)">')
LIVE = re.compile(rb'<p id="live".*?</p>', re.DOTALL)  # escaped text cannot match this


def write_report(
    path: str | os.PathLike[str],
    *,
    estimator: Any,
    X: Any,
    y: Any = None,
    samples: Sequence[tuple[int, ArrayLike]] = (),
    summary: Sequence[tuple[str, Any]] = (),
    settings: Mapping[str, Any] | None = None,
    title: str,
    notes: Sequence[str] = (),
    live: str | None = None,
    command: str | None = None,
    model: str = "",
) -> Path:
    """Write the report of a trained model as one self-contained HTML file.

    The same arguments give the same file.

    Parameters
    ----------
    path : path-like
        The file; missing parent folders are created.
    estimator : LatentEstimator
        Fitted.
    X : array-like (n, *shape)
        Rows to show, preferably held out; a random sample of at most 2000 is used.
    y : array-like (n,), optional
        Their labels, which colour the map and are the condition of conditional models.
    samples : sequence of (epoch, array (18, *shape))
        As collected by `isthmus.training.sample_history.SampleRecorder`; empty for models without
        a prior.
    summary : sequence of (name, value)
        Held-out metrics, for the table at the top.
    settings : mapping, optional
        The run's settings by name.
    title : str
    notes : sequence of str
        One-line notes below the title.
    live : str, optional
        Relative path of the interactive page, to link to.
    command : str, optional
        Command that opens the interactive page, shown if there is no such page yet.
    model : str
        Checksum of the weights, which `model_of_report` returns.

    Returns
    -------
    Path
        The file.

    See Also
    --------
    link_live : Add a link to the interactive page later.
    """
    check_is_fitted(estimator)
    n = X.shape[0] if hasattr(X, "shape") else len(X)
    chosen = np.random.default_rng(0).permutation(n)[:ROWS]
    labels = None if y is None else np.asarray(y)[chosen]
    rows = ShownRows(estimator, _safe_indexing(X, chosen), labels)
    page = template("isthmus.report", "template.html").render(
        title=title,
        subtitle=captions.subtitle(estimator),
        notes=[*notes[:NOTES]],
        more_notes=[*notes[NOTES:]],
        summary=[(name, tables.number(value)) for name, value in summary],
        sections=[_with_picture(section) for section in _sections(rows, samples)],
        settings=[(name, setting_text(value)) for name, value in (settings or {}).items()],
        live=_live(live, command),
        version=__version__,
        model=model,
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, page.encode(errors="replace"))  # file names may not be valid text
    return path


def link_live(report: Path, live: str) -> None:
    """Add a link to the interactive page of the model to a report written by `write_report`.

    `live` is its path relative to the report, with forward slashes. Reports of older versions,
    which have no placeholder for the link, are not changed, nor what a link elsewhere leads to.
    """
    if not is_inside(report, report.parent):
        return
    page = report.read_bytes()
    linked = LIVE.sub(lambda _: _live(live).encode(), page, count=1)
    if linked != page:
        write_atomic(report, linked)


def model_of_report(report: Path) -> str | None:
    """Return the checksum of the weights that a report describes; None if there is no report.

    Reports of older versions name no model: the result is empty.
    """
    if not is_regular_file(report):
        return None
    with report.open("rb") as file:
        found = MODEL.search(file.read(HEAD))
    return found[1].decode() if found else ""


def _live(live: str | None, command: str | None = None) -> Markup:
    """Return the element that links to the interactive page, or shows the command for it."""
    if live is not None:
        # Quoting prevents a path from being read as a script URL.
        link = '<p id="live"><a class="button" href="{}">Open the studio</a></p>'
        return Markup(link).format(quote(live))
    if command is not None:
        return Markup('<p id="live">Explore interactively: <code>{}</code></p>').format(command)
    return Markup('<p id="live" hidden></p>')


def _sections(rows: ShownRows, samples: Sequence[tuple[int, ArrayLike]]) -> Iterator[Section]:
    model, columns = rows.model, rows.model.columns_
    yield sections.reconstructions(rows)
    if samples:
        words = captions.samples(model)
        if columns is None:
            yield Section(words, plots.samples_by_epoch(samples))
        else:
            last = np.asarray(samples[-1][1])
            yield Section(words, table=tables.generated_rows(columns, last))
    if model.history_:
        yield sections.loss_curves(model)
    yield sections.latent_map(rows)
    yield sections.decoded(model, rows.codes)


def _with_picture(section: Section) -> dict[str, Any]:
    """Return the contents of a section for the template, with its figure as SVG."""
    words, picture = section.words, None
    if section.figure is not None:
        key = re.sub(r"[^a-z]+", "-", words.heading.lower())
        picture = as_picture(section.figure, words.alt, key)
    return {"words": words, "picture": picture, "table": section.table}
