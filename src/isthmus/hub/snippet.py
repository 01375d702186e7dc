"""The code example of a model card, which loads and uses the model."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["extras_of", "snippet_of"]

N = 8  # examples in the code
FOLDER = "path/to/this/folder"  # if there is no repository


def extras_of(estimator: Any) -> str:
    """Return the extras of isthmus that a model needs, separated by commas."""
    flows = "flow" in (estimator.prior, estimator.posterior_family)
    frames = estimator.columns_ is not None and estimator.columns_.library == "pandas"
    return ",".join(["hub", *["flows"] * flows, *["tables"] * frames])


def snippet_of(estimator: Any, repo_id: str | None = None) -> str:
    """Return the code example for a model.

    Parameters
    ----------
    estimator : LatentEstimator
        Fitted.
    repo_id : str, optional
        OWNER/NAME; by default a placeholder folder.
    """
    custom = ", backbone=make_networks" if callable(estimator.backbone) else ""
    y, condition = _label(estimator)
    lines = [
        "import isthmus",
        "",
        f"model = isthmus.from_pretrained({repo_id or FOLDER!r}{custom})",
        f"X = {_rows(estimator, y)}  # replace by your own rows: {_shape(estimator)}",
        f"codes = model.transform(X{condition})  # ({N}, {estimator.n_components_})",
        f"decoded = model.inverse_transform(codes{condition})",
        f"model.score_samples(X{condition})  # nats per example, higher is likelier",
    ]
    return "\n".join(lines if estimator.prior is not None else ["import numpy as np", *lines])


def _label(estimator: Any) -> tuple[str, str]:
    """Return the label argument of a conditional model, for `sample` and for other methods."""
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
