"""How well anomaly scores separate rows that are known to be anomalous."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from isthmus._messages import did_you_mean

__all__ = ["anomalous_rows", "detection_numbers"]

WORDS = ("1", "true", "yes", "anomaly", "anomalous", "abnormal", "outlier", "fraud", "attack")


def anomalous_rows(labels: ArrayLike, named: Sequence[str] = ()) -> NDArray[np.bool_]:
    """Return which rows are anomalous by their labels.

    Parameters
    ----------
    labels : array-like (n,)
    named : sequence of str
        The labels of anomalous rows. By default 1, true, yes, or a word such as "anomaly" or
        "outlier", if there are two labels and one of them is such a word.

    Returns
    -------
    ndarray of bool (n,)

    Raises
    ------
    ValueError
        If it is unknown which labels are anomalous, or a label that is named does not occur.

    Examples
    --------
    >>> anomalous_rows([0, 0, 1]), anomalous_rows(["good", "crack"], ["crack"])
    (array([False, False,  True]), array([False,  True]))
    """
    texts = np.array([_text(label) for label in np.asarray(labels).tolist()])
    known = sorted({*texts.tolist()})
    listed = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
    if named:
        for name in named:
            if name not in known:
                near = did_you_mean(name, known)
                raise ValueError(f"no row has the label {name!r}; labels: {listed}.{near}")
        return np.isin(texts, [*named])
    found = [label for label in known if label.lower() in WORDS]
    if len(found) != 1 or len(known) > 2:
        raise ValueError(
            f"name the labels of anomalous rows by --anomalous LABEL; labels: {listed}."
        )
    return texts == found[0]


def _text(label: Any) -> str:
    """Return a label as text; whole numbers without a decimal point."""
    whole = isinstance(label, float) and label.is_integer()
    return str(int(label)) if whole else str(label).strip()


def detection_numbers(
    is_anomalous: NDArray[np.bool_], scores: NDArray[Any], flagged: NDArray[np.bool_]
) -> dict[str, float]:
    """Return how well scores and a threshold find the anomalous rows.

    Parameters
    ----------
    is_anomalous : ndarray of bool (n,)
    scores : ndarray (n,)
        Higher is more anomalous; may be infinite.
    flagged : ndarray of bool (n,)

    Returns
    -------
    dict of str to float
        Area under the ROC curve, average precision, and precision and recall of the flagged rows;
        NaN if a number is undefined because there are no rows of a kind.

    Examples
    --------
    >>> numbers = detection_numbers(np.array([False, False, True]), np.arange(3), np.arange(3) > 0)
    >>> numbers["AUROC"], numbers["precision of flagged rows"]
    (1.0, 0.5)
    """
    ranks = np.unique(scores, return_inverse=True)[1]  # finite, in the same order
    n_right, n_flagged = int((is_anomalous & flagged).sum()), int(flagged.sum())
    n_anomalous, both = int(is_anomalous.sum()), len({*is_anomalous.tolist()}) == 2
    return {
        "anomalous rows": n_anomalous,
        "AUROC": float(roc_auc_score(is_anomalous, ranks)) if both else np.nan,
        "average precision": (
            float(average_precision_score(is_anomalous, ranks)) if n_anomalous else np.nan
        ),
        "precision of flagged rows": n_right / n_flagged if n_flagged else np.nan,
        "recall of anomalous rows": n_right / n_anomalous if n_anomalous else np.nan,
    }
