"""Anomaly detection in time series, as a scikit-learn outlier detector over time."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Iterator
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import OutlierMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from isthmus._messages import check_choice
from isthmus._optional import import_optional
from isthmus.applications.anomaly_detection import (
    best_f1_threshold,
    check_rates,
    fraction_threshold,
)
from isthmus.applications.meta_estimator import fitted_model, unwrap
from isthmus.applications.saved_detectors import SavedDetector
from isthmus.applications.series_scores import (
    LEAST,
    METHODS,
    SCALINGS,
    TRENDS,
    TrainingWindows,
    WindowScorer,
    blend,
)
from isthmus.applications.window_pca import MAX_WIDTH, Moments, WindowPCA
from isthmus.data.series import Series, choose_window, read_several, warn
from isthmus.estimators import LatentEstimator

__all__ = ["SeriesDetector"]

Array = NDArray[Any]
AUTO, CONFORMAL = "auto", "conformal"
FAR, QUARTILE = 5.0, 0.6745  # robust deviations; the quartile of a standard normal
LEAST_SPREAD = 0.01  # of logarithmic scores, for series that repeat exactly
MAX_WINDOWS, PER_NUMBER = 20_000, 10  # windows to fit to: so many, or ten per number of a window
MAX_NUMBERS = 2**26  # of the windows that a network is trained on
BLOCK_WINDOWS = 2  # windows per calibration block: the scores of steps so far apart share no value
STRETCHES = 10  # that are held out of a series
SEGMENT = ("start", "end", "peak", "steps", "score", "pvalue", "channels")
MODEL_ARRAYS = ("mean", "components", "variances")
logger = logging.getLogger("isthmus")


@dataclass(eq=False, repr=False)
class SeriesDetector(OutlierMixin, SavedDetector):
    """Detect the moments at which a time series is anomalous.

    Windows of the series are compared with those of training: how far each one is from the mean,
    in units of the variation of normal windows. The score of a moment is the geometric mean over
    the windows around it; 1 is typical, and higher is more anomalous. The model is a probabilistic
    PCA of windows in closed form, in which the tenth of the windows that is farthest does not
    count, so that a series may be searched for anomalies that are in the training series itself.

    A series is an array (time,) or (time, channels), or a data frame with times; a list or tuple
    of arrays or frames is one of series of any lengths, and the results are lists. Results have one
    entry per row of the input, in the same order. Irregular times, gaps and repeated times are
    handled with a `UserWarning`. NaN is missing, and neither normal nor anomalous.

    Parameters
    ----------
    estimator : LatentEstimator or list of LatentEstimator, optional
        Networks that also reconstruct windows (n, channels, window): the score is the geometric
        mean of those of the PCA and of the networks' errors. A fitted one is used as it is. There
        is none by default, because networks added little in the benchmark of the user guide.
    window : "auto" or int
        Steps per window. "auto": the dominant period of the series, see `window_reason_`.
    stride : int
        Steps between windows. More than 1 is faster and coarser.
    score_method : {"whitened", "reconstruction"}
        "whitened": squared Mahalanobis distance of a window, or of a network's error.
        "reconstruction": squared error of the standardised window. Both are means over its values.
    n_components : int, optional
        Components of the PCA. By default for "whitened" all that matter, and for "reconstruction"
        as many as explain nine tenths of the variance.
    trend : {"none", "difference", "level", "linear"}
        "difference": look at the changes from step to step. "level", "linear": subtract from each
        window its mean, or a line. For series that drift.
    scaling : {"standard", "robust"}
        Standardise each channel by its mean and standard deviation, or by its median and
        interquartile range.
    time : str
        The column of the times in data frames. "auto": the index, or the only column of dates.
    contamination : {"auto", "conformal"} or float in (0, 0.5]
        "auto" flags steps whose logarithmic score is more than five standard deviations above the
        median of the steps that were held out, by the spread of their lower half, which anomalies
        among them hardly change.
        "conformal" flags steps with a p-value of at most `false_alarm_rate`, for which these steps
        must be normal. A number flags that fraction of the training steps.
    calibration_fraction : float in [0, 1)
        Fraction of the steps that are held out for p-values, in at most ten stretches. Of five or
        more series, whole series are held out instead.
    false_alarm_rate : float in (0, 1)
        Fraction of normal steps that contamination "conformal" flags. It takes held-out steps for
        1 / false_alarm_rate - 1 blocks of two windows; with fewer, only steps with higher scores
        than all of them are flagged.
    random_state : int, RandomState or None
        Seeds networks without a seed of their own.

    Attributes
    ----------
    window_ : int
        Steps per window.
    window_reason_ : str
        Why.
    offset_ : float
        The threshold: ``decision_function(X) == score_samples(X) - offset_``.
    calibration_scores_ : ndarray of float64, (n_held_out,)
        `score_samples` of the steps that were held out, sorted.
    center_, scale_ : ndarray (n_channels,)
        Location and scale of each channel.
    estimators_ : list of LatentEstimator
        The fitted networks.
    n_features_in_ : int
        Number of channels.
    feature_names_in_ : ndarray of str, (n_channels,)
        Their names, if it was fitted to a data frame.

    See Also
    --------
    AnomalyDetector : The same for rows, images and signals that do not follow each other.

    References
    ----------
    Probabilistic principal component analysis (Tipping, Bishop, 1999). A fast algorithm for the
    minimum covariance determinant estimator (Rousseeuw, Van Driessen, 1999), for leaving out the
    farthest windows. Exact and robust conformal inference methods for predictive machine learning
    with dependent data (Chernozhukov, Wüthrich, Zhu, 2018), for calibration in blocks.

    Examples
    --------
    >>> t = np.arange(2000)
    >>> series = np.sin(2 * np.pi * t / 50) + np.random.default_rng(0).normal(0, 0.1, 2000)
    >>> series[1000:1020] = 0
    >>> detector = SeriesDetector().fit(series)
    >>> detector.window_, int(detector.anomaly_score(series).argmax()) in range(990, 1030)
    (50, True)
    """

    estimator: Any = None
    _: KW_ONLY
    window: str | int = AUTO
    stride: int = 1
    score_method: str = "whitened"
    n_components: int | None = None
    trend: str = "none"
    scaling: str = "standard"
    time: str = AUTO
    contamination: str | float = AUTO
    calibration_fraction: float = 0.2
    false_alarm_rate: float = 0.01
    random_state: Any = None

    # ---------------------------------------------------------------- training

    def fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, held_out: Any = None
    ) -> Self:
        """Fit to one series or to several, which should be mostly normal.

        Parameters
        ----------
        X : series, or list of series
        y, sample_weight : None
            Ignored.
        held_out : array-like of bool (n_rows,), or list of these, optional
            Rows to hold out, in place of a fraction `calibration_fraction`: those that no fitted
            estimator was trained on.

        Returns
        -------
        self
            Unchanged if an error is raised.

        Raises
        ------
        ValueError
            If a parameter is invalid, or a series cannot be read or is too short.
        """
        new = copy.copy(self)
        new._check_parameters()
        series, is_list = read_several(X, time=self._time)
        masks = [held_out] if held_out is not None and not is_list else held_out
        new._fit_series(series, None if masks is None else _steps_of(masks, series))
        self.__dict__ = new.__dict__
        return self

    def _fit_series(self, series: list[Series], held_out: list[Array] | None) -> None:
        first = series[0]
        self.n_features_in_, self.step_ = first.values.shape[1], first.step
        self.__dict__.pop("feature_names_in_", None)
        if first.channels is not None:
            self.feature_names_in_ = np.array(first.channels, object)
        fitted = [fitted_model(e) for e in self._estimators]
        values = [self._filtered(each.values) for each in series]
        self.window_, self.window_reason_ = self._choose_window(values, fitted)
        logger.info("window: %s", self.window_reason_)
        self._check_width()
        self._check_length(values, "window")
        if held_out is None:
            held_out = _held_out([*map(len, values)], self.window_, self.calibration_fraction)
        self._warn_of_constants(values)
        train = [x[~hidden] for x, hidden in zip(values, held_out, strict=True)]
        self._scorer = WindowScorer.fit_scale(train, self.scaling, self.trend, self.score_method)
        width = self.window_ * self.n_features_in_
        windows = TrainingWindows.of(
            values, held_out, self.window_, self.stride, max(MAX_WINDOWS, PER_NUMBER * width)
        )
        if len(windows) < 2:
            raise ValueError(
                f"a window of {self.window_} steps is too long for {max(map(len, values))} steps, "
                f"of which a fraction {self.calibration_fraction} is held out, or they have no "
                "values: set a shorter window, or calibration_fraction=0 and contamination to a "
                "number."
            )
        every, windows = windows, windows.fit_pca(self._scorer, self.n_components)
        self._fit_models(fitted, windows)
        self._scorer.fit_units(every.blocks())
        scores = np.concatenate([self._score_steps(x) for x in values])
        hidden = np.concatenate(held_out)
        self._calibrate(scores[hidden], scores)

    def _fit_models(self, fitted: list[Any], windows: TrainingWindows) -> None:
        """Train the networks that are not fitted, and find the components of their errors."""
        scorer, width = self._scorer, self.window_ * self.n_features_in_
        seeds = check_random_state(self.random_state)
        chosen = windows.some(min(MAX_WINDOWS, max(2, MAX_NUMBERS // width)))
        self.estimators_ = []
        for given, model in zip(self._estimators, fitted, strict=True):
            if model is None:
                model = clone(given)
                if model.random_state is None and self.random_state is not None:
                    model.set_params(random_state=int(seeds.randint(2**31)))
                blocks = [scorer.in_units(scorer.prepared(b)[0]) for b in chosen.blocks()]
                model.fit(np.concatenate(blocks))
            self.estimators_.append(model)
            errors = (
                scorer.errors_of(model, scorer.prepared(block)[0]) for block in chosen.blocks()
            )
            rows = (each.reshape(len(each), -1) for each in errors)
            pca = WindowPCA.fit(Moments.of(rows), None, distances=True)
            scorer.models.append((model, pca))

    def _choose_window(self, values: list[Array], fitted: list[Any]) -> tuple[int, str]:
        """Return the steps of a window, and why."""
        n_channels, longest = self.n_features_in_, max(values, key=len)
        shapes = {model.feature_shape_ for model in fitted if model is not None}
        for shape in shapes:
            window = shape[-1] if len(shape) == 2 or n_channels == 1 else 0
            if len(shape) > 2 or np.prod(shape) != window * n_channels:
                raise ValueError(
                    f"the fitted estimator takes examples of shape {shape}, but windows of "
                    f"{n_channels} channels have shape ({n_channels}, window): fit it on these."
                )
            if self.window not in (AUTO, window) or len({s[-1] for s in shapes}) > 1:
                raise ValueError(
                    f"window is {self.window!r}, but a fitted estimator takes windows of {window} "
                    "steps: leave window at 'auto'."
                )
            return window, f"{window} steps, those of the fitted estimator"
        if self.window != AUTO:
            return int(self.window), f"{self.window} steps, as set"
        return choose_window(longest)

    def _check_parameters(self) -> None:
        for model in map(unwrap, self._estimators):
            if not isinstance(model, LatentEstimator):
                raise ValueError(
                    "estimator must be an isthmus estimator such as Autoencoder(), a list of them, "
                    f"or None for windowed PCA alone; got {type(model).__name__}."
                )
        check_choice("score_method", self.score_method, METHODS)
        check_choice("trend", self.trend, TRENDS)
        check_choice("scaling", self.scaling, SCALINGS)
        if self.window != AUTO and not _is_positive(self.window):
            raise ValueError(
                f"window must be 'auto' or a positive whole number, got {self.window!r}."
            )
        for name, least in (("stride", self.stride), ("n_components", self.n_components)):
            if not (_is_positive(least) or (least is None and name == "n_components")):
                raise ValueError(f"{name} must be a positive whole number, got {least!r}.")
        share, held_out = self.contamination, self.calibration_fraction
        if share == CONFORMAL and held_out == 0:
            raise ValueError(
                "contamination='conformal' needs held-out steps: set calibration_fraction above 0."
            )
        if share in (AUTO, CONFORMAL):
            share = 0.5  # a valid number, to check the others
        elif isinstance(share, str):
            check_choice("contamination", share, (AUTO, CONFORMAL))
        check_rates(share, held_out, self.false_alarm_rate)

    def _check_width(self) -> None:
        window, n_channels = self.window_, self.n_features_in_
        if window * n_channels > MAX_WIDTH:
            raise ValueError(
                f"a window of {window} steps of {n_channels} channels has "
                f"{window * n_channels:,} numbers, more than {MAX_WIDTH:,}: set a shorter window, "
                "detect in fewer channels at a time, or average neighbouring steps."
            )
        if self.stride > window:
            raise ValueError(f"stride is {self.stride}, more than the window of {window} steps.")

    def _check_length(self, values: list[Array], what: str) -> None:
        for i, x in enumerate(values):
            if len(x) < self.window_:
                name = "the series" if len(values) == 1 else f"series {i}"
                raise ValueError(
                    f"{name} has {len(x)} steps, fewer than a {what} of {self.window_}: "
                    "set a shorter window, or leave out what is shorter."
                )

    def _warn_of_constants(self, values: list[Array]) -> None:
        x = np.concatenate(values)
        names = getattr(self, "feature_names_in_", np.arange(self.n_features_in_))
        for name, column in zip(names, x.T, strict=True):
            known = column[~np.isnan(column)]
            if not len(known):
                raise ValueError(f"channel {name} has no values; drop it.")
            if np.ptp(known) == 0:
                warn(f"channel {name} is constant in training: any other value of it is anomalous.")

    def _calibrate(self, held_out: Array, for_threshold: Array) -> None:
        """Set p-values and threshold from scores; NaN does not count."""
        self.calibration_scores_ = np.sort(-held_out[~np.isnan(held_out)])
        scores = self.calibration_scores_
        if not len(scores) or not isinstance(self.contamination, str):
            scores = np.sort(-for_threshold[~np.isnan(for_threshold)])
        if not len(scores):
            raise ValueError("no step that was held out has values: there is nothing to calibrate.")
        self.offset_ = self._threshold(scores)

    def _threshold(self, scores: Array) -> float:
        if not isinstance(self.contamination, str):
            return fraction_threshold(scores, float(self.contamination))
        if self.contamination == AUTO:
            lower, middle = np.quantile(np.log(np.maximum(-scores, LEAST)), (0.25, 0.5))
            return -float(np.exp(middle + FAR * max((middle - lower) / QUARTILE, LEAST_SPREAD)))
        n_blocks = len(scores) / self.block_length
        most = self.block_length * (self.false_alarm_rate * (n_blocks + 1) - 1)
        return float(scores[max(0, int(most + 1e-9))])

    @property
    def block_length(self) -> int:
        """Steps of a block of calibration: the scores of steps so far apart share no values."""
        return BLOCK_WINDOWS * self.window_

    def calibrate(self, X: Any) -> Self:
        """Recompute threshold and p-values from normal series outside the training series.

        A numeric `contamination` flags that fraction of the steps of X.
        """
        scores = np.concatenate([self._score_steps(x) for x in self._read(X)[1]])
        self._calibrate(scores, scores)
        return self

    def tune_threshold(self, X: Any, y: ArrayLike) -> Self:
        """Set the threshold with the highest F1 over labelled steps; p-values do not change.

        Parameters
        ----------
        X : series
            One that the detector was not fitted to.
        y : array-like (n_rows,)
            1 for normal and -1 for anomalous rows, with at least one -1.
        """
        scores, labels = self.score_samples(X), np.asarray(y)
        if isinstance(scores, list):
            scores, labels = np.concatenate(scores), np.concatenate([*map(np.asarray, y)])  # type: ignore[arg-type]
        if labels.shape != scores.shape or not np.isin(labels, (-1, 1)).all():
            raise ValueError(
                f"y must hold 1 or -1 for each of {len(scores)} rows, got shape {labels.shape} and "
                f"{np.unique(labels)[:5].tolist()}. If 1 marks anomalous rows, pass 1 - 2 * y."
            )
        if not (labels == -1).any():
            raise ValueError("y marks no row as anomalous (-1).")
        known = ~np.isnan(scores)
        self.offset_ = best_f1_threshold(scores[known], labels[known] == -1)
        return self

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Continue with a further series: score it for calibration, then learn from it.

        The scores of its steps are added to those that set the threshold and the p-values, before
        the model has seen them; then its mean and its components are updated. Location and scale
        of the channels stay. An unfitted detector is fitted.

        Raises
        ------
        ValueError
            If the detector has networks, which are not trained further.
        """
        if not self.__sklearn_is_fitted__():
            return self.fit(X)
        if self.estimators_:
            raise ValueError("partial_fit updates windowed PCA only; fit again with the networks.")
        _, values, _ = self._read(X)
        new = copy.copy(self)
        scores = np.concatenate([self._score_steps(x) for x in values])
        scorer = new._scorer = copy.copy(self._scorer)
        windows = TrainingWindows.every(values, self.window_, self.stride)
        pca = scorer.pca
        assert pca is not None
        if self.score_method == "whitened":
            found = np.concatenate([scorer.scores(block)[0] for block in windows.blocks()])
            windows = replace(windows, places=windows.places[found <= -self.offset_])
        if len(windows):
            moments = pca.moments.merged(Moments.of(windows.prepared_rows(scorer)))
            n = len(pca.components) if self.score_method == "reconstruction" else self.n_components
            scorer.pca = WindowPCA.fit(moments, n, distances=self.score_method == "whitened")
        new._calibrate(np.append(-self.calibration_scores_, scores), scores)
        self.__dict__ = new.__dict__
        return self

    # --------------------------------------------------------------- inference

    def score_samples(self, X: Any) -> Any:
        """Return how normal each row is, (n_rows,): the negative of `anomaly_score`."""
        series, values, is_list = self._read(X)
        scores = [-self._score_steps(x)[s.rows] for s, x in zip(series, values, strict=True)]
        unknown = sum(int(np.isnan(score).sum()) for score in scores)
        if unknown:
            warn(
                f"{unknown:,} row{'s have' if unknown > 1 else ' has'} no value in any channel: "
                "their score is NaN, and nothing is flagged there."
            )
        return scores if is_list else scores[0]

    def decision_function(self, X: Any) -> Any:
        """Return ``score_samples(X) - offset_``, (n_rows,); negative values are anomalous."""
        return _each(self.score_samples(X), lambda scores: scores - self.offset_)

    def predict(self, X: Any) -> Any:
        """Return 1 for normal and -1 for anomalous rows, (n_rows,)."""
        return _each(self.decision_function(X), lambda d: np.where(d < 0, -1, 1))

    def anomaly_score(self, X: Any) -> Any:
        """Return how anomalous each row is, (n_rows,); about 1 if it is normal.

        Rows without any value have the score NaN.
        """
        return _each(self.score_samples(X), np.negative)

    def anomaly_pvalue(self, X: Any) -> Any:
        """Return the p-value of each row, (n_rows,); NaN for rows without any value.

        Scores of neighbouring steps share values and are not exchangeable. The p-value therefore
        counts in blocks of two windows: (1 + k / b) / (1 + n / b) for k of n held-out steps with a
        score at least as high, and b steps per block. It is the average of conformal p-values that
        each use one step per block. If blocks of normal steps are exchangeable with the held-out
        ones, as they nearly are in a stationary series whose memory is shorter than a block, at
        most a fraction p of the normal steps has a p-value of p or less, on average over training
        series. See the user guide for how far that holds.

        Raises
        ------
        ValueError
            If no steps were held out.
        """
        scores = self.score_samples(X)
        if not len(self.calibration_scores_):
            raise ValueError(
                "p-values need held-out steps: call calibrate(X) with a normal series, or fit with "
                "calibration_fraction above 0."
            )
        return _each(scores, lambda each: self.pvalues(-each))

    def pvalues(self, scores: Array) -> Array:
        """Return the p-values of anomaly scores, of any shape; see `anomaly_pvalue`."""
        if not len(self.calibration_scores_):
            return np.full(np.shape(scores), np.nan)
        scores = -np.asarray(scores)
        n, block = len(self.calibration_scores_), self.block_length
        higher = np.searchsorted(self.calibration_scores_, scores, side="right")
        return np.where(np.isnan(scores), np.nan, (1 + higher / block) / (1 + n / block))

    def anomaly_map(self, X: Any) -> Any:
        """Return the part of each channel in `anomaly_score`, (n_rows, n_channels).

        The parts of a row sum to its score.
        """
        series, values, is_list = self._read(X)
        parts = [self._map_steps(x)[s.rows] for s, x in zip(series, values, strict=True)]
        return parts if is_list else parts[0]

    def window_scores(self, X: Any) -> Any:
        """Return the score of each window, (n_windows,), before they are averaged over time.

        Windows begin at every `stride`-th step; the last one ends with the series.
        """
        _, values, is_list = self._read(X)
        scores = []
        for x in values:
            windows = TrainingWindows.every([x], self.window_, self.stride)
            scores.append(np.concatenate([self._scorer.scores(b)[0] for b in windows.blocks()]))
        return scores if is_list else scores[0]

    def score_stream(self, chunks: Iterable[Any]) -> Iterator[Array]:
        """Yield the anomaly scores of a series that arrives in chunks.

        The numbers are those of `anomaly_score` for the whole series. A score is final, and
        yielded, once a window has passed; the rest follows when the chunks end. The memory needed
        does not grow with the length of the series.

        Parameters
        ----------
        chunks : iterable of series
            Successive parts of one series, of any lengths. Times must increase from chunk to chunk;
            missing steps between them count as missing values.

        Yields
        ------
        ndarray (n,)
            Scores of the next rows.

        Examples
        --------
        >>> x = np.sin(np.arange(1000.0))
        >>> detector = SeriesDetector(window=20).fit(x)
        >>> parts = [*detector.score_stream(x[i : i + 90] for i in range(0, 1000, 90))]
        >>> np.allclose(np.concatenate(parts), detector.anomaly_score(x))
        True
        """
        check_is_fitted(self)
        stream = _Stream(self)
        done = 0
        for part in blend(self._scorer.rows, stream.values(chunks), self.window_, self.stride):
            scores = np.append(stream.left_over, stream.with_gaps(_score_of(part), done))
            done += part.shape[1]
            yield stream.take_rows(scores, done)

    def segments(self, X: Any, *, min_length: int = 1, gap: int | None = None) -> Any:
        """Return the stretches that are flagged, as a pandas data frame.

        Parameters
        ----------
        X : series, or list of series
        min_length : int
            Steps of the shortest stretch.
        gap : int, optional
            Stretches with at most so many steps between them are one; by default a quarter of a
            window.

        Returns
        -------
        pandas.DataFrame
            One row per stretch. "series": its number, if X is a list. "start", "end", "peak": the
            times (or the numbers of the steps) of the first, the last and the most anomalous step.
            "steps": its length. "score", "pvalue": at the peak. "channels": those with the largest
            parts of the score, most first.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        pandas = import_optional("pandas", extra="tables", what="a table of segments")
        gap = self.window_ // 4 if gap is None else gap
        series, values, is_list = self._read(X)
        rows = []
        for i, (each, x) in enumerate(zip(series, values, strict=True)):
            parts = self._map_steps(x)
            scores = self._score_steps(x)
            for start, end in _runs(scores > -self.offset_, min_length, gap):
                peak = start + int(np.nanargmax(scores[start : end + 1]))
                p = self.pvalues(scores[[peak]])[0]
                row = {"series": i} if is_list else {}
                row |= {"start": each.label([start])[0], "end": each.label([end])[0]}
                row |= {"peak": each.label([peak])[0], "steps": end - start + 1}
                blame = _most(parts[start : end + 1].sum(0), each.names)
                rows.append(row | {"score": scores[peak], "pvalue": p, "channels": blame})
        return pandas.DataFrame(rows, columns=[*["series"] * is_list, *SEGMENT])

    def _read(self, X: Any) -> tuple[list[Series], list[Array], bool]:
        """Return series, their values as the model takes them, and whether X is a list."""
        check_is_fitted(self)
        series, is_list = self._read_series(X)
        values = [self._filtered(each.values) for each in series]
        self._check_length(values, "window")
        return series, values, is_list

    def _read_series(self, X: Any, name: str = "the series") -> tuple[list[Series], bool]:
        names = getattr(self, "feature_names_in_", None)
        names = None if names is None else tuple(names)
        step = self.step_
        series, is_list = read_several(X, time=self._time, channels=names, step=step)
        if (n := series[0].values.shape[1]) != self.n_features_in_:
            raise ValueError(
                f"{name} has {n} channel{'s' * (n > 1)}, but the detector was fitted on "
                f"{self.n_features_in_}."
            )
        return series, is_list

    @property
    def _time(self) -> str | None:
        return None if self.time == AUTO else self.time

    @property
    def _estimators(self) -> list[Any]:
        if isinstance(self.estimator, list | tuple):
            return [*self.estimator]
        return [] if self.estimator is None else [self.estimator]

    def _filtered(self, values: Array, before: Array | None = None) -> Array:
        """Return the changes from step to step if the trend is to be removed by them.

        The first change is not known: it counts as missing.
        """
        if self.trend != "difference":
            return values
        before = np.full((1, values.shape[1]), np.nan) if before is None else before
        return np.diff(values, axis=0, prepend=before)

    def _score_steps(self, x: Array) -> Array:
        """Return the score of each step, NaN without any value."""
        rows = np.concatenate([*blend(self._scorer.rows, [x], self.window_, self.stride)], 1)
        scores = _score_of(rows)
        scores[np.isnan(x).all(1)] = np.nan
        return scores

    def _map_steps(self, x: Array) -> Array:
        """Return the parts of the channels in the score of each step."""
        rows = [*blend(self._scorer.channel_rows, [x], self.window_, self.stride)]
        score, blame = _score_of(part := np.concatenate(rows, 1)), part[2:].T
        score[np.isnan(x).all(1)] = np.nan
        total = np.maximum(blame.sum(1, keepdims=True), np.finfo(float).tiny)
        return score[:, None] * blame / total

    # ------------------------------------------------------------------ saving

    @property
    def center_(self) -> Array:
        """Location of each channel."""
        return self._scorer.center

    @property
    def scale_(self) -> Array:
        """Scale of each channel."""
        return self._scorer.scale

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "offset_")

    def _set_models(self, models: list[Any]) -> None:
        self.estimators_ = models

    def _to_arrays(self) -> tuple[dict[str, Array], dict[str, Any]]:
        scorer = self._scorer
        arrays = {"offset": np.array([self.offset_]), "calibration": self.calibration_scores_}
        arrays |= {"center": scorer.center, "scale": scorer.scale}
        for i, pca in enumerate([scorer.pca, *(pca for _, pca in scorer.models)]):
            assert pca is not None
            arrays |= {f"{i}.{name}": getattr(pca, name) for name in MODEL_ARRAYS}
            unit = scorer.units[i]
            arrays[f"{i}.numbers"] = np.array([pca.n_rows, pca.noise, pca.ridge, unit])
        names = getattr(self, "feature_names_in_", None)
        fields = {
            "n_models": len(self.estimators_),
            "window": self.window_,
            "reason": self.window_reason_,
            "step": self.step_,
            "channels": None if names is None else [*names],
        }
        return arrays, fields

    def _from_arrays(self, arrays: dict[str, Array], record: dict[str, Any]) -> None:
        offset, scores = arrays["offset"], arrays["calibration"]
        center, scale = arrays["center"], arrays["scale"]
        if any(a.dtype != np.float64 or not np.isfinite(a).all() for a in arrays.values()):
            raise ValueError("an array holds values that are not finite numbers.")
        valid = offset.shape == (1,) and scores.ndim == 1
        valid = valid and bool((scores[1:] >= scores[:-1]).all())
        valid = (
            valid and center.ndim == 1 and center.shape == scale.shape and bool((scale > 0).all())
        )
        names, width = record["channels"], len(center) * record["window"]
        if not valid or width > MAX_WIDTH or (names is not None and len(names) != len(center)):
            raise ValueError("the arrays do not hold a detector.")
        scorer = WindowScorer(center, scale, self.trend, self.score_method)
        for i in range(1 + record["n_models"]):
            mean, components, variances = (arrays[f"{i}.{name}"] for name in MODEL_ARRAYS)
            numbers = arrays[f"{i}.numbers"]
            valid = mean.shape == (width,) and components.shape == (len(variances), width)
            if not valid or numbers.shape != (4,) or not ((numbers > 0) | [0, 1, 0, 0]).all():
                raise ValueError("the arrays do not hold principal components.")
            pca = WindowPCA(numbers[0], mean, components, variances, numbers[1], numbers[2])
            scorer.units.append(float(numbers[3]))
            if i == 0:
                scorer.pca = pca
            else:
                scorer.models.append((self.estimators_[i - 1], pca))
        self._scorer, self.offset_, self.calibration_scores_ = scorer, float(offset[0]), scores
        self.n_features_in_, self.window_ = len(center), record["window"]
        self.window_reason_, self.step_ = record["reason"], record["step"]
        if names is not None:
            self.feature_names_in_ = np.array(names, object)

    @classmethod
    def _is_valid(cls, record: dict[str, Any]) -> bool:
        window, names, step = record["window"], record["channels"], record["step"]
        valid = type(window) is int and 1 <= window <= MAX_WIDTH
        valid = valid and isinstance(record["reason"], str)
        valid = valid and (step is None or (type(step) in (int, float) and step > 0))
        has_names = names is None or (
            isinstance(names, list) and all(isinstance(n, str) for n in names)
        )
        no_model = record["n_models"] == 0 and type(record["n_models"]) is int
        no_model = no_model and record["model"] == ""
        return valid and has_names and (no_model or super()._is_valid(record))


class _Stream:
    """What is remembered of a series that arrives in chunks."""

    def __init__(self, detector: SeriesDetector) -> None:
        self.detector = detector
        self.pending: list[Array] = []  # steps of rows whose scores are not yielded
        self.empty: list[Array] = []  # whether steps without a score have no value
        self.left_over, self.first = np.zeros(0), 0  # scores of steps from `first` on
        self.n_steps, self.n_checked = 0, 0
        self.last: tuple[Array, Any] | None = None  # values and time of the last step

    def values(self, chunks: Iterable[Any]) -> Iterator[Array]:
        """Yield the values of chunks, with NaN for missing steps between them."""
        for chunk in chunks:
            ((series,), _) = self.detector._read_series(chunk, "a chunk")
            x = self._with_missing_steps(series)
            before = None if self.last is None else self.last[0]
            self.pending.append(series.rows + self.n_steps + len(x) - len(series.values))
            self.last = x[-1:], None if series.times is None else series.times[-1]
            x = self.detector._filtered(x, before)
            self.empty.append(np.asarray(np.isnan(x).all(1)))
            self.n_steps += len(x)
            yield x

    def _with_missing_steps(self, series: Series) -> Array:
        if self.last is None or series.times is None or series.step is None:
            return series.values
        step = series.step
        if series.times.dtype.kind == "M":
            step = np.timedelta64(int(step), "ns")  # type: ignore[assignment]
        apart = (series.times[0] - self.last[1]) / step
        if round(apart) < 1:
            raise ValueError(
                "the chunks of a stream must follow each other in time, but one begins at "
                f"{series.times[0]}, after a step at {self.last[1]}."
            )
        missing = np.full((round(apart) - 1, series.values.shape[1]), np.nan)
        return np.concatenate([missing, series.values])

    def with_gaps(self, scores: Array, done: int) -> Array:
        """Return the scores of the steps after the first `done` ones, NaN without values."""
        empty = np.concatenate(self.empty)
        scores[empty[: len(scores)]] = np.nan
        self.empty = [empty[len(scores) :]]
        return scores

    def take_rows(self, scores: Array, done: int) -> Array:
        """Return the scores of the rows, in order, whose steps are among the first `done` ones."""
        rows = np.concatenate(self.pending)
        later = np.flatnonzero(rows >= done)
        n = later[0] if len(later) else len(rows)
        taken = scores[rows[:n] - self.first]
        self.pending = [rows[n:]]
        kept = min(done, int(rows[n:].min())) if n < len(rows) else done
        self.left_over, self.first = scores[kept - self.first :], kept
        return taken


def _each(results: Any, function: Any) -> Any:
    """Apply a function to an array, or to each of a list."""
    return [*map(function, results)] if isinstance(results, list) else function(results)


def _score_of(rows: Array) -> Array:
    """Return the scores in blended rows; NaN if no window has a value."""
    weight = rows[1]
    mean = np.divide(rows[0], weight, out=np.full(len(weight), np.nan), where=weight > 0)
    return np.exp(mean)


def _held_out(lengths: list[int], window: int, fraction: float) -> list[Array]:
    """Return which steps of each series are held out.

    Of few series, evenly spaced stretches of at least four windows; of many, whole series.
    """
    masks = [np.zeros(n, bool) for n in lengths]
    if not fraction:
        return masks
    if len(lengths) * fraction >= 1 and len(lengths) > 1:
        n_held = min(len(lengths) - 1, round(len(lengths) * fraction))
        for i in np.linspace(0, len(lengths), n_held, endpoint=False) + len(lengths) / n_held / 2:
            masks[int(i)][:] = True
        return masks
    for mask in masks:
        n_held = max(1, round(fraction * len(mask)))
        n = int(np.clip(n_held // (4 * window), 1, STRETCHES))
        size = n_held // n
        if n == 1:
            mask[-size:] = True  # in the middle, it would spoil windows on both sides
        for i in range(n) if n > 1 else ():
            start = int((i + 0.5) * len(mask) / n - size / 2)
            mask[start : start + size] = True
    return masks


def _steps_of(masks: Any, series: list[Series]) -> list[Array]:
    """Return which steps of series are held out, from masks of their rows."""
    steps = []
    for i, (mask, each) in enumerate(zip(masks, series, strict=True)):
        given = np.asarray(mask)
        if given.shape != each.rows.shape or given.dtype != bool:
            raise ValueError(
                f"held_out must hold True and False for each of {len(each.rows)} rows of series "
                f"{i}, got {given.dtype} of shape {given.shape}."
            )
        steps.append(np.zeros(len(each.values), bool))
        steps[-1][each.rows[given]] = True
    return steps


def _runs(flagged: Array, min_length: int, gap: int) -> list[tuple[int, int]]:
    """Return first and last step of each run of flagged steps, merged over short gaps."""
    steps = np.flatnonzero(flagged)
    if not len(steps):
        return []
    cuts = np.flatnonzero(np.diff(steps) > gap + 1)
    starts, ends = steps[np.append(0, cuts + 1)], steps[np.append(cuts, len(steps) - 1)]
    pairs = zip(starts.tolist(), ends.tolist(), strict=True)
    return [(start, end) for start, end in pairs if end - start + 1 >= min_length]


def _most(parts: Array, names: tuple[str, ...]) -> str:
    """Return the names of the channels whose parts are at least half of the largest."""
    order = np.argsort(-np.nan_to_num(parts), kind="stable")
    return ", ".join(names[j] for j in order if parts[j] >= parts[order[0]] / 2)


def _is_positive(value: Any) -> bool:
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return is_whole and bool(value >= 1)
