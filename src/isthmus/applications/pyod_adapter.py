"""A detector of isthmus with pyod's names and signs; needs pyod.

`AnomalyDetector.to_pyod` makes one.
"""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from isthmus._optional import import_optional
from isthmus.applications.anomaly_detection import AnomalyDetector

__all__ = ["PyodDetector"]

BaseDetector: Any = import_optional("pyod.models.base", what="a detector for pyod").BaseDetector


class PyodDetector(BaseDetector):
    """An `AnomalyDetector` as pyod knows detectors: higher is stranger, 1 is an outlier.

    A `pyod.models.base.BaseDetector`, whence come `predict`, `predict_proba`,
    `predict_confidence`, `predict_with_rejection`, and what pyod makes of many detectors.

    Parameters
    ----------
    detector : AnomalyDetector, optional
        A clone of it is trained; `AnomalyDetector` by default. Its own cut plays no part.
    contamination : float in (0, 0.5], or a thresholder of pythresh
        Share of the rows given to `fit` that is flagged.

    Attributes
    ----------
    detector_ : AnomalyDetector
        The fitted detector, for its maps, explanations and p-values.
    decision_scores_ : ndarray of float64, (n,)
        `decision_function` of the rows given to `fit`.
    labels_ : ndarray of int, (n,)
        1 for outliers among them, 0 for the others.
    threshold_ : float
        The cut: scores above it are outliers.

    References
    ----------
    PyOD: a Python toolbox for scalable outlier detection (Zhao, Nasrullah, Li, 2019).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import Autoencoder
    >>> X = load_digits().data[:200] / 16
    >>> model = Autoencoder(n_components=4, epochs=2, random_state=0)
    >>> detector = PyodDetector(AnomalyDetector(model, random_state=0), contamination=0.1).fit(X)
    >>> int(detector.labels_.sum()), detector.predict_proba(X).shape
    (20, (200, 2))
    """

    detector_: AnomalyDetector
    decision_scores_: NDArray[np.float64]
    labels_: NDArray[np.int64]
    threshold_: float

    def __init__(self, detector: AnomalyDetector | None = None, contamination: Any = 0.1) -> None:
        super().__init__(contamination=contamination)
        self.detector = detector

    @classmethod
    def of(cls, detector: AnomalyDetector) -> Self:
        """Return a detector for pyod, fitted where this one is: `AnomalyDetector.to_pyod`.

        Raises
        ------
        ValueError
            Where it is fitted and no rows were held out, by whose scores pyod's probabilities
            are scaled; or where it flags more than half of the rows.
        """
        new = cls(clone(detector), _share(detector))
        return new._adopt_fitted(detector) if detector.__sklearn_is_fitted__() else new

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train a clone of `detector` on X, and set the cut; y is ignored.

        Parameters
        ----------
        X : array-like (n, *features)
            As the detector takes it.
        y : ignored

        Returns
        -------
        self
            Unchanged where an error is raised.
        """
        detector = AnomalyDetector() if self.detector is None else clone(self.detector)
        return self._adopt(detector.fit(X), detector.anomaly_score(X))

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Return how strange each row is, higher is stranger: `anomaly_score`, (n,)."""
        check_is_fitted(self, "detector_")
        return self.detector_.anomaly_score(X)

    def _adopt(self, detector: AnomalyDetector, scores: NDArray[np.float64]) -> Self:
        """Take over a fitted detector and the scores of its rows, by which pyod sets the rest."""
        self.detector_, self.decision_scores_ = detector, scores
        self._set_n_classes(None)
        return self._process_decision_scores()

    def _adopt_fitted(self, detector: AnomalyDetector) -> Self:
        if not len(detector.calibration_scores_):
            raise ValueError(
                "pyod scales probabilities by scores of held-out rows, and there are none: call "
                "calibrate(X) with normal rows first, or fit with a calibration_fraction above 0."
            )
        self._adopt(copy.copy(detector), -detector.calibration_scores_)
        self.threshold_ = -detector.offset_
        self.labels_ = (self.decision_scores_ > self.threshold_).astype(int)
        return self


def _share(detector: AnomalyDetector) -> float:
    """Return the share of rows flagged: where the cut is "auto", of normal rows."""
    automatic = detector.contamination == "auto"
    return detector.false_alarms if automatic else float(detector.contamination)
