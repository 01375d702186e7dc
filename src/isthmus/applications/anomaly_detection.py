"""Anomaly detection with any estimator of isthmus: an outlier detector of scikit-learn."""

from __future__ import annotations

import copy
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted

from isthmus.applications.anomaly_scores import SCORES, Committee
from isthmus.data.columns import Table, is_frame
from isthmus.estimators import Autoencoder, LatentEstimator
from isthmus.estimators.validation import validate_input
from isthmus.evaluation.reconstruction import f1_from_counts
from isthmus.training.distributed import started_together

__all__ = ["AnomalyDetector"]

Array = NDArray[Any]


class AnomalyDetector(OutlierMixin, BaseEstimator):
    """Rows unlike those it learned from, by what an autoencoder makes of them.

    Fits the estimator on most rows and holds out the rest, by which the cut is set and p-values
    are counted: on the rows it was trained on an autoencoder errs too little. As everywhere in
    scikit-learn higher scores are more normal, 0 is the cut of `decision_function`, and
    `predict` says 1 for normal and -1 for anomalous.

    Parameters
    ----------
    estimator : LatentEstimator or FrozenEstimator, or list of LatentEstimator, optional
        Any estimator of isthmus; a clone of it is trained. One that is trained already is given
        as ``sklearn.frozen.FrozenEstimator(model)``, and `fit` then takes rows that it has not
        seen. By default an `Autoencoder` with a code of a quarter of the features, at most 20. Of
        several the geometric mean of the scores counts (of nats the mean); maps and explanations
        are by the first.
    contamination : "auto" or float in (0, 0.5]
        Where the cut is. "auto" flags `false_alarms` of normal rows, counted on held-out ones; a
        number flags just that share of the rows given to `fit`, ties aside.
    score_method : {"reconstruction", "likelihood", "nap", "latent", "paths", "whitened"}
        What is strange: a large squared error (of data scaled as the estimator scales them); a
        low likelihood or ELBO, in nats; a reconstruction that takes another way through the
        encoder than the row does (RaPP); a code far from the others, by its squared Mahalanobis
        distance; an unusual pair of these two ways, with the errors (for pictures); or errors
        unlike those of the others, by their squared Mahalanobis distance (for tables).
    calibration_fraction : float in [0, 1)
        Share of the rows of `fit` held out. Without any the cut must be a share, and there are
        no p-values until `calibrate`. Of a frozen estimator all rows are held out, unless the
        score itself learns ("nap", "latent", "paths", "whitened").
    false_alarms : float in (0, 1)
        Share of normal rows that contamination "auto" may flag. It takes 1 / false_alarms - 1
        held-out rows to say so little; of fewer, rows below all of them are flagged.
    random_state : int, RandomState or None
        Draws the held-out rows, and seeds an estimator that has no seed of its own.

    Attributes
    ----------
    estimators_ : list of LatentEstimator
        The fitted models.
    estimator_ : LatentEstimator
        The trained estimator.
    offset_ : float
        The cut: ``decision_function(X) == score_samples(X) - offset_``.
    calibration_scores_ : ndarray of float64, (n_held_out,)
        `score_samples` of the held-out rows, sorted.
    n_features_in_ : int
        Numbers in one example.
    feature_names_in_ : ndarray of str, (n_features_in_,)
        Names of the columns, where X had such.
    feature_shape_ : tuple of int
        Shape of one example.

    References
    ----------
    RaPP: novelty detection with reconstruction along projection pathway (Kim, Shim, Lim, Jeon,
    Choi, Kim, Yoon, 2020), for "nap". Testing for outliers with conformal p-values (Bates,
    Candès, Lei, Romano, Sesia, 2023), for the p-values and the cut.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import Autoencoder
    >>> digits = load_digits()
    >>> X, strange = digits.images[digits.target == 0] / 16, digits.images[digits.target == 4] / 16
    >>> model = Autoencoder(n_components=8, epochs=30)
    >>> detector = AnomalyDetector(model, score_method="nap", random_state=0).fit(X)
    >>> bool((detector.predict(strange) == -1).mean() > 0.9)
    True
    >>> detector.anomaly_map(strange).shape
    (181, 8, 8)
    """

    estimators_: list[LatentEstimator]
    estimator_: LatentEstimator
    offset_: float
    calibration_scores_: Array
    _scorer: Committee
    feature_shape_: tuple[int, ...]
    n_features_in_: int

    def __init__(
        self,
        estimator: Any = None,
        *,
        contamination: str | float = "auto",
        score_method: str = "reconstruction",
        calibration_fraction: float = 0.2,
        false_alarms: float = 0.05,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.contamination = contamination
        self.score_method = score_method
        self.calibration_fraction = calibration_fraction
        self.false_alarms = false_alarms
        self.random_state = random_state

    # ---------------------------------------------------------------- training

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train on most of X, which should be normal as a rule, and set the cut.

        Parameters
        ----------
        X : array-like (n, *features)
            As the estimator takes it: a table, pictures, signals; numbers or bytes.
        y : array-like (n,), optional
            Labels, for a conditional estimator alone; scores are those of rows of unknown label.

        Returns
        -------
        self
            Unchanged where an error is raised.

        Raises
        ------
        ValueError
            A setting out of bounds, too few rows, or data the estimator cannot learn from.
        """
        self._check_settings()
        if self.random_state is None and started_together():
            raise ValueError(
                "several processes hold out the same rows only by a seed: give random_state."
            )
        new = copy.copy(self)
        data = new._learn_columns(X)
        train, held = new._split(len(data))
        seeds = check_random_state(self.random_state)
        new.estimators_ = [new._trained(each, X, data, y, train, seeds) for each in new._members]
        new.estimator_ = new.estimators_[0]
        new.feature_shape_ = new.estimator_.feature_shape_
        new._scorer = Committee([SCORES[self.score_method](model) for model in new.estimators_])
        new._scorer.learn(data[train])
        new.calibration_scores_ = np.sort(new._scores(data[held]))
        new.offset_ = new._cut(data)
        self.__dict__ = new.__dict__
        return self

    def calibrate(self, X: Any) -> Self:
        """Set cut and p-values anew by normal rows that were not trained on.

        Parameters
        ----------
        X : array-like (n, *features)
            Of the kind that is called normal: a float `contamination` flags that share of them,
            "auto" as few of their like as it should.

        Returns
        -------
        self
        """
        data = self._enter(X)
        scores = np.sort(self._scores(data))
        self.offset_ = (
            conformal_cut(scores, self.false_alarms)
            if self.contamination == "auto"
            else share_cut(scores, float(self.contamination))
        )
        self.calibration_scores_ = scores
        return self

    def tune_threshold(self, X: Any, y: ArrayLike) -> Self:
        """Set the cut that finds the anomalies of labelled rows best, by F1.

        F1 is counted of the anomalies that are flagged; p-values stay as they are.

        Parameters
        ----------
        X : array-like (n, *features)
            Rows that were not trained on.
        y : array-like (n,)
            1 for normal and -1 for anomalous rows, at least one of these.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            Other labels, or as many as X does not have rows.
        """
        scores = self.score_samples(X)
        self.offset_ = f1_cut(scores, _anomalous(y, len(scores)))
        return self

    def _check_settings(self) -> None:
        given = self.estimator
        model = given.estimator if isinstance(given, FrozenEstimator) else given
        several = isinstance(given, list | tuple)
        wrong = [m for m in self._members if not isinstance(m, LatentEstimator)] if several else []
        if wrong or not (several or isinstance(model, LatentEstimator | None)) or given in ([], ()):
            got = type((wrong or [model])[0]).__name__
            raise ValueError(
                "estimator must be one of isthmus, such as Autoencoder(), a list of such, or "
                f"FrozenEstimator of one that is fitted; got {got}."
            )
        share, held = self.contamination, self.calibration_fraction
        if self.score_method not in SCORES:
            raise ValueError(
                f"score_method must be one of {', '.join(SCORES)}, got {self.score_method!r}."
            )
        if share != "auto" and not (_number(share) and 0 < share <= 0.5):  # type: ignore[operator]
            raise ValueError(
                f"contamination must be 'auto' or a share over 0 and at most 0.5, got {share!r}."
            )
        if not (_number(held) and 0 <= held < 1):
            raise ValueError(f"calibration_fraction must be at least 0 and below 1, got {held!r}.")
        if not (_number(self.false_alarms) and 0 < self.false_alarms < 1):
            raise ValueError(f"false_alarms must be between 0 and 1, got {self.false_alarms!r}.")
        if share == "auto" and held == 0:
            raise ValueError(
                "contamination='auto' sets the cut by held-out rows: give a calibration_fraction "
                "above 0, or a share as contamination."
            )

    def _split(self, n: int) -> tuple[Array, Array]:
        """Return the rows to learn from and those held out: all, where nothing is to be learned."""
        if isinstance(self.estimator, FrozenEstimator) and not SCORES[self.score_method].learns:
            return np.arange(0), np.arange(n)
        order = check_random_state(self.random_state).permutation(n)
        n_held = round(self.calibration_fraction * n)
        if self.calibration_fraction:
            n_held = max(1, min(n_held, n - 2))
        if n - n_held < 2:
            raise ValueError(
                f"{type(self).__name__} needs 3 rows, 2 to learn from and 1 to hold out, got {n}."
            )
        return np.sort(order[n_held:]), np.sort(order[:n_held])

    def _learn_columns(self, X: Any) -> Array:
        """Return the rows of `fit`; of a frame, numbered as a frozen model has its categories."""
        data = validate_input(self, X, reset=True, missing=self._missing)
        frozen = isinstance(self.estimator, FrozenEstimator)
        if not (frozen and is_frame(X) and hasattr(self.estimator.estimator, "columns_")):
            return data
        self.columns_ = self.estimator.estimator.columns_
        return validate_input(self, X, reset=False, missing=self._missing)

    @property
    def _members(self) -> list[Any]:
        return [*self.estimator] if isinstance(self.estimator, list | tuple) else [self.estimator]

    def _trained(
        self, given: Any, X: Any, data: Array, y: Any, train: Array, seeds: np.random.RandomState
    ) -> LatentEstimator:
        if isinstance(given, FrozenEstimator):
            return _unnamed(given.estimator, X)
        model = self._default() if given is None else clone(given)
        if model.random_state is None and self.random_state is not None:
            model.set_params(random_state=int(seeds.randint(2**31)))
        rows = data if self.columns_ is None else Table(data, self.columns_)
        if y is None or not model.conditional:
            return model.fit(rows[train])
        return model.fit(rows[train], np.asarray(y)[train])

    def _default(self) -> Autoencoder:
        return Autoencoder(n_components=int(np.clip(self.n_features_in_ // 4, 1, 20)))

    def _cut(self, data: Array) -> float:
        if self.contamination == "auto":
            return conformal_cut(self.calibration_scores_, self.false_alarms)
        return share_cut(np.sort(self._scores(data)), float(self.contamination))

    # --------------------------------------------------------------------- use

    def score_samples(self, X: Any) -> Array:
        """Return how normal each row is: minus `anomaly_score`.

        Parameters
        ----------
        X : array-like (n, *features)

        Returns
        -------
        ndarray of float64, (n,)
        """
        return self._scores(self._enter(X))

    def decision_function(self, X: Any) -> Array:
        """Return ``score_samples(X) - offset_``: below 0 is anomalous; (n,) of float64."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Return 1 for normal and -1 for anomalous rows, (n,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def anomaly_score(self, X: Any) -> Array:
        """Return how strange each row is, higher is stranger: minus `score_samples`, (n,).

        Squared units of the scaled data for "reconstruction", nats for "likelihood", squared
        standard deviations for "nap", "latent", "paths" and "whitened".
        """
        return -self.score_samples(X)

    def anomaly_pvalue(self, X: Any) -> Array:
        """Return how likely a normal row is to be as strange as each row.

        Split conformal: (1 + held-out rows at least as strange) / (1 + held-out rows). Of normal
        rows at most a share p has a p-value of p or less, whatever the model and the data, if
        they come from where the held-out rows came from; on average over held-out sets. With
        contamination "auto", `predict` flags the rows whose p-value is at most `false_alarms`.

        Parameters
        ----------
        X : array-like (n, *features)

        Returns
        -------
        ndarray of float64, (n,)
            Never below 1 / (1 + held-out rows).

        Raises
        ------
        ValueError
            If no rows were held out.

        References
        ----------
        Testing for outliers with conformal p-values (Bates, Candès, Lei, Romano, Sesia, 2023).
        """
        scores, held = self.score_samples(X), self.calibration_scores_
        if not len(held):
            raise ValueError(
                "p-values are counted on held-out rows, and there are none: call calibrate(X) "
                "with normal rows, or fit with a calibration_fraction above 0."
            )
        return conformal_pvalues(held, scores)

    def explain(self, X: Any, score_method: str | None = None) -> Array:
        """Return the part that each feature has in the anomaly of its row.

        Parts of "reconstruction" are squared errors, and sum to `anomaly_score` exactly. Those of
        "likelihood" are -E log p(x|z) in nats, and sum to `anomaly_score` less the KL divergence
        of the code, which belongs to no feature.

        Parameters
        ----------
        X : array-like (n, *features)
        score_method : {"reconstruction", "likelihood"}, optional
            What to explain; the detector's own score unless given.

        Returns
        -------
        ndarray of float64, (n, *feature_shape_)

        Raises
        ------
        ValueError
            For the other scores: distances in a whitened space are no sum over features.
        """
        data = self._enter(X)
        name = self.score_method if score_method is None else score_method
        parts = [key for key, kind in SCORES.items() if kind.by_feature]
        if name not in parts:
            raise ValueError(
                f"{name!r} is not a sum over the features: call explain(X, score_method=...) "
                f"with one of {', '.join(parts)}."
            )
        return SCORES[name](self.estimator_).contributions(data)

    def anomaly_map(self, X: Any) -> Array:
        """Return a heat map of each picture: where it is strange.

        The detector's own score where it is a sum over pixels, else the squared errors; over
        channels it is summed.

        Parameters
        ----------
        X : array-like (n, height, width) or (n, channels, height, width)

        Returns
        -------
        ndarray of float64, (n, height, width)

        Raises
        ------
        ValueError
            For data that are no pictures.
        """
        check_is_fitted(self)
        if len(self.feature_shape_) not in (2, 3):
            raise ValueError(
                "maps are for pictures (n, height, width) or (n, channels, height, width), but one "
                f"example has shape {self.feature_shape_}; use explain."
            )
        by_feature = SCORES[self.score_method].by_feature
        parts = self.explain(X, self.score_method if by_feature else "reconstruction")
        return parts if parts.ndim == 3 else parts.sum(1)

    def to_pyod(self) -> Any:
        """Return this detector with pyod's names and signs: higher is stranger, 1 an outlier.

        A fitted detector keeps its model and its cut: `predict` says 1 where this one says -1,
        and `decision_scores_` are those of the held-out rows. Fitting it again flags the share
        `contamination` of the rows given, as pyod does; where that is "auto", `false_alarms`.

        Returns
        -------
        PyodDetector
            A `pyod.models.base.BaseDetector`.

        Raises
        ------
        ImportError
            Without pyod: ``pip install pyod``.
        ValueError
            For a fitted detector without held-out rows, or a share of more than half.
        """
        from isthmus.applications.pyod_adapter import PyodDetector

        return PyodDetector.from_detector(self)

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean of `score_samples`, for scikit-learn's model selection; y is ignored."""
        return float(np.mean(self.score_samples(X)))

    def _enter(self, X: Any) -> Array:
        check_is_fitted(self)
        return validate_input(self, X, reset=False, missing=self.estimator_.model_.missing)

    def _scores(self, data: Array) -> Array:
        return -self._scorer.anomaly(data) if len(data) else np.zeros(0)

    @property
    def _missing(self) -> bool:
        """Whether the estimator takes missing values."""
        return all(getattr(each, "missing", "refuse") == "ignore" for each in self._members)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "offset_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self._missing
        return tags


def conformal_pvalues(held: Array, scores: Array) -> Array:
    """Return (1 + held-out scores that are no higher) / (1 + held-out scores), (n,).

    Parameters
    ----------
    held : ndarray (n_held_out,)
        Sorted.
    scores : ndarray (n,)

    Examples
    --------
    >>> conformal_pvalues(np.arange(3.0), np.array([-1.0, 1.0, 9.0]))
    array([0.25, 0.75, 1.  ])
    """
    return (1 + np.searchsorted(held, scores, side="right")) / (1 + len(held))


def conformal_cut(held: Array, level: float) -> float:
    """Return the cut below which conformal p-values are at most `level`.

    Too few rows for any such p-value: then the lowest of them is the cut.

    Parameters
    ----------
    held : ndarray (n,)
        Scores of held-out rows, sorted.
    level : float

    Examples
    --------
    >>> conformal_cut(np.arange(99.0), 0.05)
    4.0
    """
    k = int(level * (len(held) + 1) + 1e-9)  # 0.05 * 100 is a little under 5 or over
    return float(held[max(k, 1) - 1])


def share_cut(scores: Array, share: float) -> float:
    """Return the cut below which just a share of sorted scores lies, between two of them.

    Examples
    --------
    >>> share_cut(np.arange(10.0), 0.2)
    1.5
    """
    k = round(share * len(scores))
    return float(scores[0] if k == 0 else (scores[k - 1] + scores[k]) / 2)


def f1_cut(scores: Array, anomalous: NDArray[np.bool_]) -> float:
    """Return the cut below which rows are flagged with the best F1, from counts.

    Of cuts that are equally good the one that flags fewest rows.

    Parameters
    ----------
    scores : ndarray (n,)
        Higher is normal.
    anomalous : ndarray of bool, (n,)

    Examples
    --------
    >>> f1_cut(np.array([0.0, 1.0, 2.0, 3.0]), np.array([True, True, False, False]))
    1.5
    """
    values, place = np.unique(scores, return_inverse=True)
    tp = np.bincount(place, anomalous).cumsum()
    fp = np.bincount(place, ~anomalous).cumsum()
    best = int(np.argmax(f1_from_counts(tp, fp, anomalous.sum() - tp)))
    if best + 1 == len(values):
        return float(np.nextafter(values[-1], np.inf))
    return float((values[best] + values[best + 1]) / 2)


def _anomalous(y: ArrayLike, n: int) -> NDArray[np.bool_]:
    labels = np.asarray(y)
    if labels.shape != (n,):
        raise ValueError(f"expected one label for each of {n} rows, got shape {labels.shape}.")
    if not np.isin(labels, (-1, 1)).all() or not (labels == -1).any():
        raise ValueError(
            "labels must be 1 for normal and -1 for anomalous rows, at least one of these, got "
            f"{np.unique(labels)[:5].tolist()}; from y of 1 for anomalous make 1 - 2 * y."
        )
    return labels == -1


def _number(value: Any) -> bool:
    return isinstance(value, Real | Integral) and not isinstance(value, bool)


def _unnamed(model: LatentEstimator, X: Any) -> LatentEstimator:
    """Return a trained model that takes arrays, once the names of X are seen to be its own."""
    check_is_fitted(model)
    validate_input(model, X, reset=False)
    model = copy.copy(model)
    model.__dict__.pop("feature_names_in_", None)
    return model
