"""A few lines of Python that load a model and use it: they run as they stand."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["extras_of", "snippet_of"]

N = 8  # examples in the lines
SOMEWHERE = "path/to/this/folder"  # of a card without a repository


def extras_of(estimator: Any) -> str:
    """Return the extras of isthmus that a model needs, with commas between."""
    flows = "flow" in (estimator.prior, estimator.posterior_family)
    frames = estimator.columns_ is not None and estimator.columns_.library == "pandas"
    return ",".join(["hub", *["flows"] * flows, *["tables"] * frames])


def snippet_of(estimator: Any, repo_id: str | None = None) -> str:
    """Return the lines of a model.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted.
    repo_id : str, optional
        OWNER/NAME; without one a folder stands for it.
    """
    own = ", backbone=make_networks" if callable(estimator.backbone) else ""
    label, told = _label(estimator)
    lines = [
        "import isthmus",
        "",
        f"model = isthmus.from_pretrained({repo_id or SOMEWHERE!r}{own})",
        f"X = {_rows(estimator, label)}  # stand for rows of your own: {_shape(estimator)}",
        f"codes = model.transform(X{told})  # ({N}, {estimator.n_components_})",
        f"again = model.inverse_transform(codes{told})",
        f"model.score_samples(X{told})  # nats per example, higher is likelier",
    ]
    return "\n".join(lines if estimator.prior is not None else ["import numpy as np", *lines])


def _label(estimator: Any) -> tuple[str, str]:
    """Return how a conditional model is told a label, to `sample` and elsewhere."""
    labels = np.asarray(getattr(estimator, "classes_", [])).tolist()
    if not labels:
        return "", ""
    return f", y={labels[0]!r}", f", condition={labels[0]!r}"


def _rows(estimator: Any, label: str) -> str:
    if estimator.prior is not None:
        return f"model.sample({N}, random_state=0{label})"
    return f"model.inverse_transform(np.zeros(({N}, {estimator.n_components_})))"


def _shape(estimator: Any) -> str:
    if estimator.columns_ is not None:
        return "a data frame"
    return str((N, *estimator.feature_shape_))
