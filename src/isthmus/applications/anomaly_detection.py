"""Anomaly detection with any isthmus estimator, as a scikit-learn outlier detector."""

from __future__ import annotations

import copy
from dataclasses import KW_ONLY, dataclass
from numbers import Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import OutlierMixin, clone
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted

from isthmus.applications.anomaly_scores import SCORES, combined_anomaly
from isthmus.applications.meta_estimator import (
    check_choice,
    fitted_model,
    is_fitted,
    unwrap,
    weight_options,
)
from isthmus.applications.saved_detectors import SavedDetector
from isthmus.applications.unscored_rows import NO_SCORE, skip_failing_rows, warn_unscored
from isthmus.data.columns import Table
from isthmus.estimators import Autoencoder, LatentEstimator
from isthmus.estimators.sample_weight import (
    WeightedRows,
    check_sample_weight,
    repeat_rows,
    weight_rows,
)
from isthmus.estimators.validation import (
    ANY_FINITE,
    ANY_NUMBER,
    UnknownCategoriesMixin,
    find_empty,
    validate_sparse,
)
from isthmus.evaluation.reconstruction import f1_from_counts
from isthmus.models.specs import HANDLE_UNKNOWN
from isthmus.training.distributed import started_together

__all__ = [
    "AnomalyDetector",
    "best_f1_threshold",
    "check_rates",
    "conformal_pvalues",
    "conformal_threshold",
    "default_estimator",
    "fraction_threshold",
    "resolve_score",
]

Array = NDArray[Any]
AUTO = "auto"  # score_method that fit chooses
STEPS = 100  # of the default estimator on tables
FORM = ("feature_shape_", "columns_", "n_features_in_", "feature_names_in_")  # of the input


