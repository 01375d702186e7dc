"""Adapt an `AnomalyDetector` to pyod's interface; requires pyod. See `AnomalyDetector.to_pyod`."""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from isthmus._optional import import_optional

__all__ = ["PyodDetector"]

BaseDetector: Any = import_optional("pyod.models.base", what="a pyod detector").BaseDetector
HUGE = 1e100  # stands for an infinite score where pyod takes finite ones


class PyodDetector(BaseDetector):
    """Wrap an `AnomalyDetector` as a pyod detector: 1 is an outlier, higher scores are worse.

    `predict`, `predict_proba`, `predict_confidence`, `predict_with_rejection` and pyod's model
    combination come from `pyod.models.base.BaseDetector`.

    Parameters
    ----------
    detector : AnomalyDetector
        `fit` fits a copy of it, which trains its estimator unless that is fitted. The detector's
        own threshold is not used.
    contamination : float in (0, 0.5], or a thresholder of pythresh
        Fraction of the training rows to flag.

    Attributes
    ----------
    detector_ : AnomalyDetector
        The fitted detector, which provides anomaly maps, explanations and p-values.
    decision_scores_, labels_ : ndarray (n,)
        Scores of the training rows, and 1 for outliers among them.
    threshold_ : float
        Rows with a higher score are outliers.

    References
    ----------
    PyOD: a Python toolbox for scalable outlier detection (Zhao, Nasrullah, Li, 2019).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import Autoencoder
    >>> from isthmus.applications import AnomalyDetector
    >>> X = load_digits().data[:200] / 16
    >>> model = Autoencoder(n_components=4, epochs=2, random_state=0)
    >>> detector = PyodDetector(AnomalyDetector(model, random_state=0), contamination=0.1).fit(X)
    >>> int(detector.labels_.sum()), detector.predict_proba(X).shape
    (20, (200, 2))
    """

    def __init__(self, detector: Any, contamination: Any = 0.1) -> None:
        super().__init__(contamination=contamination)
        self.detector = detector

    @classmethod
    def from_detector(cls, detector: Any) -> Self:
        """Adapt a detector; the result is fitted if the detector is. See `AnomalyDetector.to_pyod`.

        Raises
        ------
        ValueError
            If the detector is fitted without calibration rows (pyod scales its probabilities by
            their scores), or flags more than half of the rows.
        """
        automatic = detector.contamination == "auto"
        rate = detector.false_alarm_rate if automatic else float(detector.contamination)
        new = cls(_unfitted(detector), rate)
        if not detector.__sklearn_is_fitted__():
            return new
        if not len(detector.calibration_scores_):
            raise ValueError(
                "pyod scales probabilities by the scores of calibration rows, but this detector "
                "has none: call calibrate(X) with normal rows first, or fit with "
                "calibration_fraction > 0."
            )
        new._adopt(copy.copy(detector), -detector.calibration_scores_)
        new.threshold_ = -detector.offset_
        new.labels_ = (new.decision_scores_ > new.threshold_).astype(int)
        return new

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit a copy of `detector` to X and set the threshold; y is ignored.

        If an error is raised, self does not change.
        """
        detector = _unfitted(self.detector)
        return self._adopt(detector.fit(X), detector.anomaly_score(X))

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Return the anomaly score of each row, (n,); higher is more anomalous."""
        check_is_fitted(self, "detector_")
        return self.detector_.anomaly_score(X)

    def predict_proba(self, X: Any, *args: Any, **options: Any) -> Any:
        """Return the probabilities of normal rows and outliers, (n, 2), as pyod does.

        Rows with an infinite score are outliers with probability 1.
        """
        finite = copy.copy(self)
        if hasattr(self, "detector_"):
            finite.decision_scores_ = _finite(self.decision_scores_)
            finite.__dict__["decision_function"] = lambda X: np.minimum(
                self.decision_function(X), HUGE
            )
        return super(PyodDetector, finite).predict_proba(X, *args, **options)

    def _adopt(self, detector: Any, scores: NDArray[np.float64]) -> Self:
        """Store a fitted detector and let pyod derive the other attributes from its scores."""
        self.detector_, self.decision_scores_ = detector, _finite(scores)
        self._set_n_classes(None)
        self._process_decision_scores()
        self.decision_scores_ = scores
        self.labels_[np.isinf(scores)] = 1
        return self


def _finite(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scores with the highest finite one in place of infinity."""
    return np.minimum(scores, scores[np.isfinite(scores)].max())


def _unfitted(detector: Any) -> Any:
    """Return a detector with the same settings; unlike a clone it keeps a fitted estimator."""
    return type(detector)(**detector.get_params(deep=False))
