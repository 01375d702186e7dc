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
    """Return the code example for a model in a repository, or else in a placeholder folder."""
    custom = ", backbone=make_networks" if callable(estimator.backbone) else ""
    labels = np.asarray(getattr(estimator, "classes_", [])).tolist()
    condition = f", condition={labels[0]!r}" if labels else ""
    codes = N, estimator.n_components_
    is_frame = estimator.columns_ is not None
    imports, rows = [], f"model.sample({N}, random_state=0{condition.replace('condition', 'y', 1)})"
    if estimator.prior is None:
        imports, rows = ["import numpy as np"], f"model.inverse_transform(np.zeros({codes}))"
    lines = [
        *imports,
        "import isthmus",
        "",
        f"model = isthmus.from_pretrained({repo_id or FOLDER!r}{custom})",
        f"X = {rows}  # replace by your own rows: "
        f"{'a data frame' if is_frame else (N, *estimator.feature_shape_)}",
        f"codes = model.transform(X{condition})  # {codes}",
        f"decoded = model.inverse_transform(codes{condition})",
        f"model.score_samples(X{condition})  # nats per example, higher is likelier",
    ]
    return "\n".join(lines)