@dataclass(eq=False, repr=False)
class AnomalyDetector(UnknownCategoriesMixin, OutlierMixin, SavedDetector):
    """Detect rows that differ from the training rows, using an autoencoder.

    `fit` trains the estimator on most rows, which should be mostly normal, and sets the threshold
    and p-values by the rest, because an autoencoder's errors on its own training rows are too
    small. A fitted estimator is not trained again: give `fit` rows outside its training set.
    Follows scikit-learn's conventions: higher scores are more normal, the threshold of
    `decision_function` is 0, and `predict` returns 1 for normal and -1 for anomalous rows.

    Parameters
    ----------
    estimator : LatentEstimator or list of LatentEstimator, optional
        A fitted estimator is used as it is; of an unfitted one `fit` trains a clone. The default
        for tables is an `Autoencoder` that is trained for only 100 steps, so that it does not learn
        outliers among the rows; for images and signals it is one with a quarter as many
        components as features, at most 20, trained in full. For several estimators the score is
        the geometric mean of their scores (the mean for "likelihood"); maps and explanations use
        the first.
    contamination : "auto" or float in (0, 0.5]
        "auto" flags a fraction `false_alarm_rate` of normal rows, estimated on held-out rows; a
        number flags that fraction of the rows passed to `fit`, except for ties.
    score_method : {"auto", "reconstruction", "likelihood", "nap", "latent", "paths", \
            "whitened", "mahalanobis"}
        How to measure anomaly. "auto": "mahalanobis" for tables if `estimator` is None, else
        "reconstruction". "reconstruction": squared error of the scaled data. "likelihood":
        negative log-likelihood or ELBO in nats. "nap": difference between the encoder
        activations of a row and of its reconstruction (RaPP). "latent": squared Mahalanobis
        distance of the code. "paths": Mahalanobis distance of both activations and the errors
        together (for images). "whitened": Mahalanobis distance of the errors (for tables of
        normal rows). "mahalanobis": that of a row and its error together (for tables with outliers
        among the training rows).
    calibration_fraction : float in [0, 1)
        Fraction of the rows held out. 0 requires a numeric `contamination` and gives no p-values
        until `calibrate` is called. If all estimators are fitted, all rows are held out, unless
        the score itself is fitted ("nap", "latent", "paths", "whitened", "mahalanobis").
    false_alarm_rate : float in (0, 1)
        Fraction of normal rows that contamination "auto" flags. Requires at least
        1 / false_alarm_rate - 1 held-out rows; with fewer, only rows that score below all of them
        are flagged.
    random_state : int, RandomState or None
        Draws the held-out rows and seeds estimators without a seed of their own.
    handle_unknown : {"flag", "missing", "error"}
        What becomes of a row of a table with a category that was not seen during fit. "flag": it is
        anomalous, with an infinite score; `find_unknown` tells the columns. "missing": the category
        counts as missing, which needs estimators with ``missing="ignore"``. "error": X is refused.

    Attributes
    ----------
    estimators_, estimator_ : list of LatentEstimator, LatentEstimator
        The fitted models, and the first of them.
    score_method_ : str
        What `score_method` "auto" stands for.
    offset_ : float
        The threshold: ``decision_function(X) == score_samples(X) - offset_``.
    calibration_scores_ : ndarray of float64, (n_held_out,)
        `score_samples` of the held-out rows, sorted.
    feature_shape_ : tuple of int
        Shape of one example.

    References
    ----------
    RaPP: novelty detection with reconstruction along projection pathway (Kim, Shim, Lim, Jeon,
    Choi, Kim, Yoon, 2020), for "nap". Testing for outliers with conformal p-values (Bates,
    Candès, Lei, Romano, Sesia, 2023), for the p-values and the threshold.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from isthmus import Autoencoder
    >>> digits = load_digits()
    >>> X, fours = digits.images[digits.target == 0] / 16, digits.images[digits.target == 4] / 16
    >>> model = Autoencoder(n_components=8, epochs=30)
    >>> detector = AnomalyDetector(model, score_method="nap", random_state=0).fit(X)
    >>> bool((detector.predict(fours) == -1).mean() > 0.9)
    True
    >>> detector.anomaly_map(fours).shape
    (181, 8, 8)
    """

    estimator: Any = None
    _: KW_ONLY
    contamination: str | float = "auto"
    score_method: str = "auto"
    calibration_fraction: float = 0.2
    false_alarm_rate: float = 0.05
    random_state: Any = None
    handle_unknown: str = "flag"

    # ---------------------------------------------------------------- training

    def _fit(self, X: Any, y: Any, weights: Any) -> None:
        self._check_parameters()
        if self.random_state is None and started_together():
            raise ValueError("set random_state so that all processes hold out the same rows.")
        fitted = [fitted_model(e) for e in self._estimators]
        X, y, _, weights, numbers = weight_rows(X, y, None, weights)
        ready = [model for model in fitted if model is not None]
        data = self._read_training_rows(X, ready, numbers)
        numbers = np.arange(len(data)) if numbers is None else numbers
        self.score_method_ = resolve_score(self.score_method, self.estimator, data.shape[1:])
        known, unknown = self._split_unknown(data)
        train, held_out = self._split(len(data))
        seeds = check_random_state(self.random_state)
        self.estimators_ = [
            self._trained(given, WeightedRows(known, y, None, weights), train, seeds)
            if model is None
            else _for_arrays(model)
            for given, model in zip(self._estimators, fitted, strict=True)
        ]
        self._set_measures()
        for measure in self._measures:
            usable, _ = skip_failing_rows(measure.fit, known[_repeated(train, weights)])
            if len(train) and not len(usable):
                raise ValueError(NO_SCORE)
        automatic = self.contamination == "auto"
        scored = held_out if automatic else np.arange(len(data))
        scores = np.full(len(data), np.nan)
        scores[scored] = self._scores(data[scored])
        warn_unscored(scores[scored], unknown[scored], numbers[scored])
        self._calibrate(*(scores[_repeated(rows, weights)] for rows in (held_out, scored)))

    def _calibrate(self, held_out: Array, for_threshold: Array) -> None:
        """Set p-values and threshold; rows without a finite score are anomalous, not normal."""
        self.calibration_scores_ = np.sort(held_out[np.isfinite(held_out)])
        automatic = self.contamination == "auto"
        scores = self.calibration_scores_ if automatic else np.sort(for_threshold)
        if not np.isfinite(scores).any():
            raise ValueError(NO_SCORE)
        self.offset_ = self._threshold(scores)

    def calibrate(self, X: Any) -> Self:
        """Recompute the threshold and the p-values from normal rows outside the training set.

        A numeric `contamination` flags that fraction of the rows X (n, *features).
        """
        scores = self.score_samples(X)
        self._calibrate(scores, scores)
        return self

    def tune_threshold(self, X: Any, y: ArrayLike) -> Self:
        """Set the threshold with the highest F1 on labelled rows; p-values do not change.

        Parameters
        ----------
        X : array-like (n, *features)
            Rows outside the training set.
        y : array-like (n,)
            1 for normal and -1 for anomalous rows, with at least one -1.

        Raises
        ------
        ValueError
            If y has other values or another length than X.
        """
        scores, labels = self.score_samples(X), np.asarray(y)
        if labels.shape != scores.shape:
            raise ValueError(
                f"y must hold one label for each of {len(scores)} rows, got shape {labels.shape}."
            )
        if not np.isin(labels, (-1, 1)).all() or not (labels == -1).any():
            raise ValueError(
                "y must hold 1 for normal and -1 for anomalous rows, with at least one -1; got "
                f"{np.unique(labels)[:5].tolist()}. If 1 marks anomalous rows, pass 1 - 2 * y."
            )
        self.offset_ = best_f1_threshold(scores, labels == -1)
        return self

    def _set_models(self, models: list[Any]) -> None:
        self._adopt_form(models[0])
        self.estimators_ = [_for_arrays(model) for model in models]
        self.score_method_ = self.score_method
        self._set_measures()

    def _saved_settings(self) -> dict[str, Any]:
        return super()._saved_settings() | {"score_method": self.score_method_}

    def _set_measures(self) -> None:
        self.estimator_ = self.estimators_[0]
        self.feature_shape_ = self.estimator_.feature_shape_
        self._measures = [SCORES[self.score_method_](model) for model in self.estimators_]

    def _check_parameters(self) -> None:
        models = [unwrap(e) for e in self._estimators]
        wrong = [m for m in models if not isinstance(m, LatentEstimator)]
        if self.estimator is not None and (wrong or not models):
            raise ValueError(
                "estimator must be an isthmus estimator such as Autoencoder(), or a non-empty list "
                f"of them; got {type(wrong[0]).__name__ if wrong else 'an empty list'}."
            )
        share, held_out = self.contamination, self.calibration_fraction
        check_choice("score_method", self.score_method, (AUTO, *SCORES))
        check_choice("handle_unknown", self.handle_unknown, HANDLE_UNKNOWN)
        check_rates(share, held_out, self.false_alarm_rate)

    def _split(self, n: int) -> tuple[Array, Array]:
        """Return the indices of the training rows and of the held-out rows."""
        if all(map(is_fitted, self._estimators)) and not SCORES[self.score_method_].is_fitted:
            return np.arange(0), np.arange(n)
        order = check_random_state(self.random_state).permutation(n)
        n_held = round(self.calibration_fraction * n)
        if self.calibration_fraction:
            n_held = max(1, min(n_held, n - 2))
        if n - n_held < 2:
            raise ValueError(
                f"{type(self).__name__} needs at least 3 rows, 2 for training and 1 held out; got "
                f"{n}."
            )
        return np.sort(order[n_held:]), np.sort(order[:n_held])

    def _read_training_rows(
        self, X: Any, fitted: list[LatentEstimator], numbers: Array | None
    ) -> Array:
        """Return X as numbers, in the form and with the columns of the models fitted before."""
        for model in fitted[:1]:
            self._adopt_form(model)
        if any(_encoding(model) != _encoding(fitted[0]) for model in fitted):
            raise ValueError(
                "the fitted estimators must take the same rows, but they were fitted on examples "
                "of different shape, or on different columns or categories."
            )
        settings = fitted[0] if fitted else self._estimators[0]
        limits = (
            ANY_FINITE if fitted else None
        )  # rows that a fitted model does not take are flagged
        data = validate_sparse(
            self,
            X,
            reset=not fitted,
            missing=self._missing,
            numbers=numbers,
            limits=limits,
            settings=settings,
            keep_unknown=True,
        )
        self.apply_handle_unknown()
        return data

    def _adopt_form(self, model: LatentEstimator) -> None:
        """Take over what a fitted model knows about its input."""
        for name in FORM:
            self.__dict__.pop(name, None)
            if hasattr(model, name):
                setattr(self, name, getattr(model, name))
        self.apply_handle_unknown()

    @property
    def _estimators(self) -> list[Any]:
        return [*self.estimator] if isinstance(self.estimator, list | tuple) else [self.estimator]

    def _trained(
        self, given: Any, known: WeightedRows, train: Array, seeds: np.random.RandomState
    ) -> LatentEstimator:
        data, y, _, weights, _ = known
        model = default_estimator(len(train), data.shape[1:]) if given is None else clone(given)
        if model.random_state is None and self.random_state is not None:
            model.set_params(random_state=int(seeds.randint(2**31)))
        rows = data if self.columns_ is None else Table(data, self.columns_)
        labels = np.asarray(y)[train] if y is not None and model.conditional else None
        return model.fit(
            rows[train], labels, **weight_options(None if weights is None else weights[train])
        )

    def _threshold(self, scores: Array) -> float:
        """Return the threshold for sorted scores."""
        if self.contamination == "auto":
            return conformal_threshold(scores, self.false_alarm_rate)
        return fraction_threshold(scores, float(self.contamination))

    # --------------------------------------------------------------- inference

    def score_samples(self, X: Any, *, warn: bool = True) -> Array:
        """Return how normal each row of X is, (n,): the negative of `anomaly_score`.

        Rows whose values overflow float32, such as the nodata value -3.4e38, or lie outside the
        range of the likelihood, such as -9999 among grey values or counts, have the score -inf:
        they are anomalous, with the least p-value. So are rows without any observed value.

        Parameters
        ----------
        X : array-like (n, *features)
        warn : bool
            Warn of such rows.
        """
        check_is_fitted(self)
        data = self._read(X)
        scores = self._scores(data)
        if warn:
            warn_unscored(scores, self._split_unknown(data)[1])
        return scores

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the mean of `score_samples`, for scikit-learn's model selection; y is ignored.

        With sample weights (n,) it is the weighted mean.
        """
        scores = self.score_samples(X)
        if sample_weight is None:
            return float(np.mean(scores))
        return float(np.average(scores, weights=check_sample_weight(sample_weight, len(scores))))

    def decision_function(self, X: Any) -> Array:
        """Return ``score_samples(X) - offset_``, (n,); negative values are anomalous."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Return 1 for normal and -1 for anomalous rows, (n,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def anomaly_score(self, X: Any) -> Array:
        """Return how anomalous each row is, (n,); higher is more anomalous.

        The unit is the squared unit of the scaled data for "reconstruction", nats for
        "likelihood", and squared standard deviations for the other scores.
        """
        return -self.score_samples(X)

    def anomaly_pvalue(self, X: Any) -> Array:
        """Return the conformal p-value of each row, (n,) of float64.

        The p-value is (1 + number of held-out rows at least as anomalous) / (1 + number of
        held-out rows). If normal rows follow the same distribution as the held-out rows, at most a
        fraction p of them has a p-value of p or less, on average over held-out sets, whatever the
        model. With contamination "auto", `predict` flags the rows whose p-value is at most
        `false_alarm_rate`.

        Raises
        ------
        ValueError
            If no rows were held out.
        """
        scores = self.score_samples(X)
        if not len(self.calibration_scores_):
            raise ValueError(
                "p-values need held-out rows: call calibrate(X) with normal rows, or fit with "
                "calibration_fraction above 0."
            )
        return conformal_pvalues(self.calibration_scores_, scores)

    def explain(self, X: Any, score_method: str | None = None) -> Array:
        """Return the contribution of each feature to the anomaly score, (n, *feature_shape_).

        Contributions to "reconstruction" are squared errors and sum to `anomaly_score`.
        Contributions to "likelihood" are -E log p(x|z) in nats and sum to `anomaly_score` minus
        the KL divergence of the code, which cannot be attributed to features. Missing values
        contribute 0, although `anomaly_score` allows for them; all values of a row without any
        observed value contribute infinity.

        Parameters
        ----------
        X : array-like (n, *features)
        score_method : {"reconstruction", "likelihood"}, optional
            The score to explain; by default that of the detector, or "reconstruction" if the
            detector chose its score.

        Raises
        ------
        ValueError
            For the other scores, which are not sums over features.
        """
        check_is_fitted(self)
        data = self._read(X)
        chosen = "reconstruction" if self.score_method == AUTO else self.score_method
        name = chosen if score_method is None else score_method
        additive = [key for key, score in SCORES.items() if score.is_additive]
        if name not in additive:
            raise ValueError(
                f"{name!r} is not a sum over the features: call explain(X, score_method=...) "
                f"with one of {', '.join(additive)}."
            )
        known, unknown = self._split_unknown(data)
        parts = SCORES[name](self.estimator_).contributions(known)
        parts[find_empty(known)] = np.inf
        return np.where(unknown, np.inf, parts) if unknown.any() else parts

    def find_unknown(self, X: Any) -> NDArray[np.bool_]:
        """Return which cells of X hold a category that was not seen during fit, (n, n_features).

        `handle_unknown` must be "flag"; rows with such a cell are anomalous.
        """
        check_is_fitted(self)
        data = self._read(X)
        unknown = self._split_unknown(data)[1]
        return unknown if self.columns_ is not None else np.zeros(data.shape, bool)

    def anomaly_map(self, X: Any) -> Array:
        """Return a heat map (n, height, width) of where each image is anomalous.

        Uses `explain`, with squared errors if the detector's score is not a sum over pixels, and
        sums over channels.

        Raises
        ------
        ValueError
            If the data are not images.
        """
        check_is_fitted(self)
        if len(self.feature_shape_) not in (2, 3):
            raise ValueError(
                "anomaly_map needs images (n, height, width) or (n, channels, height, width), but "
                f"one example has shape {self.feature_shape_}; use explain."
            )
        additive = SCORES[self.score_method_].is_additive
        parts = self.explain(X, self.score_method_ if additive else "reconstruction")
        if parts.ndim == 3:
            return parts
        return parts.sum(-1 if self.estimator_.channels_ == "last" else 1)

    def to_pyod(self) -> Any:
        """Return this detector as a `pyod.models.base.BaseDetector`.

        In pyod higher scores are more anomalous and 1 marks an outlier. A fitted detector keeps
        its model and threshold, and its `decision_scores_` are those of the held-out rows.
        Refitting flags a fraction `contamination` of the rows, or `false_alarm_rate` if that is
        "auto".

        Raises
        ------
        ImportError
            If pyod is not installed: ``pip install pyod``.
        ValueError
            If the detector is fitted without held-out rows, or flags more than half of the rows.
        """
        from isthmus.applications.pyod_adapter import PyodDetector

        return PyodDetector.from_detector(self)

    def _read(self, X: Any) -> Array:
        missing = self.estimator_.model_.missing
        return validate_sparse(
            self,
            X,
            reset=False,
            missing=missing,
            limits=ANY_NUMBER,
            settings=self.estimator_,
            keep_unknown=True,
        )

    def _scores(self, data: Array) -> Array:
        """Return the score of each row; -inf for rows that cannot be scored.

        These hold no value, values that the models do not take, or unknown categories.
        """
        known, unknown = self._split_unknown(data)
        scores = np.full(len(data), -np.inf)
        rows, found = skip_failing_rows(lambda X: -combined_anomaly(self._measures, X), known)
        if found is not None:
            scores[rows] = np.where(np.isfinite(found), found, -np.inf)
        scores[unknown.any(-1)] = -np.inf
        return scores

    def _split_unknown(self, data: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Return rows in which a value that models accept replaces the unknown categories.

        The second result marks these, (n, columns); its last axis is empty without columns.
        """
        if self.columns_ is None:
            return data, np.zeros((len(data), 0), bool)
        unknown = self.columns_.find_unknown(data)
        if not unknown.any():
            return data, unknown
        return np.where(unknown, np.nan if self._missing else 0.0, data), unknown

    @property
    def _missing(self) -> bool:
        """Whether the estimators accept missing values."""
        return all(map(_accepts_missing, self._estimators))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self._missing
        return tags


def default_estimator(n_rows: int, feature_shape: tuple[int, ...]) -> Autoencoder:
    """Return the estimator that `AnomalyDetector` trains if it is given none.

    On tables, a code as wide as the table, and few steps, of which the first are small: the longer
    training is, the better a network reconstructs the outliers among its training rows.

    Parameters
    ----------
    n_rows : int
        Number of training rows.
    feature_shape : tuple of int
        Shape of one example.

    Examples
    --------
    >>> default_estimator(1000, (30,)).n_components, default_estimator(1000, (8, 8)).n_components
    (30, 16)
    """
    n_features = int(np.prod(feature_shape))
    if len(feature_shape) > 1:
        return Autoencoder(n_components=int(np.clip(n_features // 4, 1, 20)))
    batch_size = max(128, -(-n_rows // STEPS))
    return Autoencoder(
        n_components=n_features,
        epochs=max(1, round(STEPS / -(-n_rows // batch_size))),
        batch_size=batch_size,
        warmup=STEPS,
        validation_fraction=0,
    )


def resolve_score(name: str, estimator: Any, feature_shape: tuple[int, ...]) -> str:
    """Return the score that a `score_method` stands for.

    Parameters
    ----------
    name : str
    estimator : LatentEstimator or list of LatentEstimator, optional
        As for `AnomalyDetector`; None stands for the default.
    feature_shape : tuple of int
        Shape of one example.

    Examples
    --------
    >>> resolve_score("auto", None, (30,)), resolve_score("auto", None, (8, 8))
    ('mahalanobis', 'reconstruction')
    """
    if name != AUTO:
        return name
    return "mahalanobis" if estimator is None and len(feature_shape) == 1 else "reconstruction"


def _accepts_missing(estimator: Any) -> bool:
    """Whether an estimator, fitted or not, accepts missing values."""
    model = getattr(unwrap(estimator), "model_", None)
    return getattr(estimator, "missing", "refuse") == "ignore" if model is None else model.missing


def _encoding(model: LatentEstimator) -> tuple[Any, ...]:
    """Return what determines how a fitted model reads its input."""
    columns = () if model.columns_ is None else model.columns_.columns
    return model.feature_shape_, [(c.name, c.kind, c.categories) for c in columns]


def _for_arrays(model: LatentEstimator) -> LatentEstimator:
    """Return a model that takes arrays without a warning that its feature names are missing."""
    if model.columns_ is None and hasattr(model, "feature_names_in_"):
        model = copy.copy(model)
        del model.feature_names_in_
    return model


def _repeated(rows: Array, weights: Array | None) -> Array:
    """Return row numbers, each as often as its row counts."""
    return rows if weights is None or not len(rows) else rows[repeat_rows(weights[rows])]


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def check_rates(contamination: Any, calibration_fraction: Any, false_alarm_rate: Any) -> None:
    """Raise a ValueError if the parameters of a detector that set its threshold are invalid."""
    share, held_out = contamination, calibration_fraction
    if share != "auto" and not (_is_number(share) and 0 < share <= 0.5):
        raise ValueError(f"contamination must be 'auto' or in (0, 0.5], got {share!r}.")
    if not (_is_number(held_out) and 0 <= held_out < 1):
        raise ValueError(f"calibration_fraction must be in [0, 1), got {held_out!r}.")
    if not (_is_number(false_alarm_rate) and 0 < false_alarm_rate < 1):
        raise ValueError(f"false_alarm_rate must be in (0, 1), got {false_alarm_rate!r}.")
    if share == "auto" and held_out == 0:
        raise ValueError(
            "contamination='auto' needs held-out rows: set calibration_fraction above 0, or "
            "contamination to a number."
        )


def conformal_pvalues(calibration: Array, scores: Array) -> Array:
    """Return (1 + number of calibration scores <= score) / (1 + number of calibration scores).

    The calibration scores (n_calibration,) must be sorted; scores have shape (n,).
    """
    return (1 + np.searchsorted(calibration, scores, side="right")) / (1 + len(calibration))


def conformal_threshold(calibration: Array, level: float) -> float:
    """Return the threshold below which conformal p-values are at most `level`.

    With too few calibration scores for such a p-value it is the lowest of them.
    """
    k = int(level * (len(calibration) + 1) + 1e-9)  # 0.05 * 100 may round below 5
    return float(calibration[max(k, 1) - 1])


def fraction_threshold(scores: Array, fraction: float) -> float:
    """Return the midpoint between two sorted scores below which the given fraction lies."""
    k = round(fraction * len(scores))
    scores = np.maximum(scores, scores[np.isfinite(scores)][0])  # the least finite one
    return float(scores[0] if k == 0 else (scores[k - 1] + scores[k]) / 2)


def best_f1_threshold(scores: Array, anomalous: NDArray[np.bool_]) -> float:
    """Return the threshold with the highest F1; of equal ones, that which flags fewest rows."""
    values, place = np.unique(scores, return_inverse=True)
    tp = np.bincount(place, anomalous).cumsum()
    fp = np.bincount(place, ~anomalous).cumsum()
    best = int(np.argmax(f1_from_counts(tp, fp, anomalous.sum() - tp)))
    if best + 1 == len(values):
        return float(np.nextafter(values[-1], np.inf))
    if np.isinf(values[best]):
        return float(values[best + 1])
    return float((values[best] + values[best + 1]) / 2)
