"""Write the report of a run: one HTML file with figures, metrics and settings."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted

from isthmus import plots
from isthmus._version import __version__
from isthmus.data.columns import Columns
from isthmus.estimators.validation import as_array
from isthmus.persistence.atomic import write_atomic
from isthmus.plots.latent import has_standard_prior
from isthmus.report import captions, tables
from isthmus.report.pictures import Picture, as_picture
from isthmus.report.templating import template

__all__ = ["REPORT", "link_live", "write_report"]

REPORT = "report.html"  # its name in the folder of a run

Array = NDArray[Any]

MAP_ROWS = 2000  # rows for the map and for the variance of the latents
NOTES = 8  # notes shown without unfolding
EXAMPLES = 12  # pairs of original and reconstruction
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

    Returns
    -------
    Path
        The file.

    See Also
    --------
    link_live : Add a link to the interactive page later.
    """
    check_is_fitted(estimator)
    view = _View.of(estimator, X, y)
    page = template("isthmus.report", "template.html").render(
        title=title,
        subtitle=captions.subtitle(estimator),
        notes=[*notes[:NOTES]],
        more_notes=[*notes[NOTES:]],
        summary=[(name, tables.number(value)) for name, value in summary],
        sections=list(_sections(view, samples)),
        settings=[(name, setting_text(value)) for name, value in (settings or {}).items()],
        live=_live(live, command),
        version=__version__,
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, page.encode(errors="replace"))  # file names may not be valid text
    return path


def link_live(report: Path, live: str) -> None:
    """Add a link to the interactive page of the model to a report.

    Reports without a placeholder for the link, from older versions, are not changed.

    Parameters
    ----------
    report : Path
        File written by `write_report`.
    live : str
        Path of the interactive page relative to the report, with forward slashes.

    Raises
    ------
    OSError
        If the file does not exist or cannot be written; it is then unchanged.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = Path(folder) / "report.html"
    ...     _ = page.write_text('<p id="live" hidden></p>')
    ...     link_live(page, "my studio.html")
    ...     page.read_text()
    '<p id="live"><a class="button" href="my%20studio.html">Open the studio</a></p>'
    """
    page = report.read_bytes()
    linked = LIVE.sub(lambda _: _live(live).encode(), page, count=1)
    if linked != page:
        write_atomic(report, linked)


def _live(live: str | None, command: str | None = None) -> Markup:
    """Return the element that links to the interactive page, or shows the command for it."""
    if live is not None:
        # Quoting prevents a path from being read as a script URL.
        link = '<p id="live"><a class="button" href="{}">Open the studio</a></p>'
        return Markup(link).format(quote(live))
    if command is not None:
        return Markup('<p id="live">Explore interactively: <code>{}</code></p>').format(command)
    return Markup('<p id="live" hidden></p>')


@dataclass(frozen=True)
class _View:
    """A fitted model and the rows to show."""

    estimator: Any
    X: Any
    y: Array | None

    @classmethod
    def of(cls, estimator: Any, X: Any, y: Any) -> _View:
        """Sample rows, deterministically."""
        n = X.shape[0] if hasattr(X, "shape") else len(X)
        rows = np.random.default_rng(0).permutation(n)[:MAP_ROWS]
        return cls(estimator, _safe_indexing(X, rows), None if y is None else np.asarray(y)[rows])

    @property
    def condition(self) -> Array | None:
        """The condition of the rows, for conditional models."""
        return self.y if self.estimator.conditional else None

    @property
    def labels(self) -> Array | None:
        """The labels that colour the map: the first column of several."""
        return self.y if self.y is None or self.y.ndim == 1 else self.y[:, 0]

    @property
    def one_condition(self) -> Any:
        """The label with which a conditional model decodes points of the latent space."""
        classes = getattr(self.estimator, "classes_", None)
        return None if classes is None else classes[0]

    @cached_property
    def codes(self) -> Array:
        """Codes of the rows, (n, n_components)."""
        return self.estimator.transform(self.X, condition=self.condition)

    @property
    def columns(self) -> Columns | None:
        """The columns of a table."""
        return self.estimator.columns_

    @cached_property
    def pairs(self) -> tuple[Array, Array]:
        """Rows and their reconstructions as numbers, each (n, *shape)."""
        shape = self.estimator.feature_shape_
        n = MAP_ROWS if len(shape) == 1 else EXAMPLES  # column statistics need all rows
        X = _safe_indexing(self.X, slice(n))
        c = None if self.condition is None else self.condition[:n]
        both = X, self.estimator.reconstruct(X, condition=c)
        given, made = (as_array(self.estimator, rows).reshape(-1, *shape) for rows in both)
        return given, made

    def decoded(self) -> Figure:
        """Draw the decoded latent plane, or traversals."""
        if self.estimator.n_components_ != 2:
            return plots.traversals(self.estimator, self.codes, condition=self.one_condition)
        codes = None if has_standard_prior(self.estimator) else self.codes
        return plots.latent_grid(self.estimator, codes=codes, condition=self.one_condition)


@dataclass(frozen=True)
class _Section:
    """A figure or a table, and the words beside it."""

    words: captions.Words
    picture: Picture | None = None
    table: tables.Sheet | None = None


def _sections(view: _View, samples: Sequence[tuple[int, ArrayLike]]) -> Iterator[_Section]:
    model = view.estimator
    yield _reconstructions(view)
    if samples:
        yield _samples(view, samples)
    if model.history_:
        yield _drawn(captions.losses(model), lambda: plots.loss_curves(model.history_))
    latent_map = captions.latent_map(model, view.labels is not None)
    yield _drawn(latent_map, lambda: plots.latent_map(view.codes, view.labels))
    words = captions.decoded(model, view.one_condition)
    if view.columns is None:
        yield _drawn(words, view.decoded)
    else:
        moved = tables.traversed_rows(model, view.codes, view.one_condition)
        yield _Section(words, table=moved)


def _reconstructions(view: _View) -> _Section:
    """Show a few pictures or signals and what comes back; of a table each column."""
    words, columns = captions.reconstructions(view.estimator), view.columns
    if columns is not None and columns.mixed:
        return _Section(words, table=tables.reconstructed_rows(columns, *view.pairs))
    names = getattr(view.estimator, "feature_names_in_", None)
    return _drawn(words, lambda: plots.reconstructions(*view.pairs, names=names))


def _samples(view: _View, samples: Sequence[tuple[int, ArrayLike]]) -> _Section:
    words = captions.samples(view.estimator)
    if view.columns is None:
        return _drawn(words, lambda: plots.samples_by_epoch(samples))
    return _Section(words, table=tables.generated_rows(view.columns, np.asarray(samples[-1][1])))


def _drawn(words: captions.Words, draw: Callable[[], Figure]) -> _Section:
    key = re.sub(r"[^a-z]+", "-", words.heading.lower())
    return _Section(words, picture=as_picture(draw(), words.alt, key))


def setting_text(value: Any) -> str:
    """Return a setting as a person reads it.

    Examples
    --------
    >>> [setting_text(value) for value in (0.001, (400, 200), None, "auto", {"size": 64})]
    ['0.001', '400, 200', 'none', 'auto', 'size: 64']
    """
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {setting_text(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(setting_text, value)) or "()"
    return str(value)
