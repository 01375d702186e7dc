"""One HTML file of a run: figures, numbers and settings, and nothing loaded from elsewhere."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted

import isthmus
from isthmus import plots
from isthmus.estimators.border import as_array
from isthmus.io import write
from isthmus.plots.latent import has_standard_prior
from isthmus.report import captions

__all__ = ["write_report"]

Array = NDArray[Any]

MAP_ROWS = 2000  # rows behind the map, and behind what is said of the latents
EXAMPLES = 12  # pairs of original and reconstruction
DPI = 110  # sharp at the width of the page, and a page of well under 5 MB


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
) -> Path:
    """Write what a person wants to see of a trained model, as one HTML file.

    The same arguments give the same file.

    Parameters
    ----------
    path : path-like
        The file; folders on the way are made.
    estimator : LatentEstimator
        Fitted.
    X : array-like (n, *shape)
        Rows to show, best such that the model has not seen; at most 2000 of them, drawn at
        random, are looked at.
    y : array-like (n,), optional
        Their labels: they colour the map, and conditional models are told them.
    samples : sequence of (epoch, array (18, *shape))
        As `isthmus.training.recorder.SampleRecorder` collects them; none for models without
        a prior.
    summary : sequence of (name, value)
        The held-out numbers, for the table at the top.
    settings : mapping, optional
        The run's settings by name.
    title : str
    notes : sequence of str
        Remarks of one line, under the title.

    Returns
    -------
    Path
        The file.
    """
    check_is_fitted(estimator)
    view = _View.of(estimator, X, y)
    page = _template().render(
        title=title,
        subtitle=captions.subtitle(estimator),
        notes=list(notes),
        summary=[(name, _number(value)) for name, value in summary],
        sections=list(_sections(view, samples)),
        settings=[(name, _text(value)) for name, value in (settings or {}).items()],
        version=isthmus.__version__,
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, page.encode())
    return path


@dataclass(frozen=True)
class _View:
    """A fitted model and the rows it is shown with."""

    estimator: Any
    X: Any
    y: Array | None

    @classmethod
    def of(cls, estimator: Any, X: Any, y: Any) -> _View:
        """Choose rows, the same each time."""
        n = X.shape[0] if hasattr(X, "shape") else len(X)
        rows = np.random.default_rng(0).permutation(n)[:MAP_ROWS]
        return cls(estimator, _safe_indexing(X, rows), None if y is None else np.asarray(y)[rows])

    @property
    def condition(self) -> Array | None:
        """What a conditional model is told of the rows."""
        return self.y if self.estimator.conditional else None

    @property
    def labels(self) -> Array | None:
        """What colours the map: of several columns the first."""
        return self.y if self.y is None or self.y.ndim == 1 else self.y[:, 0]

    @property
    def one_condition(self) -> Any:
        """The label for which a conditional model decodes places of the latent space."""
        classes = getattr(self.estimator, "classes_", None)
        return None if classes is None else classes[0]

    @cached_property
    def codes(self) -> Array:
        """Codes of the rows, (n, n_components)."""
        return self.estimator.transform(self.X, condition=self.condition)

    def reconstructions(self) -> Figure:
        """Draw a few pictures or signals, or a table."""
        shape = self.estimator.feature_shape_
        n = MAP_ROWS if len(shape) == 1 else EXAMPLES  # a table's columns need all their rows
        X = _safe_indexing(self.X, slice(n))
        c = None if self.condition is None else self.condition[:n]
        made = self.estimator.reconstruct(X, condition=c)
        given, made = (as_array(self.estimator, rows) for rows in (X, made))
        return plots.reconstructions(given.reshape(-1, *shape), made.reshape(-1, *shape))

    def decoded(self) -> Figure:
        """Draw the latent plane, or one latent at a time."""
        if self.estimator.n_components != 2:
            return plots.traversals(self.estimator, self.codes, condition=self.one_condition)
        codes = None if has_standard_prior(self.estimator) else self.codes
        return plots.latent_grid(self.estimator, codes=codes, condition=self.one_condition)


@dataclass(frozen=True)
class _Section:
    """A figure and the words beside it."""

    words: captions.Words
    image: str
    width: int
    height: int


def _sections(view: _View, samples: Sequence[tuple[int, ArrayLike]]) -> Iterator[_Section]:
    model = view.estimator
    yield _section(captions.reconstructions(model), view.reconstructions)
    if samples:
        yield _section(captions.samples(model), lambda: plots.samples_by_epoch(samples))
    if model.history_:
        yield _section(captions.losses(model), lambda: plots.loss_curves(model.history_))
    latent_map = captions.latent_map(model, view.labels is not None)
    yield _section(latent_map, lambda: plots.latent_map(view.codes, view.labels))
    yield _section(captions.decoded(model, view.one_condition), view.decoded)


def _section(words: captions.Words, draw: Callable[[], Figure]) -> _Section:
    figure, file = draw(), io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
    width, height = (round(DPI * float(inches)) for inches in figure.get_size_inches())
    return _Section(words, base64.b64encode(file.getvalue()).decode(), width, height)


def _template() -> Any:
    source = resources.files("isthmus.report").joinpath("template.html").read_text("utf-8")
    # Everything is escaped: names of files and labels come from outside.
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(source)


def _number(value: Any) -> str:
    """Return a result as a person reads it.

    Examples
    --------
    >>> _number(1234.5678), _number(0.01234), _number(10000), _number("as it is")
    ('1,234.57', '0.0123', '10,000', 'as it is')
    """
    if isinstance(value, float | np.floating):
        return f"{value:,.2f}" if abs(float(value)) >= 1 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int | np.integer) else str(value)


def _text(value: Any) -> str:
    """Return a setting as a person reads it.

    Examples
    --------
    >>> _text(0.001), _text((400, 200)), _text(None), _text("auto"), _text({"size": 64})
    ('0.001', '400, 200', 'none', 'auto', 'size: 64')
    """
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {_text(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "()"
    return str(value)
